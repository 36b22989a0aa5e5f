from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.pretext.labelled_media import ASSET, LabelledMedia
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.task import Modality
from unlabeled.pipeline.tokenizer import Tokenizer, train

from tests.samples import document_item, image_item, waveform_item

KEYS = ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]


def row_of(task: LabelledMedia, key: str = "cat/1.jpg", item: Any = None) -> dict[str, Any]:
    (example,) = task.examples(item or image_item(0), ItemRng(0, "labelled_media", key))
    task.features().check(example.values)
    return dict(example.values)


def labels_csv(folder: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("path", "label")) -> str:
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([header, *rows])
    return str(path)


def bound(task: LabelledMedia, keys: list[str] | None = None) -> LabelledMedia:
    return task.with_assets({**task.make_assets_of_keys(lambda: keys or KEYS), **task.make_assets(list)})


def test_without_labels_there_is_no_label_column() -> None:
    row = row_of(LabelledMedia())
    assert set(row) == {"image", "crop_box"}
    assert np.array_equal(row["image"], image_item(0).crop(row["crop_box"], 224, 224))


def test_folders_are_classes() -> None:
    task = bound(LabelledMedia(label_from="folder"))
    assert task.features()["label"].classes == ("cat", "dog")
    assert [row_of(task, key)["label"] for key in KEYS] == [0, 0, 1]


@pytest.mark.parametrize(
    ("pattern", "key", "name"),
    [
        (None, "train/airplane/7.jpg", "airplane"),
        (None, "cifar.tar#train/airplane/7.jpg", "airplane"),
        (None, "birds.tar#wren/7.jpg", "wren"),
        (r"^\d_(\w+)_\d\.wav$", "3_george_1.wav", "george"),
    ],
)
def test_the_label_stands_in_the_key(pattern: str | None, key: str, name: str) -> None:
    settings = {} if pattern is None else {"label_pattern": pattern}
    task = bound(LabelledMedia(label_from="folder", **settings), [key])
    assert task.class_names == (name,)
    assert row_of(task, key)["label"] == 0


def test_numbers_are_sorted_as_numbers() -> None:
    task = bound(LabelledMedia(label_from="folder"), ["10/a.jpg", "9/a.jpg", "x/a.jpg"])
    assert task.class_names == ("9", "10", "x")


def test_set_classes_keep_their_order_and_others_are_filtered() -> None:
    task = bound(LabelledMedia(label_from="folder", classes=("dog", "ant")))
    assert row_of(task, "dog/1.jpg")["label"] == 0
    with pytest.raises(Filtered, match="unknown_label"):
        row_of(task, "cat/1.jpg")


@pytest.mark.parametrize(("key", "label"), [("a/1.jpg", 1), ("all.tar#a/1.jpg", 1), ("b.jpg", 0)])
def test_labels_come_from_a_csv(tmp_path: Path, key: str, label: int) -> None:
    task = LabelledMedia(label_from="csv", labels_file=labels_csv(tmp_path, [("a/1.jpg", "y"), ("b.jpg", "x")]))
    frozen = bound(task)
    (tmp_path / "labels.csv").unlink()
    assert frozen.features()["label"].classes == ("x", "y")
    assert row_of(frozen, key)["label"] == label


def test_labels_come_from_columns_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "birds.parquet"
    pq.write_table(pa.table({"species": [3, None, 7], "file": ["a", "b", "c"]}), path)
    settings: dict[str, Any] = {"label_from": "parquet", "labels_file": str(path), "label_column": "species"}
    by_file = bound(LabelledMedia(**settings, key_column="file"))
    assert (by_file.class_names, row_of(by_file, "c")["label"]) == (("3", "7"), 1)
    by_row = bound(LabelledMedia(**settings, key_column=""))
    assert row_of(by_row, "wood/birds.parquet#2")["label"] == 1
    with pytest.raises(Filtered, match="no_label"):
        row_of(by_row, "wood/birds.parquet#1")


def test_sources_without_a_label_are_filtered_or_kept_with_none(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"label_from": "csv", "labels_file": labels_csv(tmp_path, [("a", "x"), ("b", "")])}
    with pytest.raises(Filtered, match="no_label"):
        row_of(bound(LabelledMedia(**settings)), "b")
    assert row_of(bound(LabelledMedia(**settings, unlabelled="keep")), "b")["label"] is None


