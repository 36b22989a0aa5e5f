"""Stored cells to arrays: the columns of a batch from rows of several row groups."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..pipeline.errors import CorruptData
from ..pipeline.features import Feature

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
#: Pictures or sounds that one task of a decoding thread takes: enough to outweigh its start.
_CELLS_PER_TASK = 8
#: Row groups of at most so many rows a wanted one are put together before rows are taken: many calls cost more.
_ONE_TAKE_ROWS = 32
#: A nullable number that is not given.
NO_LABEL = -1


@dataclass(frozen=True)
class Piece:
    """Some rows of one column of one row group, and where they go.

    Attributes:
        name: says where they are from.
        array: the column of the whole row group.
        rows: int64 [num_rows].
        places: of the rows in the batch, int64 [num_rows].
    """

    name: Callable[[], str]
    array: pa.Array | list[memoryview]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def decode_column(
    name: str, feature: Feature, pieces: Sequence[Piece], pool: Executor, *, raw: bool = False
) -> dict[str, Any]:
    """Return one column of a batch under its name.

    Pictures: uint8 [num_rows, *lists, height, width, 3]; sound: float32 [num_rows, *lists, max num_samples], padded
    with zeros, and their lengths as `<name>_num_samples` int64 [num_rows, *lists]. With `raw`, media are the stored
    bytes (memoryviews, in lists as stored). Numbers: [num_rows, *lists] in their own type, -1 (or NaN) where none is
    given. Bytes: uint8 [num_rows, num_bytes]. Boxes: int32 [num_rows, *lists, 4]. Strings: a list. Whatever differs in
    size from row to row (other than sound) is a list with an entry a row.

    Raises:
        CorruptData: a picture or sound cannot be decoded, though its checksum is right.
    """
    if feature.kind in ("image", "audio"):
        cells = media_in_order(pieces)
        if raw:
            return {name: cells}
        return _decode_media(name, feature, cells, pieces, pool)
    if feature.dtype == "binary" and not feature.shape:
        return {name: stacked(_in_order(pieces, _binary_rows))}
    return {name: _values(feature, pieces)}


def _in_order(pieces: Sequence[Piece], cells_of: Callable[[pa.Array, list[int]], list[Any]]) -> list[Any]:
    cells: list[Any] = [None] * sum(len(piece.rows) for piece in pieces)
    for piece in pieces:
        for place, cell in zip(piece.places.tolist(), cells_of(piece.array, piece.rows.tolist()), strict=True):
            cells[place] = cell
    return cells


def media_in_order(pieces: Sequence[Piece]) -> list[Any]:
    """Return the stored bytes of a column of media as views, row by row, nested as the column is."""
    return _in_order(pieces, _media_cells)


def _media_cells(array: pa.Array | list[memoryview], rows: list[int]) -> list[Any]:
    """Return the stored bytes of some rows as views, nested as the column is."""
    if isinstance(array, list):
        return [array[row] for row in rows]
    if isinstance(array, pa.ListArray):
        offsets = array.offsets.to_numpy().tolist()
        return [_media_cells(array.values, list(range(offsets[row], offsets[row + 1]))) for row in rows]
    return _views(array.field("bytes"), rows)


def _views(array: pa.Array, rows: list[int]) -> list[memoryview]:
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset :].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    return [view[offsets[row] : offsets[row + 1]] for row in rows]


def _binary_rows(array: pa.Array, rows: list[int]) -> list[NDArray[np.uint8]]:
    return [np.frombuffer(view, np.uint8) for view in _views(array, rows)]


def _decode_media(
    name: str, feature: Feature, cells: list[Any], pieces: Sequence[Piece], pool: Executor
) -> dict[str, Any]:
    leaves = _flat(cells, len(feature.shape))
    decode: Callable[[memoryview], NDArray[Any]] = decode_picture if feature.kind == "image" else decode_sound
    try:
        decoded = map_chunks(pool, decode, leaves)
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        places = ", ".join(sorted({piece.name() for piece in pieces}))
        raise CorruptData(f"column {name!r} of one of {places}: a cell cannot be decoded: {error}") from error
    if feature.kind == "image":
        return {name: _nested(decoded, cells, len(feature.shape))}
    num_samples = [len(sound) for sound in decoded]
    padded = np.zeros((len(decoded), max(num_samples, default=0)), np.float32)
    for row, sound in zip(padded, decoded, strict=True):
        row[: len(sound)] = sound
    return {
        name: _nested(list(padded), cells, len(feature.shape)),
        f"{name}_num_samples": _nested([np.int64(num) for num in num_samples], cells, len(feature.shape)),
    }


def decode_picture(data: memoryview) -> NDArray[np.uint8]:
    """Return a stored JPEG or PNG as uint8 [height, width, 3]."""
    with PillowImage.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def decode_sound(data: memoryview) -> NDArray[np.float32]:
    """Return a stored FLAC as float32 [num_samples] in [-1, 1)."""
    import soundfile

    samples: NDArray[np.float32] = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    return samples


def map_chunks(pool: Executor, call: Callable[[InputT], OutputT], inputs: Sequence[InputT]) -> list[OutputT]:
    """Return `call` of each input, in order; the pool's threads take a few at a time."""
    chunks = [inputs[start : start + _CELLS_PER_TASK] for start in range(0, len(inputs), _CELLS_PER_TASK)]
    futures = [pool.submit(lambda chunk: [call(cell) for cell in chunk], chunk) for chunk in chunks]
    return [output for future in futures for output in future.result()]


