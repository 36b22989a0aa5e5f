from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline import shard
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import ConfigError, Filtered, Reject, RejectReason
from unlabeled.pipeline.features import with_envelope
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.ledger import Receipt, read_receipt
from unlabeled.pipeline.rng import ItemRng, sha256_hex
from unlabeled.pipeline.shard import ShardMaker, Target
from unlabeled.pipeline.task import Example, PretextTask

from tests.small_datasets import Neighbours, Tiny, picture, target

SHARD = {"shard_id": "5" * 64, "split": "train", "attempt": 0}
CORRUPT = Reject(RejectReason.CORRUPT, "bad marker", offset_bytes=7)


def part(key: str, group: str = "", *, is_context: bool = False) -> dict[str, Any]:
    return {
        "source_key": key,
        "group_id": group or key,
        "content_version": "",
        "is_context": is_context,
        "start": 0,
        "etag": f"etag of {key}",
    }


class Feed:
    """A shard being made of pictures; `Feed(...).source("a").source("b").finish()`."""

    def __init__(self, folder: Path, task: PretextTask[Any] | None = None, **recipe: Any) -> None:
        self.target: Target = target(folder / "dataset", task, **recipe)
        self.spool = folder / "spool"
        self.spool.mkdir(exist_ok=True)
        self.maker = ShardMaker(self.target, SHARD, self.spool)

    def source(self, key: str, *items: Image, group: str = "", is_context: bool = False) -> Feed:
        of = self.maker.begin(part(key, group, is_context=is_context), sha256_hex(key.encode()), 100)
        for segment, item in enumerate(items or [picture()]):
            self.maker.add(of, segment, item)
        self.maker.end(of)
        return self

    def broken(self, key: str, *items: Image, group: str = "", is_context: bool = False) -> Feed:
        """A source that turns out broken after some items."""
        row = part(key, group, is_context=is_context)
        of = self.maker.begin(row, sha256_hex(key.encode()), 100)
        for segment, item in enumerate(items):
            self.maker.add(of, segment, item)
        self.maker.reject(row, CORRUPT, sha256_hex(key.encode()), 100)
        return self

    def finish(self) -> Receipt:
        return self.maker.finish({"cpu_seconds": 1.5})

    def rows(self, receipt: Receipt) -> list[dict[str, Any]]:
        path = self.target.store.local_path(receipt.file)
        assert path is not None
        rows: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
        return rows


def fates(receipt: Receipt) -> dict[str, str]:
    """Return source_key -> used, or the reason why not."""
    return {outcome.source_key: outcome.reason or outcome.status for outcome in receipt.outcomes}


def test_rows_stand_in_the_order_of_the_plan(tmp_path: Path) -> None:
    feed = Feed(tmp_path).source("b", picture(0), picture(1)).source("a")
    rows = feed.rows(feed.finish())
    assert [(row["source_key"], row["segment"], row["draw"]) for row in rows] == [
        ("b", 0, 0),
        ("b", 0, 1),
        ("b", 1, 0),
        ("b", 1, 1),
        ("a", 0, 0),
        ("a", 0, 1),
    ]


def test_a_row_carries_the_envelope(tmp_path: Path) -> None:
    feed = Feed(tmp_path, seed=7)
    item = Image(media_kind="image", codec="png", exif_orientation=6, is_truncated=True, pixels=picture().pixels)
    row = feed.rows(feed.source("a/b.png", item, group="p1").finish())[1]
    payload, rng = row.pop("payload"), ItemRng(7, "tiny", "a/b.png")
    assert len(payload) == 8
    assert row == {
        "label": 1,
        "label_name": "odd",
        "example_id": rng.example_id(1),
        "task": "tiny",
        "task_version": "1",
        "recipe_hash": feed.target.recipe.hash,
        "source_key": "a/b.png",
        "source_sha256": sha256_hex(b"a/b.png"),
        "source_num_bytes": 100,
        "group_id": "p1",
        "split": "train",
        "segment": 0,
        "draw": 1,
        "seed": 7,
        "media_kind": "image",
        "source_codec": "png",
        "source_exif_orientation": 6,
        "source_truncated": True,
    }


