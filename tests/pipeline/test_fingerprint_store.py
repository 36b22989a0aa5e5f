from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.fingerprint_store import (
    FINGERPRINTS_SCHEMA,
    FOLDER,
    matched,
    read_fingerprints,
    save_fingerprints,
)
from unlabeled.pipeline.storage import Store

from tests.small_datasets import inventory_rows


def rows(*keys: str, etag: str = "e", kind: str = "k") -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"source_key": key, "etag": etag, "num_bytes": 1000, "sha256": key, "kind": kind, "fingerprint": b"f"}
            for key in keys
        ],
        FINGERPRINTS_SCHEMA,
    )


def test_what_is_saved_is_read(store: Store) -> None:
    save_fingerprints(store, rows("a"))
    save_fingerprints(store, rows("b", "é #"))
    save_fingerprints(store, rows())
    assert sorted(read_fingerprints(store)["source_key"].to_pylist()) == ["a", "b", "é #"]


def test_damage_is_told(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    save_fingerprints(store, rows("a"))
    ((info,),) = store.list(FOLDER)
    store.put(info.key, b"something else")
    with pytest.raises(CorruptData, match="made again"):
        read_fingerprints(store)


def test_another_etag_or_kind_is_another_fingerprint() -> None:
    kept = pa.concat_tables([rows("a"), rows("b", etag="old"), rows("c", kind="other")])
    have, lack = matched(inventory_rows("abcd"), kept, "k")
    assert (have["source_key"].to_pylist(), lack["source_key"].to_pylist()) == (["a"], ["b", "c", "d"])
