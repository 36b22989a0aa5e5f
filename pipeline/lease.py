"""Who writes a dataset: one run at a time. A lease is an epoch, created once; a later epoch fences out an earlier one.

_leases/e00000001.json    create-only: whoever creates it holds the epoch
_leases/e00000001.alive   written again and again while the holder lives; its age is told by the store's clock
_leases/e00000001.stop    the holder's workers are to begin nothing new
_leases/e00000001.done    the holder has ended; the next run need not wait

A holder that shows no life is taken over: the newest version is copied under the next number, with the new epoch. A
version that the old holder had prepared bears that same number, so its create-only put fails, however late it comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from .errors import AlreadyExists, Conflict, NotFound, StoreError
from .manifest import load_manifest, publish
from .rng import canonical_json
from .storage import Store

ItemT = TypeVar("ItemT")
_LEASES = "_leases/"
_NAME = re.compile(r"e(\d{8})\.(json|alive|stop|done)")
#: Epochs whose files are kept: orphaned workers of the last ones may still look for theirs.
_NUM_KEPT = 4
_CHECK_SECONDS = 1.0


@dataclass(frozen=True)
class Pace:
    """How often a holder shows life, and after how long without it nobody believes that it lives."""

    heartbeat_seconds: float = 10.0
    stale_seconds: float = 60.0
    poll_seconds: float = 1.0


@dataclass(frozen=True)
class _Newest:
    """The newest epoch that was given out; 0 where there is none."""

    epoch: int
    is_done: bool
    age_seconds: float
    beat: datetime | None
    holder: dict[str, Any]


class Lease:
    """An epoch that this process holds; a context manager that shows life until it leaves, then gives it back."""

    def __init__(self, store: Store, epoch: int, pace: Pace) -> None:
        self.epoch = epoch
        self._store = store
        self._pace = pace
        self._wake = threading.Event()
        self._is_over = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._show_life, daemon=True, name="lease")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._wake.set()
        self._thread.join()
        # Without it the next run waits until this one's last sign of life is stale, and loses nothing.
        with contextlib.suppress(StoreError):
            self._store.put(_key(self.epoch, "done"), b"")

    def stop_workers(self) -> None:
        """Let the run's workers begin nothing new; returns at once, also in a signal handler."""
        self._is_stopping = True
        self._wake.set()

    def _show_life(self) -> None:
        while not self._is_over:
            self._wake.clear()
            # A beat that fails is made up for by the next one: six of them may.
            with contextlib.suppress(StoreError):
                if self._is_stopping:
                    self._store.put(_key(self.epoch, "stop"), b"")
                self._store.put(_key(self.epoch, "alive"), b"")
            if not self._is_over:
                self._wake.wait(self._pace.heartbeat_seconds)


def acquire(store: Store, *, wait_seconds: float = 0.0, pace: Pace | None = None) -> Lease:
    """Return the next epoch, once nobody holds the one before it.

    A holder that shows life is waited for up to `wait_seconds`; one that shows none, until that is certain.

    Raises:
        Conflict: another run is at work here; says who and where.
    """
    pace = pace or Pace()
    deadline = time.monotonic() + wait_seconds
    seen: _Newest | None = None
    while True:
        newest = _newest(store)
        fate = _fate(newest.holder)
        is_free = newest.epoch == 0 or newest.is_done or fate == "died"
        if is_free or newest.age_seconds > pace.stale_seconds:
            lease = _create(store, newest.epoch + 1, pace)
            if lease is not None:
                if not is_free:
                    _fence_out(store, newest.epoch, lease.epoch)
                _tidy(store, lease.epoch)
                return lease
            continue
        lives = fate == "lives" or (seen is not None and (seen.epoch, seen.beat) != (newest.epoch, newest.beat))
        if lives and time.monotonic() > deadline:
            raise Conflict(_busy(store, newest))
        seen = newest
        time.sleep(pace.poll_seconds)


def check_newest(store: Store, epoch: int) -> None:
    """Check that nobody has taken over from the holder of `epoch`; 0 is no lease and always passes.

    Raises:
        Conflict: somebody has; nothing may be published any more.
    """
    if epoch and (newest := max(_files(store), default=0)) > epoch:
        raise Conflict(
            f"{store.uri}: another run has taken over while this one showed no life (epoch {newest}); "
            "nothing was lost, what this one made is used."
        )


