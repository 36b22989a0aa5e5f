from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.increment import CHECKED_SCHEMA, Changes, compare
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA
from unlabeled.pipeline.manifest import PARTS
from unlabeled.pipeline.plan import MAX_ATTEMPTS

from tests.small_datasets import inventory_rows

NOTHING_CHECKED = CHECKED_SCHEMA.empty_table()


def listed(**contents: str) -> pa.Table:
    """Return an inventory: key -> content. The etag is the content; `content/2` is the same content uploaded again."""
    rows = [{**inventory_rows([key]).to_pylist()[0], "etag": content} for key, content in sorted(contents.items())]
    return pa.Table.from_pylist(rows, INVENTORY_SCHEMA)


def sha_of(etag: str) -> str:
    return f"sha256 of {etag.partition('/')[0]}"


def hashing(calls: list[str] | None = None, gone: tuple[str, ...] = ()) -> Callable[[pa.Table], Mapping[str, str]]:
    def hash_sources(sources: pa.Table) -> dict[str, str]:
        rows = sources.to_pylist()
        if calls is not None:
            calls.extend(row["source_key"] for row in rows)
        return {row["source_key"]: sha_of(row["etag"]) for row in rows if row["source_key"] not in gone}

    return hash_sources


@dataclass(frozen=True)
class Part:
    """One part of the base: what was read, what became of it, and the shard that holds it."""

    key: str
    content: str = "old"
    shard: str = "s1"
    status: str = "used"
    is_permanent: bool = True
    attempt: int = 0
    content_version: str = ""
    was_read: bool = True
    start: int = 0
    end: int = -1

    def row(self) -> dict[str, Any]:
        return {
            **inventory_rows([self.key]).to_pylist()[0],
            "generation": 1,
            "ordinal": int(self.shard[1:]),
            "shard_id": self.shard,
            "split": "train",
            "attempt": self.attempt,
            "group_id": self.key,
            "content_version": self.content_version,
            "start": self.start,
            "end": self.end,
            "status": self.status,
            "reason": "" if self.status == "used" else "why",
            "is_permanent": self.is_permanent,
            "sha256": sha_of(self.content) if self.was_read else "",
            "etag": self.content,
            "num_examples": 1,
        }


def base(*parts: Part) -> pa.Table:
    return pa.Table.from_pylist([part.row() for part in parts], PARTS)


def removed_of(found: Changes) -> list[str]:
    return list(found.removed["source_key"].to_pylist())


def transient(key: str, attempt: int = 0, **more: Any) -> Part:
    return Part(key, status="rejected", is_permanent=False, attempt=attempt, **more)


def changes(now: pa.Table, *parts: Part, checked: pa.Table = NOTHING_CHECKED, gone: tuple[str, ...] = ()) -> Changes:
    return compare(now, base(*parts), checked, hashing(gone=gone))


def new_of(found: Changes) -> list[tuple[str, int, str]]:
    """Return (key, attempt, content version) of what is planned from scratch."""
    names = ("source_key", "attempt", "content_version")
    return list(zip(*(found.new[name].to_pylist() for name in names), strict=True))


def replanned_of(found: Changes) -> dict[str, list[tuple[str, str]]]:
    """Return shard -> (key, content version) of what remains of it."""
    return {
        shard: list(zip(rows["source_key"].to_pylist(), rows["content_version"].to_pylist(), strict=True))
        for shard, rows in found.replanned.items()
    }


def test_nothing_new() -> None:
    calls: list[str] = []
    parts = base(Part("a"), Part("b", status="filtered"), Part("c", status="rejected"))
    found = compare(listed(a="old", b="old", c="old"), parts, NOTHING_CHECKED, hashing(calls))
    assert found.is_empty
    assert calls == []
    assert found.checked.num_rows == 0


def test_the_first_time_everything_is_new() -> None:
    found = changes(listed(a="1", b="2"))
    assert new_of(found) == [("a", 0, ""), ("b", 0, "")]
    assert not found.is_empty


def test_a_new_source_leaves_the_others_alone() -> None:
    found = changes(listed(a="old", b="old"), Part("a"))
    assert (new_of(found), removed_of(found), replanned_of(found)) == ([("b", 0, "")], [], {})


def test_a_deleted_source_has_its_shard_planned_again_from_what_remains() -> None:
    found = changes(listed(b="old", c="old"), Part("a"), Part("b"), Part("c", shard="s2"))
    assert (new_of(found), removed_of(found), replanned_of(found)) == ([], [], {"s1": [("b", "")]})


def test_a_shard_whose_sources_are_all_gone_remains_empty() -> None:
    assert replanned_of(changes(listed(c="old"), Part("a"), Part("b"), Part("c", shard="s2"))) == {"s1": []}


def test_changed_content_is_named_in_its_shard() -> None:
    found = changes(listed(a="new", b="old"), Part("a"), Part("b"))
    assert replanned_of(found) == {"s1": [("a", "sha256 of new"), ("b", "")]}
    assert (new_of(found), removed_of(found)) == ([], [])


