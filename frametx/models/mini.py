"""mini: the network inside the package, small enough for a wheel and fast enough for any processor.

A u-net over bins with multichannel transformers, as its large relatives, but made for quality per second of CPU:

- windows of 4096 samples, which keep the harmonics of low voices apart, with frames as far apart as in the large ones
- a strided stem in place of convolutions at all bins: steps of 8 bins below 5.5 kHz, where voices have their harmonics,
  and of 24 above; the transposed stem makes the mask from what it made, from the last decoder and, so that single bins
  can be told apart, from the features again
- inside, channels come last: a 3x3 convolution is then twice as fast on a CPU, and mixing channels is a matrix product
- per-channel matrices and attention act on a few maps mixed from the channels
- scores accumulate over the levels of 64 and 32 places (residual attention)
- any width, no positional network; the input is compressed, because raw magnitudes span six orders
- it also sees middle and side, that is, how left and right are in phase: lead voices mostly are, at equal levels

    magnitude                                                    [b 4 t 2048]
    features: compressed, frame-normalised, where sound stands   [b t 2048 7] ----------.
      stem                                                       [b t 128 48] -- skip --. |
        enc2                                                     [b t  64 64] - skip -. | |
          enc3, mid                                              [b t  32 64]         | | |
        dec2                                                     [b t  64 64] --------' | |
      dec1                                                       [b t 128 48] ----------' |
    transposed stem                                              [b 2 t 2048] logits -----'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.attention import Factor, Scores, attend, split_heads
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, RotaryEmbedding, add, gelu
from frametx.models.network import Feeding, Network, Shapes
from frametx.models.norms import MultichannelLayerNorm

if TYPE_CHECKING:
    from collections.abc import Sequence

N_FEATURES = 7
COMPRESSION = 0.3
QUIETEST = 1e-8  # below the song's peak by 160 dB
# make compressed magnitudes of music about as wide as a normal distribution; learned from there
SCALE, SHIFT = 6.0, -0.8


class PlaceNorm(nn.Module):
    """Layer norm over bins and channels of each frame together.

    Args:
        features: Bins.
        channels: Channels.
    """

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features, channels))
        self.bias = nn.Parameter(torch.zeros(features, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[b t f c]`."""
        wide = x.to(self.weight.dtype)
        return F.layer_norm(wide, self.weight.shape, self.weight, self.bias, eps=1e-5).to(x.dtype)


class MapNorm(MultichannelLayerNorm):
    """`MultichannelLayerNorm` with the usual epsilon: silence does not become noise."""

    EPS = 1e-5


