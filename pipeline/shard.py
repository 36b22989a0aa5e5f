"""One shard of one dataset: items in, rows out, every source accounted for, a receipt at the end.

A source's rows reach the file only when the whole source is through, so a source that turns out broken half-way leaves
nothing behind. The order of rows is the order of the plan, so the same plan gives the same bytes anywhere.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .config import Recipe
from .cpu_stages import StageClock
from .decode.decoder_file import DecoderFile
from .decode.fence import Fence
from .errors import AlreadyExists, Filtered, Reject, RejectReason, Stage
from .features import Features, with_envelope
from .items import Source
from .ledger import Outcome, Receipt, write_receipt
from .rendering import CROP, Rendering
from .rng import ItemRng
from .row_spool import RowSpool
from .shard_file import Row, ShardFile, ShardFileWriter
from .storage import Store
from .task import Example, PartneredTask, PretextTask

#: Offers of this many groups, those met last, are candidates for partners.
_PARTNER_WINDOW = 64
#: Rows of a shard that are checked against the declared features one by one; later ones by their columns and label.
_NUM_CHECKED_ROWS = 64
#: Rows of a source that is not through yet wait in memory up to about this many bytes, then on disk.
SPOOLED_NUM_BYTES = 8 * 2**20
#: Items that may wait, decoded, for partners that come later in the shard.
_MAX_WAITING = 8


@dataclass(frozen=True)
class Target:
    """A dataset that is being made: where it stands and what decides its rows. Travels to the workers.

    `epoch` is the lease of the run that makes it, 0 for none.
    """

    store: Store
    recipe: Recipe
    task: PretextTask[Any]
    versions: Mapping[str, str]
    decoder_files: tuple[DecoderFile, ...] = ()
    epoch: int = 0

    def fence(self) -> Fence:
        """Return a fence, not started, that decodes as the recipe says."""
        return Fence(self.recipe.limits, self.recipe.decode, decoder_files=self.decoder_files)

    def rendering(self) -> Rendering | None:
        """Return how examples are made of the dataset's rows; None where rows are examples."""
        return self.task.rendering() if self.recipe.store == "recipe" else None

    def task_features(self) -> Features:
        """Return the task's own columns of the dataset's rows."""
        return self.task.features() if self.rendering() is None else self.task.kept_features()

    def features(self) -> Features:
        """Return the columns of the dataset's rows, envelope included."""
        return with_envelope(self.task_features())

    def spec(self) -> dict[str, Any]:
        """Return the schema metadata `unlabeled`: the same for every shard of the dataset."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "features": self.features().to_json(),
            "objective": str(self.task.objective),
            "batching": {"kind": self.task.batching, "bundle_size": self.task.bundle_size},
        }


@dataclass(slots=True)
class SourceRows:
    """What one source has given so far: its rows, not yet in the file, or the reason why there are none.

    Rows of a source that gives very many wait in `spool`, before those in `rows`.
    """

    part: Mapping[str, Any]
    sha256: str
    num_bytes: int
    rows: list[Row] = field(default_factory=list)
    num_row_bytes: int = 0
    spool: RowSpool | None = None
    num_output_bytes: int = 0
    filtered: Filtered | None = None
    rejected: Reject | None = None
    num_waiting: int = 0
    offer: Any = None

    @property
    def num_rows(self) -> int:
        """How many rows it has given."""
        return len(self.rows) + (self.spool.num_rows if self.spool else 0)

    def drop_rows(self) -> None:
        """Forget what it has given."""
        self.rows, self.num_row_bytes, self.spool = [], 0, None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An item that waits for partners."""

    source: SourceRows
    item: Any
    rng: ItemRng


