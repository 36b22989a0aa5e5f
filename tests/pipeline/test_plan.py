from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline import external_sort, plan
from unlabeled.pipeline.config import Recipe, ShardSettings
from unlabeled.pipeline.groups import group_function
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA
from unlabeled.pipeline.plan import (
    PART_FIELDS,
    PARTS_SCHEMA,
    SHARDS_SCHEMA,
    Shards,
    first_in_plan_order,
    in_plan_order,
    pack,
    rows_by_shard,
    shard_id,
    weight_of,
    with_context,
    with_ids,
)
from unlabeled.pipeline.task import Modality

from tests.small_datasets import SMALL_SHARDS, Tiny, inventory_rows, recipe


@dataclass(frozen=True)
class Sound(Tiny):
    modality = Modality.AUDIO


def site_of(key: str) -> str:
    return key[0]


def packed(
    sources: pa.Table, task: Tiny | None = None, made: Recipe | None = None, group_of: Callable[[str], str] = site_of
) -> Shards:
    return pack(sources, task or Tiny(), made or recipe(), group_of, generation=1)


def keys_of(shards: Shards) -> list[list[str]]:
    return [shards.parts_of(index)["source_key"].to_pylist() for index in range(len(shards))]


def sizes(seed: int, num_sources: int, largest: int = 9000) -> pa.Table:
    """Return sources of ten groups with sizes of their own."""
    rng = np.random.default_rng(seed)
    table = inventory_rows([f"{number % 10}/{number}" for number in range(num_sources)])
    column = INVENTORY_SCHEMA.get_field_index("num_bytes")
    return table.set_column(column, "num_bytes", pa.array(rng.integers(1, largest, num_sources)))


SOURCES = sizes(0, 60)
LISTINGS = st.lists(st.text("abc/1", min_size=1, max_size=4), unique=True, min_size=1, max_size=25)


@given(LISTINGS, st.randoms(use_true_random=False))
def test_a_shuffled_listing_gives_the_same_plan(keys: list[str], random: Any) -> None:
    shuffled = random.sample(keys, len(keys))
    one, other = (with_ids(packed(inventory_rows(names)), recipe(), {}) for names in (keys, shuffled))
    assert one.shards.equals(other.shards)
    assert one.parts.equals(other.parts)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.integers(1, 90), st.integers(1, 40), st.sampled_from([Tiny, Sound]))
