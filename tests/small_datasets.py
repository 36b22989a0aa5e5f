"""Small datasets for tests: inventories without files, tasks of a few lines, and runs without Ray."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image as PillowImage
from unlabeled.pipeline.config import Recipe, RunSettings, ShardSettings, TaskRecipe
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.features import Features, class_label, value
from unlabeled.pipeline.increment import REMOVED_SCHEMA
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA, take_inventory
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.ledger import Receipt
from unlabeled.pipeline.materialize import Finished, Output, Request, materialize
from unlabeled.pipeline.pilot import hash_sources
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import Example, Modality, Objective, PartneredTask, PretextTask, setting
from unlabeled.pipeline.work import Tools, WorkUnit, make_shards

from tests import samples

#: Shards of a few sources, so that a small plan has many.
SMALL_SHARDS = ShardSettings(target_num_bytes=2**16, spread_num_shards=8, spread_min_num_bytes=2**12)


@dataclass(frozen=True)
class Tiny(PretextTask[Image]):
    """Say whether a draw is even; the payload is the item's first bytes."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    paper = "none"

    num_draws: int = setting(2, "examples of an item", at_least=1)
    payload_bytes: int = setting(8, "bytes of an example's payload", unit="bytes", at_least=0)

    def features(self) -> Features:
        return Features.of(
            label=class_label(("even", "odd"), "of the draw"), payload=value("binary", "input", "the first bytes")
        )

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        if item.width_px < 4:
            raise Filtered("too_small", f"{item.width_px} px < 4 px")
        payload = item.crop((0, 0, item.width_px, item.height_px), 16, 16).tobytes()[: self.payload_bytes]
        for draw in range(self.num_draws):
            yield Example(draw, {"label": draw % 2, "payload": payload.ljust(self.payload_bytes, b"\0")})


@dataclass(frozen=True)
class Neighbours(PartneredTask[Image]):
    """Name the partners that an item got: each offers its own key and its codec."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CONTRASTIVE
    paper = "none"

    num_negatives: int = setting(1, "partners of an item", at_least=1)

    @property
    def num_partners(self) -> int:
        return self.num_negatives

    def features(self) -> Features:
        return Features.of(partners=value("string", "input", "source keys of the partners", shape=(None,)))

    def offer(self, item: Image, rng: ItemRng) -> str:
        if item.width_px < 4:
            raise Filtered("too_small")
        return rng.source_key

    def examples(self, item: Image, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        if len(partners) < self.num_partners:
            raise Filtered("no_partner", f"{len(partners)} of {self.num_partners}")
        yield Example(0, {"partners": list(partners)})


def recipe(name: str = "tiny", **changes: Any) -> Recipe:
    """Return a recipe of a task that needs no file."""
    task = TaskRecipe(name=name, version="1", source_sha256="0" * 64, settings={})
    return Recipe(**{"task": task, "shard": SMALL_SHARDS, "val_fraction": 0.25, **changes})


def target(folder: Path | str, task: PretextTask[Any] | None = None, **changes: Any) -> Target:
    """Return a dataset to be made under `folder`."""
    task = Tiny() if task is None else task
    return Target(Store.open(str(folder)), recipe(type(task).__name__.lower(), **changes), task, {"numpy": "0"})


def inventory_rows(keys: Iterable[str], num_bytes: int = 1000, etag: str = "e") -> pa.Table:
    """Return plain objects as inventory rows, in the order given."""
    rows = [
        {
            "source_key": key,
            "num_bytes": num_bytes,
            "etag": etag,
            "object_key": key,
            "offset_bytes": 0,
            "row_group": -1,
            "row": -1,
            "unit": key,
            "start": 0,
            "end": -1,
        }
        for key in keys
    ]
    return pa.Table.from_pylist(rows, INVENTORY_SCHEMA)


def removed_parts(*names: str | tuple[str, int]) -> pa.Table:
    """Return parts that a plan drops: whole sources by their keys, parts by (key, start)."""
    pairs = [(name, 0) if isinstance(name, str) else name for name in names]
    rows = [{"source_key": key, "start": start} for key, start in pairs]
    return pa.Table.from_pylist(rows, REMOVED_SCHEMA)


def picture(seed: int = 0, width_px: int = 16, height_px: int = 12) -> Image:
    """Return a decoded picture, the same for the same seed."""
    return Image(media_kind="image", codec="jpeg", pixels=samples.photograph(seed, width_px, height_px))


def jpeg(seed: int = 0, width_px: int = 32, height_px: int = 24) -> bytes:
    """Return a JPEG file, the same for the same seed."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (height_px, width_px, 3), np.uint8)
    PillowImage.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files under a folder and return it."""
    for key, data in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def result_row(unit: WorkUnit, receipt: Receipt) -> dict[str, Any]:
    """Return the row that an executor yields for a shard."""
    statuses = [outcome.status for outcome in receipt.outcomes]
    return {
        "target": next(job.target for job in unit.jobs if job.shard["shard_id"] == receipt.shard_id),
        "shard_id": receipt.shard_id,
        "num_rows": receipt.num_rows,
        "num_bytes": receipt.num_bytes,
        "num_sources": len(statuses),
        "num_rejected": statuses.count("rejected"),
        "num_bytes_in": sum(outcome.num_bytes for outcome in receipt.outcomes),
        "cpu_seconds": 0.0,
        "cpu_stages": {},
        "peak_rss_bytes": 1,
    }


Execute = Callable[[Sequence[Target], Sequence[WorkUnit]], Iterator[Mapping[str, Any]]]


def execute_here(inputs: Store, tools: Tools) -> Execute:
    """Return an executor that makes shards in this process."""

    def execute(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        for unit in units:
            for future in make_shards(targets, unit.jobs, inputs, tools):
                yield result_row(unit, future.result())

    return execute


class Quiet:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.num_planned: list[tuple[int, int, int]] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        self.num_planned.append((num_shards, num_done, num_sources))

    def shard_done(self, row: Mapping[str, Any]) -> None:
        assert row["shard_id"]


def request(targets: Sequence[Target], inputs: Store, **changes: Any) -> Request:
    """Return a run of these datasets over all that `inputs` hold."""
    return Request(
        **{
            "outputs": [Output(of) for of in targets],
            "input_uri": inputs.uri,
            "take_inventory": lambda: take_inventory(inputs.uri),
            "hash_sources": lambda sources: hash_sources(inputs, sources),
            "make_assets": lambda of, _: of.task.make_assets(lambda: [picture()]),
            "run": RunSettings(),
            **changes,
        }
    )


def make(of: Target, inputs: Store, tools: Tools, **changes: Any) -> Finished:
    """Bring one dataset up to its inputs, in this process."""
    (finished,) = materialize(request([of], inputs, **changes), execute_here(inputs, tools), Quiet())
    return finished
