from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.inventory import take_inventory
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.plan import pack
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import Example, PretextTask
from unlabeled.pipeline.trial import try_source
from unlabeled.pipeline.work import Tools

from tests.small_datasets import Neighbours, Tiny, fill, jpeg, target

MET: list[str] = []


@dataclass(frozen=True)
class Told(Tiny):
    """Tells whose examples were made."""

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        MET.append(rng.source_key)
        yield from super().examples(item, rng)


@dataclass(frozen=True)
class ToldPartners(Neighbours):
    """Tells how many partners an item got, or that its offer was asked for."""

    def offer(self, item: Image, rng: ItemRng) -> str:
        MET.append("offer")
        return super().offer(item, rng)

    def examples(self, item: Image, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        MET.append(f"{len(partners)} partners")
        yield from super().examples(item, rng, partners)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    (tmp_path / "spool").mkdir()
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as closing:
        yield Tools(fence, tmp_path / "spool", closing)


def tried(
    tmp_path: Path, tools: Tools, task: PretextTask[Any], content: bytes = jpeg(1), *, is_context: bool = False
) -> list[str]:
    """Return what the task met in the trial of one source."""
    inputs = Store.open(str(fill(tmp_path / "in", {"1.jpg": content})))
    of = target(tmp_path / "out", task, val_fraction=0, shard={})
    sources = take_inventory(inputs.uri).sources
    shards = pack(sources, of.task, of.recipe, str, generation=1)
    (part,) = shards.parts.to_pylist()
    MET.clear()
    try_source(of, shards.shards.to_pylist()[0], {**part, "is_context": is_context}, inputs, tools)
    assert not list(tools.spool.iterdir())
    assert not [info for page in of.store.list() for info in page]
    return list(MET)


def test_a_trial_makes_the_examples_and_leaves_nothing(tmp_path: Path, tools: Tools) -> None:
    assert tried(tmp_path, tools, Told()) == ["1.jpg"]


def test_partners_are_what_the_source_itself_lends(tmp_path: Path, tools: Tools) -> None:
    assert tried(tmp_path, tools, ToldPartners(num_negatives=3)) == ["offer"] * 4 + ["3 partners"]


def test_context_only_lends(tmp_path: Path, tools: Tools) -> None:
    assert tried(tmp_path, tools, ToldPartners(num_negatives=3), is_context=True) == ["offer"] * 3


def test_a_source_that_does_not_decode_is_survived(tmp_path: Path, tools: Tools) -> None:
    assert tried(tmp_path, tools, Told(), b"no picture") == []
