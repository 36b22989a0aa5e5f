"""The main job, without Ray: resume what was planned, plan what has come since, have it made, publish it."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .assemble import assemble, check_counts, check_files, make_manifest
from .card import repair_card
from .config import Recipe, RunSettings, first_difference
from .dedup import Fingerprinter, grouping_of
from .errors import ConfigError, UnlabeledError
from .forgotten import without_forgotten
from .grouping import Grouping
from .groups import group_function
from .increment import Hasher
from .inventory import Inventory
from .lease import check_newest
from .ledger import PartName, Receipt, each_receipt, listed_receipts
from .manifest import (
    Manifest,
    Tables,
    create_content,
    load_manifest,
    load_tables,
    publish,
    read_asset,
    require_manifest,
)
from .parts import cut_sources
from .plan_store import Draft, Plan, abandon_plan, save_plan, unpublished_plan
from .planning import Base, Planning, draft_plan
from .rng import sha256_hex
from .shard import Target
from .work import Job, WorkUnit


@dataclass(frozen=True)
class Output:
    """One dataset that a run makes: its target, and what planning needs besides."""

    target: Target
    group_csv: bytes | None = None


class Executor(Protocol):
    """Has shards made somewhere and yields a row a shard (ray_materialize.RESULT_SCHEMA) as they are done."""

    def __call__(self, targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        """Make the jobs of every unit together; one row a job."""


class Progress(Protocol):
    """Is told how far a run is; for people only."""

    def phase(self, text: str) -> None:
        """Say what begins now."""

    def planned(self, num_shards: int, num_done: int, num_sources: int) -> None:
        """Say how much there is to do."""

    def shard_done(self, row: Mapping[str, Any]) -> None:
        """One shard has its receipt."""


@dataclass
class Tally:
    """What a run has done for one dataset, over all the plans that it finished."""

    num_shards_made: int = 0
    num_skipped_shards: int = 0
    num_bytes_in: int = 0
    cpu_seconds: float = 0.0
    cpu_seconds_by_stage: Counter[str] = field(default_factory=Counter)
    peak_worker_rss_bytes: int = 0
    seconds: float = 0.0
    published: list[int] = field(default_factory=list)
    num_near_duplicates: int = 0
    large_components: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Request:
    """A run: which datasets, from where, how.

    Args:
        outputs: the datasets; several share reads and decodes.
        input_uri: root of the sources (Inventory.root).
        take_inventory: lists the sources; called at most once.
        hash_sources: returns the sha256 of inventory rows by source_key; keys that are gone are left out.
        make_assets: returns the files that a task freezes in the first version, from the inventory.
        run: settings that change no byte.
        replan: abandon unpublished plans instead of finishing them.
        rebuild: plan everything from nothing.
        fingerprint: takes the fingerprints of sources, where a recipe asks for near-duplicate groups.
    """

    outputs: Sequence[Output]
    input_uri: str
    take_inventory: Callable[[], Inventory]
    hash_sources: Hasher
    make_assets: Callable[[Target, Inventory], Mapping[str, bytes]]
    run: RunSettings
    replan: bool = False
    rebuild: bool = False
    fingerprint: Fingerprinter | None = None


@dataclass(frozen=True)
class Finished:
    """What a run leaves: the dataset's newest version, and what was done for it."""

    manifest: Manifest
    tally: Tally


def materialize(request: Request, execute: Executor, progress: Progress) -> list[Finished]:
    """Bring every dataset up to its inputs, finishing first what an earlier run left, and return their versions.

    Raises:
        ConfigError: other settings than the dataset's.
        TooManyRejects, Conflict, StoreError, UnlabeledError: see pipeline.errors; nothing half-done is visible.
    """
    outputs = request.outputs
    tallies = [Tally() for _ in outputs]
    bases = [load_base(output.target) for output in outputs]
    plans = [_left_over(request, output.target, base) for output, base in zip(outputs, bases, strict=True)]
    if any(plans):
        progress.phase("finishing the plan of an earlier run")
        _carry_out(request, plans, bases, tallies, execute, progress)
        bases = [load_base(output.target) for output in outputs]
    progress.phase("listing the sources")
    inventory = request.take_inventory()
    progress.phase(f"planning {inventory.sources.num_rows:,} sources")
    plans = [
        new_plan(request, output, base, inventory, tally)
        for output, base, tally in zip(outputs, bases, tallies, strict=True)
    ]
    if any(plans):
        _carry_out(request, plans, bases, tallies, execute, progress)
    for output, base, plan in zip(outputs, bases, plans, strict=True):
        if plan is None and base.manifest is not None:
            # A run may have died between a version and its card, and a licence may be new where no source is.
            repair_card(output.target.store, base.manifest, base.tables, request.run.licence)
    return [
        Finished(require_manifest(output.target.store), tally) for output, tally in zip(outputs, tallies, strict=True)
    ]


