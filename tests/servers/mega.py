"""A MEGA of our own on loopback, written from the protocol with another AES library than the client's.

Replies follow a script, one entry a request, so that every fault can be had at every stage; without a script everything
works.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from Crypto.Cipher import AES
from Crypto.Util import Counter


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class MegaFile:
    """One uploaded file: its key in eight words, as MEGA's clients write it."""

    plain: bytes
    name: str
    words: tuple[int, ...] = ()
    cipher: bytes = b""

    def __post_init__(self) -> None:
        aes = struct.unpack(">4I", secrets.token_bytes(16))
        nonce = struct.unpack(">2I", secrets.token_bytes(8))
        key = struct.pack(">4I", *aes)
        counter = Counter.new(64, prefix=struct.pack(">2I", *nonce), initial_value=0)
        self.cipher = AES.new(key, AES.MODE_CTR, counter=counter).encrypt(self.plain)
        file_mac = (0, 0, 0, 0)
        start, step = 0, 0
        while start < len(self.plain):
            step = min(step + 0x20000, 0x100000)
            chunk = self.plain[start : start + step]
            chunk += bytes(-len(chunk) % 16)
            iv = struct.pack(">4I", nonce[0], nonce[1], nonce[0], nonce[1])
            chunk_mac = struct.unpack(">4I", AES.new(key, AES.MODE_CBC, iv).encrypt(chunk)[-16:])
            mixed = [a ^ b for a, b in zip(file_mac, chunk_mac, strict=True)]
            file_mac = struct.unpack(">4I", AES.new(key, AES.MODE_ECB).encrypt(struct.pack(">4I", *mixed)))
            start += step
        meta = (file_mac[0] ^ file_mac[1], file_mac[2] ^ file_mac[3])
        folded = (aes[0] ^ nonce[0], aes[1] ^ nonce[1], aes[2] ^ meta[0], aes[3] ^ meta[1])
        self.words = (*folded, *nonce, *meta)
        self._aes = key

    @property
    def link_key(self) -> str:
        return b64(struct.pack(">8I", *self.words))

    @property
    def attributes(self) -> str:
        text = b"MEGA" + json.dumps({"n": self.name, "c": "x"}).encode()
        text += bytes(-len(text) % 16)
        return b64(AES.new(self._aes, AES.MODE_CBC, bytes(16)).encrypt(text))


