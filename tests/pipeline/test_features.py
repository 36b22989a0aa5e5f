from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Image, List, Value
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.features import (
    BOX_TYPE,
    ENVELOPE,
    MEDIA_TYPE,
    Feature,
    Features,
    audio,
    box,
    class_label,
    image,
    value,
    with_envelope,
)

PIXELS = np.zeros((4, 6, 3), np.uint8)
SOUND = np.zeros(16, np.float32)
BOX = {name: Value("int32") for name in ("x", "y", "w", "h")}
DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "float32", "float64", "string", "binary")

#: Feature -> its Arrow type -> what `datasets` makes of it.
KINDS: list[tuple[Feature, pa.DataType, Any]] = [
    *((value(name, "parameter", ""), getattr(pa, name + "_" * (name == "bool"))(), Value(name)) for name in DTYPES),
    (class_label(("a", "b"), ""), pa.int64(), ClassLabel(names=["a", "b"])),
    (value("int32", "label", "", shape=(None,)), pa.list_(pa.int32()), List(Value("int32"))),
    (value("uint8", "label", "", shape=(2, 3)), pa.list_(pa.list_(pa.uint8())), List(List(Value("uint8")))),
    (
        value("int64", "label", "", shape=(4,), classes=("a", "b")),
        pa.list_(pa.int64()),
        List(ClassLabel(names=["a", "b"])),
    ),
    (image(""), MEDIA_TYPE, Image()),
    (image("", shape=(None,)), pa.list_(MEDIA_TYPE), List(Image())),
    (image("", shape=(2, 2)), pa.list_(pa.list_(MEDIA_TYPE)), List(List(Image()))),
    (audio("", sample_rate_hz=16000), MEDIA_TYPE, Audio(sampling_rate=16000)),
    (audio("", sample_rate_hz=8000, shape=(2,)), pa.list_(MEDIA_TYPE), List(Audio(sampling_rate=8000))),
    (box(""), BOX_TYPE, BOX),
    (box("", shape=(None,)), pa.list_(BOX_TYPE), List(BOX)),
    (box("", shape=(2, None)), pa.list_(pa.list_(BOX_TYPE)), List(List(BOX))),
]


@pytest.mark.parametrize(("feature", "arrow", "huggingface"), KINDS)
def test_a_column_has_the_plain_arrow_type(feature: Feature, arrow: pa.DataType, huggingface: Any) -> None:
    assert feature.arrow_type == arrow


@pytest.mark.parametrize(("feature", "arrow", "huggingface"), KINDS)
def test_datasets_reads_the_declared_feature(feature: Feature, arrow: pa.DataType, huggingface: Any) -> None:
    assert datasets.Features.from_dict({"column": feature.huggingface}) == {"column": huggingface}


@pytest.mark.parametrize(("feature", "arrow", "huggingface"), KINDS)
def test_datasets_uses_it_for_the_arrow_column(feature: Feature, arrow: pa.DataType, huggingface: Any) -> None:
    schema = Features.of(column=feature).arrow_schema()
    assert datasets.Features.from_arrow_schema(schema) == {"column": huggingface}


def test_datasets_loads_every_kind_from_a_file(tmp_path: Path) -> None:
    features = Features.of(**{f"column_{number}": feature for number, (feature, _, _) in enumerate(KINDS)})
    table = pa.table([pa.nulls(2, field.type) for field in features.arrow_schema()], schema=features.arrow_schema())
    pq.write_table(table, tmp_path / "rows.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features == {f"column_{number}": kind for number, (_, _, kind) in enumerate(KINDS)}


@pytest.mark.parametrize(("feature", "arrow", "huggingface"), KINDS)
def test_a_feature_stands_in_the_manifest_as_json(feature: Feature, arrow: pa.DataType, huggingface: Any) -> None:
    features = Features.of(column=feature)
    assert Features.from_json(json.loads(json.dumps(features.to_json()))) == features


def test_the_encoding_of_pictures_is_kept() -> None:
    assert Feature.from_json(image("", encoding="png").to_json()).encoding == "png"


def test_a_shape_of_a_feature_may_be_open() -> None:
    assert Feature.from_json(value("int8", "label", "", shape=(None, 3)).to_json()).shape == (None, 3)


def test_the_schema_carries_what_the_dataset_is() -> None:
    schema = Features.of(label=class_label(("a",), "")).arrow_schema({"objective": "classification"})
    assert json.loads(schema.metadata[b"unlabeled"]) == {"objective": "classification"}
    assert set(json.loads(schema.metadata[b"huggingface"])["info"]["features"]) == {"label"}


def test_names_keep_their_order_and_roles_select_them() -> None:
    features = Features.of(b=image(""), a=class_label(("x",), ""), c=box(""))
    assert features.names == ("b", "a", "c")
    assert features.with_role("parameter", "input") == ("b", "c")


def test_an_unknown_column_is_a_key_error() -> None:
    features = Features.of(a=image(""))
    assert "b" not in features
    with pytest.raises(KeyError):
        features["b"]


def test_an_unknown_dtype_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"is 'int33'\. Did you mean 'int32'"):
        value("int33", "label", "")


def test_classes_need_int64() -> None:
    with pytest.raises(ConfigError, match="must be int64, but is 'int32'"):
        value("int32", "label", "", classes=("a",))


