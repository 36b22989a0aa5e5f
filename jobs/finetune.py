"""`unlabeled finetune`: from an encoder and labels to a classifier."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..pipeline.errors import ConfigError
from ..trainers.classifier_file import ClassifierInfo, find_encoder, require_free, save_classifier
from ..trainers.finetune import FinetuneSettings, predict, train_classifier
from ..trainers.label_draws import Indexes, balanced_draw, random_draw
from ..trainers.labelled import Labelled, num_shared, read_train_and_test, require_fit
from ..trainers.scores import Scores, score

#: More labelled examples than this are not read: they are held in memory.
MAX_EXAMPLES = 100_000


class FinetuneReport(BaseModel):
    """What was trained on what, and how good it is on examples that it has not seen."""

    model_config = ConfigDict(frozen=True)

    output: str
    encoder: str
    mode: str
    classes: tuple[str, ...]
    num_labels: int
    num_test: int
    num_test_in_train: int
    scores: Scores
    settings: FinetuneSettings
    seconds: float


def finetune(
    run: str,
    data: str,
    output: str,
    *,
    test_data: str | None = None,
    labels_per_class: int | None = None,
    num_labels: int | None = None,
    settings: FinetuneSettings | None = None,
) -> FinetuneReport:
    """Train a classifier on all labels of `data`'s train split, or on a draw of them, and write it to `output`.

    Tested on the val split, or on all of `test_data`; then all of `data` is for training.

    Raises:
        ConfigError: no encoder, output taken, no labels, or fewer than asked for.
        NotFound: there is no such dataset.
    """
    began, settings = time.monotonic(), settings or FinetuneSettings()
    if labels_per_class is not None and num_labels is not None:
        raise ConfigError("`--labels-per-class` and `--num-labels` exclude each other.")
    require_free(Path(output))
    encoder, _ = find_encoder(run)
    train, test = read_train_and_test(data, test_data, MAX_EXAMPLES)
    require_fit(encoder, train)
    drawn = train.take(_drawn(train, labels_per_class, num_labels, settings.seed))
    classifier = train_classifier(encoder, drawn, settings)
    scores = score(test.labels, predict(classifier, test, settings.compute), len(test.classes))
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    info = ClassifierInfo(
        classes=train.classes, num_labels=len(drawn), train_fingerprint=train.fingerprint, settings=settings
    )
    save_classifier(classifier.cpu(), info, output)
    return FinetuneReport(
        output=output,
        encoder=encoder.spec.name,
        mode=settings.mode,
        classes=train.classes,
        num_labels=len(drawn),
        num_test=len(test),
        num_test_in_train=num_shared(drawn, test),
        scores=scores,
        settings=settings,
        seconds=round(time.monotonic() - began, 3),
    )


def _drawn(train: Labelled, labels_per_class: int | None, num_labels: int | None, seed: int) -> Indexes:
    if labels_per_class is not None:
        return balanced_draw(train.labels, labels_per_class, seed=seed, draw=0)
    if num_labels is not None:
        return random_draw(train.labels, num_labels, seed=seed, draw=0)
    return np.arange(len(train))
