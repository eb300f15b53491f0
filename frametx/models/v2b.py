"""v2b: a six-level u-net with twelve attention maps at every level.

Notable features:
- an attention block stands before the first convolution, too
- projections begin with 9x9 convolutions of each map by itself
- the two deepest levels' bodies are matrices over bins and channels instead of convolutions
- the decoder's chain of scores begins with the deepest encoder's
- a positional network without a sinusoid; a later variant with it is read, too
- squared ReLU; the output is a bare matrix over channels

Source: section 7 of the specification of v1 to v6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from frametx.models.attention import ResidualAttention, Scores
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.convolutions import Conv
from frametx.models.held import Workspace
from frametx.models.layers import MultichannelLinear, add, joined, mix_channels, squared_relu
from frametx.models.network import Network, Shapes
from frametx.models.norms import MultichannelLayerNorm
from frametx.models.positional import MAX_FRAMES, PositionalNetwork
from frametx.models.strips import in_strips

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10)
N_LEVELS = len(CHANNEL_FACTORS)
FIRST_LINEAR_LEVEL = 5


def attention(maps: int, features: int, heads: int, chain: str | None = None) -> ResidualAttention:
    """Attention whose projections convolve each map by itself, then mix bins."""

    def projection() -> nn.Module:
        return nn.Sequential(Conv(maps, maps, 9, groups=maps), MultichannelLinear(maps, maps, features, features))

    output = MultichannelLinear(maps, maps, features, features)
    return ResidualAttention((projection(), projection(), projection()), output, features, heads, chain=chain)


class LinearResBlock(nn.Module):
    """As `ResBlock`, with matrices over bins and channels instead of convolutions.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        features: Bins in.
        halve: Whether the bins are halved.
    """

    def __init__(self, in_channels: int, out_channels: int, features: int, *, halve: bool) -> None:
        super().__init__()
        self.norm = MultichannelLayerNorm(in_channels, features)
        self.conv1 = MultichannelLinear(in_channels, out_channels, features, features)
        self.conv2 = MultichannelLinear(out_channels, out_channels, features, features // 2 if halve else features)
        self.identity: nn.Module = nn.Identity()
        if in_channels != out_channels or halve:
            self.identity = Conv(in_channels, out_channels, 1, stride=(2 if halve else 1, 1))

    def forward(self, *parts: Tensor) -> Tensor:
        """Map `[b c t f]`, given in any number of parts, to `[b out t f']`."""
        x = joined(parts)
        h = self.conv2(squared_relu(self.conv1(self.norm(x))))
        return add(h, self.identity(x))


class EncoderTransformer(nn.Module):
    """A transformer block in its maps, appended to the channels.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden maps of the feed-forward part per map.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.embed = Conv(channels, maps, 1, bias=True)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.attn = attention(maps, features, heads, "self")
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.conv1 = Conv(maps, maps * expansion, 3, bias=True)
        self.conv2 = Conv(maps * expansion, maps, 3, bias=True)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Tensor, Scores]:
        """Map `[b c t f]` to `[b c+a t f]`; also returns the maps `[b a t f]` and the summed scores."""
        h = self.embed(x)
        attended, scores = self.attn(self.norm1(h), previous=previous)
        h = add(attended, h)
        h = in_strips(self._feed_forward, h, width=self.conv1.out_channels * x.shape[3])
        return torch.cat((x, h), dim=1), h, scores

    def _feed_forward(self, h: Tensor) -> Tensor:
        return add(self.conv2(squared_relu(self.conv1(self.norm2(h)))), h)


class DecoderTransformer(nn.Module):
    """As the encoder's, with a second attention to the encoder's maps at the same level.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden maps of the feed-forward part per map.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.embed = Conv(channels, maps, 1, bias=True)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.attn1 = attention(maps, features, heads, "self")
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.attn2 = attention(maps, features, heads)
        self.norm3 = MultichannelLayerNorm(maps, features)
        self.conv1 = Conv(maps, maps * expansion, 3, bias=True)
        self.conv2 = Conv(maps * expansion, maps, 3, bias=True)

    def forward(self, x: Tensor, skip_maps: Tensor, skip_scores: Scores, chain: Scores) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to `[b c+a t f]` and the first attention's chain of scores."""
        h = self.embed(x)
        attended, chain = self.attn1(self.norm1(h), previous=chain)
        h = add(attended, h)
        attended, _ = self.attn2(self.norm2(h), skip_maps, skip_scores)
        h = add(attended, h)
        h = in_strips(self._feed_forward, h, width=self.conv1.out_channels * x.shape[3])
        return torch.cat((x, h), dim=1), chain

    def _feed_forward(self, h: Tensor) -> Tensor:
        return add(self.conv2(squared_relu(self.conv1(self.norm3(h)))), h)


