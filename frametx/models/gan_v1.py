"""gan-v1: a nine-level u-net of Evolved Transformer blocks whose decoders gate scores.

Notable features:
- each level works in very few maps, extracted from the channels and appended to them again
- blocks begin with a gated linear unit and pairs of parallel branches, as in the Evolved Transformer
- decoders attend twice to themselves and twice to the encoder at their level; small 3-d convolutions over heads,
  queries and keys decide how much of the encoder's scores enters: these scores have to be held in memory
- the deepest level attends over all bins of all frames
- squared ReLU; windows end at 4096 frames

Source: section 4 of the specification of v1 to v6; the Evolved Transformer: So, Liang and Le, 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.attention import ResidualAttention, attend_to, products
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.bridge import PlaneAttention
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, add, squared_relu
from frametx.models.network import Network, Shapes
from frametx.models.norms import ChannelNorm, MultichannelLayerNorm
from frametx.models.positional import MAX_FRAMES, PositionalNetwork
from frametx.models.score_gate import ScoreGate

if TYPE_CHECKING:
    from frametx.models.attention import Scores

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
N_LEVELS = len(CHANNEL_FACTORS)


class Attention(ResidualAttention):
    """Attention whose scores are held, because gates act on them.

    Args:
        maps: Attention maps.
        features: Bins.
        heads: Heads, consecutive groups of bins.
    """

    def __init__(self, maps: int, features: int, heads: int) -> None:
        def projection() -> nn.Module:
            return nn.Sequential(
                MultichannelLinear(maps, maps, features, features), Conv(maps, maps, (1, 3), bias=True)
            )

        output = MultichannelLinear(maps, maps, features, features)
        super().__init__((projection(), projection(), projection()), output, features, heads)

    def forward(  # type: ignore[override]
        self, x: Tensor, memory: Tensor | None = None, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from `x` `[b a t f]` to `memory`; returns the same and the summed scores `[b a h t t]`."""
        query, key, value = self.project(x, x if memory is None else memory)
        scores = products(query, key)
        if previous is not None:
            scores = add(scores, previous)
        return self.o_proj(attend_to(scores, value)), scores


