"""Pretrain an encoder on a dataset: the typed call behind `unlabeled pretrain`."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..pipeline.config import RunSettings
from ..pipeline.errors import Interrupted
from ..trainers.config import PretrainSettings
from ..trainers.loop import Report
from ..trainers.mixture import DataShare
from ..trainers.pretrain import prepare, pretrain_here
from ..trainers.run import PretrainResult, Run, result_of
from .ray_start import started_ray


@dataclass(frozen=True)
class Pretrain:
    """One pretraining run. Run it again: it goes on where it was, or says that it is done.

    data: location of a dataset, or several with their shares. output: location of the run. settings: see
    PretrainSettings.
    """

    data: str | Sequence[DataShare]
    output: str
    settings: PretrainSettings = field(default_factory=PretrainSettings)

    def run(self, progress: Callable[[Report], None] = lambda _: None) -> PretrainResult:
        """Train to the end and return the result.

        Raises:
            ConfigError: a setting does not fit the dataset, or another run stands at `output`.
            Interrupted: SIGTERM or SIGINT came; a checkpoint was committed, running again goes on.
            UnlabeledError: the loss is not finite, or workers died too often.
        """
        run = prepare(self.data, self.output, self.settings)
        finished = result_of(self.output)
        if finished is not None:
            return finished
        with stop_requests() as should_stop:
            return self._train(run, progress, should_stop)

    def _train(self, run: Run, progress: Callable[[Report], None], should_stop: Callable[[], bool]) -> PretrainResult:
        how = self.settings.run
        if how.num_workers == 0:
            result = pretrain_here(run, report=progress, should_stop=should_stop)
            if result is None:
                raise AssertionError("the only worker is the first one")
            return result
        with started_ray(RunSettings(num_cpus=how.num_cpus, address=how.address)):
            from ..trainers.ray_pretrain import pretrain_on_ray

            if should_stop():
                raise Interrupted("stopped before training began; the same command begins it.")
            return pretrain_on_ray(run, progress, should_stop)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield what says whether SIGTERM or SIGINT came; a second one acts as it did before. Only in the main thread."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(_number: int, _frame: object) -> None:
        asked.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Remaining:
    """Tells from reports how long a run will take still."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def seconds(self, report: Report, num_steps: int) -> float:
        """Return the seconds that are left; NaN after the first report."""
        now = (time.monotonic(), report["step"])
        if self._first is None:
            self._first = now
            return math.nan
        done = now[1] - self._first[1]
        return (now[0] - self._first[0]) / done * (num_steps - now[1]) if done else math.nan
