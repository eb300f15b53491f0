"""Attention over the whole plane of bins and frames, for the deepest level of v4, gan-v1 and libft2.

Source: section 3.11 of the specification of v1 to v6.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from frametx.models.attention import Factor, Scores, attend
from frametx.models.convolutions import Conv
from frametx.models.layers import RotaryEmbedding


class PlaneAttention(nn.Module):
    """Attention among all bins of all frames, channels being the features.

    The score scale is the square root of all channels, not of a head's: as in training.

    Args:
        channels: Channels.
        heads: Heads, consecutive groups of channels.
        kernel: Size of the projections' kernels.
    """

    def __init__(self, channels: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = channels**-0.5
        self.embedding = RotaryEmbedding(channels // heads)
        self.q_proj = Conv(channels, channels, kernel, bias=True)
        self.k_proj = Conv(channels, channels, kernel, bias=True)
        self.v_proj = Conv(channels, channels, kernel, bias=True)
        self.o_proj = Conv(channels, channels, kernel, bias=True)

    def forward(self, x: Tensor, previous: Scores | None) -> tuple[Tensor, Scores]:
        """Map `[b c t f]` to the same and the summed scores of all places."""

        def tokens(y: Tensor) -> Tensor:
            # places are numbered along frames first, then along bins; one map
            return rearrange(y, "b (h d) t f -> b 1 (f t) h d", h=self.heads).contiguous()

        query = self.embedding(tokens(self.q_proj(x)), scale=self.scale)
        scores = Scores({Factor(query, self.embedding(tokens(self.k_proj(x)))): 1})
        if previous is not None:
            scores = scores + previous
        y = attend(scores, tokens(self.v_proj(x)))
        return self.o_proj(rearrange(y, "b 1 (f t) c -> b c t f", t=x.shape[2]).contiguous()), scores
