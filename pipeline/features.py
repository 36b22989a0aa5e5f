"""What an example holds: typed columns with roles, as an Arrow schema and as Hugging Face features.

Arrow types are the plain ones that every Parquet reader knows: no extension types, no tensors, media as
`struct<bytes: binary, path: string>`. Hugging Face `datasets` uses its metadata for a field only where the Arrow
field is equal to the one it would make itself, so labels are int64 and media fields are written exactly so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from .errors import ConfigError, nearest

#: Audit probes inputs and lineage; a trainer reaches inputs and labels only; parameters say how the example
#: was made (boxes, seeds, masks); lineage says from what.
Role = Literal["input", "label", "parameter", "lineage"]
Kind = Literal["value", "image", "audio", "box"]
#: jpeg: quality 95, 4:4:4, for pictures of 112 px and more. png: lossless, for patches and tiles. turnable_jpeg: as
#: jpeg, with quantisation tables that are their own transposes: turned after decoding, a picture has no trace of it.
ImageEncoding = Literal["jpeg", "png", "turnable_jpeg"]

MEDIA_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
BOX_TYPE = pa.struct([pa.field(name, pa.int32()) for name in ("x", "y", "w", "h")])

_VALUE_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
}
_INT_RANGES = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in _VALUE_TYPES if "int" in name}


@dataclass(frozen=True, slots=True)
class Feature:
    """One column.

    Args:
        kind: `value` (a number, string, bool or bytes), `image`, `audio`, or `box` (x, y, w, h in px).
        role: what may look at it, see `Role`.
        dtype: for values, the Arrow type's name.
        shape: () for one value; one entry a list level, outermost first: a length, or None for any.
        classes: names of the classes of an int64 label, in the order of their numbers.
        unit: of the values: px, us, hz, ...
        doc: one line: what it is; mask polarity and ranges where they matter.
        encoding: of images.
        sample_rate_hz: of audio.
        is_nullable: a value may be None (a source without a label); never of a pretext task's label.
    """

    kind: Kind
    role: Role
    dtype: str = ""
    shape: tuple[int | None, ...] = ()
    classes: tuple[str, ...] = ()
    unit: str = ""
    doc: str = ""
    encoding: ImageEncoding = "jpeg"
    sample_rate_hz: int = 0
    is_nullable: bool = False

    def __post_init__(self) -> None:
        if self.kind == "value" and self.dtype not in _VALUE_TYPES:
            raise ConfigError(
                f"a value's dtype must be one of {', '.join(_VALUE_TYPES)}, but is {self.dtype!r}."
                + nearest(self.dtype, _VALUE_TYPES)
            )
        if self.classes and self.dtype != "int64":
            raise ConfigError(f"a feature with classes must be int64, but is {self.dtype!r}.")

    @property
    def arrow_type(self) -> pa.DataType:
        """The column's Arrow type."""
        leaf = {"box": BOX_TYPE, "value": _VALUE_TYPES.get(self.dtype)}.get(self.kind, MEDIA_TYPE)
        for _ in self.shape:
            leaf = pa.list_(leaf)
        return leaf

    @property
    def huggingface(self) -> Any:
        """The column as Hugging Face features JSON; lists in the notations that old and new readers take."""
        if self.kind == "image":
            leaf: dict[str, Any] = {"_type": "Image"}
        elif self.kind == "audio":
            leaf = {"sampling_rate": self.sample_rate_hz, "_type": "Audio"}
        elif self.kind == "box":
            leaf = {name: {"dtype": "int32", "_type": "Value"} for name in ("x", "y", "w", "h")}
        elif self.classes:
            leaf = {"names": list(self.classes), "_type": "ClassLabel"}
        else:
            leaf = {"dtype": self.dtype, "_type": "Value"}
        nested: Any = leaf
        for _ in self.shape:
            # A `Sequence` of a struct would be read as a struct of lists.
            nested = [nested] if self.kind == "box" else {"feature": nested, "_type": "Sequence"}
        return nested

    def to_json(self) -> dict[str, Any]:
        """Return the feature as JSON for the manifest; `from_json` reads it back."""
        full: dict[str, Any] = {
            "kind": self.kind,
            "role": self.role,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "unit": self.unit,
            "doc": self.doc,
            "encoding": self.encoding if self.kind == "image" else "",
            "sample_rate_hz": self.sample_rate_hz,
            "is_nullable": self.is_nullable,
        }
        return {key: value for key, value in full.items() if value not in ("", [], 0)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Feature:
        """Return the feature that `to_json` wrote."""
        known = dict(data)
        for name in ("shape", "classes"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


def value(
    dtype: str,
    role: Role,
    doc: str,
    *,
    shape: tuple[int | None, ...] = (),
    classes: tuple[str, ...] = (),
    unit: str = "",
) -> Feature:
    """Return a column of numbers, strings, bools or bytes (or nested lists of them, by `shape`)."""
    return Feature("value", role, dtype=dtype, shape=shape, classes=classes, unit=unit, doc=doc)


def image(
    doc: str,
    *,
    encoding: ImageEncoding = "jpeg",
    shape: tuple[int | None, ...] = (),
    role: Role = "input",
) -> Feature:
    """Return a column of pictures; an example gives them as uint8 arrays [height, width, 3], sRGB."""
    return Feature("image", role, shape=shape, doc=doc, encoding=encoding)


def audio(doc: str, *, sample_rate_hz: int, shape: tuple[int | None, ...] = (), role: Role = "input") -> Feature:
    """Return a column of mono sound; an example gives it as float32 arrays [num_samples] in [-1, 1]."""
    return Feature("audio", role, shape=shape, doc=doc, sample_rate_hz=sample_rate_hz)


def box(doc: str, *, shape: tuple[int | None, ...] = (), role: Role = "parameter") -> Feature:
    """Return a column of boxes; an example gives (x, y, w, h) in px of the upright (EXIF applied) source."""
    return Feature("box", role, shape=shape, unit="px", doc=doc)


def class_label(classes: tuple[str, ...], doc: str, *, is_nullable: bool = False) -> Feature:
    """Return the int64 label column of a classification task; `label_name` is added beside it."""
    return Feature("value", "label", dtype="int64", classes=classes, doc=doc, is_nullable=is_nullable)


@dataclass(frozen=True, slots=True)
class Features:
    """The columns of an example, in order. Iterates over (name, feature)."""

    columns: tuple[tuple[str, Feature], ...]

    @classmethod
    def of(cls, **columns: Feature) -> Features:
        """Return features with the given columns, in the order written."""
        return cls(tuple(columns.items()))

    def __iter__(self) -> Iterator[tuple[str, Feature]]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Feature:
        for key, feature in self.columns:
            if key == name:
                return feature
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(name for name, _ in self.columns)

    def with_role(self, *roles: Role) -> tuple[str, ...]:
        """Return the names of the columns that have one of `roles`, in order."""
        return tuple(name for name, feature in self.columns if feature.role in roles)

    def arrow_schema(self, spec: Mapping[str, Any] | None = None) -> pa.Schema:
        """Return the Arrow schema, with the schema metadata `huggingface` and, if `spec` is given, `unlabeled`."""
        fields = [pa.field(name, feature.arrow_type) for name, feature in self.columns]
        metadata = {"huggingface": json.dumps({"info": {"features": self.huggingface}}, sort_keys=True)}
        if spec is not None:
            metadata["unlabeled"] = json.dumps(spec, sort_keys=True)
        return pa.schema(fields, metadata=metadata)

    @property
    def huggingface(self) -> dict[str, Any]:
        """The columns as Hugging Face features JSON."""
        return {name: feature.huggingface for name, feature in self.columns}

    def to_json(self) -> list[dict[str, Any]]:
        """Return the columns as JSON for the manifest, in order."""
        return [{"name": name, **feature.to_json()} for name, feature in self.columns]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Features:
        """Return the features that `to_json` wrote."""
        rows = [dict(row) for row in data]
        return cls(tuple((row.pop("name"), Feature.from_json(row)) for row in rows))

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ConfigError, naming column, what came and what was declared, unless `values` fits exactly."""
        for name in values:
            if name not in self:
                raise ConfigError(
                    f"the example has a column {name!r} that features() lacks." + nearest(name, self.names)
                )
        for name, feature in self.columns:
            if name not in values:
                raise ConfigError(f"the example lacks the column {name!r} that features() declares.")
            _check(name, feature, feature.shape, values[name])


def _check(name: str, feature: Feature, shape: tuple[int | None, ...], found: Any) -> None:
    if shape:
        if not isinstance(found, list | tuple | np.ndarray):
            raise ConfigError(f"column {name!r} must be a list, but is {type(found).__name__}.")
        if shape[0] is not None and len(found) != shape[0]:
            raise ConfigError(f"column {name!r} must have {shape[0]} entries, but has {len(found)}.")
        for entry in () if len(shape) == 1 and _is_of_type(feature, found) else found:
            _check(name, feature, shape[1:], entry)
    elif feature.kind == "image":
        if not (_is_array(found, np.uint8, ndim=3) and found.shape[2] == 3):
            raise ConfigError(f"column {name!r} must be uint8 [height, width, 3], but is {_describe(found)}.")
    elif feature.kind == "audio":
        if not _is_array(found, np.float32, ndim=1):
            raise ConfigError(f"column {name!r} must be float32 [num_samples], but is {_describe(found)}.")
        # A NaN fails the comparison too.
        if not np.abs(found).max(initial=0.0) <= 1.0:
            raise ConfigError(f"column {name!r} must be finite and within [-1, 1].")
    elif feature.kind == "box":
        if not (isinstance(found, list | tuple | np.ndarray) and len(found) == 4 and all(map(_is_int, found))):
            raise ConfigError(f"column {name!r} must be whole numbers (x, y, w, h), but is {found!r}.")
    else:
        _check_value(name, feature, found)


def _is_of_type(feature: Feature, found: Any) -> bool:
    """Return whether a list is an array of the declared numbers, so that each entry must fit."""
    if not isinstance(found, np.ndarray) or found.ndim != 1:
        return False
    return feature.kind == "value" and found.dtype.name == feature.dtype and not feature.classes


def _is_array(found: Any, dtype: type[np.generic], ndim: int) -> bool:
    return isinstance(found, np.ndarray) and found.dtype == dtype and found.ndim == ndim


def _is_int(found: Any) -> bool:
    return isinstance(found, int | np.integer)


def _check_value(name: str, feature: Feature, found: Any) -> None:
    if found is None and feature.is_nullable:
        return
    expected: tuple[type[Any], ...]
    if feature.dtype in ("string", "binary"):
        expected = (str,) if feature.dtype == "string" else (bytes,)
    elif feature.dtype == "bool":
        expected = (bool, np.bool_)
    elif feature.dtype.startswith("float"):
        expected = (float, int, np.floating, np.integer)
    else:
        expected = (int, np.integer)
    if not isinstance(found, expected) or (isinstance(found, bool) and feature.dtype != "bool"):
        raise ConfigError(f"column {name!r} must be {feature.dtype}, but is {_describe(found)}.")
    if isinstance(found, int | np.integer) and feature.dtype in _INT_RANGES:
        low, high = _INT_RANGES[feature.dtype]
        if not low <= found <= high:
            raise ConfigError(f"column {name!r} must be {feature.dtype}, but {found} is not in [{low}, {high}].")
    if feature.classes and int(found) not in range(len(feature.classes)):
        raise ConfigError(f"column {name!r} must be in [0, {len(feature.classes)}), but is {int(found)}.")


def _describe(found: Any) -> str:
    if isinstance(found, np.ndarray):
        return f"{found.dtype} {list(found.shape)}"
    return type(found).__name__


#: Columns that every example has, after its task's own. Values come from the shard writer, not the task.
ENVELOPE = Features.of(
    example_id=value(
        "string", "lineage", "128 bits of sha256 over seed, task, source_key, segment, draw; 32 hex digits"
    ),
    task=value("string", "lineage", "name of the pretext task"),
    task_version=value("string", "lineage", "version of the pretext task"),
    recipe_hash=value("string", "lineage", "first 16 hex digits of the sha256 of all settings that decide content"),
    source_key=value("string", "lineage", "key relative to the input root, plus #member or #row"),
    source_sha256=value("string", "lineage", "sha256 of the source's bytes as read; 64 hex digits"),
    source_num_bytes=value("int64", "lineage", "size of the source's bytes", unit="bytes"),
    group_id=value("string", "lineage", "sources of one group never straddle a split"),
    split=value("string", "lineage", "train or val"),
    segment=value(
        "int64",
        "lineage",
        "where in the source the item begins: microseconds of media, bytes of text, else 0",
    ),
    draw=value("int32", "lineage", "index of the example within its item; says nothing of the label"),
    seed=value("int64", "lineage", "seed of the run; with the identity above it keys the example's randomness"),
    media_kind=value("string", "lineage", "image, video, audio or text"),
    source_codec=value("string", "lineage", "codec of the source's bytes, as decoded"),
    source_exif_orientation=value(
        "int8", "lineage", "EXIF orientation of the source, 0 where there is none; already applied"
    ),
    source_truncated=value("bool", "lineage", "true where a damaged source was decoded as far as it goes"),
)
LABEL_NAME = value("string", "label", "readable name of the label's class")


def with_envelope(task_features: Features) -> Features:
    """Return a task's features followed by `label_name` (where `label` has classes) and the envelope.

    Raises ConfigError where a task column bears an envelope column's name.
    """
    own = list(task_features)
    for name, _ in own:
        if name in ENVELOPE or name == "label_name":
            raise ConfigError(f"the column name {name!r} is taken by the envelope that every example has.")
    if "label" in task_features and task_features["label"].classes:
        own.append(("label_name", LABEL_NAME))
    return Features((*own, *ENVELOPE))
