"""`materialize` and `plan` as typed Python calls: the same models that the commands print as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from ..pipeline import discover
from ..pipeline.config import DecoderRecipe, Recipe, TaskRecipe
from ..pipeline.decode.decoder_file import DecoderFile, read_decoder
from ..pipeline.errors import ConfigError
from ..pipeline.forgotten import tombstones
from ..pipeline.inventory import Inventory, take_inventory
from ..pipeline.lease import Lease, acquire
from ..pipeline.manifest import versions
from ..pipeline.materialize import Finished, Output, Progress, Request, draft_new_plan, load_base, materialize
from ..pipeline.parts import part_names
from ..pipeline.pilot import PILOT_NUM_SOURCES, Pilot, hash_sources, run_pilot, sample_items
from ..pipeline.plan import Shards
from ..pipeline.shard import Target
from ..pipeline.storage import Store, StoreOptions, last_name
from ..pipeline.task import Modality, PretextTask
from ..pipeline.versions import codec_versions
from .config import Settings, assignments, assignments_of
from .ray_start import Workers, set_environment
from .stopping import Draining


class MaterializeReport(BaseModel):
    """What `materialize` did for one dataset. Counts are over the whole dataset, times over this run.

    `num_near_duplicates`: sources that this run found to have copies and put into one group with them.
    `large_components`: what looks alike but is too much to be one group: first key by hash -> number of sources.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    task: str
    version: int
    published: bool
    fingerprint: str
    num_sources: int
    num_used: int
    num_filtered: int
    num_rejected: int
    rejected_by_reason: dict[str, int]
    filtered_by_reason: dict[str, int]
    num_skipped_markers: int
    num_near_duplicates: int
    large_components: dict[str, int]
    num_shards: int
    num_made_shards: int
    num_skipped_shards: int
    num_examples: int
    num_bytes_in: int
    num_bytes_out: int
    seconds: float
    ray_start_seconds: float
    cpu_seconds: float
    cpu_seconds_by_stage: dict[str, float]
    peak_worker_rss_bytes: int


