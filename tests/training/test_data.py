"""Songs made on the fly: what is drawn, how it is varied, and what is said about bad recordings."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch

from frametx.errors import AudioError, TrainingError
from frametx.models.mini import Mini
from frametx.spectrum import Framing
from frametx.training.augment import LEVEL, Augmenter, active_rms, at_level, band_limited
from frametx.training.background import held_chord
from frametx.training.config import AugmentConfig, LossConfig, MixingConfig, Source
from frametx.training.data import Mixer, Mixtures, Numbers, Recordings, batches
from frametx.training.losses import SeparationLoss
from frametx.training.recordings import open_pairs, open_pool
from frametx.training.spectra import Spectra, feed, spectra_of
from frametx.training.stereo import narrowed, spread

if TYPE_CHECKING:
    from pathlib import Path

RATE = 44100
FRAMING = Framing(n_fft=256, hop=128)
PLAIN = AugmentConfig(speed=0.0, swap=0.0, width=0.0, spread=0.0, narrow=0.0, band_limit=0.0)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((2, n)).astype(np.float32)


def ignore(_: Path) -> None:
    """Nobody wants to know what is decoded."""


@pytest.fixture
def opened(recordings, tmp_path):
    return Recordings(
        open_pool([Source(folder=recordings / "instrumentals")], tmp_path, 1000, ignore),
        open_pool([Source(folder=recordings / "vocals", dry=True)], tmp_path, 1000, ignore),
        open_pairs([Source(folder=recordings / "pairs")], tmp_path, 1000, ignore),
    )


class TestSongs:
    def test_a_number_always_gives_the_same_song(self, opened):
        """Songs depend on seed and number alone, so a resumed training sees what it would have seen."""
        mixtures = Mixtures(Mixer(opened, MixingConfig(), Augmenter(AugmentConfig())), 20000, seed=1)
        again = Mixtures(Mixer(opened, MixingConfig(), Augmenter(AugmentConfig())), 20000, seed=1)
        for number in (0, 7):
            torch.testing.assert_close(mixtures[number], again[number], rtol=0, atol=0)
        assert not torch.equal(mixtures[0][0], mixtures[1][0])

    def test_folders_of_pairs_have_weights(self, recordings, tmp_path):
        """A folder with weight 0 is never drawn from."""
        silent = tmp_path / "silent"
        silent.mkdir()
        for kind in ("vocals", "instrumental"):
            soundfile.write(silent / f"x_{kind}.wav", np.zeros((5000, 2)), RATE)
        sources = [Source(folder=recordings / "pairs", weight=1.0), Source(folder=silent, weight=0.0)]
        pool = open_pairs(sources, tmp_path / "cache", 1000, ignore)
        rng = np.random.default_rng(0)
        assert all(pool.draw(rng, 1000)[1].any() for _ in range(20))

    def test_processes_share_the_numbers(self):
        """Two processes together draw what one draws, in batches of half the size."""
        alone = iter(Numbers(8, 4, rank=0, processes=1))
        shared = [iter(Numbers(8, 2, rank=rank, processes=2)) for rank in (0, 1)]
        for _ in range(3):
            assert next(alone) == next(shared[0]) + next(shared[1])

    def test_workers_change_nothing(self, opened):
        """Batches made in another process are those made here."""
        mixtures = Mixtures(Mixer(opened, MixingConfig(), Augmenter(PLAIN)), 5000, seed=0)
        here, there = (next(batches(mixtures, Numbers(0, 2, 0, 1), workers)) for workers in (0, 1))
        torch.testing.assert_close(here, there, rtol=0, atol=0)

    @pytest.mark.parametrize(
        ("share", "silent"), [({"no_vocals": 1.0}, 1), ({"no_vocals": 0.0, "only_vocals": 1.0}, 0)]
    )
    def test_a_stem_can_be_left_out(self, opened, share, silent):
        """Songs without vocals, and vocals alone, come in the shares asked for."""
        stems = Mixer(opened, MixingConfig(**share), Augmenter(PLAIN)).stems(np.random.default_rng(0), 20000)
        assert not stems[silent].any()
        assert stems[1 - silent].any()

    @pytest.mark.parametrize("level", [-24, -6, 12])
    def test_vocals_have_the_level_asked_for(self, opened, level):
        """Where both sound, vocals lie that many dB from the instrumental, be it much."""
        mixing = MixingConfig(
            true_pairs=0, no_vocals=0, only_vocals=0, second_voice=0, vocals_db=level, vocals_db_spread=0
        )
        played, sung = Mixer(opened, mixing, Augmenter(PLAIN)).stems(np.random.default_rng(0), 2 * RATE)
        assert 20 * np.log10(active_rms(sung) / active_rms(played)) == pytest.approx(level, abs=0.01)

    def test_spread_voices_do_not_click(self, opened, tmp_path):
        """A second take or a delayed side neither sets in nor breaks off within a song, be it long."""
        (tmp_path / "tone").mkdir()
        tone = 0.1 * np.sin(2 * np.pi * 223.3 * np.arange(12 * RATE) / RATE)
        soundfile.write(tmp_path / "tone" / "x.wav", tone, RATE)
        tones = open_pool([Source(folder=tmp_path / "tone")], tmp_path / "cache", 1000, ignore)
        mixing = MixingConfig(true_pairs=0, no_vocals=0, only_vocals=1, second_voice=0)
        augment = AugmentConfig(speed=0, swap=0, width=0, spread=1, narrow=0, band_limit=0)
        mixer = Mixer(Recordings(opened.instrumentals, tones, None), mixing, Augmenter(augment))
        for seed, seconds in enumerate([1] * 4 + [9] * 3):
            _, sung = mixer.stems(np.random.default_rng(seed), seconds * RATE)
            bends = np.abs(np.diff(sung, 2)).max(axis=0)
            assert bends.max() < 4 * np.median(bends)

    def test_pairs_stay_together(self, opened):
        """True pairs are cut at the same place: faster or slower, their sum is the song's."""
        assert opened.pairs is not None
        played, sung = opened.pairs.draw(np.random.default_rng(0), 10000)
        whole, voice = (np.load(r.path, mmap_mode="r") for r in opened.pairs.pairs[0])
        at = next(
            s
            for s in range(len(whole) - 9999)
            if np.allclose(whole[s, 0] / 32768, played[0, 0])
            and np.allclose(whole[s : s + 50, 0] / 32768, played[0, :50])
        )
        assert np.allclose(voice[at : at + 10000, 0] / 32768, sung[0])


