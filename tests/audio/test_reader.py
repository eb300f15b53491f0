"""Reading songs."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import soundfile

from frametx.audio.reader import SongReader, probe
from frametx.audio.tags import Tags, read_tags
from frametx.errors import AudioError


def read(path, size=65536, **section):
    with SongReader(path, **section) as reader:
        return np.concatenate(list(reader.blocks(size)), axis=1)


@pytest.fixture
def song(tmp_path, noise):
    """A 16-bit stereo FLAC of 3 s and its samples."""
    samples = noise(3 * 44100)
    path = tmp_path / "song.flac"
    soundfile.write(path, samples.T, 44100, subtype="PCM_16")
    return path, samples


@pytest.mark.parametrize("size", [1000, 65536, 10**7])
def test_blocks_hold_every_sample_once(song, size):
    """Blocks of any size join to the file, bit for bit."""
    path, samples = song
    assert np.array_equal(read(path, size), samples)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), b"APETAGEX" + bytes(24)], ids=["ID3v1", "APE"])
def test_tags_behind_a_flac_are_no_damage(song, tail):
    """What taggers append to a FLAC is not decoded: the song is whole, and so is a section at its end."""
    path, samples = song
    with path.open("ab") as file:
        file.write(tail)
    assert np.array_equal(read(path), samples)
    assert np.array_equal(read(path, start_seconds=2.0, end_seconds=9.0), samples[:, 2 * 44100 :])


def test_blocks_start_again(song):
    """A second call of blocks gives the song again, also when the first was left half way."""
    path, samples = song
    reader = SongReader(path)
    next(reader.blocks(100))
    assert np.array_equal(np.concatenate(list(reader.blocks()), axis=1), samples)
    assert np.array_equal(np.concatenate(list(reader.blocks()), axis=1), samples)


@pytest.mark.parametrize(
    ("extension", "subtype", "bit_depth"),
    [
        ("wav", "PCM_16", 16),
        ("wav", "PCM_24", 24),
        ("wav", "FLOAT", "float"),
        ("flac", "PCM_24", 24),
        ("aiff", "PCM_16", 16),
        ("ogg", "VORBIS", None),
        ("mp3", "MPEG_LAYER_III", None),
    ],
)
def test_probe_says_what_a_file_is(tmp_path, noise, extension, subtype, bit_depth):
    """Rate, channels, length and bit depth come from the header."""
    path = tmp_path / f"song.{extension}"
    soundfile.write(path, noise(48000, channels=1)[0], 48000, subtype=subtype)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.n_samples, info.bit_depth) == (48000, 1, 48000, bit_depth)
    assert info.decoder == "soundfile"


@pytest.mark.parametrize("extension", ["mp3", "ogg", "flac"])
def test_compressed_songs_do_not_depend_on_the_block_size(tmp_path, tones, extension):
    """A decoder is never disturbed between blocks: any size gives what one block gives."""
    path = tmp_path / f"song.{extension}"
    soundfile.write(path, tones(2).T, 44100)
    whole, _ = soundfile.read(path, dtype="float32")
    for size in (1000, 4096, 65536):
        assert np.array_equal(read(path, size), whole.T)


@pytest.mark.parametrize("name", ["song.raw", "song.RAW", "song.xyz", "song"])
def test_a_song_may_be_called_anything(tmp_path, song, name):
    """What a file is decides its content, not its name."""
    path, samples = song
    named = path.rename(tmp_path / name)
    assert np.array_equal(read(named), samples)
    assert read_tags(named) == Tags()


def test_mono_stays_mono(tmp_path, noise):
    """A file with one channel gives blocks with one."""
    samples = noise(5000, channels=1)
    soundfile.write(tmp_path / "mono.wav", samples[0], 22050)
    assert SongReader(tmp_path / "mono.wav").channels == 1
    assert np.array_equal(read(tmp_path / "mono.wav"), samples)


@pytest.mark.parametrize("extension", ["flac", "wav", "ogg", "mp3"])
def test_a_section_is_cut_to_the_sample(tmp_path, tones, extension):
    """A start and an end give exactly the samples between them."""
    path = tmp_path / f"song.{extension}"
    soundfile.write(path, tones(3).T, 44100)
    whole = read(path)
    section = read(path, start_seconds=0.7001, end_seconds=2.3)
    first, last = round(0.7001 * 44100), round(2.3 * 44100)
    np.testing.assert_array_equal(section, whole[:, first:last])


def test_an_end_behind_the_song_is_its_end(song):
    """An end later than the song is no error."""
    path, samples = song
    assert read(path, start_seconds=1, end_seconds=99).shape[1] == samples.shape[1] - 44100


def test_empty_sections_are_refused(song):
    """A start behind the end of the song, or not before the end of the section, is named."""
    path, _ = song
    with pytest.raises(AudioError, match="ends before the start"):
        SongReader(path, start_seconds=5)
    with pytest.raises(AudioError, match="is empty"):
        SongReader(path, start_seconds=2, end_seconds=1)


@pytest.mark.parametrize(
    "name",
    ["-song.flac", "søng ビデオ.flac", "🎤🎶.flac", 'it\'s "quoted" $(x) `y`.flac', "a" * 240 + ".flac", "%s\\n.flac"],
)
def test_odd_names_are_read(song, name):
    """Names that break command lines and C strings are names like any other."""
    path, samples = song
    odd = path.with_name(name)
    path.rename(odd)
    assert np.array_equal(read(odd), samples)


def test_undecodable_names_are_read(song):
    """A name of bytes that are no UTF-8 is read too."""
    path, samples = song
    odd = path.with_name(os.fsdecode(b"caf\xe9.flac"))
    path.rename(odd)
    assert np.array_equal(read(odd), samples)


def test_six_channels_become_two(tmp_path):
    """5.1 is mixed by ITU weights, without the LFE and unable to clip, and the notes say so."""
    ones = np.eye(6, dtype=np.float32)  # one speaker after the other at full scale
    soundfile.write(tmp_path / "surround.wav", ones, 44100, subtype="FLOAT")
    reader = SongReader(tmp_path / "surround.wav")
    scale = 1 / (1 + 2 * 0.5**0.5)
    half_power = 0.5**0.5 * scale
    left = [scale, 0, half_power, 0, half_power, 0]
    right = [0, scale, half_power, 0, 0, half_power]
    assert reader.channels == 2
    assert reader.info.channels == 6
    np.testing.assert_allclose(next(reader.blocks()), [left, right], rtol=1e-6)
    assert "LFE dropped" in reader.notes[0]


def test_too_many_channels_are_refused(tmp_path):
    """Twelve channels have no known places."""
    soundfile.write(tmp_path / "many.wav", np.zeros((100, 12)), 44100)
    with pytest.raises(AudioError, match="12 channels"):
        SongReader(tmp_path / "many.wav")


def test_a_missing_file_is_named(tmp_path):
    """The message has the path."""
    with pytest.raises(AudioError, match=r"gone\.flac does not exist"):
        probe(tmp_path / "gone.flac")


def test_a_folder_is_no_song(tmp_path):
    """A folder is refused as one."""
    with pytest.raises(AudioError, match="is a folder"):
        probe(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_no_empty_file(tmp_path):
    """As `<(command)` makes one in a shell: it may hold a song, and stdin is the way for it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AudioError, match="is a pipe") as caught:
        probe(tmp_path / "pipe")
    assert "stdin" in (caught.value.hint or "")


