"""The loader: batches of a dataset's version, the same for every number of ranks; its state is the step."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.errors import ConfigError
from ..pipeline.features import Feature
from ..pipeline.manifest import Manifest
from ..pipeline.storage import StoreOptions
from .apart import ApartSchedule
from .cache import Cache, CacheSettings
from .loader_processes import LoaderProcesses, Share
from .mixture import DataShare, MixedSchedule
from .reading import Decoded, Planned, Reading
from .sequence import Bundles, Last, PlainSchedule, Schedule, check_world, num_shares_of
from .shared_columns import equally_long, interleaved
from .source import Source, joined, open_source
from .units import Split

#: Units are asked for this many steps before their rows are decoded.
_NUM_STEPS_AHEAD = 8


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
    columns: tuple[str, ...] | None = Field(
        None, description="inputs, labels and masks to read; by default the first two"
    )
    num_processes: int = Field(0, ge=0, description="processes that read and decode beside this one; 0: threads of it")
    num_threads: int = Field(2, ge=1, description="threads that decode, in each of the processes")
    num_prefetch_steps: int = Field(3, ge=1, description="batches that wait, decoded, for the trainer")
    cache: CacheSettings | None = Field(None, description="where what a remote store gave is kept on this node")
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


class Loader:
    """Batches of one dataset, or of several in fixed shares.

    Args:
        data: location of a dataset; or several, each with its share of every run of batches (see `mixture`).
        settings: what to load, and for which rank.
        store_options: how to reach a remote store.

    Raises:
        ConfigError: batch, ranks and lanes do not fit together, a column is none of the inputs and labels, or
            datasets are not alike.
        NotFound: there is no such dataset or version.
    """

    def __init__(
        self,
        data: str | Sequence[DataShare],
        settings: LoaderSettings,
        store_options: StoreOptions | None = None,
    ) -> None:
        self._settings = settings
        shares = [DataShare(data, version=settings.version)] if isinstance(data, str) else list(data)
        if not isinstance(data, str) and settings.version is not None:
            raise ConfigError(f"version: found {settings.version}, expected none: each dataset's share names its own.")
        cache = None if settings.cache is None else Cache(settings.cache)
        sources = [
            open_source(
                name, settings.split, settings.columns, version=version, store_options=store_options, cache=cache
            )
            for name, _, version in shares
        ]
        self._source = joined(sources)
        if settings.raw and self._source.rendering is not None:
            raise ConfigError(
                f"raw: found true, but {self._source.rendering.column} is made of a stored crop (store: recipe); "
                "expected false."
            )
        self._bundle_size = self.manifest.bundle_size
        self._schedule = _schedule(sources, [each.share for each in shares], settings)
        num_bundles = self._schedule.num_bundles_per_step
        check_world(settings.world_size, settings.rank, settings.num_lanes, num_bundles)
        num_shares = num_shares_of(settings.world_size, settings.num_lanes, num_bundles)
        if settings.num_processes and num_shares % settings.num_processes:
            raise ConfigError(
                f"num_processes: found {settings.num_processes}, expected a divisor of {num_shares}, into which the "
                f"lanes and the batch of one of {settings.world_size} ranks can be cut."
            )
        # Processes read the versions that were found here, whatever is published meanwhile.
        self._shares = [
            each._replace(version=source.manifest.version) for each, source in zip(shares, sources, strict=True)
        ]
        self._store_options = store_options

    @property
    def manifest(self) -> Manifest:
        """The version that is read; of several datasets, the first's."""
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

    @property
    def num_held_back_examples(self) -> int:
        """Examples that each epoch leaves for others, because its batches could not keep them apart: see `apart`."""
        return self._schedule.num_held_back * self._bundle_size

    def batches(self, start_step: int = 0, stop_step: int | None = None) -> Iterator[Batch]:
        """Yield this rank's share of the batches [start_step, stop_step), without end where that is None.

        Raises:
            CorruptData: a stored page or footer is damaged; names file and row group.
            StoreError: beyond the retry budget.
            LoaderProcessDied: one of `num_processes` is gone.
        """
        if self._settings.num_processes:
            return self._from_processes(start_step, stop_step)
        return self._from_threads(start_step, stop_step)

    def _from_processes(self, start_step: int, stop_step: int | None) -> Iterator[Batch]:
        settings = self._settings
        num = settings.num_processes
        orders = [
            {
                "data": [[each.dataset, str(each.share), each.version] for each in self._shares],
                "settings": settings.model_copy(
                    update={
                        # Every num-th bundle of ours, from the one with this number on.
                        "rank": settings.rank + number * settings.world_size,
                        "world_size": num * settings.world_size,
                        "num_processes": 0,
                        "version": None,
                    }
                ).model_dump(mode="json"),
                "store_options": self._store_options and asdict(self._store_options),
                "start_step": start_step,
                "stop_step": stop_step,
            }
            for number in range(num)
        ]
        with LoaderProcesses(orders) as processes:
            for shares in processes.shares():
                yield self._put_together(shares)

    def _put_together(self, shares: Sequence[Share]) -> Batch:
        (step, epoch, *_), size = shares[0], self._bundle_size
        columns = {}
        for name in shares[0][3]:
            parts = [each[3][name] for each in shares]
            is_sound = name in self.features and self.features[name].kind == "audio" and not self._settings.raw
            columns[name] = interleaved(equally_long(parts) if is_sound else parts, size)
        return Batch(step, epoch, tuple(interleaved([each[2] for each in shares], size)), columns)

    def _from_threads(self, start_step: int, stop_step: int | None) -> Iterator[Batch]:
        steps = itertools.count(start_step) if stop_step is None else range(start_step, stop_step)
        settings = self._settings
        with Reading(self._source, settings.num_threads, settings.num_prefetch_steps, raw=settings.raw) as reading:
            planned: deque[tuple[int, Planned]] = deque()
            made: deque[tuple[int, Future[Decoded]]] = deque()

            def make_next() -> None:
                step, rows = planned.popleft()
                made.append((step, reading.make(rows)))

            for step in steps:
                planned.append((step, reading.plan(step, self._rows(step), self._schedule.num_steps_held)))
                if len(planned) > _NUM_STEPS_AHEAD:
                    make_next()
                if len(made) > settings.num_prefetch_steps:
                    yield self._batch(*made.popleft())
            while planned or made:
                while planned and len(made) <= settings.num_prefetch_steps:
                    make_next()
                yield self._batch(*made.popleft())

    def _batch(self, step: int, decoded: Future[Decoded]) -> Batch:
        ids, columns = decoded.result()
        return Batch(step, step // self.steps_per_epoch, ids, columns)

    def _rows(self, step: int) -> Bundles:
        """Return the rows of this rank's share of a step, as bundles of one."""
        bundles = self._schedule.step(*divmod(step, self.steps_per_epoch))
        mine, size = bundles.of_rank(self._settings.rank, self._settings.world_size), self._bundle_size
        rows = mine.places[:, None] * size + np.arange(size)
        return Bundles(np.repeat(mine.units, size), rows.reshape(-1))


def _schedule(sources: Sequence[Source], shares: Sequence[Fraction | float], settings: LoaderSettings) -> Schedule:
    manifest = sources[0].manifest
    size, batch_size, num_lanes, seed = (
        manifest.bundle_size,
        settings.global_batch_size,
        settings.num_lanes,
        settings.seed,
    )
    if batch_size % size:
        raise ConfigError(
            f"global_batch_size: found {batch_size}, expected a multiple of {size}: the {size} examples of a bundle "
            f"of {manifest.task} share a batch."
        )
    if manifest.batching == "apart":
        if settings.last == "pad" or len(sources) > 1:
            raise ConfigError(
                f"{manifest.task} keeps the examples of a source in different batches: its last batch cannot be "
                "padded (expected last: drop), nor can several datasets of it be mixed."
            )
        return ApartSchedule(sources[0].num_rows, sources[0].apart(), batch_size, num_lanes, seed)
    if any(np.any(source.num_rows % size) for source in sources):
        raise ConfigError(
            f"data: a row group does not hold whole bundles of {size}: a source gave {manifest.task} fewer examples."
        )
    num_bundles = [source.num_rows // size for source in sources]
    if len(sources) > 1:
        return MixedSchedule(num_bundles, shares, batch_size // size, num_lanes, seed)
    return PlainSchedule(num_bundles[0], batch_size // size, num_lanes, seed, settings.last)


def read_split(
    dataset: str,
    split: Split,
    columns: Sequence[str] | None = None,
    max_examples: int | None = None,
    store_options: StoreOptions | None = None,
    version: int | None = None,
) -> Batch:
    """Return a whole split (or its first examples) in plan order as one batch of step 0, decoded like any batch.

    Raises:
        ConfigError: as `open_source`; or the split holds no examples.
        CorruptData: a stored page or footer is damaged; names file and row group.
    """
    source = open_source(dataset, split, columns, version=version, store_options=store_options)
    sizes = source.num_rows
    units = np.repeat(np.arange(len(sizes)), sizes)
    places = np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    if not len(units):
        raise ConfigError(f"{source.store.uri}: the split {split!r} holds no examples.")
    with Reading(source, num_threads=2, num_batches=1, raw=False) as reading:
        ids, decoded = reading.make(reading.plan(0, Bundles(units[:max_examples], places[:max_examples]), 0)).result()
    return Batch(0, 0, ids, decoded)
