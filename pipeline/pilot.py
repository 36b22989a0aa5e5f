"""Looking at a few sources before the work: what they would give, and what content they hold."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from .decode.fence import Fence
from .errors import Reject
from .inventory import SourceReader
from .parts import whole_sources
from .plan import first_in_plan_order
from .serial_arrow import sorted_by
from .shard import ShardMaker, Target
from .storage import Store
from .task import PretextTask
from .work import decode_into, items_of

#: Sources that a pilot decodes; their mean has a standard error of a few per cent for photographs.
PILOT_NUM_SOURCES = 64
#: Sources that a task may look at to make its assets (a tokenizer, colour bins).
SAMPLE_NUM_SOURCES = 512


@dataclass(frozen=True)
class Pilot:
    """What a pilot of the first sources in plan order measured."""

    num_sources: int
    num_used: int
    num_examples: int
    num_bytes: int
    cpu_seconds: float

    def scaled(self, num_sources: int) -> Pilot:
        """Return the figures for `num_sources` sources like these."""
        factor = num_sources / max(1, self.num_sources)
        return Pilot(
            num_sources=num_sources,
            num_used=round(self.num_used * factor),
            num_examples=round(self.num_examples * factor),
            num_bytes=round(self.num_bytes * factor),
            cpu_seconds=self.cpu_seconds * factor,
        )


def run_pilot(target: Target, inputs: Store, sources: pa.Table, num_sources: int = PILOT_NUM_SOURCES) -> Pilot:
    """Make the examples of a few sources into a file that is thrown away, and return what that took."""
    sample = first_in_plan_order(sources, num_sources)
    shard = {"shard_id": "pilot", "split": "train", "attempt": 0}
    with (
        tempfile.TemporaryDirectory(prefix="unlabeled-") as folder,
        target.fence() as fence,
        SourceReader(inputs, sample) as reader,
    ):
        maker = ShardMaker(target, shard, Path(folder))
        fence.start()
        started = time.process_time()
        for source in reader:
            part: Mapping[str, Any] = {
                "source_key": source.source_key,
                "group_id": source.source_key,
                "start": source.start,
                "content_version": "",
                "is_context": False,
                "etag": "",
            }
            decode_into(source, [(maker, part)], fence)
        cpu_seconds = time.process_time() - started + fence.cpu_seconds
        num_used, num_rows, file = maker.close()
        return Pilot(sample.num_rows, num_used, num_rows, file.num_bytes if file else 0, cpu_seconds)


def sample_items(task: PretextTask[Any], inputs: Store, sources: pa.Table, fence: Fence) -> Iterator[Any]:
    """Yield the decoded items of a bounded, deterministic sample; sources that do not decode are passed over."""
    with SourceReader(inputs, first_in_plan_order(sources, SAMPLE_NUM_SOURCES)) as reader:
        for source in reader:
            yield from items_of(task, source, fence)


def hash_sources(inputs: Store, sources: pa.Table) -> dict[str, str]:
    """Return the sha256 of each whole source's bytes by source_key; sources that are gone are left out."""
    digests = {}
    ordered = whole_sources(sorted_by(sources, "source_key"))
    with SourceReader(inputs, ordered, check_etag=False) as reader:
        for source in reader:
            # A large source is read only now, and may have gone meanwhile.
            with contextlib.suppress(Reject):
                digests[source.source_key] = source.sha256()
    return digests
