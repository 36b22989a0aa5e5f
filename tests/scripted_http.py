"""An HTTP server on the loopback interface that answers from a script: faults that no real server makes on request."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One reply. `num_missing_bytes` are announced and not sent; `wait_seconds` pass before anything is.

    `is_reset`: no reply, the connection is reset.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    num_missing_bytes: int = 0
    wait_seconds: float = 0.0
    is_reset: bool = False


@dataclass
class ScriptedServer:
    """Where it listens, and the requests that came: (method, path with query, headers)."""

    url: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)


@contextlib.contextmanager
def scripted_server(answers: Sequence[Answer]) -> Iterator[ScriptedServer]:
    """Serve the answers one after another, the last one for ever."""
    left = list(answers)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                server.requests.append((self.command, self.path, dict(self.headers)))
                answer = left.pop(0) if len(left) > 1 else left[0]
            time.sleep(answer.wait_seconds)
            if answer.is_reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer.status)
            headers = {"ETag": '"abc"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT", **answer.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.num_missing_bytes))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if answer.num_missing_bytes:
                self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _reply  # noqa: N815 - names that the base class looks up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A connection that was reset on purpose is no news."""

    httpd = Server(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.block_on_close = False
    server = ScriptedServer(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
