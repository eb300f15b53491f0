"""v8: a six-level u-net in which every level also attends to the network's input.

Notable features:
- three attentions in a decoder: to itself, to the encoder at its level, to the input with all its bins
- self scores and source scores each form one chain through all eleven blocks, scores of different widths added up
- feed-forward parts see the channels and all attention maps, and are matrices over bins and channels
- projections begin with a 3x3 convolution, so attention maps are made from all channels
- any width, no positional network

Source: section 4 of the specification of v7 to v10.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.attention import ResidualAttention, Scores
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.convolutions import Conv
from frametx.models.held import Workspace
from frametx.models.layers import MultichannelLinear, add, gelu
from frametx.models.network import Network, Shapes
from frametx.models.norms import MultichannelLayerNorm
from frametx.models.strips import in_strips

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10)
N_LEVELS = len(CHANNEL_FACTORS)
ALIGNED = 16  # values; rows that do not begin at whole cache lines cost a matrix product a third more time
MIN_FRAMES = 128  # longer strips than convolutions take: every strip reads all matrices again


class Plane:
    """What is attended to or from at one level: channels and bins."""

    def __init__(self, channels: int, features: int) -> None:
        self.channels = channels
        self.features = features


def attention(
    query_channels: int, memory: Plane, maps: int, features: int, heads: int, *, chain: str | None = None
) -> ResidualAttention:
    """Attention whose projections mix channels around each bin, then bins; memory may have other bins."""

    def projection(plane: Plane) -> nn.Module:
        return nn.Sequential(
            Conv(plane.channels, maps, 3, bias=True), MultichannelLinear(maps, maps, plane.features, features)
        )

    projections = (projection(Plane(query_channels, features)), projection(memory), projection(memory))
    output = MultichannelLinear(maps, maps, features, features, mix=True)
    return ResidualAttention(projections, output, features, heads, chain=chain)


class EncoderTransformer(nn.Module):
    """Attention to itself and to the input, and a feed-forward part that sees both.

    Args:
        channels: Channels in and out.
        features: Bins.
        source: The network's input.
        maps: Maps of each attention.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, features: int, source: Plane, *, maps: int, heads: int, hidden: int) -> None:
        super().__init__()
        joined = channels + 2 * maps
        self.norm = MultichannelLayerNorm(channels, features)
        self.self_attn = attention(channels, Plane(channels, features), maps, features, heads, chain="self")
        self.src_attn = attention(channels + maps, source, maps, features, heads, chain="source")
        self.hidden = hidden
        self.conv1 = MultichannelLinear(joined, joined, features, hidden, mix=True)
        self.conv2 = MultichannelLinear(joined, channels, hidden, features)

    def forward(
        self, x: Tensor, source: Tensor, self_scores: Scores, source_scores: Scores
    ) -> tuple[Tensor, Scores, Scores]:
        """Map `[b c t f]` to the same, and the two chains of scores."""
        h = self.norm(x)
        own, self_scores = self.self_attn(h, previous=self_scores)
        h = torch.cat((h, own), dim=1)
        heard, source_scores = self.src_attn(h, source, source_scores)
        h = torch.cat((h, heard), dim=1)
        y = in_strips(self._feed_forward, h, x, width=h.shape[1] * self.hidden, halo=0, min_frames=MIN_FRAMES)
        return y, self_scores, source_scores

    def _feed_forward(self, h: Tensor, x: Tensor) -> Tensor:
        return add(self.conv2(gelu(self.conv1(h))), x)


class DecoderTransformer(nn.Module):
    """As the encoder's, with attention to the encoder's output at the same level in between.

    Args:
        channels: Channels in and out.
        features: Bins.
        source: The network's input.
        maps: Maps of each attention.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, features: int, source: Plane, *, maps: int, heads: int, hidden: int) -> None:
        super().__init__()
        joined = channels + 3 * maps
        self.norm = MultichannelLayerNorm(channels, features)
        self.self_attn = attention(channels, Plane(channels, features), maps, features, heads, chain="self")
        self.skip_attn = attention(channels + maps, Plane(channels, features), maps, features, heads)
        self.src_attn = attention(channels + 2 * maps, source, maps, features, heads, chain="source")
        self.hidden = hidden
        self.conv1 = MultichannelLinear(joined, joined, features, hidden, mix=True)
        self.conv2 = MultichannelLinear(joined, channels, hidden, features)

    def forward(
        self, x: Tensor, skip: tuple[Tensor, Scores], source: Tensor, self_scores: Scores, source_scores: Scores
    ) -> tuple[Tensor, Scores, Scores]:
        """Map `[b c t f]` to the same, and the two chains of scores; `skip` is the encoder's output with its scores."""
        h = self.norm(x)
        own, self_scores = self.self_attn(h, previous=self_scores)
        h = torch.cat((h, own), dim=1)
        crossed, _ = self.skip_attn(h, *skip)
        h = torch.cat((h, crossed), dim=1)
        heard, source_scores = self.src_attn(h, source, source_scores)
        h = torch.cat((h, heard), dim=1)
        y = in_strips(self._feed_forward, h, x, width=h.shape[1] * self.hidden, halo=0, min_frames=MIN_FRAMES)
        return y, self_scores, source_scores

    def _feed_forward(self, h: Tensor, x: Tensor) -> Tensor:
        return add(self.conv2(gelu(self.conv1(h))), x)


