from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.errors import UnlabeledError
from unlabeled.pipeline.features import MEDIA_TYPE, Features, audio, box, image, value
from unlabeled.pipeline.row_spool import RowSpool
from unlabeled.pipeline.shard_file import ShardFile, ShardFileWriter, describe

from tests.samples import photograph

PAYLOAD = Features.of(
    number=value("int64", "label", ""), payload=value("binary", "input", ""), name=value("string", "lineage", "")
)
MEDIA = Features.of(
    image=image("", encoding="png"),
    images=image("", encoding="png", shape=(None,)),
    sound=audio("", sample_rate_hz=8000),
    boxes=box("", shape=(None,)),
    box=box(""),
    tokens=value("int32", "label", "", shape=(None,)),
    example_id=value("string", "lineage", ""),
)


def row(number: int, num_bytes: int = 4) -> dict[str, Any]:
    return {"number": number, "payload": bytes(num_bytes), "name": f"row {number}"}


def media_row(number: int) -> dict[str, Any]:
    pixels = photograph(number, 24, 16)
    return {
        "image": pixels,
        "images": [pixels[:8], pixels[8:]],
        "sound": np.sin(np.arange(400) * (number + 1)).astype(np.float32) / 2,
        "boxes": [(number, 0, 1, 1)],
        "box": (number, 0, 1, 1),
        "tokens": [number, 2, 3],
        "example_id": f"{number:032x}",
    }


def write(
    path: Path,
    rows: Sequence[dict[str, Any]],
    features: Features = PAYLOAD,
    bundle_size: int = 1,
    **sizes: int,
) -> ShardFile:
    writer = ShardFileWriter(path, features, {"task": "t"}, ShardSettings(**sizes), bundle_size)
    for number, values in enumerate(rows, 1):
        writer.append(*writer.encode(values))
        if number % bundle_size == 0:
            writer.end_bundle()
    file = writer.finish()
    assert file is not None
    return file


def group_sizes(file: ShardFile) -> list[int]:
    return [group.num_rows for group in file.row_groups]


def test_rows_are_read_back_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(number) for number in (3, 1, 2)])
    assert pq.read_table(file.path).to_pylist() == [row(3), row(1), row(2)]


def test_row_groups_end_by_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(number) for number in range(25)], row_group_max_rows=10)
    assert group_sizes(file) == [10, 10, 5]


def test_row_groups_end_by_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(number, 1500) for number in range(7)], row_group_max_num_bytes=4096)
    assert group_sizes(file) == [3, 3, 1]


def test_row_groups_end_between_bundles(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)]
    assert group_sizes(write(tmp_path / "a.parquet", rows, bundle_size=4, row_group_max_rows=10)) == [8, 8, 4]


def test_a_bundle_larger_than_a_row_group_stays_whole(tmp_path: Path) -> None:
    rows = [row(number) for number in range(8)]
    assert group_sizes(write(tmp_path / "a.parquet", rows, bundle_size=4, row_group_max_rows=2)) == [4, 4]


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(4096, 9000),
)
def test_row_groups_are_whole_bundles_within_the_limits(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], bundle_size: int, max_rows: int, max_num_bytes: int
) -> None:
    rows = [row(number, size) for size in sizes for number in range(bundle_size)]
    path = tmp_path_factory.mktemp("shard") / "a.parquet"
    groups = group_sizes(
        write(path, rows, bundle_size=bundle_size, row_group_max_rows=max_rows, row_group_max_num_bytes=max_num_bytes)
    )
    assert sum(groups) == len(rows)
    assert all(size % bundle_size == 0 and size <= max(max_rows, bundle_size) for size in groups)
    # No group could have ended earlier by bytes: without its last bundle it is below the limit.
    start = 0
    for size in groups:
        inner = rows[start : start + size - bundle_size]
        assert sum(len(values["payload"]) for values in inner) < max_num_bytes
        start += size


@pytest.mark.parametrize(("features", "make"), [(PAYLOAD, row), (MEDIA, media_row)])
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, features: Features, make: Any) -> None:
    files = [
        write(tmp_path / name, [make(number) for number in range(9)], features, row_group_max_rows=4) for name in "ab"
    ]
    assert files[0].path.read_bytes() == files[1].path.read_bytes()


def test_a_flipped_bit_in_any_page_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [media_row(number) for number in range(4)], MEDIA)
    data = bytearray(file.path.read_bytes())
    group = pq.read_metadata(file.path).row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        damaged = bytearray(data)
        damaged[column.data_page_offset + column.total_compressed_size - 1 - _dictionary_bytes(column)] ^= 1
        with pytest.raises(OSError, match=r"(?i)crc checksum verification failed"):
            pq.ParquetFile(io.BytesIO(bytes(damaged)), page_checksum_verification=True).read()