def test_the_receipt_says_where_the_file_is_and_what_is_in_it(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    receipt = feed.source("a").finish()
    data = feed.target.store.get(receipt.file)
    assert receipt.file == f"data/train/{SHARD['shard_id']}-{receipt.sha256[:16]}.parquet"
    assert (receipt.sha256, receipt.num_bytes, receipt.num_rows) == (sha256_hex(data), len(data), 2)
    assert sum(group.num_rows for group in receipt.row_groups) == 2
    assert receipt.versions == {"numpy": "0"}
    assert receipt.stats["cpu_seconds"] == 1.5 + receipt.stats["cpu_seconds_write"]
    assert read_receipt(feed.target.store, SHARD["shard_id"]) == receipt
    assert not list(feed.spool.iterdir())


def test_the_schema_names_the_recipe_and_no_time_or_place(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    schema = pq.read_schema(feed.target.store.local_path(feed.source("a").finish().file))
    spec = json.loads(schema.metadata[b"unlabeled"])
    assert set(spec) == {"recipe", "features", "objective", "batching"}
    assert spec["batching"] == {"kind": "any", "bundle_size": 1}
    assert spec["features"] == with_envelope(Tiny().features()).to_json()


def test_every_part_is_accounted_for(tmp_path: Path) -> None:
    feed = Feed(tmp_path).source("used").source("small", picture(0, 3, 3)).broken("broken")
    feed.maker.reject(part("gone"), Reject(RejectReason.MISSING, "not there"))
    receipt = feed.finish()
    assert fates(receipt) == {"used": "used", "small": "too_small", "broken": "corrupt", "gone": "missing"}
    by_key = {outcome.source_key: outcome for outcome in receipt.outcomes}
    used, small, broken, gone = (by_key[key] for key in ("used", "small", "broken", "gone"))
    assert (used.num_examples, used.sha256, used.num_bytes, used.etag) == (2, sha256_hex(b"used"), 100, "etag of used")
    assert (small.status, small.message, small.num_examples) == ("filtered", "3 px < 4 px", 0)
    assert (broken.stage, broken.message, broken.offset_bytes, broken.is_permanent) == (
        "decode",
        "bad marker",
        7,
        True,
    )
    assert (gone.sha256, gone.offset_bytes, gone.is_permanent) == ("", -1, False)


def test_a_source_that_breaks_half_way_leaves_no_row(tmp_path: Path) -> None:
    feed = Feed(tmp_path).source("a").broken("b", picture(1), picture(2)).source("c")
    receipt = feed.finish()
    assert {row["source_key"] for row in feed.rows(receipt)} == {"a", "c"}
    assert receipt.num_rows == sum(outcome.num_examples for outcome in receipt.outcomes) == 4


def test_a_source_of_which_some_items_are_filtered_is_used(tmp_path: Path) -> None:
    feed = Feed(tmp_path).source("a", picture(0, 2, 2), picture(1))
    receipt = feed.finish()
    assert fates(receipt) == {"a": "used"}
    assert [row["segment"] for row in feed.rows(receipt)] == [1, 1]


@dataclass(frozen=True)
class Silent(Tiny):
    """Yields nothing and says no reason."""

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        yield from ()


def test_a_source_without_examples_and_reason_is_filtered(tmp_path: Path) -> None:
    assert fates(Feed(tmp_path, Silent()).source("a").finish()) == {"a": "no_examples"}


def test_a_shard_without_rows_has_a_receipt_and_no_file(tmp_path: Path) -> None:
    feed = Feed(tmp_path).broken("a")
    receipt = feed.finish()
    assert (receipt.file, receipt.num_rows, receipt.row_groups) == ("", 0, ())
    assert not [info for page in feed.target.store.list("data") for info in page]
    assert read_receipt(feed.target.store, SHARD["shard_id"]) == receipt


def test_the_same_sources_give_the_same_file(tmp_path: Path) -> None:
    receipts = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        receipt = Feed(tmp_path / name).source("a").broken("b").source("c", picture(3)).finish()
        receipts.append(dataclasses.replace(receipt, stats={}))
    assert receipts[0] == receipts[1]


def test_a_source_of_many_rows_waits_on_disk_and_gives_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = []
    for name, num_bytes in (("memory", 2**30), ("disk", 600)):
        monkeypatch.setattr(shard, "SPOOLED_NUM_BYTES", num_bytes)
        (tmp_path / name).mkdir()
        feed = Feed(tmp_path / name, Tiny(num_draws=7)).source("a", picture(0), picture(1)).broken("b", picture(2))
        receipts.append(dataclasses.replace(feed.source("c", picture(3)).finish(), stats={}))
        assert not list(feed.spool.iterdir())
    assert receipts[0] == receipts[1]


def test_the_first_receipt_counts_and_its_file_stays(tmp_path: Path) -> None:
    first = Feed(tmp_path).source("a").finish()
    data = Feed(tmp_path).target.store.get(first.file)
    # Another codec version, say: other bytes for the same shard.
    late = Feed(tmp_path)
    assert late.source("a", picture(9)).finish() == first
    assert late.target.store.get(first.file) == data


def test_an_equal_file_of_an_attempt_that_died_before_its_receipt_is_taken(tmp_path: Path) -> None:
    first = Feed(tmp_path).source("a").finish()
    feed = Feed(tmp_path)
    feed.target.store.delete([f"_receipts/{SHARD['shard_id']}.json"])
    again = feed.source("a").finish()
    assert (again.file, again.sha256, again.outcomes) == (first.file, first.sha256, first.outcomes)


def test_an_aborted_shard_leaves_nothing(tmp_path: Path) -> None:
    feed = Feed(tmp_path, shard={"row_group_max_rows": 1}).source("a").source("b")
    feed.maker.abort()
    assert not list(feed.spool.iterdir())
    assert not [info for page in feed.target.store.list() for info in page]


def test_a_source_whose_examples_take_too_much_is_rejected(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Tiny(num_draws=50, payload_bytes=100), limits=Limits(max_output_bytes=10_000))
    receipt = feed.source("a", picture(0), picture(1)).source("b", picture(0, 2, 2)).finish()
    assert fates(receipt) == {"a": "limit_output", "b": "too_small"}
    assert receipt.outcomes[0].stage == "examples"
    assert "10000 bytes" in receipt.outcomes[0].message
    assert receipt.num_rows == 0


@dataclass(frozen=True)
class Bundled(Tiny):
    @property
    def bundle_size(self) -> int:
        return self.num_draws


def test_row_groups_end_between_bundles(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Bundled(num_draws=3), shard={"row_group_max_rows": 7})
    for key in "abcde":
        feed.source(key)
    assert [group.num_rows for group in feed.finish().row_groups] == [6, 6, 3]


@dataclass(frozen=True)
class Wrong(Tiny):
    """Gives what its features do not declare, from some row on."""

    values: str = "{}"
    first_wrong: int = 0

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        for example in Tiny.examples(self, item, rng):
            wrong: Mapping[str, Any] = json.loads(self.values) if example.draw >= self.first_wrong else {}
            yield Example(example.draw, {**example.values, **wrong})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Wrong(values='{"label": 2}'), r"column 'label' must be in \[0, 2\), but is 2"),
        (Wrong(values='{"labels": 2}'), r"a column 'labels' that features\(\) lacks\. Did you mean 'label'"),
        (Wrong(values='{"labels": 2}', num_draws=200, first_wrong=150), "a column 'labels' that"),
        (Wrong(values='{"label": 2}', num_draws=200, first_wrong=150), r"column 'label' must be in \[0, 2\)"),
        (Wrong(values='{"payload": "x"}'), "column 'payload' must be binary, but is str"),
    ],
)
def test_an_example_against_the_contract_ends_the_run_by_name(
    tmp_path: Path, task: PretextTask[Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Feed(tmp_path, task).source("a")


def partners(feed: Feed, receipt: Receipt) -> dict[str, list[str]]:
    return {row["source_key"]: row["partners"] for row in feed.rows(receipt)}


def test_partners_come_from_other_groups(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours())
    receipt = feed.source("a1", group="a").source("a2", group="a").source("b1", group="b").finish()
    given = partners(feed, receipt)
    assert given == {"a1": ["b1"], "a2": ["b1"], "b1": ["a2"]}


def test_rows_keep_the_order_of_the_plan_while_items_wait(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours())
    feed.source("a1", group="a").source("a2", group="a").source("b1", group="b")
    assert [row["source_key"] for row in feed.rows(feed.finish())] == ["a1", "a2", "b1"]


def test_every_partner_is_of_another_group(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours(num_negatives=2))
    for key in ("a1", "b1", "b2", "b3", "c1"):
        feed.source(key, group=key[0])
    groups = {key: {name[0] for name in names} for key, names in partners(feed, feed.finish()).items()}
    assert groups == {"a1": {"b", "c"}, "b1": {"a", "c"}, "b2": {"a", "c"}, "b3": {"a", "c"}, "c1": {"a", "b"}}


def test_many_sources_of_one_group_do_not_hide_the_others(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours()).source("a1", group="a")
    for number in range(100):
        feed.source(f"b{number}", group="b")
    assert set(fates(feed.finish()).values()) == {"used"}


def test_with_too_few_groups_there_is_no_partner(tmp_path: Path) -> None:
    receipt = Feed(tmp_path, Neighbours(num_negatives=2)).source("a").source("b").finish()
    assert fates(receipt) == {"a": "no_partner", "b": "no_partner"}
    assert receipt.outcomes[0].message == "1 of 2"


def test_no_more_than_a_few_items_wait(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours())
    for number in range(20):
        feed.source(f"a{number:02d}", group="a")
    receipt = feed.source("b").finish()
    # Eight may wait, decoded, until the first of another group comes.
    assert list(fates(receipt).values()) == ["no_partner"] * 12 + ["used"] * 9


def test_context_lends_and_gives_nothing(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours()).source("context", is_context=True).source("a")
    receipt = feed.finish()
    assert partners(feed, receipt) == {"a": ["context"]}
    assert fates(receipt) == {"a": "used"}


def test_broken_context_is_no_reject(tmp_path: Path) -> None:
    receipt = Feed(tmp_path, Neighbours()).broken("context", is_context=True).source("a").finish()
    assert fates(receipt) == {"a": "no_partner"}


def test_context_of_a_task_without_partners_gives_nothing(tmp_path: Path) -> None:
    receipt = Feed(tmp_path).source("context", is_context=True).source("a").finish()
    assert fates(receipt) == {"a": "used"}


@pytest.mark.parametrize("is_context", [False, True])
def test_a_source_that_breaks_half_way_lends_nothing(tmp_path: Path, is_context: bool) -> None:
    feed = Feed(tmp_path, Neighbours()).source("a").broken("b", picture(), is_context=is_context).source("c")
    assert partners(feed, feed.finish()) == {"a": ["c"], "c": ["a"]}


def test_a_source_that_has_nothing_to_lend_may_still_borrow(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Neighbours()).source("tiny", picture(0, 2, 2)).source("b").source("c")
    assert partners(feed, feed.finish()) == {"tiny": ["b"], "b": ["c"], "c": ["b"]}


@dataclass(frozen=True)
class Late(Neighbours):
    """Looks at its item only when its examples are made, as a picture behind the fence is."""

    def examples(self, item: Image, rng: ItemRng, partners: Any = ()) -> Iterator[Example]:
        if item.codec == "hangs":
            raise Reject(RejectReason.DECODER_HANG, "no answer")
        yield from Neighbours.examples(self, item, rng, partners)


def test_an_item_that_fails_after_waiting_is_its_own_sources_fault(tmp_path: Path) -> None:
    feed = Feed(tmp_path, Late())
    hanging = Image(media_kind="image", codec="hangs", pixels=picture().pixels)
    receipt = feed.source("a", picture(), hanging).source("b").finish()
    assert fates(receipt) == {"a": "decoder_hang", "b": "used"}
    assert [row["source_key"] for row in feed.rows(receipt)] == ["b"]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["whole", "broken", "small"])), max_size=14))
