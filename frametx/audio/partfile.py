"""A file that grows under a hidden name and gets its final one when it is complete."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import time
import zlib
from typing import TYPE_CHECKING

from frametx.errors import AudioError, reason_of
from frametx.process import is_running
from frametx.renaming import put_in_place

if TYPE_CHECKING:
    from pathlib import Path

_NAME_MAX_BYTES = 255  # what the usual file systems allow
_NAME_LEAST_BYTES = 16  # of the target's name, for people who find a part
_HOST = f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"
_PART = re.compile(r"\..*\.(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{8}\.part")


class PartFile:
    """A binary file for encoders in C, beside `target`.

    An exception cannot pass through C, so a write that fails is remembered in `error` and reported to the encoder as
    nothing written.

    Args:
        target: The final name. Its folder must exist.
        overwrite: Replace a file that is there.

    Attributes:
        path: The hidden name, `.<its beginning>.<process>-<host>-<random>.part`, which no search for audio files matches.
        error: The first failure, if there was one.

    Raises:
        AudioError: The target exists or its folder cannot be written to.
    """

    def __init__(self, target: Path, *, overwrite: bool) -> None:
        self._target = target
        self._overwrite = overwrite
        self._discarding = False
        self.error: OSError | None = None
        self._refuse_existing()
        self.path = _name_beside(target)
        try:
            self._file = self.path.open("xb+", buffering=1 << 18)
        except OSError as error:
            raise AudioError(
                f"{target.parent} cannot be written to: {reason_of(error)}", hint="choose another output folder"
            ) from error

    def write(self, data: bytes) -> int:
        """Append or overwrite at the current position; 0 when it failed."""
        if self._discarding:
            return len(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0

    def read(self, count: int = -1) -> bytes:
        """Encoders read their own header to complete it."""
        return self._file.read(count)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; writes what is in the buffer first, which may fail."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        """The current position."""
        return self._file.tell()

    def close(self) -> None:
        """End the writing, after which others may open the file by its path.

        Raises:
            OSError: The bytes in the buffer have no room on the disk.
        """
        self._file.close()

    def publish(self) -> None:
        """Put the bytes on the disk, then the name.

        Raises:
            AudioError: The target was made by somebody else meanwhile.
            OSError: The disk failed.
        """
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self._refuse_existing()
        put_in_place(self.path, self._target)

    def start_discarding(self) -> None:
        """Let what an encoder still writes go nowhere."""
        self._discarding = True

    def remove(self) -> None:
        """Close and delete the file."""
        with contextlib.suppress(OSError):  # its buffer may have no room left on the disk
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _refuse_existing(self) -> None:
        if self._target.is_dir():
            raise AudioError(f"{self._target} is a folder", hint="choose another name for the stem")
        if not self._overwrite and os.path.lexists(self._target):
            raise AudioError(f"{self._target} exists already", hint="allow overwriting, or choose another folder")


def remove_abandoned_parts(folder: Path, *, older_than_seconds: float = 3600.0) -> int:
    """Remove what processes that were killed left in a folder; returns how many files.

    Files of this machine go when their process is gone. Of other machines' processes on a shared folder nobody knows
    here whether they live: their files go when nobody has written to them for a while.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:  # no such folder, or no right to read it
        return 0
    n_removed = 0
    for entry in entries:
        found = _PART.fullmatch(entry.name)
        if found is None:
            continue
        with contextlib.suppress(OSError):  # gone already; or, on Windows, in use, which is the answer
            age = time.time() - entry.stat().st_mtime
            abandoned = not is_running(int(found[1])) if found[2] == _HOST else age >= older_than_seconds
            if abandoned:
                (folder / entry.name).unlink()
                n_removed += 1
    return n_removed


def _name_beside(target: Path) -> Path:
    """A hidden name that is no longer than the target's, if that can be: on Windows the whole path has a limit."""
    suffix = f".{os.getpid()}-{_HOST}-{secrets.token_hex(4)}.part"
    wanted = os.fsencode(target.name)
    room = max(min(len(wanted), _NAME_MAX_BYTES) - len(suffix) - 1, _NAME_LEAST_BYTES)
    name = wanted[:room].decode("utf-8", errors="ignore")  # the cut may be inside a letter
    return target.with_name(f".{name}{suffix}")