def _dictionary_bytes(column: Any) -> int:
    if column.dictionary_page_offset is None:
        return 0
    return int(column.data_page_offset - column.dictionary_page_offset)


def test_media_are_stored_as_they_are_and_the_rest_is_compressed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [media_row(number) for number in range(4)], MEDIA)
    group = pq.read_metadata(file.path).row_group(0)
    columns = {column.path_in_schema: column for column in (group.column(index) for index in range(group.num_columns))}
    media = {name for name in columns if name.endswith("bytes")}
    assert media == {"image.bytes", "images.list.element.bytes", "sound.bytes"}
    assert {name for name, column in columns.items() if column.compression == "UNCOMPRESSED"} == media
    assert {column.compression for name, column in columns.items() if name not in media} == {"ZSTD"}
    plain = {name for name, column in columns.items() if not column.has_dictionary_page}
    assert plain == {*media, "example_id"}
    assert not any(columns[name].is_stats_set for name in media)


def test_the_schema_says_what_the_rows_are(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [media_row(0)], MEDIA)
    schema = pq.read_schema(file.path)
    assert json.loads(schema.metadata[b"unlabeled"]) == {"task": "t"}
    assert json.loads(schema.metadata[b"huggingface"]) == {"info": {"features": MEDIA.huggingface}}
    assert schema.field("image").type == MEDIA_TYPE
    assert schema.field("image").nullable
    assert schema.field("images").type == pa.list_(MEDIA_TYPE)


def test_an_empty_medium_among_others_is_kept(tmp_path: Path) -> None:
    writer = ShardFileWriter(tmp_path / "a.parquet", Features.of(image=image("")), {}, ShardSettings(), 1)
    cells, num_bytes = writer.encode({"image": photograph(0, 16, 16)})
    writer.append(cells, num_bytes)
    writer.append({"image": None}, 0)
    writer.finish()
    assert pq.read_table(tmp_path / "a.parquet")["image"].to_pylist() == [cells["image"], None]


def test_cells_that_neighbours_share_give_the_same_file_as_their_own(tmp_path: Path) -> None:
    writer = ShardFileWriter(tmp_path / "shared.parquet", MEDIA, {"task": "t"}, ShardSettings(row_group_max_rows=3), 1)
    own = ("image", "example_id")
    alone = []
    for number in range(8):
        if number % 3 == 0:
            shared, _ = writer.encode({name: cell for name, cell in media_row(number).items() if name not in own})
        values = {name: media_row(number)[name] for name in own}
        writer.append(*writer.encode(values), shared)
        writer.end_bundle()
        alone.append(media_row(number - number % 3) | values)
    file = writer.finish()
    assert file is not None
    assert file.sha256 == write(tmp_path / "alone.parquet", alone, MEDIA, row_group_max_rows=3).sha256


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6), max_rows=st.integers(1, 7), packed=st.integers(0, 2))
def test_rows_that_waited_on_disk_give_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], max_rows: int, packed: int
) -> None:
    folder = tmp_path_factory.mktemp("spooled")
    rows = [media_row(number) for number in range(sum(cuts))]
    writer = ShardFileWriter(folder / "a", MEDIA, {"task": "t"}, ShardSettings(row_group_max_rows=max_rows), 1)
    first = 0
    for number, size in enumerate(cuts):
        encoded = [(*writer.encode(values), {}) for values in rows[first : first + size]]
        first += size
        if number % 3 != packed:  # these never left the memory
            for cells, num_bytes, shared in encoded:
                writer.append(cells, num_bytes, shared)
                writer.end_bundle()
            continue
        batch = writer.batch_of(encoded)
        spool = RowSpool(folder, batch.schema)
        spool.add(batch, [num_bytes for _, num_bytes, _ in encoded])
        for again, sizes in spool.batches():
            for place, num_bytes in enumerate(sizes):
                writer.append_from(again, place, num_bytes)
                writer.end_bundle()
    file = writer.finish()
    assert file is not None
    assert file.sha256 == write(folder / "b", rows, MEDIA, row_group_max_rows=max_rows).sha256


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_arrays_of_numbers_give_the_same_file_as_lists(tmp_path: Path, dtype: type[np.generic]) -> None:
    lists = [media_row(number) | {"tokens": [number] * number} for number in range(4)]
    arrays = [values | {"tokens": np.array(values["tokens"], dtype)} for values in lists]
    sizes = {"row_group_max_rows": 3}
    assert write(tmp_path / "a", lists, MEDIA, **sizes).sha256 == write(tmp_path / "b", arrays, MEDIA, **sizes).sha256


