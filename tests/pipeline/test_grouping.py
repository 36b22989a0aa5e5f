from __future__ import annotations

from collections.abc import Sequence

from unlabeled.pipeline.grouping import LARGE_MIN_SOURCES, Copies, Recorded, assign, in_hash_order

TRAIN, VAL = "train", "val"


def itself(key: str) -> str:
    return key


def chain(*keys: str) -> Copies:
    """Return one component in which each key is a copy of the next."""
    near = {key: [*keys[max(0, at - 1) : at], *keys[at + 1 : at + 2]] for at, key in enumerate(keys)}
    return Copies([keys], near, 1000)


def groups(copies: Copies, keys: Sequence[str], **recorded: Recorded) -> list[str]:
    found = assign(copies, itself, recorded)
    return [found.group_of(key) for key in keys]


def test_copies_share_the_group_of_the_first_by_hash() -> None:
    first = in_hash_order("abc")[0]
    assert groups(chain("a", "b", "c"), "abcd") == [first, first, first, "d"]


def test_a_newcomer_inherits_group_and_split_of_what_it_copies() -> None:
    assert groups(chain("new", "old"), ["new", "old"], old=Recorded("g", VAL)) == ["g", "g"]


def test_a_source_that_links_two_splits_is_filtered() -> None:
    recorded = {"x": Recorded("x", TRAIN), "y": Recorded("y", VAL)}
    found = assign(chain("x", "new", "y"), itself, recorded)
    assert (found.filtered, found.group_of("x"), found.group_of("y")) == ({"new": "bridges_splits"}, "x", "y")


def test_of_a_chain_between_two_splits_one_link_is_filtered() -> None:
    recorded = {"x": Recorded("x", TRAIN), "y": Recorded("y", VAL)}
    found = assign(chain("x", "a", "b", "y"), itself, recorded)
    assert list(found.filtered.values()) == ["bridges_splits"]
    assert {found.group_of(key) for key in "ab"} <= {"x", "y", *found.filtered}


def test_a_changed_source_that_now_copies_the_other_split_is_filtered() -> None:
    recorded = {"x": Recorded("x", TRAIN), "y": Recorded("y", VAL)}
    found = assign(chain("x", "y"), itself, recorded, changed=frozenset("y"))
    assert found.filtered == {"y": "bridges_splits"}


def test_dropping_keeps_the_first_by_hash_or_what_stands() -> None:
    first, *others = in_hash_order("abc")
    fresh = assign(chain("a", "b", "c"), itself, {}, keeps_one=True)
    assert fresh.filtered == dict.fromkeys(others, "near_duplicate")
    standing = assign(chain("a", "b", "c"), itself, {others[0]: Recorded(others[0], TRAIN)}, keeps_one=True)
    assert set(standing.filtered) == {first, others[1]}


def test_a_component_that_is_too_large_is_reported_and_not_merged() -> None:
    keys = [str(number) for number in range(LARGE_MIN_SOURCES + 1)]
    found = assign(chain(*keys), itself, {})
    assert found.large == ((in_hash_order(keys)[0], len(keys)),)
    assert (found.num_copies, [found.group_of(key) for key in keys]) == (0, keys)


def test_copies_join_whole_groups_of_the_user() -> None:
    def camera(key: str) -> str:
        return key[0]

    found = assign(chain("a1", "b1"), camera, {})
    assert found.group_of("a2") == found.group_of("b2") == found.group_of("a1")
    later = assign(Copies(), camera, {"a1": Recorded("b", VAL), "b1": Recorded("b", VAL)})
    assert later.group_of("a3") == "b"
