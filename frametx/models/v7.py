"""v7: a nine-level u-net that halves frequency, with attention maps appended to the channels.

Notable features:
- frames are never downsampled: all levels attend over the same frames, so scores add up through the whole depth
- each level attends in two maps only, extracted from the channels by a 1x1 convolution and appended to them again
- the decoder's chains of scores take in the encoder's at every level
- feed-forward parts are matrices over the bins, of one absolute hidden size at every level
- a positional network gives one more input channel; windows end at 4096 frames

Source: section 3 of the specification of v7 to v10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from frametx.models.attention import ResidualAttention, Scores
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.convolutions import Conv
from frametx.models.held import Workspace
from frametx.models.layers import MultichannelLinear, add, gelu
from frametx.models.network import Network, Shapes
from frametx.models.norms import MultichannelLayerNorm
from frametx.models.positional import MAX_FRAMES, PositionalNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
N_LEVELS = len(CHANNEL_FACTORS)


def attention(maps: int, features: int, heads: int, chain: str) -> ResidualAttention:
    """Attention whose projections mix bins, then maps and neighbouring frames."""

    def projection() -> nn.Module:
        return nn.Sequential(MultichannelLinear(maps, maps, features, features), Conv(maps, maps, (1, 3), bias=True))

    output = MultichannelLinear(maps, maps, features, features)
    return ResidualAttention((projection(), projection(), projection()), output, features, heads, chain=chain)


def embedding(channels: int, maps: int) -> nn.Module:
    """What extracts the maps from the channels."""
    return nn.Identity() if channels == maps else Conv(channels, maps, 1, bias=True)


class EncoderTransformer(nn.Module):
    """A transformer block in few maps, appended to the channels.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
        mix: Whether its first matrix mixes the maps.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, hidden: int, *, mix: bool) -> None:
        super().__init__()
        self.embed = embedding(channels, maps)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.attn = attention(maps, features, heads, "encoder")
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.conv1 = MultichannelLinear(maps, maps, features, hidden, mix=mix)
        self.conv2 = MultichannelLinear(maps, maps, hidden, features)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to `[b c+a t f]` and the summed scores."""
        h = self.embed(x)
        attended, scores = self.attn(self.norm1(h), previous=previous)
        h = add(attended, h)
        h = add(self.conv2(gelu(self.conv1(self.norm2(h)))), h)
        return torch.cat((x, h), dim=1), scores


class DecoderTransformer(nn.Module):
    """As the encoder's, with a second attention to the encoder's output at the same level.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embed = embedding(channels, maps)
        self.embed_skip = Conv(channels + maps, maps, 1, bias=True)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.attn1 = attention(maps, features, heads, "decoder 1")
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.attn2 = attention(maps, features, heads, "decoder 2")
        self.norm3 = MultichannelLayerNorm(maps, features)
        self.conv1 = MultichannelLinear(maps, maps, features, hidden, mix=True)
        self.conv2 = MultichannelLinear(maps, maps, hidden, features)

    def forward(
        self, x: Tensor, skip: Tensor, skip_scores: Scores, chain1: Scores, chain2: Scores
    ) -> tuple[Tensor, Scores, Scores]:
        """Map `[b c t f]` to `[b c+a t f]` and the two chains of scores.

        Args:
            x: `[b c t f]`.
            skip: The encoder's output at this level `[b c+a t f]`.
            skip_scores: The encoder's summed scores at this level.
            chain1: Scores of the level below, first attention; empty at the lowest.
            chain2: The same of the second attention.
        """
        h = self.embed(x)
        attended, chain1 = self.attn1(self.norm1(h), previous=chain1 + skip_scores)
        h = add(attended, h)
        attended, chain2 = self.attn2(self.norm2(h), self.embed_skip(skip), chain2 + skip_scores + chain1)
        h = add(attended, h)
        h = add(self.conv2(gelu(self.conv1(self.norm3(h)))), h)
        return torch.cat((x, h), dim=1), chain1, chain2


class V7(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads; half as many at the ninth level.
        num_attention_maps: Attention maps at every level.
        expansions: Hidden bins of the feed-forward part at each level.
    """

    architecture: ClassVar[str] = "v7"
    encoders_mix: ClassVar[bool] = False

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 2,
        expansions: Sequence[int] = (4096,) * N_LEVELS,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft, max_width=MAX_FRAMES)
        maps = num_attention_maps
        c = [channels * factor for factor in CHANNEL_FACTORS]
        f = [(n_fft // 2) >> level for level in range(N_LEVELS)]
        self.positional_embedding = PositionalNetwork(in_channels, f[0], gelu, sinusoid=True)
        for i in range(N_LEVELS):
            before, bins, stride = (in_channels + 1, f[0], (1, 1)) if i == 0 else (c[i - 1] + maps, f[i - 1], (2, 1))
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, bins), gelu, stride=stride)
            heads = num_heads if i < N_LEVELS - 1 else num_heads // 2
            transformer = EncoderTransformer(c[i], maps, f[i], heads, expansions[i], mix=self.encoders_mix)
            self.add_module(f"enc{i + 1}", FrameEncoder(body))
            self.add_module(f"enc{i + 1}_transformer", transformer)
        for i in range(N_LEVELS - 2, -1, -1):
            before = c[i + 1] + 2 * maps + c[i]
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, f[i]), gelu)
            self.add_module(f"dec{i + 1}", FrameDecoder(body))
            self.add_module(f"dec{i + 1}_transformer", DecoderTransformer(c[i], maps, f[i], num_heads, expansions[i]))
        self.out = Conv(c[0] + maps, out_channels, 1, bias=True)

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees f / 2^(k-1) bins."""
        x = torch.cat((x, self.positional_embedding(x)), dim=1)
        skips: list[tuple[Tensor, Scores]] = []
        workspace = Workspace()
        scores: Scores | None = Scores(workspace=workspace)
        for k in range(1, N_LEVELS):
            x = self.get_submodule(f"enc{k}")(x)
            x, scores = self.get_submodule(f"enc{k}_transformer")(x, scores)
            skips.append((x, scores))
        x = self.get_submodule(f"enc{N_LEVELS}")(x)
        x, _ = self.get_submodule(f"enc{N_LEVELS}_transformer")(x, None)  # other heads: no scores in or out
        chain1, chain2 = Scores(workspace=workspace), Scores(workspace=workspace)
        for k in range(N_LEVELS - 1, 0, -1):
            skip, scores = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip)
            x, chain1, chain2 = self.get_submodule(f"dec{k}_transformer")(x, skip, scores, chain1, chain2)
        return self.out(x)  # type: ignore[no-any-return]

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """v6 and v7 alone embed skips; only v6 mixes maps in encoders."""
        mixes = "enc1_transformer.conv1.weight_dw" in shapes
        return "dec1_transformer.embed_skip.weight" in shapes and mixes == cls.encoders_mix

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.body.conv1.weight"][:2]
        maps, features = shapes["enc1_transformer.attn.o_proj.weight_pw"][:2]
        levels = range(1, N_LEVELS + 1)
        return {
            "in_channels": in_channels - 1,
            "out_channels": shapes["out.weight"][0],
            "channels": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc1_transformer.attn.embedding.freqs"][0]),
            "num_attention_maps": maps,
            "expansions": [shapes[f"enc{k}_transformer.conv1.weight_pw"][1] for k in levels],
        }
