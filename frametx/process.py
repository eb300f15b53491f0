"""Processes of this machine: whether another one still runs, how much memory this one took, and when it ends."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from multiprocessing import connection
from typing import Any

_SYNCHRONIZE = 0x00100000
_WAIT_TIMEOUT = 0x102
_ACCESS_DENIED = 5


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that cannot be asked does.

    Args:
        pid: Its number.
    """
    if sys.platform == "win32":  # where os.kill() would end it, or send Ctrl-C to this one
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def peak_memory_bytes() -> int | None:
    """Tell the most memory that this process has held; None where the system does not say."""
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def die_with_parent() -> None:
    """End this process, which `multiprocessing` started, at once when the one that started it is gone."""
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def _is_running_on_windows(pid: int) -> bool:
    import ctypes  # noqa: PLC0415  (needed there alone)

    system: Any = ctypes
    kernel = system.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, ctypes.c_uint32(pid))
    if not handle:
        return bool(system.get_last_error() == _ACCESS_DENIED)  # somebody else's
    try:
        # one that has ended can be opened as long as anybody holds on to it
        return bool(kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == _WAIT_TIMEOUT)
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
