"""What runs on a GPU, checked without one: tensors that only pretend to be there, and complain where devices meet."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from frametx import spectrum
from frametx.chunks import MaskJoiner, plan_chunks
from frametx.ensemble import Rule, join_masks
from frametx.masker import Masker
from frametx.models import attention
from frametx.models.attention import Factor, Scores, attend
from frametx.models.convolutions import Conv
from frametx.models.detect import NETWORKS
from frametx.models.mini import Mini
from frametx.models.network import Feeding
from frametx.models.score_gate import ScoreGate
from frametx.reframing import reframed
from frametx.spectrum import Framing, StreamingISTFT, StreamingSTFT
from frametx.stream import FrameBuffer, JoinedMasks, MaskStream
from tests.models.test_architectures import NAMES, sizes_of

GPU = torch.device("cuda", 0)
CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.convolution.default)
SMALL_MINI = {"channels": (4, 4, 4), "maps": (1, 1, 1), "hidden": (8, 8, 8), "heads": 1, "detail": 4, "n_fft": 256}


class AnyMasker(Masker):
    """Takes the first two channels for a mask; a real one looks at values, and there are none."""

    def masks(self, features, _audible):
        return features[:, :2]


def network_of(name, recording_of):
    """A small network, without memory for its weights."""
    with torch.device("meta"):
        if name == "mini":
            return Mini(**SMALL_MINI).eval()
        return NETWORKS[name.partition("_")[0]](**sizes_of(name, recording_of(name))).eval()


def on_gpu(network):
    """The same with every tensor of it on the GPU, as a function of features."""
    tensors = {
        name: torch.nn.Parameter(torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU), requires_grad=False)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    return lambda features: functional_call(network, tensors, (features,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", [*NAMES, "mini"])
def test_a_network_leaves_nothing_on_the_cpu(name, dtype, recording_of):
    """Every network runs on a GPU in every format, several windows at once where it can; what comes out is float32."""
    network = network_of(name, recording_of).cast(dtype)
    batch, width = (1 if network.feeding is Feeding.HISTORY else 3), network.fitting_width(64)
    with FakeTensorMode():
        logits = on_gpu(network)(torch.empty(batch, network.in_channels, network.n_bins, width, device=GPU))
    assert logits.shape == (batch, network.out_channels, network.n_bins, width)
    assert (logits.device, logits.dtype) == (GPU, torch.float32)


class ReadsKernelsInOrder(TorchDispatchMode):
    """A GPU that takes no notice of how a kernel lies in memory, as Apple's under torch 2.6 to 2.13."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in CONVOLUTIONS and not args[1].is_contiguous():
            raise AssertionError(f"a kernel {tuple(args[1].shape)} lies in memory as {args[1].stride()}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("learning", [False, True])
def test_kernels_lie_in_memory_in_order(learning):
    """Turned for the networks' layout, they would be read the wrong way by a GPU that expects them so."""
    with FakeTensorMode(), ReadsKernelsInOrder(), torch.device(GPU), torch.set_grad_enabled(learning):
        for kernel in (3, (1, 3), 1):
            assert Conv(2, 4, kernel)(torch.empty(1, 2, 8, 8)).shape == (1, 4, 8, 8)
        scores = torch.empty(1, 2, 3, 8, 8)
        assert ScoreGate(2)(scores, scores).shape == scores.shape


@pytest.fixture
def asked(monkeypatch):
    """The shapes of queries that fused attention is asked about."""
    shapes, fused = [], torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, **options):
        shapes.append(tuple(query.shape))
        return fused(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    return shapes


def heads(width, **options):
    """Two maps, forty frames, four heads."""
    return torch.randn(1, 2, 40, 4, width, **options)


def test_scores_of_odd_widths_are_not_held_either(asked):
    """Chains of narrow levels add up to widths that CUDA's fused kernels would not take."""
    with FakeTensorMode(), torch.device(GPU), torch.inference_mode():
        scores = Scores({Factor(heads(width), heads(width)): 1 for width in (4, 2, 1)})
        assert attend(scores, heads(4)).shape == (1, 2, 40, 16)
    assert asked == [(2, 4, 40, 8)]


class OnApple(torch.Tensor):
    """On the CPU, and says otherwise."""

    device = property(lambda _: torch.device("mps"))


def test_scores_on_apples_gpus_stay_below_what_a_tensor_holds(asked, monkeypatch):
    """There all scores of a call exist, and too many of them end the process; so a few queries attend at a time."""
    monkeypatch.setattr(attention, "MPS_SCORES", 2 * 4 * 40 * 15)
    query, key, value = heads(4), heads(4), heads(4)
    expected = attend(Scores({Factor(query, key): 1}), value)
    apples = [x.as_subclass(OnApple) for x in (query, key, value)]
    torch.testing.assert_close(attend(Scores({Factor(*apples[:2]): 1}), apples[2]).as_subclass(torch.Tensor), expected)
    assert [shape[2] for shape in asked] == [40, 15, 15, 10]


@pytest.mark.parametrize("feeding", Feeding)
def test_windows_are_fed_where_they_lie(feeding, recording_of):
    """Magnitudes, phases, middle and side, and what an autoregressive network remembers stay on the GPU."""
    network = network_of("mini", recording_of)
    network.feeding = feeding
    feeder = AnyMasker(name="any", network=network, device=GPU).feeder(3.0)
    with FakeTensorMode():
        windows = torch.empty(1, 2, 128, 9, dtype=torch.complex64, device=GPU)
        inside = torch.ones(1, 9, dtype=torch.bool, device=GPU)
        assert [feeder(windows, inside).device for _ in range(3)] == [GPU] * 3
        feeder.remember(windows, torch.empty(1, 2, 128, 9, device=GPU))
        assert feeder(windows, inside).device == GPU
        assert reframed(windows, Framing(256, 64), Framing(128, 64)).device == GPU


def test_transforms_and_joining_stay_on_the_gpu(monkeypatch):
    """From samples to frames, from masks of windows to the song's, and back to samples."""
    monkeypatch.setattr(spectrum, "_hann_window", spectrum._hann_window.__wrapped__)  # none is kept for a real GPU
    with FakeTensorMode():
        stft, istft = StreamingSTFT(256, 64, GPU), StreamingISTFT(256, 64, GPU)
        frames = torch.cat([stft.push(torch.empty(2, 3000, device=GPU)) for _ in range(2)] + [stft.finish()], dim=-1)
        chunks = plan_chunks(frames.shape[-1], 32, 8)
        joiner = MaskJoiner(chunks, 8)
        mask = torch.cat([joiner.push(torch.empty(2, 129, chunk.width, device=GPU)) for chunk in chunks], dim=-1)
        samples = torch.cat([istft.push(frames * mask), istft.finish()], dim=-1)
    assert (samples.device, samples.shape) == (GPU, (2, 6016))


def test_models_of_an_ensemble_wait_for_one_another_on_the_gpu():
    """Where one has masks already and the other, whose batches are larger, has none yet."""

    def stream(batch_size):
        chunks = plan_chunks(90, 10, 0)
        return MaskStream(
            lambda windows, _inside: windows.abs(), chunks, fade=0, shape=(2, 128), device=GPU, batch_size=batch_size
        )

    with FakeTensorMode():
        source = JoinedMasks([stream(1), stream(3)], lambda masks: join_masks(masks, Rule.MIN))
        buffer, masks = FrameBuffer(90), []
        for _ in range(9):
            buffer.append(torch.empty(2, 129, 10, dtype=torch.complex64, device=GPU))
            masks.append(source.advance(buffer))
    assert [mask.shape[-1] for mask in masks] == [0, 0, 30] * 3
    assert {mask.device for mask in masks} == {GPU}