@pytest.mark.parametrize(
    ("rows", "header", "settings", "message"),
    [
        ([("a", "x"), ("a", "y")], ("path", "label"), {}, "'a' is both 'x' and 'y'"),
        ([("a", "x")], ("path", "labels"), {}, "no column 'label'. Did you mean 'labels'?"),
        ([("a", "x")], ("path", "label"), {"classes": ("y",)}, "labels x are not among `classes`"),
        ([("a", "")], ("path", "label"), {}, "no label was found"),
    ],
)
def test_faulty_labels_are_refused(
    tmp_path: Path, rows: list[tuple[str, str]], header: tuple[str, str], settings: dict[str, Any], message: str
) -> None:
    task = LabelledMedia(label_from="csv", labels_file=labels_csv(tmp_path, rows, header), **settings)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        task.make_assets(list)


@pytest.mark.parametrize("label_from", ["csv", "parquet"])
@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00nothing"])
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, label_from: Any, content: bytes | None) -> None:
    path = tmp_path / "labels"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        LabelledMedia(label_from=label_from, labels_file=str(path)).make_assets(list)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label_from": "csv"}, "`labels_file` is empty"),
        ({"label_pattern": "(["}, "`label_pattern` is no regular expression"),
        ({"label_pattern": "abc"}, "`label_pattern` must have a group"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelledMedia(**wrong)


def test_classes_are_not_known_before_labels_are_read() -> None:
    with pytest.raises(ConfigError, match="set `classes`"):
        LabelledMedia(label_from="folder").features()


def test_sounds_are_kept_whole_or_cut_to_their_middle() -> None:
    task = LabelledMedia(media="audio", max_seconds=2.0)
    item = waveform_item(0, seconds=5.0)
    row = row_of(task, item=item)
    assert task.modality == Modality.AUDIO
    assert (row["start_sample"], row["num_samples"]) == (24000, 32000)
    assert np.array_equal(row["audio"], item.clip(24000, 32000))
    assert row_of(task, item=waveform_item(0, seconds=1.0))["num_samples"] == 16000
    assert task.rederive(row, item) == {"start_sample": 24000, "num_samples": 32000}


def test_sound_of_another_rate_and_no_sound_at_all() -> None:
    with pytest.raises(ConfigError, match="sound is decoded to 16000 Hz"):
        row_of(LabelledMedia(media="audio", sample_rate_hz=8000), item=waveform_item(0))
    with pytest.raises(Filtered, match="too_short"):
        row_of(LabelledMedia(media="audio"), item=waveform_item(0, seconds=0))


def test_a_wrong_label_or_picture_is_noticed_when_the_row_is_rederived() -> None:
    task = bound(LabelledMedia(label_from="folder"))
    row = {**row_of(task, "cat/1.jpg"), "source_key": "dog/1.jpg"}
    assert task.rederive(row, image_item(0))["label"] == 1
    row["image"] = np.bitwise_not(row["image"])
    assert task.rederive(row, image_item(0))["crop_box"] != row["crop_box"]


def test_the_asset_is_plain_json(tmp_path: Path) -> None:
    task = LabelledMedia(label_from="csv", labels_file=labels_csv(tmp_path, [("b", "x"), ("a", "y")]))
    assert json.loads(task.make_assets(list)[ASSET]) == {"classes": ["x", "y"], "labels": {"a": 1, "b": 0}}


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_bytes(train((document_item(number, 50).text for number in range(2)), 400, 10_000))
    return str(path)


def test_texts_are_kept_as_tokens_from_their_beginning(tokenizer_json: str) -> None:
    task = bound(LabelledMedia(media="text", label_from="folder", seq_length=16, tokenizer_json=tokenizer_json))
    item = document_item(7, 5)
    row = row_of(task, "cat/1.txt", item)
    tokenizer = Tokenizer(Path(tokenizer_json).read_bytes())
    assert task.modality == Modality.TEXT
    assert row["attention_mask"].tolist() == [1] * 16
    assert tokenizer.decode(row["input_ids"]) == f"[CLS]{item.text[: row['num_chars']]}[SEP]"
    assert task.rederive({**row, "source_key": "dog/1.txt"}, item) == {"label": 1, "num_chars": row["num_chars"]}
    assert task.rederive(row, document_item(8, 5)) == {"num_chars": 0}


def test_short_texts_are_padded_and_empty_ones_filtered(tokenizer_json: str) -> None:
    task = bound(LabelledMedia(media="text", tokenizer_json=tokenizer_json))
    row = row_of(task, item=replace(document_item(7, 1), text="a"))
    assert (row["attention_mask"].sum(), row["num_chars"]) == (3, 1)
    with pytest.raises(Filtered, match="too_short"):
        row_of(task, item=replace(document_item(7, 1), text=""))


def test_texts_need_the_tokenizer_of_their_encoder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`media` is text, but `tokenizer_json` is empty"):
        LabelledMedia(media="text")
    with pytest.raises(ConfigError, match="there is no file"):
        LabelledMedia(media="text", tokenizer_json=str(tmp_path / "none")).make_assets(list)
