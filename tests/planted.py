"""Datasets of the built-in tasks made without Ray, and faults planted in them as a careful forger would."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from unlabeled.pipeline import discover
from unlabeled.pipeline.config import PartSettings, Recipe, RejectLimits, RunSettings, StoreMode, TaskRecipe
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.encode import decode_flac, encode_flac
from unlabeled.pipeline.inventory import Inventory
from unlabeled.pipeline.ledger import with_digest
from unlabeled.pipeline.manifest import (
    Manifest,
    Tables,
    count,
    fingerprint,
    load_tables,
    manifest_key,
    publish,
    require_manifest,
    split_counts,
    write_tables,
)
from unlabeled.pipeline.pilot import sample_items
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.shard_file import describe
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools

from tests import samples, small_datasets
from tests.media_files import chirp, sound_file, video_file


def photographs(folder: Path, num: int = 3) -> Path:
    """Write a few JPEGs and return their folder."""
    return small_datasets.fill(folder, {f"{n}.jpg": _jpeg(n) for n in range(num)})


def _jpeg(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples.photograph(seed, 96, 72)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def sounds(folder: Path, num: int = 2) -> Path:
    """Write a few rising tones and return their folder."""
    return small_datasets.fill(
        folder, {f"{n}.wav": sound_file("wav", chirp(16000, 12.0 + n), 16000) for n in range(num)}
    )


def videos(folder: Path) -> Path:
    """Write a video of a view that pans over a landscape, no two frames alike, and return its folder."""
    wide = samples.landscape(3, 640, 96)
    frames = [wide[:, 4 * n : 4 * n + 128] for n in range(120)]
    return small_datasets.fill(
        folder, {"pan.mp4": video_file("mp4", frames, times_ms=[40 * n for n in range(len(frames))])}
    )


def build(
    task_name: str,
    sources: Path,
    output: Path,
    *,
    max_rejects: int = 20,
    parts: PartSettings | None = None,
    stored: StoreMode = "pixels",
    **settings: Any,
) -> Store:
    """Make a dataset of a built-in task in this process and return its store."""
    task_class = discover.find_task(task_name)
    task = discover.make_task(task_class, settings)
    recipe = Recipe(
        task=TaskRecipe(
            name=task_name,
            version=task_class.version,
            source_sha256=discover.source_sha256(task_class),
            settings=discover.settings_of(task),
        ),
        val_fraction=0.0,
        store=stored,
        parts=parts or PartSettings(),
    )
    store = Store.open(str(output))
    with Fence(recipe.limits, recipe.decode) as fence, ThreadPoolExecutor(1) as closing:
        tools = Tools(fence, output.parent, closing)
        target = Target(store, recipe, task, {})
        run = RunSettings(rejects=RejectLimits(max_rejects_min=max_rejects))
        inputs = Store.open(str(sources))

        def make_assets(of: Target, listed: Inventory) -> Mapping[str, bytes]:
            return of.task.make_assets(lambda: sample_items(of.task, inputs, listed.sources, fence))

        small_datasets.make(target, inputs, tools, run=run, make_assets=make_assets)
    return store


Change = Callable[[list[dict[str, Any]]], None]


def forge(store: Store, change: Change, folder: Path) -> str:
    """Change rows of the first shard, and every digest that would tell; return the shard's key."""
    shard = next(row for row in load_tables(store, require_manifest(store)).shards.to_pylist() if row["file"])
    source = pq.ParquetFile(io.BytesIO(store.get(shard["file"])))
    rows = source.read().to_pylist()
    change(rows)
    return replace_rows(store, pa.Table.from_pylist(rows, source.schema_arrow), folder)


def replace_rows(store: Store, rows: pa.Table, folder: Path, **changes: Any) -> str:
    """Publish other rows in the first shard's place, with digests and counts that fit; return the shard's key.

    `changes`: of the manifest, such as the features of rows of another kind.
    """
    manifest = require_manifest(store).model_copy(update=changes)
    tables = load_tables(store, manifest)
    shard = next(row for row in tables.shards.to_pylist() if row["file"])
    path = folder / "forged.parquet"
    pq.write_table(rows, path, write_page_checksum=True, row_group_size=rows.num_rows)
    file = describe(path)
    key = f"data/{shard['split']}/{shard['shard_id']}-{file.sha256[:16]}.parquet"
    store.put(key, path.read_bytes())
    facts = {"file": key, "sha256": file.sha256, "num_bytes": file.num_bytes, "footer_sha256": file.footer_sha256}
    facts |= {"footer_num_bytes": file.footer_num_bytes, "num_rows": rows.num_rows}
    groups = [
        {**row, "num_rows": found.num_rows, "offset_bytes": found.offset_bytes, "num_bytes": found.num_bytes}
        for row, found in zip(tables.row_groups.to_pylist(), file.row_groups, strict=True)
    ]
    tables = replace(
        tables,
        shards=pa.Table.from_pylist([{**shard, **facts}], tables.shards.schema),
        row_groups=pa.Table.from_pylist(groups, tables.row_groups.schema),
    )
    publish_again(store, manifest, tables)
    return key


def flip_label(rows: list[dict[str, Any]], row: int) -> None:
    """Give a quarter turn the label, name and angle of another."""
    label = (rows[row]["label"] + 1) % 4
    rows[row].update(label=label, label_name=str(90 * label), angle_deg=90 * label)


def shift_clip(rows: list[dict[str, Any]], column: str, row: int) -> None:
    """Move a clip at 16 kHz by one sample."""
    samples_ = decode_flac(rows[row][column]["bytes"])
    rows[row][column] = {"bytes": encode_flac(np.concatenate([samples_[1:], samples_[-1:]]), 16000), "path": None}


def swap_frames(rows: list[dict[str, Any]], column: str, row: int) -> None:
    """Exchange the first and the last frame of a row's (first) clip."""
    frames = rows[row][column]
    frames = frames[0] if isinstance(frames[0], list) else frames
    frames[0], frames[-1] = frames[-1], frames[0]


def publish_again(store: Store, manifest: Manifest, tables: Tables) -> None:
    """Publish other tables as the next version, with counts and digests that fit."""
    publish(
        store,
        manifest.model_copy(
            update={
                "version": manifest.version + 1,
                "tables": write_tables(store, tables, None),
                "fingerprint": fingerprint(manifest.recipe, manifest.typed_features(), tables.shards),
                "counts": count(tables, manifest.counts.num_skipped_markers),
                "splits": split_counts(tables.shards),
            }
        ),
    )


def flip_bit(store: Store, key: str, place: int) -> None:
    """Flip one bit of a stored object."""
    data = bytearray(store.get(key))
    data[place] ^= 1
    store.put(key, bytes(data))


def rewrite_manifest(store: Store, version: int, changes: Mapping[str, Any]) -> None:
    """Change fields of a manifest and make its digest fit."""
    body = json.loads(store.get(manifest_key(version)))
    body.pop("sha256_of_rest")
    store.put(manifest_key(version), with_digest({**body, **changes}))