def test_a_row_keeps_its_numbers_where_the_task_uses_their_array_again(tmp_path: Path) -> None:
    numbers = np.zeros(3, np.int32)
    writer = ShardFileWriter(
        tmp_path / "a", Features.of(tokens=value("int32", "label", "", shape=(3,))), {}, ShardSettings(), 1
    )
    for number in range(3):
        numbers[:] = number
        writer.append(*writer.encode({"tokens": numbers}))
    writer.finish()
    assert pq.read_table(tmp_path / "a")["tokens"].to_pylist() == [[0] * 3, [1] * 3, [2] * 3]


@pytest.mark.parametrize("found", [np.array([1, 2]), np.array([0.1, 2.0]), np.array([0.5, 1], np.float32)])
def test_arrays_of_other_numbers_become_floats_as_lists_do(tmp_path: Path, found: Any) -> None:
    features = Features.of(tokens=value("float32", "label", "", shape=(2,)))
    as_array, as_list = (
        write(tmp_path / name, [{"tokens": each}], features) for name, each in (("a", found), ("b", found.tolist()))
    )
    assert as_array.sha256 == as_list.sha256


def test_an_array_whose_numbers_do_not_fit_the_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pa.ArrowInvalid):
        write(tmp_path / "a", [media_row(0) | {"tokens": np.array([2**40])}], MEDIA)


def test_the_size_of_a_row_is_about_that_of_its_cells(tmp_path: Path) -> None:
    writer = ShardFileWriter(tmp_path / "a.parquet", MEDIA, {}, ShardSettings(), 1)
    cells, num_bytes = writer.encode(media_row(0))
    media = [cells["image"], *cells["images"], cells["sound"]]
    assert 0 < num_bytes - sum(len(cell["bytes"]) for cell in media) < 200


def test_a_file_describes_itself(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", [row(number) for number in range(25)], row_group_max_rows=10)
    data = file.path.read_bytes()
    assert (file.sha256, file.num_bytes, file.num_rows) == (hashlib.sha256(data).hexdigest(), len(data), 25)
    footer = data[-file.footer_num_bytes :]
    assert hashlib.sha256(footer).hexdigest() == file.footer_sha256
    assert footer.endswith(b"PAR1")
    assert describe(file.path) == file


def test_row_groups_lie_where_the_description_says(tmp_path: Path) -> None:
    rows = [media_row(number) for number in range(5)]
    file = write(tmp_path / "a.parquet", rows, MEDIA, row_group_max_rows=2)
    data = file.path.read_bytes()
    ends = [0]
    for group in file.row_groups:
        assert group.offset_bytes >= ends[-1]
        ends.append(group.offset_bytes + group.num_bytes)
    # Only the described bytes and the footer are needed to read a row group.
    group = file.row_groups[1]
    only = bytearray(len(data))
    only[:4] = data[:4]
    only[group.offset_bytes : ends[2]] = data[group.offset_bytes : ends[2]]
    only[-file.footer_num_bytes :] = data[-file.footer_num_bytes :]
    read = pq.ParquetFile(io.BytesIO(bytes(only)), page_checksum_verification=True).read_row_group(1)
    assert read["example_id"].to_pylist() == [rows[2]["example_id"], rows[3]["example_id"]]


def test_no_rows_no_file(tmp_path: Path) -> None:
    writer = ShardFileWriter(tmp_path / "a.parquet", PAYLOAD, {}, ShardSettings(), 1)
    writer.end_bundle()
    assert writer.finish() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_an_aborted_file_is_removed(tmp_path: Path, num_rows: int) -> None:
    writer = ShardFileWriter(tmp_path / "a.parquet", PAYLOAD, {}, ShardSettings(row_group_max_rows=2), 1)
    for number in range(num_rows):
        writer.append(*writer.encode(row(number)))
        writer.end_bundle()
    writer.abort()
    assert not list(tmp_path.iterdir())


def test_a_value_too_large_for_its_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowInvalid, OverflowError)):
        write(tmp_path / "a.parquet", [row(2**70)])


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    writer = ShardFileWriter(tmp_path / "full", PAYLOAD, {}, ShardSettings(), 1)
    cells, num_bytes = writer.encode(row(0))
    writer.append(cells, num_bytes)
    with pytest.raises(UnlabeledError, match=f"^{tmp_path}: .*No space left on device.*TMPDIR"):
        writer.finish()
    writer.abort()
    assert not (tmp_path / "full").is_symlink()
