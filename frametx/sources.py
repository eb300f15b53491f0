"""Fetching one snapshot from the first of its sources that works, within the bounds of what is known about it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from frametx.cache_folder import checkpoint_suffix
from frametx.download.fetch import fetch
from frametx.download.job import amount
from frametx.download.links import host_of
from frametx.errors import DownloadError, QuotaExceeded

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.cache_folder import CacheFolder
    from frametx.download.job import Job
    from frametx.manifest import Snapshot
    from frametx.record import Vouched

SPARE_BYTES = 64 << 20
# The sizes of some old checkpoints are inferred: a file up to so many times smaller or larger may still be the right one.
SIZE_TOLERANCE = 2
# A checkpoint of which nothing is known may be this large at most.
UNKNOWN_LIMIT_BYTES = 16 << 30


def fetch_from(folder: CacheFolder, sources: tuple[str, ...], job: Job) -> Path:
    """Fetch a snapshot into its folder, trying its sources in order.

    Args:
        folder: Where it goes.
        sources: Links; the first that works is taken.
        job: The part file and who is told what.

    Returns:
        The complete, verified file.

    Raises:
        QuotaExceeded: None works, and one will by itself in a while.
        DownloadError: None works; this is the first failure.
    """
    failures: list[DownloadError] = []
    for source in sources:
        try:
            return _fetch_one(folder, source, job)
        except DownloadError as error:
            failures.append(error)
            if source != sources[-1]:
                job.on_note(f"{error.message}; trying the next source")
    raise next((error for error in failures if isinstance(error, QuotaExceeded)), failures[0])


def _fetch_one(folder: CacheFolder, source: str, job: Job) -> Path:
    """Fetch from one source and put the file in its place; once more from the start when the digest is wrong."""
    snapshot = folder.snapshot
    job.on_note(f"fetching {snapshot.name} from {host_of(source)}")
    fetched = fetch(source, job)
    if job.sha256 is not None and fetched.sha256 != job.sha256:
        job.on_note("the file has another digest than expected; fetching it again from the beginning")
        job.part.unlink(missing_ok=True)
        fetched = fetch(source, job)
        if fetched.sha256 != job.sha256:
            job.part.unlink(missing_ok=True)
            raise wrong_digest(snapshot, source, fetched.sha256, job.sha256)
    try:
        check_size(snapshot, fetched.size_bytes)  # a server that announced none may have broken off
    except DownloadError:
        job.part.unlink(missing_ok=True)
        raise
    if not checkpoint_suffix(job.part):
        with job.part.open("rb") as file:
            head = file.read(24)
        job.part.unlink(missing_ok=True)
        raise DownloadError(f"{source} is no checkpoint: it begins with {head!r}", "check where it came from")
    if snapshot.sha256 is None and fetched.vouched_by == "mac":
        job.on_note(
            f"the file matches the code in its link; no digest of {snapshot.name!r} was ever published. "
            f'To pin it, write into your models.toml:\n[snapshots."{snapshot.name}"]\nsha256 = "{fetched.sha256}"'
        )
    vouched: Vouched = "pinned" if snapshot.sha256 else "first use"
    return folder.install(job.part, source=source, sha256=fetched.sha256, vouched=vouched)


def admit(snapshot: Snapshot, folder: Path, size: int | None, done: int) -> None:
    """Refuse a size that cannot be right or does not fit on the disk, before a byte of it is read.

    Args:
        snapshot: What is to come.
        folder: Where it goes.
        size: What the source announced; None: nothing.
        done: How much of it is there already, in bytes.

    Raises:
        DownloadError: It is refused.
    """
    if size is None:
        size = snapshot.size_bytes or snapshot.tensor_bytes or 0
    else:
        check_size(snapshot, size)
    needed = size - done + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{snapshot.name!r} needs {amount(needed)} more in {folder}; {amount(free)} are free",
            "make room (`frametx models list` shows sizes), or put the cache elsewhere with FRAMETX_CACHE",
        )


def check_size(snapshot: Snapshot, size: int) -> None:
    """Refuse a file of `size` bytes where the snapshot has another size.

    Raises:
        DownloadError: It is refused.
    """
    if snapshot.size_bytes is not None and size != snapshot.size_bytes:
        raise DownloadError(
            f"snapshot {snapshot.name!r} must have {snapshot.size_bytes} bytes; this file has {size}",
            "it is another file, or a damaged one: check where it came from",
        )
    if snapshot.tensor_bytes is not None and size < snapshot.tensor_bytes / SIZE_TOLERANCE:
        raise DownloadError(
            f"snapshot {snapshot.name!r} holds {amount(snapshot.tensor_bytes)} of tensors; this file has {amount(size)}",
            "it is another file, or a damaged one: check where it came from",
        )


def limit_bytes(snapshot: Snapshot) -> int:
    """Return how large a snapshot's file may be at most."""
    if snapshot.size_bytes is not None:
        return snapshot.size_bytes
    if snapshot.tensor_bytes is not None:
        return SIZE_TOLERANCE * snapshot.tensor_bytes + SPARE_BYTES
    return UNKNOWN_LIMIT_BYTES


def wrong_digest(snapshot: Snapshot, source: str, found: str, expected: str) -> DownloadError:
    """Say that a file is another one than expected, and who expects it."""
    if snapshot.sha256 is not None:
        why = f"{snapshot.origin} expects {expected}"
        hint = "it is another file, or a damaged one: check where it came from, or correct the sha256"
    else:
        why = f"the one that is or was here has {expected}"
        hint = f"if the new file is right, run `frametx models remove {snapshot.name} --forget` first"
    return DownloadError(f"{source} has the digest {found}; {why}", hint)
