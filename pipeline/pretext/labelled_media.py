"""No pretext: pictures, sounds or texts as they are, with the label that someone gave them, or with none.

Fine-tuning, evaluation and embedding read datasets of this task. Labels come from the folder that a source lies in,
from a csv, or from columns of a Parquet file; they are read when the dataset is planned and frozen in its first
version, so workers need no further file. Texts are stored as tokens, by the tokenizer of the encoder that will read
them: `pretrain` leaves it in RUN/encoder/tokenizer.json. Nothing is hidden or altered, so nothing can leak but what
the labels' maker put in.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from ..errors import ConfigError, Filtered, nearest
from ..features import Features, audio, box, class_label, image, value
from ..items import Document, Image, Waveform
from ..patches import require_size, shown_by, tile_encoding
from ..resample import Box, square_box
from ..rng import ItemRng, canonical_json
from ..task import Example, Modality, Objective, PretextTask, setting
from ..tokenizer import ASSET as TOKENIZER
from ..tokenizer import CLS, PAD, SEP, Tokenizer, block_end, read_tokenizer

ASSET = "labels.json"
_LISTED_FAULTS = 5


@dataclass(frozen=True)
class LabelledMedia(PretextTask[Any]):
    """Pictures, sounds or texts with given labels: for fine-tuning, evaluation and embedding."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    paper = "none: labels are given, not derived"

    media: Literal["image", "audio", "text"] = setting("image", "what the sources are")
    label_from: Literal["none", "folder", "csv", "parquet"] = setting("none", "where labels come from")
    labels_file: str = setting("", "path of the csv or Parquet file with the labels; read when planning")
    key_column: str = setting(
        "path",
        "column with the source key, its part after `#`, or (empty, Parquet) none: rows are `<file name>#<row>`",
    )
    label_column: str = setting("label", "column with the label")
    label_pattern: str = setting(
        r"(?:^|[/#])([^/#]+)/[^/#]*$",
        "regular expression whose first group is the label in a source key; the default is the innermost folder",
    )
    classes: tuple[str, ...] = setting((), "names of the classes in order; empty: all labels found, sorted")
    unlabelled: Literal["filter", "keep"] = setting("filter", "sources without a label; kept ones have a null label")
    side_px: int = setting(224, "side of the stored square, of pictures", unit="px", at_least=8, at_most=1024)
    crop_fraction: float = setting(
        0.875, "share of the short side that the central square takes", at_least=0.05, at_most=1
    )
    max_upscale: float = setting(64.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=64)
    sample_rate_hz: int = setting(16000, "of sounds, as decoded", unit="hz", at_least=1000, at_most=384000)
    max_seconds: float = setting(10.0, "longer sounds are cut to their middle", unit="s", at_least=0.1, at_most=600)
    seq_length: int = setting(
        128, "tokens of a stored text, special ones included; longer ones end there", at_least=16, at_most=8192
    )
    tokenizer_json: str = setting("", "of texts: path of the encoder's own, RUN/encoder/tokenizer.json")

    def __post_init__(self) -> None:
        """Check the bounds, the pattern, and that files are given where labels or tokens come from one."""
        super().__post_init__()
        object.__setattr__(self, "modality", Modality(self.media))
        if self.media == "text" and not self.tokenizer_json:
            raise ConfigError("`media` is text, but `tokenizer_json` is empty: name RUN/encoder/tokenizer.json.")
        if self.label_from in ("csv", "parquet") and not self.labels_file:
            raise ConfigError(f"`label_from` is {self.label_from}, but `labels_file` is empty.")
        try:
            num_groups = re.compile(self.label_pattern).groups
        except re.error as error:
            raise ConfigError(f"`label_pattern` is no regular expression: {error}.") from error
        if num_groups < 1:
            raise ConfigError(f"`label_pattern` must have a group, but is {self.label_pattern!r}.")

    def features(self) -> Features:
        """Return the medium, the label where there are any, and where in the source the medium lies.

        Raises ConfigError where the classes are neither set nor bound by `with_assets`.
        """
        columns: dict[str, Any] = {}
        if self.media == "image":
            columns["image"] = image("the central square", encoding=tile_encoding(self.side_px))
        elif self.media == "audio":
            columns["audio"] = audio("the sound or its middle", sample_rate_hz=self.sample_rate_hz)
        else:
            sequence = (self.seq_length,)
            columns["input_ids"] = value("int32", "input", "cls, the text's beginning, sep, pads", shape=sequence)
            columns["attention_mask"] = value("int8", "input", "1 for tokens, 0 for padding", shape=sequence)
        if self.label_from != "none":
            columns["label"] = class_label(
                self.class_names, "the given label; null: none was given", is_nullable=self.unlabelled == "keep"
            )
        if self.media == "image":
            columns["crop_box"] = box("the square in the upright source")
        elif self.media == "text":
            columns["num_chars"] = value(
                "int32", "parameter", "of the text that the tokens stand for", unit="characters"
            )
        else:
            columns["start_sample"] = value("int64", "parameter", "where the sound begins in the decoded source")
            columns["num_samples"] = value("int32", "parameter", "length of the sound")
        return Features.of(**columns)

    def examples(self, item: Any, rng: ItemRng) -> Iterator[Example]:
        """Yield one example.

        Raises Filtered: `no_label`, `unknown_label` (not among the classes), `too_small`, `too_short`.
        """
        values = {} if self.label_from == "none" else {"label": self._label(rng.source_key)}
        yield Example(0, {**values, **self._medium(item)})

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return 400 bytes of columns and a picture of measured density, a FLAC of at most the longest, or tokens."""
        if self.media == "image":
            return 400 + int((1.9 if tile_encoding(self.side_px) == "png" else 0.67) * self.side_px**2)
        if self.media == "text":
            return 400 + int(2.3 * self.seq_length)
        return 400 + min(source_num_bytes, int(1.2 * self.sample_rate_hz * self.max_seconds))

    def rederive(self, row: Mapping[str, Any], item: Any) -> Mapping[str, Any]:
        """Return where the source shows the stored medium, and the label of the row's key where it has one."""
        label = {"label": self._label(row["source_key"])} if "source_key" in row and self.label_from != "none" else {}
        if self.media == "audio":
            start, num_samples = self._middle(len(item.samples))
            return {**label, "start_sample": start, "num_samples": num_samples}
        if self.media == "text":
            text = self._text(item)
            is_told = np.array_equal(text["input_ids"], row["input_ids"])
            return {**label, "num_chars": text["num_chars"] if is_told else 0}
        crop = item.crop(tuple(row["crop_box"]), self.side_px, self.side_px)
        is_shown = shown_by(row["image"], [crop, ~crop], 0, "color") == 0
        return {**label, "crop_box": self._crop_box(item) if is_shown else (0, 0, 0, 0)}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers: those set, else those frozen in the dataset.

        Raises ConfigError where there are neither.
        """
        names: tuple[str, ...] = self.classes or self.__dict__.get("_class_names", ())
        if not names and self.label_from != "none":
            raise ConfigError("the classes are known once labels are read: plan a dataset, or set `classes`.")
        return names

    def make_assets(self, sample: Callable[[], Iterable[Any]]) -> Mapping[str, bytes]:
        """Return the labels of the csv or Parquet file (class names, and class by key), and of texts the tokenizer.

        Raises ConfigError: no such file or column, contradicting rows, labels that are not among `classes`, no
        tokenizer.
        """
        tokenizer = {TOKENIZER: read_tokenizer(self.tokenizer_json).data} if self.media == "text" else {}
        return {**tokenizer, **self._labels_of_file()}

    def _labels_of_file(self) -> Mapping[str, bytes]:
        if self.label_from not in ("csv", "parquet"):
            return {}
        read = _read_csv if self.label_from == "csv" else _read_parquet
        labels = _one_label_each(read(Path(self.labels_file), self.key_column, self.label_column))
        names = self._names_of(set(labels.values()))
        number = {name: index for index, name in enumerate(names)}
        return {ASSET: canonical_json({"classes": names, "labels": {key: number[of] for key, of in labels.items()}})}

    def make_assets_of_keys(self, keys: Callable[[], Iterable[str]]) -> Mapping[str, bytes]:
        """Return the class names that stand in the source keys."""
        if self.label_from != "folder":
            return {}
        found = set() if self.classes else {label for key in keys() if (label := self._in_key(key))}
        return {ASSET: canonical_json({"classes": self._names_of(found)})}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        """Return this task with the dataset's classes and labels, and the tokenizer of texts."""
        bound = dataclasses.replace(self)
        # Not settings, so no fields: the manifest names the assets by their hashes.
        if ASSET in assets:
            frozen = json.loads(assets[ASSET])
            bound.__dict__["_class_names"] = tuple(frozen["classes"])
            bound.__dict__["_labels"] = frozen.get("labels", {})
        if TOKENIZER in assets:
            bound.__dict__["_tokenizer"] = Tokenizer(assets[TOKENIZER])
        return bound

    def _names_of(self, found: set[str]) -> list[str]:
        if self.classes:
            unknown = sorted(found - set(self.classes))[:_LISTED_FAULTS]
            if unknown:
                raise ConfigError(f"{self.labels_file}: labels {', '.join(unknown)} are not among `classes`.")
            return list(self.classes)
        if not found:
            raise ConfigError(f"`label_from` is {self.label_from}, but no label was found.")
        # Numbers in the order of their size: "10" after "9".
        return sorted(found, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))

    def _in_key(self, source_key: str) -> str | None:
        match = re.search(self.label_pattern, source_key)
        return match.group(1) if match else None

    def _label(self, source_key: str) -> int | None:
        """Return the class of a source; None where it has none and such sources are kept.

        Raises Filtered `no_label`, or `unknown_label` where its label is not among the classes.
        """
        if self.label_from == "folder":
            name = self._in_key(source_key)
            if name is not None:
                if name not in self.class_names:
                    raise Filtered("unknown_label", f"{name!r} is not among the classes of this dataset")
                return self.class_names.index(name)
        else:
            labels: Mapping[str, int] = self.__dict__.get("_labels", {})
            for key in _names_for(source_key):
                if key in labels:
                    return labels[key]
        if self.unlabelled == "filter":
            raise Filtered("no_label", f"{source_key} has no label")
        return None

    def _medium(self, item: Any) -> dict[str, Any]:
        if self.media == "image":
            return self._picture(item)
        return self._sound(item) if self.media == "audio" else self._text(item)

    def _crop_box(self, item: Image) -> Box:
        return square_box(item.width_px, item.height_px, self.side_px, self.crop_fraction)

    def _picture(self, item: Image) -> dict[str, Any]:
        require_size(item, self.side_px, self.max_upscale)
        crop_box = self._crop_box(item)
        return {"image": item.crop(crop_box, self.side_px, self.side_px), "crop_box": crop_box}

    def _middle(self, num_samples: int) -> tuple[int, int]:
        longest = int(self.max_seconds * self.sample_rate_hz)
        return max(0, num_samples - longest) // 2, min(num_samples, longest)

    def _sound(self, item: Waveform) -> dict[str, Any]:
        if item.sample_rate_hz != self.sample_rate_hz:
            raise ConfigError(
                f"`sample_rate_hz` is {self.sample_rate_hz}, but sound is decoded to {item.sample_rate_hz} Hz."
            )
        start, num_samples = self._middle(len(item.samples))
        if num_samples == 0:
            raise Filtered("too_short", "no samples")
        return {"audio": item.clip(start, num_samples), "start_sample": start, "num_samples": num_samples}

    def _text(self, item: Document) -> dict[str, Any]:
        tokenizer: Tokenizer = self.__dict__["_tokenizer"]
        # No token stands for more than a few words, so this fills the sequence.
        tokens = tokenizer.encode(item.text[: block_end(item.text, 0, 32 * self.seq_length)])
        num = min(len(tokens), self.seq_length - 2)
        if num == 0:
            raise Filtered("too_short", "no tokens")
        input_ids = np.full(self.seq_length, tokenizer.special_id(PAD), np.int32)
        input_ids[: num + 2] = [tokenizer.special_id(CLS), *tokens.ids[:num], tokenizer.special_id(SEP)]
        attention_mask = (np.arange(self.seq_length) < num + 2).astype(np.int8)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "num_chars": tokens.chars(num - 1)[1],
        }