def test_sources_put_in_order_on_disk_give_the_same_plan(
    seed: int, num_sources: int, num_in_memory: int, task: type[Tiny]
) -> None:
    sources = sizes(seed, num_sources)
    expected = packed(sources, task())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "RUN_NUM_ROWS", num_in_memory)
        patch.setattr(plan, "_ROWS_AT_ONCE", max(1, num_in_memory // 3))
        found = packed(sources, task())
        assert first_in_plan_order(sources, 7).equals(in_plan_order(sources).slice(0, 7))
    assert found.shards.equals(expected.shards)
    assert found.parts.equals(expected.parts)


@given(LISTINGS, st.integers(0, 9000), st.floats(0, 0.9))
def test_every_source_is_in_exactly_one_shard(keys: list[str], num_bytes: int, val_fraction: float) -> None:
    shards = packed(inventory_rows(keys, num_bytes), made=recipe(val_fraction=val_fraction))
    assert sorted(itertools.chain(*keys_of(shards))) == sorted(keys)
    assert shards.shards["num_parts"].to_pylist() == [len(names) for names in keys_of(shards)]
    assert all(keys_of(shards))


@given(LISTINGS, st.integers(0, 5))
def test_a_group_never_straddles_splits(keys: list[str], seed: int) -> None:
    shards = packed(inventory_rows(keys), made=recipe(seed=seed, val_fraction=0.5))
    splits: dict[str, set[str]] = {}
    for shard, parts in rows_by_shard(shards):
        for group in parts["group_id"].to_pylist():
            splits.setdefault(group, set()).add(shard["split"])
    assert all(len(of_group) == 1 for of_group in splits.values())


def test_no_source_no_shard() -> None:
    shards = packed(SOURCES.slice(0, 0))
    assert (len(shards), shards.parts.num_rows) == (0, 0)
    assert shards.shards.schema == SHARDS_SCHEMA
    assert shards.parts.schema == PARTS_SCHEMA


def test_tables_have_their_schema() -> None:
    shards = with_ids(packed(SOURCES), recipe(), {})
    assert shards.shards.schema.equals(SHARDS_SCHEMA)
    assert shards.parts.schema.equals(PARTS_SCHEMA)
    assert shards.parts["shard_index"].to_pylist() == sorted(shards.parts["shard_index"].to_pylist())


def test_parts_say_where_their_bytes_are() -> None:
    sources = inventory_rows(["a#x.jpg"]).to_pylist()[0] | {"object_key": "a", "offset_bytes": 512, "unit": "a#@0"}
    part = packed(pa.Table.from_pylist([sources], INVENTORY_SCHEMA)).parts.to_pylist()[0]
    assert part == {
        "shard_index": 0,
        "group_id": "a",
        "content_version": "",
        "start": 0,
        "end": -1,
        "is_context": False,
        **sources,
    }


def test_shards_are_of_about_equal_weight() -> None:
    shards = packed(sizes(1, 2000, 100), made=recipe(val_fraction=0, shard=ShardSettings(target_num_bytes=2**16)))
    numbers = shards.shards["num_parts"].to_pylist()
    assert len(numbers) in (1, 2, 4, 8)
    assert max(numbers) - min(numbers) <= 1


def test_shards_hold_about_what_the_settings_say() -> None:
    estimates = packed(sizes(2, 3000), made=recipe(val_fraction=0)).shards["estimated_num_bytes"].to_pylist()
    assert sum(estimates) == sum(sizes(2, 3000)["num_bytes"].to_pylist())
    # Rounding up to a power of two leaves room; pictures are cut by their number, so shards differ a little.
    assert 0.5 <= np.mean(estimates) / SMALL_SHARDS.target_num_bytes <= 1


@pytest.mark.parametrize(
    ("num_sources", "num_shards"),
    # 4096 bytes a shard are worth a shard of their own, until there are eight; then 65536 bytes fill one.
    [(1, 1), (4, 1), (9, 2), (40, 8), (500, 8), (600, 16)],
)
def test_small_inputs_are_spread(num_sources: int, num_shards: int) -> None:
    sources = inventory_rows([str(number) for number in range(num_sources)], 1000)
    assert len(packed(sources, made=recipe(val_fraction=0), group_of=str)) == num_shards


def test_a_source_larger_than_a_shard_is_a_shard() -> None:
    sources = inventory_rows(["a"], 10**9)
    assert keys_of(packed(sources)) == [["a"]]


def test_weights_beyond_64_bits_are_cut_alike() -> None:
    sources = sizes(3, 50, 2**55)
    shards = packed(sources, Sound(), recipe(val_fraction=0, shard=ShardSettings(target_num_bytes=2**52)))
    assert sorted(itertools.chain(*keys_of(shards))) == sorted(sources["source_key"].to_pylist())
    assert len(shards) > 8


@settings(max_examples=60)
@given(st.integers(0, 99), st.integers(1, 80), st.sampled_from([Tiny, Sound]), st.data())
def test_shards_of_several_tasks_nest(seed: int, num_sources: int, task: type[Tiny], data: st.DataObject) -> None:
    sources = sizes(seed, num_sources)
    targets = [data.draw(st.integers(2**16, 2**19)), data.draw(st.integers(2**16, 2**19))]
    plans = [packed(sources, task(), recipe(shard=ShardSettings(target_num_bytes=size))) for size in targets]
    fine, coarse = sorted(plans, key=len, reverse=True)
    shard_of = {key: index for index, keys in enumerate(keys_of(coarse)) for key in keys}
    for keys in keys_of(fine):
        assert len({shard_of[key] for key in keys}) == 1


def test_pictures_weigh_alike_and_long_media_by_their_bytes() -> None:
    num_bytes = np.array([1, 1000, 2**40])
    assert weight_of("image", num_bytes).tolist() == [1, 1, 1]
    # Small files cost their request, and huge ones are read in part only.
    assert weight_of("audio", num_bytes).tolist() == [16385, 17384, 2**26 + 2**14]


def test_members_of_one_unit_stay_together_in_their_order() -> None:
    rows = [
        {**inventory_rows([f"t#{name}"]).to_pylist()[0], "unit": unit, "object_key": "t", "offset_bytes": offset}
        for name, unit, offset in [("c", "t#@0", 5), ("a", "t#@0", 900), ("b", "t#@1", 1500), ("d", "t#@0", 100)]
    ]
    ordered = in_plan_order(pa.Table.from_pylist([*rows], INVENTORY_SCHEMA))
    units = ordered["unit"].to_pylist()
    assert [unit for unit, _ in itertools.groupby(units)] in (["t#@0", "t#@1"], ["t#@1", "t#@0"])
    assert [key for key in ordered["source_key"].to_pylist() if key != "t#b"] == ["t#c", "t#d", "t#a"]


ROW = ("a/b.jpg", "", "a", 0, -1, False)


# What stands in the names of files: another form means that all existing shards would be made again.
def test_the_id_of_a_shard_is_the_sha256_of_its_canonical_row() -> None:
    text = (
        '{"assets":{"bins":"00"},"attempt":2,"format_version":1,"parts":[["a/b.jpg","","a",0,-1,false]],'
        f'"recipe":"{recipe().hash}","split":"val"}}'
    )
    assert shard_id(recipe(), {"bins": "00"}, "val", 2, [ROW]) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        (recipe(seed=1), {}, "train", 0, [ROW]),
        (recipe(limits={"max_pixels": 7}), {}, "train", 0, [ROW]),
        (recipe(task=recipe().task.model_copy(update={"source_sha256": "1" * 64})), {}, "train", 0, [ROW]),
        (recipe(task=recipe().task.model_copy(update={"version": "2"})), {}, "train", 0, [ROW]),
        (recipe(), {"bins": "0" * 64}, "train", 0, [ROW]),
        (recipe(), {}, "val", 0, [ROW]),
        (recipe(), {}, "train", 1, [ROW]),
        (recipe(), {}, "train", 0, [ROW, ROW]),
        (recipe(), {}, "train", 0, []),
        *(
            (recipe(), {}, "train", 0, [(*ROW[:place], value, *ROW[place + 1 :])])
            for place, value in enumerate(["a/c.jpg", "f" * 64, "b", 1, 7, True])
        ),
    ],
)
def test_everything_that_decides_bytes_changes_the_id(other: tuple[Any, ...]) -> None:
    assert shard_id(*other) != shard_id(recipe(), {}, "train", 0, [ROW])


