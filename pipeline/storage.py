"""The object store: one small surface over `s3:// gs:// az:// file://` and plain paths.

URIs and keys are literal: nothing is unquoted or normalised, so spaces, unicode and `+ % & # ?` belong to
the key. A `Store` is a root (bucket and prefix, or a folder); every key is relative to it, uses `/`, and
neither starts nor ends with one. Stores are cheap to build, safe to share between threads and picklable:
the client is made on first use in each process.

Errors: NotFound, AlreadyExists, PermissionDenied, Changed, and StoreError for what outlasted the retries;
each message names the object and the store's own code.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .errors import Changed, ConfigError, nearest

SCHEMES = ("s3", "gs", "az", "file")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f]|(?:^|/)\.{0,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object.

    Attributes:
        key: relative to the store's root; where `is_supported` is False, escaped so that it can be printed
            and stored, and not usable for reading.
        num_bytes: size of the object.
        etag: the store's word for this content, "" where it has none. Equal etag and size: unchanged.
        last_modified: by the store's clock, with time zone.
        is_supported: False where the client cannot name the object, such as `a//b`, `a/../b`, a control
            character, or a local name that is not UTF-8.
    """

    key: str
    num_bytes: int
    etag: str
    last_modified: datetime
    is_supported: bool = True

    @property
    def is_marker(self) -> bool:
        """True for a zero-byte key ending in `/`: what consoles write to show an empty folder."""
        return self.num_bytes == 0 and self.key.endswith("/")


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """An object, or part of one, that no listing shows because its writer has not finished, or never will.

    Attributes:
        key: what is being written; for a local folder the temporary file.
        started: by the store's clock, with time zone.
        upload_id: the store's own name for it.
    """

    key: str
    started: datetime
    upload_id: str = ""


#: What a listing yields at a time.
Page = list[ObjectInfo]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How to reach a remote store; what is left empty comes from the ordinary environment.

    Attributes:
        endpoint_url: of an S3-compatible server, such as `http://127.0.0.1:9000`.
        access_key_id: S3 key; needs `secret_access_key`.
        secret_access_key: S3 secret; never shown.
        session_token: of temporary S3 credentials; never shown.
        region: S3 region.
        allow_http: permit an unencrypted endpoint that is not on this machine.
        num_retries: tries after the first one, for each request.
        timeout_seconds: for one request, until its body has come.
        retry_budget_seconds: no retry starts later than this after the first try.
    """

    endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    region: str = ""
    allow_http: bool = False
    num_retries: int = 6
    timeout_seconds: float = 60.0
    retry_budget_seconds: float = 120.0


class Store(ABC):
    """A root in an object store: a bucket with a prefix, or a folder."""

    @classmethod
    def open(cls, uri: str | Path, options: StoreOptions | None = None) -> Store:
        """Return the store whose root is `uri`; nothing is contacted or created yet.

        Args:
            uri: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///folder` or a
                path. Literal: no quoting is undone.
            options: explicit endpoint, credentials and limits.

        Raises:
            ConfigError: the scheme is unknown, the bucket is missing, or the prefix cannot be named.
        """
        from .storage_local import LocalStore
        from .storage_remote import RemoteStore

        scheme, rest = split_uri(str(uri))
        if scheme == "file":
            return LocalStore(rest)
        bucket, _, prefix = rest.partition("/")
        return RemoteStore(scheme, bucket, prefix.rstrip("/"), options or StoreOptions())

    @property
    @abstractmethod
    def uri(self) -> str:
        """The root as a URI without a trailing slash, or an absolute path for a local folder."""

    @property
    def is_local(self) -> bool:
        """True where objects are files on this machine's disks."""
        return False

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[Page]:
        """Yield everything under `prefix` in pages, recursively, in no promised order.

        `prefix` is a folder (`a/b` lists `a/b/c`, not `a/bc`); a trailing slash makes no difference. A
        prefix under which nothing lies yields nothing. Objects that the client cannot name are yielded with
        `is_supported` False; zero-byte directory markers are yielded too (`is_marker`).

        Raises:
            NotFound: the bucket does not exist.
            PermissionDenied: the credentials are wrong, or may not list.
            StoreError: beyond the retry budget.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo:
        """Return what is known of the object.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return the object's bytes and, from the same reply, its size and etag.

        Raises:
            NotFound: there is none.
            StoreError: the body stayed shorter than announced.
        """

    def get(self, key: str) -> bytes:
        """Return the object's bytes; raises as `get_with_info`."""
        return self.get_with_info(key)[0]

    def get_if(self, key: str, etag: str, num_bytes: int = -1) -> bytes:
        """Return the object's bytes where it is still the one that was listed.

        Args:
            key: what to read.
            etag: as listed; "" compares nothing.
            num_bytes: as listed; -1 compares nothing.

        Raises:
            Changed: its etag or size is another now.
            NotFound: it is gone.
        """
        data, info = self.get_with_info(key)
        check_unchanged(info, etag, num_bytes, self.describe(key))
        return data

    @abstractmethod
    def get_range(self, key: str, start: int, length: int, etag: str = "") -> bytes:
        """Return bytes [start, start + length) of the object; fewer only where the object ends.

        Args:
            key: what to read.
            start: first byte, at least 0.
            length: at least 1.
            etag: as listed; "" compares nothing.

        Raises:
            NotFound: there is none.
            Changed: its etag is another now.
        """

    def get_view(self, key: str, start: int, length: int) -> memoryview:
        """Return bytes as `get_range` does, in memory that is used again where that is faster; for large reads."""
        return memoryview(self.get_range(key, start, length))

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write an object that must not exist yet: whole or not at all, and only the first writer wins.

        Raises:
            AlreadyExists: the key is taken. After a lost reply this may be our own object: compare.
        """

    @abstractmethod
    def create_file(self, key: str, path: Path) -> None:
        """Write an object from a local file that changes no more, in parts where it is large.

        Large objects on remote stores are looked up first instead of written conditionally; use names that
        follow from the content, so that a race writes equal bytes.

        Raises:
            AlreadyExists: the key is taken.
        """

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing what is there; readers see the old one or the new one."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that do not exist are no error."""

    @abstractmethod
    def pending(self, prefix: str = "") -> Iterator[PendingWrite]:
        """Yield unfinished writes under `prefix`, where the client can see them; raises as `list`."""

    @abstractmethod
    def abort(self, pending: PendingWrite) -> None:
        """Remove what an unfinished write has left; its writer, if it lives, fails. Gone already is no error."""

    def can_name(self, key: str) -> bool:
        """Return whether the store can hold an object under this key: see `is_nameable`."""
        return is_nameable(key)

    def local_path(self, key: str) -> Path | None:
        """Return the file that holds the object on this machine, or None for a remote store."""
        return None

    def describe(self, key: str) -> str:
        """Return root and key joined, for messages."""
        return f"{self.uri}/{key}" if key else self.uri


