"""The package's networks against the plain ones, in widths and batches the recordings do not have."""

from __future__ import annotations

import pytest
import torch

from frametx.models.detect import NETWORKS
from tests.reference.networks import reference

SMALL = {
    "v10": {"embedding": 2, "n_fft": 48, "num_heads": 3, "expansion": 2},
    "v9": {"channels": 2, "n_fft": 256, "num_heads": 2, "expansion": 12, "num_layers": 3, "chunk_size": 8},
    "v8": {"channels": 2, "n_fft": 384, "num_heads": 2, "num_attention_maps": 2, "expansions": [1.1, 1.3, 2, 2, 2, 3]},
    "v7": {"channels": 3, "n_fft": 512, "num_heads": 2, "expansions": [20, 18, 16, 14, 12, 10, 8, 6, 4]},
    "v6": {"channels": 3, "n_fft": 512, "num_heads": 2, "num_attention_maps": 2, "expansion": 12},
    "v4": {"channels": 2, "n_fft": 512, "num_heads": 1, "num_attention_maps": 3, "expansion": 2},
    "gan-v1": {"channels": 2, "n_fft": 512, "num_heads": 1, "expansion": 12, "num_bridge_layers": 2},
    "libft2": {"channels": 2, "n_fft": 512, "num_heads": 1, "num_attention_maps": 2, "num_bridge_layers": 2},
    "v2b": {"channels": 2, "n_fft": 512, "num_heads": 2, "expansion": 2, "transformer_channels": [2] * 7},
    "v1": {"channels": 2, "n_fft": 192, "num_heads": 3, "expansion": 3},
}
WIDTHS = {"v9": 122}


@pytest.fixture(params=SMALL)
def network(request):
    torch.manual_seed(1)
    network = NETWORKS[request.param](**SMALL[request.param]).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() in (1, 3) and parameter.shape[-2:] != parameter.shape[-1:]:
                parameter.add_(0.2 * torch.randn_like(parameter) * parameter.abs().amax())
    return network


def magnitudes(network, batch, width):
    torch.manual_seed(2)
    return torch.rand(batch, network.in_channels, network.n_bins, width) ** 2


def plain(network, x):
    heads = SMALL[network.architecture]["num_heads"]
    return reference(network.architecture, network.state_dict(), x, heads)


def test_masks_are_the_plain_networks(network):
    """Every architecture computes what its specification says, in a batch and in a width that divides by nothing."""
    x = magnitudes(network, 2, WIDTHS.get(network.architecture, 37))
    tolerance = 1e-4
    if network.architecture in ("gan-v1", "libft2", "v6"):
        # with so few bins their norms and squares enlarge rounding, on some processors beyond that: not in float32
        network.double()
        x, tolerance = x.double(), 1e-9
    with torch.inference_mode():
        got, expected = network(x).sigmoid(), plain(network, x).sigmoid()
    assert got.shape == expected.shape
    assert float((got - expected).abs().max()) < tolerance


def test_gradients_are_the_plain_networks(network):
    """Training sees the same function: gradients of a loss agree, too."""
    network.train().double()
    x = magnitudes(network, 2, WIDTHS.get(network.architecture, 21)).double()
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    state = {key: value.double() for key, value in network.state_dict(keep_vars=True).items()}
    inputs = [parameter for _, parameter in network.named_parameters()]
    got = torch.autograd.grad(network(x).square().mean(), inputs, allow_unused=True)
    heads = SMALL[network.architecture]["num_heads"]
    loss = reference(network.architecture, state, x, heads).square().mean()
    expected = torch.autograd.grad(loss, inputs, allow_unused=True)
    for name, one, other in zip(names, got, expected, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            assert torch.allclose(one, other, rtol=1e-6, atol=1e-9), name
