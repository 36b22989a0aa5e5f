from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline import external_sort, inventory
from unlabeled.pipeline.errors import ConfigError, PermissionDenied
from unlabeled.pipeline.inventory import INVENTORY_SCHEMA, REJECTED_SCHEMA, Inventory, take_inventory
from unlabeled.pipeline.storage import Store, StoreOptions

from ..conftest import Bucket
from .test_containers import images, tar_bytes
from .test_source_reader import parquet


def fill(store: Store, *keys: str) -> None:
    for key in keys:
        store.create(key, f"bytes of {key}".encode())


def inventory_of(store: Store, glob: str = "", **options: object) -> Inventory:
    uri = f"{store.uri}/{glob}" if glob else store.uri
    return take_inventory(uri, getattr(store, "options", None), **options)  # type: ignore[arg-type]


def keys(inventory: Inventory) -> list[str]:
    found: list[str] = inventory.sources["source_key"].to_pylist()
    return found


def test_plain_objects_sorted_by_key(store: Store) -> None:
    fill(store, "b", "a b/ü%#1.jpg", "a.z", "a/z", "B")
    inventory = inventory_of(store)
    assert keys(inventory) == ["B", "a b/ü%#1.jpg", "a.z", "a/z", "b"]
    assert inventory.root == store.uri
    assert inventory.sources.schema.equals(INVENTORY_SCHEMA)
    assert inventory.rejected.schema.equals(REJECTED_SCHEMA)
    assert (inventory.rejected.num_rows, inventory.num_skipped_markers) == (0, 0)
    [row] = inventory.sources.slice(3, 1).to_pylist()
    assert row == {
        "source_key": "a/z",
        "num_bytes": 12,
        "etag": store.head("a/z").etag,
        "object_key": "a/z",
        "offset_bytes": 0,
        "row_group": -1,
        "row": -1,
        "unit": "a/z",
        "start": 0,
        "end": -1,
    }


def test_many_objects_sorted_on_disk_give_the_same_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path))
    fill(store, *(f"{number % 7}/{number}" for number in range(40)), "a.tar#1.jpg", "a.tar#9.jpg")
    store.create("a.tar", tar_bytes([(f"{number}.jpg", b"bytes") for number in range(3)]))
    expected = inventory_of(store)
    monkeypatch.setattr(external_sort, "RUN_NUM_ROWS", 9)
    monkeypatch.setattr(inventory, "_CHUNK_ROWS", 4)
    found = inventory_of(store)
    assert found.sources.equals(expected.sources)
    assert found.rejected.equals(expected.rejected)
    assert found.rejected.num_rows > 0


def test_a_glob_and_include_choose(store: Store) -> None:
    fill(store, "p/1.jpg", "p/q/2.jpg", "p/3.png", "other/4.jpg")
    inventory = inventory_of(store, "p/**/*.jpg")
    assert (inventory.root, keys(inventory)) == (f"{store.uri}/p", ["1.jpg", "q/2.jpg"])
    assert keys(inventory_of(store, "p", include=("*.png", "q/*"))) == ["3.png", "q/2.jpg"]
    with pytest.raises(ConfigError, match=r"none of 3 keys matches; the first is '"):
        inventory_of(store, "p/*.gif")


def test_one_object_is_an_input(store: Store) -> None:
    fill(store, "p/1 é.jpg", "p/2.jpg")
    inventory = inventory_of(store, "p/1 é.jpg")
    assert (inventory.root, keys(inventory)) == (f"{store.uri}/p", ["1 é.jpg"])


def test_nothing_there_is_said_within_seconds(store: Store) -> None:
    fill(store, "p/1.jpg")
    started = time.monotonic()
    for glob in ("q", "q/*.jpg", "p/1"):
        with pytest.raises(ConfigError, match=f"{glob.replace('*', '.')}.*: "):
            inventory_of(store, glob)
    assert time.monotonic() - started < 5


