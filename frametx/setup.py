"""What a separator is made of, found out before anything is loaded; small enough to send to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from frametx.device import available_devices, dtype_name, has_kernels, pick_device, pick_dtype
from frametx.errors import CheckpointError
from frametx.selftest import agrees_with_cpu
from frametx.snapshots import Model, resolve_models
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Models that are on this machine, and how they run.

    Attributes:
        models: The checkpoints.
        windows: Windows and ensemble, with what a preset says put in.
        device: cpu, mps or cuda:N; never auto.
        precision: fp32, bf16 or fp16; never auto.
    """

    models: tuple[Model, ...]
    windows: WindowOptions
    device: str
    precision: str


def prepare(
    models: str | Path | Sequence[str | Path] = "",
    *,
    device: str = "auto",
    precision: str = "auto",
    windows: WindowOptions | None = None,
    offline: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> Setup:
    """Find the models, fetching what is not here, and decide on a device and a precision.

    All models of a run share one precision: `auto` is float32 where one of them does not bear less.

    Raises:
        FrametxError: A model, device or option that there is not.
    """
    place = _pick_working_device(device, on_note)
    dtype = pick_dtype(precision, place)
    found, windows = resolve_models(
        models, windows or WindowOptions(), offline=offline, on_note=on_note, on_bytes=on_bytes
    )
    if precision == "auto" and dtype != torch.float32 and not all(map(_bears_rounding, found)):
        dtype = torch.float32
    return Setup(models=tuple(found), windows=windows, device=str(place), precision=dtype_name(dtype))


def _bears_rounding(model: Model) -> bool:
    try:
        return model.network_class().bears_rounding
    except CheckpointError:  # said when it is loaded
        return True


def _pick_working_device(name: str, on_note: Callable[[str], None] | None) -> torch.device:
    """The device asked for; `auto` never takes one that computes something else than the CPU does, and says so."""
    device = pick_device(name)
    left_out = [other for other in available_devices() if not has_kernels(other)] if name == "auto" else []
    if left_out and device.type == "cpu" and on_note is not None:
        on_note(f"this PyTorch was not built for {left_out[0]}; the CPU is used instead, see frametx doctor")
    if name == "auto" and device.type == "mps" and not agrees_with_cpu(device):
        if on_note is not None:
            on_note("the GPU computes something else than the CPU, which is used instead; see frametx doctor")
        return torch.device("cpu")
    return device
