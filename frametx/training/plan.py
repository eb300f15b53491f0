"""Which stage a step belongs to, and which songs it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frametx.training.config import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of steps with the same crops.

    Attributes:
        name: pretraining, or the number of the stage.
        start: Its first step.
        end: The step after its last.
        frames: Frames of a crop.
        batch: Songs of a batch, over all processes.
        first_number: The number of its first song.
        denoise: Whether the network shall remove noise instead of voices.
    """

    name: str
    start: int
    end: int
    frames: int
    batch: int
    first_number: int
    denoise: bool = False


def phases_of(config: TrainingConfig) -> list[Phase]:
    """Lay pre-training and stages one after the other."""
    first = config.stages[0]
    rows = [("pretraining", config.pretraining.steps, first.frames, first.batch)]
    rows += [(f"stage {i}", s.steps, s.frames, s.batch) for i, s in enumerate(config.stages, 1)]
    phases, step, number = [], 0, 0
    for name, steps, frames, batch in rows:
        if steps:
            phases.append(
                Phase(
                    name=name,
                    start=step,
                    end=step + steps,
                    frames=frames,
                    batch=batch,
                    first_number=number,
                    denoise=name == "pretraining",
                )
            )
        step += steps
        number += steps * batch * config.optimiser.accumulate
    return phases