class PlanReport(BaseModel):
    """What `materialize` would do for one dataset. Estimates come from a pilot, or from constants without one."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    task: str
    base_version: int
    num_sources: int
    num_new_sources: int
    num_planned_sources: int
    num_rejected: int
    num_skipped_markers: int
    num_shards_to_make: int
    num_shards_kept: int
    num_shards_replanned: int
    num_pilot_sources: int
    estimated_num_examples: int
    estimated_num_bytes: int
    estimated_cpu_hours: float
    seconds: float


@dataclass(frozen=True)
class Materialize:
    """One run of `materialize`: `Materialize(tasks=["image_rotation"], input=..., output=...).run()`.

    Args:
        tasks: names, files or `module:Class` of pretext tasks; several share reads and decodes.
        input: URI or path of the raw media.
        output: URI or path of the dataset; with several tasks, of the folder that will hold one dataset a task.
        settings: see `Settings`.
        task_settings: settings of each task, by its name.
        store_options: explicit credentials and endpoint; otherwise the environment's.
        replan: abandon what an earlier run left unfinished.
        rebuild: plan everything from nothing.
        decoders: paths of users' decoders; see pipeline.decode.decoder_file.
    """

    tasks: Sequence[str]
    input: str
    output: str
    settings: Settings = field(default_factory=Settings)
    task_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    store_options: StoreOptions = field(default_factory=StoreOptions)
    replan: bool = False
    rebuild: bool = False
    decoders: Sequence[str] = ()

    def argv(self) -> list[str]:
        """Return the command line that does the same; `run.address` is left out: it says where, not what.

        Raises:
            ConfigError: explicit credentials, which no command line may carry.
        """
        if self.store_options != StoreOptions():
            raise ConfigError(
                "`store_options`: a command takes endpoint and credentials from its environment (AWS_ENDPOINT_URL, "
                "AWS_ACCESS_KEY_ID, ...), where nobody reads them over your shoulder; leave them out."
            )
        settings = self.settings.model_copy(update={"run": self.settings.run.model_copy(update={"address": None})})
        sets = assignments(settings)
        for name, values in self.task_settings.items():
            own = {key: value for key, value in values.items() if self.settings.task.get(key, ...) != value}
            sets += assignments_of(name, own)
        return [
            "materialize",
            *(part for task in self.tasks for part in ("--task", task)),
            *("--input", self.input, "--output", self.output),
            *(part for path in self.decoders for part in ("--decoder", path)),
            *(part for assignment in sets for part in ("--set", assignment)),
            *(["--replan"] if self.replan else []),
            *(["--rebuild"] if self.rebuild else []),
        ]

    def outputs(self) -> list[Output]:
        """Return the datasets to make.

        Raises:
            ConfigError: unknown task, unknown or mistyped setting, tasks of different media.
        """
        if not self.tasks:
            raise ConfigError("`--task`: at least one pretext task is needed; `unlabeled tasks` lists them.")
        classes = [discover.find_task(spec) for spec in self.tasks]
        names = [task.name() for task in classes]
        if len(set(names)) < len(names):
            raise ConfigError(f"`--task`: each task once, but found {', '.join(names)}.")
        group_csv = _group_csv(self.settings.group_by)
        files = self._decoder_files()
        outputs = []
        for task_class, name in zip(classes, names, strict=True):
            task = discover.make_task(task_class, self.task_settings.get(name, self.settings.task))
            uri = self.output if len(classes) == 1 else f"{self.output.rstrip('/')}/{name}"
            recipe = self._recipe(task_class, task, group_csv, files)
            check_medium(task, recipe)
            check_store(task, recipe)
            store = Store.open(uri, self.store_options)
            outputs.append(Output(Target(store, recipe, task, codec_versions(), files), group_csv))
        families = {output.target.task.modality.removesuffix("_audio") for output in outputs}
        if len(families) > 1:
            raise ConfigError(
                f"`--task`: tasks that run together need one kind of media, but found {sorted(families)}."
            )
        return outputs

    def inventory(self, cache: Store | None) -> Inventory:
        """List the sources (or read the listing file)."""
        settings = self.settings
        return take_inventory(
            self.input,
            self.store_options,
            include=settings.include,
            column=settings.column,
            cache=cache,
            listing=settings.listing,
        )

    def run(self, progress: Progress | None = None) -> list[MaterializeReport]:
        """Run on Ray and return one report a dataset.

        Raises:
            UnlabeledError: see pipeline.errors; `exit_code` of its class is the command's.
        """
        set_environment()
        from .ray_metrics import MeteredProgress  # imports Ray

        outputs = self.outputs()
        _check_writable([output.target for output in outputs])
        begun, cpu = time.monotonic(), _DriverCpu(len(outputs))
        with contextlib.ExitStack() as stack:
            outputs, leases = _leased(outputs, stack, self.settings.run.lease_wait_seconds)
            targets = [output.target for output in outputs]
            # An index of a container would name what a dataset has forgotten of it.
            has_forgotten = any(tombstones(target.store) for target in targets)
            inventory = self.inventory(None if has_forgotten else targets[0].store)
            inputs = Store.open(inventory.root, self.store_options)
            cpu.end("list")
            workers = stack.enter_context(Workers(inputs, self.settings.run))
            metered = MeteredProgress(progress or Silent(), [_labels(target) for target in targets])
            workers.on_start = metered.connected
            if inventory.sources.num_rows and not all(versions(target.store) for target in targets):
                # There will be work: let workers load while this process plans.
                workers.start()
                cpu.end("ray")
            request = replace(self._request(outputs, inventory, inputs), fingerprint=workers.fingerprints)
            draining = Draining(workers, [lease.stop_workers for lease in leases])
            finished = materialize(request, draining, metered)
            seconds = time.monotonic() - begun - workers.ray_start_seconds
            cpu.end("driver")
            return [
                _report(output.target, done, seconds, workers.ray_start_seconds, cpu)
                for output, done in zip(outputs, finished, strict=True)
            ]

    def plan(self, *, num_pilot_sources: int = PILOT_NUM_SOURCES) -> list[PlanReport]:
        """Return what `run` would do, one report a dataset; decodes at most `num_pilot_sources` sources.

        Raises:
            UnlabeledError: as `run`.
        """
        outputs = self.outputs()
        started = time.monotonic()
        inventory = self.inventory(None)
        inputs = Store.open(inventory.root, self.store_options)
        request = self._request(outputs, inventory, inputs)
        return [self._plan_one(request, output, inputs, num_pilot_sources, started) for output in outputs]

    def _plan_one(
        self, request: Request, output: Output, inputs: Store, num_pilot_sources: int, started: float
    ) -> PlanReport:
        inventory = request.take_inventory()
        base = load_base(output.target)
        target, draft, _ = draft_new_plan(request, output, base, inventory)
        shards = draft.shards if draft else Shards.concat([])
        planned = shards.own_parts
        estimate = Pilot(0, 0, 0, sum(shards.shards["estimated_num_bytes"].to_pylist()), 0.0)
        num_pilot = min(num_pilot_sources, planned.num_rows)
        if num_pilot:
            estimate = run_pilot(target, inputs, planned, num_pilot).scaled(planned.num_rows)
        dropped = len(draft.dropped_shards) if draft else 0
        known = part_names(base.tables.parts)
        return PlanReport(
            dataset=target.store.uri,
            task=target.recipe.task.name,
            base_version=base.version,
            num_sources=draft.num_sources if draft else base.tables.parts.num_rows,
            num_new_sources=planned.num_rows
            - int(pc.sum(pc.is_in(part_names(planned), value_set=known)).as_py() or 0),
            num_planned_sources=planned.num_rows,
            num_rejected=inventory.rejected.num_rows,
            num_skipped_markers=inventory.num_skipped_markers,
            num_shards_to_make=len(shards),
            num_shards_kept=base.tables.shards.num_rows - dropped,
            num_shards_replanned=dropped,
            num_pilot_sources=num_pilot,
            estimated_num_examples=estimate.num_examples,
            estimated_num_bytes=estimate.num_bytes,
            estimated_cpu_hours=round(estimate.cpu_seconds / 3600, 4),
            seconds=round(time.monotonic() - started, 3),
        )

    def _request(self, outputs: Sequence[Output], inventory: Inventory, inputs: Store) -> Request:
        return Request(
            outputs=outputs,
            input_uri=inventory.root,
            take_inventory=lambda: inventory,
            hash_sources=lambda sources: hash_sources(inputs, sources),
            make_assets=lambda target, listed: _make_assets(target, inputs, listed),
            run=self.settings.run,
            replan=self.replan,
            rebuild=self.rebuild,
        )

    def _decoder_files(self) -> tuple[DecoderFile, ...]:
        files = tuple(read_decoder(Path(path)) for path in self.decoders)
        names = [file.name for file in files]
        if len(set(names)) < len(names):
            raise ConfigError(f"`--decoder`: each name once, but found {', '.join(names)}.")
        return files

    def _recipe(
        self,
        task_class: discover.TaskClass,
        task: Any,
        group_csv: bytes | None,
        decoder_files: Sequence[DecoderFile],
    ) -> Recipe:
        settings = self.settings
        return Recipe(
            task=TaskRecipe(
                name=task_class.name(),
                version=task_class.version,
                source_sha256=discover.source_sha256(task_class),
                settings=discover.settings_of(task),
            ),
            seed=settings.seed,
            val_fraction=settings.val_fraction,
            group_by=None if group_csv is not None else settings.group_by,
            group_csv_sha256=hashlib.sha256(group_csv).hexdigest() if group_csv is not None else None,
            dedup=settings.dedup,
            store=settings.store,
            column=settings.column,
            include=settings.include,
            limits=settings.limits,
            decode=settings.decode,
            decoders=tuple(
                DecoderRecipe(name=file.name, media=file.media, suffixes=file.suffixes, source_sha256=file.sha256)
                for file in decoder_files
            ),
            parts=settings.parts,
            shard=settings.shard,
        )


def check_store(task: PretextTask[Any], recipe: Recipe) -> None:
    """Check that the task's examples can be stored as asked for.

    Raises:
        ConfigError: they cannot be recipes; names the tasks whose can.
    """
    if recipe.store == "recipe" and not task.has_recipe:
        able = [name for name in discover.task_names() if discover.find_task(name).has_recipe]
        raise ConfigError(
            f"setting `store`: found 'recipe', but examples of {recipe.task.name} can be stored as 'pixels' alone; as "
            f"recipes: {', '.join(able)}."
        )


def check_medium(task: PretextTask[Any], recipe: Recipe) -> None:
    """Check that what decoding yields is what the task reads.

    Raises:
        ConfigError: a sound's rate, or the medium of a user's decoder, is another one; names both.
    """
    wants_hz = getattr(task, "sample_rate_hz", None)
    if task.modality in (Modality.AUDIO, Modality.VIDEO_AUDIO) and wants_hz not in (None, recipe.decode.audio_rate_hz):
        raise ConfigError(
            f"`task.sample_rate_hz` is {wants_hz}, but `decode.audio_rate_hz` is {recipe.decode.audio_rate_hz}: "
            f"they must be equal, such as --set task.sample_rate_hz={wants_hz} --set decode.audio_rate_hz={wants_hz}."
        )
    for decoder in recipe.decoders:
        if decoder.media != task.modality:
            raise ConfigError(
                f"`--decoder`: {decoder.name} makes MEDIA = {decoder.media!r}, but {recipe.task.name} reads "
                f"{task.modality}."
            )


class Silent:
    """Progress that says nothing."""

    def phase(self, text: str) -> None:
        """Say nothing."""

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        """Say nothing."""

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """Say nothing."""


def _leased(
    outputs: Sequence[Output], stack: contextlib.ExitStack, wait_seconds: float
) -> tuple[list[Output], list[Lease]]:
    """Return the outputs under a lease each, which `stack` gives back.

    Raises:
        Conflict: another run is at work on one of the datasets.
    """
    leased, leases = [], []
    for output in outputs:
        lease = stack.enter_context(acquire(output.target.store, wait_seconds=wait_seconds))
        leases.append(lease)
        leased.append(replace(output, target=replace(output.target, epoch=lease.epoch)))
    return leased, leases


def _labels(target: Target) -> dict[str, str]:
    """Labels of a dataset's metrics: its last name and its task, as many series as there are datasets."""
    return {"dataset": last_name(target.store.uri), "task": target.recipe.task.name}


