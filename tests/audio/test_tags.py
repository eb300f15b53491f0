"""Tags and cover art."""

from __future__ import annotations

import struct
import zlib

import mutagen
import numpy as np
import pytest
import soundfile
from mutagen import id3
from mutagen.flac import FLAC
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4

from frametx.audio.tags import Picture, Tags, read_tags, write_tags
from frametx.audio.writer import StemWriter

FORMATS = ["flac", "mp3", "m4a", "ogg", "opus", "wav"]


def png() -> bytes:
    """A picture of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    )


FIELDS = {
    "title": ("Träume ビデオ",),
    "artist": ("First", "Second"),
    "album": ("An Album",),
    "albumartist": ("Various",),
    "date": ("2019-05-01",),
    "genre": ("Folk", "Noise"),
    "tracknumber": ("3",),
    "tracktotal": ("12",),
    "discnumber": ("1",),
    "composer": ("C. Omposer",),
    "comment": ("two\nlines",),
    "lyrics": ("la la la",),
    "bpm": ("120",),
    "isrc": ("USRC17607839",),
    "musicbrainz_albumid": ("0d8f0f1e-5b0c-4c4e-9b0c-000000000000",),
    "musicbrainz_trackid": ("1d8f0f1e-5b0c-4c4e-9b0c-000000000000",),
    "my own field": ("kept = too",),
}


@pytest.fixture
def audio_file(tmp_path, tones):
    """Make a short audio file without tags in a format."""

    def make(form: str, tags: Tags | None = None, name: str = "song"):
        target = tmp_path / f"{name}.{form}"
        with StemWriter(target, format=form, sample_rate=44100, channels=2, bit_depth=16) as stem:
            stem.write(tones(0.3))
            stem.finish(tags=tags)
        return target

    return make


@pytest.mark.parametrize("form", FORMATS)
def test_tags_and_cover_come_back(audio_file, form):
    """Every field and the picture survive writing to a stem and reading it, in every format."""
    tags = Tags(fields=FIELDS, pictures=(Picture(data=png(), mime="image/png", description=""),))
    back = read_tags(audio_file(form, tags))
    assert dict(back.fields) == FIELDS
    assert back.pictures == tags.pictures


@pytest.mark.parametrize("form", FORMATS)
def test_tags_leave_the_sound_alone(audio_file, form):
    """A file with tags and a large cover decodes to the samples of one without."""
    from frametx.audio.reader import SongReader

    cover = Picture(data=png() + bytes(300_000), mime="image/png")
    plain, tagged = (
        np.concatenate(list(SongReader(path).blocks()), axis=1)
        for path in (audio_file(form), audio_file(form, Tags(fields=FIELDS, pictures=(cover,)), name="tagged"))
    )
    np.testing.assert_array_equal(plain, tagged)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_tags_go_from_any_format_to_any_other(audio_file, source, target):
    """Reading one kind and writing another loses no field."""
    tags = read_tags(audio_file(source, Tags(fields=FIELDS), name="source"))
    assert dict(read_tags(audio_file(target, tags, name="target")).fields) == FIELDS


def test_other_programs_find_the_fields_where_they_look(audio_file):
    """The well-known places of each format are used."""
    tags = Tags(fields=FIELDS, pictures=(Picture(data=png(), mime="image/png"),))
    flac, mp3, m4a = (mutagen.File(audio_file(form, tags)) for form in ("flac", "mp3", "m4a"))
    assert flac["TITLE"] == ["Träume ビデオ"]
    assert flac["TRACKNUMBER"] == ["3"]
    assert flac.pictures[0].type == 3
    assert mp3["TIT2"].text == ["Träume ビデオ"]
    assert mp3["TRCK"].text == ["3/12"]
    assert mp3["TXXX:MusicBrainz Album Id"].text == [FIELDS["musicbrainz_albumid"][0]]
    assert m4a["\xa9nam"] == ["Träume ビデオ"]
    assert m4a["trkn"] == [(3, 12)]
    assert m4a["tmpo"] == [120]


def test_loudness_is_never_copied(audio_file):
    """ReplayGain, R128 and Sound Check were measured on the song; they don't reach a stem."""
    flac = FLAC(audio_file("flac"))
    flac["REPLAYGAIN_TRACK_GAIN"] = "-8.2 dB"
    flac["R128_TRACK_GAIN"] = "-1000"
    flac["ITUNNORM"] = "0000"
    flac["TITLE"] = "kept"
    flac.save()
    mp3 = MP3(audio_file("mp3"))
    mp3.add_tags()
    mp3.tags.add(id3.TXXX(encoding=3, desc="replaygain_album_peak", text=["1.0"]))
    mp3.tags.add(id3.RVA2(desc="track", channel=1, gain=-8.0, peak=1.0))
    mp3.tags.add(id3.COMM(encoding=3, lang="eng", desc="iTunNORM", text=[" 0000"]))
    mp3.tags.add(id3.TIT2(encoding=3, text=["kept"]))
    mp3.save()
    m4a = MP4(audio_file("m4a"))
    m4a["----:com.apple.iTunes:iTunNORM"] = [b" 0000"]
    m4a["----:com.apple.iTunes:iTunSMPB"] = [b" 0000"]
    m4a["----:com.apple.iTunes:replaygain_track_gain"] = [b"-8.2 dB"]
    m4a["\xa9nam"] = ["kept"]
    m4a.save()
    for path in (flac.filename, mp3.filename, m4a.filename):
        tags = read_tags(path)
        assert dict(tags.fields) == {"title": ("kept",)}
        assert tags.native == ()


