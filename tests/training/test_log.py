"""The log of a training that was interrupted: no step twice, no half line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from frametx.training.log import STEPS, Log, read_log

if TYPE_CHECKING:
    from pathlib import Path


def noted(folder: Path, start_step: int, steps: range) -> None:
    log = Log(folder, start_step)
    for step in steps:
        log.step(step, {"loss": 1 / step})
    log.close()


def test_a_resumed_training_has_every_step_once(tmp_path):
    """What the interrupted run noted after its last checkpoint is noted again, not twice, in both forms."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    noted(tmp_path, 0, range(1, 6))
    noted(tmp_path, 3, range(4, 8))
    assert [row["step"] for row in read_log(tmp_path / STEPS)] == [1, 2, 3, 4, 5, 6, 7]
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("training/loss")] == [1, 2, 3, 4, 5, 6, 7]


def test_a_line_cut_by_a_crash_is_dropped(tmp_path):
    """Half a number is not taken for another step."""
    noted(tmp_path, 0, range(10, 13))
    path = tmp_path / STEPS
    path.write_bytes(path.read_bytes() + b"1")
    noted(tmp_path, 12, range(13, 14))
    assert [row["step"] for row in read_log(path)] == [10, 11, 12, 13]
