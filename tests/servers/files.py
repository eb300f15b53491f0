"""A file server on loopback with byte ranges and, when asked, faults."""

from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.servers.mega import Reply, Server, send

if TYPE_CHECKING:
    import ssl


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]


@dataclass
class FakeFiles:
    """Serves `body` under every path.

    Attributes:
        body: The file.
        headers: Sent with it; an ETag or Last-Modified is compared with If-Range.
        ranges: Whether ranges are honoured.
        conditions: Whether If-Range is.
        script: Replies to the next requests, in order, in place of the truth.
        asked: The requests.
    """

    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    conditions: bool = True
    script: list[Reply] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def start(self) -> None:
        files = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                """Keep the terminal clean."""

            def do_GET(self) -> None:
                files.serve(self)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: Any) -> None:
        self.asked.append(Asked(handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        reply = self.script.pop(0) if self.script else Reply()
        start = self._start(self.asked[-1].headers)
        if reply.status != 200 or reply.body is not None:
            send(handler, reply, b"")
        elif start == 0:
            send(
                handler,
                Reply(
                    headers={**self.headers, **reply.headers},
                    cut_after=reply.cut_after,
                    drop=reply.drop,
                    hold=reply.hold,
                ),
                self.body,
            )
        elif start >= len(self.body):
            send(handler, Reply(status=416, headers={"Content-Range": f"bytes */{len(self.body)}"}, body=b""), b"")
        else:
            span = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
            headers = {**self.headers, "Content-Range": span, **reply.headers}
            send(
                handler,
                Reply(
                    status=206,
                    headers=headers,
                    body=self.body[start:],
                    cut_after=reply.cut_after,
                    drop=reply.drop,
                    hold=reply.hold,
                ),
                b"",
            )

    def _start(self, headers: dict[str, str]) -> int:
        asked, condition = headers.get("range"), headers.get("if-range")
        if asked is None or not self.ranges:
            return 0
        known = (None, self.headers.get("ETag"), self.headers.get("Last-Modified"))
        if self.conditions and condition not in known:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))
