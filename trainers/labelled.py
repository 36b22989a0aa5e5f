"""Media with labels, in memory: what is fine-tuned on and tested with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..pipeline.errors import ConfigError
from ..pipeline.manifest import Manifest
from .data import read_split
from .label_draws import Indexes
from .shard_reader import Split
from .source import open_source

LabelledMedium = Literal["image", "audio"]


@dataclass(frozen=True)
class Labelled:
    """Examples that all have a label.

    medium: what they are. media: uint8 [N, H, W, 3], or sound float32 [N, num_samples], padded with zeros at its end.
    labels: int64 [N], in [0, len(classes)). classes: names. fingerprint: of the dataset's version.
    """

    medium: LabelledMedium
    media: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indexes: Indexes) -> Labelled:
        """Return some of the examples."""
        return Labelled(self.medium, self.media[indexes], self.labels[indexes], self.classes, self.fingerprint)


def read_labelled(dataset: str, split: Split, max_examples: int | None = None) -> Labelled:
    """Return the labelled ones of a split's first `max_examples` examples, in plan order.

    Raises:
        ConfigError: the dataset has no labels with classes, no pictures or sounds, or the split holds none.
        NotFound: there is no such dataset.
    """
    manifest = open_source(dataset, split).manifest
    medium = _medium(dataset, manifest)
    batch = read_split(dataset, split, [medium, "label"], max_examples)
    media, labels = batch.columns[medium], batch.columns["label"]
    if not isinstance(media, np.ndarray):
        raise ConfigError(f"{dataset}: its pictures differ in size; expected squares of one side.")
    has_label = labels >= 0
    if not has_label.any():
        raise ConfigError(f"{dataset}: the split {split!r} holds no labelled example.")
    classes = manifest.typed_features()["label"].classes
    return Labelled(medium, media[has_label], labels[has_label], classes, manifest.fingerprint)


def _medium(dataset: str, manifest: Manifest) -> LabelledMedium:
    features = manifest.typed_features()
    if "label" not in features or not features["label"].classes:
        raise ConfigError(
            f"{dataset}: a dataset of {manifest.task} has no labels with classes; make one with "
            "`unlabeled materialize --task labelled_media --set task.label_from=folder|csv|parquet`."
        )
    media: tuple[LabelledMedium, ...] = ("image", "audio")
    for medium in media:
        if medium in features and not features[medium].shape:
            return medium
    raise ConfigError(f"{dataset}: a dataset of {manifest.task} has neither a picture nor a sound for each label.")


def read_train_and_test(data: str, test_data: str | None, max_examples: int | None) -> tuple[Labelled, Labelled]:
    """Return (training examples, test examples): the splits train and val of one dataset, or all of two datasets.

    Raises:
        ConfigError: as `read_labelled`; or the two datasets differ in medium or classes.
    """
    if test_data is None:
        return read_labelled(data, "train", max_examples), read_labelled(data, "val", max_examples)
    train, test = read_labelled(data, "all", max_examples), read_labelled(test_data, "all", max_examples)
    if (train.medium, train.classes) != (test.medium, test.classes):
        raise ConfigError(
            f"--test-data: found {test.medium} with classes {', '.join(test.classes)}, expected {train.medium} with "
            f"those of --data: {', '.join(train.classes)}."
        )
    return train, test


def num_shared(train: Labelled, test: Labelled) -> int:
    """Return how many test examples are equal, byte for byte, to a training example: they test memory."""
    known = {row.tobytes() for row in train.media}
    return sum(row.tobytes() in known for row in test.media)
