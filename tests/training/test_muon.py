"""Muon turns all directions of a matrix alike, and leaves the rest to AdamW."""

from __future__ import annotations

import pytest
import torch

from frametx.models.mini import Mini
from frametx.training.config import OptimiserConfig
from frametx.training.muon import orthogonal
from frametx.training.optimiser import optimiser_for


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (3, 64, 32)])
def test_all_singular_values_come_near_one(shape):
    """However different the directions of a gradient are in size, those of the step are not."""
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, u.shape[-1])
    y = orthogonal(u * values @ v)
    assert y.shape == shape
    assert torch.linalg.svdvals(y).min() > 0.6
    assert torch.linalg.svdvals(y).max() < 1.3


def test_small_matrices_norms_and_biases_step_as_with_adamw():
    """The two kinds differ in the large matrices, and in nothing else."""
    changed = {}
    for kind in ("adamw", "muon"):
        torch.manual_seed(0)
        network = Mini(channels=(32, 32, 32), maps=(2, 2, 2), hidden=(32, 32, 32), heads=1, n_fft=256, stride=4)
        optimiser = optimiser_for(network, OptimiserConfig(kind=kind))
        network(torch.rand(1, 4, 128, 16)).sigmoid().mean().backward()
        optimiser.step()
        changed[kind] = dict(network.named_parameters())
    differing = {name for name, weight in changed["adamw"].items() if not torch.equal(weight, changed["muon"][name])}
    assert {"enc1.conv1.weight", "enc1.conv2.weight", "down2.linear.weight"} <= differing
    assert not [name for name in differing if "norm" in name or "bias" in name or name.startswith("low_out")]
