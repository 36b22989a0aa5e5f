"""The loader: batches of a dataset's version, the same for every number of ranks; its state is the step."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.errors import ConfigError, nearest
from ..pipeline.features import Feature, Features
from ..pipeline.manifest import Manifest, load_tables, require_manifest
from ..pipeline.storage import Store, StoreOptions
from .decode_batch import Piece, decode_column
from .sequence import Bundles, Last, PlainSchedule, Schedule, check_world
from .shard_reader import ShardReader, Split, Unit, units_of

#: Units are asked for this many steps before their rows are decoded.
_NUM_STEPS_AHEAD = 8
#: Requests to a remote store that wait side by side.
_NUM_REMOTE_READS = 16
_ID = "example_id"


class LoaderSettings(BaseModel):
    """What to load, and for which rank. All but `rank`, `world_size` and what follows decides the batches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    global_batch_size: int = Field(ge=1, description="examples of a step, over all ranks")
    split: Split = Field("train", description="train, val or all")
    seed: int = Field(0, ge=0, lt=2**63, description="keys the order of examples, with the epoch")
    num_lanes: int = Field(24, ge=1, description="places of an epoch that are read side by side; fixed for a run")
    version: int | None = Field(None, description="of the dataset; the newest where it is not given")
    last: Last = Field("drop", description="what becomes of an epoch's last batch that would not be full")
    rank: int = Field(0, ge=0, description="which share of each batch is loaded")
    world_size: int = Field(1, ge=1, description="ranks that share a batch")
    columns: tuple[str, ...] | None = Field(None, description="inputs and labels to read; all where not given")
    num_threads: int = Field(2, ge=1, description="threads that decode")
    num_prefetch_steps: int = Field(3, ge=1, description="batches that wait, decoded, for the trainer")
    raw: bool = Field(False, description="give media as the stored bytes")


@dataclass(frozen=True)
class Batch:
    """The share of one rank of one batch.

    Attributes:
        step: since step 0 of epoch 0: start from `step + 1` to go on after this batch.
        epoch: from 0.
        example_ids: of the rows, in the order of the columns.
        columns: by name; see `decode_batch.decode_column` for shapes and types.
    """

    step: int
    epoch: int
    example_ids: tuple[str, ...]
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """One version of a dataset, opened: what is read of it, and how."""

    store: Store
    manifest: Manifest
    features: Mapping[str, Feature]
    units: tuple[Unit, ...]
    reader: ShardReader


def open_source(
    dataset: str,
    split: Split,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    store_options: StoreOptions | None = None,
) -> Source:
    """Return a version of a dataset, opened for reading columns of one split.

    Raises:
        ConfigError: a column is none of the inputs and labels, or the examples are stored as recipes.
        NotFound: there is no such dataset or version.
    """
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    if manifest.store != "pixels":
        raise ConfigError(f"{store.uri}: its examples are stored as recipes; this release reads stored pixels only.")
    features = _wanted(manifest.typed_features(), columns)
    units = units_of(load_tables(store, manifest, "shards", "row_groups"), split)
    return Source(store, manifest, features, units, ShardReader(store, [*features, _ID]))


def _wanted(features: Features, columns: Sequence[str] | None) -> dict[str, Feature]:
    allowed = features.with_role("input", "label")
    if columns is None:
        # The readable name of a class says nothing that its number does not.
        columns = [name for name in allowed if name != "label_name"]
    for name in columns:
        if name not in allowed:
            raise ConfigError(
                f"columns: found {name!r}, expected inputs and labels: {', '.join(allowed)}.{nearest(name, allowed)}"
            )
    return {name: features[name] for name in columns}


class Loader:
    """Batches of one dataset.

    Args:
        dataset: location of a dataset.
        settings: what to load, and for which rank.
        store_options: how to reach a remote store.

    Raises:
        ConfigError: batch, ranks and lanes do not fit together, or a column is none of the inputs and labels.
        NotFound: there is no such dataset or version.
    """

    def __init__(self, dataset: str, settings: LoaderSettings, store_options: StoreOptions | None = None) -> None:
        self._settings = settings
        self._source = open_source(dataset, settings.split, settings.columns, settings.version, store_options)
        self._bundle_size = self.manifest.bundle_size
        self._schedule = self._make_schedule()
        check_world(settings.world_size, settings.rank, settings.num_lanes, self._schedule.num_bundles_per_step)

    @property
    def manifest(self) -> Manifest:
        """The version that is read."""
        return self._source.manifest

    @property
    def features(self) -> Mapping[str, Feature]:
        """The columns that batches have."""
        return self._source.features

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has, on every rank."""
        return self._schedule.num_steps

    @property
    def num_dropped_examples(self) -> int:
        """Examples of each epoch that no batch holds: less than one global batch, other ones each time."""
        return self._schedule.num_dropped * self._bundle_size

    @property
    def num_padded_examples(self) -> int:
        """Examples that the last batch of each epoch repeats from its first: less than one global batch."""
        return self._schedule.num_padded * self._bundle_size

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[Batch]:
        """Yield this rank's share of the batches [start_step, stop_step), without end where that is None.

        Raises:
            CorruptData: a stored page or footer is damaged; names file and row group.
            StoreError: beyond the retry budget.
        """
        steps = itertools.count(start_step) if stop_step is None else range(start_step, stop_step)
        with _Reading(self._source, self._settings) as reading:
            planned: deque[_Planned] = deque()
            made: deque[Future[Batch]] = deque()
            for step in steps:
                planned.append(reading.plan(step, self._rows(step), self._schedule.num_steps_held))
                if len(planned) > _NUM_STEPS_AHEAD:
                    made.append(reading.make(planned.popleft(), self.steps_per_epoch))
                if len(made) > self._settings.num_prefetch_steps:
                    yield made.popleft().result()
            made.extend(reading.make(rest, self.steps_per_epoch) for rest in planned)
            while made:
                yield made.popleft().result()

    def _rows(self, step: int) -> Bundles:
        """Return the rows of this rank's share of a step, as bundles of one."""
        mine = self._schedule.step(*divmod(step, self.steps_per_epoch)).of_rank(
            self._settings.rank, self._settings.world_size
        )
        size = self._bundle_size
        rows = mine.places[:, None] * size + np.arange(size)
        return Bundles(np.repeat(mine.units, size), rows.reshape(-1))

    def _make_schedule(self) -> Schedule:
        settings, size = self._settings, self._bundle_size
        if settings.global_batch_size % size:
            raise ConfigError(
                f"global_batch_size: found {settings.global_batch_size}, expected a multiple of {size}: the "
                f"{size} examples of a bundle of {self.manifest.task} share a batch."
            )
        num_rows = np.array([unit.num_rows for unit in self._source.units], np.int64)
        return PlainSchedule(
            num_rows // size, settings.global_batch_size // size, settings.num_lanes, settings.seed, settings.last
        )


