"""Steps of the weights: the optimiser, its schedule, the averaged weights."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from frametx.training.muon import Muon, is_matrix

if TYPE_CHECKING:
    from frametx.models.network import Network
    from frametx.training.config import OptimiserConfig


def optimiser_for(network: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """The config's optimiser; it shrinks matrices and kernels, and leaves norms and biases alone."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                (matrices if is_matrix(module, parameter) else others).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay, "matrices": True},
        {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay, "matrices": False},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "matrices": False},
    ]
    groups = [group for group in groups if group["params"]]
    if config.kind == "muon":
        return Muon(groups, lr=config.learning_rate, betas=config.betas)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)


def rate_at(step: int, total: int, config: OptimiserConfig) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then decay to `final_share` of the highest."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    done = min(1.0, step / max(1, total))
    left = {
        "cosine": 0.5 + 0.5 * math.cos(math.pi * done),
        "polynomial": (1 - done) ** config.power,
        "constant": 1.0,
    }[config.decay]
    return float(config.learning_rate * warmup * (config.final_share + (1 - config.final_share) * left))


class Average:
    """Exponential moving average of a network's weights; early on it forgets faster.

    Args:
        network: The network.
        decay: How much is kept a step; 0: the average is the network itself.
    """

    WARMUP = 20

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step."""
        keep = min(self.decay, (step + 1) / (step + self.WARMUP)) if self.decay else 0.0
        for mean, now in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)
        for kept, current in zip(self.network.buffers(), network.buffers(), strict=True):
            kept.copy_(current)
