from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.rng import (
    ItemRng,
    canonical_json,
    keyed_fraction,
    keyed_fractions,
    keyed_generator,
    sha256_hex,
)

RNG = ItemRng(seed=0, task="image_rotation", source_key="a/b.jpg")
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


# These values are what stands in datasets: whoever changes them changes every dataset.
def test_known_values_of_the_on_disk_format() -> None:
    assert RNG.example_id(0) == "d54d43ac9a4a8da19ba0fc9c15eee5b5"
    assert RNG.order(4).tolist() == [2, 1, 0, 3]
    assert RNG.draw(0).integers(0, 1000, 4).tolist() == [45, 844, 140, 485]
    assert keyed_generator("split", 0, "a").integers(0, 2**32, 2).tolist() == [799221891, 4127762254]
    assert keyed_fraction("split", 0, "patient-7") == 0.1980736456003004


def test_canonical_json_is_sorted_dense_utf8() -> None:
    assert canonical_json({"b": [1, 2.5, None, True], "a": "ü"}) == '{"a":"ü","b":[1,2.5,null,true]}'.encode()


def test_canonical_json_takes_keys_that_are_not_unicode() -> None:
    assert json.loads(canonical_json(["\ud800"])) == ["\ud800"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_is_not_json(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(number)


@given(TREES)
def test_canonical_json_is_read_back(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


def test_sha256_hex() -> None:
    assert sha256_hex(b"abc") == hashlib.sha256(b"abc").hexdigest()


@given(st.integers(0, 2**63 - 1), st.text(max_size=8))
def test_a_fraction_is_in_the_unit_interval(seed: int, key: str) -> None:
    assert 0 <= keyed_fraction("split", seed, key) < 1


def test_fractions_are_uniform() -> None:
    fractions = [keyed_fraction("split", 0, key) for key in range(2000)]
    counts, _ = np.histogram(fractions, 10, (0, 1))
    assert all(abs(counts - 200) < 5 * np.sqrt(200))


@pytest.mark.parametrize(
    "other",
    [
        ItemRng(1, "image_rotation", "a/b.jpg"),
        ItemRng(0, "image_jigsaw", "a/b.jpg"),
        ItemRng(0, "image_rotation", "a/c.jpg"),
        ItemRng(0, "image_rotation", "a/b.jpg", 1),
    ],
)
def test_everything_in_the_identity_counts(other: ItemRng) -> None:
    assert other.example_id(0) != RNG.example_id(0)
    assert other.draw(0).bytes(8) != RNG.draw(0).bytes(8)
    assert other.item().bytes(8) != RNG.item().bytes(8)


def test_neighbouring_identities_do_not_run_together() -> None:
    assert ItemRng(0, "a", "bc").example_id(0) != ItemRng(0, "ab", "c").example_id(0)


def test_a_draw_does_not_depend_on_others_before_it() -> None:
    alone = RNG.draw(3).bytes(8)
    assert [RNG.draw(draw).bytes(8) for draw in range(4)][3] == alone


def test_an_item_and_its_draws_have_streams_of_their_own() -> None:
    streams = [RNG.item().bytes(8), RNG.item("crop").bytes(8), RNG.draw(0).bytes(8), RNG.draw(1).bytes(8)]
    assert len(set(streams)) == 4


@given(st.integers(0, 50), st.text(max_size=5))
def test_an_order_is_a_permutation(num_draws: int, key: str) -> None:
    order = ItemRng(0, "t", key).order(num_draws)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(num_draws))


@given(st.lists(st.text()), st.integers(0, 9))
def test_fractions_of_many_names_are_those_of_each(names: list[str], shared: int) -> None:
    assert [*keyed_fractions("split", shared, names)] == [keyed_fraction("split", shared, name) for name in names]
