"""A bucket as an object store, through obstore: S3 and its relatives, Google Cloud Storage, Azure.

What obstore leaves open is done here: its errors become ours, a conditional create that the store answers
with a conflict is tried again, and a body is compared with the length that was announced.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .errors import AlreadyExists, ConfigError, NotFound, StoreError
from .storage import (
    CONTROL,
    ObjectInfo,
    Page,
    PendingWrite,
    Store,
    StoreOptions,
    check_range,
    check_unchanged,
    is_nameable,
)
from .storage_client import (
    CLIENT_ERRORS,
    Client,
    Etags,
    Md5Check,
    RangeNotSatisfiable,
    ShortBody,
    is_worth_another_try,
    open_client,
    translated,
)
from .storage_s3 import Refused, S3Requests, abort_upload, list_pages, list_uploads

if TYPE_CHECKING:
    from obstore import ObjectMeta

ResultT = TypeVar("ResultT")

#: Files above this go up in parts, and parts are at least this large.
PART_BYTES = 16 << 20
#: S3 allows 10,000 parts.
MAX_PARTS = 9_000
DELETE_KEYS = 1_000
LIST_KEYS = 1_000
#: obstore starts over by itself; these tries are for what it does not count as a failure.
NUM_TRIES = 4


@dataclass(frozen=True)
class RemoteStore(Store):
    """The prefix of a bucket as a store.

    Attributes:
        scheme: `s3`, `gs` or `az`.
        bucket: bucket or container.
        prefix: literal, without slashes at its ends; "" for the whole bucket.
        options: endpoint, credentials and limits.
    """

    scheme: str
    bucket: str
    prefix: str
    options: StoreOptions

    def __post_init__(self) -> None:
        if self.prefix and not is_nameable(self.prefix):
            raise ConfigError(
                f"location {self.uri!r}: the prefix has an empty, '.' or '..' segment or a control character; "
                "the client cannot name such keys."
            )

    def __reduce__(self) -> tuple[object, ...]:
        return RemoteStore, (self.scheme, self.bucket, self.prefix, self.options)

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`, without a trailing slash."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def list(self, prefix: str = "") -> Iterator[Page]:
        """See `Store.list`. S3 listings keep every key; elsewhere a key that cannot be named is a StoreError."""
        if self.scheme != "s3":
            yield from self.list_plain(prefix)
            return
        try:
            for entries in list_pages(self._requests, self._folder(prefix)):
                yield [self._listed(*entry) for entry in entries]
        except Refused:
            yield from self.list_plain(prefix)

    def list_plain(self, prefix: str) -> Iterator[Page]:
        """List through obstore alone, for stores where nothing else can be signed.

        It gives `a/` as `a`, so an empty object is looked up: one that is not there is a marker. A key that
        cannot be named fails the listing, by name.
        """
        folder = self._folder(prefix).rstrip("/")
        stream = iter(self.client.list(folder or None, chunk_size=LIST_KEYS))
        while True:
            try:
                entries = next(stream, None)
            except CLIENT_ERRORS as error:
                raise translated(error, self.describe(prefix)) from error
            if entries is None:
                return
            page = [self._info(self._relative(entry["path"]), entry) for entry in entries]
            yield [
                self._as_marker(info) if info.num_bytes == 0 and not self._exists(info.key) else info for info in page
            ]

    def head(self, key: str) -> ObjectInfo:
        """See `Store.head`."""
        return self._info(key, self._run(key, lambda client, path: client.head(path)))

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See `Store.get_with_info`."""
        check = Md5Check(self._etags)

        def read(client: Client, path: str) -> tuple[bytes, ObjectInfo]:
            reply = client.get(path)
            info = self._info(key, reply.meta)
            return check(_whole(bytes(reply.bytes()), info.num_bytes), info.etag), info

        return self._run(key, read)

    def get_if(self, key: str, etag: str, num_bytes: int = -1) -> bytes:
        """See `Store.get_if`: the body of an object that has changed is not fetched."""
        check = Md5Check(self._etags)

        def read(client: Client, path: str) -> bytes:
            reply = client.get(path)
            info = self._info(key, reply.meta)
            check_unchanged(info, etag, num_bytes, self.describe(key))
            return check(_whole(bytes(reply.bytes()), info.num_bytes), info.etag)

        return self._run(key, read)

    def get_range(self, key: str, start: int, length: int, etag: str = "") -> bytes:
        """See `Store.get_range`."""
        check_range(start, length)

        def read(client: Client, path: str) -> bytes:
            reply = client.get(path, options={"range": (start, start + length)})
            check_unchanged(self._info(key, reply.meta), etag, -1, self.describe(key))
            first, end = reply.range
            return _whole(bytes(reply.bytes()), end - first)

        try:
            return self._run(key, read)
        except RangeNotSatisfiable:  # starts at or after the end
            return b""

    def create(self, key: str, data: bytes) -> None:
        """See `Store.create`."""
        self._run(key, lambda client, path: client.put(path, data, mode="create"))

    def create_file(self, key: str, path: Path) -> None:
        """See `Store.create_file`. In parts above 16 MiB; there a taken key is looked for first."""
        num_bytes = path.stat().st_size
        if num_bytes <= PART_BYTES:
            self.create(key, path.read_bytes())
            return
        if self._exists(key):
            raise AlreadyExists(f"{self.describe(key)}: already exists.")
        part_bytes = max(PART_BYTES, -(-num_bytes // MAX_PARTS))
        self._run(
            key,
            lambda client, name: client.put(name, path, use_multipart=True, chunk_size=part_bytes, max_concurrency=4),
        )

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`."""
        self._run(key, lambda client, path: client.put(path, data, mode="overwrite"))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`: a thousand keys a request on S3."""
        waiting = [*keys]
        for first in range(0, len(waiting), DELETE_KEYS):
            group = waiting[first : first + DELETE_KEYS]
            try:
                self._delete_group(group)
            except NotFound:  # Google and Azure stop at the first that is gone
                for key in group:
                    self._delete_one(key)

    def pending(self, prefix: str = "") -> Iterator[PendingWrite]:
        """See `Store.pending`: uploads in parts on S3; elsewhere the client cannot see them."""
        if self.scheme == "s3":
            for full_key, upload_id, started in list_uploads(self._requests, self._folder(prefix)):
                yield PendingWrite(self._relative(full_key), started, upload_id)

    def abort(self, pending: PendingWrite) -> None:
        """See `Store.abort`."""
        full_key = f"{self.prefix}/{pending.key}" if self.prefix else pending.key
        abort_upload(self._requests, full_key, pending.upload_id)

    @cached_property
    def _etags(self) -> Etags:
        return Etags(are_md5=self.scheme == "s3")

    @cached_property
    def _requests(self) -> S3Requests:
        return S3Requests(self.bucket, self.options)

    @cached_property
    def client(self) -> Client:
        """The obstore client, made on first use; its credentials renew themselves.

        Raises:
            ConfigError: options or environment do not describe a store.
            PermissionDenied: there are no credentials.
        """
        try:
            return open_client(self.scheme, self.bucket, self.options)
        except CLIENT_ERRORS as error:
            raise ConfigError(f"location {self.uri!r}: {translated(error, 'the client')}") from error

    def _delete_group(self, keys: Sequence[str]) -> None:
        paths = [self._key(key) for key in keys]

        def remove(client: Client, _: str) -> None:
            client.delete(paths)

        self._run(keys[0], remove)

    def _delete_one(self, key: str) -> None:
        try:
            self._delete_group([key])
        except NotFound:
            return

    def _exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def _key(self, key: str) -> str:
        if not is_nameable(key):
            raise StoreError(f"{self.describe(key)!r}: the client cannot name this key.")
        return f"{self.prefix}/{key}" if self.prefix else key

    def _folder(self, prefix: str) -> str:
        """Return the full prefix with a trailing slash, or "" for the whole bucket."""
        parts = [part for part in (self.prefix, prefix.rstrip("/")) if part]
        return "/".join(parts) + "/" if parts else ""

    def _relative(self, full_key: str) -> str:
        return full_key[len(self.prefix) + 1 :] if self.prefix else full_key

    def _info(self, key: str, meta: ObjectMeta) -> ObjectInfo:
        return ObjectInfo(key, meta["size"], meta["e_tag"] or "", meta["last_modified"])

    def _listed(self, full_key: str, num_bytes: int, etag: str, last_modified: datetime) -> ObjectInfo:
        key = self._relative(full_key) or "/"  # "/" is the marker of the root itself
        if is_nameable(key):
            return ObjectInfo(key, num_bytes, etag, last_modified)
        printable = CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", key)
        return ObjectInfo(printable, num_bytes, etag, last_modified, is_supported=False)

    def _as_marker(self, info: ObjectInfo) -> ObjectInfo:
        return ObjectInfo(f"{info.key}/", 0, info.etag, info.last_modified, is_supported=False)

    def _run(self, key: str, action: Callable[[Client, str], ResultT]) -> ResultT:
        """Call `action` with client and full key; conflicts and short bodies are tried again, errors translated."""
        path = self._key(key)
        deadline = time.monotonic() + self.options.retry_budget_seconds
        for attempt in range(NUM_TRIES):
            try:
                return action(self.client, path)
            except CLIENT_ERRORS as error:
                if not is_worth_another_try(error) or attempt == NUM_TRIES - 1 or time.monotonic() > deadline:
                    raise translated(error, self.describe(key)) from error
            time.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311 - jitter needs no secrecy
        raise AssertionError("unreachable: the last try returns or raises")


def _whole(body: bytes, num_bytes: int) -> bytes:
    if len(body) != num_bytes:
        raise ShortBody(f"{len(body)} of {num_bytes} bytes came")
    return body