class ShardMaker:
    """Makes one shard; fed source by source in the order of the plan.

    Args:
        target: the dataset.
        shard: the shard's plan row (SHARDS_SCHEMA).
        spool: folder on local disk for the file while it grows.
        clock: is told the stages of the work.
    """

    def __init__(self, target: Target, shard: Mapping[str, Any], spool: Path, clock: StageClock | None = None) -> None:
        self._clock = clock or StageClock()
        self._target = target
        self._task = target.task
        self._shard = shard
        self._features = target.features()
        self._task_features = target.task_features()
        self._class_names = self._task_features["label"].classes if "label" in self._task_features else ()
        self._is_recipe = target.rendering() is not None
        self._spool = spool
        self._writer = ShardFileWriter(
            spool / f"{shard['shard_id']}.parquet",
            self._features,
            target.spec(),
            target.recipe.shard,
            self._task.bundle_size,
            repeated=CROP if self._is_recipe else "",
        )
        recipe = target.recipe
        self._constants = self._writer.encode(
            {
                "task": recipe.task.name,
                "task_version": recipe.task.version,
                "recipe_hash": recipe.hash,
                "split": shard["split"],
                "seed": recipe.seed,
            }
        )
        self._task_columns = set(self._task_features.names)
        self._num_checked = 0
        self._crop: Any = None
        self._outcomes: list[Outcome] = []
        self._stats: Counter[str] = Counter()
        self._sources: deque[SourceRows] = deque()
        self._offers: dict[str, Any] = {}
        self._waiting: deque[_Waiting] = deque()

    @property
    def target(self) -> Target:
        """The dataset that it is made for."""
        return self._target

    @property
    def shard(self) -> Mapping[str, Any]:
        """The shard's plan row."""
        return self._shard

    @property
    def task(self) -> PretextTask[Any]:
        """The pretext task whose examples this shard holds."""
        return self._task

    def rng(self, source_key: str, segment: int) -> ItemRng:
        """Return the randomness of one item."""
        return ItemRng(self._target.recipe.seed, self._target.recipe.task.name, source_key, segment)

    def count(self, **numbers: int) -> None:
        """Add to the receipt's stats what decoding has cost; it decides nothing."""
        self._stats.update(numbers)

    def begin(self, part: Mapping[str, Any], sha256: str, num_bytes: int) -> SourceRows:
        """Begin a source whose bytes have been read."""
        return SourceRows(part, sha256, num_bytes)

    def add(self, source: SourceRows, segment: int, item: Source) -> None:
        """Make the examples of one item of the source.

        Raises:
            ConfigError: the task's example is not what its features() declare.
        """
        rng = self.rng(source.part["source_key"], segment)
        if not isinstance(self._task, PartneredTask):
            if not source.part["is_context"]:
                self._make(source, item, rng, None)
            return
        self._offer(source, item, rng)
        if not source.part["is_context"]:
            source.num_waiting += 1
            self._waiting.append(_Waiting(source, item, rng))
            # A source of many items does not keep them all until it ends.
            if source.num_waiting > _MAX_WAITING:
                self._serve_waiting(at_end=False)

    def filter(self, source: SourceRows, verdict: Filtered) -> None:
        """Note why an item of the source gives no example; the first reason stands for a source without any."""
        source.filtered = source.filtered or verdict

    def end(self, source: SourceRows) -> None:
        """End a source: now it may lend, and its rows go to the file once those of all sources before it have."""
        if source.offer is not None and source.rejected is None:
            self._lend(source.part["group_id"], source.offer)
        if not source.part["is_context"]:
            self._sources.append(source)
        self._serve_waiting(at_end=False)
        self._drain()

    def reject(self, part: Mapping[str, Any], verdict: Reject, sha256: str = "", num_bytes: int = 0) -> None:
        """Account for a source that cannot be used; whatever it gave before is dropped."""
        if part["is_context"]:
            return
        self._waiting = deque(waiting for waiting in self._waiting if waiting.source.part is not part)
        self._outcomes.append(
            Outcome(
                source_key=part["source_key"],
                start=part["start"],
                status="rejected",
                reason=str(verdict.reason),
                stage=str(verdict.stage),
                message=verdict.message,
                is_permanent=verdict.is_permanent,
                offset_bytes=-1 if verdict.offset_bytes is None else verdict.offset_bytes,
                sha256=sha256,
                num_bytes=num_bytes,
                etag=part["etag"],
            )
        )

    def finish(self, stats: Mapping[str, float]) -> Receipt:
        """Close the shard, put its file, then its receipt, and return the receipt that counts.

        Raises:
            StoreError: beyond the retry budget; a later attempt starts over.
        """
        started = time.thread_time()
        _, _, file = self.close()
        receipt = Receipt(
            shard_id=self._shard["shard_id"],
            split=self._shard["split"],
            file="",
            sha256="",
            num_bytes=0,
            num_rows=0,
            footer_sha256="",
            footer_num_bytes=0,
            row_groups=(),
            outcomes=tuple(self._outcomes),
            versions=dict(self._target.versions),
            stats={**self._stats, **stats},
        )
        if file is not None:
            receipt = self._put(file, receipt)
        spent = time.thread_time() - started
        self._clock.elsewhere_seconds += spent
        receipt = replace(receipt, stats=_added(receipt.stats, cpu_seconds=spent, cpu_seconds_write=spent))
        return write_receipt(self._target.store, receipt)

    def close(self) -> tuple[int, int, ShardFile | None]:
        """Make what still waits, close the file, and return (sources used, rows, file or None without rows)."""
        self._serve_waiting(at_end=True)
        self._drain()
        num_used = sum(outcome.status == "used" for outcome in self._outcomes)
        return num_used, self._writer.num_rows, self._writer.finish()

    def abort(self) -> None:
        """Drop the file on local disk."""
        self._writer.abort()

    def _put(self, file: ShardFile, receipt: Receipt) -> Receipt:
        key = f"data/{receipt.split}/{receipt.shard_id}-{file.sha256[:16]}.parquet"
        try:
            self._target.store.create_file(key, file.path)
        except AlreadyExists:
            # The name is the content: an attempt before us has put the same bytes.
            pass
        finally:
            file.path.unlink(missing_ok=True)
        return replace(
            receipt,
            file=key,
            sha256=file.sha256,
            num_bytes=file.num_bytes,
            num_rows=file.num_rows,
            footer_sha256=file.footer_sha256,
            footer_num_bytes=file.footer_num_bytes,
            row_groups=file.row_groups,
        )

    def _offer(self, source: SourceRows, item: Any, rng: ItemRng) -> None:
        assert isinstance(self._task, PartneredTask)  # noqa: S101 - only called for such tasks
        try:
            source.offer = self._task.offer(item, rng)
        except Filtered:
            return

    def _lend(self, group: str, offer: Any) -> None:
        self._offers.pop(group, None)
        self._offers[group] = offer
        if len(self._offers) > _PARTNER_WINDOW:
            del self._offers[next(iter(self._offers))]

    def _serve_waiting(self, *, at_end: bool) -> None:
        """Make the examples of waiting items that have their partners, or that cannot wait any longer."""
        while self._waiting:
            first = self._waiting[0]
            partners = self._partners(first)
            if len(partners) < self._task.num_partners and not at_end and len(self._waiting) <= _MAX_WAITING:
                return
            self._waiting.popleft()
            first.source.num_waiting -= 1
            self._make(first.source, first.item, first.rng, partners)

    def _partners(self, waiting: _Waiting) -> list[Any]:
        """Return up to `num_partners` offers of other groups, drawn by key, each of another group."""
        group = waiting.source.part["group_id"]
        offers = [offer for of, offer in self._offers.items() if of != group]
        order = waiting.rng.item("partners").permutation(len(offers))[: self._task.num_partners]
        return [offers[index] for index in order]

    def _make(self, source: SourceRows, item: Any, rng: ItemRng, partners: Sequence[Any] | None) -> None:
        if source.rejected is not None:
            return
        try:
            if isinstance(self._task, PartneredTask):
                made = self._task.examples(item, rng, partners or ())
            else:
                made = self._task.examples(item, rng)
            shared, num_shared_bytes = self._shared_cells(source, item, rng)
            for example in self._clock.each("transform", made):
                around = self._clock.enter("encode")
                row = self._row(rng, example)
                num_bytes = num_shared_bytes
                if self._is_recipe:
                    shared, num_crop_bytes = self._with_crop(shared, row.pop(CROP))
                    num_bytes += num_crop_bytes
                cells, num_own_bytes = self._writer.encode(row)
                self._clock.enter(around)
                num_bytes += num_own_bytes
                self._keep(source, (cells, num_bytes, shared))
                if source.num_output_bytes > self._target.recipe.limits.max_output_bytes:
                    source.rejected = _too_much(self._target.recipe.limits.max_output_bytes)
                    source.drop_rows()
                    return
        except Filtered as verdict:
            self.filter(source, verdict)
        except Reject as verdict:
            # An item that has waited is decoded in the turn of another source, which must not bear the blame.
            source.rejected = verdict
            source.drop_rows()

    def _keep(self, source: SourceRows, row: Row) -> None:
        """Keep a row until its source is through."""
        source.rows.append(row)
        source.num_row_bytes += row[1]
        source.num_output_bytes += row[1]
        if source.num_row_bytes >= SPOOLED_NUM_BYTES:
            batch = self._writer.batch_of(source.rows)
            source.spool = source.spool or RowSpool(self._spool, batch.schema)
            source.spool.add(batch, [num_bytes for _, num_bytes, _ in source.rows])
            source.rows, source.num_row_bytes = [], 0

    def _shared_cells(self, source: SourceRows, item: Source, rng: ItemRng) -> tuple[dict[str, Any], int]:
        """Return the cells that all rows of an item have in common, and about how many bytes they are."""
        constants, num_constant_bytes = self._constants
        cells, num_bytes = self._writer.encode(
            {
                "source_key": source.part["source_key"],
                "source_sha256": source.sha256,
                "source_num_bytes": source.num_bytes,
                "group_id": source.part["group_id"],
                "segment": rng.segment,
                "media_kind": item.media_kind,
                "source_codec": item.codec,
                "source_exif_orientation": item.exif_orientation,
                "source_truncated": item.is_truncated,
            }
        )
        return constants | cells, num_constant_bytes + num_bytes

    def _with_crop(self, shared: dict[str, Any], crop: Any) -> tuple[dict[str, Any], int]:
        """Return `shared` with the crop's cell, and how many bytes it adds: none where the row before had it."""
        if CROP in shared and crop is self._crop:
            return shared, 0
        self._crop = crop
        cells, num_bytes = self._writer.encode({CROP: crop})
        return shared | cells, num_bytes

    def _row(self, rng: ItemRng, example: Example) -> dict[str, Any]:
        """Return what is the example's own, by column."""
        values = dict(example.kept if self._is_recipe else example.values)
        label = values.get("label") if self._class_names else 0
        if (
            self._num_checked < _NUM_CHECKED_ROWS
            or values.keys() != self._task_columns
            or label is None
            or (self._class_names and not 0 <= label < len(self._class_names))
        ):
            self._task_features.check(values)
            self._num_checked += 1
        if self._class_names:
            values["label_name"] = None if label is None else self._class_names[label]
        return values | {"example_id": rng.example_id(example.draw), "draw": example.draw}

    def _drain(self) -> None:
        """Write the sources that are complete, in order."""
        while self._sources and not self._sources[0].num_waiting:
            source = self._sources.popleft()
            if source.rejected is not None:
                self.reject(source.part, source.rejected, source.sha256, source.num_bytes)
                continue
            around = self._clock.enter("write")
            self._write_rows(source)
            self._clock.enter(around)
            verdict = source.filtered or Filtered("no_examples")
            used = source.num_rows > 0
            self._outcomes.append(
                Outcome(
                    source_key=source.part["source_key"],
                    start=source.part["start"],
                    status="used" if used else "filtered",
                    reason="" if used else verdict.reason,
                    message="" if used else verdict.message,
                    sha256=source.sha256,
                    num_bytes=source.num_bytes,
                    etag=source.part["etag"],
                    num_examples=source.num_rows,
                )
            )

    def _write_rows(self, source: SourceRows) -> None:
        for number, _ in enumerate(self._appended(source), 1):
            if number % self._task.bundle_size == 0 or number == source.num_rows:
                self._writer.end_bundle()

    def _appended(self, source: SourceRows) -> Iterator[None]:
        """Append a source's rows to the file, one a turn."""
        for batch, sizes in source.spool.batches() if source.spool else ():
            for row, num_bytes in enumerate(sizes):
                self._writer.append_from(batch, row, num_bytes)
                yield
        for cells, num_bytes, shared in source.rows:
            self._writer.append(cells, num_bytes, shared)
            yield


def _added(stats: Mapping[str, float], **more: float) -> dict[str, float]:
    return {**stats, **{name: stats.get(name, 0.0) + value for name, value in more.items()}}


def _too_much(limit_bytes: int) -> Reject:
    return Reject(RejectReason.LIMIT_OUTPUT, f"its examples take more than {limit_bytes} bytes", stage=Stage.EXAMPLES)
