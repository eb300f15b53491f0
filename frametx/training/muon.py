"""Muon: momentum for matrices, made orthogonal, so that a step turns all directions of a matrix alike.

Source: K. Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024); steps are scaled to the size of
AdamW's as in J. Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982). torch.optim.Muon knows single
matrices alone; the networks here have stacks of them, one a channel, and kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear

SMALLEST = 32
"""Matrices with a shorter side, the first and last layers' for instance, are AdamW's."""
ADAMW_SIZE = 0.2
"""Root mean square of AdamW's steps, in units of the learning rate."""
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def is_matrix(module: nn.Module, parameter: nn.Parameter) -> bool:
    """Tell whether a module's own parameter is a matrix, a stack of them or a kernel, and large enough."""
    if not isinstance(module, nn.Linear | Conv | MultichannelLinear) or parameter.ndim < 2:
        return False
    return min(_matrices(parameter).shape[-2:]) >= SMALLEST


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups that say `matrices`, whose steps are Muon's.

    Args:
        groups: Groups of parameters, each with `matrices`, a bool, and `weight_decay`.
        lr: Learning rate of all.
        betas: AdamW's.
        momentum: Muon's.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float], momentum: float = 0.95
    ) -> None:
        self.momentum = momentum
        super().__init__(groups, lr=lr, betas=betas)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change all weights that have a gradient; the matrices' gradients are gone afterwards."""
        assert closure is None
        for group in self.param_groups:
            if group["matrices"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._turn(parameter, group["lr"], group["weight_decay"])
                        parameter.grad = None  # AdamW passes over what has none
        super().step()

    def _turn(self, parameter: Tensor, rate: float, weight_decay: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:  # under the names that AdamW reads back
            state["step"], state["exp_avg"] = torch.zeros(()), torch.zeros_like(parameter)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - self.momentum)
        direction = _matrices(gradient.lerp(state["exp_avg"], self.momentum))
        size = ADAMW_SIZE * max(direction.shape[-2:]) ** 0.5
        parameter.mul_(1 - rate * weight_decay)
        parameter.add_(orthogonal(direction).view_as(parameter), alpha=-rate * size)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring all singular values of matrices `[... m n]` near one (0.7 to 1.2), by Newton and Schulz's iteration."""
    turned = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-1, -2) if turned else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = POLYNOMIAL
    for _ in range(ITERATIONS):
        square = x @ x.transpose(-1, -2)
        x = a * x + (b * square + c * square @ square) @ x
    y: Tensor = x.transpose(-1, -2) if turned else x
    return y.contiguous()


def _matrices(tensor: Tensor) -> Tensor:
    """View a matrix, a stack of them or a kernel `[out in f t]` as matrices."""
    return tensor.flatten(1) if tensor.ndim == 4 else tensor
