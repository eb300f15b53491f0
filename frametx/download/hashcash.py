"""The proof of work that MEGA has asked anonymous clients for since 2025."""

from __future__ import annotations

import hashlib
import re

from frametx.download.links import decode_base64, encode_base64
from frametx.errors import DownloadError

_CHALLENGE = re.compile(r"1:(\d{1,3}):\d{1,20}:([\w+/-]{64})=*", re.ASCII)
_REPEATS = 262_144
# One try hashes 12 MiB. 256 tries are usual; forty times that would be minutes of one core.
MAX_EXPECTED_TRIES = 10_000


def solve(challenge: str) -> str:
    """Answer a challenge `1:EASINESS:TIME:TOKEN` with `1:TOKEN:PREFIX`.

    The prefix is a 4-byte number such that the first 32 bits of SHA-256(prefix + 262,144 x token) are at most the
    threshold that the easiness stands for.

    Raises:
        DownloadError: The challenge cannot be read, or would take unreasonably long.
    """
    match = _CHALLENGE.fullmatch(challenge.strip())
    if match is None or int(match[1]) > 255:
        raise DownloadError(f"MEGA asks for a proof of work that cannot be read: {challenge[:120]!r}", "update frametx")
    easiness, token = int(match[1]), match[2]
    threshold = ((easiness & 63) * 2 + 1) << ((easiness >> 6) * 7 + 3)
    if 2**32 / threshold > MAX_EXPECTED_TRIES:
        raise DownloadError(
            f"MEGA asks for a proof of work of about {2**32 // threshold} tries (easiness {easiness})",
            "try again later, or fetch the file with a browser and `frametx models import FILE`",
        )
    work = bytearray(4) + decode_base64(token) * _REPEATS
    for number in range(2**32):
        work[:4] = number.to_bytes(4, "big")
        if int.from_bytes(hashlib.sha256(work).digest()[:4], "big") <= threshold:
            return f"1:{token}:{encode_base64(bytes(work[:4]))}"
    raise DownloadError("MEGA's proof of work has no solution", "try again later")
