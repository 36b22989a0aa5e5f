"""Media with labels, in memory: what is fine-tuned on and tested with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..pipeline.errors import ConfigError
from ..pipeline.manifest import Manifest
from ..pipeline.tokenizer import ASSET as TOKENIZER
from .data import read_split
from .encoders.encoder import Encoder
from .encoders.text import PADDING
from .label_draws import Indexes
from .source import open_source
from .units import Split

LabelledMedium = Literal["image", "audio", "text"]
#: Columns that hold a medium of one kind; the first of them says that it is there.
MEDIA_COLUMNS: Mapping[LabelledMedium, tuple[str, ...]] = {
    "image": ("image",),
    "audio": ("audio",),
    "text": ("input_ids", "attention_mask"),
}


@dataclass(frozen=True)
class Labelled:
    """Examples that all have a label.

    medium: what they are. media: uint8 [N, H, W, 3]; or sound float32 [N, num_samples], padded with zeros at its end;
    or tokens int32 [N, T], padded with -1.
    labels: int64 [N], in [0, len(classes)). classes: names. fingerprint: of the dataset's version.
    tokenizer_sha256: of texts, what made their tokens.
    """

    medium: LabelledMedium
    media: NDArray[Any]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    fingerprint: str
    tokenizer_sha256: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indexes: Indexes) -> Labelled:
        """Return some of the examples."""
        return replace(self, media=self.media[indexes], labels=self.labels[indexes])


def read_labelled(dataset: str, split: Split, max_examples: int | None = None) -> Labelled:
    """Return the labelled ones of a split's first `max_examples` examples, in plan order.

    Raises:
        ConfigError: the dataset has no labels with classes, none of the media, or the split holds none.
        NotFound: there is no such dataset.
    """
    manifest = open_source(dataset, split).manifest
    medium = _medium(dataset, manifest)
    columns = read_split(dataset, split, [*MEDIA_COLUMNS[medium], "label"], max_examples).columns
    media, labels = media_of(medium, columns), columns["label"]
    if not isinstance(media, np.ndarray):
        raise ConfigError(f"{dataset}: its pictures differ in size; expected squares of one side.")
    has_label = labels >= 0
    if not has_label.any():
        raise ConfigError(f"{dataset}: the split {split!r} holds no labelled example.")
    classes = manifest.seen_features()["label"].classes
    tokenizer = manifest.assets.get(TOKENIZER, "")
    return Labelled(medium, media[has_label], labels[has_label], classes, manifest.fingerprint, tokenizer)


def _medium(dataset: str, manifest: Manifest) -> LabelledMedium:
    features = manifest.seen_features()
    if "label" not in features or not features["label"].classes:
        raise ConfigError(
            f"{dataset}: a dataset of {manifest.task} has no labels with classes; make one with "
            "`unlabeled materialize --task labelled_media --set task.label_from=folder|csv|parquet`."
        )
    for medium, (column, *_) in MEDIA_COLUMNS.items():
        if column in features and (medium == "text" or not features[column].shape):
            return medium
    raise ConfigError(
        f"{dataset}: a dataset of {manifest.task} has neither a picture nor a sound nor a text for each label."
    )


def media_of(medium: LabelledMedium, columns: Mapping[str, Any]) -> Any:
    """Return `Labelled.media` of columns as a loader gives them; a list where pictures differ in size."""
    first, *others = (columns[name] for name in MEDIA_COLUMNS[medium])
    return np.where(others[0] != 0, first, np.int32(PADDING)) if medium == "text" else first


def read_train_and_test(data: str, test_data: str | None, max_examples: int | None) -> tuple[Labelled, Labelled]:
    """Return (training examples, test examples): the splits train and val of one dataset, or all of two datasets.

    Raises:
        ConfigError: as `read_labelled`; or the two datasets differ in medium or classes.
    """
    if test_data is None:
        return read_labelled(data, "train", max_examples), read_labelled(data, "val", max_examples)
    train, test = read_labelled(data, "all", max_examples), read_labelled(test_data, "all", max_examples)
    if train.tokenizer_sha256 != test.tokenizer_sha256:
        raise ConfigError("--test-data: its texts were made into tokens by another tokenizer than those of --data.")
    if (train.medium, train.classes) != (test.medium, test.classes):
        raise ConfigError(
            f"--test-data: found {test.medium} with classes {', '.join(test.classes)}, expected {train.medium} with "
            f"those of --data: {', '.join(train.classes)}."
        )
    return train, test


def require_fit(encoder: Encoder, labelled: Labelled) -> None:
    """Check that an encoder reads what the examples are.

    Raises:
        ConfigError: it reads another medium, or texts by another tokenizer.
    """
    spec = encoder.spec
    if spec.medium != labelled.medium:
        raise ConfigError(
            f"encoder: {spec.name} reads {spec.medium}, but the labelled examples are {labelled.medium}."
        )
    if spec.medium == "text" and spec.tokenizer_sha256 != labelled.tokenizer_sha256:
        raise ConfigError(
            "encoder: the labelled texts were made into tokens by another tokenizer than the one that it knows; make "
            "them with --set task.tokenizer_json=RUN/encoder/tokenizer.json."
        )


def num_shared(train: Labelled, test: Labelled) -> int:
    """Return how many test examples are equal, byte for byte, to a training example: they test memory."""
    known = {row.tobytes() for row in train.media}
    return sum(row.tobytes() in known for row in test.media)
