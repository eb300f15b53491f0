"""Files on http(s) servers: byte ranges, the right to continue, retries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from frametx.download.job import Fetched, Passing, Patience, amount
from frametx.download.part import PartFile, read_state, write_state
from frametx.download.web import BROKEN, asked_wait, brief, count_of, new_session, opened
from frametx.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from frametx.download.job import Job

READ_BYTES = 256 * 1024
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)


def fetch_http(url: str, job: Job) -> Fetched:
    """Fetch a file into `job.part`, going on where an earlier run stopped if it is still the same file.

    A part is continued when the server vouches that the file has not changed (a strong ETag or Last-Modified, sent as
    If-Range), or when the digest is known, which will tell at the end.

    Raises:
        QuotaExceeded: The server wants a wait of more than a minute; the part stays.
        DownloadError: Anything else that does not pass.
    """
    with new_session() as session, PartFile(job.part) as part:
        return _HttpDownload(url, session, part, job).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What a reply is about to send.

    Attributes:
        start: Offset of its first byte.
        total: Size of the whole file, if the server says.
    """

    start: int
    total: int | None


class _HttpDownload:
    """One file under way."""

    def __init__(self, url: str, session: requests.Session, part: PartFile, job: Job) -> None:
        self._url = url
        self._session = session
        self._part = part
        self._job = job
        self._patience = Patience(job)
        self._furthest = 0
        self._host = urlsplit(url).hostname or url
        state = read_state(part.path)
        same = state.get("url") == url
        self._validator: str | None = state.get("validator") if same else None
        if not isinstance(self._validator, str):
            self._validator = None

    def run(self) -> Fetched:
        if self._validator or self._job.sha256:
            self._part.reread_all(self._job.limit_bytes)
            self._furthest = self._part.offset
        while True:
            try:
                if self._receive():
                    break
            except Passing as failure:
                hint = (
                    "what was fetched is kept: run the same command again, or name another source in your models.toml"
                )
                self._patience.bear(failure, hint=hint)
        self._part.finish()
        tls = urlsplit(self._url).scheme == "https"
        return Fetched(size_bytes=self._part.offset, sha256=self._part.sha256, vouched_by="tls" if tls else "nothing")

    def _receive(self) -> bool:
        """Ask for what is missing and take it; tell whether the file is complete."""
        headers = {}
        if not (self._validator or self._job.sha256):
            self._part.start_over()
        if self._part.offset:
            headers["Range"] = f"bytes={self._part.offset}-"
            if self._validator:
                headers["If-Range"] = self._validator
        with opened(self._session, "GET", self._url, what=self._host, headers=headers) as reply:
            if reply.status_code == 416:
                return self._beyond_the_end(reply)
            body = self._body_of(reply)
            self._admit(body.total)
            if body.start == 0 and self._part.offset:
                self._job.on_note("the server starts over; the part is dropped")
                self._part.start_over()
            elif body.start:
                self._job.on_note(f"going on after {amount(body.start)}")
            self._remember(reply)
            self._take(reply, body.total)
        if body.total is not None and self._part.offset < body.total:
            raise Passing(f"{self._host} closed the connection after {amount(self._part.offset)}")
        return True

    def _admit(self, total: int | None) -> None:
        """Refuse a size that cannot be right, while the part is as it was."""
        limit = self._job.limit_bytes
        if total is not None and total > limit:
            raise DownloadError(f"{self._url} has {total} bytes; at most {limit} are expected", "check the link")
        self._job.admit(total, self._part.size_on_disk)

    def _take(self, reply: requests.Response, total: int | None) -> None:
        """Write a body into the part file, within the bounds."""
        limit = self._job.limit_bytes
        for data in self._pieces(reply):
            if self._part.offset + len(data) > (limit if total is None else total):
                raise DownloadError(f"{self._url} sends more bytes than expected", "check the link")
            self._part.write(data)
            if self._part.offset > self._furthest:  # a server that starts over each time makes no progress
                self._furthest = self._part.offset
                self._patience.progress()
            self._job.on_bytes(self._part.offset, total)

    def _pieces(self, reply: requests.Response) -> Iterator[bytes]:
        while True:
            try:
                data: bytes = reply.raw.read(READ_BYTES, decode_content=False)
            except BROKEN as error:
                raise Passing(f"{self._host}: {brief(error)}") from error
            if not data:
                return
            yield data

    def _body_of(self, reply: requests.Response) -> _Body:
        """Read the status line and lengths, or raise what they mean."""
        status = reply.status_code
        if status in (408, 425, 429) or status >= 500:
            raise Passing(f"{self._host} answered with status {status}", at_least_seconds=asked_wait(reply.headers))
        if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise DownloadError(f"{self._host} sends the file encoded, which was not asked for", "try another source")
        if status == 200:
            return _Body(start=0, total=count_of(reply.headers.get("Content-Length")))
        if status == 206 and self._part.offset:
            match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
            if match is None or match[1] is None or int(match[1]) != self._part.offset:
                self._part.start_over()
                raise Passing(f"{self._host} sent another part than was asked for")
            if self._is_of_another_file(reply):
                self._part.start_over()
                self._validator = None
                raise Passing(f"{self._host} has another file by now; starting over")
            return _Body(start=self._part.offset, total=count_of(match[3]))
        meaning = {401: "wants a password", 403: "refuses", 404: "does not have the file", 410: "has the file no more"}
        raise DownloadError(
            f"{self._host} {meaning.get(status, f'answered with status {status}')}: {self._url}",
            "check the link, or name another source in your models.toml",
        )

    def _beyond_the_end(self, reply: requests.Response) -> bool:
        """A range past the end: the part is the whole file, or of another one."""
        match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
        if match is not None and count_of(match[3]) == self._part.offset:
            self._job.admit(self._part.offset, self._part.offset)
            return True
        self._part.start_over()
        self._validator = None
        raise Passing(f"{self._host} has a shorter file than the part; starting over")

    def _is_of_another_file(self, reply: requests.Response) -> bool:
        """Whether a rest does not belong to the part: not every server that sends ranges heeds If-Range."""
        if self._validator is None:
            return False
        name = "ETag" if self._validator.startswith('"') else "Last-Modified"
        return reply.headers.get(name, self._validator) != self._validator

    def _remember(self, reply: requests.Response) -> None:
        """Keep what tells later whether the file is still the same. A weak ETag may not be used for that.

        A rest need not repeat what the server was asked by.
        """
        if self._part.offset and self._validator:
            return
        tag = reply.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else reply.headers.get("Last-Modified")
        if self._part.offset == 0:
            self._part.finish()  # a later run takes all that is there for bytes of this file
        self._validator = validator
        write_state(self._part.path, {"url": self._url, "validator": validator})