def test_etag_place_and_generation_do_not_change_the_id() -> None:
    one = with_ids(packed(inventory_rows(["a", "b"], etag="e")), recipe(), {})
    other = with_ids(pack(inventory_rows(["a", "b"], etag="f"), Tiny(), recipe(), site_of, generation=5), recipe(), {})
    assert one.shards["shard_id"].equals(other.shards["shard_id"])


def test_shards_of_one_plan_have_ids_of_their_own() -> None:
    ids = with_ids(packed(SOURCES), recipe(), {}).shards["shard_id"].to_pylist()
    assert len(set(ids)) == len(ids) > 4


def lenders_of(shards: Shards) -> pa.Table:
    names = [field.name for field in PART_FIELDS]
    splits = shards.shards["split"].take(shards.parts["shard_index"])
    return shards.parts.select(names).append_column("split", splits)


def context_of(shards: Shards, index: int) -> pa.Table:
    parts = shards.parts_of(index)
    return parts.filter(parts["is_context"])


@settings(max_examples=50)
@given(st.integers(0, 99), st.integers(1, 40), st.integers(0, 4))
def test_context_fills_up_groups_of_the_same_split(seed: int, num_sources: int, num_partners: int) -> None:
    made = recipe(seed=seed, val_fraction=0.5)
    plain = packed(sizes(seed, num_sources), made=made)
    shards = with_context(plain, num_partners, lenders_of(plain))
    split_of = {row["source_key"]: row["split"] for row in lenders_of(plain).to_pylist()}
    groups_of = {split: {key[0] for key, of in split_of.items() if of == split} for split in ("train", "val")}
    for index, (shard, parts) in enumerate(rows_by_shard(shards)):
        own = set(plain.parts_of(index)["group_id"].to_pylist())
        context = context_of(shards, index)
        added = context["group_id"].to_pylist()
        assert len(set(added)) == len(added)
        assert not own & set(added)
        assert {split_of[key] for key in context["source_key"].to_pylist()} <= {shard["split"]}
        wanted = num_partners + 1 if num_partners else len(own)
        assert len(own) + len(added) == max(len(own), min(wanted, len(groups_of[shard["split"]])))
        # Context first, then the shard's own parts as they stood.
        assert parts["is_context"].to_pylist() == [True] * len(added) + [False] * (parts.num_rows - len(added))
        assert parts.slice(len(added)).equals(plain.parts_of(index))
    assert shards.shards.equals(plain.shards)


