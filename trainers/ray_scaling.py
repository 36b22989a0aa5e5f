"""Waiting for machines: the first ones, or those that take a lost one's place; and going on with fewer workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ray.util.placement_group import placement_group, remove_placement_group

from ..pipeline.errors import Interrupted, UnlabeledError

#: So long it takes until what a lost worker group held is free again.
_RELEASE_SECONDS = 10.0
_POLL_SECONDS = 1.0


def wait_for_room(
    sizes: Sequence[int], of_each: Mapping[str, float], seconds: float, should_stop: Callable[[], bool]
) -> int:
    """Return the first of `sizes` that the cluster has room for.

    All workers are waited for first, asking an autoscaler for machines; fewer are taken at once after that.

    Args:
        sizes: numbers of workers, the most first.
        of_each: resources of one worker.
        seconds: how long room for the most is waited for; ten at least, until what a lost worker held is free.
        should_stop: asked about once a second.

    Raises:
        Interrupted: `should_stop` said so.
        UnlabeledError: there is room for none of them.
    """
    waiting = max(seconds, _RELEASE_SECONDS)
    for place, size in enumerate(sizes):
        if _has_room(size, of_each, _RELEASE_SECONDS if place else waiting, should_stop):
            return size
    each = ", ".join(f"{amount:g} {name}" for name, amount in of_each.items())
    raise UnlabeledError(
        f"there is no room for {sizes[-1]} workers of {each} each, and none was made in {waiting:g} s: see "
        "`run.start_seconds`, `run.replacement_seconds` and `run.min_workers`. The same command goes on from the last "
        "checkpoint."
    )


def _has_room(size: int, of_each: Mapping[str, float], seconds: float, should_stop: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    with _reserved(size, of_each) as group:
        while not group.wait(_POLL_SECONDS):
            if should_stop():
                raise Interrupted("stopped while waiting for machines; the same command goes on.")
            if time.monotonic() > deadline:
                return False
    return True


@contextlib.contextmanager
def _reserved(size: int, of_each: Mapping[str, float]) -> Iterator[Any]:
    group = placement_group([dict(of_each)] * size)
    try:
        yield group
    finally:
        remove_placement_group(group)
