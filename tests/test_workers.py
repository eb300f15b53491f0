"""Several processes over one batch: the same stems, and what happens when one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from frametx.batch import InProcess, plan_batch, run_batch
from frametx.errors import CheckpointError, FrametxError
from frametx.events import Done, Failed, Note, Progress, Start
from frametx.job import Work
from frametx.ledger import Ledger
from frametx.naming import Naming
from frametx.outputs import OutputOptions
from frametx.provenance import recipe_for
from frametx.setup import prepare
from frametx.songs import find_songs
from frametx.workers import Workers
from tests.stand_in import TooLarge


@pytest.fixture
def library(tmp_path):
    """Four songs of noise; c is the longest."""
    folder = tmp_path / "music"
    folder.mkdir()
    for number, (name, n_samples) in enumerate({"a": 9000, "b": 11_000, "c": 60_000, "d": 10_000}.items()):
        samples = np.random.default_rng(number).standard_normal((n_samples, 2)) * 0.1
        soundfile.write(folder / f"{name}.wav", samples, 44_100)
    return folder


@pytest.fixture
def separate(library, tiny_checkpoint, tmp_path):
    """Run the library through a runner into a folder; gives the events."""

    def run(runner, output, *, on_event=lambda _: None):
        setup = prepare(tiny_checkpoint, device="cpu")
        options = OutputOptions(format="wav")
        recipe = recipe_for(setup.models, setup.windows, setup.precision, options)
        work = Work(setup=setup, options=options, recipe=recipe)
        ledger = Ledger(output)
        plan = plan_batch(find_songs([library]), Naming(), output, work, ledger=ledger)
        events = []

        def emit(event):
            events.append(event)
            on_event(event)

        run_batch(plan, work, runner(setup), emit, ledger=ledger)
        return events

    return run


def contents(folder):
    return {path.name: soundfile.read(path, dtype="int16")[0].tobytes() for path in sorted(folder.glob("*.wav"))}


def test_two_workers_give_the_stems_of_one_process(separate, tmp_path):
    """Bit for bit with one thread each; every song is done once and written down."""
    separate(lambda _: InProcess(), tmp_path / "one")
    events = separate(lambda setup: Workers([setup, setup], threads=1), tmp_path / "two")
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    starts = [event.song for event in events if isinstance(event, Start)]
    assert sorted(starts) == sorted(event.song for event in events if isinstance(event, Done))
    assert len((tmp_path / "two" / ".frametx.jsonl").read_text().splitlines()) == 4


def test_the_longest_song_begins_first(separate, tmp_path):
    """So that no worker is left with it at the end. Seen with one worker: of two, the other may be ready sooner."""
    events = separate(lambda setup: Workers([setup], threads=1), tmp_path / "out")
    assert next(event.song for event in events if isinstance(event, Start)).endswith("c.wav")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("times", [1, 2])
def test_a_dead_workers_song_is_tried_once_more(separate, tmp_path, times):
    """Killed once, the song is done by another worker; killed twice, it has failed and the others are done."""
    left = times

    def kill_at_work(event):
        nonlocal left
        if isinstance(event, Progress) and event.song.endswith("c.wav") and event.stage == "separate" and left:
            left -= 1
            (child,) = multiprocessing.active_children()
            os.kill(child.pid, signal.SIGKILL)

    events = separate(lambda setup: Workers([setup], threads=1), tmp_path / "out", on_event=kill_at_work)
    failed = [event for event in events if isinstance(event, Failed)]
    assert len([event for event in events if isinstance(event, Done)]) == 4 - len(failed)
    assert len(failed) == times - 1
    assert all("SIGKILL" in event.message and event.song.endswith("c.wav") for event in failed)
    assert len(contents(tmp_path / "out")) == 2 * (4 - len(failed))
    assert not list((tmp_path / "out").glob(".*.part"))
    assert multiprocessing.active_children() == []


def test_models_that_cannot_be_loaded_are_said_once(separate, tmp_path):
    """A worker that cannot load its models ends the batch with that error, not every song with one of its own."""

    def broken(setup):
        setup = replace(setup, models=(replace(setup.models[0], path=tmp_path / "gone.pth"),))
        return Workers([setup, setup], threads=1)

    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        separate(broken, tmp_path / "out")
    assert multiprocessing.active_children() == []


def too_large(setup):
    """The setup with a model that no process survives."""
    return replace(setup, models=(TooLarge(name="large", path=setup.models[0].path),))


def test_a_worker_too_many_for_the_memory_costs_no_song(separate, tmp_path):
    """What dies while it loads the models is said once and done without; the others do its songs."""
    events = separate(lambda setup: Workers([too_large(setup), setup], threads=1), tmp_path / "out")
    assert [event for event in events if isinstance(event, Failed)] == []
    assert len([event for event in events if isinstance(event, Done)]) == 4
    (note,) = [event.message for event in events if isinstance(event, Note)]
    assert "died while it loaded the models (with exit code 9)" in note


def test_where_no_worker_can_load_the_models_the_batch_ends(separate, tmp_path):
    """Not one song after the other is tried twice, and fails."""
    with pytest.raises(FrametxError, match="died while it loaded the models") as caught:
        separate(lambda setup: Workers([too_large(setup)] * 2, threads=1), tmp_path / "out")
    assert "fewer workers" in caught.value.hint
    assert multiprocessing.active_children() == []