def test_members_of_a_tar(store: Store) -> None:
    store.create("s/w.tar", tar_bytes([("b/1.jpg", b"11"), ("b/1.txt", b"t"), ("a.jpg", b"222")]))
    inventory = inventory_of(store)
    assert keys(inventory) == ["s/w.tar#a.jpg", "s/w.tar#b/1.jpg", "s/w.tar#b/1.txt"]
    [row] = inventory.sources.slice(1, 1).to_pylist()
    assert (row["object_key"], row["num_bytes"], row["offset_bytes"]) == ("s/w.tar", 2, 512)
    assert (row["unit"], row["etag"]) == ("s/w.tar#@0", store.head("s/w.tar").etag)
    assert keys(inventory_of(store, include=("*.jpg",))) == ["s/w.tar#a.jpg", "s/w.tar#b/1.jpg"]
    assert keys(inventory_of(store, "s/w.tar")) == ["w.tar#a.jpg", "w.tar#b/1.jpg", "w.tar#b/1.txt"]


def test_rows_of_parquet(store: Store) -> None:
    store.create("p.parquet", parquet([b"x" * 50] * 12, 5))
    inventory = inventory_of(store)
    assert keys(inventory) == sorted(f"p.parquet#{row}" for row in range(12))
    row = next(row for row in inventory.sources.to_pylist() if row["source_key"] == "p.parquet#7")
    assert (row["row_group"], row["row"], row["unit"]) == (1, 7, "p.parquet#@1/image.bytes")


def test_a_broken_container_is_one_reject(store: Store) -> None:
    fill(store, "a.jpg", "bad.tar", "bad.parquet")
    inventory = inventory_of(store)
    assert keys(inventory) == ["a.jpg"]
    assert [(row["source_key"], row["reason"]) for row in inventory.rejected.to_pylist()] == [
        ("bad.parquet", "corrupt"),
        ("bad.tar", "corrupt"),
    ]


def test_a_parquet_file_without_media_is_a_plain_object(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")
    assert keys(take_inventory(str(tmp_path))) == ["t.parquet"]
    with pytest.raises(ConfigError, match=r"t\.parquet has no column 'image'"):
        take_inventory(str(tmp_path), column="image")


def test_several_columns_need_a_word(tmp_path: Path) -> None:
    pq.write_table(pa.table({"left": images(2), "right": images(2)}), tmp_path / "p.parquet")
    with pytest.raises(ConfigError, match=r"left\.bytes, right\.bytes"):
        take_inventory(str(tmp_path))
    assert keys(take_inventory(str(tmp_path), column="left")) == ["p.parquet#0", "p.parquet#1"]


def test_a_key_that_a_member_has_already_is_rejected(store: Store) -> None:
    store.create("w.tar", tar_bytes([("a", b"member")]))
    fill(store, "w.tar#a", "w.tar#b")
    inventory = inventory_of(store)
    assert keys(inventory) == ["w.tar#a", "w.tar#b"]
    assert inventory.sources["object_key"].to_pylist() == ["w.tar", "w.tar#b"]
    assert inventory.rejected["source_key"].to_pylist() == ["w.tar#a"]


def test_a_second_run_reads_no_container_again(store: Store, tmp_path: Path) -> None:
    cache = Store.open(tmp_path / "dataset")
    store.create("w.tar", tar_bytes([("a", b"1")]))
    store.create("p.parquet", parquet([b"x"]))
    first = inventory_of(store, cache=cache)
    kept = {info.key for page in cache.list() for info in page}
    assert len(kept) == 2
    for key in kept:  # only what was kept can say this
        path = tmp_path / "dataset" / key
        table = pq.read_table(path)
        names = [f"kept-{name}" for name in table["member"].to_pylist()]
        pq.write_table(table.set_column(0, "member", pa.array(names)), path)
    again = inventory_of(store, cache=cache)
    assert keys(again) == ["p.parquet#kept-0", "w.tar#kept-a"]
    assert again.sources.num_rows == first.sources.num_rows


def test_a_copy_elsewhere_has_the_same_inventory_but_for_etags(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "one")
    fill(store, "a", "b/c")
    store.create("w.tar", tar_bytes([("m", b"1"), ("n", b"2")]))
    store.create("p.parquet", parquet([b"x", b"y"]))
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    one, two = (take_inventory(str(tmp_path / name)).sources.drop_columns(["etag"]) for name in ("one", "two"))
    assert one.equals(two)


def test_local_names_that_cannot_be_sources_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "good#1").write_bytes(b"x")
    (tmp_path / "new\nline").write_bytes(b"x")
    (tmp_path / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(".")
    inventory = take_inventory(str(tmp_path))
    assert keys(inventory) == ["good#1", "new\nline"]
    assert [(row["source_key"], row["reason"]) for row in inventory.rejected.to_pylist()] == [
        ("bad\\xff.jpg", "unsupported_key"),
        ("loop", "unsupported_key"),
    ]


def test_a_listing_file_is_used_instead_of_listing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "in")
    fill(store, "a.jpg", "b.jpg", "not-listed.jpg")
    store.create("w.tar", tar_bytes([("m", b"1")]))
    listing = tmp_path / "list.csv"
    listing.write_text("key,size\nb.jpg,14\na.jpg,14\nfolder/,0\nx//y,3\nw.tar,10240\n")
    inventory = take_inventory(str(tmp_path / "in"), listing=str(listing))
    assert keys(inventory) == ["a.jpg", "b.jpg", "w.tar#m"]
    assert (inventory.num_skipped_markers, inventory.rejected["source_key"].to_pylist()) == (1, ["x//y"])


