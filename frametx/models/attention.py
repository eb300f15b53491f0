"""Residual attention: softmax over scores that were summed over several layers, without ever holding the scores.

A layer's scores are `q k'`, and a later layer adds its own to them. A sum of products is one product of concatenated
factors, so what travels from layer to layer are the factors:

    softmax(q1 k1' + 2 q2 k2') v  =  attention([q1 2*q2], [k1 k2], v)

Memory grows with the number of frames instead of its square. Exact up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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
    """A sum of scores as a list of factors, each with the number of times it occurs."""

    def __init__(self, terms: dict[Factor, int] | None = None) -> None:
        self.terms = terms or {}

    def __add__(self, other: Scores) -> Scores:
        """Sum two sums; a factor that occurs in both is kept once."""
        terms = dict(self.terms)
        for factor, count in other.terms.items():
            terms[factor] = terms.get(factor, 0) + count
        return Scores(terms)

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


def attend(scores: Scores, value: Tensor) -> Tensor:
    """Weigh the values of all frames by the softmax of the scores; each map and head on its own.

    Args:
        scores: The summed scores.
        value: `[b a t h d]`.

    Returns:
        `[b a t f]`, heads merged.
    """
    b, a, t, h, d = value.shape
    query, key = scores.concatenated()
    width = max(query.shape[-1], d)
    # the fused kernels want the same width everywhere; zeros change nothing
    q, k, v = (F.pad(x, (0, width - x.shape[-1])).flatten(0, 1).transpose(1, 2) for x in (query, key, value))
    y = F.scaled_dot_product_attention(q, k, v, scale=1.0)  # (b a) h t width
    return y[..., :d].transpose(1, 2).reshape(b, a, t, h * d)
