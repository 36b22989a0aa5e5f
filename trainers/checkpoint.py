"""Checkpoints of a run: written beside the training, complete or absent, and checked when read.

checkpoints/step-00000100-<sha256>.pt    the state, as torch.load(weights_only=True) reads it
checkpoints/step-00000100.json           the commit: names that file; written last, and created only once

A state that no commit names does not count. Commits are immutable, so a writer that was thought dead cannot change
what another one has gone on from.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..pipeline.config import FORMAT_VERSION
from ..pipeline.errors import AlreadyExists, CorruptData
from ..pipeline.ledger import checked_json, with_digest
from ..pipeline.storage import Store

FOLDER = "checkpoints"
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Committed:
    """A checkpoint that counts. step: batches trained on; file: key of the state, sha256: of its bytes."""

    step: int
    file: str
    sha256: str


class Checkpoints:
    """The checkpoints of one run; one writer at a time.

    Args:
        store: of the run.
        keep: how many of the newest are kept.
    """

    def __init__(self, store: Store, keep: int = 2) -> None:
        self._store = store
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def newest(self) -> Committed | None:
        """Return the newest commit, or None.

        Raises:
            CorruptData: the commit is damaged.
        """
        steps = self._steps()
        return self._read(steps[-1]) if steps else None

    def at(self, step: int) -> Committed:
        """Return the commit of a step.

        Raises:
            NotFound: there is none.
        """
        return self._read(step)

    def load(self, committed: Committed) -> dict[str, Any]:
        """Return a committed state, tensors on the CPU.

        Raises:
            CorruptData: its bytes are not what the commit says.
        """
        data = self._store.get(committed.file)
        if hashlib.sha256(data).hexdigest() != committed.sha256:
            raise CorruptData(f"{self._store.describe(committed.file)}: its bytes do not match its commit.")
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return state

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Begin to write a state that nobody changes any more; waits for the one before, and raises what it raised."""
        self.wait()
        self._pending = self._thread.submit(self._write, step, dict(state))

    def wait(self) -> None:
        """Wait until what was begun is committed; raise what went wrong with it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _write(self, step: int, state: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "state.pt")
            torch.save(state, path)
            digest = _sha256(path)
            key = f"{FOLDER}/step-{step:08d}-{digest[:16]}.pt"
            # Named by content: one that stands there was left by a writer that died before its commit.
            with contextlib.suppress(AlreadyExists):
                self._store.create_file(key, path)
        commit = with_digest({"format_version": FORMAT_VERSION, "step": step, "file": key, "sha256": digest})
        try:
            self._store.create(_commit_key(step), commit)
        except AlreadyExists:
            # Another writer, or ourselves before a lost reply: that one counts.
            return
        self._drop_old()

    def _drop_old(self) -> None:
        for step in self._steps()[: -self._keep]:
            old = self._read(step)
            # The commit goes first: a commit without its state must never be seen.
            self._store.delete([_commit_key(step)])
            self._store.delete([old.file])

    def _steps(self) -> list[int]:
        keys = (info.key.rpartition("/")[2] for page in self._store.list(FOLDER) for info in page)
        return sorted(int(name[5:13]) for name in keys if name.startswith("step-") and name.endswith(".json"))

    def _read(self, step: int) -> Committed:
        key = _commit_key(step)
        body = checked_json(self._store.get(key), self._store.describe(key))
        try:
            return Committed(int(body["step"]), str(body["file"]), str(body["sha256"]))
        except KeyError as error:
            raise CorruptData(f"{self._store.describe(key)}: {error} is missing.") from error


def _commit_key(step: int) -> str:
    return f"{FOLDER}/step-{step:08d}.json"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
