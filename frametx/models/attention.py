"""Residual attention: softmax over scores that were summed over several layers, without ever holding the scores.

A layer's scores are `q k'`, and a later layer adds its own to them. A sum of products is one product of concatenated
factors, so what travels from layer to layer are the factors:

    softmax(q1 k1' + 2 q2 k2') v  =  attention([q1 2*q2], [k1 k2], v)

Memory grows with the number of frames instead of its square. Exact up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.convolutions import Conv, convolve_together
from frametx.models.held import Workspace, attend_blockwise, score_dtype, worthwhile
from frametx.models.layers import RotaryEmbedding

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNED = 8
"""On CUDA, attention that holds no scores takes widths that are multiples of this in half precision, of 4 in float32."""
MPS_SCORES = 2**28
"""The most scores held at once on Apple's GPUs: they hold all of them, and a tensor of 4 GiB ends the process."""


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """Scores of one layer as a product, ready to be used: rotated, the query scaled.

    Attributes:
        query: `[b a t h d]`.
        key: `[b a t h d]`.
    """

    query: Tensor
    key: Tensor


class Scores:
    """A sum of scores as a list of factors, each with the number of times it occurs.

    Args:
        terms: The factors and their counts; None for an empty sum.
        workspace: Buffers this forward pass may hold scores in, where that is faster.
    """

    def __init__(self, terms: dict[Factor, int] | None = None, workspace: Workspace | None = None) -> None:
        self.terms = terms or {}
        self.workspace = workspace

    def __add__(self, other: Scores) -> Scores:
        """Sum two sums; a factor that occurs in both is kept once."""
        terms = dict(self.terms)
        for factor, count in other.terms.items():
            terms[factor] = terms.get(factor, 0) + count
        return Scores(terms, self.workspace or other.workspace)

    def concatenated(self) -> tuple[Tensor, Tensor]:
        """Return one query and one key `[b a t h d]` whose product is the sum."""
        if len(self.terms) == 1 and next(iter(self.terms.values())) == 1:
            factor = next(iter(self.terms))
            return factor.query, factor.key
        queries = [factor.query if count == 1 else factor.query * count for factor, count in self.terms.items()]
        return torch.cat(queries, dim=-1), torch.cat([factor.key for factor in self.terms], dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """View `[b a t f]` as `[b a t h d]`."""
    return x.view(*x.shape[:-1], heads, -1)


def attend(scores: Scores, value: Tensor, chain: str | None = None) -> Tensor:
    """Weigh the values of all frames by the softmax of the scores; each map and head on its own.

    Args:
        scores: The summed scores.
        value: `[b a t h d]`.
        chain: The chain that will go on from these scores, if any.

    Returns:
        `[b a t f]`, heads merged.
    """
    b, a, t, h, d = value.shape
    if worthwhile(value, summed=chain is not None or len(scores.terms) > 1):
        return attend_blockwise(scores.terms, value, scores.workspace, chain)
    query, key = scores.concatenated()
    width = max(query.shape[-1], d)
    if value.device.type == "cuda":
        width += -width % ALIGNED
    # the fused kernels want the same width everywhere; zeros change nothing
    q, k, v = (F.pad(x, (0, width - x.shape[-1])).flatten(0, 1).transpose(1, 2) for x in (query, key, value))
    y = _attention(q, k, v)  # (b a) h t width
    return y[..., :d].transpose(1, 2).reshape(b, a, t, h * d)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Fused attention `[m h t d]`; on Apple's GPUs, where it is not, for a few queries at a time."""
    if query.device.type != "mps":
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)
    maps, heads, t, _ = query.shape
    parts = torch.split(query, max(1, MPS_SCORES // (maps * heads * t)), dim=2)
    return torch.cat([F.scaled_dot_product_attention(part, key, value, scale=1.0) for part in parts], dim=2)


def attend_to(scores: Tensor, value: Tensor) -> Tensor:
    """As `attend`, for scores that had to be computed: where gates act on them, or where frames are few.

    Args:
        scores: `[b a h t t]`, queries before keys.
        value: `[b a t h d]`.

    Returns:
        `[b a t f]`, heads merged.
    """
    y = scores.softmax(dim=-1, dtype=score_dtype(scores)).to(value.dtype) @ value.transpose(2, 3)  # b a h t d
    return y.transpose(2, 3).flatten(3)


def products(query: Tensor, key: Tensor) -> Tensor:
    """Return the scores `[b a h t t]` of a rotated query and key `[b a t h d]`, in float32 at least."""
    scores = query.transpose(2, 3) @ key.permute(0, 1, 3, 4, 2)
    return scores.to(score_dtype(scores))


def _apply(projections: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """Apply projections to one tensor; those that begin with a convolution begin together."""
    firsts = [projection[0] for projection in projections if isinstance(projection, nn.Sequential)]
    convs = [first for first in firsts if isinstance(first, Conv) and first.groups == 1]
    if len(convs) < len(projections):
        return [projection(x) for projection in projections]
    starts = convolve_together(convs, x)
    rests = [list(projection.children())[1:] for projection in projections]
    return [nn.Sequential(*rest)(start) for rest, start in zip(rests, starts, strict=True)]


class ResidualAttention(nn.Module):
    """Attention over frames for several maps side by side, with scores that add up from layer to layer.

    The score scale is the square root of all bins, not of a head's: as in training.

    Args:
        projections: What makes queries, keys and values `[b a t f]`.
        output: What is applied to the attended values.
        features: Bins of the level.
        heads: Heads, consecutive groups of bins.
        chain: The name of the chain of scores that goes through this attention, if any.
    """

    def __init__(
        self,
        projections: tuple[nn.Module, nn.Module, nn.Module],
        output: nn.Module,
        features: int,
        heads: int,
        *,
        chain: str | None = None,
    ) -> None:
        super().__init__()
        self.chain = chain
        self.heads = heads
        self.scale = features**-0.5
        self.embedding = RotaryEmbedding(features // heads)
        self.q_proj, self.k_proj, self.v_proj = projections
        self.o_proj = output

    def project(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated query, rotated key and value, each `[b a t h d]`, the query scaled."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        if x is memory:
            q, k, v = _apply(projections, x)
        else:
            (q,), (k, v) = _apply(projections[:1], x), _apply(projections[1:], memory)
        query = self.embedding(split_heads(q, self.heads), scale=self.scale)
        key = self.embedding(split_heads(k, self.heads))
        return query, key, split_heads(v, self.heads)

    def forward(self, x: Tensor, memory: Tensor | None = None, previous: Scores | None = None) -> tuple[Tensor, Scores]:
        """Attend.

        Args:
            x: What asks, `[b c t f]`.
            memory: What is asked, `[b c t f]`; None for `x` itself.
            previous: Scores to add.

        Returns:
            Maps `[b a t f]` and the summed scores.
        """
        query, key, value = self.project(x, x if memory is None else memory)
        scores = Scores({Factor(query, key): 1})
        if previous is not None:
            scores = scores + previous
        return self.o_proj(attend(scores, value, self.chain)), scores
