"""Comparing models: disagreement is found where it is, and nowhere else."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import soundfile
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from frametx import Separator
from frametx.disagreement import DisagreementMeter, disputed_ranges, measure_disagreement
from frametx.errors import UsageError
from frametx.separate import Stems

N_FFT = 2048
HOP = N_FFT // 2
HOP_SECONDS = HOP / 44_100


def shown(n_frames: int, disputed: slice, size: int = 8):
    """A meter that has seen two models agree everywhere but in some frames, in stretches."""
    meter = DisagreementMeter()
    spectrum = torch.ones(2, size + 1, n_frames, dtype=torch.complex64)
    first = torch.full((2, size, n_frames), 0.9)
    second = first.clone()
    second[..., disputed] = 0.4
    for at in range(0, n_frames, 100):
        here = slice(at, at + 100)
        meter([first[..., here], second[..., here]], spectrum[..., here])
    return meter


def test_a_disputed_passage_is_found():
    """Its time, its level and the model that hears more voice there are right."""
    profile = shown(900, slice(300, 400)).profile(["kind", "strict"], hop=HOP)
    (one,) = disputed_ranges(profile)
    assert one.start_seconds == pytest.approx(300 * HOP_SECONDS, abs=0.6)
    assert one.end_seconds == pytest.approx(400 * HOP_SECONDS, abs=0.6)
    assert one.strictest == "strict"
    (exact,) = disputed_ranges(profile, threshold_db=10 * np.log10(0.5**2) - 0.1)
    assert exact.level_db == pytest.approx(10 * np.log10(0.5**2), abs=1.5)


class NoDoubles(TorchDispatchMode):
    """A machine whose GPU has no float64, as Apple's have none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dtype == torch.float64 and made.device.type != "cpu":
            raise TypeError("this GPU has no float64")
        return made


def test_a_gpu_needs_no_float64():
    """Models are compared on a GPU that computes in float32 alone."""
    with FakeTensorMode(), NoDoubles():
        masks = [torch.empty(2, 8, 50, device="cuda") for _ in range(2)]
        DisagreementMeter()(masks, torch.empty(2, 9, 50, dtype=torch.complex64, device="cuda"))


def test_passages_are_listed_by_how_much_is_disputed():
    """Two passages far from each other are two ranges; one second apart they are one."""
    meter = shown(2000, slice(300, 400))
    profile = meter.profile(["a", "b"], hop=HOP)
    profile.spread[1200:1300] = profile.spread[350] * 2
    found = disputed_ranges(profile)
    assert [round(one.start_seconds / HOP_SECONDS, -2) for one in found] == [1200, 300]
    assert len(disputed_ranges(profile, limit=1)) == 1
    profile.spread[425:1200] = profile.spread[350]
    assert len(disputed_ranges(profile)) == 1


def test_models_that_agree_have_no_disputed_ranges():
    """Equal masks leave nothing to listen to."""
    assert disputed_ranges(shown(500, slice(0, 0)).profile(["a", "b"], hop=HOP)) == []


def test_an_ensemble_is_measured_while_it_separates(tiny_checkpoint, tmp_path):
    """A section is measured with the context it needs and reported without it, on the song's clock."""
    other = tmp_path / "other.pth"
    torch.save({name: -tensor for name, tensor in torch.load(tiny_checkpoint, weights_only=True).items()}, other)
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "song.flac", rng.uniform(-0.2, 0.2, (3 * 44_100, 2)), 44_100)
    separator = Separator([tiny_checkpoint, other], device="cpu", precision="fp32")
    profile = measure_disagreement(separator, tmp_path / "song.flac", (1.0, 1.5))
    assert profile.models == (tiny_checkpoint.name, "other.pth")
    assert profile.start_seconds == pytest.approx(1.0, abs=0.01)
    assert len(profile.spread) * profile.frame_seconds == pytest.approx(0.5, abs=0.01)
    assert profile.spread.min() > 0
    with pytest.raises(UsageError, match="begins after the song's end at 0:03"):
        measure_disagreement(separator, tmp_path / "song.flac", (3.5, 4.0))
    with pytest.raises(UsageError, match="ends after the song's end at 0:03"):
        measure_disagreement(separator, tmp_path / "song.flac", (1.0, 99.0))


def test_a_long_song_is_compared_in_constant_memory(tiny_checkpoint, tmp_path, monkeypatch):
    """The vocals, which nobody asked for, are dropped block by block."""
    soundfile.write(tmp_path / "song.flac", np.zeros((44_100, 2)), 44_100)
    separator = Separator([tiny_checkpoint], device="cpu", precision="fp32")
    alive: list[int] = []
    references: list[weakref.ref[np.ndarray]] = []

    def blocks(*_song, **_options):
        for _ in range(20):
            vocals = np.zeros((2, 2000), dtype=np.float32)
            references.append(weakref.ref(vocals))
            yield Stems(mix=vocals, vocals=vocals)
            alive.append(sum(one() is not None for one in references))

    monkeypatch.setattr(separator, "separate_blocks", blocks)
    measure_disagreement(separator, tmp_path / "song.flac")
    assert len(alive) == 20
    assert max(alive) <= 3


def test_checkpoints_of_one_file_name_are_told_apart(tiny_checkpoint, tmp_path):
    """The usual case of one's own trainings: run1/best.pth against run2/best.pth."""
    paths = [tmp_path / run / "best.pth" for run in ("run1", "run2")]
    for path in paths:
        path.parent.mkdir()
        path.symlink_to(tiny_checkpoint)
    separator = Separator([*paths, tiny_checkpoint], device="cpu")
    assert [model.name for model in separator.models] == ["run1/best.pth", "run2/best.pth", tiny_checkpoint.name]
