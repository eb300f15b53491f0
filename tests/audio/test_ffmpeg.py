"""Reading what libsndfile cannot."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from frametx.audio.reader import SongReader, probe
from frametx.audio.tags import read_tags
from frametx.errors import AudioError


def encode(path, samples, *, container, codec, rate=44100, layout="stereo", video=False, options=None, title=None):
    """Write float samples `[c n]` with FFmpeg's defaults, as other programs do."""
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        output.metadata.update({"title": title} if title else {})
        if video:
            pictures = output.add_stream("mpeg4", rate=25)
            pictures.width = pictures.height = 32
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 256_000
        stream.codec_context.open()
        if video:
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in [*pictures.encode(picture), *pictures.encode(None)]:
                output.mux(packet)
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout=layout, rate=rate, frame_size=stream.codec_context.frame_size
        )
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return path


def read(path, size=65536, **section):
    return np.concatenate(list(SongReader(path, **section).blocks(size)), axis=1)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("ipod", "aac", 44100),
        ("mp4", "aac", 48000),
        ("mov", "aac", 22050),
        ("mp4", "libopus", 48000),
        ("webm", "libopus", 48000),
        ("matroska", "libopus", 48000),
    ],
)
def test_lossy_songs_are_aligned_and_in_their_length(tmp_path, tones, container, codec, rate):
    """Priming before the song and padding behind it are gone: the samples are where they were."""
    samples = tones(1.5, rate)[:, :-77]
    back = read(encode(tmp_path / "song", samples, container=container, codec=codec, rate=rate))
    assert back.shape == samples.shape
    middle = slice(2000, -2000)
    assert np.abs(back - samples)[:, middle].max() < 0.05


def test_an_edit_list_cuts_the_padding(tmp_path, tones):
    """Where the packets are all of one length, as iTunes writes them, the edit list tells the end."""
    samples = tones(1.0)[:, :43000]
    path = encode(tmp_path / "song", samples, container="ipod", codec="aac", options={"movie_timescale": "44100"})
    content = bytearray(path.read_bytes())
    at = content.index(b"stts") + 8  # number of entries, then (count, samples in each) pairs
    assert int.from_bytes(content[at : at + 4], "big") == 2
    content[at + 16 : at + 20] = (1024).to_bytes(4, "big")  # the last packet now claims to be full
    path.write_bytes(content)
    assert read(path).shape == samples.shape


@pytest.mark.parametrize(
    ("container", "codec", "bit_depth"),
    [
        ("ipod", "alac", 24),
        ("matroska", "flac", 16),
        ("mov", "pcm_s16le", 16),
        ("mov", "pcm_s24le", 24),
        ("mov", "pcm_f32le", "float"),
    ],
)
def test_lossless_codecs_are_exact(tmp_path, noise, container, codec, bit_depth):
    """Lossless sound in any container comes back bit for bit with its bit depth."""
    samples = noise(20_000)
    path = encode(tmp_path / "song", samples, container=container, codec=codec)
    info = probe(path)
    assert (info.decoder, info.bit_depth) == ("av", bit_depth)
    assert np.array_equal(read(path), samples)


def test_a_video_gives_its_sound(tmp_path, tones):
    """The first audio stream of a video is the song."""
    path = encode(tmp_path / "film.mp4", tones(1.0), container="mp4", codec="aac", video=True)
    assert read(path).shape == (2, 44100)


def test_a_film_without_sound_is_refused(tmp_path):
    """A video without audio says what it holds."""
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio stream; it holds: video"):
        probe(path)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("avi", "pcm_s16le"), ("matroska", "flac"), ("adts", "aac")]
)
def test_a_tag_in_another_encoding_does_not_hide_the_song(tmp_path, tones, container, codec):
    """A title in Latin-1, which is against the format and common, loses a letter; the sound is read."""
    path = encode(tmp_path / "song", tones(0.5), container=container, codec=codec, title="caf\u00e9")
    content = path.read_bytes().replace("caf\u00e9".encode(), b"caf\xe9s")
    if container == "adts":
        content += (b"TAG" + b"caf\xe9").ljust(128, b"\0")  # ID3v1
    path.write_bytes(content)
    assert b"caf\xe9" in content
    assert read(path).shape[1] >= 22050
    assert read_tags(path).first("title").startswith("caf\ufffd")


def test_subtitles_are_no_song(tmp_path):
    """Text that FFmpeg knows is still no audio."""
    (tmp_path / "text.wav").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    with pytest.raises(AudioError, match="no audio stream"):
        probe(tmp_path / "text.wav")


@pytest.mark.parametrize("size", [100, 4096, 10**6])
def test_any_block_size_and_section_gives_the_same_samples(tmp_path, tones, size):
    """Blocks of any size join to the same song, and a section is a part of it."""
    path = encode(tmp_path / "song.m4a", tones(1.0), container="ipod", codec="aac")
    whole = read(path)
    assert np.array_equal(read(path, size), whole)
    first, last = round(0.3 * 44100), round(0.7 * 44100)
    assert np.array_equal(read(path, size, start_seconds=0.3, end_seconds=0.7), whole[:, first:last])


def test_mono_and_odd_names(tmp_path, tones):
    """Mono stays mono, whatever the file is called."""
    path = encode(tmp_path / "song", tones(0.5, channels=1), container="ipod", codec="aac", layout="mono")
    odd = path.rename(tmp_path / "-ビデオ 🎤 'x'.m4a")
    assert SongReader(odd).channels == 1
    assert read(odd).shape == (1, 22050)


def test_surround_is_mixed_down_by_its_layout(tmp_path):
    """The speakers come from the file, not from a guess: a tone in the centre goes to both sides alike."""
    n = 44100
    samples = np.zeros((6, n), dtype=np.float32)
    samples[2] = 0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / 44100)  # 5.1: FL FR FC LFE BL BR
    for container, codec in (("ipod", "aac"), ("ogg", "libopus")):
        rate = 48000 if codec == "libopus" else 44100
        path = encode(
            tmp_path / codec,
            samples,
            container=container,
            codec=codec,
            layout="5.1",
            rate=rate,
        )
        reader = SongReader(path)
        assert "LFE dropped" in reader.notes[0]
        back = read(path)[:, 5000:-5000]  # without the tone's sudden beginning and end
        assert np.abs(back[0] - back[1]).max() < 0.02
        assert back.max() == pytest.approx(0.5 * 0.5**0.5 / (1 + 2 * 0.5**0.5), rel=0.1)


def test_a_truncated_mp4_is_refused(tmp_path, tones):
    """An MP4 that ends early says how much of it there is."""
    path = encode(tmp_path / "song", tones(4), container="ipod", codec="aac", options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"promises 4\.00 s of audio, [12]\.\d\d s"):
        read(path)
