"""What is laid out anew for the processor stays what it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from frametx.models.blocks import upsample_to
from frametx.models.convolutions import Conv, convolve_channels_last
from frametx.models.norms import MultichannelLayerNorm
from frametx.models.v8 import V8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(5, 16), (11, 8), (11, 16)], ids=["bins", "frames", "both"])
def test_resizing_is_bilinear(dtype, size):
    """Frames and bins stretched one after the other are what torch stretches at once, up to rounding."""
    x = torch.randn(2, 3, 5, 8).to(dtype)
    expected = F.interpolate(x.float(), size=size, mode="bilinear", align_corners=True)
    with torch.inference_mode():
        got = upsample_to(x, torch.empty(1, 1, *size))
    assert got.dtype == dtype
    assert got.is_contiguous()
    assert torch.allclose(got.float(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("channels", [3, 40])
@pytest.mark.parametrize("batch", [1, 2])
def test_turning_channels_last_changes_no_value(channels, batch):
    """A 1x1 convolution with one keeps a strip of bfloat16, however many channels are turned."""
    x = torch.randn(batch, channels, 9, 8).bfloat16()[:, :, 2:7]
    one = torch.eye(channels).bfloat16().view(channels, channels, 1, 1)
    with torch.inference_mode():
        assert torch.equal(convolve_channels_last(x, one, None, (1, 1), (0, 0)), x)


@pytest.mark.parametrize("learning", [False, True], ids=["separating", "learning"])
@pytest.mark.parametrize(
    ("bins", "conv"), [(2, Conv(28, 8, stride=(2, 1))), (8, Conv(28, 1, 11))], ids=["3x3", "packed"]
)
def test_bins_so_few_that_a_stride_leaves_one(bins, conv, learning):
    """What a convolution makes of them in bfloat16 is what float32 makes of them; AMX left it unwritten."""
    x = torch.randn(1, 28, 16, bins).bfloat16()
    conv.bfloat16()
    with torch.set_grad_enabled(learning):
        got, expected = conv(x), copy.deepcopy(conv).float()(x.float())
    assert torch.allclose(got.float(), expected, rtol=0.01, atol=0.01)


def test_norms_of_bfloat16_are_rounded_once():
    """Normalised in float32 with the float32 parameters of every channel, then rounded."""
    norm = MultichannelLayerNorm(3, 64)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = (100 + torch.randn(2, 3, 5, 64)).bfloat16()
    with torch.inference_mode():
        expected, got = norm(x.float()), norm(x)
    assert got.dtype == torch.bfloat16
    assert torch.allclose(got.float(), expected, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-4)


def test_hidden_bins_filled_up_change_no_mask():
    """Of 256 bins 2.1 times as many are no whole cache lines; what is added to them is silent, however often it is."""
    network = V8(channels=2, n_fft=512, num_heads=2).eval()
    assert network.enc1_transformer.conv1.weight_pw.shape[1] == 537
    x = torch.rand(1, 2, 256, 24)
    with torch.inference_mode():
        expected = network(x)
        for _ in range(2):
            assert torch.allclose(network.cast(torch.float32)(x), expected, atol=1e-5)
