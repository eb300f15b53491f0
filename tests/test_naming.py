"""Names of stems: templates, file systems' rules, collisions."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import mutagen.flac
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from frametx.errors import UsageError
from frametx.naming import Naming, check_collisions
from frametx.outputs import Stem
from frametx.songs import SongFile

VOCALS, INSTRUMENTAL = Stem.VOCALS, Stem.INSTRUMENTAL


def name_of(template, song, **options):
    targets = Naming(template=template, **options).targets(song, Path("out"), [VOCALS], "flac")
    return targets[VOCALS].as_posix()


def test_the_default_is_track_and_stem_below_the_songs_folders():
    """<track>_Instrumental.<ext> and <track>_Vocals.<ext>, the tree mirrored."""
    song = SongFile(path=Path("music/A/x.y.mp3"), folder=PurePath("A"))
    targets = Naming().targets(song, Path("out"), [INSTRUMENTAL, VOCALS], "flac")
    assert targets == {INSTRUMENTAL: Path("out/A/x.y_Instrumental.flac"), VOCALS: Path("out/A/x.y_Vocals.flac")}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{track} ({stem})", "out/A/x (Vocals).flac"),
        ("{track}.{stem}.{ext}", "out/A/x.Vocals.flac"),
        ("{dir} - {track}_{trackext}_{model}_{stem}", "out/A/B - x_mp3_v8+v10_Vocals.flac"),
        ("{dir}/{track}/{stem}", "out/B/x/Vocals.flac"),
        ("{{{track}}}_{stem}", "out/A/{x}_Vocals.flac"),
        ("{artist}/{album}/{n} {title} {stem}", "out/Unknown Artist/Unknown Album/00 x Vocals.flac"),
    ],
)
def test_templates_are_filled_in(template, expected):
    """Every field; folders in the template take the place of the song's own."""
    song = SongFile(path=Path("music/A/B/x.mp3"), folder=PurePath("A"))
    assert name_of(template, song, model="v8+v10") == expected


def test_tags_fill_templates(tmp_path):
    """Artist, album, title and number come from the song; a slash in them makes no folder."""
    path = tmp_path / "x.flac"
    soundfile.write(path, np.zeros((100, 2)), 44_100)
    tags = mutagen.flac.FLAC(path)
    tags.update({"artist": "AC/DC", "album": "..", "title": "T", "tracknumber": "3/12"})
    tags.save()
    assert name_of("{artist}/{album}/{n} {title} {stem}", SongFile(path=path)) == "out/AC_DC/_/03 T Vocals.flac"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{nothing}_{stem}", "unknown field {nothing}"),
        ("{}", "unknown field {}"),
        ("{track", "cannot be read"),
        ("{track!r}_{stem}", "has a format in the field {track}"),
        ("{n:03}_{stem}", "has a format in the field {n}"),
        ("../{stem}", "leaves the output folder"),
        ("/abs/{stem}", "leaves the output folder"),
        ("{track}/", "ends with a folder"),
        ("", "is empty"),
        (" ", "is empty"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(template, message):
    """Unknown fields, formats and ways out of the output folder are usage errors that say which of them it is."""
    with pytest.raises(UsageError, match=re.escape(message)):
        Naming(template=template)


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        ('a:b?"c"<d>|e*', "a_b__c__d__e__Vocals.flac"),
        ("con", "con_Vocals.flac"),
        ("trailing. ", "trailing. _Vocals.flac"),
    ],
)
def test_windows_names_suit_windows(track, expected):
    """What Windows refuses becomes an underscore."""
    assert name_of("{track}_{stem}", SongFile(path=Path(f"{track}.mp3")), windows=True) == f"out/{expected}"


def test_windows_devices_and_trailing_dots_are_no_names():
    """CON.flac would be the console, and a trailing dot would vanish."""
    assert name_of("{track}/{stem}", SongFile(path=Path("aux.x.mp3")), windows=True) == "out/aux_.x/Vocals.flac"
    assert name_of("{track}./{stem}", SongFile(path=Path("a.mp3")), windows=True) == "out/a/Vocals.flac"


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=300), st.booleans())
def test_every_name_fits_a_file_system(track, windows):
    """Whatever the song is called, the stem's name has at most 255 units and its stem and extension."""
    path = PurePath(track + ".mp3") if track.strip(".") else PurePath("x.mp3")
    try:
        Path(path).name.encode("utf-8")
    except UnicodeEncodeError:
        return
    target = Naming(windows=windows).targets(SongFile(path=Path(path)), Path("out"), [VOCALS], "flac")[VOCALS]
    name = target.name
    assert name.endswith("_Vocals.flac")
    assert (len(name.encode("utf-16-le")) // 2 if windows else len(name.encode())) <= 255
    assert target.parent == Path("out")


def test_long_names_stay_different():
    """Two names with one long beginning are cut to two names."""
    names = {name_of("{track}_{stem}", SongFile(path=Path("n" * 250 + end + ".mp3"))) for end in ("a", "b")}
    assert len(names) == 2


def test_collisions_are_refused_with_both_songs_named():
    """Two songs for one file, two stems for one file, and a stem over a song."""
    a, b = Path("x.flac"), Path("x.mp3")
    target = Path("out/x_Vocals.flac")
    with pytest.raises(UsageError, match=r"x\.flac and x\.mp3"):
        check_collisions([(a, {VOCALS: target}), (b, {VOCALS: target})])
    with pytest.raises(UsageError, match="two stems"):
        check_collisions([(a, {VOCALS: target, INSTRUMENTAL: target})])
    with pytest.raises(UsageError, match="replace the song"):
        check_collisions([(a, {VOCALS: Path("out/../x.mp3")}), (b, {VOCALS: target})])


def test_names_that_differ_in_case_collide_where_the_file_system_says_so():
    """A.flac and a.flac are one file on Windows and macOS."""
    planned = [(Path("1"), {VOCALS: Path("out/A.flac")}), (Path("2"), {VOCALS: Path("out/a.flac")})]
    check_collisions(planned, normalise=str)
    with pytest.raises(UsageError):
        check_collisions(planned, normalise=lambda path: str(path).casefold())
