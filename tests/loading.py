"""Datasets for tests of the loader: made in this process, with row groups of a few rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from unlabeled.pipeline import discover
from unlabeled.pipeline.config import ShardSettings, TaskRecipe
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import Modality, PretextTask
from unlabeled.pipeline.tokenizer import Tokenizer, train
from unlabeled.pipeline.work import Tools

from tests import samples
from tests.media_files import chirp, sound_file
from tests.small_datasets import fill, jpeg, make, picture, target


def dataset(
    folder: Path, task_name: str, files: Mapping[str, bytes], row_group_max_rows: int = 8, **settings: Any
) -> Store:
    """Return the dataset that a built-in task makes of `files`: a few shards, a quarter of the groups in val."""
    task = discover.make_task(discover.find_task(task_name), settings)
    shard = ShardSettings(
        target_num_bytes=2**16, spread_num_shards=4, spread_min_num_bytes=2**12, row_group_max_rows=row_group_max_rows
    )
    resolved = {field.name: getattr(task, field.name) for field in dataclasses.fields(task) if field.init}
    named = TaskRecipe(name=task_name, version=task.version, source_sha256="0" * 64, settings=resolved)
    of = target(folder / "dataset", task, shard=shard)
    of = dataclasses.replace(of, recipe=of.recipe.model_copy(update={"task": named}))
    (folder / "spool").mkdir()
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as pool:
        make(
            of,
            Store.open(str(fill(folder / "in", files))),
            Tools(fence, folder / "spool", pool),
            make_assets=lambda made, _: made.task.make_assets(lambda: _items_like(made.task)),
        )
    return of.store


def _items_like(task: PretextTask[Any]) -> list[Any]:
    """Return what a task may make its assets from: text for a tokenizer, else a picture."""
    if task.modality == Modality.TEXT:
        return [samples.document_item(number, 200) for number in range(4)]
    return [picture()]


def turns(folder: Path, num: int = 24, first: int = 0) -> Store:
    """Return a rotation dataset of `num` small pictures, numbered from `first`."""
    files = {f"{number}.jpg": jpeg(number, 40, 36) for number in range(first, first + num)}
    return dataset(folder, "image_rotation", files, side_px=32)


def pairs_of_clips(folder: Path, num: int = 16) -> Store:
    """Return pairs of clips, several of each recording."""
    files = {f"{number}.wav": sound_file("wav", chirp(16000, 20.0 + number), 16000) for number in range(num)}
    return dataset(folder, "audio_same_clip", files, row_group_max_rows=12)


def labelled(folder: Path, num: int = 12) -> Store:
    """Return small pictures with the label of their folder."""
    files = {f"{'ab'[number % 2]}/{number}.jpg": jpeg(number, 40, 36) for number in range(num)}
    return dataset(folder, "labelled_media", files, label_from="folder", classes=("a", "b"), side_px=32)


def written(folder: Path, num: int = 12) -> tuple[Store, Tokenizer]:
    """Return labelled texts of one to `num` sentences, and the tokenizer that made their tokens."""
    tokenizer = Tokenizer(train((samples.document_item(number, 50).text for number in range(2)), 400, 10_000))
    (folder / "tokenizer.json").write_bytes(tokenizer.data)
    texts = [samples.document_item(number, 1 + number).text.encode() for number in range(num)]
    store = dataset(
        folder,
        "labelled_media",
        {f"{'ab'[number % 2]}/{number}.txt": text for number, text in enumerate(texts)},
        label_from="folder",
        classes=("a", "b"),
        media="text",
        seq_length=32,
        tokenizer_json=str(folder / "tokenizer.json"),
    )
    return store, tokenizer


def spoken(folder: Path, num: int = 8) -> Store:
    """Return labelled sounds, the n-th of 1 + n / 10 seconds."""
    files = {
        f"{'ab'[number % 2]}/{number}.wav": sound_file("wav", chirp(16000, 1 + number / 10), 16000)
        for number in range(num)
    }
    return dataset(folder, "labelled_media", files, label_from="folder", classes=("a", "b"), media="audio")