class TestAugmentation:
    def test_levels_are_those_of_the_sounding_part(self):
        """Silence around a voice does not make it louder."""
        voice = noise(RATE)
        padded = np.concatenate([voice, np.zeros_like(voice)], axis=1)
        assert active_rms(padded) == pytest.approx(active_rms(voice), rel=0.01)
        assert active_rms(at_level(padded)) == pytest.approx(LEVEL, rel=0.01)

    def test_band_limits_take_the_top_and_leave_the_rest(self):
        """Above half the rate nothing is left; below it all is."""
        sound = noise(RATE)
        before, after = (np.abs(np.fft.rfft(x[0])) ** 2 for x in (sound, band_limited(sound, 22050.0)))
        assert after[13000:].sum() < 1e-3 * before[13000:].sum()
        assert after[:8000].sum() == pytest.approx(before[:8000].sum(), rel=0.02)

    def test_spread_voices_have_sides(self):
        """A mono voice comes out of most ways of spreading with a difference between its channels."""
        mono = np.repeat(noise(RATE)[:1], 2, axis=0)
        wide = [spread(mono, np.random.default_rng(seed)) for seed in range(8)]
        assert all(x.shape == mono.shape and x.dtype == np.float32 for x in wide)
        assert sum(np.abs(x[0] - x[1]).mean() > 0.01 * np.abs(x).mean() for x in wide) >= 7
        assert np.allclose(*narrowed(noise(100), 1.0), atol=1e-6)

    def test_held_chords_lie_on_the_semitones_of_the_voice(self):
        """A steady tone becomes tones whole semitones away, about as long and loud as it was; silence stays silence."""
        tone = np.sin(2 * np.pi * 1760 * np.arange(4 * RATE) / RATE).astype(np.float32) * np.ones((2, 1), np.float32)
        for seed in range(6):
            chord = held_chord(tone, np.random.default_rng(seed))
            assert chord.shape == tone.shape
            assert chord.dtype == np.float32
            assert 0.3 < active_rms(chord) / active_rms(tone) < 4
            energy = np.square(np.abs(np.fft.rfft(chord.sum(axis=0))))[1:]
            semitones = 12 * np.log2(np.arange(1, len(energy) + 1) / 4 / 1760)
            near = np.abs(semitones - np.round(semitones)) < 0.3
            assert energy[near].sum() > 0.9 * energy.sum()
        assert not held_chord(np.zeros_like(tone), np.random.default_rng(0)).any()
        assert held_chord(tone[:, :1000], np.random.default_rng(0)).shape == (2, 1000)

    def test_effects_keep_length_and_are_finite(self):
        """Equalisers, dynamics, rooms and codecs return as many samples as they got."""
        pytest.importorskip("pedalboard")
        augmenter = Augmenter(AugmentConfig(effects=True, codec=0.3, background=0.5))
        for seed in range(12):
            varied = augmenter.vocals(noise(RATE), np.random.default_rng(seed), dry=True)
            assert varied.shape == (2, RATE)
            assert np.isfinite(varied).all()

    def test_songs_with_effects_can_be_mixed_by_workers_of_any_kind(self, opened, monkeypatch):
        """Those of macOS and Windows are sent everything that they need, but no module can be sent."""
        monkeypatch.setitem(sys.modules, "pedalboard", ModuleType("pedalboard"))
        mixtures = Mixtures(Mixer(opened, MixingConfig(), Augmenter(AugmentConfig(effects=True))), 5000, seed=0)
        sent = pickle.loads(pickle.dumps(mixtures))
        assert sent.mixer.augmenter.board is sys.modules["pedalboard"]

    def test_missing_pedalboard_is_said(self, monkeypatch):
        """Effects without the extra are refused with the command that installs it."""
        monkeypatch.setitem(sys.modules, "pedalboard", None)
        with pytest.raises(TrainingError, match="pedalboard") as caught:
            Augmenter(AugmentConfig(effects=True))
        assert "frametx[train]" in caught.value.hint


