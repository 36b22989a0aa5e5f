"""How much an encoder's features say of labels, beside those of a random encoder of the same kind.

Where features are taken (layer, pooling) and how strongly a probe is held back is chosen on a part of the training
examples that is held out; test examples are predicted once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from ..pipeline.errors import ConfigError, nearest
from .config import ComputeSettings
from .encoders.encoder import Encoder
from .finetune import Classifier, predict
from .label_draws import Indexes, hold_out
from .labelled import Labelled, num_shared
from .layer_features import Place, all_places, features_at, random_control
from .probes import knn, linear_probe, standardize
from .scores import Scores, score

ProbeKind = Literal["linear", "knn"]
Features = Mapping[Place, Tensor]


class ProbeSettings(BaseModel):
    """What is tried, on held-out training examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[str, ...] = Field((), description="layers to try; empty: all but the first")
    sides: tuple[int, ...] = Field((1, 2, 4), min_length=1, description="grids that feature maps are pooled to")
    l2: tuple[float, ...] = Field((1e-6, 1e-5, 1e-4, 1e-3), min_length=1, description="of linear probes")
    num_neighbours: int = Field(20, ge=1, description="that vote in kNN")
    hold_out_fraction: float = Field(0.2, gt=0, lt=1, description="of the training examples, to choose settings on")
    max_held_out: int = Field(1000, ge=1, description="held-out examples, at most")
    seed: int = Field(0, ge=0, lt=2**63, description="keys what is held out, and the control's weights")
    compute: ComputeSettings = ComputeSettings()


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProbeChoice(_Report):
    """Settings of a probe, chosen on held-out training examples. l2: of linear probes alone."""

    kind: ProbeKind
    layer: str
    side: int
    l2: float | None

    @property
    def place(self) -> Place:
        """Where features are taken."""
        return Place(self.layer, self.side)


class ProbeScores(_Report):
    """One kind of probe on the encoder and on its random control, at the same place; l2 is chosen for each."""

    choice: ProbeChoice
    control_choice: ProbeChoice
    pretrained: Scores
    random_init: Scores


class EvaluateReport(_Report):
    """What `evaluate` found on test examples.

    classifier: of a fine-tuned run. num_test_in_train: test examples that equal a training example.
    """

    encoder: str
    classes: tuple[str, ...]
    num_train: int
    num_test: int
    num_test_in_train: int
    train_fingerprint: str
    test_fingerprint: str
    classifier: Scores | None
    linear: ProbeScores
    knn: ProbeScores


def evaluate(
    encoder: Encoder, train: Labelled, test: Labelled, settings: ProbeSettings, classifier: Classifier | None = None
) -> EvaluateReport:
    """Return scores on `test` of probes that are fitted on all of `train`, and of the classifier where there is one.

    Raises:
        ConfigError: a layer that the encoder does not have; too few examples to hold some out.
    """
    places = places_of(encoder, settings)
    control = random_control(encoder, train, settings.seed, settings.compute)
    held = held_out(train, settings)
    found = {}
    kinds: tuple[ProbeKind, ...] = ("linear", "knn")
    seen = [
        [features_at(model, part, places, settings.compute) for part in (train, test)] for model in (encoder, control)
    ]
    for kind in kinds:
        choice = choose_probe(kind, seen[0][0], train.labels, [held], settings)
        control_choice = choose_probe(kind, seen[1][0], train.labels, [held], settings, [choice.place])
        scores = [
            score(test.labels, probe(of, parts[0], train.labels, parts[1], settings), len(train.classes))
            for of, parts in zip((choice, control_choice), seen, strict=True)
        ]
        found[kind] = ProbeScores(
            choice=choice, control_choice=control_choice, pretrained=scores[0], random_init=scores[1]
        )
    return EvaluateReport(
        encoder=encoder.spec.name,
        classes=train.classes,
        num_train=len(train),
        num_test=len(test),
        num_test_in_train=num_shared(train, test),
        train_fingerprint=train.fingerprint,
        test_fingerprint=test.fingerprint,
        classifier=_classified(classifier, test, settings.compute),
        **found,
    )


def _classified(classifier: Classifier | None, test: Labelled, compute: ComputeSettings) -> Scores | None:
    if classifier is None:
        return None
    if classifier.classes != test.classes:
        raise ConfigError(
            f"the run's classes are {', '.join(classifier.classes)}, those of the dataset {', '.join(test.classes)}."
        )
    return score(test.labels, predict(classifier, test, compute), len(test.classes))


def places_of(encoder: Encoder, settings: ProbeSettings) -> tuple[Place, ...]:
    """Return the places that settings name, all where they name none.

    Raises:
        ConfigError: there is no such layer.
    """
    places = all_places(encoder, settings.sides)
    for layer in settings.layers:
        if layer not in encoder.layer_names:
            raise ConfigError(
                f"`layers`: found {layer!r}, expected some of {', '.join(encoder.layer_names)}."
                + nearest(layer, encoder.layer_names)
            )
    return tuple(place for place in places if not settings.layers or place.layer in settings.layers)


def held_out(train: Labelled, settings: ProbeSettings) -> tuple[Indexes, Indexes]:
    """Return (kept, held out) of the training examples; of the latter at most `max_held_out`.

    Raises:
        ConfigError: a class has too few examples for both.
    """
    kept, held = hold_out(train.labels, settings.hold_out_fraction, seed=settings.seed)
    if not len(held) or not len(kept):
        raise ConfigError(
            f"{len(train)} labelled training examples are too few to hold some out for choosing settings."
        )
    # Indexes ascend in plan order, which is by hash: any stride is a fair sample.
    return kept, held[:: -(-len(held) // settings.max_held_out)]


def probe(
    choice: ProbeChoice, train: Features, labels: NDArray[np.int64], test: Features, settings: ProbeSettings
) -> NDArray[np.int64]:
    """Return the predicted classes int64 [N] of `test`, by a probe fitted on `train` with `labels` int64 [M]."""
    known, asked = standardize(train[choice.place], test[choice.place])
    target = torch.from_numpy(labels)
    num_classes = int(labels.max()) + 1
    if choice.l2 is None:
        return knn(known, target, asked, num_classes, settings.num_neighbours).numpy()
    return linear_probe(known, target, asked, num_classes, choice.l2).numpy()


def choose_probe(
    kind: ProbeKind,
    features: Features,
    labels: NDArray[np.int64],
    parts: Sequence[tuple[Indexes, Indexes]],
    settings: ProbeSettings,
    places: Sequence[Place] | None = None,
) -> ProbeChoice:
    """Return the settings with the best mean accuracy over `parts`: (fitted on, judged on) indexes of features.

    First the place, with the middle one of `settings.l2`, then the strength at that place.
    """

    def accuracy(choice: ProbeChoice) -> float:
        rights = []
        for fitted, judged in parts:
            at = features[choice.place]
            known = {choice.place: at[torch.from_numpy(fitted)]}
            asked = {choice.place: at[torch.from_numpy(judged)]}
            rights.append((probe(choice, known, labels[fitted], asked, settings) == labels[judged]).mean())
        return float(np.mean(rights))

    def best(candidates: list[ProbeChoice]) -> ProbeChoice:
        return candidates[0] if len(candidates) == 1 else max(candidates, key=accuracy)

    strengths: Sequence[float | None] = settings.l2 if kind == "linear" else (None,)
    middle = strengths[len(strengths) // 2]
    place = best([ProbeChoice(kind=kind, layer=at.layer, side=at.side, l2=middle) for at in places or features])
    return best([place.model_copy(update={"l2": l2}) for l2 in strengths])
