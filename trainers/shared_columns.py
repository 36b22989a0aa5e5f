"""Columns of a batch in memory that two processes share, and the share of a rank put together from its parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pipeline.decode.fence_protocol import Message, num_bytes_of, put_arrays, view_array
from ..pipeline.decode.shared_block import SharedBlock


def put_columns(block: SharedBlock, columns: Mapping[str, Any]) -> Message:
    """Copy the arrays and bytes of columns into `block`, which grows, and return a message that says what lies where.

    Columns are what `Batch` holds: arrays, or lists (of lists) of arrays, bytes, strings, numbers and None.
    """
    flat: list[NDArray[np.uint8]] = []
    told = {name: _told(value, flat) for name, value in columns.items()}
    block.grow(num_bytes_of(flat))
    return {"columns": told, "places": put_arrays(block, flat), "num_bytes": block.num_bytes}


def view_columns(block: SharedBlock, message: Message) -> dict[str, Any]:
    """Return the columns that `put_columns` told of; arrays are views of `block`, bytes are copies."""
    flat = [view_array(block, place) for place in message["places"]]
    return {name: _seen(told, flat) for name, told in message["columns"].items()}


def _told(value: Any, flat: list[NDArray[np.uint8]]) -> Any:
    if isinstance(value, list):
        return [_told(entry, flat) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        flat.append(array.reshape(-1).view(np.uint8))
        return {"array": len(flat) - 1, "dtype": array.dtype.str, "shape": np.shape(value)}
    if isinstance(value, bytes | memoryview):
        flat.append(np.frombuffer(value, np.uint8))
        return {"bytes": len(flat) - 1}
    return value


def _seen(told: Any, flat: Sequence[NDArray[np.uint8]]) -> Any:
    if isinstance(told, list):
        return [_seen(entry, flat) for entry in told]
    if not isinstance(told, dict):
        return told
    if "bytes" in told:
        return memoryview(flat[told["bytes"]].tobytes())
    array = flat[told["array"]].view(told["dtype"]).reshape(told["shape"])
    return array if told["shape"] else array[()]


def interleaved(parts: Sequence[Any], bundle_size: int) -> Any:
    """Return a column whose bundles of `bundle_size` rows are those of the parts, taken in turn; a copy.

    Parts hold equally many rows. One array where all of them are arrays of one shape, else a list.
    """
    first = parts[0]
    if all(isinstance(part, np.ndarray) and part.shape == first.shape for part in parts):
        whole = np.empty((len(parts) * len(first), *first.shape[1:]), first.dtype)
        turns = whole.reshape(-1, len(parts), bundle_size, *first.shape[1:])
        for number, part in enumerate(parts):
            turns[:, number] = part.reshape(-1, bundle_size, *first.shape[1:])
        return whole
    bundles = ([list(part[row : row + bundle_size]) for part in parts] for row in range(0, len(first), bundle_size))
    rows = itertools.chain.from_iterable(itertools.chain.from_iterable(bundles))
    return [row.copy() if isinstance(row, np.ndarray) else row for row in rows]


def equally_long(sounds: Sequence[Any]) -> list[Any]:
    """Return parts of a column of sound, padded with zeros to the longest of them all."""
    longest = max(_num_samples(part) for part in sounds)
    return [_padded(part, longest) for part in sounds]


def _num_samples(sound: Any) -> int:
    return max(map(_num_samples, sound), default=0) if isinstance(sound, list) else int(sound.shape[-1])


def _padded(sound: Any, num_samples: int) -> Any:
    if isinstance(sound, list):
        return [_padded(entry, num_samples) for entry in sound]
    return np.pad(sound, [(0, 0)] * (sound.ndim - 1) + [(0, num_samples - sound.shape[-1])])
