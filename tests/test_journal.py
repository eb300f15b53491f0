"""Going on inside a long song: what the network has said once is not asked again."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
import soundfile
import torch

from frametx import Separator, journal
from frametx.masker import Masker
from frametx.models.v9 import V9
from frametx.outputs import OutputOptions
from frametx.windows import WindowOptions

FLOAT = OutputOptions(format="wav", bit_depth="float")


@pytest.fixture
def song(tmp_path):
    """Three seconds of noise: eleven windows of 100 frames."""
    path = tmp_path / "song.wav"
    samples = np.random.default_rng(1).standard_normal((132_300, 2)) * 0.1
    soundfile.write(path, samples.astype(np.float32), 44_100, subtype="FLOAT")
    return path


@pytest.fixture(scope="session")
def tiny_v9(tmp_path_factory):
    """A v9 network, which is fed with its own earlier output, with random weights."""
    generator = torch.Generator().manual_seed(3)
    network = V9(channels=2, n_fft=256, num_heads=2, expansion=24, num_layers=2, chunk_size=8)
    state = network.state_dict()
    for name, tensor in state.items():
        if tensor.dim() > 1:
            state[name] = torch.randn(tensor.shape, generator=generator) * max(1, tensor[0].numel()) ** -0.5
    path = tmp_path_factory.mktemp("v9") / "v9.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def asked(monkeypatch):
    """How many windows the networks were asked for; with `asked.limit` the run dies there as if killed."""

    class Asked:
        count = 0
        limit = 10**9

    masks = Masker.masks

    def counting(self, features, audible):
        if Asked.count >= Asked.limit:
            raise KeyboardInterrupt
        Asked.count += features.shape[0]
        return masks(self, features, audible)

    monkeypatch.setattr(Masker, "masks", counting)
    monkeypatch.setattr(journal, "WORTH_SECONDS", 0.0)
    return Asked


def digests(folder):
    """Of the samples: the header of a float WAV holds the time it was written."""
    return {
        path.name: hashlib.sha256(soundfile.read(path, dtype="float32")[0].tobytes()).hexdigest()
        for path in folder.glob("song_*")
    }


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", ["v10", "v9", "two"])
def test_an_interrupted_song_goes_on_and_ends_the_same(
    song, tiny_checkpoint, tiny_v9, asked, tmp_path, kind, batch_size
):
    """Bit for bit the stems of an uninterrupted run, with no window computed twice; v9's history comes back, too."""
    other = shutil.copy(tiny_checkpoint, tmp_path / "other.pth")
    models = {"v10": [tiny_checkpoint], "v9": [tiny_v9], "two": [tiny_checkpoint, other]}[kind]
    crop = {"v9": 128}.get(kind, 100)
    separator = Separator(models, windows=WindowOptions(crop=crop, context=0, batch_size=batch_size))
    separator.separate_file(song, tmp_path / "whole", FLOAT, resumable=False)
    n_windows, asked.count = asked.count, 0
    asked.limit = n_windows // 2
    with pytest.raises(KeyboardInterrupt):
        separator.separate_file(song, tmp_path / "out", FLOAT)
    assert digests(tmp_path / "out") == {}
    assert len(hidden(tmp_path / "out")) == 1
    n_before, asked.limit = asked.count, 10**9
    separator.separate_file(song, tmp_path / "out", FLOAT)
    assert asked.count == n_windows
    assert 0 < n_before < n_windows
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert hidden(tmp_path / "out") == []


def test_masks_of_other_parameters_or_another_song_are_not_used(song, tiny_checkpoint, asked, tmp_path):
    """The journal's key holds the song's content and the parameters; its leftovers go when the song is done."""
    asked.limit = 4
    with pytest.raises(KeyboardInterrupt):
        Separator(tiny_checkpoint, windows=WindowOptions(crop=100, context=8)).separate_file(
            song, tmp_path / "out", FLOAT
        )
    asked.limit, asked.count = 10**9, 0
    separator = Separator(tiny_checkpoint, windows=WindowOptions(crop=110, context=8))
    separator.separate_file(song, tmp_path / "whole", FLOAT, resumable=False)
    n_windows, asked.count = asked.count, 0
    separator.separate_file(song, tmp_path / "out", FLOAT)
    assert asked.count == n_windows
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert hidden(tmp_path / "out") == []


