"""The links a snapshot can be fetched from, and what each is called in the cache."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from frametx.errors import DownloadError

_MEGA_HOSTS = ("mega.nz", "www.mega.nz", "mega.co.nz", "www.mega.co.nz", "mega.io", "www.mega.io")
_MEGA_FILE = re.compile(r"(?:file/([\w-]{8})#|#!([\w-]{8})!)([\w-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MegaLink:
    """A public file on MEGA.

    Attributes:
        handle: Its public name, 8 characters.
        key: 32 bytes that decrypt and vouch for it; they never go to the server.
    """

    handle: str
    key: bytes


def kind_of_source(url: str) -> Literal["mega", "http", "file"]:
    """Tell which of the downloaders a source is for.

    Raises:
        DownloadError: None of them.
    """
    parts = urlsplit(url)
    if parts.scheme in ("https", "http") and parts.hostname in _MEGA_HOSTS:
        return "mega"
    if parts.scheme in ("https", "http") and parts.hostname:
        return "http"
    if parts.scheme == "file":
        return "file"
    raise DownloadError(f"cannot fetch from {url!r}", "use a MEGA link, https://..., http://... or file:///...")


def parse_mega_link(url: str) -> MegaLink:
    """Read a MEGA link in its new or old form, also as people paste it: quoted, with a dot or comma behind.

    Raises:
        DownloadError: It is a folder, or no complete link to a file.
    """
    pasted = unquote(url).strip().strip(".,")
    path = re.sub(r"^https?://[^/#]+/?", "", pasted)
    match = _MEGA_FILE.fullmatch(path)
    if match is None:
        if path.startswith(("folder/", "#F!")):
            raise DownloadError(f"{url} is a MEGA folder", "link to one file: https://mega.nz/file/HANDLE#KEY")
        raise DownloadError(
            f"{url} is no complete MEGA link", "expected https://mega.nz/file/HANDLE#KEY, with 8 and 43 characters"
        )
    return MegaLink(handle=match[1] or match[2], key=decode_base64(match[3]))


def decode_base64(text: str) -> bytes:
    """Decode MEGA's base64: the URL alphabet without `=`; `+`, `/` and stray commas are accepted as well.

    Raises:
        DownloadError: It is not base64.
    """
    text = text.replace(",", "").replace("+", "-").replace("/", "_").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise DownloadError(f"{text[:60]!r} is not base64") from error


def encode_base64(data: bytes) -> str:
    """Encode in MEGA's base64."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def host_of(url: str) -> str:
    """Return who is asked for a file, for people: a host, or the path of a file."""
    parts = urlsplit(url)
    return parts.hostname or parts.path


def source_key(url: str) -> str:
    """Return a short name of a source for the cache's folder: a changed link must not hit the old file."""
    if kind_of_source(url) == "mega":
        return parse_mega_link(url).handle
    return hashlib.sha256(url.encode()).hexdigest()[:8]
