"""What every store must do, on the local disk and on a real S3."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - what Ray does to send a store to its workers
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import AlreadyExists, Changed, ConfigError, NotFound
from unlabeled.pipeline.storage import ObjectInfo, Store, StoreOptions, is_nameable, last_name, open_parent, split_uri

ODD_KEYS = [
    "plain.jpg", "sp ace.jpg", " lead", "trail ", "ünï/cödé.jpg", "u\u0308.jpg", "emoji😀", "a+b%c&d#e?f.jpg",
    "%2F.jpg", "a%20b", "name#12", ".hidden", "...", "~t", "[x]{y}^|`", "@:;,=$!()", "quote\"'", "<x>", "star*x",
    "x/y/z.jpg",
]  # fmt: skip


def keys(store: Store, prefix: str = "") -> list[str]:
    return sorted(info.key for page in store.list(prefix) for info in page)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_literal(store: Store, key: str) -> None:
    store.create(key, b"bytes of " + key.encode())
    assert store.get(key) == b"bytes of " + key.encode()
    assert keys(store) == [key]
    store.delete([key])
    assert keys(store) == []


def test_a_listing_tells_size_and_etag_as_head_and_get_do(store: Store) -> None:
    before = time.time()
    store.create("a/b", b"12345")
    [[listed]] = store.list()
    assert (listed.key, listed.num_bytes, listed.is_supported) == ("a/b", 5, True)
    assert listed == ObjectInfo("a/b", 5, listed.etag, listed.last_modified)
    assert store.head("a/b").etag == listed.etag
    assert store.get_with_info("a/b")[1].etag == listed.etag
    assert abs(listed.last_modified.timestamp() - before) < 60


def test_a_prefix_is_a_folder(store: Store) -> None:
    for key in ("a/b", "a/c/d", "ab", "b/a/b"):
        store.create(key, b"x")
    assert keys(store, "a") == keys(store, "a/") == ["a/b", "a/c/d"]
    assert keys(store, "nothing/here") == []


def test_a_long_listing_comes_in_pages_and_whole(store: Store) -> None:
    names = sorted(f"k{number:04}" for number in range(1203))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    pages = list(store.list())
    assert len(pages) > 1
    assert sorted(info.key for page in pages for info in page) == names


def test_what_is_not_there_is_not_found(store: Store) -> None:
    store.create("folder/x", b"x")
    for key in ("nope", "folder", "folder/x/y"):
        for read in (store.get, store.head, lambda key: store.get_range(key, 0, 1)):
            with pytest.raises(NotFound, match=key):
                read(key)


def test_only_the_first_create_wins(store: Store) -> None:
    store.create("k", b"first")
    with pytest.raises(AlreadyExists, match="k"):
        store.create("k", b"second")
    assert store.get("k") == b"first"


def test_of_sixteen_writers_exactly_one_wins_each_key(store: Store) -> None:
    def write(writer: int) -> list[str]:
        won = []
        for number in range(20):
            try:
                store.create(f"race/{number}", f"writer {writer}".encode())
                won.append(f"race/{number}")
            except AlreadyExists:
                pass
        return won

    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(write, range(16)))
    assert sorted(key for won in wins for key in won) == sorted(f"race/{number}" for number in range(20))
    for writer, won in enumerate(wins):
        assert all(store.get(key) == f"writer {writer}".encode() for key in won)


def test_put_replaces(store: Store) -> None:
    store.put("card", b"old")
    store.put("card", b"new")
    assert store.get("card") == b"new"


@pytest.mark.parametrize("num_bytes", [0, 1000, (16 << 20) + 12345], ids=["empty", "small", "in parts"])
def test_a_file_is_written_once(store: Store, tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(num_bytes))
    store.create_file("data/x.parquet", path)
    assert store.get("data/x.parquet") == path.read_bytes()
    with pytest.raises(AlreadyExists):
        store.create_file("data/x.parquet", path)
    assert [*store.pending()] == []


def test_ranges(store: Store) -> None:
    store.create("k", b"0123456789")
    assert store.get_range("k", 2, 3) == b"234"
    assert store.get_range("k", 8, 100) == b"89"
    assert store.get_range("k", 10, 1) == store.get_range("k", 99, 5) == b""
    for start, length in ((-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="range"):
            store.get_range("k", start, length)


def test_a_change_since_the_listing_is_seen(store: Store) -> None:
    store.put("k", b"one")
    listed = store.head("k")
    assert store.get_if("k", listed.etag, 3) == store.get_if("k", "") == b"one"
    assert store.get_range("k", 0, 3, listed.etag) == b"one"
    store.put("k", b"two")
    for read in (lambda: store.get_if("k", listed.etag), lambda: store.get_range("k", 0, 3, listed.etag)):
        with pytest.raises(Changed, match="k"):
            read()
    with pytest.raises(Changed, match="4 bytes then, 3 now"):
        store.get_if("k", "", 4)


def test_deleting_what_is_gone_is_no_error(store: Store) -> None:
    store.create("k", b"x")
    store.delete(["nope", "k", "nor/this"])
    store.delete([])
    assert keys(store) == []


def test_a_store_travels_to_another_process(store: Store) -> None:
    store.create("k", b"x")
    assert pickle.loads(pickle.dumps(store)).get("k") == b"x"
    assert pickle.loads(pickle.dumps(store)) == store


def test_the_parent_of_an_object(store: Store) -> None:
    store.create("a b/c#1.csv", b"x")
    parent, key = open_parent(f"{store.uri}/a b/c#1.csv", getattr(store, "options", None))
    assert (parent.uri, key) == (f"{store.uri}/a b", "c#1.csv")
    assert parent.get(key) == b"x"


def test_uris_are_literal() -> None:
    assert split_uri("s3://bucket/a b/%20#?&+") == ("s3", "bucket/a b/%20#?&+")
    assert split_uri("file:///a b/%20#") == ("file", "/a b/%20#")
    assert split_uri("folder/x") == ("file", f"{Path.cwd()}/folder/x")
    assert Store.open("s3://bucket/a/b/").uri == "s3://bucket/a/b"
    assert Store.open("/").uri == "/"


@pytest.mark.parametrize("uri", ["s3://bucket/turns", "s3://bucket/a/turns/", "/data/turns", "turns"])
def test_people_call_a_dataset_by_its_last_name(uri: str) -> None:
    assert last_name(uri) == "turns"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s4://bucket/x", "found scheme 's4'.*Did you mean 's3'"),
        ("s3:///x", "expected a bucket"),
        ("file://host/x", "absolute path"),
        ("", "empty string"),
        ("s3://bucket/a//b", "empty, '.' or '..' segment"),
        ("s3://bucket/../b", "empty, '.' or '..' segment"),
    ],
)
def test_a_wrong_location_is_explained(uri: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Store.open(uri)


def test_a_bucket_is_no_object() -> None:
    with pytest.raises(ConfigError, match="name of an object"):
        open_parent("s3://bucket")


def test_secrets_are_not_shown() -> None:
    options = StoreOptions(access_key_id="id", secret_access_key="hidden-1", session_token="hidden-2")  # noqa: S106
    assert "hidden" not in repr(options)
    assert "hidden" not in repr(Store.open("s3://bucket", options))


@given(st.text(st.sampled_from("ab./\x01 é#"), max_size=8))
def test_a_nameable_key_has_no_alias(key: str) -> None:
    expected = key != "" and "\x01" not in key and os.path.normpath("/r/" + key) == "/r/" + key and key[0] != "/"
    assert is_nameable(key) == expected
