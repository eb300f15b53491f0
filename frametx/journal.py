"""Masks of finished windows on disk, so that a long song goes on where a killed run stopped.

    separated/.frametx-3f9c.../song               the song's stem, for people and for cleaning up
                              /0-000000-1-e7a10c55.masks   stream 0, first window 0, 1 window, checksum of the bytes
                              /0-000001-1-0d4be2f1.masks

Everything else in a run is cheap and computed again: reading, transforms, writing. What the network said is read back bit
for bit, so the stems are those of an uninterrupted run. Masks are kept only where the network needs long enough for it to
matter, as measured at the first window, and only up to a limit; behind it the network has to work again.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import zlib
from typing import TYPE_CHECKING

import torch

from frametx.diskspace import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from frametx.masker import Feeder
    from frametx.stream import WindowFeeder

WORTH_SECONDS = 60.0
"""Windows of a model that take less than this in all are not worth a journal."""

LIMIT_BYTES = 8 * 2**30
FREE_SHARE = 0.25  # of the free space, if that is less

_PREFIX = ".frametx-"


class Journal:
    """The kept masks of one song.

    Args:
        beside: One of the song's stems; the journal lies hidden in its folder.
        key: What the masks depend on: the song's content, models, parameters. Asked when the first mask is needed.
    """

    def __init__(self, beside: Path, key: Callable[[], str]) -> None:
        self._beside = beside
        self._key = key
        self._folder: Path | None = None
        self._room = 0
        self._files: dict[str, Path] = {}  # what an earlier run left, by stream, first window and number of windows
        self._used = False

    def feeder(self, feeder: Feeder, stream: int, n_windows: int) -> WindowFeeder:
        """A feeder that asks the network only for windows that are not kept.

        Args:
            feeder: The one that asks the network.
            stream: Which of the song's mask streams; several windows sizes or models are several.
            n_windows: How many windows it will see.
        """
        return _KeepingFeeder(self, feeder, stream, n_windows)

    def read(self, stream: int, first: int, count: int) -> tuple[Tensor, bool] | None:
        """The kept masks `[b c f t]` of some windows, and whether they were computed in float32 after a broken one."""
        if self._folder is None:
            self._open()
        path = self._files.get(f"{stream}-{first:06}-{count}")
        if path is None:
            return None
        try:
            data = path.read_bytes()
            if zlib.crc32(data) != int(path.stem.split("-")[3], 16):
                return None  # cut short by a power failure
            header, _, body = data.partition(b"\n")
            exact, *shape = (int(number) for number in header.split())
            masks = torch.frombuffer(bytearray(body), dtype=torch.float32).reshape(shape)
        except (OSError, ValueError, RuntimeError, IndexError):
            return None
        return masks, bool(exact)

    def keep(self, stream: int, first: int, masks: Tensor, seconds_in_all: float, *, exact: bool) -> None:
        """Keep masks `[b c f t]` if their stream takes long enough in all, and there is room."""
        if seconds_in_all < WORTH_SECONDS and not self._used:
            return
        folder = self._folder
        if folder is None:
            return
        header = " ".join(map(str, (int(exact), *masks.shape))).encode() + b"\n"
        data = header + masks.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
        if len(data) > self._room:
            return
        name = f"{stream}-{first:06}-{masks.shape[0]}-{zlib.crc32(data):08x}.masks"
        with contextlib.suppress(OSError):  # a journal is a kindness; without it the song is separated all the same
            if not self._used:
                folder.mkdir(exist_ok=True)
                (folder / "song").write_text(ascii(self._beside.name), "ascii")
                self._used = True
            part = folder / f"{name}.part"
            part.write_bytes(data)
            part.replace(folder / name)
            self._room -= len(data)

    def remove(self) -> None:
        """Take the journal away: the song is done. Journals of the same stem with other parameters go, too."""
        if self._used and self._folder is not None:  # also where a run began it that made another stem first
            shutil.rmtree(self._folder, ignore_errors=True)
        for folder in self._beside.parent.glob(_PREFIX + "*"):
            with contextlib.suppress(OSError, ValueError):  # none, or damaged by a power failure
                if (folder / "song").read_text("ascii") == ascii(self._beside.name):
                    shutil.rmtree(folder)

    def _open(self) -> None:
        key = hashlib.sha256(self._key().encode()).hexdigest()[:16]
        self._folder = self._beside.with_name(_PREFIX + key)
        if self._folder.is_dir():
            self._used = True
            self._files = {path.name.rsplit("-", 1)[0]: path for path in self._folder.glob("*.masks")}
        free = free_bytes(self._beside.parent)
        self._room = LIMIT_BYTES if free is None else min(LIMIT_BYTES, int(free * FREE_SHARE))


class _KeepingFeeder:
    """Stands before a feeder, with the journal at hand."""

    def __init__(self, journal: Journal, feeder: Feeder, stream: int, n_windows: int) -> None:
        self._journal = journal
        self._feeder = feeder
        self._stream = stream
        self._n_windows = n_windows
        self._next = 0
        self._seconds_in_all: float | None = None

    def __call__(self, windows: Tensor, inside: Tensor) -> Tensor:
        """Masks of the next windows."""
        first, count = self._next, windows.shape[0]
        self._next += count
        kept = self._journal.read(self._stream, first, count)
        if kept is not None:
            masks, exact = kept
            if exact:
                self._feeder.masker.use_exact()
            masks = masks.to(windows.device)
            self._feeder.remember(windows, masks)
            return masks
        started = time.perf_counter()
        masks = self._feeder(windows, inside)
        if self._n_windows > count or first:
            if self._seconds_in_all is None:
                self._seconds_in_all = (time.perf_counter() - started) / count * self._n_windows
            exact = self._feeder.masker.became_exact
            self._journal.keep(self._stream, first, masks, self._seconds_in_all, exact=exact)
        return masks
