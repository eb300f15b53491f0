"""Files that killed processes left behind."""

from __future__ import annotations

import os
import subprocess
import sys

from frametx.audio.partfile import PartFile, remove_abandoned_parts


def test_parts_of_dead_processes_are_removed(tmp_path):
    """What a killed process left goes; the part of a living one, a fresh one and other hidden files stay."""
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    abandoned = tmp_path / f".song.flac.{int(dead.stdout)}-0123abcd.part"
    abandoned.write_bytes(b"half")
    (tmp_path / ".other.part").write_bytes(b"not ours")
    living = PartFile(tmp_path / "song.flac", overwrite=False)
    assert remove_abandoned_parts(tmp_path) == 0  # it may be another machine's: nobody knows yet
    os.utime(abandoned, (0, 0))
    assert remove_abandoned_parts(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {".other.part", living.path.name}
    living.remove()
