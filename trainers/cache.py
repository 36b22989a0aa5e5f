"""What a remote store gave, kept on this node's disk: shared by the ranks of a node, bounded, checked when read.

<folder>/<sha256 of the shard>-<first byte>-<length>    the bytes, then their CRC-32 (4 bytes)

Shards never change, so nothing here is ever out of date. A file appears whole or not at all; one that has been damaged
is fetched again; those used longest ago go first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from isal import isal_zlib
from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.pooled_memory import read_pooled

_CHECKSUM_BYTES = 4
_TEMPORARY = ".part"


class CacheSettings(BaseModel):
    """Where a node keeps what a remote store gave, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="on a disk of this node; all ranks of a node may share it")
    max_num_bytes: int = Field(50 * 2**30, ge=0, description="the least recently used goes first")


class Cache:
    """A folder of ranges of shards. Safe to share between threads and processes."""

    def __init__(self, settings: CacheSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        #: Written by us since the folder was last looked through; others write too, so it is looked through often.
        self._num_new_bytes = 0
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._shrink()

    def get(self, sha256: str, start: int, length: int, fetch: Callable[[], bytes | memoryview]) -> bytes | memoryview:
        """Return bytes [start, start + length) of the shard with this digest, from the disk or else from `fetch`."""
        path = self._settings.folder / f"{sha256}-{start}-{length}"
        with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
            stored = read_pooled(file, length + _CHECKSUM_BYTES)
            kept, checksum = stored[:length], stored[length:]
            if checksum == _checksum(kept):
                os.utime(path)
                return kept
        data = fetch()
        # A short reply is the caller's to judge, and never kept.
        if len(data) == length:
            self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes | memoryview) -> None:
        temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.write(_checksum(data))
            # Gone: whoever else shares the folder has made room.
            with contextlib.suppress(FileNotFoundError):
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._num_new_bytes += len(data) + _CHECKSUM_BYTES
            is_due = self._num_new_bytes * 20 > self._settings.max_num_bytes
        if is_due:
            self._shrink()

    def _shrink(self) -> None:
        """Remove what was used longest ago until the rest is within bounds."""
        with self._lock:
            self._num_new_bytes = 0
            files = sorted(self._files(), reverse=True)
            num_bytes = 0
            for _, size, path in files:
                num_bytes += size
                if num_bytes > self._settings.max_num_bytes:
                    path.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield (last use, bytes, path) of all files; another process may remove some meanwhile."""
        for path in self._settings.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _checksum(data: bytes | memoryview) -> bytes:
    return isal_zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")
