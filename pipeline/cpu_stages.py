"""Where CPU time goes, by stage: always measured, at half a microsecond for each change of stage."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

#: Stages of a worker: read (and hash) sources, speak with the decoder, decode (and crop, in the decoder's process),
#: make examples, encode them, write (hash and put) shards, and what lies between. A run adds `list` and `driver`.
STAGES = ("read", "fence", "decode", "transform", "encode", "write", "other")
_PREFIX = "cpu_seconds_"


class StageClock:
    """CPU seconds of one thread by stage. A stage within another does not count for the outer one."""

    def __init__(self) -> None:
        self._stage = "other"
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._since = time.thread_time()
        #: CPU seconds that were measured in other threads of the process.
        self.elsewhere_seconds = 0.0

    def enter(self, stage: str) -> str:
        """Turn to a stage and return the one before."""
        now = time.thread_time()
        before = self._stage
        self._seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    def each(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; making them counts for `stage`, what is done with them for the stage around."""
        around = self._stage
        iterator = iter(items)
        while True:
            self.enter(stage)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.enter(around)
            yield item

    def lap(self) -> dict[str, float]:
        """Return the seconds by stage since the last lap and start the next one, from now on, in this thread."""
        self.enter("other")
        lap, self._seconds = self._seconds, dict.fromkeys(STAGES, 0.0)
        self._since = time.thread_time()
        return lap


def as_stats(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return seconds by stage as stats of a receipt, with their sum as `cpu_seconds`."""
    return {"cpu_seconds": sum(seconds.values())} | {_PREFIX + stage: spent for stage, spent in seconds.items()}


def from_stats(stats: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds by stage that stand in a receipt's stats."""
    return {name.removeprefix(_PREFIX): spent for name, spent in stats.items() if name.startswith(_PREFIX)}
