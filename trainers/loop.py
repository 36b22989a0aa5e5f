"""The training loop: batches in, a trained objective and reports out. Knows nothing of Ray, datasets or commands.

All randomness is keyed: weights by the seed, order by the loader, augmentation and masks by (seed, epoch, example),
dropout by (seed, step, rank). So the state of a run is its step, weights and moments, and going on from a checkpoint
gives the same losses, bit by bit on a CPU, as never having stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..pipeline.errors import Interrupted, UnlabeledError
from .checkpoint import Checkpoints
from .config import OptimizerSettings
from .data import Batch
from .device import Compute
from .keyed import step_seed
from .objectives.base import PretextObjective, Score
from .parallel import Parallel, RunningMean
from .ranks import Ranks
from .schedule import CosineSchedule
from .staging import Arrange, Staged, staged

#: With several workers, how many steps pass between two questions whether to stop or save.
_ASK_EVERY_STEPS = 5
#: Learning rates and decays where none is set.
_DEFAULTS = {"sgd": (0.1, 5e-4), "adamw": (1e-3, 0.05)}

#: What a report holds: step, epoch, num_examples, loss, scores, learning_rate, grad_norm, examples_per_second,
#: data_wait_fraction; after a validation also val_loss and the scores with val_ before their names.
Report = dict[str, float]


@dataclass(frozen=True)
class Stretch:
    """How long and how often. num_steps: of the whole run; batch_size: of a step over all workers."""

    num_steps: int
    steps_per_epoch: int
    batch_size: int
    seed: int = 0
    micro_batch_size: int | None = None
    ema_decay: float = 0.0
    log_steps: int = 20
    validate_steps: int = 0
    checkpoint_steps: int | None = None
    checkpoint_seconds: float = 300.0


@dataclass(frozen=True)
class Surroundings:
    """What the loop talks to.

    batches: from a step on. validation: the val split once, or None. report: takes what is logged, on every
    worker. should_stop: asked on the first worker. checkpoints: None for none; read by all, written by the first.
    """

    batches: Callable[[int], Iterable[Batch]]
    arrange: Arrange
    validation: Callable[[], Iterable[Batch]] | None = None
    arrange_validation: Arrange | None = None
    report: Callable[[Report], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    checkpoints: Checkpoints | None = None
    prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda tensors: tensors


@dataclass(frozen=True)
class Trained:
    """What came out. objective: trained; mean: its running mean or None; report: the last one; start_step: where we
    went on from.
    """

    objective: PretextObjective
    mean: RunningMean | None
    report: Report
    start_step: int


@dataclass
class _Meter:
    """Sums since the last report, on the device: nothing waits for it."""

    totals: dict[str, Tensor] = field(default_factory=dict)
    num_examples: int = 0
    wait_seconds: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def add(self, scores: Mapping[str, Score]) -> None:
        for name, score in scores.items():
            pair = torch.stack([score.total.detach().float(), score.weight.detach().float()])
            self.totals[name] = self.totals[name] + pair if name in self.totals else pair

    def reset(self) -> None:
        """Begin anew."""
        self.totals, self.num_examples, self.wait_seconds, self.since = {}, 0, 0.0, time.perf_counter()

    def means(self, ranks: Ranks) -> dict[str, float]:
        if not self.totals:
            return {}
        summed = ranks.sum(torch.stack(list(self.totals.values()))).tolist()
        pairs = zip(self.totals, summed, strict=True)
        return {name: total / weight if weight else math.nan for name, (total, weight) in pairs}


class Diverged(UnlabeledError):
    """The loss is not finite any more: trying again would not help."""


def make_optimizer(objective: PretextObjective, settings: OptimizerSettings, batch_size: int) -> Optimizer:
    """Return the optimizer; decay is for matrices and kernels, not for biases, norms and embeddings of position."""
    trained = [weights for weights in objective.parameters() if weights.requires_grad]
    rate, decay = peak_rate(settings, batch_size), settings.weight_decay
    groups = [
        {
            "params": [weights for weights in trained if weights.ndim > 1],
            "weight_decay": _DEFAULTS[settings.name][1] if decay is None else decay,
        },
        {"params": [weights for weights in trained if weights.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, settings.beta_2))


def peak_rate(settings: OptimizerSettings, batch_size: int) -> float:
    """Return the highest learning rate: as set, or the default for a batch of 256 times batch_size / 256."""
    return settings.learning_rate or _DEFAULTS[settings.name][0] * batch_size / 256


def train(
    objective: PretextObjective,
    settings: OptimizerSettings,
    stretch: Stretch,
    around: Surroundings,
    compute: Compute,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    strategy: str = "ddp",
) -> Trained:
    """Train to the end of the stretch, going on from the newest checkpoint.

    Raises:
        Interrupted: `should_stop` said so; a checkpoint was committed first.
        Diverged: the loss is not finite; nothing of it was saved.
    """
    return _Training(objective, settings, stretch, around, compute, ranks, strategy).run()


class _Training:
    def __init__(
        self,
        objective: PretextObjective,
        settings: OptimizerSettings,
        stretch: Stretch,
        around: Surroundings,
        compute: Compute,
        ranks: Ranks,
        strategy: str,
    ) -> None:
        self._settings, self._stretch, self._around = settings, stretch, around
        self._compute, self._ranks = compute, ranks
        self._mean = RunningMean(compute.place(objective), stretch.ema_decay) if stretch.ema_decay else None
        self._parallel = Parallel(objective, compute, ranks, strategy)
        self._optimizer = make_optimizer(objective, settings, stretch.batch_size)
        num_examples = stretch.num_steps * stretch.batch_size
        self._schedule = CosineSchedule(
            peak_rate(settings, stretch.batch_size), num_examples, settings.warmup_fraction, settings.final_fraction
        )
        self._last_save = time.perf_counter()
        self._report: Report = {}

    def run(self) -> Trained:
        start = self._resume()
        meter = _Meter()
        loaded = iter(self._around.batches(start)) if start < self._stretch.num_steps else iter(())
        feed = staged(_until(loaded, self._stretch.num_steps), self._around.arrange, self._compute.device)
        step = start
        try:
            for batch in _timed(feed, meter):
                self._train_step(batch, meter)
                step = batch.step + 1
                self._after(step, meter)
        finally:
            feed.close()  # type: ignore[attr-defined]
        self._finish(step)
        return Trained(self._parallel.objective, self._mean, self._report, start)

    def _train_step(self, batch: Staged, meter: _Meter) -> None:
        torch.manual_seed(step_seed("dropout", self._stretch.seed, batch.step, self._ranks.rank))
        self._parallel.module.train()
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.at(batch.step * self._stretch.batch_size)
        self._optimizer.zero_grad(set_to_none=True)
        tensors = self._around.prepare(batch.tensors)
        parts = self._parts(tensors, batch.num_examples)
        for number, (part, share) in enumerate(parts):
            with self._parallel.syncing(is_last=number == len(parts) - 1):
                with self._compute.autocast():
                    outcome = self._parallel.module(part)
                (outcome.loss * share).backward()
            weight = outcome.loss.new_full((), share * batch.num_examples)  # new_tensor waits for the device
            meter.add({"loss": Score(outcome.loss.detach() * weight, weight), **outcome.scores})
        self._grad_norm = self._clip(is_logged=(batch.step + 1) % self._stretch.log_steps == 0)
        self._optimizer.step()
        if self._mean is not None:
            self._mean.update(self._parallel.objective)
        meter.num_examples += batch.num_examples * self._ranks.world_size

    def _parts(self, tensors: Mapping[str, Tensor], num_examples: int) -> list[tuple[Mapping[str, Tensor], float]]:
        """Return micro batches and the share of the loss that each has."""
        size = self._stretch.micro_batch_size or num_examples
        if size >= num_examples:
            return [(tensors, 1.0)]
        starts = range(0, num_examples, size)
        cut = ({name: tensor[start : start + size] for name, tensor in tensors.items()} for start in starts)
        return [
            (part, min(size, num_examples - start) / num_examples) for part, start in zip(cut, starts, strict=True)
        ]

    def _clip(self, *, is_logged: bool) -> Tensor | None:
        limit = self._settings.clip_norm
        if not limit and not is_logged:
            return None
        return torch.nn.utils.clip_grad_norm_(self._parallel.objective.parameters(), limit or math.inf)

    def _after(self, step: int, meter: _Meter) -> None:
        stretch = self._stretch
        is_end = step == stretch.num_steps
        if step % stretch.log_steps == 0 or is_end:
            self._log(step, meter)
        if is_end or (stretch.validate_steps and step % stretch.validate_steps == 0):
            self._validate(step)
        stop, save = self._asked(step)
        if (stop or save) and not is_end:
            self._save(step)
        if stop and not is_end:
            if self._around.checkpoints is not None and self._ranks.is_first:
                self._around.checkpoints.wait()
            self._ranks.barrier()
            raise Interrupted(f"stopped at step {step} of {stretch.num_steps}; the same command goes on from there.")

    def _asked(self, step: int) -> tuple[bool, bool]:
        if self._ranks.world_size > 1 and step % _ASK_EVERY_STEPS and self._stretch.checkpoint_steps is None:
            return False, False
        stop = save = False
        if self._ranks.is_first:
            stop = self._around.should_stop()
            every = self._stretch.checkpoint_steps
            late = time.perf_counter() - self._last_save >= self._stretch.checkpoint_seconds
            save = step % every == 0 if every else late
        answers = self._ranks.from_first([int(stop), int(save)], self._compute.device)
        return bool(answers[0]), bool(answers[1])

    def _log(self, step: int, meter: _Meter) -> None:
        seconds = time.perf_counter() - meter.since
        norm = math.nan if self._grad_norm is None else float(self._grad_norm)
        self._report = {
            "step": step,
            "epoch": step / self._stretch.steps_per_epoch,
            "num_examples": step * self._stretch.batch_size,
            **meter.means(self._ranks),
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "grad_norm": norm,
            "examples_per_second": meter.num_examples / max(seconds, 1e-9),
            "data_wait_fraction": min(1.0, meter.wait_seconds / max(seconds, 1e-9)),
        }
        self._check_finite(self._report["loss"], step)
        meter.reset()
        self._around.report(self._report)

    def _check_finite(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is {loss} at step {step}: lower `optimizer.learning_rate` or set `optimizer.clip_norm`; "
                "the newest checkpoint is from before."
            )

    @torch.no_grad()
    def _validate(self, step: int) -> None:
        if self._around.validation is None or self._around.arrange_validation is None:
            return
        # With FSDP the module gathers its weights when called; a DDP wrapper would exchange buffers for nothing.
        objective = self._parallel.objective.eval()
        meter = _Meter()
        for batch in staged(self._around.validation(), self._around.arrange_validation, self._compute.device):
            with self._compute.autocast():
                outcome = objective(batch.tensors)
            weight = outcome.loss.new_full((), batch.num_examples)
            meter.add({"loss": Score(outcome.loss * weight, weight), **outcome.scores})
        means = {f"val_{name}": value for name, value in meter.means(self._ranks).items()}
        self._report = {**self._report, "step": step, **means}
        if means:
            self._around.report({"step": step, "epoch": step / self._stretch.steps_per_epoch, **means})

    def _save(self, step: int) -> None:
        """Take a copy of the state and begin to write it."""
        if self._around.checkpoints is None:
            return
        state: dict[str, Any] = {"step": step, "seed": self._stretch.seed, **self._parallel.state(self._optimizer)}
        if self._mean is not None:
            state["mean"] = self._mean.state()
        finite = all(bool(torch.isfinite(weights).all()) for weights in state["model"].values())
        if not finite:
            self._check_finite(math.nan, step)
        if self._ranks.is_first:
            self._around.checkpoints.save(step, state)
        self._last_save = time.perf_counter()

    def _resume(self) -> int:
        """Take over the newest checkpoint that the first worker sees; return the step to go on with."""
        checkpoints = self._around.checkpoints
        if checkpoints is None:
            return 0
        newest = checkpoints.newest() if self._ranks.is_first else None
        step = self._ranks.from_first([newest.step if newest else -1], self._compute.device)[0]
        if step < 0:
            return 0
        state = checkpoints.load(checkpoints.at(step))
        self._parallel.load(self._optimizer, state)
        if self._mean is not None:
            self._mean.load(state["mean"])
        return step

    def _finish(self, step: int) -> None:
        if self._around.checkpoints is None:
            return
        newest = self._around.checkpoints.newest()
        if newest is None or newest.step != step:
            self._save(step)
        if self._ranks.is_first:
            self._around.checkpoints.wait()
        self._ranks.barrier()


def _until(batches: Iterator[Batch], num_steps: int) -> Iterator[Batch]:
    try:
        for batch in batches:
            yield batch
            if batch.step + 1 >= num_steps:
                return
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _timed(feed: Iterator[Staged], meter: _Meter) -> Iterator[Staged]:
    while True:
        begin = time.perf_counter()
        batch = next(feed, None)
        meter.wait_seconds += time.perf_counter() - begin
        if batch is None:
            return
        yield batch
