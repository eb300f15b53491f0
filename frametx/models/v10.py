"""v10: a u-net that halves time and keeps all bins at every level.

Notable features:
- frequency is never downsampled: every level attends over frames with whole spectra
- the deeper the level, the more attention maps (1, 2, 4, 8, 12, 14 times `num_attention_maps`)
- attention maps are appended to the channels instead of being added to them
- decoders add the scores of the encoder at their level to both of their attentions
- not one bias; feed-forward parts are 3x3 convolutions; leaky ReLU
- any width, no upper limit

Source: section 6 of the specification of v7 to v10.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frametx.models.attention import ResidualAttention, Scores
from frametx.models.blocks import LeakyBlock, upsample_to
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, add, leaky_relu
from frametx.models.network import Network, Shapes
from frametx.models.norms import MultichannelLayerNorm
from frametx.models.strips import in_strips

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10)
MAP_FACTORS = (1, 2, 4, 8, 12, 14)


def attention(query_channels: int, memory_channels: int, maps: int, features: int, heads: int) -> ResidualAttention:
    """Attention whose projections mix channels, then bins, then neighbouring frames."""

    def projection(channels: int) -> nn.Module:
        return nn.Sequential(
            Conv(channels, maps, 3), MultichannelLinear(maps, maps, features, features), Conv(maps, maps, (1, 3))
        )

    projections = (projection(query_channels), projection(memory_channels), projection(memory_channels))
    return ResidualAttention(projections, MultichannelLinear(maps, maps, features, features), features, heads)


class EncoderTransformer(nn.Module):
    """Attention, whose maps are appended, and a convolutional feed-forward part.

    Args:
        channels: Channels in.
        maps: Attention maps appended.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        joined = channels + maps
        self.norm1 = MultichannelLayerNorm(channels, features)
        self.attn = attention(channels, channels, maps, features, heads)
        self.norm2 = MultichannelLayerNorm(joined, features)
        self.conv1 = Conv(joined, joined * expansion, 3)
        self.conv2 = Conv(joined * expansion, channels, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Scores]:
        """Map `[b c t f]` to `[b c+a t f]`; also returns the maps `[b a t f]` and their scores."""
        maps, scores = self.attn(self.norm1(x))
        y = in_strips(self._feed_forward, x, maps, width=self.conv1.out_channels * x.shape[3])
        return y, y[:, x.shape[1] :], scores

    def _feed_forward(self, x: Tensor, maps: Tensor) -> Tensor:
        h = self.conv2(leaky_relu(self.conv1(self.norm2(torch.cat((x, maps), dim=1)))))
        return torch.cat((add(h.contiguous(), x), maps), dim=1)


class DecoderTransformer(nn.Module):
    """As the encoder's, with a second attention to the encoder's output at the same level.

    Args:
        channels: Channels in.
        maps: Maps of each attention; three times as many are appended.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        joined = channels + 3 * maps
        self.norm1 = MultichannelLayerNorm(channels, features)
        self.self_attn = attention(channels, channels, maps, features, heads)
        self.norm2 = MultichannelLayerNorm(channels + maps, features)
        self.skip_attn = attention(channels + maps, channels + 2 * maps, maps, features, heads)
        self.norm3 = MultichannelLayerNorm(joined, features)
        self.conv1 = Conv(joined, joined * expansion, 3)
        self.conv2 = Conv(joined * expansion, channels, 3)

    def forward(self, x: Tensor, skip: Tensor, skip_maps: Tensor, skip_scores: Scores) -> Tensor:
        """Map `[b c t f]` to `[b c+3a t f]`.

        Args:
            x: `[b c t f]`.
            skip: The encoder's output at this level `[b c+a t f]`.
            skip_maps: Its maps `[b a t f]`.
            skip_scores: Its scores.
        """
        maps, _ = self.self_attn(self.norm1(x), previous=skip_scores)
        asking = self.norm2(torch.cat((x, maps), dim=1))
        # the skip ends in its maps, so they occur twice: as in training
        crossed, _ = self.skip_attn(asking, torch.cat((skip, skip_maps), dim=1), skip_scores)
        width = self.conv1.out_channels * x.shape[3]
        return in_strips(self._feed_forward, x, skip_maps, maps, crossed, width=width)

    def _feed_forward(self, x: Tensor, *appended: Tensor) -> Tensor:
        h = self.conv2(leaky_relu(self.conv1(self.norm3(torch.cat((x, *appended), dim=1)))))
        return torch.cat((add(h.contiguous(), x), *appended), dim=1)


class V10(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        embedding: Channels of the first level.
        n_fft: Size of the STFT.
        num_heads: Attention heads; must divide `n_fft / 2`.
        num_attention_maps: Attention maps of the first level.
        expansion: Hidden channels of the feed-forward parts per channel.
    """

    architecture: ClassVar[str] = "v10"

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        embedding: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 1,
        expansion: int = 4,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft)
        f = n_fft // 2
        c = [embedding * factor for factor in CHANNEL_FACTORS]
        a = [num_attention_maps * factor for factor in MAP_FACTORS]
        for level in range(6):
            i, stride = (in_channels, (1, 1)) if level == 0 else (c[level - 1] + a[level - 1], (1, 2))
            self.add_module(f"enc{level + 1}", LeakyBlock(i, c[level], MultichannelLayerNorm(i, f), stride=stride))
            self.add_module(
                f"enc{level + 1}_transformer", EncoderTransformer(c[level], a[level], f, num_heads, expansion)
            )
        for level in range(4, -1, -1):
            i = c[level + 1] + a[level + 1] * (1 if level == 4 else 3) + c[level] + a[level]
            self.add_module(f"dec{level + 1}", LeakyBlock(i, c[level], MultichannelLayerNorm(i, f)))
            self.add_module(
                f"dec{level + 1}_transformer", DecoderTransformer(c[level], a[level], f, num_heads, expansion)
            )
        self.out = Conv(c[0] + 3 * a[0], out_channels, 1)

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees ceil(t / 2^(k-1)) frames."""
        skips: list[tuple[Tensor, Tensor, Scores]] = []
        for k in range(1, 7):
            x = self.get_submodule(f"enc{k}")(x)
            x, maps, scores = self.get_submodule(f"enc{k}_transformer")(x)
            skips.append((x, maps, scores))
        skips.pop()  # the deepest level has no decoder
        for k in range(5, 0, -1):
            skip, maps, scores = skips.pop()
            x = self.get_submodule(f"dec{k}")(skip, upsample_to(x, skip))
            x = self.get_submodule(f"dec{k}_transformer")(x, skip, maps, scores)
        return self.out(x)  # type: ignore[no-any-return]

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """v10 alone has a third step in its projections."""
        return "enc1_transformer.attn.q_proj.2.weight" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.conv2.weight"][:2]
        maps, features = shapes["enc1_transformer.attn.o_proj.weight_pw"][:2]
        hidden, joined = shapes["enc1_transformer.conv1.weight"][:2]
        return {
            "in_channels": in_channels,
            "out_channels": shapes["out.weight"][0],
            "embedding": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc1_transformer.attn.embedding.freqs"][0]),
            "num_attention_maps": maps,
            "expansion": hidden // joined,
        }
