"""The network that makes one more input channel for v2b to v7: where in spectrum and window a bin is.

A pyramid of blocks halves bins and frames eight times; from every level a wide block extracts one channel, which is
resized to the input, and a last block joins the nine. Most variants see a sinusoid over frames as one more channel; its
table ends at 4096 frames.

Source: section 3.12 of the specification of v1 to v6, section 3.1 of that of v7 to v10.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from frametx.models.blocks import ResBlock, upsample_to
from frametx.models.layers import Activation
from frametx.models.norms import MultichannelLayerNorm

MAX_FRAMES = 4096
CHANNEL_FACTORS = (2, 4, 6, 8, 10, 12, 14, 16)


def sinusoids(features: int, frames: int) -> Tensor:
    """Return sines (even bins) and cosines (odd bins) of the frame's number, `[1 1 f t]`."""
    position = torch.arange(frames, dtype=torch.float32).unsqueeze(1)
    frequencies = torch.exp(torch.arange(0, features, 2) * (-math.log(10000.0) / features))
    table = torch.zeros(frames, features)
    table[:, 0::2] = torch.sin(position * frequencies)
    table[:, 1::2] = torch.cos(position * frequencies)
    return table.t().contiguous()[None, None]


class PositionalNetwork(nn.Module):
    """Nine levels of blocks that yield one channel.

    Args:
        in_channels: Channels of the input.
        features: Bins of the input; divisible by 256.
        activation: The blocks' activation.
        sinusoid: Whether the sinusoid is joined to the input.
    """

    def __init__(self, in_channels: int, features: int, activation: Activation, *, sinusoid: bool) -> None:
        super().__init__()
        self.pe: Tensor | None
        self.register_buffer("pe", sinusoids(features, MAX_FRAMES) if sinusoid else None)
        channels = [in_channels + sinusoid] + [in_channels * factor for factor in CHANNEL_FACTORS]
        for level, c in enumerate(channels):
            norm = MultichannelLayerNorm(c, features >> level)
            self.add_module(f"extract{level + 1}", ResBlock(c, 1, norm, activation, kernel=11))
        for level, (c, out) in enumerate(pairwise(channels)):
            norm = MultichannelLayerNorm(c, features >> level)
            self.add_module(f"encoder{level + 1}", ResBlock(c, out, norm, activation, stride=(2, 2)))
        n_levels = len(channels)
        self.out = ResBlock(n_levels, 1, MultichannelLayerNorm(n_levels, features), activation, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b 1 t f]`."""
        h = x
        if self.pe is not None:
            table = self.pe[..., : x.shape[2]].transpose(2, 3).to(x.dtype)
            h = torch.cat((x, table.expand(x.shape[0], -1, -1, -1)), dim=1)
        extracts = [self.get_submodule("extract1")(h)]
        for level in range(1, len(CHANNEL_FACTORS) + 1):
            h = self.get_submodule(f"encoder{level}")(h)  # b c ceil(t/2^level) f/2^level
            extracts.append(upsample_to(self.get_submodule(f"extract{level + 1}")(h), x))
        return self.out(torch.cat(extracts, dim=1))  # type: ignore[no-any-return]
