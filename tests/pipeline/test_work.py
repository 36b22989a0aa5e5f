from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.cpu_stages import STAGES, from_stats
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import ConfigError, StoreError
from unlabeled.pipeline.inventory import Inventory, take_inventory
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.ledger import Receipt, begin_attempt, listed_receipts
from unlabeled.pipeline.plan import PARTS_SCHEMA, Shards, pack, with_context, with_ids
from unlabeled.pipeline.plan_store import Draft, Plan, save_plan
from unlabeled.pipeline.planning import settle
from unlabeled.pipeline.pretext.image_rotation import ImageRotation
from unlabeled.pipeline.rng import ItemRng, sha256_hex
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.storage_local import LocalStore
from unlabeled.pipeline.task import Example, PretextTask
from unlabeled.pipeline.work import Job, Tools, items_of, make_shards

from tests.hostile_handlers import POISON, POISONED
from tests.small_datasets import Neighbours, Tiny, fill, inventory_rows, jpeg, removed_parts, target

FILES = {f"{number % 4}/{number}.jpg": jpeg(number) for number in range(10)}


def finished(futures: Iterable[Future[Receipt]]) -> list[Receipt]:
    return [future.result() for future in futures]


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


@pytest.fixture
def tools(fence: Fence, tmp_path: Path) -> Tools:
    (tmp_path / "spool").mkdir()
    return Tools(fence, tmp_path / "spool", ThreadPoolExecutor(1))


@pytest.fixture
def inputs(tmp_path: Path) -> Store:
    return Store.open(str(fill(tmp_path / "in", FILES)))


def plan_of(
    of: Target, inputs: Store, shards: Shards | None = None, *, with_versions: Mapping[str, str] | None = None
) -> Plan:
    """Return a stored plan for all that `inputs` hold; `with_versions`: the content that is expected of some."""
    inventory = take_inventory(inputs.uri)
    recipe, group_of = of.recipe, lambda key: str(key)[0]
    shards = pack(inventory.sources, of.task, recipe, group_of, generation=1) if shards is None else shards
    if of.task.num_partners:
        names = [name for name in PARTS_SCHEMA.names if name != "shard_index"]
        splits = shards.shards["split"].take(shards.parts["shard_index"])
        lenders = shards.parts.select(names).append_column("split", splits)
        shards = with_context(shards, of.task.num_partners, lenders)
    if with_versions:
        versions = [with_versions.get(key, "") for key in shards.parts["source_key"].to_pylist()]
        at = PARTS_SCHEMA.get_field_index("content_version")
        shards = Shards.of(shards.shards, shards.parts.set_column(at, "content_version", pa.array(versions)))
    nothing = Inventory("", inventory_rows([]), inventory.rejected, 0)
    draft = Draft(
        base_version=0,
        generation=1,
        recipe=recipe,
        assets={},
        input_uri=inputs.uri,
        num_skipped_markers=0,
        num_sources=inventory.sources.num_rows,
        is_rebuild=False,
        shards=with_ids(shards, recipe, {}),
        settled_parts=settle(nothing, recipe, group_of)[0],
        settled_rejects=settle(nothing, recipe, group_of)[1],
        dropped_shards=(),
        removed_parts=removed_parts(),
    )
    return save_plan(of.store, draft)


def jobs_of(plan: Plan, number: int = 0) -> list[Job]:
    return [Job(number, index, shard, plan.chunk_of(index)) for index, shard in enumerate(plan.shards.to_pylist())]


def rows_of(of: Target, receipt: Receipt) -> list[dict[str, Any]]:
    path = of.store.local_path(receipt.file)
    assert path is not None
    rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    return rows


def fates(receipts: list[Receipt]) -> dict[str, str]:
    return {outcome.source_key: outcome.reason or outcome.status for each in receipts for outcome in each.outcomes}


