"""v9: an autoregressive network that hears its own last two estimates.

Notable features:
- a convolutional u-net halves bins and frames three times; its deepest plane is cut into square chunks
- a transformer attends across chunks, separately for each of the 128 channels, its scores adding up over 17 layers
- instance norms over whole planes: the result depends on all of the window
- no bias but the last; leaky ReLU
- ten input channels: this window, and mixture and estimate of the two windows before
- windows of whole chunks only

Source: section 5 of the specification of v7 to v10.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from frametx.errors import ModelLimitError
from frametx.models.attention import attend_to, products
from frametx.models.blocks import LeakyBlock, upsample_to
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear, RotaryEmbedding, add, leaky_relu
from frametx.models.network import Feeding, Network, Shapes
from frametx.models.norms import PlaneNorm
from frametx.models.strips import GPU_VALUES

DOWNSAMPLING = 8  # of bins and of frames, until the transformer
CACHED_VALUES = 2**20  # hidden values that stay in a processor's caches between two products


class ChunkAttention(nn.Module):
    """Attention across chunks, each channel on its own.

    Args:
        channels: Channels.
        size: Bins and frames of a chunk.
        heads: Heads, consecutive groups of a chunk's bins.
    """

    def __init__(self, channels: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = size**-0.5
        # made for heads of size // heads values, applied to heads of size * size // heads: most are not turned
        self.embedding = RotaryEmbedding(size // heads)
        self.q_proj = self._projection(channels, size)
        self.k_proj = self._projection(channels, size)
        self.v_proj = self._projection(channels, size)
        self.o_proj = MultichannelLinear(channels, channels, size, size)

    @staticmethod
    def _projection(channels: int, size: int) -> nn.Sequential:
        return nn.Sequential(Conv(channels, channels, 3), MultichannelLinear(channels, channels, size, size))

    def forward(self, x: Tensor, n_chunks: int, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map chunks `[(b l) c t f]` to the same and the summed scores `[b c h l l]`."""

        def tokens(y: Tensor) -> Tensor:
            return rearrange(y, "(b l) c t (h f) -> b c l h (f t)", l=n_chunks, h=self.heads)

        query = self.embedding(tokens(self.q_proj(x)), scale=self.scale)
        scores = products(query, self.embedding(tokens(self.k_proj(x))))
        if previous is not None:
            scores = add(scores, previous)
        y = attend_to(scores, tokens(self.v_proj(x)))
        y = rearrange(y, "b c l (f t) -> (b l) c t f", t=x.shape[2])
        return self.o_proj(y.contiguous()), scores