def test_masks_of_another_version_are_not_used(song, tiny_checkpoint, asked, monkeypatch, tmp_path):
    """Its default windows may be others; here the default is, as after an upgrade, another than that of the killed run."""
    asked.limit = 4
    monkeypatch.setattr("frametx.windows.DEFAULT_CROP", 100)
    with pytest.raises(KeyboardInterrupt):
        Separator(tiny_checkpoint).separate_file(song, tmp_path / "out", FLOAT)
    monkeypatch.setattr("frametx.separator.__version__", "99.0")
    monkeypatch.setattr("frametx.windows.DEFAULT_CROP", 110)
    asked.limit = 10**9
    Separator(tiny_checkpoint).separate_file(song, tmp_path / "whole", FLOAT, resumable=False)
    Separator(tiny_checkpoint).separate_file(song, tmp_path / "out", FLOAT)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert hidden(tmp_path / "out") == []


def test_a_run_without_a_journal_of_its_own_takes_others_of_the_stem_away(
    song, tiny_checkpoint, asked, monkeypatch, tmp_path
):
    """What a slower model had begun is of no use when a faster one has done the song; other songs' journals stay."""
    asked.limit = 4
    separator = Separator(tiny_checkpoint, windows=WindowOptions(crop=100, context=8))
    other = tmp_path / "other.wav"
    soundfile.write(other, -soundfile.read(song, dtype="float32")[0], 44_100, subtype="FLOAT")
    for path in (song, other):
        with pytest.raises(KeyboardInterrupt):
            separator.separate_file(path, tmp_path / "out", FLOAT)
        asked.count = 0
    assert len(hidden(tmp_path / "out")) == 2
    monkeypatch.setattr(journal, "WORTH_SECONDS", 60.0)
    asked.limit = 10**9
    Separator(tiny_checkpoint, windows=WindowOptions(crop=110, context=8)).separate_file(song, tmp_path / "out", FLOAT)
    [left] = hidden(tmp_path / "out")
    assert (tmp_path / "out" / left / "song").read_text() == "'other_Instrumental.wav'"


def test_damaged_masks_are_computed_again(song, tiny_checkpoint, asked, tmp_path):
    """After a power cut a file may be cut short or hold zeros; its checksum says so."""
    separator = Separator(tiny_checkpoint, windows=WindowOptions(crop=100, context=8))
    separator.separate_file(song, tmp_path / "whole", FLOAT, resumable=False)
    asked.count, asked.limit = 0, 6
    with pytest.raises(KeyboardInterrupt):
        separator.separate_file(song, tmp_path / "out", FLOAT)
    masks = sorted((tmp_path / "out").glob(".frametx-*/*.masks"))
    masks[0].write_bytes(masks[0].read_bytes()[:-100])
    masks[1].write_bytes(bytes(masks[1].stat().st_size))
    masks[2].write_bytes(b"")
    asked.count, asked.limit = 0, 10**9
    separator.separate_file(song, tmp_path / "out", FLOAT)
    assert asked.count == 11 - 3
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_short_songs_leave_no_journal(song, tiny_checkpoint, asked, monkeypatch, tmp_path):
    """A song that the network does in less than a minute is not worth the disk's time."""
    monkeypatch.setattr(journal, "WORTH_SECONDS", 60.0)
    asked.limit = 5
    with pytest.raises(KeyboardInterrupt):
        Separator(tiny_checkpoint, windows=WindowOptions(crop=100, context=8)).separate_file(
            song, tmp_path / "out", FLOAT
        )
    assert hidden(tmp_path / "out") == []


def test_a_journal_takes_no_more_than_its_share_of_the_disk(song, tiny_checkpoint, asked, monkeypatch, tmp_path):
    """Behind the limit nothing is kept; the song goes on from there all the same."""
    monkeypatch.setattr(journal, "LIMIT_BYTES", 700_000)
    separator = Separator(tiny_checkpoint, windows=WindowOptions(crop=100, context=8))
    separator.separate_file(song, tmp_path / "whole", FLOAT, resumable=False)
    asked.count, asked.limit = 0, 10
    with pytest.raises(KeyboardInterrupt):
        separator.separate_file(song, tmp_path / "out", FLOAT)
    kept = list((tmp_path / "out").glob(".frametx-*/*.masks"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 700_000
    asked.count, asked.limit = 0, 10**9
    separator.separate_file(song, tmp_path / "out", FLOAT)
    assert asked.count == 11 - len(kept)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_journal_that_another_stem_began_goes_too(tmp_path):
    """Killed between its two stems, a run leaves a journal named after the first; the next makes only the second."""
    begun = journal.Journal(tmp_path / "song_Instrumental.flac", lambda: "key")
    begun.read(0, 0, 1)
    begun.keep(0, 0, torch.zeros(1, 2, 4, 4), journal.WORTH_SECONDS, exact=True)
    assert list(tmp_path.iterdir())
    goes_on = journal.Journal(tmp_path / "song_Vocals.flac", lambda: "key")
    assert goes_on.read(0, 0, 1) is not None
    goes_on.remove()
    assert not list(tmp_path.iterdir())
