"""Programs that share a store and go on only when they are told to: any order of their calls can be tried."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from unlabeled.pipeline.errors import AlreadyExists, StoreError, UnlabeledError
from unlabeled.pipeline.storage import ObjectInfo, Page

from tests.memory_store import Memory, MemoryStore

#: What may befall a call: the process dies before or after it; the store refuses it; it is done, but its reply is
#: lost, and the client's next try finds the key taken.
Fate = Literal["dies before", "dies after", "refused", "reply lost"]
#: Far more than any call takes; a test that waits so long has failed.
_PATIENCE_SECONDS = 120
_LEASE = re.compile(r"_leases/e(\d{8})\.json")


class Died(BaseException):
    """The process is gone: nothing that it would have done comes any more."""


class Actor(MemoryStore):
    """A process on a machine of its own, and its client of the store, each of whose calls waits for a `step`.

    Attributes:
        error: what its program ended with.
        epoch: of the lease that it asked for last.
    """

    def __init__(self, memory: Memory, name: str, program: Callable[[Actor], None]) -> None:
        super().__init__(memory)
        self.name = name
        self.epoch = 0
        self.error: UnlabeledError | None = None
        self._program = program
        self._fault: BaseException | None = None
        self._fate: Fate | None = None
        self._is_dead = False
        self._turn = threading.Semaphore(0)
        self._came = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()
        self._wait()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def step(self, num_calls: int = 1, fate: Fate | None = None) -> None:
        """Let it make so many calls, or as many as are left, of which `fate` befalls the first."""
        self._fate = fate
        for _ in range(num_calls):
            if self.is_over:
                return
            self._turn.release()
            self._wait()

    def show_life(self) -> None:
        """Write what the lease's own thread would, whose clock is not the store's."""
        if self.epoch and not self.is_over:
            self.memory.write(f"_leases/e{self.epoch:08d}.alive", b"")

    def kill(self) -> None:
        """End it where it stands."""
        while not self.is_over:
            self.step(1, "dies before")

    def list(self, prefix: str = "") -> Iterator[Page]:
        with self._call():
            return super().list(prefix)

    def head(self, key: str) -> ObjectInfo:
        with self._call():
            return super().head(key)

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        # Receipts are read by many threads at once, whose order no step decides.
        with contextlib.nullcontext() if key.startswith("_receipts/") else self._call():
            return super().get_with_info(key)

    def create(self, key: str, data: bytes) -> None:
        with self._call() as fate:
            super().create(key, self._of_this_machine(key, data))
            if fate == "reply lost":
                raise AlreadyExists(f"{key}: already exists.")

    def put(self, key: str, data: bytes) -> None:
        if not key.endswith(".alive"):  # `show_life`
            with self._call():
                super().put(key, data)

    def delete(self, keys: Iterable[str]) -> None:
        doomed = list(keys)
        with self._call():
            super().delete(doomed)

    @contextlib.contextmanager
    def _call(self) -> Iterator[Fate | None]:
        """Wait for a turn; yield what befalls the call."""
        if self._is_dead:
            raise Died
        self._came.release()
        self._turn.acquire()
        fate, self._fate = self._fate, None
        if fate == "refused":
            raise StoreError(f"{self.name}: SlowDown")
        try:
            if fate != "dies before":
                yield fate
        finally:
            if fate in ("dies before", "dies after"):
                self._is_dead = True
                raise Died

    def _of_this_machine(self, key: str, data: bytes) -> bytes:
        """Let the holder of a lease be a process whose life nobody else can see."""
        if lease := _LEASE.fullmatch(key):
            self.epoch = int(lease[1])
            return json.dumps({**json.loads(data), "host": self.name}).encode()
        return data

    def _live(self) -> None:
        try:
            self._program(self)
        except Died:
            pass
        except UnlabeledError as error:
            self.error = error
        except BaseException as error:  # noqa: BLE001 - raised again where the test is
            self._fault = error
        finally:
            self._is_dead = True
            self._came.release()

    def _wait(self) -> None:
        assert self._came.acquire(timeout=_PATIENCE_SECONDS), f"{self.name} neither calls nor ends"
        if self._is_dead:
            self._thread.join(_PATIENCE_SECONDS)
        if self._fault is not None:
            raise self._fault