def until_stopped(store: Store, epoch: int, items: Iterable[ItemT]) -> Iterator[ItemT]:
    """Yield items until the holder of `epoch` wants nothing new begun; asks at most once a second."""
    asked = -_CHECK_SECONDS
    for item in items:
        if epoch and time.monotonic() - asked >= _CHECK_SECONDS:
            if _exists(store, _key(epoch, "stop")):
                return
            asked = time.monotonic()
        yield item


def live_keys(store: Store) -> Iterator[str]:
    """Yield the files of the newest epoch: without them the next one would be given out twice."""
    files = _files(store)
    if files:
        yield from (key for _, key in files[max(files)].values())


def _newest(store: Store) -> _Newest:
    files = _files(store)
    if not files:
        manifest = load_manifest(store)
        return _Newest(manifest.epoch if manifest else 0, True, 0.0, None, {})
    epoch = max(files)
    kinds = files[epoch]
    beat = max(modified for modified, _ in kinds.values())
    # The store's clock, not ours: a fresh object says what time it is.
    clock = f"{_LEASES}clock"
    store.put(clock, b"")
    age = (store.head(clock).last_modified - beat).total_seconds()
    holder: dict[str, Any] = {}
    if "json" in kinds and "done" not in kinds:
        with contextlib.suppress(NotFound):
            holder = json.loads(store.get(_key(epoch, "json")))
    return _Newest(epoch, "done" in kinds, age, beat, holder)


def _files(store: Store) -> dict[int, dict[str, tuple[datetime, str]]]:
    """Return epoch -> kind -> (last modified, key)."""
    found: dict[int, dict[str, tuple[datetime, str]]] = {}
    for page in store.list(_LEASES):
        for info in page:
            if match := _NAME.fullmatch(info.key.removeprefix(_LEASES)):
                found.setdefault(int(match[1]), {})[match[2]] = (info.last_modified, info.key)
    return found


def _create(store: Store, epoch: int, pace: Pace) -> Lease | None:
    """Return the epoch, or None where somebody else was faster."""
    key = _key(epoch, "json")
    token = secrets.token_hex(16)
    try:
        store.create(key, canonical_json({"token": token, **_identity(os.getpid())}))
    except AlreadyExists:
        # The reply to a create may be lost; then it is ours all the same.
        if json.loads(store.get(key)).get("token") != token:
            return None
    return Lease(store, epoch, pace)


def _fence_out(store: Store, old_epoch: int, epoch: int) -> None:
    """Take the number of the version that the holder of `old_epoch` would publish; stop its workers."""
    store.put(_key(old_epoch, "stop"), b"")
    while (base := load_manifest(store)) is not None:
        copy = base.model_copy(
            update={
                "version": base.version + 1,
                "base_version": base.version,
                "copied_from": base.version if base.copied_from is None else base.copied_from,
                "epoch": epoch,
                "writer_token": secrets.token_hex(16),
            }
        )
        try:
            publish(store, copy)
        except Conflict:
            continue  # it was not so dead; its version is the newest now, and is copied
        return


def _tidy(store: Store, epoch: int) -> None:
    store.delete(key for old, kinds in _files(store).items() if old <= epoch - _NUM_KEPT for _, key in kinds.values())


def _identity(pid: int) -> dict[str, Any]:
    """Return what tells a process of this machine from all others, for ever: ids are used again, start times not."""
    return {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
        "pid": pid,
        "started": _start_ticks(pid),
        "job": os.environ.get("UNLABELED_JOB", ""),
    }


def _start_ticks(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _fate(holder: dict[str, Any]) -> Literal["lives", "died", "unknown"]:
    """Return what is known of a holder that is, or was, a process of this very machine."""
    now = _identity(holder.get("pid", 0))
    if any(now[name] != holder.get(name) for name in ("host", "boot", "namespace")):
        return "unknown"
    return "lives" if now["started"] == holder["started"] else "died"


def _busy(store: Store, newest: _Newest) -> str:
    holder = newest.holder
    who = f"process {holder.get('pid')} on {holder.get('host')}" + (f", {job}" if (job := holder.get("job")) else "")
    return (
        f"{store.uri}: another run is at work ({who}; epoch {newest.epoch}, last sign of life "
        f"{newest.age_seconds:.0f} s ago). Run it when that has ended, or let it wait: "
        "--set run.lease_wait_seconds=3600."
    )


def _exists(store: Store, key: str) -> bool:
    try:
        store.head(key)
    except NotFound:
        return False
    return True


def _key(epoch: int, kind: str) -> str:
    return f"{_LEASES}e{epoch:08d}.{kind}"