class TransformerLayer(nn.Module):
    """Attention across chunks and a feed-forward part that sees it beside its input.

    Args:
        channels: Channels.
        size: Bins and frames of a chunk.
        heads: Attention heads.
        hidden: Hidden bins of the feed-forward part.
    """

    def __init__(self, channels: int, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = PlaneNorm(channels)
        self.attn = ChunkAttention(channels, size, heads)
        self.norm2 = PlaneNorm(2 * channels)
        self.conv1 = MultichannelLinear(2 * channels, 2 * channels, size, hidden)
        self.conv2 = MultichannelLinear(2 * channels, channels, hidden, size)

    def forward(self, x: Tensor, n_chunks: int, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map chunks `[(b l) c t f]` to the same and the summed scores."""
        attended, scores = self.attn(self.norm1(x), n_chunks, previous)
        h = self._feed_forward(self.norm2(torch.cat((x, attended), dim=1)))
        return add(h, x), scores

    def _feed_forward(self, x: Tensor) -> Tensor:
        """Map `[l 2c t f]` to `[l c t f]`.

        A few channels at a time: until they are mixed none sees another, and all hidden bins of 2048 frames are half a
        gigabyte.
        """
        if torch.is_grad_enabled():
            return self.conv2(leaky_relu(self.conv1(x)))  # type: ignore[no-any-return]
        length, channels, t, f = x.shape
        values = CACHED_VALUES if x.device.type == "cpu" else GPU_VALUES
        size = max(torch.get_num_threads(), values // (length * t * self.conv1.weight_pw.shape[1]))
        frames = x.transpose(0, 1).reshape(channels, length * t, f)
        y = torch.empty_like(frames)
        for first in range(0, channels, size):
            part = slice(first, first + size)
            hidden = torch.bmm(frames[part], self.conv1.weight_pw[part].transpose(1, 2))
            torch.bmm(leaky_relu(hidden), self.conv2.weight_pw[part].transpose(1, 2), out=y[part])
        assert self.conv2.weight_dw is not None
        y = torch.matmul(self.conv2.weight_dw, y.flatten(1))
        return y.view(-1, length, t, f).transpose(0, 1)


class V9(Network):
    """The network.

    Args:
        in_channels: Channels of the input: five times those of the mask.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 16 times the chunk's size.
        num_heads: Attention heads.
        expansion: Hidden bins of the feed-forward parts.
        num_layers: Layers of the transformer.
        chunk_size: Bins and frames of a chunk.
    """

    architecture: ClassVar[str] = "v9"
    feeding: ClassVar[Feeding] = Feeding.HISTORY

    def __init__(
        self,
        *,
        in_channels: int = 10,
        out_channels: int = 2,
        channels: int = 16,
        n_fft: int = 2048,
        num_heads: int = 8,
        expansion: int = 512,
        num_layers: int = 17,
        chunk_size: int = 32,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, n_fft=n_fft)
        self.chunk_size = chunk_size
        c = channels
        self.enc1 = LeakyBlock(in_channels, c, PlaneNorm(in_channels))
        self.enc2 = LeakyBlock(c, 2 * c, PlaneNorm(c), stride=(2, 2))
        self.enc3 = LeakyBlock(2 * c, 4 * c, PlaneNorm(2 * c), stride=(2, 2))
        self.enc4 = LeakyBlock(4 * c, 8 * c, PlaneNorm(4 * c), stride=(2, 2))
        self.transformer = nn.ModuleList(
            TransformerLayer(8 * c, chunk_size, num_heads, expansion) for _ in range(num_layers)
        )
        self.dec3 = LeakyBlock(12 * c, 4 * c, PlaneNorm(12 * c))
        self.dec2 = LeakyBlock(6 * c, 2 * c, PlaneNorm(6 * c))
        self.dec1 = LeakyBlock(3 * c, c, PlaneNorm(3 * c))
        self.out = Conv(c, out_channels, 1, bias=True)

    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`."""
        e1 = self.enc1(x)
        e2 = self.enc2(e1)  # b c ceil(t/2) f/2
        e3 = self.enc3(e2)  # b c ceil(t/4) f/4
        h = self._transform(self.enc4(e3))  # b c ceil(t/8) f/8
        h = self.dec3(e3, upsample_to(h, e3))
        h = self.dec2(e2, upsample_to(h, e2))
        h = self.dec1(e1, upsample_to(h, e1))
        return self.out(h)  # type: ignore[no-any-return]

    def _transform(self, x: Tensor) -> Tensor:
        size = self.chunk_size
        rows, columns = x.shape[3] // size, x.shape[2] // size
        # chunks are numbered along frames first, then along bins
        g = rearrange(x, "b c (j t) (r f) -> (b r j) c t f", r=rows, j=columns).contiguous()
        scores: Tensor | None = None
        for layer in self.transformer:
            g, scores = layer(g, rows * columns, scores)
        return rearrange(g, "(b r j) c t f -> b c (j t) (r f)", r=rows, j=columns).contiguous()

    def fitting_width(self, width: int) -> int:
        """Return the smallest window of whole chunks of at least `width` frames."""
        step = DOWNSAMPLING * self.chunk_size
        return max(1, -(-width // step)) * step

    def check_width(self, width: int) -> None:
        """Accept windows that fill their last chunk up to what downsampling rounds away."""
        if width < 1 or -(-width // DOWNSAMPLING) % self.chunk_size:
            raise ModelLimitError(
                f"v9 takes windows of whole chunks, {DOWNSAMPLING * self.chunk_size} frames each; this one has {width}",
                f"use a window of {self.fitting_width(width)} frames",
            )

    @classmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """v9 alone has a list of transformer layers."""
        return "transformer.0.conv2.weight_dw" in shapes

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        channels, in_channels = shapes["enc1.conv2.weight"][:2]
        hidden, size = shapes["transformer.0.conv1.weight_pw"][1:]
        layers = {name.split(".")[1] for name in shapes if name.startswith("transformer.")}
        return {
            "in_channels": in_channels,
            "out_channels": shapes["out.weight"][0],
            "channels": channels,
            # nothing in the network depends on the number of bins, and every release has the same
            "n_fft": 2048,
            "num_heads": size // (2 * shapes["transformer.0.attn.embedding.freqs"][0]),
            "expansion": hidden,
            "num_layers": len(layers),
            "chunk_size": size,
        }