def test_a_hundred_thousand_keys_take_seconds(tmp_path: Path) -> None:
    num = 100_000
    listing = tmp_path / "list.parquet"
    names = [f"photos/{number % 100:03}/{number:08}.jpg" for number in range(num)]
    pq.write_table(pa.table({"key": names, "size": [100_000] * num, "etag": names}), listing)
    started = time.process_time()
    inventory = take_inventory(str(tmp_path), listing=str(listing))
    assert time.process_time() - started < 10
    assert keys(inventory) == sorted(names)


@pytest.mark.s3
def test_markers_are_counted_and_odd_keys_rejected(s3: Bucket) -> None:
    for key in ("p/", "p/sub/", "p/sub/a.jpg", "p/new\nline.jpg", "p/ctrl\x01.jpg"):
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"" if key.endswith("/") else b"x")
    inventory = take_inventory(f"{s3.uri}/p", s3.options)
    assert keys(inventory) == ["sub/a.jpg"]
    assert inventory.num_skipped_markers >= 1
    assert inventory.rejected["source_key"].to_pylist() == ["ctrl\\x01.jpg", "new\\x0aline.jpg"]
    assert set(inventory.rejected["reason"].to_pylist()) == {"unsupported_key"}


@pytest.mark.s3
def test_a_wrong_bucket_or_secret_is_said_plainly(s3: Bucket) -> None:
    with pytest.raises(ConfigError, match=r"input 's3://no-such-bucket/x'.*NoSuchBucket"):
        take_inventory("s3://no-such-bucket/x", s3.options)
    wrong = StoreOptions(endpoint_url=s3.endpoint_url, access_key_id="testkey", secret_access_key="wrong")  # noqa: S106
    with pytest.raises(PermissionDenied, match="SignatureDoesNotMatch"):
        take_inventory(s3.uri, wrong)


@pytest.mark.s3
def test_disk_and_bucket_have_the_same_inventory(s3: Bucket, tmp_path: Path) -> None:
    tables = []
    for store in (Store.open(tmp_path / "in"), Store.open(f"{s3.uri}/in", s3.options)):
        fill(store, "a b.jpg", "ü/%20#1.jpg")
        store.create("w.tar", tar_bytes([("m", b"1")]))
        tables.append(inventory_of(store).sources.drop_columns(["etag"]))
    assert tables[0].equals(tables[1])