def _flat(cells: Iterable[Any], depth: int) -> list[Any]:
    flat = list(cells)
    for _ in range(depth):
        flat = [entry for cell in flat for entry in cell]
    return flat


def _nested(leaves: Sequence[Any], cells: Sequence[Any], depth: int) -> Any:
    """Return decoded leaves in the nesting of the stored cells: one array where all rows have one shape."""
    if depth == 0:
        return stacked(leaves)
    whole = stacked(leaves)
    counts = {len(cell) for cell in cells}
    if depth == 1 and len(counts) == 1 and isinstance(whole, np.ndarray):
        return whole.reshape(len(cells), counts.pop(), *whole.shape[1:])
    waiting = iter(leaves)
    return stacked([_regrouped(cell, depth - 1, waiting) for cell in cells])


def _regrouped(cell: Sequence[Any], depth: int, leaves: Any) -> Any:
    return stacked([next(leaves) if depth == 0 else _regrouped(entry, depth - 1, leaves) for entry in cell])


def stacked(arrays: Sequence[Any]) -> Any:
    """Return arrays of one shape as one array, others as a list."""
    if len({np.shape(array) for array in arrays}) == 1 and not any(isinstance(array, list) for array in arrays):
        return np.stack(arrays)
    return list(arrays)


def _taken(pieces: Sequence[Piece]) -> pa.Array:
    """Return the wanted rows of all pieces where they go in the batch."""
    arrays = [cast(pa.Array, piece.array) for piece in pieces]  # views are media, and those are not values
    order = np.argsort(np.concatenate([piece.places for piece in pieces]), kind="stable")
    lengths = np.array([len(array) for array in arrays])
    if lengths.sum() <= _ONE_TAKE_ROWS * len(order):
        starts = np.cumsum(lengths) - lengths
        rows = np.concatenate([start + piece.rows for start, piece in zip(starts, pieces, strict=True)])
        return pa.concat_arrays(arrays).take(pa.array(rows[order]))
    taken = pa.concat_arrays([array.take(pa.array(piece.rows)) for array, piece in zip(arrays, pieces, strict=True)])
    return taken.take(pa.array(order))


def _values(feature: Feature, pieces: Sequence[Piece]) -> Any:
    taken = _taken(pieces)
    if feature.kind == "box":
        return stacked([_corners(cell) for cell in taken.to_pylist()])
    if not feature.shape:
        return taken.to_pylist() if feature.dtype in ("string", "binary") else _numbers(taken, feature.dtype)
    if len(feature.shape) > 1 or feature.dtype in ("string", "binary"):
        return taken.to_pylist()
    offsets = taken.offsets.to_numpy()
    numbers = _numbers(taken.values, feature.dtype)
    rows = [numbers[start:end] for start, end in itertools.pairwise(offsets)]
    lengths = {len(row) for row in rows}
    if len(lengths) == 1 and offsets[-1] - offsets[0] == len(numbers):
        return numbers.reshape(len(rows), lengths.pop())
    return rows


def _corners(cell: Any) -> NDArray[np.int32]:
    if isinstance(cell, list):
        return np.stack([_corners(entry) for entry in cell])
    return np.array([cell[corner] for corner in ("x", "y", "w", "h")], np.int32)


def _numbers(array: pa.Array, dtype: str) -> NDArray[Any]:
    if array.null_count:
        array = array.fill_null(float("nan") if dtype.startswith("float") else NO_LABEL)
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers
