"""Who may write: a lock for the folder, and a part file under a name of one's own.

On some network file systems every process gets the lock. So the right to write does not rest on it: a part file is
claimed by renaming it to a name that holds this machine, this process and a random number, and only one can do that.

    model.part                          nobody's: whoever comes next may go on with it
    model.part.3f2a9c1e-4711-9be07c12   claimed by process 4711 of the machine 3f2a9c1e
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import time
from typing import TYPE_CHECKING

import filelock

from frametx.download.part import state_path, unwritable
from frametx.process import is_running
from frametx.renaming import put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SAY_AFTER_SECONDS = 2.0
# A download that lives touches its part at least once within the longest wait and read timeout, many times over.
ABANDONED_AFTER_SECONDS = 900.0
_CLAIM = re.compile(r"\.part\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")


@contextlib.contextmanager
def locked(folder: Path, *, what: str, on_note: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock; after 2 s of waiting say who waits for what.

    Raises:
        DownloadError: The folder cannot be written.
    """
    path = folder / "lock"
    try:
        lock = acquired(path, lambda: on_note(f"waiting for another process that is fetching {what} (lock: {path})"))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.release()


def acquired(path: Path, on_wait: Callable[[], None] = lambda: None) -> filelock.BaseFileLock:
    """Take a lock file, making its folder; whoever asks releases it.

    Args:
        path: The lock file.
        on_wait: Told after 2 s of waiting for another process.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _acquire(filelock.FileLock(path), on_wait)
    except NotImplementedError:  # this file system has no locks
        return _acquire(filelock.SoftFileLock(path), on_wait)


def _acquire(lock: filelock.BaseFileLock, on_wait: Callable[[], None]) -> filelock.BaseFileLock:
    try:
        lock.acquire(timeout=SAY_AFTER_SECONDS)
    except filelock.Timeout:
        on_wait()
        lock.acquire()
    return lock


@contextlib.contextmanager
def claimed(part: Path) -> Iterator[Path]:
    """Hand over the part under a name of one's own; give it back when the download stopped half-way.

    Args:
        part: The common name, `model.part`. An abandoned claim of a process that was killed is taken over first.

    Yields:
        The name to write to. Renaming it away means that it is finished.
    """
    mine = _own_name(part)
    _recover_abandoned(part)
    _rename(part, mine)
    try:
        yield mine
    finally:
        # Another process may have given one back in the meantime: the longer one is worth more.
        if _size(mine) > max(_size(part), 0):
            _rename(mine, part)
        else:
            _unlink(mine)


@contextlib.contextmanager
def scratch(part: Path) -> Iterator[Path]:
    """Hand over a name of one's own for a file that is begun anew every time; what was left of it goes at the end.

    Args:
        part: The common name, `scratch.part`. What processes that were killed left under it is removed first.

    Yields:
        The name to write to. Renaming it away means that it is finished.
    """
    for path in part.parent.glob(part.name + ".*"):
        if _is_abandoned(path):
            with contextlib.suppress(OSError):  # it is in nobody's way
                path.unlink()
    mine = _own_name(part)
    try:
        yield mine
    finally:
        mine.unlink(missing_ok=True)


def discard_parts(part: Path) -> None:
    """Remove what an earlier download left, claimed or not."""
    for path in part.parent.glob(part.name + "*"):
        path.unlink(missing_ok=True)


def parts_bytes(part: Path) -> int:
    """Tell how many bytes of an unfinished download are there."""
    return max((_size(path) for path in part.parent.glob(part.name + "*") if path.suffix != ".json"), default=0)


def _own_name(part: Path) -> Path:
    return part.with_name(f"{part.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}")


def _recover_abandoned(part: Path) -> None:
    """Give the largest part of a dead process its common name back; remove the others."""
    dead = [path for path in part.parent.glob(part.name + ".*") if _is_abandoned(path)]
    for path in sorted(dead, key=_size, reverse=True):
        if _size(part) >= _size(path):
            _unlink(path)
        else:
            _rename(path, part)


def _is_abandoned(path: Path) -> bool:
    match = _CLAIM.search(path.name)
    if match is None or not path.name.endswith(match[0]):
        return False
    if match[1] == _machine() and not is_running(int(match[2])):
        return True
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER_SECONDS
    return False


def _size(path: Path) -> int:
    """Return a file's size, -1 when it is not there (any more)."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _rename(source: Path, target: Path) -> None:
    """Rename a part and what is known about it; nothing happens when another process was faster."""
    try:
        with contextlib.suppress(FileNotFoundError):
            put_in_place(state_path(source), state_path(target))
        with contextlib.suppress(FileNotFoundError):
            put_in_place(source, target)
    except OSError as error:
        raise unwritable(target, error) from error


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    state_path(path).unlink(missing_ok=True)
