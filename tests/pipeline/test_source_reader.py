from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.errors import Reject, RejectReason, Stage, StoreError
from unlabeled.pipeline.inventory import OpenSource, SourceReader, take_inventory
from unlabeled.pipeline.plan import in_plan_order
from unlabeled.pipeline.storage import Store, StoreOptions

from ..scripted_http import Answer, scripted_server
from .test_containers import IMAGE, tar_bytes


def filled(store: Store, objects: Mapping[str, bytes]) -> pa.Table:
    for key, data in objects.items():
        store.put(key, data)
    return take_inventory(store.uri, getattr(store, "options", None)).sources


def read(store: Store, rows: pa.Table, **options: int | bool) -> list[OpenSource]:
    with SourceReader(store, rows, **options) as reader:  # type: ignore[arg-type]
        return list(reader)


def parquet(cells: Sequence[bytes | None], group_rows: int = 10) -> bytes:
    sink = io.BytesIO()
    image = pa.array([None if cell is None else {"bytes": cell, "path": None} for cell in cells], IMAGE)
    table = pa.table({"image": image, "label": list(range(len(cells)))})
    pq.write_table(table, sink, row_group_size=group_rows, write_page_checksum=True)
    return sink.getvalue()


def test_every_kind_of_source_comes_in_the_order_of_the_plan(store: Store) -> None:
    contents = {f"{number} é#.jpg": os.urandom(1000 + number) for number in range(30)}
    members = {f"{number:03}.jpg": os.urandom(2000 + number) for number in range(50)}
    cells = [os.urandom(3000 + number) for number in range(25)]
    table = filled(store, {**contents, "w.tar": tar_bytes([*members.items()]), "p.parquet": parquet(cells)})
    expected = {
        **contents,
        **{f"w.tar#{name}": data for name, data in members.items()},
        **{f"p.parquet#{row}": cell for row, cell in enumerate(cells)},
    }
    for rows in (table, in_plan_order(table), table.take(list(reversed(range(len(table)))))):
        sources = read(store, rows)
        assert [source.source_key for source in sources] == rows["source_key"].to_pylist()
        assert {source.source_key: source.data for source in sources} == expected
        assert all(source.num_bytes == len(expected[source.source_key]) for source in sources)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_column_of_text_is_read_as_utf_8(store: Store, kind: pa.DataType) -> None:
    texts = ["Grüße", "plain", None, "", "λόγος\n\n"]
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(texts, kind), "other": texts}), sink)
    store.put("t.parquet", sink.getvalue())
    rows = take_inventory(store.uri, getattr(store, "options", None), column="text").sources
    found = [source.data if source.error is None else source.error.reason for source in read(store, rows)]
    assert found == ["Grüße".encode(), b"plain", RejectReason.EMPTY, RejectReason.EMPTY, "λόγος\n\n".encode()]


def test_what_was_fetched_is_counted(store: Store) -> None:
    (source,) = read(store, filled(store, {"a": bytes(5000)}), ranged_above_bytes=1000)
    assert source.num_bytes_fetched == 0
    source.ranged().read(100, 300)
    source.ranged().read(4900, 300)
    assert source.num_bytes_fetched == 400


def test_a_subset_of_a_run_and_of_a_row_group_can_be_read(store: Store) -> None:
    members = {f"{number:03}": os.urandom(100) for number in range(20)}
    cells = [bytes([number]) * 50 for number in range(100)]
    table = filled(store, {"w.tar": tar_bytes([*members.items()]), "p.parquet": parquet(cells, 50)})
    chosen = ["w.tar#003", "w.tar#017", "p.parquet#49", "p.parquet#50", "p.parquet#97"]
    rows = table.filter(pa.compute.is_in(table["source_key"], value_set=pa.array(chosen)))
    assert {source.source_key: source.data for source in read(store, in_plan_order(rows))} == {
        "w.tar#003": members["003"],
        "w.tar#017": members["017"],
        "p.parquet#49": cells[49],
        "p.parquet#50": cells[50],
        "p.parquet#97": cells[97],
    }


@pytest.mark.parametrize("key", ["a.jpg", "w.tar", "p.parquet"])
def test_what_is_gone_or_changed_since_the_listing_is_one_reject_each(store: Store, key: str) -> None:
    objects = {"a.jpg": b"one", "w.tar": tar_bytes([("m", b"two")]), "p.parquet": parquet([b"three"])}
    rows = in_plan_order(filled(store, objects))
    store.put(key, tar_bytes([("n", b"other"), ("o", b"x")]))
    for reason in (RejectReason.CHANGED, RejectReason.MISSING):
        bad = [source for source in read(store, rows) if source.error is not None]
        assert [source.source_key.partition("#")[0] for source in bad] == [key]
        assert bad[0].error is not None
        assert (bad[0].error.reason, bad[0].error.stage) == (reason, Stage.READ)
        with pytest.raises(Reject):
            bad[0].bytes()
        store.delete([key])


def test_without_the_etag_check_what_is_there_now_is_read(store: Store) -> None:
    rows = filled(store, {"a.jpg": b"one", "b.jpg": b"two"})
    store.put("a.jpg", b"longer")
    store.delete(["b.jpg"])
    first, second = read(store, rows, check_etag=False)
    assert first.data == b"longer"
    assert second.error is not None
    assert second.error.reason == RejectReason.MISSING