def test_content_that_was_named_before_stays_named() -> None:
    found = changes(listed(a="new", b="old"), Part("a"), Part("b", content_version="sha256 of old"))
    assert replanned_of(found) == {"s1": [("a", "sha256 of new"), ("b", "sha256 of old")]}


def test_another_etag_of_the_same_content_is_no_change_and_is_kept() -> None:
    found = changes(listed(a="old/2"), Part("a"))
    assert found.is_empty
    assert found.checked.to_pylist() == [
        {"source_key": "a", "etag": "old/2", "num_bytes": 1000, "sha256": "sha256 of old"}
    ]


def test_what_was_checked_is_not_hashed_again() -> None:
    calls: list[str] = []
    first = changes(listed(a="old/2"), Part("a"))
    again = compare(listed(a="old/2"), base(Part("a")), first.checked, hashing(calls))
    assert again.is_empty
    assert calls == []


def test_what_was_checked_says_nothing_of_a_third_etag() -> None:
    first = changes(listed(a="old/2"), Part("a"))
    assert replanned_of(changes(listed(a="new"), Part("a"), checked=first.checked)) == {"s1": [("a", "sha256 of new")]}


def test_another_size_is_looked_at_even_with_the_same_etag() -> None:
    calls: list[str] = []
    at = INVENTORY_SCHEMA.get_field_index("num_bytes")
    resized = listed(a="old").set_column(at, "num_bytes", pa.array([7], pa.int64()))
    assert compare(resized, base(Part("a")), NOTHING_CHECKED, hashing(calls)).is_empty
    assert calls == ["a"]


@pytest.mark.parametrize("status", ["filtered", "rejected"])
def test_a_changed_source_that_gave_no_rows_is_planned_anew_and_its_shard_stays(status: str) -> None:
    found = changes(listed(a="old", b="new"), Part("a"), Part("b", status=status, attempt=1))
    assert (new_of(found), removed_of(found), replanned_of(found)) == ([("b", 0, "sha256 of new")], ["b"], {})


@pytest.mark.parametrize("status", ["filtered", "rejected"])
def test_a_deleted_source_that_gave_no_rows_leaves_its_shard_alone(status: str) -> None:
    found = changes(listed(a="old"), Part("a"), Part("b", status=status))
    assert (new_of(found), removed_of(found), replanned_of(found)) == ([], ["b"], {})
    assert not found.is_empty


@pytest.mark.parametrize("attempt", range(MAX_ATTEMPTS))
def test_a_transient_reject_is_tried_again_until_its_tries_are_used_up(attempt: int) -> None:
    found = changes(listed(a="old", b="old"), Part("a"), transient("b", attempt))
    again = attempt + 1 < MAX_ATTEMPTS
    assert new_of(found) == ([("b", attempt + 1, "")] if again else [])
    assert removed_of(found) == (["b"] if again else [])
    assert found.is_empty != again


def test_a_permanent_reject_is_not_tried_again() -> None:
    assert changes(listed(a="old"), Part("a", status="rejected")).is_empty


def test_a_transient_reject_that_was_never_read_is_new_content_when_its_etag_changes() -> None:
    found = changes(listed(a="new"), transient("a", 1, was_read=False))
    assert (new_of(found), removed_of(found)) == ([("a", 0, "sha256 of new")], ["a"])


def test_a_transient_reject_of_the_same_content_counts_its_tries_on() -> None:
    found = changes(listed(a="old/2"), transient("a", 1))
    assert new_of(found) == [("a", 2, "")]


@pytest.mark.parametrize("other", [transient("b"), Part("b", content="older", status="filtered")])
def test_what_is_planned_anew_does_not_remain_in_a_shard_that_is_planned_again(other: Part) -> None:
    found = changes(listed(a="new", b="old", c="old"), Part("a"), other, Part("c"))
    assert [key for key, _, _ in new_of(found)] == ["b"]
    assert replanned_of(found) == {"s1": [("a", "sha256 of new"), ("c", "")]}


def test_a_source_that_vanishes_while_it_is_hashed_is_not_lost() -> None:
    found = changes(listed(a="new"), Part("a"), gone=("a",))
    assert replanned_of(found) == {"s1": [("a", "")]}


def test_the_rows_are_those_listed_now() -> None:
    found = changes(listed(a="new", b="old", c="1"), Part("a"), Part("b"))
    assert found.replanned["s1"]["etag"].to_pylist() == ["new", "old"]
    assert found.new.schema.names == [*INVENTORY_SCHEMA.names, "content_version", "attempt"]


def cut(key: str, content: str, *starts: int) -> pa.Table:
    """Return an inventory of one source that is cut at `starts`, each part ten bytes long."""
    rows = [{**inventory_rows([key]).to_pylist()[0], "etag": content, "start": at, "end": at + 10} for at in starts]
    return pa.Table.from_pylist(rows, INVENTORY_SCHEMA)


def in_shards(*shards: str, **more: Any) -> pa.Table:
    """Return a base that holds one source, a part a shard."""
    parts = [Part("a", shard=shard, start=10 * n, end=10 * n + 10, **more) for n, shard in enumerate(shards)]
    return base(*parts, Part("b", shard="s1"))


