"""Models with different STFTs together: what each reads, what becomes of its mask, and what a user gets."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from frametx import Separator
from frametx.disagreement import measure_disagreement
from frametx.ensemble import Rule
from frametx.errors import UsageError
from frametx.masker import Masker
from frametx.models.mini import Mini
from frametx.outputs import Stem
from frametx.reframing import ReframedFeeder, common_framing, reframed
from frametx.spectrum import Framing
from frametx.windows import WindowOptions
from tests.stand_in import StandIn

SHORT, LONG, LONGEST = Framing(256, 128), Framing(512, 128), Framing(1024, 128)


class Dims(StandIn):
    """Its masks fall from 0.9 at the lowest bin to 0.1 at the highest, whatever the number of bins."""

    def logits(self, x):
        at = torch.arange(x.shape[3]) / x.shape[3]
        return torch.logit(0.9 - 0.8 * at).expand(len(x), 2, x.shape[2], -1)


def dims(framing):
    network = Dims(in_channels=2, out_channels=2, n_fft=framing.n_fft, hop=framing.hop)
    return Masker(name=str(framing), network=network, device=torch.device("cpu"))


def frames_of(samples, framing):
    window = torch.hann_window(framing.n_fft)
    spectrum = torch.stft(samples, framing.n_fft, framing.hop, window=window, pad_mode="constant", return_complex=True)
    return spectrum[..., :-1, :]


def noise(n_samples, seed=0):
    """Noise without the highest tenth of its spectrum, as music is."""
    spectrum = torch.fft.rfft(torch.randn(2, n_samples, generator=torch.Generator().manual_seed(seed)))
    spectrum[:, int(0.9 * spectrum.shape[1]) :] = 0
    return torch.fft.irfft(spectrum, n=n_samples)


@pytest.fixture(scope="module")
def long_mini(tmp_path_factory):
    """A mini network with windows twice as long as the other checkpoint's, at the same hop."""
    torch.manual_seed(0)
    network = Mini(channels=(4, 4, 4), maps=(1, 1, 1), hidden=(8, 8, 8), heads=1, detail=4, n_fft=512)
    path = tmp_path_factory.mktemp("checkpoint") / "long_mini.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize(("outer", "inner"), [(LONG, SHORT), (LONGEST, SHORT), (LONGEST, LONG)])
def test_the_shorter_stft_is_computed_from_the_longer_one(outer, inner):
    """Frame by frame it is the transform of the song itself."""
    samples = noise(20_000) * torch.hann_window(20_000)  # a sudden beginning has a highest bin, which is lost
    expected = frames_of(samples, inner)
    got = reframed(frames_of(samples, outer), outer, inner)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_mask_is_spread_in_proportion():
    """At the bins of both it stays, between them it is between, and above the last it goes on."""
    feeder = ReframedFeeder(dims(SHORT).feeder(1.0), SHORT, LONGEST)
    mask = feeder(frames_of(noise(2_000), LONGEST)[None], torch.ones(1, 16, dtype=torch.bool))[0, 0, :, 0]
    at = np.minimum(np.arange(512) / 4, 127) / 128
    np.testing.assert_allclose(mask.numpy(), 0.9 - 0.8 * at, atol=1e-6)


@pytest.mark.parametrize("other", [Framing(256, 64), Framing(384, 128)])
def test_stfts_that_do_not_go_together_are_refused(other):
    """With another hop frames have other middles; and a window must be a multiple of the other."""
    with pytest.raises(UsageError, match="512/128"):
        common_framing({LONG, other})


def test_an_ensemble_of_both_kinds_separates_a_song(tiny_checkpoint, long_mini):
    """Its stems sum to the song, and it lies between its members; where it hears only one, it is that one."""
    mix = (0.1 * noise(60_000, 3)).numpy()

    def vocals(models, **options):
        windows = WindowOptions(crop=64, context=16, **options)
        stems = Separator(models, device="cpu", precision="fp32", windows=windows).separate_array(mix)
        np.testing.assert_allclose(stems[Stem.VOCALS] + stems[Stem.INSTRUMENTAL], mix, atol=1e-6)
        return stems[Stem.VOCALS]

    def distance(a, b):
        return np.linalg.norm(a - b) / np.linalg.norm(b)

    alone = vocals([tiny_checkpoint]), vocals([long_mini])
    assert distance(*alone) > 0.1
    assert distance(vocals([tiny_checkpoint, long_mini], rule=Rule.MEAN, weights=(0, 1)), alone[1]) < 1e-5
    # its masks change from bin to bin, as random weights have it, and the longer window mixes them
    assert distance(vocals([tiny_checkpoint, long_mini], rule=Rule.MEAN, weights=(1, 0)), alone[0]) < 0.1
    both = vocals([long_mini, tiny_checkpoint], rule=Rule.MEAN)
    assert distance(both, (alone[0] + alone[1]) / 2) < 0.1


def test_models_of_both_kinds_are_compared_over_a_section(tiny_checkpoint, long_mini, tmp_path):
    """A section's profile is the whole song's, cut, but for what other windows change."""
    soundfile.write(tmp_path / "song.wav", (0.1 * noise(200_000, 4)).numpy().T, 44_100, subtype="FLOAT")
    separator = Separator([long_mini, tiny_checkpoint], device="cpu", precision="fp32")
    whole = measure_disagreement(separator, tmp_path / "song.wav")
    part = measure_disagreement(separator, tmp_path / "song.wav", (2.0, 3.0))
    assert whole is not None
    assert part is not None
    first = round((part.start_seconds - whole.start_seconds) / whole.frame_seconds)
    np.testing.assert_allclose(part.spread, whole.spread[first : first + len(part.spread)], rtol=0.03)
