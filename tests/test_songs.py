"""Finding songs: trees, links, hidden files, lists."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frametx import songs
from frametx.errors import AudioError, UsageError
from frametx.songs import find_songs, read_list, refuse_missing


@pytest.fixture
def tree(tmp_path):
    """A library with songs on three levels, a hidden song, notes and a cover."""
    names = [
        "b.mp3",
        "A.flac",
        "x/c.WAV",
        "x/y/d.m4a",
        "z/e.ogg",
        ".hidden.flac",
        ".git/f.flac",
        "cover.jpg",
        "x/a.txt",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names_of(listing, root):
    return [song.path.relative_to(root).as_posix() for song in listing.songs]


def test_a_folder_means_the_songs_directly_in_it(tree):
    """Without --recursive folders in it are left alone; names decide the order, whatever their case."""
    assert names_of(find_songs([tree]), tree) == ["A.flac", "b.mp3"]


def test_a_tree_is_listed_with_the_folders_of_its_songs(tree):
    """Each song knows the folders between the named one and itself."""
    listing = find_songs([tree], recursive=True)
    assert names_of(listing, tree) == ["A.flac", "b.mp3", "x/c.WAV", "x/y/d.m4a", "z/e.ogg"]
    assert [song.folder.as_posix() for song in listing.songs] == [".", ".", "x", "x/y", "z"]


def test_what_is_hidden_is_passed_over_and_said(tree):
    """A hidden song and a hidden folder are listed as skipped; covers and texts are no songs and are not."""
    skipped = {one.path.name: one.reason for one in find_songs([tree], recursive=True).skipped}
    assert skipped == {".hidden.flac": "hidden", ".git": "a hidden folder"}


def test_links_that_lead_back_end_the_walk(tree):
    """A link to a folder above is not followed for ever, a second link to a folder not twice, a dead one is said."""
    (tree / "x" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "zz").symlink_to(tree / "x", target_is_directory=True)
    (tree / "dead.flac").symlink_to(tree / "nothing.flac")
    listing = find_songs([tree], recursive=True)
    assert names_of(listing, tree) == ["A.flac", "b.mp3", "x/c.WAV", "x/y/d.m4a", "z/e.ogg"]
    assert "a link to nothing" in [one.reason for one in listing.skipped]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_file_is_passed_over(tree):
    """A named pipe with an audio suffix would never end."""
    os.mkfifo(tree / "pipe.wav")
    assert [one.reason for one in find_songs([tree]).skipped] == ["hidden", "no regular file"]


def test_the_output_and_what_earlier_runs_made_are_no_songs(tree):
    """Wherever a folder knows of products below it, and in the output, they are passed over; named alone they are taken."""
    made = {tree: [tree / "b.mp3"], tree / "x": [tree / "x" / "y" / "d.m4a"], tree / "z": [tree / "A.flac"]}
    options = {"recursive": True, "leave_out": tree / "z", "products_in": lambda folder: made.get(folder, ())}
    assert names_of(find_songs([tree], **options), tree) == ["x/c.WAV"]
    assert names_of(find_songs([tree / "b.mp3"], **options), tree) == ["b.mp3"]


def test_the_folder_of_an_edit_list_is_not_entered(tree):
    """Beside <track>.frametx.toml it holds base stems and sections; without that it is a folder like any other."""
    for name in ("x/s.frametx/base_Vocals.flac", "x/t.frametx/u.flac"):
        (tree / name).parent.mkdir()
        (tree / name).write_bytes(b"x")
    (tree / "x" / "s.frametx.toml").touch()
    assert names_of(find_songs([tree / "x"], recursive=True), tree) == ["x/c.WAV", "x/t.frametx/u.flac", "x/y/d.m4a"]


def test_a_song_named_twice_is_one_song(tree):
    """Named alone and found in a folder, it is separated once."""
    assert names_of(find_songs([tree / "A.flac", tree, tree / "x" / ".." / "A.flac"]), tree) == ["A.flac", "b.mp3"]


def test_a_named_file_may_be_called_anything_and_may_be_missing(tmp_path):
    """What is wrong with it is said when its turn comes, so that it doesn't stop the others."""
    assert [song.path for song in find_songs([tmp_path / "tape"]).songs] == [tmp_path / "tape"]


