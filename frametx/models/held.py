"""Residual attention on CPUs: scores held in memory where recomputing them from long lists of factors costs more.

A chain of scores grows by one narrow factor a layer. Recomputing the sum from all its factors soon costs more than
reading and writing it, so a chain may keep its sum in a buffer that every layer updates in place. Other sums are
computed from the nearest buffer: with what is missing added, and with what is too much subtracted.

Everything is done for one head and a block of queries at a time, so that scores are updated, turned into weights and
applied while they lie in the cache. The weights of a whole window never exist.

Factors of bfloat16 are multiplied in it, which rounds a product about as much as its factors were; sums are float32. On
processors with AMX such products cost so little that nothing is kept: all factors make one product for each head, which
is rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from frametx.device import cpu_has_amx
from frametx.models.layers import MIN_COLUMNS

if TYPE_CHECKING:
    from frametx.models.attention import Factor

MIN_FRAMES = 512
"""Below, fused attention over all factors is as fast."""
LIMIT_BYTES = 5 * 2**29
"""The largest buffer: 2.5 GiB. Larger sums are computed from their factors."""
BLOCK_BYTES = 2 * 2**20
"""Scores of one block of queries."""
AMX_BLOCK_BYTES = 8 * 2**20
"""The same with AMX, whose products take half as long for 2048 queries as for 256."""
PASS_WIDTH = 32
"""Adding a buffer costs about as much time as a factor of this width."""

Terms = dict["Factor", int]


@dataclass(slots=True, eq=False)
class Held:
    """A sum of scores in memory.

    Attributes:
        tensor: `[b*a*h t t]`.
        terms: The factors in it and how often; empty when the tensor was never written.
    """

    tensor: Tensor
    terms: Terms = field(default_factory=dict)


class Workspace:
    """The buffers of one forward pass, by the name of the chain that owns each."""

    def __init__(self) -> None:
        self.buffers: dict[str, Held] = {}

    def buffer(self, name: str, like: Factor) -> Held | None:
        """Return the buffer of a chain, made on first use; None where it would be too large."""
        b, a, t, h, _ = like.query.shape
        dtype = score_dtype(like.query)
        if b * a * h * t * t * dtype.itemsize > LIMIT_BYTES:
            return None
        if name not in self.buffers:
            self.buffers[name] = Held(like.query.new_empty(b * a * h, t, t, dtype=dtype))
        return self.buffers[name]


def score_dtype(factor: Tensor) -> torch.dtype:
    """The format in which scores are summed and their softmax is taken: float32 at least."""
    return torch.float64 if factor.dtype == torch.float64 else torch.float32


def worthwhile(value: Tensor, *, summed: bool) -> bool:
    """Tell whether this way of attending is the faster one.

    Args:
        value: `[b a t h d]`.
        summed: Whether the scores are a sum, or will be part of one.
    """
    if value.device.type != "cpu" or value.shape[2] < MIN_FRAMES or torch.is_grad_enabled():
        return False
    # fused attention multiplies bfloat16 no faster than float32, matrix products do
    return value.dtype == torch.bfloat16 or (summed and value.dtype in (torch.float32, torch.float64))


def attend_blockwise(terms: Terms, value: Tensor, workspace: Workspace | None, chain: str | None) -> Tensor:
    """Weigh values by the softmax of a sum of scores, block by block.

    Args:
        terms: Factors and how often each occurs in the sum.
        value: `[b a t h d]`.
        workspace: Buffers to start from.
        chain: The buffer to keep the sum in; None to keep it nowhere.

    Returns:
        `[b a t f]`, heads merged.
    """
    b, a, t, h, d = value.shape
    out = value.new_empty(b, a, t, h, d)
    if value.dtype == torch.bfloat16 and cpu_has_amx():
        _attend_from_factors(terms, value, out)
        return out.flatten(3)
    held = workspace.buffer(chain, next(iter(terms))) if workspace and chain else None
    buffers = list(workspace.buffers.values()) if workspace else []
    added, missing = _nearest(terms, held, [buffer for buffer in buffers if buffer is not held])
    query, key = _matrices(missing)
    values = _heads_apart(value)
    if value.dtype == torch.float32 and 1 < d < MIN_COLUMNS:
        values = F.pad(values, (0, MIN_COLUMNS - d))
    dtype = score_dtype(value)
    size = max(16, BLOCK_BYTES // (t * dtype.itemsize))
    scratch, weights = value.new_empty(2, min(size, t), t, dtype=dtype)
    fresh = held is None or not held.terms
    for i, head in enumerate(_heads(out)):
        for start in range(0, t, size):
            end = min(start + size, t)
            scores = scratch[: end - start] if held is None else held.tensor[i, start:end]
            _update(scores, query[i, start:end], key[i], [other.tensor[i, start:end] for other in added], fresh=fresh)
            torch.softmax(scores, -1, out=weights[: end - start])
            head[start:end] = (weights[: end - start].to(value.dtype) @ values[i])[:, :d]
    if held is not None:
        held.terms = dict(terms)
    return out.flatten(3)


def _attend_from_factors(terms: Terms, value: Tensor, out: Tensor) -> None:
    query, key = _matrices(terms)
    values = _heads_apart(value)
    n_frames = value.shape[2]
    size = max(16, AMX_BLOCK_BYTES // (n_frames * value.itemsize))
    for i, head in enumerate(_heads(out)):
        for start in range(0, n_frames, size):
            end = min(start + size, n_frames)
            weights = torch.softmax(query[i, start:end] @ key[i].t(), -1)  # takes its sums in float32
            head[start:end] = weights @ values[i]


def _update(scores: Tensor, query: Tensor, key: Tensor, added: list[Tensor], *, fresh: bool) -> None:
    if query.dtype != scores.dtype:
        product = query @ key.t()
        scores.copy_(product) if fresh else scores.add_(product)
    elif fresh:
        torch.mm(query, key.t(), out=scores)
    else:
        scores.addmm_(query, key.t())
    for other in added:
        scores.add_(other)


def _nearest(terms: Terms, held: Held | None, others: list[Held]) -> tuple[list[Held], Terms]:
    """Choose the buffers to add so that little is left to compute; returns them and what is left.

    All choices are tried, for two buffers may be worth adding where either alone is not: there are at most two or three.
    """
    start = _without(terms, held.terms) if held else dict(terms)
    written = [other for other in others if other.terms]
    choices = [list(some) for n in range(len(written) + 1) for some in combinations(written, n)]

    def left(added: list[Held]) -> Terms:
        return reduce(_without, (buffer.terms for buffer in added), start)

    best = min(choices, key=lambda added: _width(left(added)) + PASS_WIDTH * len(added))
    return best, left(best)


def _without(terms: Terms, other: Terms) -> Terms:
    left = dict(terms)
    for factor, count in other.items():
        left[factor] = left.get(factor, 0) - count
    return {factor: count for factor, count in left.items() if count}


def _width(terms: Terms) -> int:
    return sum(factor.query.shape[-1] for factor in terms)


def _matrices(terms: Terms) -> tuple[Tensor, Tensor]:
    """Return query and key of a sum as `[b*a*h t d]`, heads apart."""
    queries = [factor.query if count == 1 else factor.query * count for factor, count in terms.items()]
    query, key = torch.cat(queries, dim=-1), torch.cat([factor.key for factor in terms], dim=-1)
    return _heads_apart(query), _heads_apart(key)


def _heads_apart(x: Tensor) -> Tensor:
    """Turn `[b a t h d]` into `[b*a*h t d]`."""
    return x.permute(0, 1, 3, 2, 4).flatten(0, 2).contiguous()


def _heads(x: Tensor) -> list[Tensor]:
    """Return views `[t d]` of `[b a t h d]`, in the order of `_heads_apart`."""
    return [head for maps in x.unbind() for one in maps.unbind() for head in one.unbind(1)]
