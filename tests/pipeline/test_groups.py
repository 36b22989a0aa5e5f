from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.groups import group_function, splits_of


def test_without_groups_every_key_stands_alone() -> None:
    assert group_function(None)("a/b.jpg") == "a/b.jpg"


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"(?P<group>p\d+)/(x)", "p7"),
        (r"(x)_(?P<group>\d)", "1"),
        (r"^([^/]+)/", "p7"),
        (r"p\d+", "p7"),
        (r"scan", "p7/x_1.dcm"),
        (r"p7|(y)", "p7/x_1.dcm"),
    ],
)
def test_a_pattern_names_the_group(pattern: str, group: str) -> None:
    assert group_function(pattern)("p7/x_1.dcm") == group


def test_a_broken_pattern_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"`group_by`: '\(p' is no regular expression"):
        group_function("(p")


def test_a_csv_names_the_groups_and_other_keys_stand_alone() -> None:
    group_of = group_function("groups.csv", b'\xef\xbb\xbfsource_key,group\na.jpg,p1\n"b,c.jpg",p1\n')
    assert [group_of(key) for key in ("a.jpg", "b,c.jpg", "d.jpg")] == ["p1", "p1", "d.jpg"]


def test_an_empty_group_in_a_csv_is_no_group() -> None:
    group_of = group_function("groups.csv", b"source_key,group\na.jpg,\nb.jpg\n")
    assert [group_of(key) for key in ("a.jpg", "b.jpg")] == ["a.jpg", "b.jpg"]


def test_a_csv_that_lacks_a_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no column 'group'.*Did you mean 'groups'"):
        group_function("groups.csv", b"source_key,groups\n")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00"])
def test_what_is_no_csv_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match="`group_by` csv"):
        group_function("groups.csv", data)


def test_splits_stand_in_the_order_of_the_groups() -> None:
    assert splits_of(["patient-7", "patient-8", "patient-7"], 0.198, 0) == ["train", "val", "train"]
    assert splits_of(["patient-7", "patient-8", "patient-7"], 0.199, 0) == ["val", "val", "val"]


def test_about_the_wanted_share_of_groups_is_val() -> None:
    splits = splits_of([str(group) for group in range(4000)], 0.25, 0)
    assert abs(splits.count("val") - 1000) < 5 * 28


def test_another_seed_gives_another_split() -> None:
    groups = [str(group) for group in range(100)]
    assert splits_of(groups, 0.5, 0) != splits_of(groups, 0.5, 1)


@given(st.lists(st.text(max_size=3)), st.floats(0, 0.99))
def test_a_group_has_one_split_whatever_stands_around_it(groups: list[str], val_fraction: float) -> None:
    alone = [splits_of([group], val_fraction, 3)[0] for group in groups]
    assert splits_of(groups, val_fraction, 3) == alone


def test_no_val_split_where_none_is_wanted() -> None:
    assert set(splits_of([str(group) for group in range(100)], 0, 0)) == {"train"}
