"""Public MEGA files: address, ciphertext, plaintext in the part file, and proof that it is the file of the link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.download.job import UNKNOWN_WAIT_SECONDS, Fetched, Passing, Patience, amount
from frametx.download.links import parse_mega_link
from frametx.download.mega_api import BROWSER, MegaApi, MegaFile
from frametx.download.mega_cipher import MAX_CHUNK, FileKey, MetaMac, chunk_lengths
from frametx.download.part import PartFile
from frametx.download.web import BROKEN, asked_wait, brief, new_session, opened
from frametx.errors import DownloadError

if TYPE_CHECKING:
    import requests

    from frametx.download.job import Job

# Small enough for a lively progress bar, large enough that a call costs nothing beside its bytes.
READ_BYTES = 256 * 1024


def fetch_mega(url: str, job: Job) -> Fetched:
    """Fetch a public MEGA file into `job.part`, going on where an earlier run stopped.

    Only whole chunks of plaintext that were counted in the meta-MAC stand in the part file. When the complete file does
    not come to the link's meta-MAC, it is fetched once more from the beginning, because the part may have been spoilt.

    Raises:
        QuotaExceeded: MEGA wants a wait of more than a minute; the part stays.
        DownloadError: Anything else that does not pass; the part stays where it can be continued.
    """
    with new_session() as session, PartFile(job.part) as part:
        download = _MegaDownload(url, session, part, job)
        if not download.run():
            job.on_note("the file does not match the code in its link; fetching it again from the beginning")
            part.start_over()
            part.finish()
            if not download.run():
                part.start_over()
                part.finish()
                raise DownloadError(
                    f"{url} does not match the code in its link, twice", f"check the link, or {BROWSER}"
                )
        part.finish()
        return Fetched(size_bytes=part.offset, sha256=part.sha256, vouched_by="mac")


class _MegaDownload:
    """One file under way."""

    def __init__(self, url: str, session: requests.Session, part: PartFile, job: Job) -> None:
        link = parse_mega_link(url)
        self._url = url
        self._key = FileKey.from_link(link.key)
        self._handle = link.handle
        self._session = session
        self._part = part
        self._job = job
        self._api = MegaApi(session)
        self._patience = Patience(job)
        self._chunk = memoryview(bytearray(MAX_CHUNK + 16))  # the cipher wants room for a block more
        self._mac = MetaMac(self._key)
        self._size: int | None = None

    def run(self) -> bool:
        """Bring the part file to its full size; tell whether it comes to the meta-MAC."""
        self._size = None
        while True:
            try:
                file = self._api.file(self._handle)
                self._begin(file)
                if self._part.offset < file.size_bytes:
                    self._receive(file)
            except Passing as failure:
                self._patience.bear(failure, hint=self._hint(failure))
                continue
            if self._part.offset == file.size_bytes:
                return self._mac.matches()

    def _begin(self, file: MegaFile) -> None:
        """On the first answer: check the key, the size and the disk, and count what an earlier run left."""
        if self._size is not None:
            if file.size_bytes != self._size:
                raise DownloadError(
                    f"MEGA said {self._size} bytes first and {file.size_bytes} bytes later", "try again later"
                )
            return
        self._key.check_fits(file.attributes)
        if file.size_bytes > self._job.limit_bytes:
            raise DownloadError(
                f"the file has {file.size_bytes} bytes; at most {self._job.limit_bytes} are expected", "check the link"
            )
        on_disk = self._part.size_on_disk
        self._job.admit(file.size_bytes, on_disk)
        self._mac = MetaMac(self._key)
        self._part.reread(_whole_chunks(file.size_bytes, on_disk), self._mac.add)
        if self._part.offset:
            self._job.on_note(f"going on after {amount(self._part.offset)}")
        self._job.on_bytes(self._part.offset, file.size_bytes)
        self._size = file.size_bytes

    def _receive(self, file: MegaFile) -> None:
        """Fetch from the part's end to the file's, or until the connection breaks."""
        address = f"{file.address}/{self._part.offset}-{file.size_bytes - 1}"
        with opened(self._session, "GET", address, what="MEGA's file server") as reply:
            _refuse_status(reply)
            decrypt = self._key.decryptor(self._part.offset)
            for length in self._lengths_left(file.size_bytes):
                done = 0
                while done < length:
                    data = self._read(reply, min(READ_BYTES, length - done))
                    done += decrypt.update_into(data, self._chunk[done:])
                    self._job.on_bytes(self._part.offset + done, file.size_bytes)
                chunk = self._chunk[:length]
                self._mac.add(chunk)
                self._part.write(chunk)
                self._patience.progress()

    def _read(self, reply: requests.Response, n_bytes: int) -> bytes:
        try:
            data: bytes = reply.raw.read(n_bytes, decode_content=False)
        except BROKEN as error:
            raise Passing(f"MEGA's file server: {brief(error)}") from error
        if not data:
            raise Passing("MEGA's file server closed the connection before the end")
        return data

    def _lengths_left(self, size: int) -> list[int]:
        start, lengths = 0, []
        for length in chunk_lengths(size):
            if start >= self._part.offset:
                lengths.append(length)
            start += length
        return lengths

    def _hint(self, failure: Passing) -> str:
        if failure.quota:
            return f"what was fetched is kept: run the same command later, or {BROWSER}; the link is {self._url}"
        return f"what was fetched is kept: run the same command again, or {BROWSER}"


def _whole_chunks(size: int, on_disk: int) -> list[int]:
    """Return the lengths of the chunks that lie whole within the first `on_disk` bytes."""
    end, lengths = 0, []
    for length in chunk_lengths(size):
        end += length
        if end > on_disk:
            break
        lengths.append(length)
    return lengths


def _refuse_status(reply: requests.Response) -> None:
    """Translate a file server's status.

    403 and 404 mean that the address has expired: the next try asks for a new one.
    """
    status = reply.status_code
    if status in (200, 206):
        return
    if status == 509:
        wait = asked_wait(reply.headers, "X-MEGA-Time-Left", UNKNOWN_WAIT_SECONDS)
        raise Passing("MEGA's transfer quota is used up", at_least_seconds=wait, quota=True)
    if status in (403, 404):
        raise Passing("the file's address has expired")
    if status == 503:
        raise Passing("the file is not available for the moment", at_least_seconds=5.0)
    if status in (408, 425, 429) or status >= 500:
        raise Passing(f"MEGA's file server answered with status {status}", at_least_seconds=asked_wait(reply.headers))
    raise DownloadError(f"MEGA's file server answered with status {status}", BROWSER)
