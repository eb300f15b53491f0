"""Writing stems."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace

import av
import mutagen
import numpy as np
import pytest
import soundfile

from frametx.audio.formats import FORMATS, readable_formats, writable_formats
from frametx.audio.pcm import quantise
from frametx.audio.reader import SongReader
from frametx.audio.resample import resampled_length
from frametx.audio.writer import StemWriter
from frametx.errors import AudioError, UsageError


def writer(target, form="flac", bit_depth=16, **options):
    options = {"sample_rate": 44100, "channels": 2} | options
    return StemWriter(target, format=form, bit_depth=bit_depth, **options)


@pytest.mark.parametrize(
    ("form", "bit_depth", "subtype"),
    [
        ("flac", 16, "PCM_16"),
        ("flac", 24, "PCM_24"),
        ("wav", 16, "PCM_16"),
        ("wav", 24, "PCM_24"),
        ("wav", "float", "FLOAT"),
    ],
)
def test_a_lossless_stem_is_what_was_written(tmp_path, noise, form, bit_depth, subtype):
    """Samples that the format can hold come back bit for bit, and the file is of the kind that was asked for."""
    samples = noise(100_000, bits=16 if bit_depth == 16 else 24)
    target = tmp_path / f"stem.{form}"
    with writer(target, form, bit_depth) as stem:
        for block in np.array_split(samples, 7, axis=1):
            stem.write(block)
        written = stem.finish()
    back, rate = soundfile.read(target, dtype="float32", always_2d=True)
    assert np.array_equal(back.T, samples)
    assert rate == 44100
    assert soundfile.info(target).subtype == subtype
    assert (written.path, written.n_samples, written.n_clipped) == (target, 100_000, 0)
    assert written.peak == pytest.approx(np.abs(samples).max())


@pytest.mark.parametrize("bits", [16, 24])
def test_integers_are_written_as_they_are(tmp_path, noise, bits):
    """Samples quantised before are not quantised again."""
    samples = noise(5000, bits=bits)
    with writer(tmp_path / "stem.flac", bit_depth=bits) as stem:
        assert stem.bits == bits
        stem.write(quantise(samples, bits))
        stem.finish()
    assert np.array_equal(soundfile.read(tmp_path / "stem.flac", dtype="float32")[0].T, samples)


def test_clipping_is_cut_and_counted(tmp_path):
    """Too loud samples stop at full scale, are counted over all channels, and the true peak is reported."""
    samples = np.array([[0.5, 1.5, -2.0], [1.0, 0.0, 0.25]], dtype=np.float32)
    with writer(tmp_path / "stem.flac") as stem:
        stem.write(samples)
        written = stem.finish()
    assert written.n_clipped == 3
    assert written.peak == 2.0
    back = soundfile.read(tmp_path / "stem.flac", dtype="int16")[0].T
    assert back.tolist() == [[16384, 32767, -32768], [32767, 0, 8192]]


def test_float_wav_never_clips(tmp_path):
    """Float files hold what is louder than full scale."""
    with writer(tmp_path / "stem.wav", "wav", "float", channels=1) as stem:
        assert stem.bits is None
        stem.write(np.array([[3.5, -7.0]], dtype=np.float32))
        assert stem.finish().n_clipped == 0
    assert soundfile.read(tmp_path / "stem.wav", dtype="float32")[0].tolist() == [3.5, -7.0]


def test_a_stem_of_one_sample_is_a_file_too(tmp_path, noise):
    """The shortest stem is readable."""
    for form in ("flac", "wav"):
        with writer(tmp_path / f"stem.{form}", form) as stem:
            stem.write(noise(1))
            assert stem.finish().n_samples == 1
        assert np.array_equal(soundfile.read(tmp_path / f"stem.{form}", dtype="float32", always_2d=True)[0].T, noise(1))


def test_a_stem_without_samples_is_refused(tmp_path):
    """Nothing was written, so nothing is left."""
    with writer(tmp_path / "stem.flac") as stem, pytest.raises(AudioError, match="no samples"):
        stem.finish()
    assert list(tmp_path.iterdir()) == []


def test_nothing_has_the_final_name_before_the_end(tmp_path, noise):
    """While a stem grows there is one hidden file, which no search for audio finds."""
    with writer(tmp_path / "stem.flac") as stem:
        stem.write(noise(1000))
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".stem.flac.")
        assert part.suffix == ".part"
        assert list(tmp_path.glob("*.flac")) == []
        stem.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["stem.flac"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(tmp_path, noise, failure):
    """An exception or Ctrl-C removes the unfinished file."""

    def fail():
        with writer(tmp_path / "stem.flac") as stem:
            stem.write(noise(1000))
            raise failure

    with pytest.raises(failure):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_finish_leaves_nothing(tmp_path, noise):
    """Only finish makes a file, and abort may be called twice."""
    with writer(tmp_path / "stem.wav", "wav") as stem:
        stem.write(noise(1000))
        stem.abort()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept(tmp_path, noise):
    """Without overwrite the writer refuses before any work; with it the old file is replaced at the end."""
    target = tmp_path / "stem.flac"
    target.write_bytes(b"precious")
    with pytest.raises(AudioError, match="exists already"):
        writer(target)
    with writer(target, overwrite=True) as stem:
        stem.write(noise(1000))
        assert target.read_bytes() == b"precious"
        stem.finish()
    assert soundfile.info(target).frames == 1000
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_made_meanwhile_is_kept(tmp_path, noise):
    """A target that appears during the work is not overwritten."""
    target = tmp_path / "stem.flac"
    with writer(target) as stem:
        stem.write(noise(1000))
        target.write_bytes(b"precious")
        with pytest.raises(AudioError, match="exists already"):
            stem.finish()
    assert target.read_bytes() == b"precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_folder_is_refused_at_once(tmp_path):
    """The folder is named before anything is computed."""
    with pytest.raises(AudioError, match="nowhere cannot be written to"):
        writer(tmp_path / "nowhere" / "stem.flac")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_at_once(tmp_path):
    """A folder without permission is named before anything is computed."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AudioError, match="cannot be written to: Permission denied"):
            writer(tmp_path / "stem.flac")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "name", ["-stem.flac", "ビデオ 🎤.flac", "a" * 250 + ".flac", "é" * 124 + ".flac", 'it\'s "x".flac']
)
def test_odd_names_are_written(tmp_path, noise, name):
    """Names up to the file system's limit work, the temporary name notwithstanding."""
    with writer(tmp_path / name) as stem:
        stem.write(noise(100))
        stem.finish()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@contextmanager
