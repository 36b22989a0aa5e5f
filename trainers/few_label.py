"""How many labels pretraining saves: accuracy by labels per class, pretrained against from scratch and random.

Every method gets the same draws of labels, so differences are paired. A part of the training examples is held out for
choosing settings and never drawn from; test examples are predicted by the chosen settings alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.errors import ConfigError
from .encoders.build import from_spec
from .encoders.encoder import Encoder
from .evaluate import Features, ProbeChoice, ProbeKind, ProbeSettings, choose_probe, held_out, places_of, probe
from .finetune import FinetuneSettings, predict, train_classifier
from .label_draws import Indexes, balanced_draw
from .labelled import Labelled, num_shared
from .layer_features import Place, features_at, random_control
from .scores import Interval, Scores, paired_interval, score, t_interval

Method = Literal["fine-tuned", "from scratch", "linear probe", "linear probe, random init", "kNN", "kNN, random init"]
_PROBES: Mapping[ProbeKind, tuple[Method, Method]] = {
    "linear": ("linear probe", "linear probe, random init"),
    "knn": ("kNN", "kNN, random init"),
}


class FewLabelSettings(BaseModel):
    """What is compared, and how hard settings are searched for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels_per_class: tuple[int, ...] = Field((10, 20, 100), min_length=1, description="K: labels of each class")
    num_draws: int = Field(5, ge=1, description="draws of labels, shared by all methods")
    num_choice_draws: int = Field(1, ge=1, description="further draws, on which settings are chosen")
    seed: int = Field(0, ge=0, lt=2**63, description="keys draws, weights of scratch and control, and order")
    confidence: float = Field(0.95, gt=0, lt=1, description="of intervals")
    has_finetuning: bool = Field(True, description="train whole networks too; probes alone take seconds")
    learning_rates: tuple[float, ...] = Field(
        (4e-3, 1e-3), min_length=1, description="of whole networks, tried at the first number of steps"
    )
    max_steps: int = Field(
        2400, ge=1, description="steps are doubled from `finetune.num_steps` until held-out accuracy stays, or to this"
    )
    saturated_gain: float = Field(0.005, ge=0, description="accuracy that a doubling must add to be tried further")
    finetune: FinetuneSettings = FinetuneSettings()
    probe: ProbeSettings = ProbeSettings()


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrainingChoice(_Report):
    """Settings of a whole network's training, chosen on held-out training examples.

    is_saturated: the last doubling of steps added less than `saturated_gain`; otherwise `max_steps` ended the search.
    tried: (learning rate, steps, held-out accuracy) in the order of trial.
    """

    learning_rate: float
    num_steps: int
    is_saturated: bool
    tried: tuple[tuple[float, int, float], ...]


class Point(_Report):
    """One method with K labels per class. accuracies: of the draws, in order; accuracy: their mean and interval."""

    method: Method
    labels_per_class: int
    accuracies: tuple[float, ...]
    accuracy: Interval
    macro_f1: Interval
    probe: ProbeChoice | None = None
    training: TrainingChoice | None = None


class Gain(_Report):
    """`method` less `baseline` on the same draws, in accuracy."""

    method: Method
    baseline: Method
    labels_per_class: int
    difference: Interval


class FewLabelReport(_Report):
    """Everything the page shows."""

    encoder: str
    classes: tuple[str, ...]
    num_train: int
    num_held_out: int
    num_test: int
    num_test_in_train: int
    train_fingerprint: str
    test_fingerprint: str
    settings: FewLabelSettings
    points: tuple[Point, ...]
    gains: tuple[Gain, ...]
    seconds: float

    def point(self, method: Method, labels_per_class: int) -> Point:
        """Return one point."""
        return next(at for at in self.points if (at.method, at.labels_per_class) == (method, labels_per_class))


class Progress(Protocol):
    """Is told what begins."""

    def phase(self, text: str) -> None:
        """Say what begins now."""


class _Silent:
    def phase(self, text: str) -> None:
        """Say nothing."""


