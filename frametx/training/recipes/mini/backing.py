"""Render accompaniments: random chord progressions, grooves of `mma`, General MIDI soundfonts.

    python backing.py MUSIC OUT COUNT [SEED]     MUSIC: where get-music.sh unpacked

Needs the package tinysoundfont. Every piece is `OUT/*.npy`, int16 stereo at 44.1 kHz, of about a minute and a half. General
MIDI's voices (choir, "oohs", synth voice, voice lead, voice pad) are replaced by strings and pads.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tinysoundfont  # type: ignore[import-untyped]

SAMPLE_RATE = 44100
VOICES = {52: 48, 53: 89, 54: 50, 85: 81, 91: 89}  # program -> what plays instead
MAJOR = ("C", "Dm", "Em", "F", "G", "Am")
PROGRESSIONS = (
    "0 4 5 3",
    "5 3 0 4",
    "0 5 3 4",
    "0 3 4 3",
    "1 4 0 0",
    "5 4 3 4",
    "0 2 3 4",
    "3 4 2 5",
    "0 0 3 4",
    "5 1 4 0",
)
NOTES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


def grooves_of(library: Path) -> list[str]:
    """List the grooves of a library file that can carry a whole piece; some files have none."""
    grooves = re.findall(r"(?im)^\s*DefGroove\s+(\S+)", library.read_text(encoding="latin-1"))
    return [name for name in grooves if "end" not in name.lower() and "intro" not in name.lower()]


def score(library: Path, rng: random.Random) -> str:
    """Write a piece for mma: 40 bars in one key, two progressions in turn, in one of a library file's grooves."""
    groove = rng.choice(grooves_of(library))
    lines = [
        f"Include {library}",
        f"Tempo {rng.randint(70, 150)}",
        f"Transpose {rng.randint(-5, 6)}",
        f"Groove {groove}",
    ]
    verse, chorus = rng.sample(PROGRESSIONS, 2)
    for bar in range(40):
        places = (verse if bar // 8 % 2 == 0 else chorus).split()
        chord = MAJOR[int(places[bar % 4])]
        lines.append(chord + ("7" if rng.random() < 0.2 else ""))
    return "\n".join(lines) + "\n"


def render(midi: Path, font: Path) -> np.ndarray:
    """Play a MIDI file, float32 `[n, 2]`."""
    synth = tinysoundfont.Synth(gain=-6, samplerate=SAMPLE_RATE)
    sfid = synth.sfload(str(font))
    sequencer = tinysoundfont.Sequencer(synth)

    def replace(event: Any) -> bool:
        program = getattr(event.action, "program", None)
        if program in VOICES:
            event.action.program = VOICES[program]
        return False  # keep it

    for channel in range(16):
        synth.program_select(channel, sfid, 128 if channel == 9 else 0, 0, channel == 9)
    sequencer.midi_load(str(midi), filter=replace)
    parts: list[np.ndarray] = []
    while not sequencer.is_empty() and len(parts) < 110 * 10:
        parts.append(np.frombuffer(synth.generate(SAMPLE_RATE // 10), np.float32).reshape(-1, 2).copy())
    return np.concatenate(parts)


def main() -> None:
    """Render COUNT pieces."""
    music, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 0)  # noqa: S311  (music, no secret)
    home = music / "mma/usr/share/mma"
    fonts = sorted(music.rglob("*.sf2")) + sorted(music.rglob("*.sf3"))
    libraries = [
        p
        for p in sorted((home / "lib/stdlib").glob("*.mma"))
        if not p.stem.startswith(("metronome", "none")) and grooves_of(p)
    ]
    out.mkdir(parents=True, exist_ok=True)
    made = 0
    with tempfile.TemporaryDirectory() as folder:
        while made < count:
            library = rng.choice(libraries)
            source, midi = Path(folder) / "song.mma", Path(folder) / "song.mid"
            midi.unlink(missing_ok=True)
            source.write_text(score(library, rng), encoding="utf-8")
            command = [sys.executable, str(music / "mma/usr/bin/mma"), "-f", str(midi), str(source)]
            done = subprocess.run(  # noqa: S603  (a program of our choice, on a file of ours)
                command, env={**os.environ, "MMA_HOME": str(home)}, capture_output=True, text=True, check=False
            )
            if not midi.is_file():
                sys.stdout.write(f"{library.stem}: {done.stdout[-200:]}{done.stderr[-200:]}\n")
                libraries.remove(library)
                continue
            samples = render(midi, rng.choice(fonts))
            peak = float(np.abs(samples).max(initial=0))
            if peak < 1e-3:
                continue
            np.save(out / f"{made:04d}_{library.stem}.npy", np.round(samples * (0.8 / peak) * 32767).astype(np.int16))
            made += 1


if __name__ == "__main__":
    main()