class TestFolders:
    def test_copies_in_a_folder_of_recordings_are_no_recordings(self, recordings, tmp_path):
        """With the output below the data, a second run would take decoded voices for instrumentals."""
        for kind in ("instrumentals", "vocals"):
            (tmp_path / kind).symlink_to(recordings / kind)
        (tmp_path / "song.wav").write_bytes((recordings / "instrumentals" / "0.wav").read_bytes())
        for _ in range(2):
            pool = open_pool([Source(folder=tmp_path)], tmp_path / "run" / "cache", 1000, ignore)
            open_pool([Source(folder=tmp_path / "vocals")], tmp_path / "run" / "cache", 1000, ignore)
            assert [recording.path.name.partition("-")[0] for recording in pool.recordings] == ["song"]

    def test_hidden_folders_and_folders_called_like_files_are_passed_over(self, recordings, tmp_path):
        """Neither what was thrown away nor an album called .mp3 is a recording."""
        sound = (recordings / "vocals" / "0.wav").read_bytes()
        for path in (tmp_path / ".Trash-1000" / "old.wav", tmp_path / "best of.mp3" / "new.wav"):
            path.parent.mkdir()
            path.write_bytes(sound)
        told = []
        open_pool([Source(folder=tmp_path)], tmp_path / "cache", 1000, told.append)
        assert [path.name for path in told] == ["new.wav"]