def test_frames_without_a_name_stay_among_their_kind(audio_file):
    """A rating goes from MP3 to MP3 and to WAV, and is no trouble for FLAC."""
    path = audio_file("mp3", name="rated")
    mp3 = MP3(path)
    mp3.add_tags()
    mp3.tags.add(id3.POPM(email="somebody", rating=200, count=3))
    mp3.tags.add(id3.WOAR(url="https://example.org"))
    mp3.save()
    tags = read_tags(path)
    for form in ("mp3", "wav"):
        copy = mutagen.File(audio_file(form, tags))
        assert copy.tags["POPM:somebody"].rating == 200
        assert copy.tags["WOAR:https://example.org"].url == "https://example.org"
    assert dict(read_tags(audio_file("flac", tags)).fields) == {}


def test_a_stem_is_named_in_the_title():
    """The title gets the stem's name in brackets, and further fields are added."""
    tags = Tags(fields={"title": ("Song",), "artist": ("A",)})
    stem = tags.for_stem("Instrumental", {"FRAMETX": '{"version": 1}'})
    assert dict(stem.fields) == {"title": ("Song (Instrumental)",), "artist": ("A",), "frametx": ('{"version": 1}',)}
    assert tags.for_stem() == tags
    assert dict(Tags().for_stem("Vocals").fields) == {}


@pytest.mark.parametrize("form", FORMATS)
def test_an_extra_field_is_found_again(audio_file, form):
    """JSON text in a field of our own survives in every format."""
    extra = {"FRAMETX": '{"models": ["v7"], "input": "ä\\"b"}'}
    assert read_tags(audio_file(form, Tags().for_stem("Vocals", extra))).first("FRAMETX") == extra["FRAMETX"]


def test_riff_info_is_read(tmp_path):
    """WAV files tagged the old way have their tags read, too."""
    path = tmp_path / "old.wav"
    with soundfile.SoundFile(path, "w", 44100, 1) as sound:
        sound.title, sound.artist = "Old", "School"
        sound.write(np.zeros(100))
    assert dict(read_tags(path).fields) == {"title": ("Old",), "artist": ("School",)}


@pytest.mark.parametrize("content", [b"", b"ID3\x04\0\0\xff\xff\xff\xff", b"fLaC" + bytes(10), bytes(1000)])
def test_damaged_tags_are_no_tags(tmp_path, content):
    """Reading tags never fails."""
    path = tmp_path / "broken.mp3"
    path.write_bytes(content)
    assert read_tags(path) == Tags()
    assert read_tags(tmp_path / "gone.mp3") == Tags()


def test_what_a_format_cannot_hold_is_said(audio_file):
    """M4A takes no GIF as a cover; the note says so and the rest is written."""
    path = audio_file("m4a")
    notes = write_tags(
        path, Tags(fields={"title": ("x",)}, pictures=(Picture(data=b"GIF89a", mime="image/gif"),)), format="m4a"
    )
    assert "JPEG and PNG only" in notes[0]
    assert read_tags(path).first("title") == "x"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["источник", "ÿ", "歌"])
def test_a_field_may_be_called_anything(audio_file, form, name):
    """Names in any script are no obstacle; ID3 and MP4 keep them."""
    path = audio_file("mp3", name="source")
    mp3 = MP3(path)
    mp3.add_tags()
    mp3.tags.add(id3.TXXX(encoding=3, desc=name, text=["CD"]))
    mp3.save()
    back = read_tags(audio_file(form, read_tags(path)))
    assert list(back.fields.values()) == [("CD",)]
    if form in ("mp3", "m4a", "wav"):
        assert back.first(name) == "CD"


def test_a_free_name_in_latin_1_is_read(audio_file):
    """Other programs write MP4 names in Latin-1, too."""
    path = audio_file("m4a")
    m4a = MP4(path)
    m4a["----:com.apple.iTunes:Tonträger"] = [b"CD"]
    m4a.save()
    assert dict(read_tags(path).fields) == {"tonträger": ("CD",)}


@pytest.mark.parametrize("form", FORMATS)
def test_a_text_that_no_file_can_hold_costs_the_tags_not_the_stem(audio_file, form):
    """Half of a surrogate pair has no UTF-8; the note says that the stem is without tags, and it can be read."""
    path = audio_file(form)
    before = soundfile.read(path)[0] if form != "m4a" else path.read_bytes()
    notes = write_tags(path, Tags(fields={"title": ("\ud83c",)}), format=form)
    assert "no tags were written" in notes[0]
    assert np.array_equal(soundfile.read(path)[0] if form != "m4a" else path.read_bytes(), before)


def test_a_long_wav_has_no_place_for_tags(tmp_path, tones):
    """RF64 is written without tags and a note says so."""
    options = {"sample_rate": 44100, "channels": 2, "bit_depth": 16, "n_samples": 2**31}
    with StemWriter(tmp_path / "long.wav", format="wav", **options) as stem:
        stem.write(tones(0.1))
        written = stem.finish(tags=Tags(fields=FIELDS))
    assert "RF64" in written.notes[0]
    assert soundfile.info(tmp_path / "long.wav").frames == 4410
