"""Files on this machine or a mounted share, named by file: links."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from frametx.download.job import Fetched
from frametx.download.part import BLOCK, PartFile
from frametx.errors import DownloadError, reason_of

if TYPE_CHECKING:
    from frametx.download.job import Job


def path_of_file_url(url: str) -> Path:
    """Return the path that a file: link names.

    Raises:
        DownloadError: It names another machine or no absolute path.
    """
    parts = urlsplit(url)
    host = "" if parts.netloc == "localhost" else parts.netloc
    on_share = bool(host) and os.name == "nt"  # Windows reaches other machines by a path: server, share, file
    path = Path(url2pathname(f"//{host}{parts.path}" if on_share else parts.path))
    if (host and not on_share) or not path.is_absolute():
        raise DownloadError(f"{url!r} names no file on this machine", "write file:///folder/file")
    return path


def fetch_local(url: str, job: Job) -> Fetched:
    """Copy a file into `job.part`.

    Raises:
        DownloadError: It cannot be read, is too large, or the disk refuses.
    """
    path = path_of_file_url(url)
    try:
        with path.open("rb") as file, PartFile(job.part) as part:
            size = path.stat().st_size
            if size > job.limit_bytes:
                raise DownloadError(
                    f"{path} has {size} bytes; at most {job.limit_bytes} are expected", "check the link"
                )
            job.admit(size, 0)
            while part.offset < size and (data := file.read(min(BLOCK, size - part.offset))):
                part.write(data)
                job.on_bytes(part.offset, size)
            part.finish()
            if part.offset != size:
                raise DownloadError(f"{path} shrank while it was copied", "try again")
            return Fetched(size_bytes=size, sha256=part.sha256, vouched_by="nothing")
    except OSError as error:
        raise DownloadError(f"cannot read {path}: {reason_of(error)}") from error