def few_label(
    encoder: Encoder, train: Labelled, test: Labelled, settings: FewLabelSettings, progress: Progress | None = None
) -> FewLabelReport:
    """Return the report of an encoder.

    Raises:
        ConfigError: a class has fewer examples than the largest K, after some were held out; an unknown layer.
    """
    began, progress = time.monotonic(), progress or _Silent()
    bench = _Bench(train, test, settings)
    points: list[Point] = []
    places = places_of(encoder, settings.probe)
    control = random_control(encoder, train, settings.seed, settings.probe.compute)
    seen = []
    for name, model in (("the encoder", encoder), ("a random one", control)):
        progress.phase(f"Features of {name}: {len(train) + len(test):,} examples")
        seen.append([features_at(model, part, places, settings.probe.compute) for part in (train, test)])
    for kind, methods in _PROBES.items():
        progress.phase(f"Probes: {methods[0]}")
        points += bench.probes(kind, methods, seen)
    if settings.has_finetuning:
        starts: Mapping[Method, Callable[[int], Encoder]] = {
            "fine-tuned": lambda _: encoder,
            "from scratch": lambda draw: from_spec(encoder.spec, settings.seed + 1 + draw),
        }
        for num_labels in settings.labels_per_class:
            for method, start in starts.items():
                points.append(bench.trained(method, start, num_labels, progress))
    return FewLabelReport(
        encoder=encoder.spec.name,
        classes=train.classes,
        num_train=len(train),
        num_held_out=len(bench.held),
        num_test=len(test),
        num_test_in_train=num_shared(train, test),
        train_fingerprint=train.fingerprint,
        test_fingerprint=test.fingerprint,
        settings=settings,
        points=tuple(points),
        gains=tuple(_gains(points, settings)),
        seconds=round(time.monotonic() - began, 1),
    )


class _Bench:
    """The examples, and the draws that every method shares."""

    def __init__(self, train: Labelled, test: Labelled, settings: FewLabelSettings) -> None:
        self._train, self._test, self._settings = train, test, settings
        self._kept, self.held = held_out(train, settings.probe)
        most = max(settings.labels_per_class)
        fewest = int(np.bincount(train.labels[self._kept], minlength=len(train.classes)).min())
        if fewest < most:
            raise ConfigError(
                f"labels per class: found {most}, expected at most {fewest}, which is what the smallest class has "
                f"once {settings.probe.hold_out_fraction:.0%} are held out."
            )

    def draws(self, num_labels: int) -> list[Indexes]:
        """Return the draws of the report: indexes of training examples."""
        return [self._draw(num_labels, draw) for draw in range(self._settings.num_draws)]

    def choice_draws(self, num_labels: int) -> list[Indexes]:
        """Return the draws on which settings are chosen."""
        first = self._settings.num_draws
        return [self._draw(num_labels, first + draw) for draw in range(self._settings.num_choice_draws)]

    def _draw(self, num_labels: int, draw: int) -> Indexes:
        chosen = balanced_draw(self._train.labels[self._kept], num_labels, seed=self._settings.seed, draw=draw)
        return self._kept[chosen]

    def probes(
        self, kind: ProbeKind, methods: tuple[Method, Method], seen: Sequence[Sequence[Features]]
    ) -> list[Point]:
        """Return the points of a kind of probe: on the encoder, and on its control at the same place."""
        points = []
        for num_labels in self._settings.labels_per_class:
            choice: ProbeChoice | None = None
            for method, (known, asked) in zip(methods, seen, strict=True):
                parts = [(drawn, self.held) for drawn in self.choice_draws(num_labels)]
                at: list[Place] | None = None if choice is None else [choice.place]
                choice = choose_probe(kind, known, self._train.labels, parts, self._settings.probe, at)
                scores = [self._probed(choice, known, asked, drawn) for drawn in self.draws(num_labels)]
                points.append(_point(method, num_labels, scores, self._settings, probe=choice))
        return points

    def _probed(self, choice: ProbeChoice, known: Features, asked: Features, drawn: Indexes) -> Scores:
        at: Place = choice.place
        found = probe(choice, {at: known[at][drawn]}, self._train.labels[drawn], {at: asked[at]}, self._settings.probe)
        return score(self._test.labels, found, len(self._test.classes))

    def trained(self, method: Method, start: Callable[[int], Encoder], num_labels: int, progress: Progress) -> Point:
        """Return the point of a whole network's training from what `start(draw)` gives."""
        held, settings = self._train.take(self.held), self._settings

        def held_accuracy(tuned: FinetuneSettings) -> float:
            first = settings.num_draws
            scores = [
                self._fitted(start(first + place), drawn, held, tuned, first + place).accuracy
                for place, drawn in enumerate(self.choice_draws(num_labels))
            ]
            return float(np.mean(scores))

        progress.phase(f"{method}, {num_labels} labels a class: choosing settings")
        choice = choose_training(held_accuracy, settings)
        tuned = _tuned(settings, choice.learning_rate, choice.num_steps)
        progress.phase(
            f"{method}, {num_labels} labels a class: {settings.num_draws} draws of {choice.num_steps} steps"
        )
        scores = [
            self._fitted(start(draw), drawn, self._test, tuned, draw)
            for draw, drawn in enumerate(self.draws(num_labels))
        ]
        return _point(method, num_labels, scores, settings, training=choice)

    def _fitted(self, start: Encoder, drawn: Indexes, test: Labelled, tuned: FinetuneSettings, draw: int) -> Scores:
        tuned = tuned.model_copy(update={"seed": self._settings.seed + draw})
        classifier = train_classifier(start, self._train.take(drawn), tuned)
        return score(test.labels, predict(classifier, test, tuned.compute), len(test.classes))