def starts_of(table: pa.Table) -> list[tuple[str, int, str]]:
    names = ("source_key", "start", "content_version")
    return [*zip(*(table[name].to_pylist() for name in names), strict=True)]


NEIGHBOUR = listed(b="old")


def test_a_cut_source_that_is_the_same_changes_nothing() -> None:
    both = pa.concat_tables([cut("a", "old", 0, 10, 20), NEIGHBOUR])
    assert compare(both, in_shards("s1", "s2", "s3"), NOTHING_CHECKED, hashing()).is_empty


def test_a_changed_cut_source_replans_every_shard_that_holds_a_part_of_it() -> None:
    both = pa.concat_tables([cut("a", "new", 0, 10, 20, 30), NEIGHBOUR])
    found = compare(both, in_shards("s1", "s2", "s2"), NOTHING_CHECKED, hashing())
    version = "sha256 of new"
    assert {shard: starts_of(rows) for shard, rows in found.replanned.items()} == {
        "s1": [("a", 0, version), ("b", 0, "")],
        "s2": [("a", 10, version), ("a", 20, version)],
    }
    assert starts_of(found.new) == [("a", 30, version)]
    assert found.removed.num_rows == 0


def test_a_cut_source_that_shrinks_leaves_the_shards_of_its_last_parts() -> None:
    both = pa.concat_tables([cut("a", "new", 0), NEIGHBOUR])
    found = compare(both, in_shards("s1", "s2", "s3"), NOTHING_CHECKED, hashing())
    assert {shard: rows.num_rows for shard, rows in found.replanned.items()} == {"s1": 2, "s2": 0, "s3": 0}


def test_of_a_cut_source_only_the_part_that_failed_is_tried_again() -> None:
    parts = [Part("a", start=0, end=10), transient("a", start=10, end=20), Part("a", start=20, end=30)]
    found = compare(cut("a", "old", 0, 10, 20), base(*parts), NOTHING_CHECKED, hashing())
    assert starts_of(found.new) == [("a", 10, "")]
    assert found.removed.to_pylist() == [{"source_key": "a", "start": 10}]
    assert not found.replanned


CONTENTS = st.sampled_from(["old", "old/2", "new"])
PARTS_OF_A_BASE = st.lists(
    st.builds(
        Part,
        key=st.sampled_from("abcdefgh"),
        shard=st.sampled_from(["s1", "s2", "s3"]),
        status=st.sampled_from(["used", "filtered", "rejected"]),
        is_permanent=st.booleans(),
        attempt=st.integers(0, MAX_ATTEMPTS - 1),
        was_read=st.booleans(),
    ),
    unique_by=lambda part: part.key,
)


def is_sound(part: Part) -> bool:
    """Only rejects may be transient or unread."""
    return part.status == "rejected" or (part.is_permanent and part.was_read)


@settings(max_examples=300)
@given(
    PARTS_OF_A_BASE.map(lambda parts: [part for part in parts if is_sound(part)]),
    st.dictionaries(st.sampled_from("abcdefghij"), CONTENTS),
)
def test_applying_the_changes_to_the_base_gives_exactly_what_is_listed(
    parts: list[Part], contents: dict[str, str]
) -> None:
    found = compare(listed(**contents), base(*parts), NOTHING_CHECKED, hashing())
    kept = {part.key: part for part in parts if part.shard not in found.replanned}
    for key in removed_of(found):
        kept.pop(key, None)
    planned = [key for key, _, _ in new_of(found)]
    planned += [key for rows in replanned_of(found).values() for key, _ in rows]
    # Each listed key once: kept as it was, or planned.
    assert sorted([*kept, *planned]) == sorted(contents)
    for key, part in kept.items():
        assert sha_of(contents[key]) == sha_of(part.content)
        assert part.is_permanent or part.attempt == MAX_ATTEMPTS - 1
    versions = {key: version for key, _, version in new_of(found)}
    versions |= {key: version for rows in replanned_of(found).values() for key, version in rows}
    by_key = {part.key: part for part in parts}
    for key, version in versions.items():
        was = by_key.get(key)
        assert version in ("", sha_of(contents[key]))
        # Changed content is always named, so that no receipt of the old content can stand for it.
        assert version or was is None or sha_of(was.content) == sha_of(contents[key])
    assert found.is_empty == (not planned and len(kept) == len(parts))


@given(
    PARTS_OF_A_BASE.map(lambda parts: [part for part in parts if is_sound(part)]),
    st.dictionaries(st.sampled_from("abcdefghij"), CONTENTS),
)
def test_only_shards_that_lost_rows_are_planned_again(parts: list[Part], contents: dict[str, str]) -> None:
    found = compare(listed(**contents), base(*parts), NOTHING_CHECKED, hashing())
    lost = {
        part.shard
        for part in parts
        if part.status == "used" and sha_of(contents.get(part.key, "gone")) != sha_of(part.content)
    }
    assert set(found.replanned) == lost
