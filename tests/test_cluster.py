"""The batch on a Ray cluster, one of this machine alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import soundfile

from frametx.cluster import Cluster
from frametx.job import Work
from frametx.outputs import OutputOptions
from frametx.provenance import recipe_for
from frametx.setup import prepare

DRIVER = """
    import json, os, signal, sys, threading, time
    from pathlib import Path
    from frametx.batch import plan_batch, run_batch
    from frametx.cluster import Cluster
    from frametx.events import Done, Failed
    from frametx.job import Work
    from frametx.naming import Naming
    from frametx.outputs import OutputOptions
    from frametx.ledger import Ledger
    from frametx.provenance import recipe_for
    from frametx.setup import prepare
    from frametx.songs import find_songs

    def kill_a_worker():
        # a part file is named after the process that writes it
        while True:
            for part in Path("out").glob(".long*.part"):
                os.kill(int(part.name.split(".")[-2].split("-")[0]), signal.SIGKILL)
                Path("killed").touch()
                return
            time.sleep(0.01)

    if __name__ == "__main__":
        cluster = Cluster("local", cpus=2)
        os.chdir("library")  # relative paths are those of whoever separates, not of whoever started the cluster
        setup = prepare(sys.argv[1], device="cpu")
        options = OutputOptions(format="wav")
        recipe = recipe_for(setup.models, setup.windows, setup.precision, options)
        work = Work(setup=setup, options=options, recipe=recipe)
        ledger = Ledger(Path("out"))
        plan = plan_batch(find_songs([Path("music")]), Naming(), Path("out"), work, ledger=ledger)
        threading.Thread(target=kill_a_worker, daemon=True).start()
        summary = run_batch(plan, work, cluster, lambda event: None, ledger=ledger)
        print(json.dumps({"done": summary.done, "failed": summary.failed}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_killed_worker_costs_nothing_but_time(tmp_path, tiny_checkpoint):
    """Two workers, one of which is killed in the middle of its song: every stem is there in the end, none half written."""
    pytest.importorskip("ray", reason="Ray is an extra")
    library = tmp_path / "library"
    (library / "music").mkdir(parents=True)
    for name, n_samples in {"long": 200_000, "a": 9000, "b": 9000, "c": 9000}.items():
        samples = np.random.default_rng(n_samples).standard_normal((n_samples, 2)) * 0.1
        soundfile.write(library / "music" / f"{name}.wav", samples, 44_100)
    (tmp_path / "driver.py").write_text(textwrap.dedent(DRIVER))
    run = subprocess.run(
        [sys.executable, "driver.py", str(tiny_checkpoint)],
        cwd=tmp_path,
        env=os.environ
        | {
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "RAY_raylet_start_wait_time_s": "180",
            "RAY_agent_register_timeout_ms": "180000",
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == {"done": 4, "failed": 0}
    assert (library / "killed").exists()
    for song in (library / "music").iterdir():
        mix, *stems = (
            soundfile.read(path, dtype="int16")[0].astype(int)
            for path in (song, *(library / "out" / f"{song.stem}_{stem}.wav" for stem in ("Instrumental", "Vocals")))
        )
        np.testing.assert_array_equal(stems[0] + stems[1], mix)
    assert not list((library / "out").glob(".*.part"))


def test_a_task_takes_the_gpu_that_it_was_given(tiny_checkpoint, monkeypatch):
    """A task sees its own GPU alone, as the first; the number it had on the machine that asked means nothing there."""
    ray = MagicMock()
    ray.cluster_resources.return_value = {"GPU": 2.0}
    monkeypatch.setitem(sys.modules, "ray", ray)
    setup = replace(prepare(str(tiny_checkpoint), device="cpu"), device="cuda:1")
    options = OutputOptions(format="wav")
    recipe = recipe_for(setup.models, setup.windows, setup.precision, options)
    Cluster("auto").run(Work(setup=setup, options=options, recipe=recipe), iter([]), lambda _: None)
    (work, _folder), *_ = ray.put.call_args.args
    assert work.setup.device == "cuda:0"
    assert ray.remote.call_args.kwargs["num_gpus"] == 1
