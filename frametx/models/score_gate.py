"""The gates of gan-v1's decoders, which decide how much of the encoder's scores enters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.convolutions import convolve_channels_last
from frametx.models.layers import squared_relu
from frametx.models.strips import in_strips


class ScoreGate(nn.Module):
    """Mix two sets of scores by a share computed from both around each head, query and key.

    Args:
        maps: Attention maps.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        first = nn.Conv3d(2 * maps, maps, 3, padding=1)
        second = nn.Conv3d(maps, 1, 3, padding=1)
        self.add_module("0", first)
        self.add_module("2", second)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Mix `[b a h t t]` and `[b a h t t]`."""
        maps, heads = own.shape[1:3]
        first, second = (_heads_as_channels(self.get_submodule(name), heads) for name in ("0", "2"))

        def mixed(own: Tensor, other: Tensor) -> Tensor:  # both b (a h) queries t
            hidden = squared_relu(_convolve(torch.cat((own, other), dim=1), *first))
            share = torch.sigmoid(_convolve(hidden, *second)).contiguous()  # b h queries t
            return torch.lerp(other, own, share.repeat(1, maps, 1, 1))

        y = in_strips(mixed, own.flatten(1, 2), other.flatten(1, 2), width=2 * maps * heads * own.shape[-1])
        return y.view(own.shape)


def _heads_as_channels(conv: nn.Module, heads: int) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of the 2-d convolution that does the same when every head is a channel.

    Most of its factors are zero, and it still takes a tenth of the time: kernels are written for many channels.
    """
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    ones = torch.ones(heads, heads, dtype=weight.dtype, device=weight.device)
    bands = torch.stack([ones.triu(shift).tril(shift) for shift in (-1, 0, 1)])  # shift, head out, head in
    turned = torch.einsum("ocsqk,shg->ohcgqk", weight, bands)
    return turned.flatten(2, 3).flatten(0, 1), bias.repeat_interleave(heads)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return F.conv2d(x, weight.contiguous(), bias, padding=1)  # as in `Conv`
    return convolve_channels_last(x, weight, bias, (1, 1), (1, 1))
