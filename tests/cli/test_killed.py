"""kill -9 at any moment: the next run ends what the killed one began."""

from __future__ import annotations

import random
import subprocess
import time

import numpy as np
import pytest
import soundfile

N_KILLS = 20


@pytest.mark.slow
def test_a_batch_survives_kills_at_random_moments(make_song, tiny_checkpoint, tmp_path, frametx_process):
    """After 20 kills and a last run every stem is there and right, and nothing half-written is left."""
    (tmp_path / "music").mkdir()
    for number in range(12):
        make_song(tmp_path / "music" / f"{number}.wav", seconds=0.5 + number / 4)
    run = ("separate", "music", "-m", tiny_checkpoint, "-f", "wav", "--crop", "200", "-q")
    rng = random.Random(7)
    started = time.monotonic()
    process = frametx_process(*run, "-o", "other")
    process.wait(timeout=500)
    whole = time.monotonic() - started
    kills = 0
    while kills < N_KILLS:
        process = frametx_process(*run)
        try:
            # most moments lie where songs are written, the start-up takes a third
            process.wait(timeout=rng.uniform(0.3, 1.0) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        else:
            for stem in list((tmp_path / "separated").glob("*.wav"))[:: rng.randint(1, 3)]:
                stem.unlink()
    process = frametx_process(*run)
    _, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    left = sorted(path.name for path in (tmp_path / "separated").iterdir())
    assert left == sorted(
        [".frametx.jsonl", *(f"{n}_{stem}.wav" for n in range(12) for stem in ("Instrumental", "Vocals"))]
    )
    for path in (tmp_path / "other").glob("*.wav"):
        expected, found = (
            soundfile.read(folder / path.name, dtype="int16")[0] for folder in (path.parent, tmp_path / "separated")
        )
        np.testing.assert_array_equal(found, expected)
