"""Files that killed processes left behind."""

from __future__ import annotations

import os
import subprocess
import sys

from frametx.audio.partfile import PartFile, remove_abandoned_parts


def test_parts_of_dead_processes_are_removed(tmp_path):
    """What a killed process left goes; the part of a living one, and other hidden files, stay."""
    code = "from frametx.audio.partfile import PartFile; import os, pathlib; "
    code += "PartFile(pathlib.Path('song.flac'), overwrite=False); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".other.part").write_bytes(b"not ours")
    living = PartFile(tmp_path / "song.flac", overwrite=False)
    assert remove_abandoned_parts(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {".other.part", living.path.name}
    living.remove()


def test_a_part_has_no_longer_a_name_than_its_target(tmp_path):
    """Windows allows 259 characters in a whole path: what the stem's has room for, its part's has, too."""
    for name in (
        "An Artist with a Band - A Rather Long Title_Instrumental.flac",
        "ü" * 100 + ".flac",
        "ü" * 125 + ".flac",
    ):
        part = PartFile(tmp_path / name, overwrite=False)
        assert len(os.fsencode(part.path.name)) <= len(os.fsencode(name))
        part.remove()
    short = PartFile(tmp_path / "a.flac", overwrite=False)
    assert short.path.name.startswith(".a.flac.")
    short.remove()


def test_parts_of_other_machines_are_removed_when_they_are_old(tmp_path):
    """Nobody knows here whether a process elsewhere lives; what it hasn't written to for an hour is abandoned."""
    part = tmp_path / f".song.flac.{os.getpid()}-01234567-89abcdef.part"
    part.write_bytes(b"half")
    assert remove_abandoned_parts(tmp_path) == 0
    os.utime(part, (0, 0))
    assert remove_abandoned_parts(tmp_path) == 1
