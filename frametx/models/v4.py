"""v4: a nine-level u-net with fifteen attention maps at every level, which also sees the phase.

Notable features:
- four input channels: left and right magnitude, left and right phase as a fraction of the circle
- attention maps come from all channels by 3x3 convolutions and go back into them: nothing is appended
- feed-forward parts are 3x3 convolutions
- the deepest level attends over all bins of all frames, four layers deep
- biases everywhere but in the u-net's bodies; GELU; windows end at 4096 frames

Source: section 5 of the specification of v1 to v6.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frametx.models.attention import Factor, ResidualAttention, Scores, attend
from frametx.models.blocks import FrameDecoder, FrameEncoder, ResBlock
from frametx.models.bridge import PlaneAttention
from frametx.models.convolutions import Conv
from frametx.models.held import Workspace
from frametx.models.layers import MultichannelLinear, add, gelu
from frametx.models.network import Feeding, Network, Shapes
from frametx.models.norms import ChannelNorm, MultichannelLayerNorm
from frametx.models.positional import MAX_FRAMES, PositionalNetwork
from frametx.models.strips import in_strips

CHANNEL_FACTORS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
N_LEVELS = len(CHANNEL_FACTORS)


class Attention(ResidualAttention):
    """Attention in maps made from all channels, joined with the channels and mixed back into them.

    Args:
        channels: Channels in and out.
        maps: Attention maps.
        features: Bins.
        heads: Heads, consecutive groups of bins.
        chain: The name of the chain of scores that goes through this attention, if any.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, *, chain: str | None = None) -> None:
        def projection() -> nn.Module:
            return nn.Sequential(Conv(channels, maps, 3, bias=True), MultichannelLinear(maps, maps, features, features))

        mixed = MultichannelLinear(maps, maps, features, features, mix=True)
        super().__init__((projection(), projection(), projection()), mixed, features, heads, chain=chain)
        # the checkpoints call the matrices `o_linear` and have a convolution under the usual name
        del self.o_proj
        self.o_linear = mixed
        self.o_proj = Conv(channels + maps, channels, 3, bias=True)

    def forward(self, x: Tensor, memory: Tensor | None = None, previous: Scores | None = None) -> tuple[Tensor, Scores]:
        """Attend from `x` `[b c t f]` to `memory`; returns `[b c t f]` and the summed scores."""
        query, key, value = self.project(x, x if memory is None else memory)
        scores = Scores({Factor(query, key): 1})
        if previous is not None:
            scores = scores + previous
        attended = self.o_linear(attend(scores, value, self.chain))
        width = (x.shape[1] + attended.shape[1]) * x.shape[3]
        return in_strips(self._out, x, attended, width=width, halo=1), scores

    def _out(self, x: Tensor, attended: Tensor) -> Tensor:
        return self.o_proj(torch.cat((x, attended), dim=1))  # type: ignore[no-any-return]


class EncoderTransformer(nn.Module):
    """Attention and a convolutional feed-forward part, both added.

    Args:
        channels: Channels in and out.
        maps: Attention maps.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = MultichannelLayerNorm(channels, features)
        self.attn = Attention(channels, maps, features, heads, chain="encoder")
        self.norm2 = MultichannelLayerNorm(channels, features)
        self.conv1 = Conv(channels, channels * expansion, 3, bias=True)
        self.conv2 = Conv(channels * expansion, channels, 3, bias=True)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to the same and the summed scores."""
        attended, scores = self.attn(self.norm1(x), previous=previous)
        h = add(attended, x)
        return in_strips(self._feed_forward, h, width=self.conv1.out_channels * x.shape[3]), scores

    def _feed_forward(self, h: Tensor) -> Tensor:
        return add(self.conv2(gelu(self.conv1(self.norm2(h)))), h)