def test_every_source_of_every_shard_is_made(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out")
    receipts = finished(make_shards([of], jobs_of(plan_of(of, inputs)), inputs, tools))
    assert fates(receipts) == dict.fromkeys(FILES, "used")
    for receipt in receipts:
        for outcome in receipt.outcomes:
            assert outcome.sha256 == sha256_hex(FILES[outcome.source_key])
            assert outcome.num_bytes == len(FILES[outcome.source_key])
        stages = from_stats(receipt.stats)
        assert set(stages) == set(STAGES)
        assert receipt.stats["cpu_seconds"] == pytest.approx(sum(stages.values()))
        assert min(stages[stage] for stage in ("read", "fence", "transform", "encode", "write")) > 0
    assert not list(tools.spool.iterdir())


def test_a_shard_that_has_its_receipt_is_not_made_again(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out")
    jobs = jobs_of(plan_of(of, inputs))
    receipts = finished(make_shards([of], jobs, inputs, tools))
    gone = Store.open(str(tmp_path / "nothing here"))
    assert finished(make_shards([of], jobs, gone, tools)) == receipts


def test_sources_that_cannot_be_used_are_rejects(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out")
    fill(tmp_path / "in", {"9/cut.jpg": jpeg(1)[:300], "9/text.jpg": b"no picture", "9/empty.jpg": b""})
    plan = plan_of(of, inputs)
    inputs.delete(["0/0.jpg"])
    inputs.put("1/1.jpg", jpeg(77))
    found = fates(finished(make_shards([of], jobs_of(plan), inputs, tools)))
    wrong = {key: reason for key, reason in found.items() if reason != "used"}
    assert wrong == {
        "0/0.jpg": "missing",
        "1/1.jpg": "changed",
        "9/cut.jpg": "truncated",
        "9/text.jpg": "unidentified",
        "9/empty.jpg": "empty",
    }


def test_content_that_was_not_planned_is_a_reject(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out")
    expected = {"0/0.jpg": sha256_hex(FILES["0/0.jpg"]), "1/1.jpg": "f" * 64}
    found = fates(finished(make_shards([of], jobs_of(plan_of(of, inputs, with_versions=expected)), inputs, tools)))
    assert {key for key, reason in found.items() if reason == "changed"} == {"1/1.jpg"}
    assert found["0/0.jpg"] == "used"


def test_together_gives_the_same_bytes_as_alone(tmp_path: Path, tools: Tools) -> None:
    inputs = Store.open(str(fill(tmp_path / "in", {f"{name}.jpg": jpeg(ord(name)) for name in "abcdefghijklmnop"})))
    tasks: list[PretextTask[Any]] = [Tiny(), Neighbours(num_negatives=3), Tiny(num_draws=1)]
    kinds = [("alone", []), ("together", [])]
    for name, made in kinds:
        targets = [target(tmp_path / name / str(number), task) for number, task in enumerate(tasks)]
        plans = [plan_of(of, inputs) for of in targets]
        jobs = [job for number, plan in enumerate(plans) for job in jobs_of(plan, number)]
        for group in [jobs] if name == "together" else [[job] for job in jobs]:
            made += [
                (receipt.shard_id, receipt.sha256) for receipt in finished(make_shards(targets, group, inputs, tools))
            ]
    assert len(kinds[0][1]) > 9
    assert sorted(kinds[0][1]) == sorted(kinds[1][1])


def test_context_is_read_from_other_shards(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out", Neighbours(num_negatives=3), val_fraction=0)
    plan = plan_of(of, inputs)
    assert any(plan.parts()["is_context"].to_pylist())
    receipts = finished(make_shards([of], jobs_of(plan), inputs, tools))
    assert fates(receipts) == dict.fromkeys(FILES, "used")
    for receipt in receipts:
        for row in rows_of(of, receipt):
            assert {name[0] for name in row["partners"]} == set("0123") - {row["group_id"]}


def test_one_that_expects_other_content_does_not_spoil_it_for_others(
    tmp_path: Path, inputs: Store, tools: Tools
) -> None:
    targets = [target(tmp_path / "one"), target(tmp_path / "two", Tiny(num_draws=1))]
    plans = [plan_of(targets[0], inputs, with_versions={"1/1.jpg": "f" * 64}), plan_of(targets[1], inputs)]
    jobs = [job for number, plan in enumerate(plans) for job in jobs_of(plan, number)]
    receipts = finished(make_shards(targets, jobs, inputs, tools))
    num_first = plans[0].shards.num_rows
    assert fates(receipts[:num_first])["1/1.jpg"] == "changed"
    assert fates(receipts[num_first:])["1/1.jpg"] == "used"


def one_job(of: Target, inputs: Store) -> Job:
    (job,) = jobs_of(plan_of(of, inputs))
    return job


def one_shard(folder: Path, task: PretextTask[Any] | None = None) -> Target:
    return target(folder, task, val_fraction=0, shard={})


def died(of: Target, job: Job, num_times: int) -> None:
    """Leave the traces of attempts whose worker died."""
    for _ in range(num_times):
        begin_attempt(of.store, job.shard["shard_id"])


def trials(tools: Tools, deadly: str, tried: list[str]) -> Tools:
    """Return tools whose trials find one source to be deadly, and note which were tried."""

    def trial(of: Target, shard: Mapping[str, Any], part: Mapping[str, Any]) -> str:
        tried.append(part["source_key"])
        return "WorkerCrashedError: signal 11" if part["source_key"] == deadly else ""

    return replace(tools, trial=trial)


@pytest.mark.parametrize(("num_deaths", "num_tried"), [(0, 0), (1, 0), (2, len(FILES)), (9, len(FILES))])
def test_only_after_two_deaths_are_sources_tried_elsewhere(
    tmp_path: Path, inputs: Store, tools: Tools, num_deaths: int, num_tried: int
) -> None:
    of = one_shard(tmp_path / "out")
    job = one_job(of, inputs)
    died(of, job, num_deaths)
    tried: list[str] = []
    (receipt,) = finished(make_shards([of], [job], inputs, trials(tools, "none", tried)))
    assert len(tried) == num_tried
    assert set(fates([receipt]).values()) == {"used"}


def test_what_kills_in_a_trial_is_a_transient_reject_that_says_so(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = one_shard(tmp_path / "out")
    job = one_job(of, inputs)
    died(of, job, 2)
    (receipt,) = finished(make_shards([of], [job], inputs, trials(tools, "1/1.jpg", [])))
    (verdict,) = [outcome for outcome in receipt.outcomes if outcome.status != "used"]
    assert (verdict.source_key, verdict.reason, verdict.is_permanent) == ("1/1.jpg", "worker_death", False)
    assert "signal 11" in verdict.message


def test_of_tasks_together_only_the_one_that_dies_loses_the_source(
    tmp_path: Path, inputs: Store, tools: Tools
) -> None:
    targets = [one_shard(tmp_path / "one"), one_shard(tmp_path / "two", Tiny(num_draws=1))]
    jobs = [job for number, of in enumerate(targets) for job in jobs_of(plan_of(of, inputs), number)]
    died(targets[0], jobs[0], 2)

    def trial(of: Target, shard: Mapping[str, Any], part: Mapping[str, Any]) -> str:
        return "dead" if of is targets[1] and part["source_key"] == "1/1.jpg" else ""

    first, second = finished(make_shards(targets, jobs, inputs, replace(tools, trial=trial)))
    assert fates([first])["1/1.jpg"] == "used"
    assert fates([second])["1/1.jpg"] == "worker_death"


@dataclass(frozen=True, slots=True)
class Full(LocalStore):
    """A store that takes small objects, but no shard."""

    def create_file(self, key: str, path: Path) -> None:
        raise StoreError("no space left")


def test_a_store_that_fails_at_the_end_puts_no_blame_on_the_last_source(
    tmp_path: Path, inputs: Store, tools: Tools
) -> None:
    of = one_shard(tmp_path / "out")
    job = one_job(of, inputs)
    full = Target(Full(of.store.uri), of.recipe, of.task, of.versions)
    for _ in range(4):
        with pytest.raises(StoreError, match="no space left"):
            finished(make_shards([full], [job], inputs, tools))
    (receipt,) = finished(make_shards([of], [job], inputs, tools))
    assert set(fates([receipt]).values()) == {"used"}


@dataclass(frozen=True)
class Faulty(Tiny):
    """Breaks its contract."""

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        yield Example(0, {"label": 7, "payload": b""})


def test_a_faulty_task_is_never_blamed_on_a_source(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = one_shard(tmp_path / "out", Faulty())
    job = one_job(of, inputs)
    for _ in range(5):
        with pytest.raises(ConfigError, match=r"column 'label' must be in \[0, 2\)"):
            finished(make_shards([of], [job], inputs, tools))
    assert listed_receipts(of.store) == set()
    assert not list(tools.spool.iterdir())


def test_one_that_kills_the_decoder_among_others_decoded_ahead_is_the_only_reject(tmp_path: Path) -> None:
    of = target(tmp_path / "out", ImageRotation(side_px=16))
    files = {**FILES, "3/poison.jpg": jpeg(3) + POISON, "3/text.jpg": b"no picture"}
    inputs = Store.open(str(fill(tmp_path / "in", files)))
    (tmp_path / "spool").mkdir()
    with Fence(decoders=POISONED) as fence:
        tools = Tools(fence, tmp_path / "spool", ThreadPoolExecutor(1))
        found = fates(finished(make_shards([of], jobs_of(plan_of(of, inputs)), inputs, tools)))
    assert found == {
        **dict.fromkeys(FILES, "used"),
        "3/poison.jpg": "decoder_crash",
        "3/text.jpg": "unidentified",
    }


def test_items_for_a_sample_pass_over_what_does_not_decode(inputs: Store, fence: Fence) -> None:
    from unlabeled.pipeline.inventory import SourceReader

    inputs.put("0/0.jpg", b"no picture")
    rows = take_inventory(inputs.uri).sources
    inputs.delete(["1/1.jpg"])
    with SourceReader(inputs, rows) as reader:
        items = [item for source in reader for item in items_of(Tiny(), source, fence)]
    assert [item.width_px for item in items] == [32] * (len(FILES) - 2)