def test_an_empty_file_is_refused(tmp_path):
    """Zero bytes are said to be zero bytes."""
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="is empty: 0 bytes"):
        probe(tmp_path / "empty.wav")


def test_a_song_without_samples_is_refused(tmp_path):
    """A header alone is no song."""
    soundfile.write(tmp_path / "nothing.wav", np.zeros((0, 2)), 44100)
    with pytest.raises(AudioError, match="holds no samples"):
        SongReader(tmp_path / "nothing.wav")


@pytest.mark.parametrize(
    "text", ["hello, this is no audio\n" * 50, "#EXTM3U\nhttp://127.0.0.1/a.mp3\n", "ffconcat version 1.0\n"]
)
def test_text_called_wav_is_refused(tmp_path, text):
    """The content decides, not the name; playlists are not followed."""
    (tmp_path / "text.wav").write_text(text)
    with pytest.raises(AudioError, match=r"text\.wav is not audio"):
        probe(tmp_path / "text.wav")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_says_why(song):
    """Permission denied is the message."""
    path, _ = song
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        probe(path)


@pytest.mark.parametrize("extension", ["flac", "wav", "aiff"])
def test_a_truncated_file_says_how_much_is_there(tmp_path, noise, extension):
    """Half a lossless file is an error that names the readable part, and an end before that reads it."""
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    samples = noise(4 * 44100)
    soundfile.write(whole, samples.T, 44100, subtype="PCM_16")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"promises 4\.00 s of audio, [12]\.\d\d s") as caught:
        read(cut)
    assert "end of" in caught.value.hint
    assert np.array_equal(read(cut, end_seconds=1.5), samples[:, : round(1.5 * 44100)])


