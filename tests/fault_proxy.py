"""A proxy in front of a real S3 server that injects faults on request.

It passes `Host` on as it came, so signatures stay valid. Rules are looked at in order; the first that fits a request
and has uses left decides.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["500", "slow_down", "reset", "hang", "truncate", "flip", "expired", "conflict", "lost_reply", "hold"]

_ERRORS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow_down": (503, "SlowDown", "Reduce your request rate."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation is in progress."),
}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


@dataclass
class Rule:
    """What happens to requests that fit.

    Attributes:
        kind: an answer with that error; `reset`: the connection is reset before the server sees anything;
            `hang`: no answer for `hang_seconds`; `truncate`: half of the body; `flip`: one bit of the body is another;
            `lost_reply`: the server does it, the reply is lost; `hold`: the request waits until `released`, then its
            connection is reset.
        method: of requests that fit, a regular expression.
        path: of requests that fit, a regular expression searched for.
        times: how often; -1 for ever.
        every: only each n-th request that fits.
    """

    kind: Kind
    method: str = ".*"
    path: str = ""
    times: int = 1
    every: int = 1
    hang_seconds: float = 3.0
    num_seen: int = 0
    num_injected: int = 0
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def takes(self, method: str, path: str) -> bool:
        """Return whether this request gets the fault."""
        if self.num_injected == self.times or not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self.num_seen += 1
        if self.num_seen % self.every:
            return False
        self.num_injected += 1
        return True


@dataclass
class FaultProxy:
    """Where it listens, and its rules, which may be changed while it runs."""

    endpoint_url: str
    rules: list[Rule]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def rule_for(self, method: str, path: str) -> Rule | None:
        """Return the rule that decides this request, if any."""
        with self.lock:
            return next((rule for rule in self.rules if rule.takes(method, path)), None)


_DRAWS = random.Random(0)


def flipped(body: bytes) -> bytes:
    """Return `body` with one bit changed: another one each time, as on a bad wire."""
    changed = bytearray(body)
    changed[_DRAWS.randrange(len(body))] ^= 1 << _DRAWS.randrange(8)
    return bytes(changed)


@contextlib.contextmanager
def fault_proxy(upstream_url: str, *rules: Rule) -> Iterator[FaultProxy]:
    """Pass requests on to `upstream_url`, but for what `rules` decide."""
    upstream = urlsplit(upstream_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            rule = proxy.rule_for(self.command, self.path)
            kind = rule.kind if rule else ""
            if rule and kind == "hold":
                rule.arrived.set()
                rule.released.wait(120)
                return self._reset()
            if kind == "reset":
                return self._reset()
            if rule and kind == "hang":
                time.sleep(rule.hang_seconds)
                return self._reset()
            if kind in _ERRORS:
                return self._send_error(*_ERRORS[kind])
            status, headers, reply = self._forward(body)
            if kind == "lost_reply":
                return self._reset()
            if kind == "flip" and reply:
                reply = flipped(reply)
            return self._send(status, headers, reply, reply[: len(reply) // 2] if kind == "truncate" else reply)

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(upstream, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        connection.putheader(name, value)
                connection.endheaders(body or None)
                reply = connection.getresponse()
                return reply.status, reply.getheaders(), reply.read()
            finally:
                connection.close()

        def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, sent: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in _HOP_BY_HOP and not (name.lower() == "content-length" and body):
                    self.send_header(name, value)
            if body or not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(sent)
            if len(sent) < len(body):
                self.close_connection = True

        def _send_error(self, status: int, code: str, message: str) -> None:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self._send(status, [("Content-Type", "application/xml")], body, b"" if self.command == "HEAD" else body)

        def _reset(self) -> None:
            """Close so that the client sees a reset, not an orderly end."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - names that the base class looks up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that are killed leave broken connections; that is what this is for."""

    httpd = Server(("127.0.0.1", 0), Handler)
    proxy = FaultProxy(f"http://127.0.0.1:{httpd.server_port}", list(rules))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        for rule in proxy.rules:
            rule.released.set()
        httpd.shutdown()
        httpd.server_close()