def load_base(target: Target) -> Base:
    """Return the newest version that a plan would build on.

    Raises:
        ConfigError: the dataset was made with other settings; names the first field that differs.
    """
    manifest = load_manifest(target.store)
    if manifest is None:
        return Base(None, Tables())
    check_same_recipe(manifest.recipe, target.recipe, target.store.uri)
    return Base(manifest, load_tables(target.store, manifest))


def check_same_recipe(old: Recipe, new: Recipe, where: str) -> None:
    """Check that a run has the settings that a dataset or plan was made with.

    Raises:
        ConfigError: naming the first field that differs, found and expected.
    """
    added = ("dedup", "store")
    before, now = (
        {**recipe.model_dump(mode="json"), **{name: getattr(recipe, name) for name in added}} for recipe in (old, new)
    )
    difference = first_difference(before, now)
    if difference is None:
        return
    name, made_with, found = difference
    hint = "Use that value, or another --output."
    if name == "task.source_sha256":
        hint = "The task's code has changed since; use another --output, or --rebuild after `unlabeled forget`."
    raise ConfigError(f"setting `{name}`: found {found!r}, but {where} was made with {made_with!r}. {hint}")


def with_assets(target: Target, assets: Mapping[str, str]) -> Target:
    """Return the target with its task bound to the assets that its store holds.

    Raises:
        CorruptData: an asset's bytes do not match its name.
    """
    if not assets:
        return target
    loaded = {name: read_asset(target.store, sha256) for name, sha256 in assets.items()}
    return replace(target, task=target.task.with_assets(loaded))


def _left_over(request: Request, target: Target, base: Base) -> Plan | None:
    """Return the plan that an earlier run left unpublished, unless this run abandons it.

    Raises:
        ConfigError: it was made with other settings, or for another input.
    """
    plan = unpublished_plan(target.store, base.version, base.manifest.copied_from if base.manifest else None)
    if plan is None:
        return None
    if request.replan or request.rebuild:
        abandon_plan(target.store, plan.name)
        return _left_over(request, target, base)
    where = f"the unfinished run in {target.store.uri} (--replan abandons it)"
    check_same_recipe(plan.header.recipe, target.recipe, where)
    if plan.header.input_uri != request.input_uri:
        raise ConfigError(f"`--input`: found {request.input_uri!r}, but {where} reads {plan.header.input_uri!r}.")
    return plan


def draft_new_plan(
    request: Request, output: Output, base: Base, inventory: Inventory, *, write: bool = False
) -> tuple[Target, Draft | None, Grouping]:
    """Return the target with its assets, what is to be planned for what the inventory lists (None if nothing), groups.

    With `write`, the task's assets and the etags of unchanged objects are stored; without, nothing is.

    Raises:
        ConfigError: the dataset was made from another input.
    """
    target = output.target
    recipe = target.recipe
    inventory = without_forgotten(inventory, target.store)
    cut = cut_sources(inventory.sources, target.task.modality, recipe.parts, target.decoder_files)
    inventory = replace(inventory, sources=cut)
    if base.manifest is not None and base.manifest.input_uri != inventory.root and not request.rebuild:
        raise ConfigError(
            f"`--input`: found {inventory.root!r}, but {target.store.uri} was made from {base.manifest.input_uri!r}. "
            "Use that input or another --output; where the same sources have moved, add --rebuild."
        )
    if base.manifest:
        assets: Mapping[str, str] = base.manifest.assets
        target = with_assets(target, assets)
    else:
        data = request.make_assets(target, inventory)
        assets = {name: sha256_hex(content) for name, content in data.items()}
        if write:
            for content in data.values():
                create_content(target.store, f"_assets/{sha256_hex(content)}", content)
        target = replace(target, task=target.task.with_assets(data)) if data else target
    planned_on = Base(base.manifest, Tables(), is_rebuild=True) if request.rebuild else base
    group_of = group_function(target.recipe.group_by, output.group_csv)
    take = request.fingerprint if write else None
    siblings = [other.target.store for other in request.outputs if other is not output] if write else []
    grouping = grouping_of(target, inventory, planned_on.tables, group_of, take, siblings)
    work = Planning(target, inventory, assets, request.hash_sources, output.group_csv, write=write, grouping=grouping)
    return target, draft_plan(work, planned_on), grouping


def new_plan(request: Request, output: Output, base: Base, inventory: Inventory, tally: Tally) -> Plan | None:
    """Return the stored plan for what the inventory lists; None where nothing is new. Raises as `draft_new_plan`."""
    target, draft, grouping = draft_new_plan(request, output, base, inventory, write=True)
    tally.num_near_duplicates, tally.large_components = grouping.num_copies, grouping.large
    return None if draft is None else save_plan(target.store, draft)