def _names_for(source_key: str) -> Iterator[str]:
    """Yield the names by which a file of labels may call a source: key, member, and file name with member."""
    yield source_key
    container, is_member, member = source_key.rpartition("#")
    if is_member:
        yield f"{container.rpartition('/')[2]}#{member}"
        yield member


def _one_label_each(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return label by key; rows with an empty label are passed over.

    Raises ConfigError where a key has two labels.
    """
    labels: dict[str, str] = {}
    for key, label in rows:
        if label and labels.setdefault(key, label) != label:
            raise ConfigError(f"labels: {key!r} is both {labels[key]!r} and {label!r}.")
    return labels


def _read_csv(path: Path, key_column: str, label_column: str) -> Iterator[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            _require_columns(path, (key_column, label_column), rows.fieldnames or ())
            for row in rows:
                yield row[key_column], row[label_column] or ""
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"`labels_file`: {path} cannot be read: {error}.") from error


def _read_parquet(path: Path, key_column: str, label_column: str) -> Iterator[tuple[str, str]]:
    import pyarrow as pa

    from ..serial_arrow import ParquetReader

    columns = [column for column in (key_column, label_column) if column]
    try:
        with path.open("rb") as opened, ParquetReader(opened) as file:
            _require_columns(path, columns, file.schema_arrow.names)
            num_rows = 0
            for batch in file.iter_batches(columns=columns):
                labels = batch.column(label_column).to_pylist()
                numbered = [f"{path.name}#{num_rows + row}" for row in range(len(labels))]
                keys = batch.column(key_column).to_pylist() if key_column else numbered
                num_rows += len(labels)
                for key, label in zip(keys, labels, strict=True):
                    yield key, "" if label is None else str(label)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"`labels_file`: {path} cannot be read: {error}.") from error


def _require_columns(path: Path, wanted: Sequence[str], found: Sequence[str]) -> None:
    for column in wanted:
        if column not in found:
            raise ConfigError(f"{path} has no column {column!r}.{nearest(column, found)} It has: {', '.join(found)}.")
