"""Whether processes still run, here and as Windows tells it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from frametx.process import is_running


class Kernel:
    """The part of kernel32 that is asked, with processes of three kinds."""

    def __init__(self, *, running=(), ended=(), forbidden=()):
        self.running, self.ended, self.forbidden = running, ended, forbidden
        self.closed = []
        self.error = 0

        def open_process(_access, _inherit, pid):
            self.error = 5 if pid.value in self.forbidden else 87
            return 1000 + pid.value if pid.value in (*self.running, *self.ended) else None

        self.OpenProcess = open_process

    def WaitForSingleObject(self, handle, milliseconds):  # noqa: N802
        assert milliseconds == 0
        return 0x102 if handle.value - 1000 in self.running else 0

    def CloseHandle(self, handle):  # noqa: N802
        self.closed.append(handle.value)


@pytest.fixture
def windows(monkeypatch):
    """Pretend to be Windows with these processes."""

    def pretend(**processes):
        kernel = Kernel(**processes)
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(ctypes, "WinDLL", lambda *_, **__: kernel, raising=False)
        monkeypatch.setattr(ctypes, "get_last_error", lambda: kernel.error, raising=False)
        return kernel

    return pretend


def test_a_process_runs_until_it_ends():
    """This one does; one that was waited for doesn't."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert is_running(os.getpid())
    assert not is_running(process.pid)


def test_a_number_that_no_process_can_have_is_no_error():
    """Names of files may hold anything."""
    assert is_running(10**30)


def test_windows_is_asked_without_a_signal(windows, monkeypatch):
    """There signal 0 is Ctrl-C; a process that has ended may still be open somewhere, another user's cannot be opened."""
    kernel = windows(running=(7,), ended=(8,), forbidden=(9,))
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    assert [is_running(pid) for pid in (7, 8, 9, 10)] == [True, False, True, False]
    assert kernel.closed == [1007, 1008]


def test_a_download_whose_window_was_closed_goes_on_on_windows(windows, tmp_path):
    """The next run takes over at once what the dead process had fetched."""
    from frametx.download.claim import claimed

    part = tmp_path / "model.part"
    with claimed(part) as mine:
        machine = mine.name.split(".")[-1].split("-")[0]
    windows(ended=(8,))
    part.with_name(f"{part.name}.{machine}-8-0123abcd").write_bytes(b"a gigabyte")
    with claimed(part) as mine:
        assert mine.read_bytes() == b"a gigabyte"


def test_a_part_that_is_only_closed_is_left_alone_on_windows(windows, tmp_path):
    """Between its last sample and its tags nobody has a stem's file open, and yet it isn't abandoned."""
    from frametx.audio.partfile import PartFile, remove_abandoned_parts

    windows(running=(os.getpid(),))
    living = PartFile(tmp_path / "song.flac", overwrite=False)
    living.close()
    assert remove_abandoned_parts(tmp_path) == 0
    assert living.path.exists()
    living.remove()