class TestBadRecordings:
    def test_an_empty_folder(self, tmp_path):
        """An empty folder is named."""
        (tmp_path / "empty").mkdir()
        with pytest.raises(TrainingError, match="empty holds no recordings"):
            open_pool([Source(folder=tmp_path / "empty")], tmp_path, 10, ignore)

    def test_a_missing_folder(self, tmp_path):
        """A folder that does not exist is named."""
        with pytest.raises(TrainingError, match="nowhere is no folder"):
            open_pool([Source(folder=tmp_path / "nowhere")], tmp_path, 10, ignore)

    def test_an_unreadable_file(self, tmp_path):
        """A file that is no audio stops the training before it starts."""
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
        with pytest.raises(AudioError, match=r"bad\.wav"):
            open_pool([Source(folder=tmp_path / "in")], tmp_path / "cache", 10, ignore)

    def test_a_file_that_is_too_short(self, tmp_path):
        """Both lengths are in the message."""
        (tmp_path / "in").mkdir()
        soundfile.write(tmp_path / "in" / "short.wav", np.zeros(RATE // 2), RATE)
        with pytest.raises(TrainingError, match=r"short\.wav is too short: 0\.5 s, a crop is 1\.0 s"):
            open_pool([Source(folder=tmp_path / "in")], tmp_path / "cache", RATE, ignore)

    def test_an_array_of_another_kind(self, tmp_path):
        """Only int16 arrays are mapped as they are."""
        np.save(tmp_path / "floats.npy", np.zeros((RATE, 2), np.float32))
        with pytest.raises(TrainingError, match="float32"):
            open_pool([Source(folder=tmp_path)], tmp_path, 10, ignore)

    def test_a_decoded_copy_that_was_cut_is_made_anew(self, recordings, tmp_path):
        """A disk that was full once does not stop later trainings."""
        folders = [Source(folder=recordings / "vocals")]
        first = open_pool(folders, tmp_path, 1000, ignore)
        stored = first.recordings[0].path
        stored.write_bytes(stored.read_bytes()[:5000])
        decoded = []
        again = open_pool(folders, tmp_path, 1000, decoded.append)
        assert len(decoded) == 1
        assert again.recordings[0].n_samples == first.recordings[0].n_samples

    def test_an_instrumental_in_parts_is_decoded_as_their_sum(self, tmp_path):
        """A song in four stems is a pair like any other."""
        for seed, part in enumerate(("drums", "bass", "other", "vocals")):
            soundfile.write(tmp_path / f"song_{part}.wav", noise(5000, seed).T, RATE, subtype="FLOAT")
        ((instrumental, vocals),) = open_pairs([Source(folder=tmp_path)], tmp_path / "cache", 1000, ignore).pairs
        np.testing.assert_allclose(instrumental.crop(0, 5000), sum(noise(5000, seed) for seed in range(3)), atol=1e-4)
        np.testing.assert_allclose(vocals.crop(0, 5000), noise(5000, 3), atol=1e-4)

    def test_a_long_name_is_decoded(self, tmp_path):
        """The copy has a shorter one."""
        name = "あ" * 78
        soundfile.write(tmp_path / f"{name}.wav", noise(5000).T, RATE)
        pool = open_pool([Source(folder=tmp_path)], tmp_path / "cache", 1000, ignore)
        assert pool.recordings[0].n_samples == 5000

    def test_a_copy_that_cannot_be_written_is_said(self, recordings, tmp_path):
        """The message names song and folder, the hint the ways out."""
        (tmp_path / "file").write_text("")
        with pytest.raises(TrainingError, match="cannot be decoded into") as caught:
            open_pool([Source(folder=recordings / "vocals")], tmp_path / "file" / "cache", 1000, ignore)
        assert "data.cache" in caught.value.hint

    def test_a_changed_file_is_decoded_again(self, tmp_path):
        """The cache does not outlive the file it was made from."""
        (tmp_path / "in").mkdir()
        path, decoded = tmp_path / "in" / "x.wav", []
        for seconds in (1, 1, 2):
            soundfile.write(path, np.zeros(seconds * RATE), RATE)
            __import__("os").utime(path, (seconds, seconds))
            open_pool([Source(folder=tmp_path / "in")], tmp_path / "cache", 10, decoded.append)
        assert len(decoded) == 2


class TestLoss:
    def spectra(self) -> Spectra:
        stems = torch.from_numpy(np.stack([noise(33 * 128, 1), noise(33 * 128, 2)]))[None]
        return spectra_of(stems, torch.zeros(1), FRAMING)

    def test_spectra_are_relative_to_the_peak(self):
        """The mixture's largest magnitude is 1, less the headroom."""
        stems = torch.from_numpy(np.stack([noise(33 * 128, 1), noise(33 * 128, 2)]))[None]
        assert self.spectra().mix.abs().max() == pytest.approx(1.0, rel=0.02)
        assert spectra_of(stems, torch.tensor([20.0]), FRAMING).mix.abs().max() == pytest.approx(0.1, rel=0.02)

    def test_mini_reads_middle_and_side(self):
        """A mono song has a silent side and a middle as loud as its left; out of phase it is the other way."""
        network = Mini(n_fft=256, heads=2, stride=4)
        mono = self.spectra().instrumental[:, :1]
        for turned, (silent, loud) in ((mono, (3, 2)), (-mono, (2, 3))):
            song = torch.cat([mono, turned], dim=1)
            x = feed(network, Spectra(song, 0 * song), 32)
            assert x.shape == (1, 4, 128, 32)
            assert not x[:, silent].any()
            torch.testing.assert_close(x[:, loud], mono[:, 0].abs())

    @pytest.mark.parametrize("term", ["complex", "energy", "root", "magnitude", "mel", "wave"])
    def test_a_better_mask_has_a_smaller_loss(self, term):
        """Every term prefers the ideal ratio mask to half of everything, and that to nothing."""
        spectra = self.spectra()
        weights = dict.fromkeys(("complex", "root"), 0.0) | {term: 1.0}
        loss = SeparationLoss(LossConfig(**weights, mel_bands=16), FRAMING)
        played, sung = spectra.instrumental.abs(), spectra.vocals.abs()
        masks = [played / (played + sung), torch.full_like(played, 0.5), torch.zeros_like(played)]
        best, middle, worst = (float(loss(mask, spectra)[term]) for mask in masks)
        assert best < middle < worst

    def test_loudness_does_not_matter(self):
        """A song ten times quieter has the same loss."""
        loss = SeparationLoss(LossConfig(), FRAMING)
        spectra = self.spectra()
        quiet = Spectra(spectra.instrumental / 10, spectra.vocals / 10)
        mask = torch.full_like(spectra.mix.abs(), 0.3)
        assert float(loss(mask, quiet)["complex"]) == pytest.approx(float(loss(mask, spectra)["complex"]), rel=1e-3)