def choose_training(held_accuracy: Callable[[FinetuneSettings], float], settings: FewLabelSettings) -> TrainingChoice:
    """Return the learning rate that is best at first; with it, steps are doubled until nothing is gained."""
    tried: list[tuple[float, int, float]] = []

    def attempt(learning_rate: float, num_steps: int) -> float:
        accuracy = held_accuracy(_tuned(settings, learning_rate, num_steps))
        tried.append((learning_rate, num_steps, accuracy))
        return accuracy

    num_steps = settings.finetune.num_steps
    best = max((attempt(rate, num_steps), rate) for rate in settings.learning_rates)
    accuracy, rate = best
    is_saturated = False
    while not is_saturated and 2 * num_steps <= settings.max_steps:
        longer = attempt(rate, 2 * num_steps)
        is_saturated = longer < accuracy + settings.saturated_gain
        if longer > accuracy:
            accuracy, num_steps = longer, 2 * num_steps
    return TrainingChoice(learning_rate=rate, num_steps=num_steps, is_saturated=is_saturated, tried=tuple(tried))


def _tuned(settings: FewLabelSettings, learning_rate: float, num_steps: int) -> FinetuneSettings:
    return settings.finetune.model_copy(
        update={"mode": "whole", "learning_rate": learning_rate, "num_steps": num_steps}
    )


def _point(
    method: Method,
    num_labels: int,
    scores: Sequence[Scores],
    settings: FewLabelSettings,
    *,
    probe: ProbeChoice | None = None,
    training: TrainingChoice | None = None,
) -> Point:
    accuracies = tuple(one.accuracy for one in scores)
    return Point(
        method=method,
        labels_per_class=num_labels,
        accuracies=accuracies,
        accuracy=t_interval(accuracies, settings.confidence),
        macro_f1=t_interval([one.macro_f1 for one in scores], settings.confidence),
        probe=probe,
        training=training,
    )


def _gains(points: Sequence[Point], settings: FewLabelSettings) -> list[Gain]:
    found = {(point.method, point.labels_per_class): point for point in points}
    pairs: list[tuple[Method, Method]] = [
        ("fine-tuned", "from scratch"),
        ("linear probe", "linear probe, random init"),
        ("kNN", "kNN, random init"),
        ("linear probe", "from scratch"),
    ]
    return [
        Gain(
            method=method,
            baseline=baseline,
            labels_per_class=num_labels,
            difference=paired_interval(
                found[method, num_labels].accuracies, found[baseline, num_labels].accuracies, settings.confidence
            ),
        )
        for method, baseline in pairs
        for num_labels in settings.labels_per_class
        if (method, num_labels) in found and (baseline, num_labels) in found
    ]
