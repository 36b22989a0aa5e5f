"""What every pretext task promises, checked for all of them."""

from __future__ import annotations

import copy
import dataclasses
import pickle  # noqa: TID251 - Ray ships tasks to workers by pickle; nothing untrusted is read
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline import discover
from unlabeled.pipeline.features import with_envelope
from unlabeled.pipeline.rendering import CROP
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.task import Example, PartneredTask, PretextTask

from tests import samples

NUM_SOURCES = 24


def build(name: str) -> PretextTask[Any]:
    """Return the task with default settings, its assets made from sample items and bound."""
    task = discover.make_task(discover.find_task(name), {})
    assets = task.make_assets(lambda: (samples.item_for(task, rng_of(name, seed), seed) for seed in range(4)))
    return task.with_assets(assets)


def rng_of(name: str, seed: int) -> ItemRng:
    return ItemRng(seed=0, task=name, source_key=f"source-{seed}")


def run(task: PretextTask[Any], seed: int, item: Any = None) -> list[Example]:
    rng = rng_of(task.name(), seed)
    item = samples.item_for(task, rng, seed) if item is None else item
    if isinstance(task, PartneredTask):
        return list(task.examples(item, rng, partners(task, seed)))
    return list(task.examples(item, rng))


def partners(task: PartneredTask[Any], seed: int) -> Sequence[Any]:
    others = [seed + 1000 + i for i in range(task.num_partners)]
    return [task.offer(samples.item_for(task, rng_of(task.name(), o), o), rng_of(task.name(), o)) for o in others]


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return np.array_equal(left, right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


@pytest.fixture(scope="module", params=discover.task_names())
def task(request: pytest.FixtureRequest) -> PretextTask[Any]:
    return build(request.param)


@pytest.fixture(scope="module")
def examples(task: PretextTask[Any]) -> list[list[Example]]:
    """The examples of many sources, one list a source."""
    return [run(task, seed) for seed in range(NUM_SOURCES)]


def test_examples_have_exactly_the_declared_columns(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    assert any(examples)
    for example in examples[0] + examples[1]:
        task.features().check(example.values)


def test_the_envelope_fits_around_the_task(task: PretextTask[Any]) -> None:
    assert "example_id" in with_envelope(task.features())


def test_draws_are_numbered_from_zero_in_order(examples: list[list[Example]]) -> None:
    for of_source in examples:
        assert [example.draw for example in of_source] == list(range(len(of_source)))


def test_same_item_and_seed_give_the_same_examples(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    again = run(task, 3)
    assert len(again) == len(examples[3])
    for one, other in zip(again, examples[3], strict=True):
        assert all(equal(one.values[name], other.values[name]) for name in one.values)


def test_the_item_is_not_changed(task: PretextTask[Any]) -> None:
    item = samples.item_for(task, rng_of(task.name(), 5), 5)
    before = copy.deepcopy(item)
    run(task, 5, item)
    for name in item.__dataclass_fields__:
        one, other = getattr(item, name), getattr(before, name)
        if name == "clips":
            assert all(np.array_equal(a.frames, b.frames) for a, b in zip(one, other, strict=True))
        elif name == "audio":
            assert one is None or np.array_equal(one.samples, other.samples)
        else:
            assert equal(one, other)


def test_a_pickled_task_gives_the_same_examples(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    copied = pickle.loads(pickle.dumps(task))
    assert copied == task
    for one, other in zip(run(copied, 2), examples[2], strict=True):
        assert all(equal(one.values[name], other.values[name]) for name in one.values)


def test_settings_have_documentation(task: PretextTask[Any]) -> None:
    assert task.paper
    assert (type(task).__doc__ or "").strip()
    for field in dataclasses.fields(task):
        assert field.metadata.get("doc"), field.name


def test_every_class_is_covered_and_classes_are_balanced(
    task: PretextTask[Any], examples: list[list[Example]]
) -> None:
    classes = task.features()["label"].classes if "label" in task.features() else ()
    if not classes or len(classes) > 50:
        pytest.skip("no small set of classes")
    counts = Counter(int(example.values["label"]) for of_source in examples for example in of_source)
    expected = sum(counts.values()) / len(classes)
    assert set(counts) == set(range(len(classes)))
    # 4.5 standard deviations of a fair draw; exact where every source has every class.
    allowed = 4.5 * np.sqrt(expected)
    assert all(abs(counts[label] - expected) <= allowed for label in counts), counts


def test_the_draw_does_not_tell_the_label(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    classes = task.features()["label"].classes if "label" in task.features() else ()
    if not classes or len(classes) > 50:
        pytest.skip("no small set of classes")
    by_draw: dict[int, Counter[int]] = {}
    for of_source in examples:
        for example in of_source:
            by_draw.setdefault(example.draw, Counter())[int(example.values["label"])] += 1
    for counts in by_draw.values():
        total = sum(counts.values())
        if total >= NUM_SOURCES:
            share = max(counts.values()) / total
            assert share <= 1 / len(classes) + 4.5 * np.sqrt(1 / len(classes) / total), counts


def test_stored_labels_are_rederived(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    if type(task).rederive is PretextTask.rederive:
        pytest.fail(f"{task.name()} has no rederive")
    item = samples.item_for(task, rng_of(task.name(), 1), 1)
    for example in examples[1]:
        again = task.rederive(example.values, item)
        assert again
        assert all(equal(again[name], example.values[name]) for name in again)


def test_what_a_recipe_keeps_makes_the_example(task: PretextTask[Any], examples: list[list[Example]]) -> None:
    rendering = task.rendering()
    if rendering is None:
        assert task.kept_features() == task.features()
        assert not any(example.kept for of_source in examples for example in of_source)
        return
    assert task.has_recipe
    assert rendering.seen(task.kept_features())[rendering.column] == task.features()[rendering.column]
    for of_source in examples:
        assert len({id(example.kept[CROP]) for example in of_source}) <= 1
        for example in of_source:
            task.kept_features().check(example.kept)
            assert equal(rendering.apply(example.kept), example.values[rendering.column])
            assert all(
                example.kept[name] is value for name, value in example.values.items() if name != rendering.column
            )
