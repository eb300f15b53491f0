"""v1: the first released network, a six-level u-net with a single attention map.

Notable features:
- an attention block stands before the first convolution, too
- no scores travel between layers
- norms share their weights among all channels
- feed-forward parts are 24 times as wide as the frame
- squared ReLU; the output is a bare matrix over channels
- the decoder's third norm is trained for nothing: the first one is used twice, and the checkpoint needs it so

Source: section 8 of the specification of v1 to v6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from frametx.models.attention import Factor, Scores, attend, split_heads
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, RotaryEmbedding, add, mix_channels, squared_relu
from frametx.models.network import Network
from frametx.models.norms import FrameNorm

if TYPE_CHECKING:
    from frametx.models.network import Shapes

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10)
N_LEVELS = len(CHANNEL_FACTORS)


class Attention(nn.Module):
    """Attention over frames in one map, projections being plain matrices.

    Args:
        features: Bins.
        heads: Heads, consecutive groups of bins.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = features**-0.5
        self.rotary_embedding = RotaryEmbedding(features // heads)
        self.q_proj = MultichannelLinear(1, 1, features, features)
        self.k_proj = MultichannelLinear(1, 1, features, features)
        self.v_proj = MultichannelLinear(1, 1, features, features)
        self.out_proj = MultichannelLinear(1, 1, features, features)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Attend from `x` `[b 1 t f]` to `memory` `[b 1 t f]`."""
        query = self.rotary_embedding(split_heads(self.q_proj(x), self.heads), scale=self.scale)
        key = self.rotary_embedding(split_heads(self.k_proj(memory), self.heads))
        value = split_heads(self.v_proj(memory), self.heads)
        return self.out_proj(attend(Scores({Factor(query, key): 1}), value))  # type: ignore[no-any-return]


class EncoderTransformer(nn.Module):
    """A transformer block in one map, appended to the channels.

    Args:
        channels: Channels in.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden bins of the feed-forward part per bin.
    """

    def __init__(self, channels: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.embed = Conv(channels, 1, 1, bias=True)
        self.norm1 = FrameNorm(features)
        self.attn = Attention(features, heads)
        self.norm2 = FrameNorm(features)
        self.conv1 = MultichannelLinear(1, 1, features, features * expansion)
        self.conv2 = MultichannelLinear(1, 1, features * expansion, features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[b c t f]` to `[b c+1 t f]`; also returns the map `[b 1 t f]`."""
        h = self.embed(x)
        z = self.norm1(h)
        h = add(self.attn(z, z), h)
        h = add(self.conv2(squared_relu(self.conv1(self.norm2(h)))), h)
        return torch.cat((x, h), dim=1), h


class DecoderTransformer(nn.Module):
    """As the encoder's, with a second attention to the encoder's map at the same level.

    Args:
        channels: Channels in.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden bins of the feed-forward part per bin.
    """

    def __init__(self, channels: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.embed = Conv(channels, 1, 1, bias=True)
        self.norm1 = FrameNorm(features)
        self.attn1 = Attention(features, heads)
        self.norm2 = FrameNorm(features)
        self.attn2 = Attention(features, heads)
        self.norm3 = FrameNorm(features)
        self.conv1 = MultichannelLinear(1, 1, features, features * expansion)
        self.conv2 = MultichannelLinear(1, 1, features * expansion, features)

    def forward(self, x: Tensor, skip_map: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b c+1 t f]`."""
        h = self.embed(x)
        z = self.norm1(h)
        h = add(self.attn1(z, z), h)
        h = add(self.attn2(self.norm1(h), skip_map), h)
        h = add(self.conv2(squared_relu(self.conv1(self.norm2(h)))), h)
        return torch.cat((x, h), dim=1)


class Nested(nn.Sequential):
    """A block one name deeper, as the checkpoints have it."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Pass all parts to the block."""
        return self[0](*parts)  # type: ignore[no-any-return]


class V1(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 64 times the heads.
        num_heads: Attention heads.
        expansion: Hidden bins of the feed-forward parts per bin.
    """

    architecture: ClassVar[str] = "v1"
    bears_rounding: ClassVar[bool] = False  # squared activations enlarge it

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        expansion: int = 24,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft)
        c = [in_channels] + [channels * factor for factor in CHANNEL_FACTORS]  # before the first level, levels 1-6
        f = [n_fft // 2] + [(n_fft // 2) >> level for level in range(N_LEVELS)]
        self.out = nn.Parameter(torch.zeros(out_channels, c[1] + 1))
        nn.init.kaiming_uniform_(self.out, a=5**0.5)
        self.enc0_transformer = EncoderTransformer(c[0], f[0], num_heads, expansion)
        for k in range(1, N_LEVELS + 1):
            body = ResBlock(c[k - 1] + 1, c[k], FrameNorm(f[k - 1]), squared_relu, stride=(1 if k == 1 else 2, 1))
            self.add_module(f"enc{k}", FrameEncoder(Nested(body)))
            self.add_module(f"enc{k}_transformer", EncoderTransformer(c[k], f[k], num_heads, expansion))
        for k in range(N_LEVELS - 1, 0, -1):
            body = ResBlock(c[k + 1] + 1 + c[k] + 1, c[k], FrameNorm(f[k]), squared_relu)
            self.add_module(f"dec{k}", FrameDecoder(Nested(body)))
            self.add_module(f"dec{k}_transformer", DecoderTransformer(c[k], f[k], num_heads, expansion))

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees f / 2^(k-1) bins."""
        x, _ = self.enc0_transformer(x)
        skips: list[tuple[Tensor, Tensor]] = []
        for k in range(1, N_LEVELS + 1):
            x = self.get_submodule(f"enc{k}")(x)
            x, appended = self.get_submodule(f"enc{k}_transformer")(x)
            skips.append((x, appended))
        skips.pop()  # the deepest level has no decoder
        for k in range(N_LEVELS - 1, 0, -1):
            skip, appended = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip)
            x = self.get_submodule(f"dec{k}_transformer")(x, appended)
        return mix_channels(x, self.out.to(x.dtype))

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """A bare output matrix and no positional network."""
        return "out" in shapes and "enc0_transformer.attn.rotary_embedding.freqs" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.body.0.conv1.weight"][:2]
        hidden, features = shapes["enc0_transformer.conv1.weight_pw"][1:]
        return {
            "in_channels": in_channels - 1,
            "out_channels": shapes["out"][0],
            "channels": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc0_transformer.attn.rotary_embedding.freqs"][0]),
            "expansion": hidden // features,
        }