def test_a_file_of_which_nothing_is_left_has_no_part_to_take(tmp_path, noise):
    """No end is proposed that would leave no song."""
    whole, cut = tmp_path / "whole.flac", tmp_path / "cut.flac"
    soundfile.write(whole, noise(4000).T, 44100)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"0\.00 s \(0 samples\)") as caught:
        read(cut)
    assert caught.value.hint == "fetch the file again"


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 44])
def test_a_wav_from_a_pipe_is_whole(tmp_path, noise, length):
    """A header that could not know the length is not a truncated file."""
    samples = noise(20000)
    path = tmp_path / "piped.wav"
    soundfile.write(path, samples.T, 44100, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    assert np.array_equal(read(path), samples)


def test_an_mp3_with_a_wrong_header_is_read_to_its_end(tmp_path, tones):
    """The blocks decide how long an MP3 is, not its header."""
    path = tmp_path / "song.mp3"
    soundfile.write(path, tones(4).T, 44100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = SongReader(path)
    assert 1.5 * 44100 < sum(block.shape[1] for block in reader.blocks()) < 2.5 * 44100
    assert "promises 4.00 s" in reader.notes[0]


@pytest.mark.parametrize("extension", ["flac", "mp3"])
def test_a_hole_in_a_file_is_no_early_end(tmp_path, tones, extension):
    """A song damaged in the middle is refused with the place, not cut there in silence."""
    path = tmp_path / f"song.{extension}"
    soundfile.write(path, tones(6).T, 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"damaged.* [23]\.\d\d s"):
        read(path)


def test_an_unfinished_mp4_is_said_to_be_one(tmp_path):
    """An MP4 whose download stopped has no index."""
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\2\0M4A isomiso2" + bytes(5000))
    with pytest.raises(AudioError, match="MP4 file without its index"):
        probe(tmp_path / "song.m4a")


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_samples_that_are_no_numbers_are_located(tmp_path, value, word):
    """NaN and infinity are refused with their place."""
    samples = np.zeros((100_000, 2), dtype=np.float32)
    samples[88200, 1] = value
    soundfile.write(tmp_path / "bad.wav", samples, 44100, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"{word}: channel 2, sample 88200 \(2\.000 s\)"):
        read(tmp_path / "bad.wav", size=1000)


def test_float_samples_beyond_full_scale_are_kept(tmp_path):
    """Float files may be louder than full scale; nothing is cut."""
    soundfile.write(tmp_path / "loud.wav", np.full((10, 1), 3.5), 44100, subtype="FLOAT")
    assert read(tmp_path / "loud.wav").max() == 3.5