class FrameConv(MultichannelLinear):
    """A convolution of each map by itself, then its matrix over the bins.

    Args:
        maps: Maps.
        features: Bins.
        kernel: Size of the kernel; odd.
    """

    def __init__(self, maps: int, features: int, kernel: int) -> None:
        super().__init__(maps, maps, features, features)
        self.conv = Conv(maps, maps, kernel, groups=maps, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b a t f]` to the same."""
        return self.each_channel(self.conv(x))


class EncoderTransformer(nn.Module):
    """An Evolved Transformer encoder block in few maps, appended to the channels.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Identity() if channels == maps else Conv(channels, maps, 1, bias=True)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.glu = nn.Sequential(MultichannelLinear(maps, maps, features, 2 * features))
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.conv1a = MultichannelLinear(maps, maps, features, features)
        self.conv1b = FrameConv(maps, features, 3)
        self.norm3 = MultichannelLayerNorm(maps, features)
        self.conv2 = FrameConv(maps, features, 9)
        self.norm4 = MultichannelLayerNorm(maps, features)
        self.attn = Attention(maps, features, heads)
        self.norm5 = MultichannelLayerNorm(maps, features)
        self.conv3 = MultichannelLinear(maps, maps, features, hidden)
        self.conv4 = MultichannelLinear(maps, maps, hidden, features)

    def forward(self, x: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Map `[b c t f]` to `[b c+a t f]`; also returns the maps `[b a t f]` and the summed scores."""
        h = self.embed(x)
        h = add(F.glu(self.glu(self.norm1(h)), dim=-1), h)
        z = self.norm2(h)
        h = add(add(squared_relu(self.conv1a(z)), squared_relu(self.conv1b(z))), h)
        h = add(self.conv2(self.norm3(h)), h)
        z, scores = self.attn(self.norm4(h), previous=previous)
        h = add(z, h)
        h = add(self.conv4(squared_relu(self.conv3(self.norm5(h)))), h)
        return torch.cat((x, h), dim=1), h, scores


class DecoderTransformer(nn.Module):
    """An Evolved Transformer decoder block in few maps, appended to the channels.

    Args:
        channels: Channels in.
        maps: Maps appended.
        features: Bins.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
        lowest: Whether there is no decoder below whose scores could be gated.
    """

    def __init__(self, channels: int, maps: int, features: int, *, heads: int, hidden: int, lowest: bool) -> None:
        super().__init__()
        self.gate1 = None if lowest else ScoreGate(maps)
        self.gate2 = ScoreGate(maps)
        self.embed = nn.Identity() if channels == maps else Conv(channels, maps, 1, bias=True)
        self.norm1 = MultichannelLayerNorm(maps, features)
        self.attn1a = Attention(maps, features, heads)
        self.attn1b = Attention(maps, features, heads)
        self.norm2 = MultichannelLayerNorm(maps, features)
        self.conv1a = FrameConv(maps, features, 11)
        self.conv1b = FrameConv(maps, features, 7)
        self.norm3 = MultichannelLayerNorm(maps, features)
        self.conv2 = FrameConv(maps, features, 7)
        self.norm4 = MultichannelLayerNorm(maps, features)
        self.attn2 = Attention(maps, features, heads)
        self.norm5 = MultichannelLayerNorm(maps, features)
        self.attn3 = Attention(maps, features, heads)
        self.norm6 = MultichannelLayerNorm(maps, features)
        self.conv3 = MultichannelLinear(maps, maps, features, hidden)
        self.conv4 = MultichannelLinear(maps, maps, hidden, features)

    def forward(
        self, x: Tensor, skip_maps: Tensor, skip_scores: Tensor, scores1: Tensor | None, scores2: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map `[b c t f]` to `[b c+a t f]` and the two chains of scores.

        Args:
            x: `[b c t f]`.
            skip_maps: The encoder's maps at this level `[b a t f]`.
            skip_scores: The encoder's scores at this level.
            scores1: Chain of self scores from the level below; None at the lowest.
            scores2: Chain of cross scores; None at the lowest.
        """
        h = self.embed(x)
        z = self.norm1(h)
        za, scores1 = self.attn1a(z, previous=scores1)
        scores2 = skip_scores if self.gate1 is None or scores2 is None else self.gate1(scores2, skip_scores)
        zb, scores2 = self.attn1b(z, skip_maps, scores2)
        h = add(add(za, zb), h)
        z = self.norm2(h)
        h = add(self.conv2(self.norm3(add(squared_relu(self.conv1a(z)), self.conv1b(z)))), h)
        z, scores1 = self.attn2(self.norm4(h), previous=scores1)
        h = add(z, h)
        z, scores2 = self.attn3(self.norm5(h), skip_maps, self.gate2(scores2, skip_scores))
        h = add(z, h)
        h = add(self.conv4(squared_relu(self.conv3(self.norm6(h)))), h)
        return torch.cat((x, h), dim=1), scores1, scores2


class BridgeLayer(nn.Module):
    """An Evolved Transformer encoder block over the whole plane, at the deepest level.

    Args:
        channels: Channels in and out.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
        kernel: Size of the attention's kernels.
    """

    def __init__(self, channels: int, heads: int, expansion: int, kernel: int) -> None:
        super().__init__()

        def separable(size: int) -> nn.Sequential:
            return nn.Sequential(
                Conv(channels, channels, size, groups=channels, bias=True), Conv(channels, channels, 1, bias=True)
            )

        self.norm1 = ChannelNorm(channels)
        self.glu = nn.Sequential(Conv(channels, 2 * channels, 1, bias=True))
        self.norm2 = ChannelNorm(channels)
        self.conv1a = Conv(channels, channels, 1, bias=True)
        self.conv1b = separable(3)
        self.norm3 = ChannelNorm(channels)
        self.conv2 = separable(9)
        self.norm4 = ChannelNorm(channels)
        self.attn = PlaneAttention(channels, heads, kernel)
        self.norm5 = ChannelNorm(channels)
        self.conv3 = Conv(channels, channels * expansion, 3, bias=True)
        self.conv4 = Conv(channels * expansion, channels, 3, bias=True)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to the same and the summed scores."""
        h = add(F.glu(self.glu(self.norm1(x)), dim=1), x)
        z = self.norm2(h)
        h = add(add(squared_relu(self.conv1a(z)), squared_relu(self.conv1b(z))), h)
        h = add(self.conv2(self.norm3(h)), h)
        z, scores = self.attn(self.norm4(h), previous)
        # begins again from the layer's input: what came before counts through the attention alone, as in training
        h = add(z, x)
        return add(self.conv4(squared_relu(self.conv3(self.norm5(h)))), h), scores


class GanV1(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads.
        num_attention_maps: Attention maps at every level but the deepest.
        expansion: Hidden bins of the feed-forward parts.
        latent_expansion: Hidden channels per channel at the deepest level.
        num_bridge_layers: Layers of the deepest level.
    """

    architecture: ClassVar[str] = "gan-v1"
    bears_rounding: ClassVar[bool] = False  # squared activations enlarge it
    bridge_kernel: ClassVar[int] = 1

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 1,
        expansion: int = 10240,
        latent_expansion: int = 4,
        num_bridge_layers: int = 4,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft, max_width=MAX_FRAMES)
        maps = num_attention_maps
        c = [channels * factor for factor in CHANNEL_FACTORS]
        f = [(n_fft // 2) >> level for level in range(N_LEVELS)]
        self.positional_embedding = PositionalNetwork(in_channels, f[0], squared_relu, sinusoid=True)
        for i in range(N_LEVELS):
            before, bins, stride = (in_channels + 1, f[0], (1, 1)) if i == 0 else (c[i - 1] + maps, f[i - 1], (2, 1))
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, bins), squared_relu, stride=stride)
            self.add_module(f"enc{i + 1}", FrameEncoder(body))
            if i < N_LEVELS - 1:
                transformer = EncoderTransformer(c[i], maps, f[i], num_heads, expansion)
                self.add_module(f"enc{i + 1}_transformer", transformer)
        self.enc9_transformer = nn.ModuleList(
            BridgeLayer(c[-1], num_heads, latent_expansion, self.bridge_kernel) for _ in range(num_bridge_layers)
        )
        for i in range(N_LEVELS - 2, -1, -1):
            lowest = i == N_LEVELS - 2
            before = c[i + 1] + (0 if lowest else maps) + c[i] + maps
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, f[i]), squared_relu)
            decoder = DecoderTransformer(c[i], maps, f[i], heads=num_heads, hidden=expansion, lowest=lowest)
            self.add_module(f"dec{i + 1}", FrameDecoder(body))
            self.add_module(f"dec{i + 1}_transformer", decoder)
        self.out = Conv(c[0] + maps, out_channels, 1, bias=True)

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`; level k sees f / 2^(k-1) bins."""
        x = torch.cat((x, self.positional_embedding(x)), dim=1)
        skips: list[tuple[Tensor, Tensor, Tensor]] = []
        scores: Tensor | None = None
        for k in range(1, N_LEVELS):
            x = self.get_submodule(f"enc{k}")(x)
            x, maps, scores = self.get_submodule(f"enc{k}_transformer")(x, scores)
            skips.append((x, maps, scores))
        x = self.get_submodule(f"enc{N_LEVELS}")(x)
        plane_scores: Scores | None = None
        for layer in self.enc9_transformer:
            x, plane_scores = layer(x, plane_scores)
        scores1: Tensor | None = None
        scores2: Tensor | None = None
        for k in range(N_LEVELS - 1, 0, -1):
            skip, maps, scores = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip)
            x, scores1, scores2 = self.get_submodule(f"dec{k}_transformer")(x, maps, scores, scores1, scores2)
        return self.out(x)  # type: ignore[no-any-return]

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """Gated linear units mark the family, the kernels of the deepest attention the member."""
        kernel = shapes.get("enc9_transformer.0.attn.q_proj.weight", (0,))[-1]
        return "enc1_transformer.glu.0.weight_pw" in shapes and kernel == cls.bridge_kernel

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.body.conv1.weight"][:2]
        maps, hidden, features = shapes["enc1_transformer.conv3.weight_pw"]
        latent_hidden, latent = shapes["enc9_transformer.0.conv3.weight"][:2]
        layers = {name.split(".")[1] for name in shapes if name.startswith("enc9_transformer.")}
        return {
            "in_channels": in_channels - 1,
            "out_channels": shapes["out.weight"][0],
            "channels": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc1_transformer.attn.embedding.freqs"][0]),
            "num_attention_maps": maps,
            "expansion": hidden,
            "latent_expansion": latent_hidden // latent,
            "num_bridge_layers": len(layers),
        }