FITTING: list[tuple[Feature, Any]] = [
    (image(""), PIXELS),
    (image("", shape=(2,)), [PIXELS, PIXELS]),
    (audio("", sample_rate_hz=8), SOUND),
    (audio("", sample_rate_hz=8), np.array([-1.0, 1.0], np.float32)),
    (audio("", sample_rate_hz=8), np.zeros(0, np.float32)),
    (box(""), (0, 1, 2, np.int64(3))),
    (box("", shape=(None,)), []),
    (value("int32", "label", ""), np.int64(3)),
    (value("int8", "label", ""), -128),
    (value("uint8", "label", ""), 255),
    (value("float32", "label", ""), 1),
    (value("float32", "label", ""), np.float64(0.5)),
    (value("bool", "label", ""), np.bool_(True)),
    (value("string", "label", ""), "x"),
    (value("binary", "label", ""), b"x"),
    (value("int16", "label", "", shape=(2, None)), np.zeros((2, 5), np.int16)),
    (class_label(("a", "b"), ""), 1),
]


@pytest.mark.parametrize(("feature", "found"), FITTING)
def test_values_that_fit(feature: Feature, found: Any) -> None:
    Features.of(column=feature).check({"column": found})


MISFITS: list[tuple[Feature, Any, str]] = [
    (image(""), PIXELS[..., 0], r"'column' must be uint8 \[height, width, 3\], but is uint8 \[4, 6\]"),
    (image(""), np.zeros((4, 6, 4), np.uint8), r"but is uint8 \[4, 6, 4\]"),
    (image(""), PIXELS.astype(np.float32), r"but is float32 \[4, 6, 3\]"),
    (image(""), None, "but is NoneType"),
    (image("", shape=(2,)), [PIXELS], "must have 2 entries, but has 1"),
    (image("", shape=(None,)), 3, "must be a list, but is int"),
    (audio("", sample_rate_hz=8), SOUND.astype(np.float64), r"must be float32 \[num_samples\], but is float64 \[16\]"),
    (audio("", sample_rate_hz=8), np.array([1.001], np.float32), r"finite and within \[-1, 1\]"),
    (audio("", sample_rate_hz=8), np.array([0, np.nan], np.float32), r"finite and within \[-1, 1\]"),
    (box(""), (1, 2, 3), r"must be whole numbers \(x, y, w, h\), but is \(1, 2, 3\)"),
    (box(""), (1, 2, 3, 4.5), r"must be whole numbers \(x, y, w, h\), but is \(1, 2, 3, 4.5\)"),
    (box(""), None, r"must be whole numbers \(x, y, w, h\), but is None"),
    (value("int32", "label", ""), "3", "must be int32, but is str"),
    (value("int32", "label", ""), 3.0, "must be int32, but is float"),
    (value("int32", "label", ""), True, "must be int32, but is bool"),
    (value("int8", "label", ""), 128, r"must be int8, but 128 is not in \[-128, 127\]"),
    (value("uint8", "label", ""), -1, r"must be uint8, but -1 is not in \[0, 255\]"),
    (value("float32", "label", ""), None, "must be float32, but is NoneType"),
    (value("bool", "label", ""), 1, "must be bool, but is int"),
    (value("string", "label", ""), b"x", "must be string, but is bytes"),
    (value("binary", "label", ""), "x", "must be binary, but is str"),
    (value("int16", "label", ""), np.zeros(2, np.int16), r"must be int16, but is int16 \[2\]"),
    (value("int16", "label", "", shape=(2,)), "ab", "must be a list, but is str"),
    (class_label(("a", "b"), ""), 2, r"must be in \[0, 2\), but is 2"),
    (class_label(("a", "b"), ""), -1, r"must be in \[0, 2\), but is -1"),
]


@pytest.mark.parametrize(("feature", "found", "message"), MISFITS)
def test_values_that_do_not_fit_are_refused_by_name(feature: Feature, found: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Features.of(column=feature).check({"column": found})


def test_a_column_too_many_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"a column 'lable' that features\(\) lacks\. Did you mean 'label'"):
        Features.of(label=class_label(("a",), "")).check({"label": 0, "lable": 0})


def test_a_column_too_few_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lacks the column 'label' that features\(\) declares"):
        Features.of(label=class_label(("a",), "")).check({})


def test_the_envelope_follows_the_task_and_names_its_classes() -> None:
    names = with_envelope(Features.of(image=image(""), label=class_label(("a",), ""))).names
    assert names == ("image", "label", "label_name", *ENVELOPE.names)


def test_no_label_name_without_classes() -> None:
    assert "label_name" not in with_envelope(Features.of(label=value("float32", "label", "")))


@pytest.mark.parametrize("name", ["example_id", "split", "label_name"])
def test_a_task_may_not_take_a_name_of_the_envelope(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name!r} is taken"):
        with_envelope(Features.of(**{name: value("int64", "label", "")}))


def test_a_nullable_label_may_be_none_and_says_so_in_the_manifest() -> None:
    label = class_label(("cat", "dog"), "a given label", is_nullable=True)
    Features.of(label=label).check({"label": None})
    assert Feature.from_json(label.to_json()) == label
    with pytest.raises(ConfigError, match="'label' must be int64, but is NoneType"):
        Features.of(label=class_label(("cat", "dog"), "derived")).check({"label": None})