class LastConv(Conv):
    """A convolution with a bias over frames and bins, channels last."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b t f c]` to the same."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Down(nn.Module):
    """Join neighbouring bins into one place; a matrix product.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        stride: Bins a place.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(in_channels * stride, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b t f c]` to `[b t f/stride out]`."""
        b, t, f, c = x.shape
        return self.linear(x.reshape(b, t, f // self.stride, c * self.stride))  # type: ignore[no-any-return]


class Up(nn.Module):
    """Split every place into bins; a matrix product.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        stride: Bins a place.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(in_channels, out_channels * stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b t f c]` to `[b t f*stride out]`."""
        b, t, f, _ = x.shape
        return self.linear(x).reshape(b, t, f * self.stride, -1)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A norm and two convolutions beside a shortcut.

    Args:
        channels: Channels in and out.
        features: Bins.
        single: Whether the second convolution is only a matrix over the channels, where bins are many.
    """

    def __init__(self, channels: int, features: int, *, single: bool = False) -> None:
        super().__init__()
        self.norm = PlaceNorm(features, channels)
        self.conv1 = LastConv(channels)
        self.conv2 = nn.Linear(channels, channels) if single else LastConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b t f c]` to the same."""
        return add(self.conv2(gelu(self.conv1(self.norm(x)))), x)


class Transformer(nn.Module):
    """A multichannel transformer on a few maps mixed from the channels, beside a shortcut.

    Args:
        channels: Channels in and out.
        features: Bins.
        maps: Maps.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, features: int, *, maps: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (features // heads) ** -0.5
        self.embed = nn.Linear(channels, maps)
        self.norm1 = MapNorm(maps, features)
        self.qkv_proj = MultichannelLinear(maps, maps, features, 3 * features)
        self.embedding = RotaryEmbedding(features // heads)
        self.o_proj = MultichannelLinear(maps, maps, features, features)
        self.norm2 = MapNorm(maps, features)
        self.conv1 = MultichannelLinear(maps, maps, features, hidden)
        self.conv2 = MultichannelLinear(maps, maps, hidden, features)
        self.out = nn.Linear(2 * maps, channels)

    def forward(self, x: Tensor, previous: Scores | None = None) -> tuple[Tensor, Scores]:
        """Map `[b t f c]` to the same, and the summed scores."""
        h = self.embed(x).permute(0, 3, 1, 2).contiguous()  # b a t f
        query, key, value = (split_heads(p, self.heads) for p in self.qkv_proj(self.norm1(h)).chunk(3, dim=-1))
        scores = Scores({Factor(self.embedding(query, scale=self.scale), self.embedding(key)): 1})
        if previous is not None:
            scores = scores + previous
        h = add(self.o_proj(attend(scores, value)), h)
        u = self.conv2(gelu(self.conv1(self.norm2(h))))
        return add(self.out(torch.cat((h, u), dim=1).permute(0, 2, 3, 1)), x), scores


class Mini(Network):
    """mini at any size.

    Args:
        out_channels: Channels of the mask.
        channels: Channels at the three levels.
        maps: Maps at the three levels; those of the second and third are equal, for their scores are added up.
        hidden: Hidden bins of the feed-forward parts at the three levels.
        heads: Attention heads.
        n_fft: Window of the STFT; divisible by `16 * stride * heads`.
        stride: Bins a place of the stem in the lower quarter of the bins; three times as many above. The hop follows from
            it, so that a checkpoint's tensors say that too: `2 * n_fft / stride`.
        detail: Hidden units that each place of the transposed stem has for its single bins.
    """

    architecture: ClassVar[str] = "mini"
    feeding: ClassVar[Feeding] = Feeding.MAGNITUDE_AND_MIDDLE
    # it was trained on crops of 128 to 256 frames
    usual_window: ClassVar[tuple[int, int] | None] = (448, 32)

    def __init__(
        self,
        *,
        out_channels: int = 2,
        channels: Sequence[int] = (48, 64, 64),
        maps: Sequence[int] = (4, 8, 8),
        hidden: Sequence[int] = (256, 192, 128),
        heads: int = 4,
        n_fft: int = 4096,
        stride: int = 8,
        detail: int = 128,
    ) -> None:
        super().__init__(in_channels=4, out_channels=out_channels, n_fft=n_fft, hop=2 * n_fft // stride)
        if n_fft % (16 * stride * heads):
            raise ValueError(f"n_fft {n_fft} is not divisible by 16 x stride {stride} x {heads} heads")
        self.stride = stride
        f = self.n_bins
        places = f // (2 * stride)
        c1, c2, c3 = channels
        # positions in the lists are levels
        level = [{"maps": m, "hidden": h, "heads": heads} for m, h in zip(maps, hidden, strict=True)]
        self.scale = nn.Parameter(torch.full((1, 1, f, 1), SCALE))
        self.shift = nn.Parameter(torch.full((1, 1, f, 1), SHIFT))
        self.low = Down(N_FEATURES, c1, stride)
        self.high = Down(N_FEATURES, c1, 3 * stride)
        self.enc1 = Block(c1, places, single=True)
        self.enc1_transformer = Transformer(c1, places, **level[0])
        self.down2 = Down(c1, c2, 2)
        self.enc2 = Block(c2, places // 2)
        self.enc2_transformer = Transformer(c2, places // 2, **level[1])
        self.down3 = Down(c2, c3, 2)
        self.enc3 = Block(c3, places // 4)
        self.enc3_transformer = Transformer(c3, places // 4, **level[2])
        self.mid = Block(c3, places // 4)
        self.mid_transformer = Transformer(c3, places // 4, **level[2])
        self.up2 = Up(c3, c2, 2)
        self.dec2 = Block(c2, places // 2)
        self.dec2_transformer = Transformer(c2, places // 2, **level[1])
        self.up1 = Up(c2, c1, 2)
        self.dec1 = Block(c1, places, single=True)
        self.dec1_transformer = Transformer(c1, places, **level[0])
        self.low_detail = Down(N_FEATURES, detail, stride)
        self.high_detail = Down(N_FEATURES, detail, 3 * stride)
        self.context = nn.Linear(2 * c1, detail)
        self.low_out = Up(2 * c1 + detail, out_channels, stride)
        self.high_out = Up(2 * c1 + detail, out_channels, 3 * stride)

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """Tell whether a checkpoint with these tensors is mini."""
        return "low.linear.weight" in shapes and "mid_transformer.qkv_proj.weight_pw" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensor names and shapes."""
        levels = [f"enc{k}_transformer" for k in (1, 2, 3)]
        n_bins = shapes["scale"][2]
        stride = shapes["low.linear.weight"][1] // N_FEATURES
        return {
            "out_channels": shapes["low_out.linear.weight"][0] // stride,
            "channels": tuple(shapes[f"enc{k}.conv1.bias"][0] for k in (1, 2, 3)),
            "maps": tuple(shapes[f"{level}.embed.bias"][0] for level in levels),
            "hidden": tuple(shapes[f"{level}.conv1.weight_pw"][1] for level in levels),
            "heads": n_bins // (4 * stride) // shapes["enc1_transformer.embedding.freqs"][0],
            "n_fft": 2 * n_bins,
            "stride": stride,
            "detail": shapes["context.bias"][0],
        }

    def features(self, x: Tensor) -> Tensor:
        """What the stem sees: compressed magnitudes, the same normalised in each frame, and where sound stands.

        Args:
            x: Magnitudes of left, right, middle and side `[b 4 t f]`.

        Returns:
            `[b t f 7]` in float32.
        """
        wide = x.permute(0, 2, 3, 1).to(self.scale.dtype)
        both, middle, side = torch.split(wide, [2, 1, 1], dim=-1)
        left, right = both.chunk(2, dim=-1)
        level = self._compress(both)
        flat = F.layer_norm(level, level.shape[-2:], eps=1e-3)
        panning = (left - right) / (left + right + 1e-6)
        alike = (middle.square() - side.square()) / (middle.square() + side.square() + 1e-12)
        return torch.cat((level, flat, panning, self._compress(side), alike), dim=-1)

    def _compress(self, magnitude: Tensor) -> Tensor:
        return magnitude.clamp(min=QUIETEST) ** COMPRESSION * self.scale + self.shift

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`."""
        edge = self.n_bins // 4
        # each on its own in memory: views would be multiplied frame by frame, with a copy of the weights for each
        low, high = (part.to(x.dtype).contiguous() for part in self.features(x).tensor_split([edge], dim=2))
        stem = torch.cat((self.low(low), self.high(high)), dim=2)
        skip1, _ = self.enc1_transformer(self.enc1(stem))
        skip2, scores = self.enc2_transformer(self.enc2(self.down2(skip1)))
        z, scores = self.enc3_transformer(self.enc3(self.down3(skip2)), scores)
        z, scores = self.mid_transformer(self.mid(z), scores)
        z, _ = self.dec2_transformer(self.dec2(add(self.up2(z), skip2)), scores)
        z, _ = self.dec1_transformer(self.dec1(add(self.up1(z), skip1)))
        z = torch.cat((z, stem), dim=-1)
        places = [edge // self.stride]
        (z_low, z_high), (c_low, c_high) = (x.tensor_split(places, dim=2) for x in (z, self.context(z)))
        z_low = torch.cat((z_low, gelu(add(self.low_detail(low), c_low))), dim=-1)
        z_high = torch.cat((z_high, gelu(add(self.high_detail(high), c_high))), dim=-1)
        return torch.cat((self.low_out(z_low), self.high_out(z_high)), dim=2).permute(0, 3, 1, 2)

    def cast(self, dtype: torch.dtype) -> Self:
        """Compute convolutions, matrices and attention in `dtype`; norms and rotary angles stay as they are."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.to(dtype)
        return super().cast(dtype)
