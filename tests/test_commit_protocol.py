"""The commit protocol against a model: any order of two writers and gc, who may die or be cut off anywhere.

The real code runs, on a store in memory whose every call waits until it is let go. The model knows what the bucket
held when, and that a version shows one such moment: whole, for ever, and none older than the version before it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Conflict, StoreError
from unlabeled.pipeline.gc import live_keys, remove_garbage
from unlabeled.pipeline.lease import Pace, acquire
from unlabeled.pipeline.manifest import load_tables, manifest_key, require_manifest, versions
from unlabeled.pipeline.materialize import materialize
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import verify
from unlabeled.pipeline.work import Tools

from tests.actors import Actor, Fate
from tests.memory_store import Memory, MemoryStore
from tests.small_datasets import Quiet, execute_here, fill, jpeg, request, target

PICTURES = [jpeg(number, 8, 8) for number in range(3)]
#: Nobody waits by a real clock.
PACE = Pace(poll_seconds=0)
MINUTE, WEEK = 60.0, 7 * 86400.0


@dataclass(frozen=True)
class Change:
    """An object of the bucket is put, or removed."""

    number: int
    is_there: bool


@dataclass(frozen=True)
class GoOn:
    """A process makes some calls; one that is not there, or has ended, begins."""

    name: str
    num_calls: int


@dataclass(frozen=True)
class Suffer:
    """A fault befalls the next call of a process."""

    name: str
    fate: Fate


@dataclass(frozen=True)
class Wait:
    """The store's clock goes on; who does not beat is cut off, or stands still."""

    seconds: float
    beating: frozenset[str]


NAMES = st.sampled_from(["a", "b", "gc"])
_GO_ON = st.builds(
    GoOn,
    st.sampled_from(["a", "b", "a --replan", "b --replan", "gc"]),
    st.sampled_from([1, 3, 10, 30, 60, 200]),  # a whole run makes about a hundred
)
EVENTS = st.one_of(
    _GO_ON,
    _GO_ON,
    _GO_ON,
    st.builds(Change, st.integers(1, 5), st.booleans()),
    st.builds(Suffer, NAMES, st.sampled_from(["dies before", "dies after", "refused", "reply lost"])),
    st.builds(Wait, st.sampled_from([MINUTE / 2, 2 * MINUTE, 1.1 * WEEK]), st.frozensets(NAMES)),
)


