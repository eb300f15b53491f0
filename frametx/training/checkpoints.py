"""What a training leaves on disk so that it can go on, and what others can use.

last.pt              everything needed to continue, replaced at every checkpoint
model.safetensors    the averaged weights, as every command takes them
best.safetensors     those of the best validation
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch

from frametx.errors import TrainingError
from frametx.models.checkpoint import write_weights
from frametx.renaming import put_in_place

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.models.network import Network
    from frametx.training.config import TrainingConfig

LAST = "last.pt"
MODEL = "model.safetensors"
BEST = "best.safetensors"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint; an interruption leaves the one before.

    Raises:
        TrainingError: It cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{LAST}.part"
    try:
        torch.save(state, part)
    except (OSError, RuntimeError) as error:  # torch's own for a full disk
        part.unlink(missing_ok=True)
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"{folder / LAST} cannot be written: {reason}",
            "is the disk full? The checkpoint before is whole: run the same command again to go on from it",
        ) from error
    put_in_place(part, folder / LAST)


def load_state(folder: Path) -> dict[str, Any] | None:
    """Read the checkpoint; None when there is none yet.

    Raises:
        TrainingError: There is one that cannot be read.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(f"{path} cannot be read: {error}", "remove it to begin again") from error
    if "network" not in state or "step" not in state:
        raise TrainingError(f"{path} is no checkpoint of a training", "choose another output folder")
    return state


def restore(
    state: dict[str, Any], config: TrainingConfig, network: Network, average: Network, optimiser: torch.optim.Optimizer
) -> None:
    """Put a checkpoint's weights and the optimiser's memory in place; its rates, betas and decay stay the config's.

    Raises:
        TrainingError: The checkpoint is of another network or another kind of optimiser.
    """
    kind = state.get("optimiser_kind", config.optimiser.kind)
    if kind != config.optimiser.kind:
        raise TrainingError(
            f"{config.output} holds a training with optimiser.kind = {kind!r}",
            "go on with that, or begin anew from its model.safetensors with --from and another output folder",
        )
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
    try:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"{config.output} holds a training of another network than the config's",
            "choose another output folder, or the architecture and sizes that training had",
        ) from error
    for group, own in zip(optimiser.param_groups, settings, strict=True):
        group.update(own)


def export(network: Network, path: Path, precision: str) -> None:
    """Write weights as safetensors, complete or not at all.

    Raises:
        CheckpointError: The file cannot be written; one that was there before still is.
    """
    dtype = torch.float16 if precision == "fp16" else torch.float32
    state = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    part = path.with_name(f"{path.name}.part")
    write_weights(part, state, network.architecture)
    put_in_place(part, path)
