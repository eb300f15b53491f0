"""SHA-256 digests of files: songs, stems, checkpoints."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from frametx.errors import AudioError
from frametx.record import read_record

if TYPE_CHECKING:
    from pathlib import Path


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes, in hex.

    Raises:
        AudioError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror or error}") from error


def checkpoint_sha256(path: Path) -> str:
    """The digest of a checkpoint; for one in the cache the digest recorded when it was verified."""
    record = read_record(path)
    return record.sha256 if record is not None else sha256_of(path)