def split_uri(uri: str) -> tuple[str, str]:
    """Return (scheme, rest): ("s3", "bucket/prefix"), or ("file", absolute path).

    Raises:
        ConfigError: unknown scheme, no bucket, or a `file://` URI that names a host.
    """
    if not uri:
        raise ConfigError("location: found an empty string, expected a path or a URI such as s3://bucket/prefix.")
    scheme, separator, rest = uri.partition("://")
    if not separator or "/" in scheme:
        return "file", os.path.abspath(uri)  # noqa: PTH100 - Path would drop what it thinks is redundant
    if scheme not in SCHEMES:
        expected = ", ".join(f"{name}://" for name in SCHEMES)
        hint = nearest(scheme, SCHEMES)
        raise ConfigError(f"location {uri!r}: found scheme {scheme!r}, expected {expected} or a path.{hint}")
    if scheme == "file":
        if not rest.startswith("/"):
            raise ConfigError(f"location {uri!r}: expected file:// followed by an absolute path (three slashes).")
        return "file", os.path.abspath(rest)  # noqa: PTH100 - as above
    if not rest.partition("/")[0]:
        raise ConfigError(f"location {uri!r}: expected a bucket or container after {scheme}://.")
    return scheme, rest


def last_name(uri: str) -> str:
    """Return what stands after the last slash: how people call a dataset or a run."""
    return uri.rstrip("/").rpartition("/")[2]


def open_parent(uri: str | Path, options: StoreOptions | None = None) -> tuple[Store, str]:
    """Return (store of the folder that holds the object `uri`, the object's key in it); contacts nothing.

    Raises:
        ConfigError: as `Store.open`, or `uri` names a bucket and no object.
    """
    folder, separator, name = Store.open(uri, options).uri.rpartition("/")
    if not name or folder.endswith("/"):  # `s3://bucket`
        raise ConfigError(f"location {str(uri)!r}: expected the name of an object.")
    return Store.open(folder or separator, options), name


def is_nameable(key: str) -> bool:
    """Return whether every client can name `key`: no control character, no empty, `.` or `..` segment."""
    return _UNNAMEABLE.search(key) is None


def check_unchanged(info: ObjectInfo, etag: str, num_bytes: int, name: str) -> None:
    """Raise Changed where `info` is not the object that was listed with this etag and size ("" and -1: any)."""
    if num_bytes not in (-1, info.num_bytes):
        raise Changed(f"{name}: changed since it was listed: {num_bytes} bytes then, {info.num_bytes} now.")
    if etag and etag.strip('"') != info.etag.strip('"'):
        raise Changed(f"{name}: changed since it was listed: etag {etag} then, {info.etag} now.")


def check_range(start: int, length: int) -> None:
    """Raise ValueError where (start, length) is no range: the caller's mistake, not the store's."""
    if start < 0 or length < 1:
        raise ValueError(f"range ({start}, {length}): start must be at least 0 and length at least 1")