class _DriverCpu:
    """CPU seconds of this process by stage, shared out to the datasets that are made together."""

    def __init__(self, num_datasets: int) -> None:
        self._num_datasets = num_datasets
        self._since = time.process_time()
        self.seconds: dict[str, float] = {}

    def end(self, stage: str) -> None:
        """End a stage and begin the next one."""
        now = time.process_time()
        self.seconds[stage] = (now - self._since) / self._num_datasets
        self._since = now


def _report(
    target: Target, done: Finished, seconds: float, ray_start_seconds: float, cpu: _DriverCpu
) -> MaterializeReport:
    counts, tally = done.manifest.counts, done.tally
    by_stage = {"list": cpu.seconds["list"], **tally.cpu_seconds_by_stage, "driver": cpu.seconds["driver"]}
    return MaterializeReport(
        dataset=target.store.uri,
        task=done.manifest.task,
        version=done.manifest.version,
        published=bool(tally.published),
        fingerprint=done.manifest.fingerprint,
        num_sources=counts.num_sources,
        num_used=counts.num_used,
        num_filtered=counts.num_filtered,
        num_rejected=counts.num_rejected,
        rejected_by_reason=counts.rejected_by_reason,
        filtered_by_reason=counts.filtered_by_reason,
        num_skipped_markers=counts.num_skipped_markers,
        num_near_duplicates=tally.num_near_duplicates,
        large_components=dict(tally.large_components),
        num_shards=counts.num_shards,
        num_made_shards=tally.num_shards_made,
        num_skipped_shards=tally.num_skipped_shards,
        num_examples=counts.num_examples,
        num_bytes_in=tally.num_bytes_in,
        num_bytes_out=counts.num_bytes,
        seconds=round(seconds, 3),
        ray_start_seconds=round(ray_start_seconds, 3),
        cpu_seconds=round(tally.cpu_seconds, 3),
        cpu_seconds_by_stage={stage: round(spent, 3) for stage, spent in by_stage.items()},
        peak_worker_rss_bytes=tally.peak_worker_rss_bytes,
    )


def _group_csv(group_by: str | None) -> bytes | None:
    """Return the csv that `group_by` names, or None where it is a regular expression."""
    if group_by is None or not group_by.endswith(".csv"):
        return None
    path = Path(group_by)
    if not path.is_file():
        raise ConfigError(f"`--group-by {group_by}`: there is no such file.")
    return path.read_bytes()


def _check_writable(targets: Sequence[Target]) -> None:
    """Fail now, not after the work, where a dataset's place cannot be written."""
    for target in targets:
        target.store.put("_leases/writable", b"")


def _make_assets(target: Target, inputs: Store, inventory: Inventory) -> Mapping[str, bytes]:
    of_keys = target.task.make_assets_of_keys(lambda: _keys(inventory))
    with target.fence() as fence:
        made = target.task.make_assets(lambda: sample_items(target.task, inputs, inventory.sources, fence))
    return {**of_keys, **made}


def _keys(inventory: Inventory) -> Iterator[str]:
    for batch in inventory.sources.select(["source_key"]).to_batches():
        for key, _ in itertools.groupby(batch.column(0).to_pylist()):
            yield key