class DecoderTransformer(nn.Module):
    """As the encoder's, with a second attention to the encoder's output at the same level.

    Args:
        channels: Channels in and out.
        maps: Attention maps.
        features: Bins.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
    """

    def __init__(self, channels: int, maps: int, features: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = MultichannelLayerNorm(channels, features)
        self.attn1 = Attention(channels, maps, features, heads, chain="decoder")
        self.norm2 = MultichannelLayerNorm(channels, features)
        self.attn2 = Attention(channels, maps, features, heads)
        self.norm3 = MultichannelLayerNorm(channels, features)
        self.conv1 = Conv(channels, channels * expansion, 3, bias=True)
        self.conv2 = Conv(channels * expansion, channels, 3, bias=True)

    def forward(self, x: Tensor, skip: Tensor, skip_scores: Scores, chain: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to the same and the first attention's chain of scores."""
        attended, chain = self.attn1(self.norm1(x), previous=chain)
        # what is normalised here is the attended part alone: as in training
        asking = self.norm2(attended)
        h = add(attended, x)
        attended, _ = self.attn2(asking, skip, skip_scores)
        h = add(attended, h)
        return in_strips(self._feed_forward, h, width=self.conv1.out_channels * x.shape[3]), chain

    def _feed_forward(self, h: Tensor) -> Tensor:
        return add(self.conv2(gelu(self.conv1(self.norm3(h)))), h)


class BridgeLayer(nn.Module):
    """Attention over the whole plane and a convolutional feed-forward part.

    Args:
        channels: Channels in and out.
        heads: Attention heads.
        expansion: Hidden channels of the feed-forward part per channel.
    """

    def __init__(self, channels: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attn = PlaneAttention(channels, heads, kernel=1)
        self.norm2 = ChannelNorm(channels)
        self.conv1 = Conv(channels, channels * expansion, 3, bias=True)
        self.conv2 = Conv(channels * expansion, channels, 3, bias=True)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to the same and the summed scores."""
        attended, scores = self.attn(self.norm1(x), previous)
        h = add(attended, x)
        return add(self.conv2(gelu(self.conv1(self.norm2(h)))), h), scores


class V4(Network):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads.
        num_attention_maps: Attention maps at every level but the deepest.
        expansion: Hidden channels of the feed-forward parts per channel.
        latent_expansion: The same at the deepest level.
        num_bridge_layers: Layers of the deepest level.
    """

    architecture: ClassVar[str] = "v4"
    feeding: ClassVar[Feeding] = Feeding.MAGNITUDE_AND_PHASE

    def __init__(
        self,
        *,
        in_channels: int = 4,
        out_channels: int = 2,
        channels: int = 8,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 15,
        expansion: int = 4,
        latent_expansion: int = 4,
        num_bridge_layers: int = 4,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft, max_width=MAX_FRAMES)
        maps = num_attention_maps
        c = [channels * factor for factor in CHANNEL_FACTORS]
        f = [(n_fft // 2) >> level for level in range(N_LEVELS)]
        self.positional_embedding = PositionalNetwork(in_channels, f[0], gelu, sinusoid=True)
        for i in range(N_LEVELS):
            before, bins, stride = (in_channels + 1, f[0], (1, 1)) if i == 0 else (c[i - 1], f[i - 1], (2, 1))
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, bins), gelu, stride=stride)
            self.add_module(f"enc{i + 1}", FrameEncoder(body))
            if i < N_LEVELS - 1:
                transformer = EncoderTransformer(c[i], maps, f[i], num_heads, expansion)
                self.add_module(f"enc{i + 1}_transformer", transformer)
        self.enc9_transformer = nn.ModuleList(
            BridgeLayer(c[-1], num_heads, latent_expansion) for _ in range(num_bridge_layers)
        )
        for i in range(N_LEVELS - 2, -1, -1):
            before = c[i + 1] + c[i]
            body = ResBlock(before, c[i], MultichannelLayerNorm(before, f[i]), gelu)
            self.add_module(f"dec{i + 1}", FrameDecoder(body))
            self.add_module(f"dec{i + 1}_transformer", DecoderTransformer(c[i], maps, f[i], num_heads, expansion))
        self.out = nn.Sequential(
            Conv(c[0], 2 * c[0], 1, bias=True), nn.GELU(), Conv(2 * c[0], out_channels, 1, bias=True)
        )

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
        scores = None
        for layer in self.enc9_transformer:
            x, scores = layer(x, scores)
        chain: Scores | None = Scores(workspace=workspace)
        for k in range(N_LEVELS - 1, 0, -1):
            skip, scores = skips.pop()
            x = self.get_submodule(f"dec{k}")(x, skip)
            x, chain = self.get_submodule(f"dec{k}_transformer")(x, skip, scores, chain)
        return self.out(x)  # type: ignore[no-any-return]

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """v4 alone ends in two convolutions."""
        return "out.2.weight" in shapes and "enc1_transformer.attn.o_linear.weight_pw" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.body.conv1.weight"][:2]
        maps, features = shapes["enc1_transformer.attn.o_linear.weight_pw"][:2]
        hidden, inner = shapes["enc1_transformer.conv1.weight"][:2]
        latent_hidden, latent = shapes["enc9_transformer.0.conv1.weight"][:2]
        layers = {name.split(".")[1] for name in shapes if name.startswith("enc9_transformer.")}
        return {
            "in_channels": in_channels - 1,
            "out_channels": shapes["out.2.weight"][0],
            "channels": channels,
            "n_fft": 2 * features,
            "num_heads": features // (2 * shapes["enc1_transformer.attn.embedding.freqs"][0]),
            "num_attention_maps": maps,
            "expansion": hidden // inner,
            "latent_expansion": latent_hidden // latent,
            "num_bridge_layers": len(layers),
        }
