"""Counts what a network has to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, RotaryEmbedding

if TYPE_CHECKING:
    from frametx.models.network import Network


def operations(network: Network, frames: int) -> int:
    """Count multiplications and additions of one window: convolutions, matrices and attention without its softmax.

    Args:
        network: On the meta device, where nothing is computed.
        frames: A width the network takes.
    """
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += 2 * module.in_features * output.numel()
        elif isinstance(module, Conv):
            total += 2 * module.weight.numel() * output.numel() // module.out_channels
        elif isinstance(module, MultichannelLinear):
            b, _channels, t, f = output.shape
            total += 2 * b * t * module.weight_pw.numel()
            total += 0 if module.weight_dw is None else 2 * b * t * f * module.weight_dw.numel()
        elif isinstance(module, RotaryEmbedding):
            # called for queries and for keys: half of scores and weighted values each, `[b a t h d]`
            total += 2 * output.numel() * output.shape[2]

    for module in network.modules():
        if isinstance(module, (nn.Linear, Conv, MultichannelLinear, RotaryEmbedding)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        # rotary frequencies are made on the CPU even when a network is built without memory
        network.to("meta")(torch.empty(1, network.in_channels, network.n_bins, frames, device="meta"))
    return total