def test_a_folder_without_songs_is_refused_with_a_way_out(tree):
    """The hint names --recursive unless that was given."""
    (tree / "empty").mkdir()
    with pytest.raises(AudioError, match="holds no songs") as caught:
        find_songs([tree / "empty"])
    assert "--recursive" in (caught.value.hint or "")


def test_a_list_is_read_like_a_playlist():
    """Comments, empty lines and a byte order mark don't count; relative paths are relative to the list."""
    text = "\ufeff#EXTM3U\r\nA b.flac\r\n\r\n#EXTINF:1,x\n/music/c.mp3\n sub/ d.wav\n"
    assert read_list(text.encode(), Path("lists")) == [
        Path("lists/A b.flac"),
        Path("/music/c.mp3"),
        Path("lists/ sub/ d.wav"),
    ]
    with pytest.raises(UsageError, match="empty"):
        read_list(b"# nothing\n", Path())
    with pytest.raises(UsageError, match="is no text"):
        read_list(b"fLaC\0\0\0\x22\x10\n\x1b[2J", Path())


def test_lists_of_powershell_are_read(tmp_path):
    """Its > writes UTF-16 with a byte order mark."""
    for encoding in ("utf-16-le", "utf-16-be"):
        data = "\ufeffBjörk - Jóga.flac\r\nb.flac\r\n".encode(encoding)
        assert read_list(data, tmp_path) == [tmp_path / "Björk - Jóga.flac", tmp_path / "b.flac"]


def test_paths_in_quotes_are_read(tmp_path):
    """Explorer copies paths with quotes around them; a name that has quotes of its own is taken first."""
    (tmp_path / "a b.flac").touch()
    data = b'"a b.flac"\r\n"gone.flac"\r\n'
    assert read_list(data, tmp_path) == [tmp_path / "a b.flac", tmp_path / '"gone.flac"']
    (tmp_path / '"a b.flac"').touch()
    assert read_list(data, tmp_path)[0] == tmp_path / '"a b.flac"'


def test_lists_in_a_code_page_are_read(tmp_path, monkeypatch):
    """On Windows players write one and `dir` another; each line is read as what names a file."""
    monkeypatch.setattr(songs, "CODE_PAGES", ("cp1252", "cp850"))
    for name in ("Jóga.flac", "Hyperballad é.flac", "Ö.flac"):
        (tmp_path / name).touch()
    data = "Jóga.flac\r\n".encode("cp1252") + "Hyperballad é.flac\r\n".encode("cp850") + "Ö.flac".encode()
    assert read_list(data, tmp_path) == [tmp_path / name for name in ("Jóga.flac", "Hyperballad é.flac", "Ö.flac")]


def test_a_pattern_that_nothing_matched_is_missing(tmp_path, monkeypatch):
    """Windows has an error of its own for names that cannot be."""

    def refuse(*_, **__):
        error = OSError("The filename, directory name, or volume label syntax is incorrect")
        error.winerror = 123
        raise error

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(AudioError, match="does not exist"):
        refuse_missing([tmp_path / "*.flac"])


def test_folders_without_numbers_are_all_entered(tmp_path, monkeypatch):
    """Some network drives of Windows give every file the number 0."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "song.flac").touch()
    stat = Path.stat

    def unnumbered(path, **options):
        values = list(stat(path, **options))
        values[1] = 0
        return os.stat_result(values)

    monkeypatch.setattr(Path, "stat", unnumbered)
    found = find_songs([tmp_path], recursive=True).songs
    assert [song.path for song in found] == [tmp_path / name / "song.flac" for name in ("one", "two")]


def test_file_addresses_in_playlists_are_files(tmp_path):
    """Some players write addresses, with what no address may hold in percent."""
    song = tmp_path / "Bj\u00f6rk 100 %.flac"
    assert read_list(f"#EXTM3U\n{song.as_uri()}\n".encode(), Path("lists")) == [song]
