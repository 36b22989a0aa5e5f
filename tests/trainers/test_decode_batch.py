"""Stored cells to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.features import Feature, Features, audio, box, class_label, image, value
from unlabeled.trainers.decode_batch import Piece, decode_column

from tests import samples


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as opened:
        yield opened


def stored(feature: Feature, values: Sequence[Any]) -> pa.Array:
    features = Features.of(x=feature)
    return pa.array([encode_values(features, {"x": cell})["x"] for cell in values], feature.arrow_type)


def decode(pool: ThreadPoolExecutor, feature: Feature, values: Sequence[Any], *, raw: bool = False) -> dict[str, Any]:
    """Store values in two row groups, the odd rows in the second, and decode them in the given order."""
    places = np.arange(len(values))
    pieces = [
        Piece(f"row group {part}".format, stored(feature, values[part::2]), np.arange(len(mine)), mine)
        for part in (0, 1)
        for mine in [places[part::2]]
    ]
    return decode_column("x", feature, [piece for piece in pieces if len(piece.rows)], pool, raw=raw)


def pictures(num: int, side_px: int = 16) -> list[np.ndarray]:
    return [samples.photograph(seed, side_px, side_px) for seed in range(num)]


def test_pictures_are_one_array(pool: ThreadPoolExecutor) -> None:
    given = pictures(19)
    found = decode(pool, image("a", encoding="png"), given)["x"]
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack(given))


def test_lists_of_stills_keep_their_nesting(pool: ThreadPoolExecutor) -> None:
    given = [pictures(3), pictures(3)[::-1], pictures(3)]
    found = decode(pool, image("a", encoding="png", shape=(3,)), given)["x"]
    assert np.array_equal(found, np.array(given))


def test_lists_of_lists_keep_their_nesting(pool: ThreadPoolExecutor) -> None:
    given = [[pictures(2), pictures(2)[::-1]], [pictures(2)[::-1], pictures(2)]]
    found = decode(pool, image("a", encoding="png", shape=(2, 2)), given)["x"]
    assert np.array_equal(found, np.array(given))


def test_pictures_of_several_sizes_are_a_list(pool: ThreadPoolExecutor) -> None:
    given = [*pictures(2), *pictures(1, 24)]
    found = decode(pool, image("a", encoding="png"), given)["x"]
    assert [picture.shape for picture in found] == [(16, 16, 3), (16, 16, 3), (24, 24, 3)]


def test_sound_is_padded_with_zeros(pool: ThreadPoolExecutor) -> None:
    given = [np.full(num, 0.5, np.float32) for num in (4, 2, 3)]
    found = decode(pool, audio("a", sample_rate_hz=8000), given)
    assert found["x"].tolist() == [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0, 0], [0.5, 0.5, 0.5, 0]]
    assert found["x_num_samples"].tolist() == [4, 2, 3]


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (class_label(("a", "b"), "l"), [0, 1, 1], np.array([0, 1, 1])),
        (class_label(("a", "b"), "l", is_nullable=True), [0, None, 1], np.array([0, -1, 1])),
        (value("float32", "label", "l"), [0.5, 1.0], np.array([0.5, 1.0], np.float32)),
        (value("bool", "input", "l"), [True, False], np.array([True, False])),
        (value("binary", "input", "l"), [b"\x01\x02", b"\x03\x04"], np.array([[1, 2], [3, 4]], np.uint8)),
        (value("int8", "input", "l", shape=(2,)), [[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], np.int8)),
        (box("b"), [(1, 2, 3, 4), (5, 6, 7, 8)], np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)),
    ],
)  # fmt: skip
def test_values_are_arrays_of_their_type(
    pool: ThreadPoolExecutor, feature: Feature, values: list[Any], expected: np.ndarray
) -> None:
    found = decode(pool, feature, values)["x"]
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_lists_of_several_lengths_are_a_list_of_arrays(pool: ThreadPoolExecutor) -> None:
    found = decode(pool, value("int32", "input", "l", shape=(None,)), [[1], [2, 3], []])["x"]
    assert [row.tolist() for row in found] == [[1], [2, 3], []]


def test_strings_are_a_list(pool: ThreadPoolExecutor) -> None:
    assert decode(pool, value("string", "label", "l"), ["a", "b", "c"]) == {"x": ["a", "b", "c"]}


def test_raw_media_are_the_stored_bytes(pool: ThreadPoolExecutor) -> None:
    given, feature = [pictures(2), pictures(2)[::-1]], image("a", shape=(2,))
    found = decode(pool, feature, given, raw=True)["x"]
    assert [[bytes(cell) for cell in row] for row in found] == [
        [cell["bytes"] for cell in row] for row in stored(feature, given).to_pylist()
    ]


def test_a_cell_that_is_no_picture_is_corrupt(pool: ThreadPoolExecutor) -> None:
    array = pa.array([{"bytes": b"no picture", "path": None}], image("a").arrow_type)
    piece = Piece("s.parquet: row group 3".format, array, np.arange(1), np.arange(1))
    with pytest.raises(CorruptData, match=r"column 'x' of one of s\.parquet: row group 3"):
        decode_column("x", image("a"), [piece], pool)