def test_every_part_has_one_outcome_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, sources: list[tuple[str, str]]
) -> None:
    feed = Feed(tmp_path_factory.mktemp("shard"), Neighbours())
    for number, (group, fate) in enumerate(sources):
        if fate == "broken":
            feed.broken(str(number), picture(), group=group)
        else:
            feed.source(str(number), picture(0, 2 if fate == "small" else 16), group=group)
    receipt = feed.finish()
    assert sorted(outcome.source_key for outcome in receipt.outcomes) == sorted(map(str, range(len(sources))))
    assert receipt.num_rows == sum(outcome.num_examples for outcome in receipt.outcomes)
    rows = feed.rows(receipt) if receipt.file else []
    keys = [int(row["source_key"]) for row in rows]
    assert keys == sorted(keys)
    assert all(sources[int(row["partners"][0])][0] != row["group_id"] for row in rows)
    assert all(sources[int(row["partners"][0])][1] == "whole" for row in rows)


def test_the_reason_of_the_first_filtered_item_stands(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    of = feed.maker.begin(part("a"), "", 0)
    feed.maker.filter(of, Filtered("too_dark"))
    feed.maker.filter(of, Filtered("too_small"))
    feed.maker.end(of)
    assert fates(feed.finish()) == {"a": "too_dark"}


def test_pixels_may_be_read_only(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels.flags.writeable = False
    receipt = Feed(tmp_path).source("a", Image(media_kind="image", codec="png", pixels=pixels)).finish()
    assert fates(receipt) == {"a": "used"}
