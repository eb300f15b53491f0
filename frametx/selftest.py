"""Does a device compute what the CPU computes? Some have returned silence or the mix, without an error."""

from __future__ import annotations

import torch

from frametx.models.v10 import V10

TOLERANCE = 1e-2
"""Largest difference of masks; float32 on two devices differs by 1e-5, TF32 by 1e-3, a broken kernel by 0.1 and more."""


def difference_from_cpu(device: torch.device) -> float:
    """Run a tiny network on the device and on the CPU; the largest difference between the masks, in 0..1."""
    generator = torch.Generator().manual_seed(0)
    network = V10(n_fft=256, embedding=2, num_heads=4, expansion=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * max(1, parameter[0].numel()) ** -0.5)
    magnitude = torch.rand(1, 2, 128, 96, generator=generator)
    with torch.inference_mode():
        expected = torch.sigmoid(network(magnitude))
        got = torch.sigmoid(network.to(device)(magnitude.to(device))).cpu()
    difference = (got - expected).abs().max()
    return float(difference) if bool(torch.isfinite(difference)) else float("inf")


def agrees_with_cpu(device: torch.device) -> bool:
    """Whether the device can be trusted; one that raises cannot."""
    try:
        return difference_from_cpu(device) <= TOLERANCE
    except (RuntimeError, NotImplementedError):
        return False