def limited_disk(n):
    """Make every write beyond `n` bytes of a file fail, as on a full disk.

    Not a fixture: pytest reports a test before its fixtures end, and its own output may go to a file.
    """
    resource = pytest.importorskip("resource")
    _, hard = limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def write_all(target, form, blocks):
    with writer(target, form) as stem:
        for block in blocks:
            stem.write(block)
        stem.finish()


@pytest.mark.parametrize("form", ["flac", "wav"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, noise, form):
    """When the file can't grow the error names it and the unfinished file is gone."""
    with limited_disk(1_000_000), pytest.raises(AudioError, match=rf"stem\.{form} could not be written"):
        write_all(tmp_path / f"stem.{form}", form, (noise(44100, seed=seed) for seed in range(20)))
    assert list(tmp_path.iterdir()) == []


def test_a_stem_that_another_program_has_open_is_said(tmp_path, noise, monkeypatch):
    """Windows lets nobody replace a file that a player has open: the way out is not more space."""

    def refuse(*_):
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(type(tmp_path), "replace", refuse)
    with pytest.raises(AudioError, match=r"stem\.wav could not be written: Access is denied") as caught:
        write_all(tmp_path / "stem.wav", "wav", [noise(1000)])
    assert "close the program that has it open" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_with_the_last_bytes_is_said(tmp_path, noise):
    """Bytes that were still in a buffer count too."""
    with limited_disk(1000), pytest.raises(AudioError, match="could not be written"):
        write_all(tmp_path / "stem.wav", "wav", [noise(1000)])
    assert list(tmp_path.iterdir()) == []


def test_long_wavs_become_rf64(tmp_path, noise):
    """A forecast beyond 4 GiB gives an RF64 header that readers know; a shorter one a plain WAV."""
    for n_samples, magic in ((2**30, b"RF64"), (2**20, b"RIFF")):
        target = tmp_path / f"{n_samples}.wav"
        with writer(target, "wav", 16, n_samples=n_samples) as stem:
            stem.write(noise(1000))
            stem.finish()
        assert target.read_bytes()[:4] == magic
        assert np.array_equal(soundfile.read(target, dtype="float32")[0].T, noise(1000))


LOSSY = ["mp3", "ogg", "opus", "m4a"]


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_stems_stay_aligned(tmp_path, tones, form, rate, channels):
    """A lossy stem comes back in time and in its length, resampled where the format lacks the rate."""
    samples = tones(1.0, rate, channels=channels)[:, :-123]
    target = tmp_path / f"stem.{form}"
    with writer(target, form, sample_rate=rate, channels=channels) as stem:
        assert stem.bits is None
        for block in np.array_split(samples, 5, axis=1):
            stem.write(block)
        written = stem.finish()
    reader = SongReader(target)
    back = np.concatenate(list(reader.blocks()), axis=1)
    assert written.n_samples == samples.shape[1]
    assert (reader.sample_rate, reader.channels) == (written.sample_rate, channels)
    assert back.shape == (channels, resampled_length(samples.shape[1], rate, reader.sample_rate))
    expected = tones(1.0, reader.sample_rate, channels=channels)
    middle = slice(2000, back.shape[1] - 2000)
    assert np.abs(back - expected[:, : back.shape[1]])[:, middle].max() < 0.03
    assert bool(written.notes) == (written.sample_rate != rate)


@pytest.mark.parametrize("form", LOSSY)
def test_ffmpeg_finds_lossy_stems_aligned_too(tmp_path, tones, form):
    """Another decoder finds the same start: the file itself says where the song begins."""
    samples = tones(1.0, 48000)
    with writer(tmp_path / "stem", form, sample_rate=48000) as stem:
        stem.write(samples)
        stem.finish()
    with av.open(str(tmp_path / "stem")) as container:
        back = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    middle = slice(2000, 40000)
    assert np.abs(back[:, middle] - samples[:, middle]).max() < 0.03


def test_mp3_has_320_kilobits(tmp_path, noise):
    """The highest bit rate is used, also for mono at a low sample rate."""
    for rate, channels in ((44100, 2), (22050, 1)):
        target = tmp_path / f"{rate}.mp3"
        with writer(target, "mp3", sample_rate=rate, channels=channels) as stem:
            stem.write(noise(rate, channels=channels))
            stem.finish()
        assert mutagen.File(target).info.bitrate == pytest.approx(320_000, rel=1e-4)


@pytest.mark.parametrize("form", LOSSY)
def test_lossy_stems_clip_and_count(tmp_path, tones, form):
    """What is louder than full scale is cut before a lossy encoder, and counted."""
    samples = tones(0.5, 48000)
    samples[:, 1000:1010] = 1.5
    with writer(tmp_path / "stem", form, sample_rate=48000) as stem:
        stem.write(samples)
        written = stem.finish()
    assert written.n_clipped == 20
    assert written.peak == pytest.approx(1.5)


@pytest.mark.parametrize("form", LOSSY)
def test_lossy_stems_leave_nothing_when_they_fail(tmp_path, tones, form):
    """A full disk and an exception are the same for every encoder."""
    with writer(tmp_path / f"stem.{form}", form) as stem:
        stem.write(tones(0.2))
    assert list(tmp_path.iterdir()) == []
    with limited_disk(2000), pytest.raises(AudioError, match="could not be written"):
        write_all(tmp_path / f"stem.{form}", form, [tones(2)])
    assert list(tmp_path.iterdir()) == []


def test_missing_encoders_are_found_at_once(tmp_path, monkeypatch):
    """An encoder that the library lacks fails before any sample, and is not offered."""
    monkeypatch.setitem(FORMATS, "m4a", replace(FORMATS["m4a"], codec="no_such_codec"))
    with pytest.raises(AudioError, match="m4a cannot be written"):
        writer(tmp_path / "stem.m4a", "m4a")
    assert list(tmp_path.iterdir()) == []
    assert "m4a" not in writable_formats()


def test_every_format_can_be_written_here():
    """The libraries that the package depends on bring all encoders, and decoders are named."""
    assert list(writable_formats()) == ["flac", "wav", "mp3", "ogg", "opus", "m4a"]
    assert "FLAC" in readable_formats()["soundfile"]
    assert any("AAC" in name for name in readable_formats()["av"])


def test_unknown_formats_are_listed(tmp_path):
    """The error says which formats there are."""
    with pytest.raises(UsageError, match="'xyz'") as caught:
        writer(tmp_path / "stem.xyz", "xyz")
    assert "flac" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_flac_does_not_take_floats(tmp_path):
    """A bit depth that the format lacks is refused with those it has."""
    with pytest.raises(UsageError, match="16 or 24"):
        writer(tmp_path / "stem.flac", bit_depth="float")
