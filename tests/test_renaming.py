"""Finished files get their names although other programs look into them."""

from __future__ import annotations

from pathlib import Path

import pytest

from frametx import renaming
from frametx.renaming import put_in_place


@pytest.fixture
def in_use(monkeypatch):
    """Let Windows refuse so many renames, with an error of its own; time passes without waiting."""
    now = [0.0]
    monkeypatch.setattr(renaming.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(renaming.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def refuse(times, winerror):
        path_type, left = type(Path()), [times]
        replace = path_type.replace

        def sometimes(path, target):
            if left[0]:
                left[0] -= 1
                error = PermissionError(13, "The process cannot access the file because it is being used")
                error.winerror = winerror
                raise error
            return replace(path, target)

        monkeypatch.setattr(path_type, "replace", sometimes)
        return left

    return refuse


@pytest.fixture
def files(tmp_path):
    finished, target = tmp_path / "new", tmp_path / "song.flac"
    finished.write_bytes(b"new")
    target.write_bytes(b"old")
    return finished, target


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_scanner_that_looks_into_a_file_is_waited_for(files, in_use, winerror):
    """It is done in a moment, and then the file gets its name."""
    in_use(3, winerror)
    put_in_place(*files)
    assert files[1].read_bytes() == b"new"
    assert not files[0].exists()


def test_a_program_that_keeps_a_file_is_not_waited_for_without_end(files, in_use):
    """A player that has the old file open: an error after a few seconds, and both files stay as they are."""
    in_use(10_000, 32)
    with pytest.raises(PermissionError):
        put_in_place(*files)
    assert [path.read_bytes() for path in files] == [b"new", b"old"]


def test_what_is_forbidden_is_not_tried_again(files, in_use):
    """Other systems mean what they say."""
    left = in_use(2, None)
    with pytest.raises(PermissionError):
        put_in_place(*files)
    assert left == [1]
