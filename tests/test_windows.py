"""Windows and ensembles: what the original program computed, and what every model can take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frametx.ensemble import Rule, join_masks
from frametx.errors import ModelLimitError
from frametx.masker import Masker
from frametx.models.mini import Mini
from frametx.models.network import Feeding
from frametx.models.v9 import V9
from frametx.models.v10 import V10
from frametx.stream import FrameBuffer
from frametx.training.spectra import Spectra, feed
from frametx.windows import WindowOptions, mask_source
from tests.reference.original_windows import original_mask, original_sequential_mask

N_BINS = 33


def with_random_weights(network, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if not name.endswith("freqs"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * max(1, tensor[0].numel()) ** -0.5)
    return Masker(name=f"{network.architecture}-{seed}", network=network.eval(), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def v10s():
    return [with_random_weights(V10(n_fft=64, embedding=1, num_heads=2, expansion=1), seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def v9():
    return with_random_weights(V9(n_fft=64, channels=1, num_heads=2, num_layers=2, expansion=8, chunk_size=4), 1)


@pytest.fixture(scope="module")
def spectrum():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, N_BINS, 203, dtype=torch.complex64, generator=generator)


class PhaseStub(V10):
    """A network that reads phases, as v4 does; any function of all its input will do."""

    feeding = Feeding.MAGNITUDE_AND_PHASE

    def forward(self, features):
        """Look at neighbours in time, at the phases and at the whole window."""
        half = features[:, :2] * 4 - features[:, 2:] + features.mean(dim=-1, keepdim=True)[:, 2:]
        return half - half.roll(1, dims=-1)


def streamed_mask(maskers, options, spectrum, block=17):
    """The mask of a song whose frames arrive in blocks, without the frame that only extends it."""
    n_frames = spectrum.shape[-1]
    framing = maskers[0].network.framing
    peaks = {framing: float(spectrum.abs().max())}
    source, _ = mask_source(maskers, options, n_frames=n_frames, framing=framing, peaks=peaks)
    buffer, masks = FrameBuffer(n_frames), []
    with torch.inference_mode():
        for start in range(0, n_frames, block):
            buffer.append(spectrum[..., start : start + block])
            masks.append(source.advance(buffer))
            buffer.drop_before(source.needs_from)
    return torch.cat(masks, dim=-1)


def plainly(masker):
    """A network as a function of numpy arrays."""

    def logits_of(features):
        with torch.inference_mode():
            return masker.network(torch.from_numpy(features.astype(np.float32))).numpy()

    return logits_of


@pytest.mark.parametrize(("crop", "context"), [(32, 0), (32, 8), (203, 0), (203, 5), (300, 20), (29, 29)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_original_programs_masks_are_reproduced(v10s, spectrum, crop, context, batch_size):
    """With `original` the masks are those of its windows, crop by crop, whatever the batch size."""
    options = WindowOptions(crop=crop, context=context, original=True, batch_size=batch_size)
    expected = original_mask(spectrum.numpy(), plainly(v10s[0]), crop, context)
    np.testing.assert_allclose(streamed_mask(v10s[:1], options, spectrum), expected[:, :-1], atol=1e-5)


def test_without_context_the_masks_are_the_original_ones(v10s, spectrum):
    """`--context 0` alone means the original's grid, silence behind the song included."""
    options = WindowOptions(crop=64, context=0)
    expected = original_mask(spectrum.numpy(), plainly(v10s[0]), 64, 0)
    np.testing.assert_allclose(streamed_mask(v10s[:1], options, spectrum), expected[:, :-1], atol=1e-5)


def test_phases_are_fed_as_the_original_fed_them(spectrum):
    """A network that reads phases gets them scaled, and zeros around the song."""
    stub = Masker(name="stub", network=PhaseStub(n_fft=64, in_channels=4, num_heads=2), device=torch.device("cpu"))
    options = WindowOptions(crop=32, context=8, original=True)
    expected = original_mask(spectrum.numpy(), plainly(stub), 32, 8, with_phase=True)
    np.testing.assert_allclose(streamed_mask([stub], options, spectrum), expected[:, :-1], atol=1e-5)


