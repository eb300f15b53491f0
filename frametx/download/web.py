"""Requests and replies, with bounds: no other schemes, no endless bodies, library errors translated."""

from __future__ import annotations

import contextlib
import email.utils
import math
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from frametx import __version__
from frametx.download.job import UNKNOWN_WAIT_SECONDS, Passing
from frametx.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
MAX_REDIRECTS = 5
# What can go wrong in the middle of a body: urllib3's own errors escape from `raw.read`.
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
# A certificate that is not trusted does not become so; a handshake that is cut may go well the next time.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_NEVER = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidProxyURL,
)


def new_session() -> requests.Session:
    """Open a session that says who we are and takes bodies as they are."""
    session = requests.Session()
    session.headers.update({"User-Agent": f"frametx/{__version__}", "Accept-Encoding": "identity"})
    return session


@contextlib.contextmanager
def opened(
    session: requests.Session, method: str, url: str, *, what: str, **arguments: Any
) -> Iterator[requests.Response]:
    """Send a request and hand over the reply with its body unread, following redirects of the same scheme only.

    Args:
        session: From `new_session`.
        method: GET or POST.
        url: Where.
        what: What is asked, for messages.
        **arguments: Passed to requests.

    Raises:
        Passing: No connection, or none in time.
        DownloadError: A redirect to another scheme, too many of them, a certificate or an address that is wrong.
    """
    scheme = urlsplit(url).scheme
    for _ in range(MAX_REDIRECTS + 1):
        try:
            reply = session.request(
                method, url, stream=True, allow_redirects=False, timeout=(CONNECT_SECONDS, READ_SECONDS), **arguments
            )
        except _NEVER as error:
            raise DownloadError(f"{what}: {brief(error)}", "check the link and the proxy settings") from error
        except BROKEN as error:
            if _UNTRUSTED in str(error):
                hint = "check the clock, the link and the proxy; REQUESTS_CA_BUNDLE names certificates of your own"
                raise DownloadError(f"{what}: {brief(error)}", hint) from error
            raise Passing(f"{what}: {brief(error)}") from error
        with reply:
            target = (
                reply.headers.get("Location") if reply.is_redirect or reply.status_code in (301, 302, 303) else None
            )
            if target is None:
                yield reply
                return
            url = urljoin(url, target)
            if urlsplit(url).scheme != scheme:
                raise DownloadError(f"{what}: redirected from {scheme} to {url[:100]!r}, which is refused")
    raise DownloadError(f"{what}: redirected more than {MAX_REDIRECTS} times")


def read_bounded(reply: requests.Response, limit_bytes: int, *, what: str) -> bytes:
    """Read a small body.

    Raises:
        DownloadError: It is longer than `limit_bytes`.
        Passing: The connection broke.
    """
    try:
        body: bytes = reply.raw.read(limit_bytes + 1, decode_content=True)
    except BROKEN as error:
        raise Passing(f"{what}: {brief(error)}") from error
    if len(body) > limit_bytes:
        raise DownloadError(f"{what}: the answer is longer than {limit_bytes} bytes")
    return body


def asked_wait(headers: Mapping[str, str], name: str = "Retry-After", default: float = 0.0) -> float:
    """Read how many seconds a header asks to wait: a number or a date; `default` when it says nothing usable."""
    value = headers.get(name, "").strip()
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return default
    if not math.isfinite(seconds):
        return UNKNOWN_WAIT_SECONDS
    return min(max(seconds, 0.0), 1e7)


def count_of(text: str | None) -> int | None:
    """Read a length header; None when it is no plain number."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 20 else None


def brief(error: Exception) -> str:
    """Say what a library's error means in a few words, without object addresses and pool names."""
    if _UNTRUSTED in str(error):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection came about"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached or refuses"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    text = str(error)
    for sign, meaning in (
        ("Name or service not known", "the host's name cannot be found"),
        ("name resolution", "the host's name cannot be found"),
        ("nodename nor servname", "the host's name cannot be found"),
        ("getaddrinfo failed", "the host's name cannot be found"),
        ("refused", "the connection was refused"),
        ("unreachable", "the network cannot be reached"),
        ("reset", "the connection was reset"),
        ("closed connection", "the connection was closed"),
        ("IncompleteRead", "the connection was cut"),
    ):
        if sign in text:
            return meaning
    return text.splitlines()[0][:200] if text else type(error).__name__