@dataclass(frozen=True)
class _Planned:
    step: int
    rows: Bundles
    units: Mapping[int, Future[dict[str, pa.Array]]]


class _Reading:
    """Threads that read and decode, and the units that are open; ends with the iteration."""

    def __init__(self, source: Source, settings: LoaderSettings) -> None:
        self._source = source
        self._raw = settings.raw
        num_reads = settings.num_threads if source.store.is_local else _NUM_REMOTE_READS
        self._reads, self._batches, self._decoders = (
            ThreadPoolExecutor(num, name)
            for num, name in (
                (num_reads, "read"),
                (settings.num_prefetch_steps, "batch"),
                (settings.num_threads, "decode"),
            )
        )
        self._open: dict[int, tuple[int, Future[dict[str, pa.Array]]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Readers end first, so that whoever waits for them does.
        for pool in (self._reads, self._batches, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (self._reads, self._batches, self._decoders):
            pool.shutdown(wait=True)

    def plan(self, step: int, rows: Bundles, num_steps_held: int) -> _Planned:
        """Ask for the units of a step, and close those that are through."""
        units = {}
        for unit in dict.fromkeys(rows.units.tolist()):
            known = self._open.get(unit)
            future = known[1] if known else self._reads.submit(self._source.reader.read, self._source.units[unit])
            self._open[unit] = (step, future)
            units[unit] = future
        self._open = {unit: entry for unit, entry in self._open.items() if entry[0] >= step - num_steps_held}
        return _Planned(step, rows, units)

    def make(self, planned: _Planned, steps_per_epoch: int) -> Future[Batch]:
        """Return the batch of a step, to come."""
        return self._batches.submit(self._make, planned, steps_per_epoch)

    def _make(self, planned: _Planned, steps_per_epoch: int) -> Batch:
        read = {unit: future.result() for unit, future in planned.units.items()}
        ids, columns = decode_rows(self._source, planned.rows, read, self._decoders, raw=self._raw)
        return Batch(planned.step, planned.step // steps_per_epoch, ids, columns)


def decode_rows(
    source: Source,
    rows: Bundles,
    read: Mapping[int, Mapping[str, pa.Array]],
    pool: ThreadPoolExecutor,
    *,
    raw: bool = False,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return ids and columns of some rows, in their order; `read` holds the columns of each of their units."""
    order = np.argsort(rows.units, kind="stable")
    firsts = np.flatnonzero(np.diff(rows.units[order], prepend=-1))
    groups = [
        (source.units[unit].name, read[unit], rows.places[places], places)
        for places in np.split(order, firsts[1:])
        for unit in [int(rows.units[places[0]])]
    ]

    def pieces(column: str) -> list[Piece]:
        return [Piece(name, arrays[column], of_unit, places) for name, arrays, of_unit, places in groups]

    columns: dict[str, Any] = {}
    for column, feature in source.features.items():
        columns |= decode_column(column, feature, pieces(column), pool, raw=raw)
    ids = decode_column(_ID, source.manifest.typed_features()[_ID], pieces(_ID), pool)[_ID]
    return tuple(ids), columns


def read_split(
    dataset: str,
    split: Split,
    columns: Sequence[str] | None = None,
    max_examples: int | None = None,
    store_options: StoreOptions | None = None,
) -> Batch:
    """Return a whole split (or its first examples) in plan order as one batch of step 0, decoded like any batch.

    Raises:
        ConfigError: as `open_source`; or the split holds no examples.
        CorruptData: a stored page or footer is damaged; names file and row group.
    """
    source = open_source(dataset, split, columns, None, store_options)
    sizes = np.array([unit.num_rows for unit in source.units], np.int64)
    units = np.repeat(np.arange(len(sizes)), sizes)
    rows = Bundles(units, np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes))
    rows = Bundles(rows.units[:max_examples], rows.places[:max_examples])
    if not len(rows.units):
        raise ConfigError(f"{source.store.uri}: the split {split!r} holds no examples.")
    num_threads = 2 if source.store.is_local else _NUM_REMOTE_READS
    with ThreadPoolExecutor(num_threads) as pool:
        wanted = np.unique(rows.units).tolist()
        read = dict(zip(wanted, pool.map(lambda unit: source.reader.read(source.units[unit]), wanted), strict=True))
        ids, decoded = decode_rows(source, rows, read, pool)
    return Batch(0, 0, ids, decoded)
