"""A bucket that is not there: LIST and GET as S3 answers them, for any number of keys, from one template.

    python -m tests.bench.simulated_s3 NUM_KEYS [--port 0] [--page-seconds 0.03]

Keys are `part-0000/000000.jpg`, a thousand a folder. A page of 1,000 keys takes `--page-seconds`. GET and HEAD give
one small picture for every key. Prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from tests import samples

KEYS_PER_FOLDER = 1000
PAGE_KEYS = 1000
_ENTRY = (
    "<Contents><Key>part-{folder:04d}/{number:06d}.jpg</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>"
    "<ETag>&quot;{etag:032x}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples.photograph(1, 96, 96)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


PICTURE = _picture()


class Handler(BaseHTTPRequestHandler):
    """Answers for one bucket of `num_keys` keys."""

    protocol_version = "HTTP/1.1"
    num_keys = 0
    page_seconds = 0.0

    def do_GET(self) -> None:
        """List, or give the picture."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if query.get("list-type") == "2":
            time.sleep(self.page_seconds)
            self._reply(self._listing(query).encode(), "application/xml")
        else:
            self._reply(PICTURE, "image/jpeg")

    do_HEAD = do_GET  # noqa: N815 - the base class looks it up

    def _listing(self, query: dict[str, str]) -> str:
        prefix, token = query.get("prefix", ""), int(query.get("continuation-token") or 0)
        num_folders = -(-self.num_keys // KEYS_PER_FOLDER)
        if "delimiter" in query and not prefix:
            last = min(token + PAGE_KEYS, num_folders)
            body = "".join(
                f"<CommonPrefixes><Prefix>part-{n:04d}/</Prefix></CommonPrefixes>" for n in range(token, last)
            )
            return _result(body, last if last < num_folders else 0)
        first, end = 0, self.num_keys
        if prefix:
            first = int(prefix.removeprefix("part-").rstrip("/")) * KEYS_PER_FOLDER
            end = min(first + KEYS_PER_FOLDER, self.num_keys)
        start = first + token
        last = min(start + PAGE_KEYS, end)
        body = "".join(
            _ENTRY.format(folder=n // KEYS_PER_FOLDER, number=n, etag=n, size=len(PICTURE)) for n in range(start, last)
        )
        return _result(body, last - first if last < end else 0)

    def _reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("ETag", f'"{hashlib.md5(PICTURE, usedforsecurity=False).hexdigest()}"'),
            ("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        """Say nothing."""


def _result(body: str, token: int) -> str:
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType>{more or '<IsTruncated>false</IsTruncated>'}{body}</ListBucketResult>"
    )


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("num_keys", type=int)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--page-seconds", type=float, default=0.03)
    arguments = parser.parse_args()
    Handler.num_keys, Handler.page_seconds = arguments.num_keys, arguments.page_seconds
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
