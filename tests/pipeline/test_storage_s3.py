from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.errors import StoreError
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.storage_s3 import parse_error, parse_listing

from ..bench import simulated_s3
from ..conftest import Bucket
from ..scripted_http import Answer, scripted_server


def listing(key: str) -> bytes:
    from urllib.parse import quote_plus

    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
        f"<Contents><Key>{quote_plus(key)}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>"
        "<ETag>&quot;e&quot;</ETag><Size>7</Size></Contents></ListBucketResult>"
    ).encode()


@given(st.text(max_size=20))
def test_every_key_comes_through_as_it_is(key: str) -> None:
    key = key.encode("utf-8", "ignore").decode()
    read = parse_listing(listing(key))
    [(found, num_bytes, etag, when)] = read.entries
    assert (found, num_bytes, etag, when.isoformat()) == (key, 7, '"e"', "2026-11-22T10:00:00+00:00")
    assert (read.folders, read.token) == ([], "")


def test_a_reply_that_is_no_xml_is_an_error() -> None:
    with pytest.raises(StoreError, match=r"not XML.*hello"):
        parse_listing(b"hello")
    assert parse_error(b"hello") == ("error", "hello")


def test_an_endpoint_may_name_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    with scripted_server([Answer(body=listing("p/a"))]) as server:
        options = StoreOptions(endpoint_url=server.url, access_key_id="i", secret_access_key="s")  # noqa: S106
        [[info]] = Store.open("s3://bucket/p", options).list()
    assert info.key == "a"
    assert server.requests[0][1].startswith("/?list-type=2&encoding-type=url&prefix=p%2F&")


def test_the_environment_s_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server([Answer(body=listing("p/a"))]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        options = StoreOptions("http://storage.example", access_key_id="i", secret_access_key="s", allow_http=True)  # noqa: S106
        [[info]] = Store.open("s3://bucket/p", options).list()
    assert info.key == "a"
    assert proxy.requests[0][1].startswith("http://storage.example/bucket/?list-type=2")


def test_uploads_come_in_pages() -> None:
    upload = "<Upload><Key>{}</Key><UploadId>u</UploadId><Initiated>2026-11-22T10:00:00Z</Initiated></Upload>"
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
    pages = [upload.format("a") + more, upload.format("b")]
    with scripted_server([Answer(body=f"<R>{page}</R>".encode()) for page in pages]) as server:
        options = StoreOptions(endpoint_url=server.url, access_key_id="i", secret_access_key="s")  # noqa: S106
        assert [pending.key for pending in Store.open("s3://bucket", options).pending()] == ["a", "b"]
    assert "key-marker=a&upload-id-marker=u" in server.requests[1][1]


@pytest.mark.s3
def test_keys_that_cannot_be_named_are_listed_and_marked(s3: Bucket) -> None:
    good = ["p/a", "p/b c", "p/z"]
    bad = {"p/ctrl\x01x": "ctrl\\x01x", "p/new\nline": "new\\x0aline", "p/del\x7f": "del\\x7f", "p/tab\t": "tab\\x09"}
    for key in [*good, *bad]:
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"x")
    infos = [info for page in Store.open(f"{s3.uri}/p", s3.options).list() for info in page]
    assert sorted(info.key for info in infos if info.is_supported) == ["a", "b c", "z"]
    assert sorted(info.key for info in infos if not info.is_supported) == sorted(bad.values())


@pytest.mark.s3
def test_markers_are_seen_as_such(s3: Bucket) -> None:
    for key in ("p/", "p/folder/", "p/folder/x"):
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"" if key.endswith("/") else b"x")
    s3.client.put_object(Bucket=s3.name, Key="p/empty", Body=b"")
    infos = {info.key: info for page in Store.open(f"{s3.uri}/p", s3.options).list() for info in page}
    assert {key for key, info in infos.items() if info.is_marker} >= {"folder/"}
    assert {key for key, info in infos.items() if info.is_supported} == {"empty", "folder/x"}


@pytest.mark.s3
def test_an_upload_that_was_never_finished_is_found_and_aborted(s3: Bucket) -> None:
    key = "p/data/a b%20+.parquet"
    upload = s3.client.create_multipart_upload(Bucket=s3.name, Key=key)["UploadId"]
    s3.client.upload_part(Bucket=s3.name, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    store = Store.open(f"{s3.uri}/p", s3.options)
    assert list(store.list()) == [[]]
    assert list(store.pending("other")) == []
    [pending] = store.pending()
    assert (pending.key, pending.upload_id) == ("data/a b%20+.parquet", upload)
    assert pending.started.tzinfo is not None
    store.abort(pending)
    store.abort(pending)
    assert list(store.pending()) == []


@contextlib.contextmanager
def simulated(num_keys: int) -> Iterator[str]:
    """Serve a bucket of so many keys, a thousand a folder and a page, and yield where."""
    handler = type("Handler", (simulated_s3.Handler,), {"num_keys": num_keys})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("num_keys", [1, 1000, 1001, 5500])
def test_a_long_listing_is_taken_folder_by_folder_and_whole(num_keys: int) -> None:
    with simulated(num_keys) as url:
        options = StoreOptions(endpoint_url=url, access_key_id="i", secret_access_key="s")  # noqa: S106
        keys = [info.key for page in Store.open("s3://bucket", options).list() for info in page]
    assert sorted(keys) == [f"part-{n // 1000:04d}/{n:06d}.jpg" for n in range(num_keys)]


@pytest.mark.s3
def test_a_long_listing_of_uneven_folders_is_whole(s3: Bucket) -> None:
    keys = [f"p/{n}" for n in range(30)] + [f"p/big/{n:04d}" for n in range(1500)]
    keys += [f"p/big-/{n}" for n in range(40)] + [f"p/big/deep/er/{n}" for n in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: s3.client.put_object(Bucket=s3.name, Key=key, Body=b"x"), keys))
    found = [info.key for page in Store.open(s3.uri, s3.options).list() for info in page]
    assert sorted(found) == sorted(keys)