@dataclass
class Reply:
    """What to answer instead of the truth.

    Attributes:
        status: The status line.
        headers: More headers.
        body: The whole body; for a data request None means the file's bytes.
        cut_after: Close the connection after so many bytes of the body.
        flip: Invert the lowest bit of the body's byte at this offset of the file.
        extra: Fields laid over the API's object.
        hold: Wait for this event after `cut_after` bytes, in place of closing.
        drop: Close the connection without a word.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut_after: int | None = None
    flip: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    hold: threading.Event | None = None
    drop: bool = False


def api(value: Any) -> Reply:
    """Answer an API request with this JSON."""
    return Reply(body=json.dumps(value).encode())


class Server(http.server.ThreadingHTTPServer):
    """Says nothing about clients that hang up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class FakeMega:
    """The API and the file server in one.

    Attributes:
        api_script: Replies to the next API requests, in order.
        data_script: Replies to the next requests for file bytes.
        commands: What the API was asked, with query and headers.
        ranges: Which bytes were asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, MegaFile] = {}
        self.addresses: dict[str, str] = {}
        self.api_script: list[Reply] = []
        self.data_script: list[Reply] = []
        self.commands: list[dict[str, Any]] = []
        self.ranges: list[tuple[int, int]] = []
        self.hashcash: tuple[str, int] | None = None
        self.single_use = False
        self.data_base = ""
        self.secure_data_base = ""
        self._server = Server(("127.0.0.1", 0), self.handler())
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, plain: bytes, name: str = "model.pth", handle: str | None = None) -> str:
        """Upload a file; returns its link."""
        handle = handle or b64(secrets.token_bytes(6))
        self.files[handle] = MegaFile(plain, name)
        return f"https://mega.nz/file/{handle}#{self.files[handle].link_key}"

    def answer(self, command: dict[str, Any]) -> Any:
        """Say what the API says about a file."""
        file = self.files.get(command.get("p", ""))
        if command.get("a") != "g" or file is None:
            return -9
        token = b64(secrets.token_bytes(9))
        self.addresses[token] = command["p"]
        base = (self.secure_data_base if command.get("ssl") == 2 else self.data_base) or self.url
        address = f"{base}/dl/{token}"
        return {"s": len(file.plain), "at": file.attributes, "msd": 1, "g": address, "fa": "0*x"}

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        mega = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Keep the terminal clean."""

            def do_POST(self) -> None:
                self.rfile_body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if urlsplit(self.path).path == "/cs":
                    mega.serve_api(self)
                else:
                    mega.serve_data(self)

            def do_GET(self) -> None:
                mega.serve_data(self)

        return Handler

    def serve_api(self, handler: Any) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        command = json.loads(handler.rfile_body)[0]
        self.commands.append({"command": command, "query": query, "headers": dict(handler.headers)})
        if self.hashcash is not None:
            form, easiness = self.hashcash
            proof = handler.headers.get("X-Hashcash") if form == "header" else query.get("hashcash")
            if proof is None or not proof_is_good(proof, easiness):
                challenge = f"1:{easiness}:{int(time.time())}:{b64(hashlib.sha384(b'token').digest())}"
                if form == "header":
                    send(handler, Reply(status=402, headers={"X-Hashcash": challenge}, body=b"-27"), b"")
                else:
                    send(handler, api([-27, challenge]), b"")
                return
        reply = self.api_script.pop(0) if self.api_script else Reply()
        answer = self.answer(command)
        if reply.extra and isinstance(answer, dict):
            answer = {key: value for key, value in {**answer, **reply.extra}.items() if value is not None}
        send(handler, reply, json.dumps([answer]).encode())

    def serve_data(self, handler: Any) -> None:
        _, _, token, *bounds = urlsplit(handler.path).path.split("/")
        handle = self.addresses.get(token)
        if handle is None:
            send(handler, Reply(status=404), b"")
            return
        if self.single_use:
            del self.addresses[token]
        cipher = self.files[handle].cipher
        first, last = (int(bound) for bound in bounds[0].split("-")) if bounds else (0, len(cipher) - 1)
        self.ranges.append((first, last))
        reply = self.data_script.pop(0) if self.data_script else Reply()
        body = bytearray(cipher[first : last + 1])
        if reply.flip is not None and first <= reply.flip <= last:
            body[reply.flip - first] ^= 1
        send(handler, reply, bytes(body))


def send(handler: Any, reply: Reply, truth: bytes) -> None:
    """Send a reply, or as much of it as the script wants."""
    if reply.drop:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return
    body = truth if reply.body is None else reply.body
    if reply.status != 200 and reply.body is None:
        body = b""
    try:
        handler.send_response(reply.status)
        headers = {"Content-Length": str(len(body)), **reply.headers}
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: reply.cut_after])
        if reply.cut_after is not None and reply.cut_after < len(body):
            if reply.hold is not None:
                reply.hold.wait(60)
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was killed, or had enough
        handler.close_connection = True


def proof_is_good(proof: str, easiness: int) -> bool:
    """Check a proof of work the way MEGA describes it."""
    version, token, prefix = proof.split(":")
    raw = base64.urlsafe_b64decode(prefix + "==")
    padded = token + "=" * (-len(token) % 4)
    digest = hashlib.sha256(raw + base64.urlsafe_b64decode(padded) * 262144).digest()
    threshold = ((easiness & 63) * 2 + 1) << ((easiness >> 6) * 7 + 3)
    return version == "1" and len(raw) == 4 and struct.unpack(">I", digest[:4])[0] <= threshold