class Protocol(RuleBasedStateMachine):
    """Writers `a` and `b`, and `gc`; each a process on a machine of its own."""

    def __init__(self, fences: Mapping[str, Fence]) -> None:
        super().__init__()
        self._fences = fences
        self._folder = tempfile.TemporaryDirectory()
        self._inputs = Store.open(str(fill(Path(self._folder.name) / "in", {"0.jpg": PICTURES[0]})))
        self._memory = Memory()
        self._store = MemoryStore(self._memory)
        self._moments = [frozenset({"0.jpg"})]
        self._published: list[bytes] = []
        self._last_moment = 0
        self._looked_at = (0, 0)
        self._closing = ThreadPoolExecutor(1)
        self._actors: dict[str, Actor] = {}

    # What people and machines do.

    @initialize(is_made=st.booleans())
    def begin(self, is_made: bool) -> None:
        """Begin with a dataset of one version, or with none."""
        if is_made:
            self._calm_run()

    # One rule: of several, hypothesis would leave some out of most of the few histories that there is time for.
    @rule(event=EVENTS)
    def happens(self, event: Change | GoOn | Suffer | Wait) -> None:
        """Let something happen."""
        match event:
            case Change(number, is_there):
                self._change(f"{number}.jpg", is_there)
            case GoOn(name, num_calls):
                self._go_on(name, num_calls)
            case Suffer(name, fate) if name in self._actors:
                self._actors[name].step(1, fate)
            case Wait(seconds, beating):
                self._memory.pass_time(seconds)
                for name in beating & set(self._actors):
                    self._actors[name].show_life()

    # What must be true at any moment.

    @invariant()
    def versions_stand_for_ever(self) -> None:
        """No number is left out, no version ever changes, and each new one shows a moment of the bucket."""
        numbers = versions(self._store)
        assert numbers == list(range(1, len(numbers) + 1))
        found = [self._store.get(manifest_key(number)) for number in numbers]
        assert found[: len(self._published)] == self._published
        for number in numbers[len(self._published) :]:
            self._check_new(number)
        self._published = found

    @invariant()
    def all_that_is_named_is_there(self) -> None:
        """Readers of any version find every object, and so does whoever goes on with a plan."""
        now = self._memory.num_deleted, len(self._published)
        if now == self._looked_at:
            return
        self._looked_at = now
        missing = [key for key in live_keys(self._store) if key not in self._memory.objects]
        assert not missing

    @invariant()
    def only_conflicts_and_refusals_end_a_run(self) -> None:
        """Whoever ends with another error is wrong."""
        for actor in self._actors.values():
            assert actor.error is None or isinstance(actor.error, (Conflict, StoreError)), actor.error

    def teardown(self) -> None:
        """End all; after that one run brings the dataset up to the bucket."""
        try:
            for actor in self._actors.values():
                actor.kill()
            self._memory.pass_time(2 * MINUTE)
            self._calm_run()
        finally:
            self._closing.shutdown()
            self._folder.cleanup()

    def _change(self, key: str, is_there: bool) -> None:
        if is_there:
            self._inputs.put(key, PICTURES[len(self._moments) % 3])
            self._moments.append(self._moments[-1] | {key})
        else:
            self._inputs.delete([key])
            self._moments.append(self._moments[-1] - {key})

    def _go_on(self, name: str, num_calls: int) -> None:
        name, _, flag = name.partition(" ")
        if name not in self._actors or self._actors[name].is_over:
            program = self._collect if name == "gc" else functools.partial(self._run, replan=bool(flag))
            self._actors[name] = Actor(self._memory, name, program)
        self._actors[name].step(num_calls)

    def _calm_run(self) -> None:
        calm = Actor(self._memory, "calm", self._run)
        while not calm.is_over:
            calm.step(1)
        assert calm.error is None
        self.versions_stand_for_ever()
        self.all_that_is_named_is_there()
        assert self._sources(versions(self._store)[-1]) == self._moments[-1]

    def _check_new(self, number: int) -> None:
        assert verify(self._store, number).problems == []
        assert require_manifest(self._store, number).base_version == number - 1
        sources = self._sources(number)
        later = [at for at, moment in enumerate(self._moments) if at >= self._last_moment and moment == sources]
        assert later, f"version {number} shows {sorted(sources)}, but the bucket held {self._moments}"
        self._last_moment = later[0]

    def _sources(self, number: int) -> frozenset[str]:
        """Return the sources that a version accounts for; one that was gone when it was read counts as rejected."""
        parts = load_tables(self._store, require_manifest(self._store, number), "parts").parts
        reasons = set(zip(parts["status"].to_pylist(), parts["reason"].to_pylist(), strict=True))
        assert reasons <= {("used", ""), ("rejected", "missing"), ("rejected", "changed")}
        return frozenset(parts["source_key"].to_pylist())

    def _run(self, actor: Actor, *, replan: bool = False) -> None:
        with acquire(actor, pace=PACE) as lease, tempfile.TemporaryDirectory() as spool:
            of = replace(target("unused"), store=actor, epoch=lease.epoch)
            tools = Tools(self._fences[actor.name], Path(spool), self._closing)
            materialize(request([of], self._inputs, replan=replan), execute_here(self._inputs, tools), Quiet())

    def _collect(self, actor: Actor) -> None:
        remove_garbage(actor, timedelta(days=7), PACE)


@pytest.fixture(scope="module")
def fences() -> Iterator[dict[str, Fence]]:
    """A decoder for each of those who decode."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Fence(Limits(), DecodeOptions())) for name in ("a", "b", "calm")}


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_writers_gc_and_deaths(fences: dict[str, Fence], seed: int) -> None:
    """A seed a test: left to itself, hypothesis would try small variations of a few histories."""
    _try(fences, seed, num_histories=2)  # the first one is always the shortest


@pytest.mark.chaos
def test_many_more_orders(fences: dict[str, Fence]) -> None:
    for seed in range(1000, 1000 + int(os.environ.get("UNLABELED_CHAOS_HISTORIES", "100"))):
        _try(fences, seed, num_histories=2)


def _try(fences: dict[str, Fence], seed: int, num_histories: int) -> None:
    machine = hypothesis.seed(seed)(functools.partial(Protocol, fences))
    run_state_machine_as_test(machine, settings=settings(max_examples=num_histories, stateful_step_count=30))
