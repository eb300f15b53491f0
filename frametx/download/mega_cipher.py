"""How MEGA encrypts a file and vouches for it: AES-CTR, chunk MACs, the meta-MAC, attributes.

Keys and MACs are 32-bit big-endian words in MEGA's own code; here they are bytes, which is the same thing.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB

from frametx.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Buffer = bytes | bytearray | memoryview

KIB = 1024
MAX_CHUNK = 1024 * KIB
_ZERO = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """The three parts of the 32 bytes in a link.

    Attributes:
        aes: 16 bytes, AES-128.
        nonce: 8 bytes, the upper half of the counter.
        meta_mac: 8 bytes that the whole file must come to.
    """

    aes: bytes
    nonce: bytes
    meta_mac: bytes

    @classmethod
    def from_link(cls, key: bytes) -> FileKey:
        """Unfold the key of a link, 32 bytes."""
        return cls(aes=_xor(key[:16], key[16:]), nonce=key[16:24], meta_mac=key[24:])

    def decryptor(self, offset: int) -> CipherContext:
        """Start decrypting at a byte offset that is divisible by 16."""
        counter = self.nonce + (offset // 16).to_bytes(8, "big")
        return Cipher(AES(self.aes), CTR(counter)).decryptor()

    def check_fits(self, attributes: bytes) -> None:
        """Decrypt a file's attributes, which begin with a known word.

        Raises:
            DownloadError: The key does not fit the file.
        """
        cipher = Cipher(AES(self.aes), CBC(_ZERO)).decryptor()
        plain = cipher.update(attributes[: len(attributes) // 16 * 16]) + cipher.finalize()
        if not plain.startswith(b'MEGA{"'):
            raise DownloadError("the key in the link does not fit the file", "check the part of the link after #")


class MetaMac:
    """The running code over a file's chunks, which must come in order and whole."""

    def __init__(self, key: FileKey) -> None:
        self._key = key
        self._block = Cipher(AES(key.aes), ECB()).encryptor()  # noqa: S305  (one block at a time)
        self._chunk_cipher = Cipher(AES(key.aes), CBC(key.nonce * 2))
        self._scratch = bytearray(MAX_CHUNK + 16)
        self._mac = _ZERO

    def add(self, chunk: Buffer) -> None:
        """Count one chunk of plaintext.

        The chunk's own code is the last block of its CBC encryption, zero-padded, with the nonce twice as the IV; the
        file's code is the same thing over the chunks' codes.
        """
        cipher = self._chunk_cipher.encryptor()
        end = cipher.update_into(chunk, self._scratch)
        padding = -len(chunk) % 16
        if padding:
            end += cipher.update_into(bytes(padding), memoryview(self._scratch)[end:])
        chunk_mac = bytes(self._scratch[end - 16 : end])
        self._mac = self._block.update(_xor(self._mac, chunk_mac))

    def matches(self) -> bool:
        """Tell whether the chunks so far are the whole file of the key."""
        folded = _xor(self._mac[0:4], self._mac[4:8]) + _xor(self._mac[8:12], self._mac[12:16])
        return hmac.compare_digest(folded, self._key.meta_mac)


def chunk_lengths(size: int) -> Iterator[int]:
    """Yield the lengths of the chunks of a file: 128, 256, ... 1024 KiB, then 1 MiB each; the last is what is left."""
    length = 0
    while size > 0:
        length = min(length + 128 * KIB, MAX_CHUNK)
        yield min(length, size)
        size -= length


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")
