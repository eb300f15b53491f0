"""Asking MEGA's API for the address, size and attributes of a public file; errors in all their shapes."""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from frametx.download.hashcash import solve
from frametx.download.job import UNKNOWN_WAIT_SECONDS, Passing
from frametx.download.links import decode_base64
from frametx.download.web import asked_wait, opened, read_bounded
from frametx.errors import DownloadError

if TYPE_CHECKING:
    import requests

DEFAULT_API = "https://g.api.mega.co.nz"
MAX_ANSWER_BYTES = 1 << 20
MAX_CHALLENGES = 3
BROWSER = "fetch the file with a browser and `frametx models import FILE`"

# Codes that pass by themselves: what they mean and how long to wait at least, in seconds.
_PASSING = {
    -3: ("MEGA asks to try again", 0.0),
    -4: ("MEGA says that requests come too fast", 5.0),
    -6: ("MEGA says that the file is asked for too often", 10.0),
    -8: ("MEGA says that the address has expired", 0.0),
    -18: ("MEGA says that the file is not available for the moment", 5.0),
    -19: ("MEGA says that there are too many connections", 5.0),
}
_FINAL = {
    -2: ("MEGA does not understand the link", "check the link"),
    -9: ("the file is gone from MEGA", f"look for another copy and import it: {BROWSER}"),
    -11: ("MEGA refuses access to the file", BROWSER),
    -14: ("MEGA says that the key does not fit", "check the part of the link after #"),
    -16: ("MEGA has taken the file down", f"look for another copy and import it: {BROWSER}"),
}
_QUOTA = -17
_HASHCASH = -27


@dataclass(frozen=True, slots=True, kw_only=True)
class MegaFile:
    """What the API says about a public file.

    Attributes:
        address: Where its ciphertext lies for a while.
        size_bytes: Its size.
        attributes: Encrypted; hold its name.
    """

    address: str
    size_bytes: int
    attributes: bytes


class MegaApi:
    """One client of the API; FRAMETX_MEGA_API names another server."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session
        self._address = os.environ.get("FRAMETX_MEGA_API", DEFAULT_API).rstrip("/")
        if urlsplit(self._address).scheme not in ("http", "https"):
            raise DownloadError(f"FRAMETX_MEGA_API is {self._address!r}", "it must begin with https:// or http://")
        self._number = random.getrandbits(32)

    def file(self, handle: str) -> MegaFile:
        """Ask for a public file.

        Raises:
            Passing: Not now, maybe soon.
            DownloadError: Not at all.
        """
        answer = self._ask({"a": "g", "g": 1, "p": handle, "ssl": 2})
        wait_seconds = answer.get("tl")
        if isinstance(wait_seconds, int | float) and wait_seconds > 0:
            raise Passing("MEGA's transfer quota is used up", at_least_seconds=float(wait_seconds), quota=True)
        if "d" in answer:
            raise DownloadError(*_FINAL[-16])
        address, size = answer.get("g"), answer.get("s")
        if not isinstance(address, str):
            raise Passing("MEGA has no address for the file at the moment", at_least_seconds=5.0)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise DownloadError(f"MEGA says that the file has the size {size!r}", "update frametx")
        # https is asked for; what came over http would still be encrypted and held to the code in the link
        if urlsplit(address).scheme not in ("https", "http"):
            raise DownloadError(f"MEGA gave the address {address[:80]!r}, which is refused", "update frametx")
        attributes = answer.get("at")
        if not isinstance(attributes, str):
            raise DownloadError("MEGA's answer has no attributes", "update frametx")
        return MegaFile(address=address.rstrip("/"), size_bytes=size, attributes=decode_base64(attributes))

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send one command, prove work where that is asked, and return the answer's object."""
        self._number = (self._number + 1) % 2**32
        query, headers = {"id": str(self._number)}, {"Content-Type": "application/json"}
        body = json.dumps([command]).encode()
        for _ in range(MAX_CHALLENGES + 1):
            with opened(
                self._session,
                "POST",
                f"{self._address}/cs",
                what="MEGA's API",
                params=query,
                headers=headers,
                data=body,
            ) as reply:
                challenge = reply.headers.get("X-Hashcash") if reply.status_code == 402 else None
                if challenge is not None:
                    headers["X-Hashcash"] = solve(challenge)
                    continue
                _refuse_status(reply)
                answer = _parse(read_bounded(reply, MAX_ANSWER_BYTES, what="MEGA's API"))
            if isinstance(answer, dict) and not isinstance(answer.get("e"), int):
                return answer
            if isinstance(answer, str):
                query["hashcash"] = solve(answer)
                continue
            _raise_code(answer["e"] if isinstance(answer, dict) else answer, answer)
        raise DownloadError(f"MEGA asked for a proof of work more than {MAX_CHALLENGES} times", BROWSER)


def _refuse_status(reply: requests.Response) -> None:
    status = reply.status_code
    if status == 200:
        return
    if status == 509:
        wait = asked_wait(reply.headers, "X-MEGA-Time-Left", UNKNOWN_WAIT_SECONDS)
        raise Passing("MEGA's transfer quota is used up", at_least_seconds=wait, quota=True)
    if status in (408, 425, 429) or status >= 500:
        raise Passing(f"MEGA's API answered with status {status}", at_least_seconds=asked_wait(reply.headers))
    raise DownloadError(f"MEGA's API answered with status {status}", BROWSER)


def _parse(body: bytes) -> dict[str, Any] | int | str:
    """Bring an answer into one form: an object, an error number, or (a text) the challenge of a proof of work."""
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise Passing(f"MEGA's API answered with something that is no JSON: {body[:60]!r}") from error
    if isinstance(answer, list) and len(answer) == 2 and answer[0] == _HASHCASH and isinstance(answer[1], str):
        return answer[1]
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, dict) or (isinstance(answer, int) and not isinstance(answer, bool)):
        return answer
    raise DownloadError(f"MEGA's API answered in an unknown form: {body[:60]!r}", "update frametx")


def _raise_code(code: int, answer: dict[str, Any] | int) -> None:
    """Raise what an error number means."""
    if code in _PASSING:
        message, seconds = _PASSING[code]
        raise Passing(message, at_least_seconds=seconds)
    if code == _QUOTA:
        wait = answer.get("tl") if isinstance(answer, dict) else None
        seconds = float(wait) if isinstance(wait, int | float) and wait > 0 else UNKNOWN_WAIT_SECONDS
        raise Passing("MEGA's transfer quota is used up", at_least_seconds=seconds, quota=True)
    if code in _FINAL:
        raise DownloadError(*_FINAL[code])
    raise DownloadError(f"MEGA answered with error {code}", BROWSER)