def test_nothing_to_decode_is_empty(store: Store) -> None:
    objects = {"a.jpg": b"", "w.tar": tar_bytes([("m", b"")]), "p.parquet": parquet([b"x", None, b""])}
    sources = {source.source_key: source for source in read(store, filled(store, objects))}
    empty = {key for key, source in sources.items() if source.error and source.error.reason == RejectReason.EMPTY}
    assert empty == {"a.jpg", "w.tar#m", "p.parquet#1", "p.parquet#2"}
    assert sources["p.parquet#0"].data == b"x"


def test_large_sources_are_read_in_ranges(store: Store) -> None:
    contents = {"a.mp4": os.urandom(50_000), "small": b"1"}
    member = os.urandom(60_000)
    rows = filled(store, {**contents, "w.tar": tar_bytes([("s", b"2"), ("m.mp4", member)])})
    sources = {source.source_key: source for source in read(store, rows, ranged_above_bytes=10_000)}
    for key, data in (("a.mp4", contents["a.mp4"]), ("w.tar#m.mp4", member)):
        source = sources[key]
        assert source.data is None
        assert source.ranged().num_bytes == source.num_bytes == len(data)
        assert source.ranged().read(100, 50) == data[100:150]
        assert source.ranged().read(len(data) - 10, 50) == data[-10:]
        assert source.bytes() == data
        assert source.sha256() == hashlib.sha256(data).hexdigest()
    assert sources["small"].data == b"1"
    assert sources["small"].ranged().read(0, 5) == b"1"


def test_a_large_source_that_changes_while_it_is_read_is_a_reject(store: Store) -> None:
    rows = filled(store, {"a.mp4": os.urandom(50_000)})
    [source] = read(store, rows, ranged_above_bytes=10_000)
    store.put("a.mp4", os.urandom(50_000))
    with pytest.raises(Reject) as caught:
        source.ranged().read(0, 10)
    assert caught.value.reason == RejectReason.CHANGED


def test_a_damaged_page_rejects_its_cells_and_no_others(store: Store) -> None:
    cells = [os.urandom(5000) for _ in range(20)]
    data = bytearray(parquet(cells))
    at = bytes(data).index(cells[3][:50])
    data[at + 10] ^= 1
    sources = read(store, in_plan_order(filled(store, {"p.parquet": bytes(data), "a": b"x"})))
    good = {source.source_key: source.data for source in sources if source.error is None}
    assert {f"p.parquet#{row}" for row in range(10, 20)} | {"a"} <= set(good)
    assert len(sources) == 21
    assert {source.error.reason for source in sources if source.error} == {RejectReason.CORRUPT}


def test_little_is_fetched_ahead() -> None:
    asked: list[str] = []
    lock = threading.Lock()

    class Far(type(Store.open("s3://bucket"))):  # type: ignore[misc]  # the remote store, without a server
        def get_if(self, key: str, etag: str, num_bytes: int = -1) -> bytes:
            with lock:
                asked.append(key)
            return bytes(num_bytes)

    rows = take_table([(f"{number:03}", 1000) for number in range(100)])
    with SourceReader(Far("s3", "bucket", "", StoreOptions()), rows, prefetch_bytes=10_000) as reader:
        for number, source in enumerate(reader):
            assert source.source_key == f"{number:03}"
            assert len(asked) <= number + 12
    assert sorted(asked) == rows["source_key"].to_pylist()


def take_table(objects: Sequence[tuple[str, int]]) -> pa.Table:
    keys = [key for key, _ in objects]
    num = len(keys)
    return pa.table(
        {
            "source_key": keys,
            "num_bytes": [num_bytes for _, num_bytes in objects],
            "etag": [""] * num,
            "object_key": keys,
            "offset_bytes": [0] * num,
            "row_group": [-1] * num,
            "row": [-1] * num,
            "unit": keys,
            "start": [0] * len(keys),
            "end": [-1] * len(keys),
        }
    )


def test_a_store_that_fails_ends_the_reading() -> None:
    with scripted_server([Answer(503)]) as server:
        options = StoreOptions(endpoint_url=server.url, access_key_id="i", secret_access_key="s", num_retries=1)  # noqa: S106
        with pytest.raises(StoreError, match=r"s3://bucket/a.*503"):
            read(Store.open("s3://bucket", options), take_table([("a", 3), ("b", 3)]))


def test_a_tar_that_was_shortened_without_a_new_etag_is_noticed(store: Store) -> None:
    data = tar_bytes([("a", b"x" * 600), ("b", b"y" * 600)])
    rows = filled(store, {"w.tar": data})
    store.put("w.tar", data[:1500])
    first, second = read(store, rows, check_etag=False)
    assert first.data == b"x" * 600
    assert second.error is not None
    assert second.error.reason == RejectReason.CHANGED


def test_tar_members_of_a_run_come_from_one_request() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(name.encode() * 3))
    data = sink.getvalue()[512 : 512 + 2 * 1024 + 3]
    rows = take_table([("w.tar#a", 3), ("w.tar#b", 3), ("w.tar#c", 3)])
    rows = rows.set_column(3, "object_key", pa.array(["w.tar"] * 3)).set_column(7, "unit", pa.array(["w.tar#@0"] * 3))
    rows = rows.set_column(4, "offset_bytes", pa.array([512, 1536, 2560]))
    reply = Answer(206, data, {"Content-Range": f"bytes 512-{511 + len(data)}/10240"})
    with scripted_server([reply]) as server:
        options = StoreOptions(endpoint_url=server.url, access_key_id="i", secret_access_key="s")  # noqa: S106
        sources = read(Store.open("s3://bucket", options), rows)
        assert [source.data for source in sources] == [b"aaa", b"bbb", b"ccc"]
        assert len(server.requests) == 1
