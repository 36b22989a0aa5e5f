"""What is read back from a dataset, as typed calls: `tasks`, `show`, `rejects`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ..pipeline import discover
from ..pipeline.lookup import by_role, find_example
from ..pipeline.manifest import Counts, SplitCounts, files_of, load_tables, require_manifest, versions
from ..pipeline.serial_arrow import sorted_by
from ..pipeline.storage import Store, StoreOptions


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class SettingInfo(_Report):
    """One setting of a task."""

    name: str
    default: Any
    unit: str
    doc: str


class TaskInfo(_Report):
    """One pretext task."""

    name: str
    version: str
    modality: str
    objective: str
    summary: str
    paper: str
    settings: list[SettingInfo]


class Tasks(_Report):
    """Pretext tasks."""

    tasks: list[TaskInfo]


class Shown(_Report):
    """One version of a dataset."""

    dataset: str
    version: int
    versions: list[int]
    fingerprint: str
    task: str
    modality: str
    objective: str
    settings: dict[str, Any]
    seed: int
    input: str
    counts: Counts
    splits: dict[str, SplitCounts]
    columns: list[dict[str, Any]]
    files: dict[str, list[str]]


class RejectInfo(_Report):
    """One source that was rejected, or the part of one that starts at `start`."""

    source_key: str
    start: int
    stage: str
    reason: str
    is_permanent: bool
    message: str
    offset_bytes: int | None
    attempt: int


class ShownExample(BaseModel):
    """One example: where it stands, its source, how it was drawn, what it holds, and what made it.

    `columns`: by role, column -> value; media are there as their number of bytes. `source_start`, `source_end`: bounds
    of the source's part, microseconds or bytes; (0, -1) is the whole.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    example_id: str
    file: str
    row_group: int
    row: int
    source: str
    source_key: str
    source_sha256: str
    source_num_bytes: int
    source_etag: str
    source_start: int
    source_end: int
    group_id: str
    split: str
    segment: int
    draw: int
    columns: dict[str, dict[str, Any]]
    task: str
    task_version: str
    task_source_sha256: str
    settings: dict[str, Any]
    seed: int
    recipe_hash: str
    codec_versions: dict[str, str]


class Rejects(_Report):
    """The dead letters of a version."""

    dataset: str
    version: int
    num_sources: int
    num_rejected: int
    num_transient: int
    by_reason: dict[str, int]
    rejects: list[RejectInfo]


def tasks(specs: Sequence[str] | None = None) -> Tasks:
    """Return the pretext tasks that `specs` name (all built-in ones where there are none) with their settings.

    Raises:
        ConfigError: unknown task.
    """
    return Tasks(tasks=[task_info(discover.find_task(spec)) for spec in specs or discover.task_names()])


def task_info(task: discover.TaskClass) -> TaskInfo:
    """Return what there is to know of one task."""
    settings = [
        SettingInfo(
            name=field.name,
            default=list(field.default) if isinstance(field.default, tuple) else field.default,
            unit=field.metadata.get("unit", ""),
            doc=field.metadata.get("doc", ""),
        )
        for field in dataclasses.fields(task)
        if field.init
    ]
    return TaskInfo(
        name=task.name(),
        version=task.version,
        modality=str(task.modality),
        objective=str(task.objective),
        summary=(task.__doc__ or "").strip().splitlines()[0],
        paper=getattr(task, "paper", ""),  # users' own may cite none
        settings=settings,
    )


def show(dataset: str, *, version: int | None = None, store_options: StoreOptions | None = None) -> Shown:
    """Return one version of a dataset, the newest unless `version` is given.

    Raises:
        NotFound: nothing is published there.
    """
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    tables = load_tables(store, manifest, "shards")
    return Shown(
        dataset=store.uri,
        version=manifest.version,
        versions=versions(store),
        fingerprint=manifest.fingerprint,
        task=manifest.task,
        modality=manifest.modality,
        objective=manifest.objective,
        settings=manifest.recipe.task.settings,
        seed=manifest.recipe.seed,
        input=manifest.input_uri,
        counts=manifest.counts,
        splits=manifest.splits,
        columns=manifest.features,
        files={split: [store.describe(key) for key in files_of(tables, split)] for split in ("train", "val")},
    )


def show_example(
    dataset: str, example_id: str, *, version: int | None = None, store_options: StoreOptions | None = None
) -> ShownExample:
    """Return where one example comes from and what it is, in one version, the newest unless `version` is given.

    Raises:
        NotFound: no such dataset, version or example.
    """
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    found = find_example(store, manifest, example_id)
    values, recipe = found.values, manifest.recipe
    return ShownExample(
        dataset=store.uri,
        version=manifest.version,
        example_id=example_id,
        file=store.describe(found.file),
        row_group=found.row_group,
        row=found.row,
        source=f"{manifest.input_uri}/{values['source_key']}",
        source_key=values["source_key"],
        source_sha256=values["source_sha256"],
        source_num_bytes=values["source_num_bytes"],
        source_etag=found.part["etag"],
        source_start=found.part["start"],
        source_end=found.part["end"],
        group_id=values["group_id"],
        split=values["split"],
        segment=values["segment"],
        draw=values["draw"],
        columns=by_role(found, manifest.typed_features()),
        task=manifest.task,
        task_version=values["task_version"],
        task_source_sha256=recipe.task.source_sha256,
        settings=recipe.task.settings,
        seed=values["seed"],
        recipe_hash=values["recipe_hash"],
        codec_versions=manifest.codec_versions,
    )


def rejects(dataset: str, *, version: int | None = None, store_options: StoreOptions | None = None) -> Rejects:
    """Return the rejects of a version, the newest unless `version` is given, by reason and key.

    Raises:
        NotFound: nothing is published there.
    """
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    table = load_tables(store, manifest, "rejects").rejects
    table = sorted_by(table, "reason", "source_key")
    listed = [
        RejectInfo(
            source_key=row["source_key"],
            start=row["start"],
            stage=row["stage"],
            reason=row["reason"],
            is_permanent=row["is_permanent"],
            message=row["message"],
            offset_bytes=row["error_offset_bytes"] if row["error_offset_bytes"] >= 0 else None,
            attempt=row["attempt"],
        )
        for row in table.to_pylist()
    ]
    return Rejects(
        dataset=store.uri,
        version=manifest.version,
        num_sources=manifest.counts.num_sources,
        num_rejected=manifest.counts.num_rejected,
        num_transient=int(pc.sum(pc.invert(table["is_permanent"])).as_py() or 0),
        by_reason=manifest.counts.rejected_by_reason,
        rejects=listed,
    )