def test_mini_is_fed_in_training_as_in_separation():
    """Left, right, middle and side are the same in both; a difference would make the weights worthless."""
    network = Mini(n_fft=128, heads=2, stride=4).eval()
    windows = torch.randn(1, 2, 64, 20, dtype=torch.complex64, generator=torch.Generator().manual_seed(3))
    heard = []
    network.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    feeder = Masker(name="mini", network=network, device=torch.device("cpu")).feeder(4.0)
    with torch.inference_mode():
        feeder(windows, torch.ones(1, 20, dtype=torch.bool))
    torch.testing.assert_close(heard[0], feed(network, Spectra(windows / 4, 0 * windows), 20))


@pytest.mark.parametrize("crop", [32, 64, 224])
def test_an_autoregressive_network_hears_its_own_past(v9, spectrum, crop):
    """Its windows come in order, each with the two before it, at every width it allows."""
    options = WindowOptions(crop=crop, context=0, original=True, batch_size=4)
    expected = original_sequential_mask(spectrum.numpy(), plainly(v9), crop)
    np.testing.assert_allclose(streamed_mask([v9], options, spectrum), expected[:, :-1], atol=1e-5)


def test_an_ensemble_is_the_minimum_in_any_order(v10s, v9, spectrum):
    """The smallest mask wins, models of different kinds share one pass, and their order does not matter."""
    options = WindowOptions(crop=64, context=0, original=True)
    alone = [streamed_mask([masker], options, spectrum) for masker in (*v10s, v9)]
    expected = torch.stack(alone).amin(0)
    for maskers in ([*v10s, v9], [v9, *reversed(v10s)]):
        torch.testing.assert_close(streamed_mask(maskers, options, spectrum), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("rule", "weights", "expected"),
    [
        (Rule.MIN, None, 0.1),
        (Rule.MAX, None, 0.8),
        (Rule.MEAN, None, 0.4),
        (Rule.MEDIAN, None, 0.3),
        (Rule.MEAN, (0, 0, 1), 0.8),
        (Rule.MEAN, (3, 1, 0), 0.15),
    ],
)
def test_rules_join_masks_element_by_element(rule, weights, expected):
    """Minimum, maximum, mean, weighted mean and median of 0.1, 0.3 and 0.8."""
    masks = [torch.full((2, 3, 4), value) for value in (0.1, 0.3, 0.8)]
    torch.testing.assert_close(join_masks(masks, rule, weights), torch.full((2, 3, 4), expected))


def test_the_median_of_two_is_their_mean():
    """With an even number the two in the middle are averaged."""
    joined = join_masks([torch.tensor([0.2, 0.9]), torch.tensor([0.4, 0.1])], Rule.MEDIAN)
    torch.testing.assert_close(joined, torch.tensor([0.3, 0.5]))


def test_tta_is_the_mean_over_the_window_sizes(v10s, spectrum, monkeypatch):
    """Each size gives the masks of its own windows; sizes that a model cannot take are left out."""
    monkeypatch.setattr("frametx.windows.TTA_WINDOWS", ((16, 32), (32, 64), (64, 128)))
    network = v10s[0].network
    limited = Masker(name="limited", network=network, device=torch.device("cpu"))
    monkeypatch.setattr(network, "max_width", 200)
    expected = sum(
        original_mask(spectrum.numpy(), plainly(limited), crop, context) for crop, context in ((16, 32), (32, 64))
    )
    got = streamed_mask([limited], WindowOptions(tta=True), spectrum)
    np.testing.assert_allclose(got, expected[:, :-1] / 2, atol=1e-5)


def test_windows_that_a_model_cannot_take_are_refused_before_work(v10s, v9, monkeypatch):
    """The message names the model, the width and a width that fits."""
    monkeypatch.setattr(v10s[0].network, "max_width", 100)
    for masker, options, hint in (
        (v10s[0], WindowOptions(crop=90, context=8), "--crop 84"),
        (v9, WindowOptions(crop=50, context=0), "multiples of 32"),
    ):
        framing = masker.network.framing
        with pytest.raises(ModelLimitError, match="takes no windows of") as caught:
            mask_source([masker], options, n_frames=1000, framing=framing, peaks={framing: 1.0})
        assert hint in (caught.value.hint or "")


def test_a_short_song_costs_a_short_window(v10s, monkeypatch):
    """Ten frames are seen as ten frames, not as a window of thousands."""
    widths = []
    network = v10s[0].network
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda x: widths.append(x.shape[-1]) or forward(x))
    streamed_mask(v10s[:1], WindowOptions(), torch.ones(2, N_BINS, 10, dtype=torch.complex64))
    assert widths == [10]
