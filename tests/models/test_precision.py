"""Networks in half precision, and what they do not do in it."""

from __future__ import annotations

import pytest
import torch

from frametx.models import held
from frametx.models.detect import NETWORKS
from frametx.setup import prepare

# sizes at which random weights give masks all over the range; others amplify rounding by squares (see their ReLU)
SIZES = {
    "v10": {"embedding": 4, "n_fft": 256, "num_heads": 4, "expansion": 2},
    "v9": {"channels": 4, "n_fft": 256, "num_heads": 2, "expansion": 24, "num_layers": 3, "chunk_size": 8},
    "v8": {"channels": 4, "n_fft": 512, "num_heads": 2},
    "v7": {"channels": 4, "n_fft": 1024, "num_heads": 2, "expansions": [64] * 9},
    "v4": {"channels": 4, "n_fft": 1024, "num_heads": 2, "num_attention_maps": 2, "num_bridge_layers": 1},
}

SQUARING = {
    "gan-v1": {"channels": 2, "n_fft": 512, "num_heads": 1, "expansion": 12, "num_bridge_layers": 2},
    "libft2": {"channels": 2, "n_fft": 512, "num_heads": 1, "num_attention_maps": 2, "num_bridge_layers": 2},
    "v2b": {"channels": 2, "n_fft": 512, "num_heads": 2, "expansion": 2, "transformer_channels": [2] * 7},
    "v1": {"channels": 2, "n_fft": 192, "num_heads": 3, "expansion": 3},
}


@pytest.fixture(params=SIZES)
def network(request):
    torch.manual_seed(3)
    return NETWORKS[request.param](**SIZES[request.param]).eval()


@pytest.mark.parametrize("amx", [True, False], ids=["amx", "no amx"])
@pytest.mark.parametrize("blockwise_from", [1, 512])
def test_bfloat16_masks_stay_near(network, blockwise_from, amx, monkeypatch):
    """A network cast to bfloat16 gives the float32 masks within 0.02 everywhere and 0.002 on average."""
    monkeypatch.setattr(held, "cpu_has_amx", lambda: amx)
    monkeypatch.setattr(held, "AMX_BLOCK_BYTES", 5000)
    monkeypatch.setattr(held, "MIN_FRAMES", blockwise_from)
    monkeypatch.setattr(held, "PASS_WIDTH", 2)
    x = torch.rand(1, network.in_channels, network.n_bins, 64) ** 2
    with torch.inference_mode():
        expected = network(x).sigmoid()
        logits = network.cast(torch.bfloat16)(x)
    assert logits.dtype == torch.float32
    difference = (logits.sigmoid() - expected).abs()
    assert float(difference.max()) < 0.02
    assert float(difference.mean()) < 0.002


@pytest.mark.parametrize("name", SQUARING)
def test_networks_that_square_run_in_bfloat16_too(name):
    """Every convolution and matrix is cast, so that none meets another format."""
    torch.manual_seed(3)
    network = NETWORKS[name](**SQUARING[name]).eval().cast(torch.bfloat16)
    with torch.inference_mode():
        logits = network(torch.rand(1, network.in_channels, network.n_bins, 24))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["v10"], "auto", "bf16"),
        (["v1"], "auto", "fp32"),
        (["v10", "v1"], "auto", "fp32"),
        (["v1"], "bf16", "bf16"),
    ],
)
def test_auto_keeps_networks_that_square_in_float32(names, asked, expected, tmp_path, monkeypatch):
    """Where the processor multiplies bfloat16, `auto` takes it only if every model bears it; who asks for it gets it."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    paths = [tmp_path / f"{name}.pth" for name in names]
    for name, path in zip(names, paths, strict=True):
        torch.save(NETWORKS[name](**(SIZES | SQUARING)[name]).state_dict(), path)
    assert prepare(paths, device="cpu", precision=asked).precision == expected


def test_norms_and_angles_keep_their_precision(network):
    """Casting changes convolutions and matrices, never norms, rotary frequencies or position tables."""
    before = {key: value.clone() for key, value in network.state_dict().items()}
    after = network.cast(torch.bfloat16).state_dict()
    kept = {key for key in after if "norm" in key or key.endswith(("freqs", ".pe"))}
    assert all(torch.equal(after[key], before[key]) for key in kept)
    cast = {key for key in after if key not in kept}
    assert all(after[key].dtype == torch.bfloat16 for key in cast)
    assert network.dtype == torch.bfloat16
