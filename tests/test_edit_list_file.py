"""The edit list on disk: what is written is read back, and mistakes of a person's hand get a message that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frametx.clock import clock_text, parse_clock
from frametx.edit_list import EditList, Section, SongFacts, StemFile
from frametx.edit_list_file import read_edit_list, write_edit_list
from frametx.ensemble import Rule
from frametx.errors import EditListError
from frametx.outputs import Stem
from frametx.windows import WindowOptions

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = (
    Section(start_seconds=70.0, end_seconds=102.5, models=("v8",), checkpoints={"v8": "ab" * 32}),
    Section(
        start_seconds=0.0,
        end_seconds=3.25,
        models=("v7", "/a/b.pth"),
        windows=WindowOptions(rule=Rule.MEAN, weights=(2.0, 1.0), crop=512, context=64, postprocess=True),
        precision="bf16",
    ),
)


def edit_list(folder: Path, sections: tuple[Section, ...] = SECTIONS) -> EditList:
    facts = SongFacts(
        path=folder / "song.flac",
        sha256="00" * 32,
        sample_rate=44_100,
        channels=2,
        n_samples=44_100 * 180,
        peaks={"2048/1024": 301.5},
    )
    files = {stem: StemFile(path=folder / f"song_{stem.label}.flac", sha256="11" * 32) for stem in Stem}
    return EditList(path=folder / "song.frametx.toml", song=facts, base=files, stems=files, sections=sections)


def test_what_is_written_is_read_back(tmp_path):
    """Every entry of every section survives the file."""
    written = edit_list(tmp_path)
    write_edit_list(written)
    assert read_edit_list(written.path) == written


def test_files_are_named_from_the_lists_folder(tmp_path):
    """A folder that moves together with its song keeps its list valid."""
    (tmp_path / "old").mkdir()
    write_edit_list(edit_list(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_edit_list(tmp_path / "new" / "song.frametx.toml").song.path == tmp_path / "new" / "song.flac"


def test_comments_and_the_persons_way_of_writing_times_survive(tmp_path):
    """When frametx adds a section it leaves the rest of the text alone."""
    write_edit_list(edit_list(tmp_path, SECTIONS[:1]))
    path = tmp_path / "song.frametx.toml"
    path.write_text(path.read_text().replace('from = "1:10"', "from = 70  # the chorus"))
    edits = read_edit_list(path)
    write_edit_list(edits.with_sections((*edits.sections, SECTIONS[1])))
    assert "from = 70  # the chorus" in path.read_text()
    assert read_edit_list(path).sections == SECTIONS
    write_edit_list(edits.with_sections(()))
    assert read_edit_list(path).sections == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('from = "1:10"', 'from = "2:10"', "section 1: it ends at 1:42.5, which is not after"),
        ('to = "1:42.5"', 'to = "9:59"', "section 1: it ends after the song's end at 3:00"),
        ('to = "1:42.5"', 'to = "9:99"', "section 1 has to = '9:99'"),
        ('to = "1:42.5"', 'to = "soon"', "section 1 has to = 'soon'"),
        ('to = "1:42.5"', "", "section 1 lacks 'to'"),
        ('models = ["v8"]', 'modles = ["v8"]', "section 1 has an unknown entry 'modles'"),
        ('models = ["v8"]', "models = [8]", "section 1 has models"),
        ('ensemble = "mean"', 'ensemble = "loudest"', "section 2 has ensemble = 'loudest'"),
        ("crop = 512", "crop = 0", "section 2: --crop 0 is too small"),
        ("crop = 512", 'crop = "512"', "section 2 has crop = '512'"),
        ("crop = 512", "tta = true", "section 2: --tta brings its own"),
        ("[song]", "[sing]", "unknown entry 'sing'"),
        ("format = 1", "format = 2", "format 2"),
        ("format = 1", "format = ", "not valid TOML"),
        ("crop = 512", "crop = 512\ncrop = 1024", "not valid TOML"),
        ("sample_rate = 44100", "sample_rate = 0", "describes no song"),
        ('"2048/1024" = 301.5', '"2048/1024" = "loud"', "peak_magnitude"),
    ],
)
def test_mistakes_get_a_message_that_names_them(tmp_path, old, new, message):
    """Each message says where and what, and each error has a way out."""
    write_edit_list(edit_list(tmp_path))
    path = tmp_path / "song.frametx.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(EditListError) as caught:
        read_edit_list(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_a_section_written_as_one_table_is_explained(tmp_path):
    """[section] for [[section]] is an easy mistake."""
    write_edit_list(edit_list(tmp_path, ()))
    path = tmp_path / "song.frametx.toml"
    path.write_text(path.read_text() + '[section]\nfrom = "0:01"\nto = "0:02"\n')
    with pytest.raises(EditListError, match="is one table"):
        read_edit_list(path)


def test_a_list_saved_with_a_byte_order_mark_is_read(tmp_path):
    """Some editors on Windows put one before the text."""
    written = write_edit_list(edit_list(tmp_path))
    path = tmp_path / "song.frametx.toml"
    path.write_text(path.read_text("utf-8"), "utf-8-sig")
    assert read_edit_list(path) == written


def test_no_list_at_all_is_explained(tmp_path):
    """The message says how one begins."""
    with pytest.raises(EditListError, match="there is no edit list"):
        read_edit_list(tmp_path / "song.frametx.toml")


def test_a_folder_is_no_edit_list(tmp_path):
    """Whoever names the folder with the stems is told which file is meant, in words."""
    with pytest.raises(EditListError, match="cannot be read") as caught:
        read_edit_list(tmp_path)
    assert "Errno" not in caught.value.message
    assert "frametx.toml" in (caught.value.hint or "")


@given(st.integers(0, 10**8))
def test_times_survive_being_written(thousandths):
    """A time written as text is the same time again, to the millisecond."""
    assert round(parse_clock(clock_text(thousandths / 1000)) * 1000) == thousandths


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("70", 70), ("1:10.5", 70.5), ("90:00", 5400), ("1:02:03", 3723)],
        *[("", None), ("-1", None), ("1:2:3:4", None), ("inf", None), ("1:70", None), ("1.5:30", None)],
    ],
)
def test_times_are_read_as_people_write_them(text, seconds):
    """Seconds, minutes and hours; anything else is no time."""
    assert parse_clock(text) == seconds