def _carry_out(
    request: Request,
    plans: Sequence[Plan | None],
    bases: Sequence[Base],
    tallies: Sequence[Tally],
    execute: Executor,
    progress: Progress,
) -> None:
    """Have every plan's missing shards made, then publish each plan."""
    started = time.monotonic()
    targets = [
        with_assets(output.target, plan.header.assets if plan else {})
        for output, plan in zip(request.outputs, plans, strict=True)
    ]
    num_done_before = sum(tally.num_skipped_shards for tally in tallies)
    units = work_units(targets, plans, tallies)
    planned = [plan for plan in plans if plan is not None]
    num_done = sum(tally.num_skipped_shards for tally in tallies) - num_done_before
    progress.planned(sum(plan.shards.num_rows for plan in planned), num_done, sum(map(num_parts, planned)))
    for row in execute(targets, units):
        tally = tallies[row["target"]]
        tally.num_shards_made += 1
        tally.num_bytes_in += row["num_bytes_in"]
        tally.cpu_seconds += row["cpu_seconds"]
        tally.cpu_seconds_by_stage.update(dict(row["cpu_stages"]))
        tally.peak_worker_rss_bytes = max(tally.peak_worker_rss_bytes, row["peak_rss_bytes"])
        progress.shard_done(row)
    for target, plan, base, tally in zip(targets, plans, bases, tallies, strict=True):
        if plan is not None:
            progress.phase(f"publishing version {base.version + 1}")
            _publish(request, target, plan, base)
            tally.published.append(base.version + 1)
            tally.seconds += time.monotonic() - started


def num_parts(plan: Plan) -> int:
    """Return how many parts a plan's shards hold."""
    return sum(plan.shards["num_parts"].to_pylist())


def work_units(targets: Sequence[Target], plans: Sequence[Plan | None], tallies: Sequence[Tally]) -> list[WorkUnit]:
    """Return the shards that have no receipt yet, those of several datasets that share sources in one unit."""
    todo: list[Job] = []
    for index, (target, plan, tally) in enumerate(zip(targets, plans, tallies, strict=True)):
        if plan is None:
            continue
        done = listed_receipts(target.store)
        shards = plan.shards.to_pylist()
        tally.num_skipped_shards += sum(1 for shard in shards if shard["shard_id"] in done)
        todo += [
            Job(index, number, shard, plan.chunk_of(number))
            for number, shard in enumerate(shards)
            if shard["shard_id"] not in done
        ]
    if sum(plan is not None for plan in plans) < 2:
        return [WorkUnit((job,), job.shard["num_parts"]) for job in todo]
    return _joined(todo, plans)


def _joined(todo: Sequence[Job], plans: Sequence[Plan | None]) -> list[WorkUnit]:
    """Return jobs joined where they share a source: shards are cut at the same relative places for every task."""
    first_job: dict[tuple[int, int], int] = {(job.target, job.shard_index): at for at, job in enumerate(todo)}
    parent = list(range(len(todo)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    holder: dict[PartName, int] = {}
    for target, plan in enumerate(plans):
        if plan is None:
            continue
        parts = plan.parts()
        columns = (parts[name].to_pylist() for name in ("source_key", "start", "shard_index", "is_context"))
        for key, start, shard_index, is_context in zip(*columns, strict=True):
            at = first_job.get((target, shard_index))
            if at is None or is_context:
                continue
            parent[root(at)] = root(holder.setdefault((key, start), at))
    members: dict[int, list[Job]] = {}
    for at, job in enumerate(todo):
        members.setdefault(root(at), []).append(job)
    return [WorkUnit(tuple(jobs), sum(job.shard["num_parts"] for job in jobs)) for jobs in members.values()]


def _noting(target: Target, shard_ids: Sequence[str], files: list[Receipt]) -> Iterator[Receipt]:
    """Yield the receipts of shards, and put what they say of files into `files`."""
    for receipt in each_receipt(target.store, shard_ids):
        files.append(replace(receipt, outcomes=()))
        yield receipt


def _publish(request: Request, target: Target, plan: Plan, base: Base) -> None:
    shard_ids = plan.shards["shard_id"].to_pylist()
    missing = set(shard_ids) - listed_receipts(target.store)
    if missing:
        raise UnlabeledError(
            f"{len(missing)} of {len(shard_ids)} shards were not made (first: {min(missing)}); run it again."
        )
    files: list[Receipt] = []
    tables = assemble(plan, Tables() if plan.header.is_rebuild else base.tables, _noting(target, shard_ids, files))
    check_files(target.store, files)
    counts = check_counts(tables, plan.header.num_skipped_markers, request.run.rejects)
    if counts.num_examples == 0:
        reasons = {**counts.filtered_by_reason, **counts.rejected_by_reason}
        raise UnlabeledError(
            f"no example: none of {counts.num_sources} sources could be used ("
            + ", ".join(f"{number} {reason}" for reason, number in reasons.items())
            + "). Nothing was published. Other settings (see `unlabeled tasks`) need --replan."
        )
    manifest = make_manifest(target, plan, base, tables, counts, secrets.token_hex(16))
    check_newest(target.store, target.epoch)
    publish(target.store, manifest)
    repair_card(target.store, manifest, tables, request.run.licence)
