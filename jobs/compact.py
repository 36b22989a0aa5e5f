"""`compact` as a typed call: small shards become few, and not a row changes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from ..pipeline.compact import compact
from ..pipeline.lease import acquire
from ..pipeline.manifest import require_manifest
from ..pipeline.storage import Store, StoreOptions


class CompactReport(BaseModel):
    """What was merged. `num_merged`: small shards that were; `num_made`: what they became, 0 with nothing to do."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    published: bool
    fingerprint: str
    num_examples: int
    num_shards_before: int
    num_shards: int
    num_merged: int
    num_made: int
    num_bytes_rewritten: int
    seconds: float


@dataclass(frozen=True)
class Compact:
    """A compaction: `Compact("s3://bucket/rotation").run()`, or handed to `Client.submit`.

    Attributes:
        dataset: URI or path.
        wait_seconds: how long to wait for a run that is at work on the dataset.
        store_options: explicit credentials and endpoint; otherwise the environment's.
    """

    dataset: str
    wait_seconds: float = 0.0
    store_options: StoreOptions | None = None

    def argv(self) -> list[str]:
        """Return the command line that does the same; credentials come from the environment of where it runs."""
        wait = [f"--wait-seconds={self.wait_seconds}"] if self.wait_seconds else []
        return ["compact", *wait, self.dataset]

    def run(self) -> CompactReport:
        """Merge the shards below a quarter of the target size and publish the version that names what came of it.

        Raises:
            NotFound: no dataset stands there.
            ConfigError: a run has left work that is to be finished first.
            CorruptData: a shard is damaged; nothing was published.
            Conflict: another run is at work, or published first; nothing was lost.
        """
        started = time.monotonic()
        store = Store.open(self.dataset, self.store_options)
        require_manifest(store)  # before a lease is written where nothing stands
        with acquire(store, wait_seconds=self.wait_seconds) as lease:
            done = compact(store, epoch=lease.epoch)
        manifest = done.manifest
        return CompactReport(
            dataset=store.uri,
            version=manifest.version,
            published=done.num_made > 0,
            fingerprint=manifest.fingerprint,
            num_examples=manifest.counts.num_examples,
            num_shards_before=done.num_shards_before,
            num_shards=manifest.counts.num_shards,
            num_merged=done.num_merged,
            num_made=done.num_made,
            num_bytes_rewritten=done.num_bytes_rewritten,
            seconds=round(time.monotonic() - started, 3),
        )
