"""Videos of instrumentals, and the pictures they show."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from frametx.audio.tags import Picture, Tags, write_tags
from frametx.errors import AudioError, UsageError
from frametx.images import copy_images, cover_of
from frametx.video import make_video

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(colour, size=(90, 61)):
    """A PNG of one colour."""
    frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), colour, np.uint8), format="rgb24")
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "rgb24"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture
def song(tmp_path):
    """A song of 2.5 s and its instrumental, half as loud."""
    samples = np.random.default_rng(0).standard_normal((110_250, 2)) * 0.1
    soundfile.write(tmp_path / "song.flac", samples, 44_100)
    soundfile.write(tmp_path / "song_Instrumental.flac", samples / 2, 44_100)
    return tmp_path / "song.flac"


def watch(video):
    """The kind, codec, and seconds of each stream, and the mean colour of the first picture."""
    with av.open(str(video)) as container:
        streams = {s.type: (s.codec_context.name, float(s.duration * s.time_base)) for s in container.streams}
        colour = next(container.decode(video=0)).to_ndarray(format="rgb24").mean((0, 1))
    return streams, colour


def test_a_song_with_a_cover_becomes_a_video_of_it(song):
    """H.264 and AAC, as long as the song, showing the embedded front cover; odd sizes are made even."""
    cover = Picture(data=picture(RED), mime="image/png")
    write_tags(
        song, Tags(fields={}, pictures=(Picture(data=picture(BLUE), mime="image/png", kind=4), cover)), format="flac"
    )
    video = make_video(song, song.with_name("song_Instrumental.flac"))
    assert video.name == "song_Instrumental.mp4"
    streams, colour = watch(video)
    assert (streams["video"][0], streams["audio"][0]) == ("h264", "aac")
    assert streams["audio"][1] == pytest.approx(2.5, abs=0.05)
    np.testing.assert_allclose(colour, RED, atol=12)


def test_a_video_keeps_its_picture(song, tmp_path):
    """The packets of the picture are the song's own, the sound is the instrumental."""
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=44_100)
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 10, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 110_250), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44_100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    video = make_video(tmp_path / "clip.mp4", tmp_path / "song_Instrumental.flac")

    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    assert packets(video) == packets(tmp_path / "clip.mp4")
    with av.open(str(video)) as container:
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert heard[:, 2000:100_000].std() == pytest.approx(0.05, rel=0.1)


def test_a_song_without_any_picture_is_shown_in_black(song):
    """There is no cover and none in the folder."""
    np.testing.assert_allclose(watch(make_video(song, song.with_name("song_Instrumental.flac")))[1], 0, atol=3)


def test_a_songs_name_and_tags_are_no_obstacle(song, monkeypatch):
    """A name that looks like an address is a name, and a title in Latin-1 is no reason to refuse a picture."""
    monkeypatch.chdir(song.parent)
    named = Path("Mozart: Requiem.mkv")
    with av.open(str(song.parent / "plain.mkv"), "w") as container:
        container.metadata["title"] = "caf\u00e9"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    named.write_bytes(Path("plain.mkv").read_bytes().replace("caf\u00e9".encode(), b"caf\xe9s"))
    streams, _ = watch(make_video(named, Path("song_Instrumental.flac")))
    assert streams["video"][0] == "mpeg4"


def test_a_video_is_not_replaced_unasked(song):
    """And a failure leaves nothing half-written."""
    instrumental = song.with_name("song_Instrumental.flac")
    (song.with_name("song_Instrumental.mp4")).write_bytes(b"precious")
    with pytest.raises(AudioError, match="exists"):
        make_video(song, instrumental)
    song.with_name("song_Instrumental.mp4").unlink()
    instrumental.write_bytes(instrumental.read_bytes()[:30_000])
    with pytest.raises(AudioError):
        make_video(song, instrumental)
    assert sorted(path.name for path in song.parent.iterdir()) == ["song.flac", "song_Instrumental.flac"]


def test_a_song_that_is_a_video_is_not_replaced_by_its_own(song, tmp_path):
    """An instrumental that has the song's name would give its video the song's place."""
    clip = make_video(song, song).rename(tmp_path / "clip.mp4")
    before = clip.read_bytes()
    with pytest.raises(UsageError, match="is the song itself"):
        make_video(clip, song.rename(tmp_path / "clip.flac"), overwrite=True)
    assert clip.read_bytes() == before


def test_the_folders_cover_stands_for_songs_without_one(song):
    """cover.jpg before other names, an embedded picture before them all."""
    (song.parent / "folder.png").write_bytes(b"folder")
    assert cover_of(song) == b"folder"
    (song.parent / "Cover.JPG").write_bytes(b"cover")
    assert cover_of(song) == b"cover"


def test_pictures_beside_songs_are_copied_once(tmp_path):
    """Pictures only, hidden ones not, and none that is there already."""
    album, stems = tmp_path / "album", tmp_path / "stems"
    album.mkdir()
    for name in ("cover.jpg", "back.PNG", ".hidden.png", "notes.txt"):
        (album / name).write_bytes(name.encode())
    assert copy_images(album, stems) == 2
    (stems / "cover.jpg").write_bytes(b"another")
    assert copy_images(album, stems) == 0
    assert {path.name: path.read_bytes() for path in stems.iterdir()} == {
        "cover.jpg": b"another",
        "back.PNG": b"back.PNG",
    }
