"""SIGTERM while shards are in hand: nothing new is begun, what is in hand is finished within a grace time.

Ray sends it when a job is stopped, Kubernetes and clouds before they take a machine away. A second signal, Ctrl-C, and
the end of the grace time stop at once; nothing is lost then either, but shards in hand are made again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..pipeline.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from ..pipeline.materialize import Executor
    from ..pipeline.shard import Target
    from ..pipeline.work import WorkUnit

GRACE_VARIABLE = "UNLABELED_STOP_GRACE_SECONDS"
#: Below the 30 s after which Kubernetes kills a pod.
_DEFAULT_GRACE_SECONDS = 25.0


class Stopped(BaseException):
    """SIGTERM or Ctrl-C. Not an Exception, so that no library on the way takes it for a fault of its own."""


class Stopping:
    """Whether this process was told to stop, and what is to be done then."""

    def __init__(self) -> None:
        self.requested = False
        self._on_stop: Sequence[Callable[[], None]] = ()

    def install(self) -> None:
        """Take the signals over from here on."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_signal)

    @contextlib.contextmanager
    def draining(self, on_stop: Sequence[Callable[[], None]]) -> Iterator[None]:
        """While it lasts, the first SIGTERM makes these calls (which must not block) and begins the grace time."""
        self._on_stop = on_stop
        try:
            yield
        finally:
            self._on_stop = ()
            if self.requested:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: object) -> None:
        is_first, self.requested = not self.requested, True
        if number == signal.SIGTERM and is_first and self._on_stop and (grace := grace_seconds()) > 0:
            for call in self._on_stop:
                call()
            signal.setitimer(signal.ITIMER_REAL, grace)
            return
        raise Stopped


#: Of this process: signals are.
STOPPING = Stopping()


class Draining:
    """An Executor that ends early when told to: the shards in hand are finished, the rest is left to the next run."""

    def __init__(self, execute: Executor, on_stop: Sequence[Callable[[], None]]) -> None:
        self._execute = execute
        self._on_stop = on_stop

    def __call__(self, targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        """Make the units' shards; one row a shard.

        Raises:
            Interrupted: told to stop before all were made.
        """
        num_left = sum(len(unit.jobs) for unit in units)
        if num_left and STOPPING.requested:
            raise Interrupted("stopped; run the same command again to resume.")
        with STOPPING.draining(self._on_stop):
            for row in self._execute(targets, units):
                num_left -= 1
                yield row
        if num_left and STOPPING.requested:
            raise Interrupted(f"stopped with {num_left} shards left; run the same command again to resume.")


def grace_seconds() -> float:
    """Return how long shards in hand may take once this process is told to stop.

    Raises:
        ConfigError: the environment's value is no number.
    """
    text = os.environ.get(GRACE_VARIABLE, str(_DEFAULT_GRACE_SECONDS))
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"`{GRACE_VARIABLE}`: found {text!r}, expected seconds.") from None