class V8(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 64.
        num_heads: Attention heads.
        num_attention_maps: Maps of each attention.
        expansions: Hidden bins of the feed-forward part per bin, at each level.
    """

    architecture: ClassVar[str] = "v8"

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 1,
        expansions: Sequence[float] = (2.1, 3, 3, 4, 4, 5),
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft)
        maps = num_attention_maps
        c = [channels * factor for factor in CHANNEL_FACTORS]
        f = [(n_fft // 2) >> level for level in range(N_LEVELS)]
        hidden = [int(bins * factor) for bins, factor in zip(f, expansions, strict=True)]
        source = Plane(in_channels, f[0])
        for i in range(N_LEVELS):
            before, bins, stride = (in_channels, f[0], (1, 1)) if i == 0 else (c[i - 1], f[i - 1], (2, 1))
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, bins), gelu, stride=stride)
            encoder = EncoderTransformer(c[i], f[i], source, maps=maps, heads=num_heads, hidden=hidden[i])
            self.add_module(f"enc{i + 1}", FrameEncoder(body))
            self.add_module(f"enc{i + 1}_transformer", encoder)
        for i in range(N_LEVELS - 2, -1, -1):
            before = c[i + 1] + c[i]
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, f[i]), gelu)
            decoder = DecoderTransformer(c[i], f[i], source, maps=maps, heads=num_heads, hidden=hidden[i])
            self.add_module(f"dec{i + 1}", FrameDecoder(body))
            self.add_module(f"dec{i + 1}_transformer", decoder)
        self.out = Conv(c[0], out_channels, 1, bias=True)

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees f / 2^(k-1) bins."""
        source = x.contiguous(memory_format=torch.channels_last)  # all convolutions of it want it so
        skips: list[tuple[Tensor, Scores]] = []
        workspace = Workspace()
        own, heard = Scores(workspace=workspace), Scores(workspace=workspace)
        for k in range(1, N_LEVELS + 1):
            x = self.get_submodule(f"enc{k}")(x)
            x, own, heard = self.get_submodule(f"enc{k}_transformer")(x, source, own, heard)
            skips.append((x, own))
        skips.pop()  # the deepest level has no decoder
        for k in range(N_LEVELS - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip[0])
            x, own, heard = self.get_submodule(f"dec{k}_transformer")(x, skip, source, own, heard)
        return self.out(x)  # type: ignore[no-any-return]

    def cast(self, dtype: torch.dtype) -> Self:
        """As for every network; hidden bins are filled up to whole cache lines by zeros, which stay zeros."""
        for module in self.modules():
            if isinstance(module, (EncoderTransformer, DecoderTransformer)):
                missing = -module.hidden % ALIGNED
                module.conv1.weight_pw.data = F.pad(module.conv1.weight_pw.data, (0, 0, 0, missing))
                module.conv2.weight_pw.data = F.pad(module.conv2.weight_pw.data, (0, missing))
                module.hidden += missing
        return super().cast(dtype)

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """v8 alone attends to its input."""
        return "enc1_transformer.src_attn.q_proj.0.weight" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.body.conv1.weight"][:2]
        maps, features = shapes["enc1_transformer.self_attn.o_proj.weight_pw"][:2]
        hidden = [shapes[f"enc{k}_transformer.conv1.weight_pw"][1:] for k in range(1, N_LEVELS + 1)]
        return {
            "in_channels": in_channels,
            "out_channels": shapes["out.weight"][0],
            "channels": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc1_transformer.self_attn.embedding.freqs"][0]),
            "num_attention_maps": maps,
            "expansions": [shortest_factor(size, bins) for size, bins in hidden],
        }


def shortest_factor(hidden: int, features: int) -> float:
    """Return the factor with the fewest decimals for which `int(features * factor)` is `hidden`."""
    for decimals in range(16):
        factor: float = math.ceil(hidden * 10**decimals / features) / 10.0**decimals
        if int(features * factor) == hidden:
            return factor
    raise ValueError(f"no factor takes {features} to {hidden}")
