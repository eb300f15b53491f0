"""The files of one snapshot in the cache.

<cache>/snapshots/v10-GwpXBBgb/model.pth            complete and verified, or not there
                              /model.pth.json       where it came from, its digest, who vouched for it
                              /model.safetensors    made by `models convert`; used in place of model.pth
                              /model.part           what an unfinished download has so far
                              /scratch.part.*       an import or a conversion under way
                              /lock
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from frametx.download.claim import discard_parts, parts_bytes
from frametx.download.links import source_key
from frametx.download.part import BLOCK, unwritable
from frametx.errors import SnapshotMissing
from frametx.record import Record, Vouched, read_record, record_path, write_record
from frametx.renaming import put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from frametx.manifest import Snapshot

State = Literal["bundled", "cached", "partial", "missing", "damaged"]
SUFFIXES = (".safetensors", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How things stand with one snapshot.

    Attributes:
        state: `bundled` with frametx, `cached`, `partial` (a download can go on), `missing`, or `damaged`.
        path: The file, when there is one that can be used.
        size_bytes: Its size, or how much a partial download has; 0 when missing.
        vouched: Who vouches for it: `pinned`, `first use`, `imported`, `converted`, `bundled`; empty: nothing is there.
        problem: What is wrong with a damaged one.
    """

    state: State
    path: Path | None = None
    size_bytes: int = 0
    vouched: str = ""
    problem: str = ""


class CacheFolder:
    """Where one snapshot lies, or would lie.

    Args:
        root: The cache's folder.
        snapshot: Which one. A changed link is another folder, so that it never hits the old file.
    """

    def __init__(self, root: Path, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        key = source_key(snapshot.sources[0]) if snapshot.sources else (snapshot.sha256 or "own")[:8]
        self.path = root / "snapshots" / f"{snapshot.name}-{key}"
        self.part = self.path / "model.part"
        self.scratch = self.path / "scratch.part"

    @property
    def files(self) -> list[Path]:
        """The checkpoints that are there, the preferred one first."""
        return [path for suffix in SUFFIXES if (path := self.path / f"model{suffix}").is_file()]

    def status(self) -> Status:
        """Tell how things stand, without reading the files."""
        problem = ""
        for path in self.files:
            found = self.problem_of(path)
            if not found:
                record = read_record(path)
                vouched = record.vouched if record is not None else ""
                if record is not None and self.snapshot.sha256 == record.sha256:
                    vouched = "pinned"
                return Status(state="cached", path=path, size_bytes=path.stat().st_size, vouched=vouched)
            problem = problem or found
        if problem:
            return Status(state="damaged", problem=problem)
        unfinished = parts_bytes(self.part)
        return Status(state="partial", size_bytes=unfinished) if unfinished else Status(state="missing")

    def problem_of(self, path: Path) -> str:
        """Say why a file cannot be used; empty when nothing speaks against it."""
        record = read_record(path)
        if record is None:
            return f"{path} has no record of where it came from"
        size = path.stat().st_size
        if size != record.size_bytes:
            return f"{path} has {size} bytes; it had {record.size_bytes} when it was verified"
        pinned = self.snapshot.sha256
        if pinned is not None and pinned not in (record.sha256, record.original_sha256):
            return f"{path} has the digest {record.sha256}; {self.snapshot.origin} expects {pinned}"
        return ""

    def expected_sha256(self) -> str | None:
        """Return the digest that a new file must have: the manifest's, or that of the first download here."""
        if self.snapshot.sha256 is not None:
            return self.snapshot.sha256
        for suffix in SUFFIXES:
            record = read_record(self.path / f"model{suffix}")
            if record is not None and record.vouched in ("pinned", "first use"):
                return record.sha256
        return None

    def present_sha256(self) -> str | None:
        """Return the recorded digest of the checkpoint that is there, whoever vouches for it."""
        for path in self.files:
            record = read_record(path)
            if record is not None and not self.problem_of(path):
                return record.original_sha256
        return None

    def install(self, finished: Path, *, source: str, sha256: str, vouched: Vouched) -> Path:
        """Give a complete, flushed file its final name, with its record.

        Args:
            finished: A file in this folder.
            source: Where it came from.
            sha256: Its digest.
            vouched: Who vouches for it.

        Raises:
            DownloadError: The folder cannot be written.
        """
        target = self.path / f"model{checkpoint_suffix(finished)}"
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        size = finished.stat().st_size
        record = Record(source=source, size_bytes=size, sha256=sha256, vouched=vouched, when=when)
        try:
            write_record(target, record)
            put_in_place(finished, target)
            _sync_folder(self.path)
        except OSError as error:
            raise unwritable(target, error) from error
        return target

    def remove(self, *, forget: bool = False) -> int:
        """Remove the files and what was left unfinished; return how many bytes became free.

        The digest of a first download stays, so that a later one must be the same file.

        Args:
            forget: Remove the digests as well.

        Raises:
            DownloadError: The folder cannot be written.
        """
        freed = parts_bytes(self.part) + parts_bytes(self.scratch)
        try:
            discard_parts(self.part)
            discard_parts(self.scratch)
            for suffix in SUFFIXES:
                path = self.path / f"model{suffix}"
                record = read_record(path)
                if path.exists():
                    freed += path.stat().st_size
                    path.unlink()
                if forget or record is None or record.vouched not in ("pinned", "first use"):
                    record_path(path).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.path, error) from error
        if [path.name for path in self.path.iterdir()] == ["lock"]:
            with contextlib.suppress(OSError):
                (self.path / "lock").unlink()
                self.path.rmdir()
        return freed


def bundled_path(name: str) -> Path:
    """Return where a file that comes with frametx lies."""
    return Path(__file__).parent / "models" / name


def missing(snapshot: Snapshot, folder: CacheFolder, status: Status) -> SnapshotMissing:
    """Say that a snapshot is not here, where it is looked for, and how to get it."""
    name = snapshot.name
    if snapshot.bundled is not None:
        return SnapshotMissing(
            f"snapshot {name!r} should come with frametx, but {bundled_path(snapshot.bundled)} is not there",
            "install frametx again, or choose another model (`frametx models list`)",
        )
    if status.state == "damaged":
        return SnapshotMissing(
            f"snapshot {name!r} cannot be used: {status.problem}",
            f"run `frametx models remove {name}` and fetch it again, or `frametx models import FILE --as {name}`",
        )
    links = " or ".join(snapshot.sources)
    by_hand = f"run `frametx models import FILE --as {name}`"
    hint = f"run `frametx models fetch {name}`; or get {links} with a browser and {by_hand}" if links else by_hand
    begun = " (a part of it is)" if status.state == "partial" else ""
    return SnapshotMissing(f"snapshot {name!r} is not on this machine{begun}; it belongs into {folder.path}", hint)


def checkpoint_suffix(path: Path) -> str:
    """Tell by its first bytes how a file is read: `.safetensors`, `.pth` (zip or pickle), or empty: it is neither."""
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return ".pth"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return ".safetensors"
    return ""


def digest_of(path: Path, on_bytes: Callable[[int, int | None], None] | None = None) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:
        while data := file.read(BLOCK):
            digest.update(data)
            done += len(data)
            if on_bytes is not None:
                on_bytes(done, size)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
