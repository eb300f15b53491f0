"""The store of snapshots: fetched once, verified, renamed into place, and trusted from then on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from frametx.cache_folder import (
    CacheFolder,
    Status,
    bundled_path,
    digest_of,
    missing,
)
from frametx.download.claim import claimed, locked, scratch
from frametx.download.fetch import fetch
from frametx.download.job import Job
from frametx.download.part import PartFile
from frametx.errors import SnapshotMissing, UsageError
from frametx.record import CONVERTED_FROM, read_record
from frametx.sources import admit, fetch_from, limit_bytes, wrong_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from frametx.manifest import Snapshot
    from frametx.record import Vouched

    OnBytes = Callable[[int, int | None], None]
    OnNote = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What hashing one file of the store told.

    Attributes:
        name: The snapshot.
        path: The file.
        sha256: Its digest.
        vouched: Who vouches for it.
        problem: What is wrong; empty when nothing is.
    """

    name: str
    path: Path
    sha256: str
    vouched: str
    problem: str = ""


def is_offline() -> bool:
    """Tell whether FRAMETX_OFFLINE forbids the network."""
    return os.environ.get("FRAMETX_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def _no_bytes(_done: int, _total: int | None) -> None:
    """Show nothing."""


def _no_note(_note: str) -> None:
    """Say nothing."""


class Store:
    """The cache of snapshots.

    Args:
        root: The cache's folder; None for FRAMETX_CACHE, or else the user's cache folder.
        wait: Sleeps for so many seconds, between tries.
    """

    def __init__(self, root: Path | None = None, *, wait: Callable[[float], None] = time.sleep) -> None:
        named = os.environ.get("FRAMETX_CACHE")
        default = Path(named).expanduser() if named else platformdirs.user_cache_path("frametx")
        self.root = default if root is None else root
        self._wait = wait

    def folder(self, snapshot: Snapshot) -> CacheFolder:
        """Return where a snapshot's files lie, or would lie."""
        return CacheFolder(self.root, snapshot)

    def status(self, snapshot: Snapshot) -> Status:
        """Tell how things stand with a snapshot, without reading its file."""
        if snapshot.bundled is None:
            return self.folder(snapshot).status()
        path = bundled_path(snapshot.bundled)
        if not path.is_file():
            return Status(state="missing")
        return Status(state="bundled", path=path, size_bytes=path.stat().st_size, vouched="bundled")

    def path_of(self, snapshot: Snapshot) -> Path:
        """Return the complete file of a snapshot; compares sizes only, so that it costs nothing.

        Raises:
            SnapshotMissing: It is not on this machine, or is damaged.
        """
        status = self.status(snapshot)
        if status.path is None:
            raise missing(snapshot, self.folder(snapshot), status)
        return status.path

    def fetch(
        self, snapshot: Snapshot, *, offline: bool = False, on_bytes: OnBytes = _no_bytes, on_note: OnNote = _no_note
    ) -> Path:
        """Return the complete file of a snapshot, fetching it if it is not there.

        Args:
            snapshot: What to fetch.
            offline: Don't touch the network; FRAMETX_OFFLINE does the same.
            on_bytes: Told (bytes done, bytes in all or None) now and then.
            on_note: Told what a person may want to know while waiting.

        Raises:
            SnapshotMissing: It is not here and may not or cannot be fetched.
            QuotaExceeded: The host wants a wait of more than a minute. What was fetched is kept.
            DownloadError: It failed for good. What can be continued is kept.
        """
        status = self.status(snapshot)
        if status.path is not None:
            return status.path
        folder = self.folder(snapshot)
        forbidden = offline or is_offline()
        sources = tuple(source for source in snapshot.sources if source.startswith("file:") or not forbidden)
        if not sources or snapshot.bundled is not None or status.state == "damaged":
            raise missing(snapshot, folder, status)
        with locked(folder.path, what=snapshot.name, on_note=on_note):
            status = folder.status()
            if status.path is not None:
                return status.path
            with claimed(folder.part) as part:
                job = Job(
                    part=part,
                    limit_bytes=limit_bytes(snapshot),
                    sha256=folder.expected_sha256(),
                    admit=lambda size, done: admit(snapshot, folder.path, size, done),
                    on_bytes=on_bytes,
                    on_note=on_note,
                    wait=self._wait,
                )
                return fetch_from(folder, sources, job)

    def adopt(
        self, snapshot: Snapshot, file: Path, *, on_bytes: OnBytes = _no_bytes, on_note: OnNote = _no_note
    ) -> Path:
        """Copy a file that somebody brought into the place of a snapshot.

        Args:
            snapshot: What it is; its digest and size, where known, must fit.
            file: A checkpoint. Whether its tensors fit is for the caller to check.
            on_bytes: Told (bytes done, bytes in all) now and then.
            on_note: Told when another process must be waited for.

        Raises:
            DownloadError: The file has another size or digest than expected, or the cache cannot be written.
        """
        folder = self.folder(snapshot)
        with locked(folder.path, what=snapshot.name, on_note=on_note), scratch(folder.scratch) as part:
            job = Job(
                part=part,
                limit_bytes=limit_bytes(snapshot),
                admit=lambda size, done: admit(snapshot, folder.path, size, done),
                on_bytes=on_bytes,
            )
            fetched = fetch(file.absolute().as_uri(), job)
            expected = folder.expected_sha256() or folder.present_sha256()
            if expected is not None and fetched.sha256 != expected:
                raise wrong_digest(snapshot, str(file), fetched.sha256, expected)
            vouched: Vouched = "imported"
            if folder.expected_sha256() is not None:
                vouched = "pinned" if snapshot.sha256 else "first use"
            return folder.install(part, source=str(file.absolute()), sha256=fetched.sha256, vouched=vouched)

    def adopt_converted(self, snapshot: Snapshot, write: Callable[[Path], None]) -> Path:
        """Put a conversion of a snapshot's own checkpoint beside it; it is used from then on.

        Args:
            snapshot: Which one; must be cached.
            write: Writes the safetensors file to the path it is given.

        Raises:
            SnapshotMissing: The snapshot is not cached.
            DownloadError: The cache cannot be written.
        """
        record = read_record(self.path_of(snapshot))
        folder = self.folder(snapshot)
        with locked(folder.path, what=snapshot.name, on_note=_no_note), scratch(folder.scratch) as part:
            write(part)
            with PartFile(part) as file:
                file.reread_all()
                file.finish()
                digest = file.sha256
            source = CONVERTED_FROM + (record.original_sha256 if record is not None else "")
            return folder.install(part, source=source, sha256=digest, vouched="converted")

    def verify(self, snapshot: Snapshot, *, on_bytes: OnBytes = _no_bytes) -> list[Verdict]:
        """Hash every file of a snapshot that is on this machine and compare.

        Raises:
            SnapshotMissing: Nothing is there.
        """
        status = self.status(snapshot)
        if snapshot.bundled is not None:
            path = self.path_of(snapshot)
            digest = digest_of(path, on_bytes)
            wrong = snapshot.sha256 is not None and digest != snapshot.sha256
            problem = f"{path} has the digest {digest}; expected {snapshot.sha256}" if wrong else ""
            return [Verdict(name=snapshot.name, path=path, sha256=digest, vouched=status.vouched, problem=problem)]
        folder = self.folder(snapshot)
        if not folder.files:
            raise missing(snapshot, folder, status)
        return [_verify_file(folder, path, on_bytes) for path in folder.files]

    def remove(self, snapshot: Snapshot, *, forget: bool = False, on_note: OnNote = _no_note) -> int:
        """Remove a snapshot's files from the cache; return how many bytes became free.

        Args:
            snapshot: Which one.
            forget: Also forget the digest that a later download would be held to.
            on_note: Told when another process must be waited for.

        Raises:
            UsageError: It comes with the package.
            SnapshotMissing: It is not in the cache.
        """
        if snapshot.bundled is not None:
            raise UsageError(f"snapshot {snapshot.name!r} comes with frametx; it is not in the cache", "leave it out")
        folder = self.folder(snapshot)
        if not folder.path.exists():
            raise SnapshotMissing(
                f"snapshot {snapshot.name!r} is not on this machine, so there is nothing to remove",
                "`frametx models list` shows what is here",
            )
        with locked(folder.path, what=snapshot.name, on_note=on_note):
            return folder.remove(forget=forget)


def _verify_file(folder: CacheFolder, path: Path, on_bytes: OnBytes) -> Verdict:
    digest, record = digest_of(path, on_bytes), read_record(path)
    problem = folder.problem_of(path)
    if not problem and record is not None and record.sha256 != digest:
        problem = f"{path} has the digest {digest}; it had {record.sha256} when it was verified first"
    vouched = record.vouched if record is not None else ""
    if folder.snapshot.sha256 == digest:
        vouched = "pinned"
    return Verdict(name=folder.snapshot.name, path=path, sha256=digest, vouched=vouched, problem=problem)
