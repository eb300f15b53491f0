"""How glibc hands out memory on CPUs.

By default it returns large blocks to the system as soon as they are freed, and networks free one after every operation: the
next touches each of its pages for the first time again. Kept blocks save that time, but blocks of many sizes leave holes.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of <malloc.h>
MORE_THAN_ANY_BLOCK = 2**31 - 1
STEP = 64 * 2**20
"""Bytes the heap grows by at least."""
LONG_WINDOW = 2048
"""Frames. Longer windows are for quality on machines that can hold them, so there memory counts more than time."""
MOST_KEPT = 256 * 2**20
"""Bytes of freed memory that a long window may keep."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process use freed blocks again instead of returning them.

    Saves a tenth of the time of the larger networks, which the kernel spent on page faults; the peak grows by 100 to
    600 MB, for v7 by up to 1.3 GB, and then stays.

    Returns:
        Whether the C library could be told.
    """
    libc = _glibc()
    if libc is None:
        return False
    settings = {M_MMAP_THRESHOLD: MORE_THAN_ANY_BLOCK, M_TRIM_THRESHOLD: MORE_THAN_ANY_BLOCK, M_TOP_PAD: STEP}
    return all(libc.mallopt(name, value) for name, value in settings.items())


@contextmanager
def freed_memory_returned(network: nn.Module, n_frames: int) -> Iterator[None]:
    """While a network works on a long window, return freed memory between its layers when there is much of it.

    Does nothing for windows of up to `LONG_WINDOW` frames, on a GPU, or where the C library cannot be asked.
    """
    libc = _glibc()
    on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
    if n_frames <= LONG_WINDOW or not on_cpu or not hasattr(libc, "mallinfo2"):  # which glibc has since 2.33
        yield
        return
    assert libc is not None
    libc.mallinfo2.restype = _Heap
    libc.malloc_trim(0)
    beside_heap = _resident_bytes() - _used_bytes(libc)

    def after_layer(*_: object) -> None:
        if _resident_bytes() - _used_bytes(libc) - beside_heap > MOST_KEPT:
            libc.malloc_trim(0)

    with ExitStack() as hooks:
        for module in network.modules():
            hooks.callback(module.register_forward_hook(after_layer).remove)
        yield


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library when it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:  # another C library, musl for one
        return None


def _used_bytes(libc: ctypes.CDLL) -> int:
    heap: _Heap = libc.mallinfo2()
    return int(heap.uordblks + heap.hblkhd)


def _resident_bytes() -> int:
    n_pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(n_pages) * os.sysconf("SC_PAGE_SIZE")
