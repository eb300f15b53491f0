"""Compute what is local in time strip by strip, so that wide hidden layers never exist for a whole window.

Convolutions see a few frames to each side. A strip is therefore cut with that many frames more than are kept of its
result; only the window's own ends are padded with zeros:

    window   |...............................................|
    cut                   |-halo-|------strip------|-halo-|
    kept                         |------strip------|

The result is the same, tensors stay in the processor's caches, and memory is taken for one strip at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

CPU_BYTES = 24 * 2**20
"""The widest layer in a strip on a CPU: below 32 MiB, what is freed is used again instead of given back."""
GPU_VALUES = 128 * 2**20
"""Values of that layer on a GPU, where only memory matters."""
MIN_FRAMES = 32
"""Shorter strips would compute their margins for nothing."""
HALO = 2
"""Two 3x3 convolutions in a row see two frames to each side."""


def in_strips(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    width: int,
    halo: int = HALO,
    stride: int = 1,
    min_frames: int = MIN_FRAMES,
) -> Tensor:
    """Apply a function that sees at most `halo` frames to each side.

    Args:
        function: Maps tensors `[b c t f]` to one `[b out ceil(t / stride) f']`.
        inputs: All with the same number of frames.
        width: Values per frame of the widest layer in the function.
        halo: How far the function sees, in frames; a multiple of `stride`.
        stride: Frames in per frame out.
        min_frames: The shortest strip.

    Returns:
        What `function(*inputs)` is; strips only when no gradient is needed.
    """
    batch, _, n_frames, _ = inputs[0].shape
    values = CPU_BYTES // inputs[0].itemsize if inputs[0].device.type == "cpu" else GPU_VALUES
    size = max(min_frames, values // (batch * width)) // stride * stride
    if torch.is_grad_enabled() or n_frames <= size + 2 * halo:
        return function(*inputs).contiguous()
    out: Tensor | None = None
    for start in range(0, n_frames, size):
        end = min(start + size, n_frames)
        first, last = max(0, start - halo), min(n_frames, end + halo)
        strip = function(*(x[:, :, first:last] for x in inputs))
        kept = strip[:, :, (start - first) // stride : -(-(end - first) // stride)]
        if out is None:
            frames = -(-n_frames // stride)
            out = torch.empty(*strip.shape[:2], frames, strip.shape[3], dtype=strip.dtype, device=strip.device)
        out[:, :, start // stride : -(-end // stride)].copy_(kept)
    assert out is not None
    return out