class V2b(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads.
        expansion: Hidden maps of the feed-forward parts per map.
        transformer_channels: Attention maps before the first level and at each level.
        sinusoid: Whether the positional network has a sinusoid; then windows end at 4096 frames.
    """

    architecture: ClassVar[str] = "v2b"
    bears_rounding: ClassVar[bool] = False  # squared activations enlarge it

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        expansion: int = 6,
        transformer_channels: Sequence[int] = (12,) * 7,
        sinusoid: bool = False,
    ) -> None:
        max_width = MAX_FRAMES if sinusoid else None
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft, max_width=max_width)
        maps = transformer_channels
        c = [in_channels + 1] + [channels * factor for factor in CHANNEL_FACTORS]  # before the first level, levels 1-6
        f = [n_fft // 2] + [(n_fft // 2) >> level for level in range(N_LEVELS)]
        self.out = nn.Parameter(torch.zeros(out_channels, c[1] + maps[1]))
        nn.init.kaiming_uniform_(self.out, a=5**0.5)
        self.positional_embedding = PositionalNetwork(in_channels, f[0], squared_relu, sinusoid=sinusoid)
        self.enc0_transformer = EncoderTransformer(c[0], maps[0], f[0], num_heads, expansion)
        for k in range(1, N_LEVELS + 1):
            encoder = FrameEncoder(self._body(k, c[k - 1] + maps[k - 1], c[k], f[k - 1], halve=k > 1))
            self.add_module(f"enc{k}", encoder)
            self.add_module(f"enc{k}_transformer", EncoderTransformer(c[k], maps[k], f[k], num_heads, expansion))
        for k in range(N_LEVELS - 1, 0, -1):
            decoder = FrameDecoder(self._body(k, c[k + 1] + maps[k + 1] + c[k] + maps[k], c[k], f[k], halve=False))
            self.add_module(f"dec{k}", decoder)
            self.add_module(f"dec{k}_transformer", DecoderTransformer(c[k], maps[k], f[k], num_heads, expansion))

    @staticmethod
    def _body(level: int, in_channels: int, out_channels: int, features: int, *, halve: bool) -> nn.Module:
        if level >= FIRST_LINEAR_LEVEL:
            return LinearResBlock(in_channels, out_channels, features, halve=halve)
        norm = MultichannelLayerNorm(in_channels, features)
        return ResBlock(in_channels, out_channels, norm, squared_relu, stride=(2 if halve else 1, 1))

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees f / 2^(k-1) bins."""
        x = torch.cat((x, self.positional_embedding(x)), dim=1)
        x, _, scores = self.enc0_transformer(x, Scores(workspace=Workspace()))
        skips: list[tuple[Tensor, Tensor, Scores]] = []
        for k in range(1, N_LEVELS + 1):
            x = self.get_submodule(f"enc{k}")(x)
            x, maps, scores = self.get_submodule(f"enc{k}_transformer")(x, scores)
            skips.append((x, maps, scores))
        chain = skips.pop()[2]
        for k in range(N_LEVELS - 1, 0, -1):
            skip, maps, scores = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip)
            x, chain = self.get_submodule(f"dec{k}_transformer")(x, maps, scores, chain)
        return mix_channels(x, self.out.to(x.dtype))

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """A bare output matrix and a positional network."""
        return "out" in shapes and "positional_embedding.extract1.conv1.weight" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        features = shapes["enc0_transformer.norm1.weight"][2]
        hidden, maps = shapes["enc1_transformer.conv1.weight"][:2]
        return {
            "in_channels": shapes["enc0_transformer.embed.weight"][1] - 1,
            "out_channels": shapes["out"][0],
            "channels": shapes["enc1.body.conv1.weight"][0],
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc0_transformer.attn.embedding.freqs"][0]),
            "expansion": hidden // maps,
            "transformer_channels": [shapes[f"enc{k}_transformer.norm1.weight"][0] for k in range(N_LEVELS + 1)],
            "sinusoid": "positional_embedding.pe" in shapes,
        }
