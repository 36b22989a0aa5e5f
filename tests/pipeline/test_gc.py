from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Conflict, CorruptData
from unlabeled.pipeline.gc import find_garbage, remove_garbage
from unlabeled.pipeline.lease import Pace, acquire
from unlabeled.pipeline.ledger import listed_receipts
from unlabeled.pipeline.manifest import manifest_key
from unlabeled.pipeline.materialize import materialize
from unlabeled.pipeline.plan_store import abandon_plan, unpublished_plan
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import verify
from unlabeled.pipeline.work import Tools

from tests.actors import Actor
from tests.memory_store import Memory, MemoryStore
from tests.small_datasets import Quiet, execute_here, fill, jpeg, make, request, target

WEEK = timedelta(days=7)
#: Nobody waits by a real clock.
PACE = Pace(poll_seconds=0)


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


@pytest.fixture
def tools(fence: Fence, tmp_path: Path) -> Tools:
    return Tools(fence, tmp_path, ThreadPoolExecutor(1))


@pytest.fixture
def inputs(tmp_path: Path) -> Store:
    return Store.open(str(fill(tmp_path / "in", {f"{number}.jpg": jpeg(number) for number in range(12)})))


@pytest.fixture
def made(tmp_path: Path, inputs: Store, tools: Tools) -> Target:
    of = target(tmp_path / "out")
    make(of, inputs, tools)
    return of


def age(of: Target, days: float = 8) -> None:
    """Make everything that stands in the dataset older."""
    for path in Path(of.store.uri).rglob("*"):
        seconds = path.stat().st_mtime - days * 86400
        os.utime(path, (seconds, seconds))


def garbage(of: Target) -> set[str]:
    return {info.key for info in find_garbage(of.store, WEEK).objects}


def keys(of: Target, folder: str) -> set[str]:
    return {info.key for page in of.store.list(folder) for info in page}


#: Traces of runs: who tried what is of no use once it is published.
TRACES = ("_attempts/", "_leases/")


def serious(found: set[str]) -> set[str]:
    return {key for key in found if not key.startswith(TRACES)}


def test_what_the_versions_name_is_spared(made: Target, inputs: Store, tools: Tools) -> None:
    inputs.delete(["1.jpg"])
    make(made, inputs, tools)
    age(made)
    assert serious(garbage(made)) == set()


@pytest.mark.parametrize(
    "key", ["data/train/x.parquet", "_tables/x.parquet", "_assets/x", "_plans/x.parquet", "_receipts/x.json"]
)
def test_what_nothing_names_goes_when_it_is_old(made: Target, key: str) -> None:
    made.store.put(key, b"orphan")
    assert key not in garbage(made)
    assert find_garbage(made.store, WEEK).num_spared >= 1
    age(made)
    assert serious(garbage(made)) == {key}


@pytest.mark.parametrize("key", ["README.md", "notes.txt", "_manifests/x", "_fingerprints/x", "elsewhere/x"])
def test_what_is_not_ours_to_remove_stays(made: Target, key: str) -> None:
    made.store.put(key, b"mine")
    age(made)
    assert key not in garbage(made)


def test_traces_of_finished_runs_go(made: Target) -> None:
    age(made)
    assert keys(made, "_attempts") <= garbage(made)


def test_age_is_by_the_stores_clock(made: Target) -> None:
    made.store.put("data/train/x.parquet", b"orphan")
    age(made, 6.9)
    assert "data/train/x.parquet" not in garbage(made)
    age(made, 0.2)
    assert "data/train/x.parquet" in garbage(made)


def test_bytes_are_summed(made: Target) -> None:
    made.store.put("data/train/x.parquet", bytes(1234))
    age(made)
    assert find_garbage(made.store, WEEK).num_bytes == 1234


class Killed(Exception):
    pass


def leave_unfinished(of: Target, inputs: Store, tools: Tools) -> None:
    """Begin a run that makes its shards and is killed before it publishes."""

    def dying(*arguments: object) -> Iterator[dict[str, object]]:
        list(execute_here(inputs, tools)(*arguments))  # type: ignore[arg-type]
        raise Killed
        yield {}

    with pytest.raises(Killed):
        materialize(request([of], inputs), dying, Quiet())


@pytest.mark.parametrize("is_first", [True, False])
def test_what_an_unfinished_plan_needs_is_spared(tmp_path: Path, inputs: Store, tools: Tools, is_first: bool) -> None:
    of = target(tmp_path / "unfinished")
    if not is_first:
        make(of, inputs, tools)
        inputs.put("new.jpg", jpeg(99))
    leave_unfinished(of, inputs, tools)
    age(of)
    assert serious(garbage(of)) == set()
    assert listed_receipts(of.store)


def test_what_an_abandoned_plan_made_goes(made: Target, inputs: Store, tools: Tools) -> None:
    before = keys(made, "data")
    inputs.put("new.jpg", jpeg(99))
    leave_unfinished(made, inputs, tools)
    plan = unpublished_plan(made.store, 1)
    assert plan is not None
    abandon_plan(made.store, plan.name)
    age(made)
    found = garbage(made)
    assert keys(made, "data") - before <= found
    assert not before & found
    assert f"_plans/{plan.name}.json" in found


@pytest.mark.parametrize("folder", ["_manifests", "_tables", "_plans"])
def test_while_something_is_damaged_nothing_is_garbage(made: Target, folder: str) -> None:
    key = manifest_key(1) if folder == "_manifests" else sorted(keys(made, folder))[-1]
    for damaged in keys(made, folder) if folder == "_tables" else [key]:
        made.store.put(damaged, b"damaged")
    made.store.put("data/train/x.parquet", b"orphan")
    age(made)
    with pytest.raises(CorruptData):
        find_garbage(made.store, WEEK)


def test_a_dataset_without_its_garbage_is_whole(made: Target, inputs: Store, tools: Tools) -> None:
    inputs.delete(["1.jpg"])
    make(made, inputs, tools)
    age(made)
    made.store.delete(garbage(made))
    assert make(made, inputs, tools, rebuild=True).tally.num_shards_made <= 5
    assert serious(garbage(made)) == set()


@pytest.mark.parametrize("num_calls", range(0, 60, 5))
def test_what_a_run_takes_up_again_while_gc_looks_around_stays(inputs: Store, tools: Tools, num_calls: int) -> None:
    """Old shards of a plan that is abandoned are nobody's, until a new plan has the same ones."""
    memory = Memory()
    of = replace(target("unused"), store=MemoryStore(memory))
    make(of, inputs, tools)
    inputs.put("new.jpg", jpeg(99))
    leave_unfinished(of, inputs, tools)
    memory.pass_time(8 * 86400)

    def replan(client: Actor) -> None:
        with acquire(client, pace=PACE) as lease:
            make(replace(of, store=client, epoch=lease.epoch), inputs, tools, replan=True)

    gc = Actor(memory, "gc", lambda client: remove_garbage(client, WEEK, PACE))
    gc.step(num_calls)
    run = Actor(memory, "run", replan)
    run.step(300)
    gc.show_life()
    run.step(300)
    gc.step(300)
    assert run.is_over
    assert gc.is_over
    assert isinstance(run.error or gc.error, Conflict | None)
    assert verify(of.store).problems == []
    assert make(of, inputs, tools).manifest.version == 2
    assert verify(of.store).problems == []
