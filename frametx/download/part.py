"""The file that a download grows in: written front to back, hashed on the way, continued across runs."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

from frametx.download.job import amount
from frametx.errors import DownloadError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    Buffer = bytes | bytearray | memoryview

BLOCK = 1 << 20


class PartFile:
    """An open part file.

    Everything before `offset` is counted in the digest. What lies behind it on the disk does not count: it is
    overwritten, or cut off by `finish`.

    Attributes:
        offset: Bytes that are there and hashed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._digest = hashlib.sha256()
        try:
            path.touch()
            self._file = path.open("r+b", buffering=0)
        except OSError as error:
            raise unwritable(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        """Digest of everything before `offset`."""
        return self._digest.hexdigest()

    @property
    def size_on_disk(self) -> int:
        """How much is there, hashed or not."""
        return os.fstat(self._file.fileno()).st_size

    def reread(self, lengths: Iterable[int], on_block: Callable[[memoryview], None] | None = None) -> None:
        """Count the first `lengths` bytes that an earlier run left, block by block, from the beginning.

        Args:
            lengths: The sizes of the blocks, each at most 1 MiB.
            on_block: Sees each block.
        """
        self.start_over()
        view = memoryview(bytearray(BLOCK))
        for length in lengths:
            block = view[:length]
            if self._file.readinto(block) != length:
                raise DownloadError(f"{self.path} shrank while it was read", "is another program using it? try again")
            self._digest.update(block)
            self.offset += length
            if on_block is not None:
                on_block(block)

    def reread_all(self, limit_bytes: int | None = None) -> None:
        """Count everything that lies on the disk, or its first `limit_bytes`."""
        size = self.size_on_disk if limit_bytes is None else min(self.size_on_disk, limit_bytes)
        self.reread(min(BLOCK, size - start) for start in range(0, size, BLOCK))

    def write(self, data: Buffer) -> None:
        """Add bytes behind `offset`.

        Raises:
            DownloadError: The disk is full or refuses; what was there before stays.
        """
        view = memoryview(data)
        written = 0
        try:
            self._file.seek(self.offset)
            while written < len(view):
                written += self._file.write(view[written:])
        except OSError as error:
            raise unwritable(self.path, error, kept=self.offset) from error
        self._digest.update(view)
        self.offset += written

    def start_over(self) -> None:
        """Count nothing."""
        self._file.seek(0)
        self.offset = 0
        self._digest = hashlib.sha256()

    def finish(self) -> None:
        """Cut off what does not count and bring everything to the disk."""
        try:
            self._file.truncate(self.offset)
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error, kept=self.offset) from error


def unwritable(path: Path, error: OSError, *, kept: int = 0) -> DownloadError:
    """Say what a failed write means and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room (`frametx models list` shows sizes), or put the cache elsewhere with FRAMETX_CACHE"
        kept_part = f"; the {amount(kept)} that were fetched are kept" if kept else ""
        return DownloadError(f"the disk is full at {path.parent}{kept_part}", hint)
    return DownloadError(
        f"cannot write {path}: {reason_of(error)}", "put the cache elsewhere with FRAMETX_CACHE or --cache"
    )


def state_path(part: Path) -> Path:
    """Return where the validator of an http part is kept."""
    return part.with_name(part.name + ".json")


def read_state(part: Path) -> dict[str, Any]:
    """Read what is known about a part file; empty when nothing is."""
    try:
        state = json.loads(state_path(part).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(part: Path, state: dict[str, Any]) -> None:
    """Keep what is known about a part file."""
    try:
        state_path(part).write_text(json.dumps(state), "utf-8")
    except OSError as error:
        raise unwritable(part, error) from error
