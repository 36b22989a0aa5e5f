"""How faults of a store are met: a scripted server makes them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from unlabeled.pipeline.errors import AlreadyExists, ConfigError, NotFound, PermissionDenied, StoreError
from unlabeled.pipeline.storage import Store, StoreOptions
from unlabeled.pipeline.storage_remote import RemoteStore

from ..conftest import Bucket
from ..scripted_http import Answer, ScriptedServer, scripted_server

CONFLICT = Answer(409, b"<Error><Code>ConditionalRequestConflict</Code><Message>Two at once.</Message></Error>")
SLOW_DOWN = Answer(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
ENTRY = (
    b'<Contents><Key>p/a</Key><Size>3</Size><ETag>"x"</ETag>'
    b"<LastModified>2026-11-22T10:00:00Z</LastModified></Contents>"
)


def store_at(server: ScriptedServer, num_retries: int = 2, timeout_seconds: float = 5.0) -> Store:
    options = StoreOptions(
        endpoint_url=server.url,
        access_key_id="id",
        secret_access_key="secret",  # noqa: S106 - of nothing
        num_retries=num_retries,
        timeout_seconds=timeout_seconds,
    )
    return Store.open("s3://bucket/p", options)


def test_a_create_that_meets_another_is_tried_again() -> None:
    with scripted_server([CONFLICT, Answer()]) as server:
        store_at(server).create("k", b"x")
        assert [method for method, _, _ in server.requests] == ["PUT", "PUT"]
        assert all(headers["If-None-Match"] == "*" for _, _, headers in map(_lowered, server.requests))


def _lowered(request: tuple[str, str, dict[str, str]]) -> tuple[str, str, dict[str, str]]:
    return (*request[:2], {name.title(): value for name, value in request[2].items()})


def test_a_conflict_for_ever_is_an_error_and_no_defeat() -> None:
    with (
        scripted_server([CONFLICT]) as server,
        pytest.raises(StoreError, match="ConditionalRequestConflict") as caught,
    ):
        store_at(server).create("k", b"x")
    assert not isinstance(caught.value, AlreadyExists)


def test_a_create_without_an_answer_is_tried_again() -> None:
    with scripted_server([Answer(wait_seconds=1.5), Answer(412)]) as server, pytest.raises(AlreadyExists):
        store_at(server, timeout_seconds=0.5).create("k", b"x")


def test_a_create_whose_connection_broke_is_tried_again() -> None:
    with scripted_server([Answer(is_reset=True), Answer()]) as server:
        store_at(server).create("k", b"x")
        assert [method for method, _, _ in server.requests] == ["PUT", "PUT"]


@pytest.mark.parametrize("fault", [SLOW_DOWN, Answer(500), Answer(wait_seconds=1.5)], ids=["503", "500", "hang"])
def test_what_passes_is_waited_for(fault: Answer) -> None:
    with scripted_server([fault, Answer(body=b"12345")]) as server:
        assert store_at(server, timeout_seconds=0.5).get("k") == b"12345"


def test_a_body_cut_short_is_fetched_to_its_end() -> None:
    rest = Answer(206, b"67890", {"Content-Range": "bytes 5-9/10"})
    with scripted_server([Answer(200, b"12345", num_missing_bytes=5), rest]) as server:
        assert store_at(server).get("k") == b"1234567890"


def test_a_body_that_stays_short_is_an_error() -> None:
    with scripted_server([Answer(200, b"12345", num_missing_bytes=5)]) as server, pytest.raises(StoreError):
        store_at(server).get("k")


def md5_etag(data: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'}


@pytest.mark.parametrize("read", ["get", "get_if"])
def test_a_flipped_bit_on_the_way_is_noticed_and_fetched_again(read: str) -> None:
    flipped, whole = (Answer(200, body, md5_etag(b"12345")) for body in (b"12355", b"12345"))
    with scripted_server([flipped, whole]) as server:
        store = store_at(server)
        assert (store.get("k") if read == "get" else store.get_if("k", "", -1)) == b"12345"
        assert len(server.requests) == 2


def test_bodies_that_differ_every_time_are_an_error() -> None:
    answers = [Answer(200, b"1234%d" % number, md5_etag(b"12345")) for number in range(10) if number != 5]
    with scripted_server(answers) as server, pytest.raises(StoreError, match="MD5"):
        store_at(server).get("k")


def test_an_etag_that_only_looks_like_an_md5_costs_one_request_in_all() -> None:
    with scripted_server([Answer(200, b"12345", md5_etag(b"encrypted"))]) as server:
        store = store_at(server)
        assert [store.get("k") for _ in range(3)] == [b"12345"] * 3
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    "etag", ['"abc"', '"d41d8cd98f00b204e9800998ecf8427e-2"', 'W/"d41d8cd98f00b204e9800998ecf8427e"']
)
def test_other_etags_are_not_compared(etag: str) -> None:
    with scripted_server([Answer(200, b"12345", {"ETag": etag})]) as server:
        assert store_at(server).get("k") == b"12345"
        assert len(server.requests) == 1


@pytest.mark.parametrize("operation", ["get", "create", "list"])
def test_what_does_not_pass_ends_in_bounded_time_with_key_and_code(operation: str) -> None:
    started = time.monotonic()
    with scripted_server([SLOW_DOWN]) as server:
        store = store_at(server)
        uses = {
            "get": lambda: store.get("key"),
            "create": lambda: store.create("key", b""),
            "list": lambda: list(store.list("key")),
        }
        with pytest.raises(StoreError, match=r"s3://bucket/p/key.*SlowDown.*503"):
            uses[operation]()
        assert len(server.requests) == 3
    assert time.monotonic() - started < 10


def test_a_server_that_is_not_there_is_an_error_within_seconds() -> None:
    with scripted_server([Answer()]) as server:
        pass  # its port is closed now
    started = time.monotonic()
    for use in (lambda: store_at(server).get("k"), lambda: list(store_at(server).list())):
        with pytest.raises(StoreError, match="s3://bucket"):
            use()
    assert time.monotonic() - started < 10


def test_expired_credentials_are_named() -> None:
    expired = Answer(403, b"<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>")
    with scripted_server([expired]) as server, pytest.raises(PermissionDenied, match=r"p/k: ExpiredToken: The token"):
        store_at(server).get("k")


def test_where_signed_urls_are_refused_the_listing_is_asked_for_with_headers() -> None:
    reply = Answer(body=b"<ListBucketResult>" + ENTRY + b"</ListBucketResult>")
    with scripted_server([Answer(403), reply]) as server:
        [[info]] = store_at(server).list()
        assert (info.key, info.num_bytes, info.etag) == ("a", 3, '"x"')
        assert ["X-Amz-Signature" in path for _, path, _ in server.requests] == [True, False]


def test_a_listing_that_breaks_half_way_is_never_taken_for_whole() -> None:
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    first = Answer(body=b"<ListBucketResult>" + ENTRY + more + b"</ListBucketResult>")
    with scripted_server([first, Answer(403)]) as server, pytest.raises(StoreError):
        list(store_at(server).list())


def test_keys_with_odd_segments_are_listed_and_marked() -> None:
    odd = ["p//double", "p/a/../up", "p/./here", "p/ends/", "p/"]
    entries = b"".join(ENTRY.replace(b"p/a<", f"{key}<".encode()) for key in [*odd, "p/..."])
    with scripted_server([Answer(body=b"<ListBucketResult>" + entries + b"</ListBucketResult>")]) as server:
        [page] = store_at(server).list()
    assert {info.key: info.is_supported for info in page} == {
        **dict.fromkeys(("/double", "a/../up", "./here", "ends/", "/"), False),
        "...": True,
    }


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_google_and_azure_create_under_a_condition(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = {"gs": ("X-Goog-If-Generation-Match", "0"), "az": ("If-None-Match", "*")}
    with scripted_server([Answer(201), Answer(412 if scheme == "gs" else 409)]) as server:
        account = {"gcs_base_url": server.url, "disable_oauth": True}
        account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"key").decode())
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server.url)
        store = Store.open(f"{scheme}://bucket/p", StoreOptions(allow_http=True, num_retries=0))
        store.create("a b%20", b"x")
        with pytest.raises(AlreadyExists):
            store.create("a b%20", b"x")
    name, value = conditions[scheme]
    method, path, headers = _lowered(server.requests[0])
    assert (method, headers[name]) == ("PUT", value)
    assert unquote(path).endswith("/p/a b%20")


def test_an_incomplete_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigError, match=r"az://container.*[Aa]ccount"):
        Store.open("az://container/p").get("k")


def test_a_key_that_the_client_cannot_name_is_an_error_of_that_key() -> None:
    with pytest.raises(StoreError, match="cannot name"):
        Store.open("s3://bucket").get("a//b")


@pytest.mark.s3
def test_the_plain_listing_knows_markers_from_empty_objects(s3: Bucket) -> None:
    for key, body in (("p/folder/", b""), ("p/empty", b""), ("p/folder/x", b"x")):
        s3.client.put_object(Bucket=s3.name, Key=key, Body=body)
    store = Store.open(f"{s3.uri}/p", s3.options)
    assert isinstance(store, RemoteStore)
    plain = sorted(store.list_plain(""), key=len)
    assert {info.key: info.is_marker for page in plain for info in page} == {
        "folder/": True,
        "empty": False,
        "folder/x": False,
    }


@pytest.mark.s3
def test_wrong_credentials_are_refused_at_once(s3: Bucket) -> None:
    options = StoreOptions(endpoint_url=s3.endpoint_url, access_key_id="testkey", secret_access_key="wrong")  # noqa: S106
    store = Store.open(s3.uri, options)
    for use in (lambda: list(store.list()), lambda: store.get("k"), lambda: store.create("k", b"")):
        with pytest.raises(PermissionDenied, match=f"{s3.uri}.*SignatureDoesNotMatch"):
            use()


@pytest.mark.s3
def test_a_reader_may_read_and_not_write(s3: Bucket, tmp_path: Path) -> None:
    Store.open(s3.uri, s3.options).create("k", b"x")
    options = StoreOptions(endpoint_url=s3.endpoint_url, access_key_id="readkey", secret_access_key="readsecret")  # noqa: S106
    store = Store.open(s3.uri, options)
    assert store.get("k") == b"x"
    assert [info.key for page in store.list() for info in page] == ["k"]
    (tmp_path / "f").write_bytes(bytes(17 << 20))
    for use in (
        lambda: store.create("n", b""),
        lambda: store.put("k", b""),
        lambda: store.create_file("n", tmp_path / "f"),
    ):
        with pytest.raises(PermissionDenied, match="AccessDenied"):
            use()


@pytest.mark.s3
def test_a_bucket_that_does_not_exist_is_named(s3: Bucket) -> None:
    store = Store.open("s3://no-such-bucket", s3.options)
    for use in (lambda: list(store.list()), lambda: store.get("k"), lambda: store.head("k")):
        with pytest.raises(NotFound, match="no-such-bucket"):
            use()


@pytest.mark.s3
def test_the_ordinary_environment_is_enough(s3: Bucket) -> None:
    store = Store.open(s3.uri)
    store.create("k", b"x")
    assert store.get("k") == b"x"
    assert [info.key for page in store.list() for info in page] == ["k"]
