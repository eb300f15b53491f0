"""One source, whatever its kind, into a part file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.download.http import fetch_http
from frametx.download.links import kind_of_source
from frametx.download.local import fetch_local
from frametx.download.mega import fetch_mega

if TYPE_CHECKING:
    from frametx.download.job import Fetched, Job


def fetch(url: str, job: Job) -> Fetched:
    """Fetch `url` into `job.part`.

    Raises:
        QuotaExceeded: The host wants a longer wait than a person would; the part stays.
        DownloadError: It failed for good; the part stays where it can be continued.
    """
    return {"mega": fetch_mega, "http": fetch_http, "file": fetch_local}[kind_of_source(url)](url, job)