@pytest.mark.parametrize("key", list("klmnop"))
def test_context_stands_in_plan_order(key: str) -> None:
    plain = packed(inventory_rows(list("abcdefghij")), made=recipe(val_fraction=0, shard=ShardSettings()))
    lenders = lenders_of(plain)
    one = with_context(packed(inventory_rows([key]), made=recipe(val_fraction=0)), 6, lenders)
    context = context_of(one, 0)
    assert context.num_rows == 6
    assert context["source_key"].to_pylist() == in_plan_order(context)["source_key"].to_pylist()


def test_own_parts_are_all_but_context() -> None:
    shards = packed(inventory_rows(["a", "b", "c"]))
    filled = with_context(shards, 4, lenders_of(packed(inventory_rows([*"abcdefgh"]))))
    assert filled.parts["is_context"].to_pylist().count(True) > 0
    for each in (shards, filled):
        assert each.own_parts.equals(shards.parts.drop_columns(["shard_index"]))


def test_lenders_need_not_hold_the_shards_own_group() -> None:
    lenders = lenders_of(packed(inventory_rows(["b"]), made=recipe(val_fraction=0)))
    shards = with_context(packed(inventory_rows(["a"]), made=recipe(val_fraction=0)), 1, lenders)
    assert keys_of(shards) == [["b", "a"]]


def test_context_changes_the_id() -> None:
    plain = packed(inventory_rows(["a1", "b1"]), made=recipe(val_fraction=0))
    alone = packed(inventory_rows(["a1"]), made=recipe(val_fraction=0))
    ids = [
        with_ids(shards, recipe(), {}).shards["shard_id"][0].as_py()
        for shards in (alone, with_context(alone, 1, lenders_of(plain)))
    ]
    assert len(set(ids)) == 2


def test_shards_are_joined_in_order() -> None:
    one, other = packed(inventory_rows(["a"])), packed(SOURCES)
    joined = Shards.concat([one, other])
    assert keys_of(joined) == keys_of(one) + keys_of(other)
    assert joined.parts_of(1).schema.equals(PARTS_SCHEMA)


def test_groups_by_pattern() -> None:
    shards = packed(SOURCES, group_of=group_function(r"^(\d)/"))
    assert Counter(shards.parts["group_id"].to_pylist()) == Counter({str(group): 6 for group in range(10)})
