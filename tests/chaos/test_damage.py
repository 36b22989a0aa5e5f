"""Stored files that are damaged, gone, or of a later release: refused by name; what does not need them goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.ledger import with_digest
from unlabeled.pipeline.manifest import load_manifest, load_tables, require_manifest
from unlabeled.pipeline.materialize import materialize
from unlabeled.pipeline.plan_store import load_plan, unpublished_plan
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import verify
from unlabeled.pipeline.work import Tools

from tests import planted
from tests.memory_store import Memory, MemoryStore
from tests.small_datasets import Quiet, execute_here, fill, jpeg, make, request, target

pytestmark = [pytest.mark.chaos, pytest.mark.quick]


class Killed(Exception):
    pass


@dataclass(frozen=True)
class Made:
    """A dataset of two versions, and a third that is made but not published."""

    target: Target
    inputs: Store
    tools: Tools

    @property
    def store(self) -> Store:
        return self.target.store

    def copy(self) -> Made:
        of = self.store
        assert isinstance(of, MemoryStore)
        return replace(self, target=replace(self.target, store=MemoryStore(Memory(dict(of.memory.objects)))))

    def go_on(self) -> int:
        """Run again; return the newest version."""
        return make(self.target, self.inputs, self.tools).manifest.version

    def unpublished(self, suffix: str) -> str:
        """Return the key of the third version's plan, of one of its tables, or of one of its receipts."""
        plan = unpublished_plan(self.store, 2)
        assert plan is not None
        return {
            "plan": f"_plans/{plan.name}.json",
            "plan table": f"_plans/{plan.header.chunks[0].sha256}.parquet",
            "receipt": f"_receipts/{plan.shards['shard_id'][0]}.json",
        }[suffix]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("damage")
    inputs = Store.open(str(fill(folder / "in", {f"{number}.jpg": jpeg(number) for number in range(12)})))
    of = replace(target("unused"), store=MemoryStore(Memory()))
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as closing:
        made = Made(of, inputs, Tools(fence, folder, closing))
        made.go_on()
        inputs.put("second.jpg", jpeg(98))
        made.go_on()
        inputs.put("third.jpg", jpeg(99))
        _leave_unpublished(made)
        yield made


def _leave_unpublished(made: Made) -> None:
    def dying(*arguments: Any) -> Iterator[dict[str, object]]:
        list(execute_here(made.inputs, made.tools)(*arguments))
        raise Killed
        yield {}

    with pytest.raises(Killed):
        materialize(request([made.target], made.inputs), dying, Quiet())


@pytest.fixture
def made(original: Made) -> Made:
    return original.copy()


def flip(store: Store, key: str) -> None:
    planted.flip_bit(store, key, len(store.get(key)) // 2)


def cut(store: Store, key: str) -> None:
    store.put(key, store.get(key)[:-9])


def remove(store: Store, key: str) -> None:
    store.delete([key])


def from_the_future(store: Store, key: str) -> None:
    body = json.loads(store.get(key))
    del body["sha256_of_rest"]
    store.put(key, with_digest({**body, "format_version": 2}))


def newest_only(store: Store, kind: str) -> str:
    """Return the key of a file that version 2 names and version 1 does not."""
    if kind == "manifest":
        return "_manifests/v00000002.json"
    new, old = (require_manifest(store, number) for number in (2, 1))
    if kind == "shard":
        files = [set(load_tables(store, of, "shards").shards["file"].to_pylist()) for of in (new, old)]
        return sorted(files[0] - files[1])[0]
    tables = {file.sha256 for file in new.tables if file.kind == kind} - {file.sha256 for file in old.tables}
    return f"_tables/{tables.pop()}.parquet"


Damage = Callable[[Store, str], None]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("manifest", flip),
        ("manifest", cut),
        ("manifest", from_the_future),
        ("shards", flip),
        ("parts", cut),
        ("row_groups", remove),
    ],
)
def test_a_version_that_cannot_be_read_is_refused_by_name(made: Made, kind: str, damage: Damage) -> None:
    """By readers and by the next run; the version before is as it was."""
    key = newest_only(made.store, kind)
    damage(made.store, key)
    for use in (lambda: verify(made.store), made.go_on):
        with pytest.raises((CorruptData, NotFound), match=key):
            use()
    assert verify(made.store, 1).problems == []


@pytest.mark.parametrize("damage", [flip, cut, remove])
def test_a_damaged_shard_is_named_and_harms_one_version(made: Made, damage: Damage) -> None:
    key = newest_only(made.store, "shard")
    damage(made.store, key)
    assert {problem.file for problem in verify(made.store).problems} == {key}
    assert verify(made.store, 1).problems == []


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("plan", flip),
        ("plan", cut),
        ("plan", from_the_future),
        ("plan table", flip),
        ("plan table", remove),
        ("receipt", flip),
        ("receipt", cut),
        ("receipt", from_the_future),
    ],
)
def test_damage_to_a_run_that_is_under_way_is_refused_by_name(made: Made, kind: str, damage: Damage) -> None:
    """By the next run, which publishes nothing; readers do not need it."""
    key = made.unpublished(kind)
    damage(made.store, key)
    with pytest.raises((CorruptData, NotFound), match=key):
        made.go_on()
    assert [verify(made.store, number).problems for number in (1, 2)] == [[], []]
    newest = load_manifest(made.store)
    assert newest is not None
    assert newest.version == 2


def test_a_shard_that_is_gone_before_its_version_is_published_is_named(made: Made) -> None:
    key = made.unpublished("receipt")
    file = json.loads(made.store.get(key))["file"]
    remove(made.store, file)
    with pytest.raises(CorruptData, match=f"{file} is missing.*{key}"):
        made.go_on()
    # What the message says to do helps.
    remove(made.store, key)
    assert made.go_on() == 3
    assert verify(made.store).problems == []


def test_the_plan_of_a_version_that_stands_is_not_needed(made: Made) -> None:
    """A run goes on from the version, whatever became of the plan that led to it."""
    made.go_on()
    name = require_manifest(made.store).plan
    assert load_plan(made.store, name)
    remove(made.store, f"_plans/{name}.json")
    assert made.go_on() == 3
