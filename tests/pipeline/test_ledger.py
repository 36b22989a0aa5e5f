from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.ledger import (
    Outcome,
    Receipt,
    RowGroup,
    begin_attempt,
    checked_json,
    listed_receipts,
    read_receipt,
    read_receipts,
    receipt_key,
    with_digest,
    write_receipt,
)
from unlabeled.pipeline.storage import Store

A, B = ("a", 0), ("ü #1", 7)
RECEIPT = Receipt(
    shard_id="ab" * 32,
    split="val",
    file="data/val/ab.parquet",
    sha256="cd" * 32,
    num_bytes=1234,
    num_rows=6,
    footer_sha256="ef" * 32,
    footer_num_bytes=99,
    row_groups=(RowGroup(4, 4, 1000), RowGroup(2, 1004, 200)),
    outcomes=(
        Outcome("a/ü #1.jpg", "used", sha256="01" * 32, num_bytes=7, etag='"e"', num_examples=6),
        Outcome("b.jpg", "rejected", "corrupt", "decode", "bad", is_permanent=False, offset_bytes=3),
        Outcome("c.jpg", "filtered", "too_small"),
    ),
    versions={"pillow": "12.0"},
    stats={"cpu_seconds": 0.25},
)
EMPTY = replace(RECEIPT, file="", row_groups=(), outcomes=(), stats={})


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path))


@pytest.mark.parametrize("receipt", [RECEIPT, EMPTY])
def test_a_receipt_is_read_back(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json(), "r") == receipt


@given(st.text(max_size=10), st.text(max_size=10), st.integers(-1, 2**62))
def test_a_receipt_takes_any_key_and_message(key: str, message: str, offset_bytes: int) -> None:
    outcome = Outcome(key, "rejected", message=message, offset_bytes=offset_bytes)
    receipt = replace(RECEIPT, outcomes=(outcome,))
    assert Receipt.from_json(receipt.to_json(), "r") == receipt


DATA = RECEIPT.to_json()


@given(st.integers(0, 8 * len(DATA) - 1))
def test_a_flipped_bit_is_noticed_by_name(bit: int) -> None:
    damaged = bytearray(DATA)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptData, match=r"^_receipts/x\.json: "):
        Receipt.from_json(bytes(damaged), "_receipts/x.json")


@given(st.integers(0, len(DATA) - 1))
def test_a_truncated_file_is_noticed_by_name(num_bytes: int) -> None:
    with pytest.raises(CorruptData, match=r"^_receipts/x\.json: "):
        Receipt.from_json(DATA[:num_bytes], "_receipts/x.json")


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'"x"', b"[" * 100_000, b"\xff", b"NaN"])
def test_what_is_no_file_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptData, match="x: not "):
        checked_json(data, "x")


@pytest.mark.parametrize("version", [2, 0, "1", None, 1.5])
def test_another_format_version_is_refused_by_name(version: Any) -> None:
    with pytest.raises(CorruptData, match=r"x: format version .*, but this release reads 1; upgrade it"):
        checked_json(with_digest({"format_version": version}), "x")


@pytest.mark.parametrize(
    "change",
    [
        {"row_groups": [[1]]},
        {"row_groups": 3},
        {"outcomes": []},
        {"outcomes": {"source_key": ["a"], "status": []}},
        {"outcomes": {"source_key": ["a"], "fate": ["used"]}},
        {"surplus": 1},
    ],
)
def test_a_receipt_of_other_fields_is_refused_by_name(change: dict[str, Any]) -> None:
    body = {**json.loads(DATA), **change}
    del body["sha256_of_rest"]
    with pytest.raises(CorruptData, match="x: not a receipt of this version"):
        Receipt.from_json(with_digest(body), "x")


def test_a_digest_is_over_the_rest() -> None:
    assert checked_json(with_digest({"format_version": 1, "a": [1]}), "x") == {"a": [1]}


def test_the_first_receipt_counts(local: Store) -> None:
    other = replace(RECEIPT, sha256="00" * 32)
    assert write_receipt(local, RECEIPT) == RECEIPT
    assert write_receipt(local, other) == RECEIPT
    assert read_receipt(local, RECEIPT.shard_id) == RECEIPT


def test_of_many_writers_at_once_one_counts_for_all(local: Store) -> None:
    receipts = [replace(RECEIPT, num_rows=number) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        winners = list(pool.map(lambda receipt: write_receipt(local, receipt), receipts))
    assert len({winner.num_rows for winner in winners}) == 1


def test_a_damaged_receipt_is_not_taken_for_none(local: Store) -> None:
    local.put(receipt_key("s"), DATA[:-5])
    with pytest.raises(CorruptData, match=r"^_receipts/s\.json"):
        read_receipt(local, "s")
    with pytest.raises(CorruptData, match=r"^_receipts/s\.json"):
        write_receipt(local, replace(RECEIPT, shard_id="s"))


def test_no_receipt_yet(local: Store) -> None:
    assert read_receipt(local, "s") is None
    assert listed_receipts(local) == set()


def test_receipts_are_listed_and_read_in_the_order_asked(local: Store) -> None:
    for name in "abc":
        write_receipt(local, replace(RECEIPT, shard_id=name))
    local.put("_receipts/notes.txt", b"")
    assert listed_receipts(local) == {"a", "b", "c"}
    assert [receipt.shard_id for receipt in read_receipts(local, ["c", "a"])] == ["c", "a"]


def test_a_receipt_that_is_missing_is_named(local: Store) -> None:
    with pytest.raises(NotFound, match=r"_receipts/z\.json"):
        read_receipts(local, ["z"])


def test_attempts_are_numbered_and_never_shared(local: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: begin_attempt(local, "s"), range(8)))
    assert sorted(numbers) == list(range(1, 9))
    assert begin_attempt(local, "other") == 1
