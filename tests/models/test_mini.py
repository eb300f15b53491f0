"""The bundled network's own promises; what all networks have in common is tested elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frametx.models.detect import architecture_of
from frametx.models.mini import Mini
from frametx.spectrum import Framing
from frametx.windows import WindowOptions, plans


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def small(stride: int = 8) -> Mini:
    torch.manual_seed(0)
    sizes = {"channels": (8, 12, 16), "maps": (2, 3, 3), "hidden": (16, 20, 24), "heads": 2, "detail": 12}
    return Mini(**sizes, n_fft=256, stride=stride).eval()


def magnitudes(width: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 4, 128, width, generator=torch.Generator().manual_seed(1)) ** 4


@pytest.mark.parametrize("stride", [4, 8])
def test_sizes_are_read_back_from_the_tensors(stride):
    """A network built from the shapes alone has the same tensors and the same STFT."""
    network = small(stride)
    shapes = shapes_of(network)
    assert architecture_of(shapes) is Mini
    again = Mini(**Mini.sizes_from(shapes))
    assert shapes_of(again) == shapes
    assert again.framing == network.framing == Framing(n_fft=256, hop=512 // stride)


@pytest.mark.parametrize("width", [1, 7, 130])
def test_any_width_gives_a_logit_for_every_bin(width):
    """Windows of any width come back in their own shape."""
    with torch.inference_mode():
        assert small()(magnitudes(width)).shape == (1, 2, 128, width)


def test_items_of_a_batch_do_not_see_each_other():
    """A window alone and in a batch gets the same logits."""
    network, x = small(), magnitudes(20, batch=3)
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[1:2], network(x[1:2]), rtol=1e-4, atol=1e-5)


def test_silence_is_no_trouble():
    """Digital silence gives finite logits, and so does a gradient through it."""
    network = small()
    logits = network(torch.zeros(1, 4, 128, 12))
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_half_precision_is_close():
    """Convolutions and matrices in bfloat16 move masks by little, with the norms in float32."""
    network, x = small(), magnitudes(40)
    with torch.inference_mode():
        exact = network(x).sigmoid()
        half = network.cast(torch.bfloat16)(x).sigmoid()
    assert half.dtype == torch.float32
    assert (exact - half).abs().mean() < 0.01


def test_every_parameter_learns():
    """No parameter is left out of the graph."""
    network = small().train()
    network(magnitudes(10)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_default_size_fits_the_package():
    """The weights stay below 16 MB in two bytes a parameter."""
    with torch.device("meta"):
        network = Mini()
    assert 2 * sum(p.numel() for p in network.parameters()) < 16e6


def test_a_size_the_levels_cannot_share_is_refused():
    """The STFT size has to be divisible by what three levels and the heads need."""
    with pytest.raises(ValueError, match="divisible"):
        Mini(n_fft=100)


def test_its_windows_are_of_the_length_it_was_trained_on():
    """Without --crop its windows are at most 512 frames wide; with it, as wide as asked for."""
    (usual,) = plans("mini", small(), WindowOptions(), 2000)
    assert max(chunk.width for chunk in usual.chunks) <= 512
    (wide,) = plans("mini", small(), WindowOptions(crop=1000), 2000)
    assert max(chunk.width for chunk in wide.chunks) > 1000
