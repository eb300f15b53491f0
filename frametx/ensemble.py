"""The masks of several models, joined into one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frametx.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rule(StrEnum):
    """How masks are joined, element by element."""

    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    MEDIAN = "median"


def join_masks(masks: Sequence[Tensor], rule: Rule, weights: Sequence[float] | None = None) -> Tensor:
    """Join masks of one shape.

    Every estimate of the instrumental is `mask * mix`, so the smallest magnitude of several estimates is the smallest
    mask times the mix: joining masks is joining spectra, and the stems still sum to the song.

    Args:
        masks: Masks in 0..1, all of one shape; their order does not matter.
        rule: How.
        weights: For the mean alone: one weight a mask, in the order of the masks, not all zero.
    """
    if len(masks) == 1:
        return masks[0]
    stacked = torch.stack(list(masks))
    match rule:
        case Rule.MIN:
            return stacked.amin(0)
        case Rule.MAX:
            return stacked.amax(0)
        case Rule.MEDIAN:
            ranked = stacked.sort(dim=0).values  # torch.quantile takes no tensors of this size
            return (ranked[(len(masks) - 1) // 2] + ranked[len(masks) // 2]) / 2
        case Rule.MEAN:
            share = stacked.new_tensor(weights or [1.0] * len(masks))
            mean: Tensor = torch.tensordot(share / share.sum(), stacked, dims=1)
            return mean


def check_weights(weights: Sequence[float] | None, n_models: int, rule: Rule) -> None:
    """Refuse weights that cannot be meant.

    Raises:
        UsageError: With the reason.
    """
    if weights is None:
        return
    if rule != Rule.MEAN:
        raise UsageError(f"weights belong to the ensemble rule 'mean', not '{rule}'", "add --ensemble mean")
    if len(weights) != n_models:
        raise UsageError(
            f"{len(weights)} weights for {n_models} models", "give one weight a model, in the models' order"
        )
    if any(weight < 0 for weight in weights) or not sum(weights) > 0:
        raise UsageError(f"weights {list(weights)} must not be negative, and not all zero")
