"""An object store in memory with a clock that tests set: what a store promises, and nothing that takes time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from unlabeled.pipeline.errors import AlreadyExists, NotFound
from unlabeled.pipeline.rng import sha256_hex
from unlabeled.pipeline.storage import ObjectInfo, Page, PendingWrite, Store

#: Every write is a little later than the one before, so that "the oldest" means something.
_WRITE_TAKES = timedelta(milliseconds=1)


@dataclass
class Memory:
    """What a store holds: key -> (bytes, time of writing)."""

    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    lock: threading.RLock = field(default_factory=threading.RLock)
    num_deleted: int = 0

    def pass_time(self, seconds: float) -> None:
        with self.lock:
            self.now += timedelta(seconds=seconds)

    def write(self, key: str, data: bytes, *, is_new: bool = False) -> None:
        with self.lock:
            if is_new and key in self.objects:
                raise AlreadyExists(f"{key}: already exists.")
            self.now += _WRITE_TAKES
            self.objects[key] = data, self.now

    def info(self, key: str) -> ObjectInfo:
        with self.lock:
            if key not in self.objects:
                raise NotFound(f"{key}: not found.")
            data, written = self.objects[key]
        return ObjectInfo(key, len(data), sha256_hex(data)[:32], written)

    def listed(self, prefix: str) -> Page:
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        with self.lock:
            return [self.info(key) for key in sorted(self.objects) if key.startswith(folder)]


class MemoryStore(Store):
    """One client of a `Memory`; several clients of one see each other's writes."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    @property
    def uri(self) -> str:
        return "memory"

    def list(self, prefix: str = "") -> Iterator[Page]:
        return iter([self.memory.listed(prefix)])

    def head(self, key: str) -> ObjectInfo:
        return self.memory.info(key)

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self.memory.lock:
            info = self.memory.info(key)
            return self.memory.objects[key][0], info

    def get_range(self, key: str, start: int, length: int, etag: str = "") -> bytes:
        return self.get(key)[start : start + length]

    def create(self, key: str, data: bytes) -> None:
        self.memory.write(key, data, is_new=True)

    def create_file(self, key: str, path: Path) -> None:
        self.create(key, path.read_bytes())

    def put(self, key: str, data: bytes) -> None:
        self.memory.write(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)  # what is iterated may look into the store itself
        with self.memory.lock:
            for key in doomed:
                self.memory.num_deleted += self.memory.objects.pop(key, None) is not None

    def pending(self, prefix: str = "") -> Iterator[PendingWrite]:
        return iter(())

    def abort(self, pending: PendingWrite) -> None:
        """Nothing is ever unfinished."""
