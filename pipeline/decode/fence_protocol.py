"""What parent and child of a fence say to each other, and how arrays lie in the memory they share.

Two pipes carry messages: four bytes of length (little endian), then a JSON object; nothing is ever unpickled.
Bytes and arrays lie in two shared blocks: the *inbox* (parent writes, child reads) and the *outbox* (the reverse).
Parent and child strictly take turns, so that the pair uses one core.

    parent                                              child
    {"do": name, "args": {..},
     "source": null | {"num_bytes": n,
     "is_inline": b, "inbox_bytes": m}}           ->
                                                  <-    {"is": "need", "offset": o, "length": l}
    {"num_bytes": k, "inbox_bytes": m}            ->    (k bytes lie in the inbox)
                                                  <-    {"is": "grow", "num_bytes": n}
    {"outbox_bytes": n}                           ->
                                                  <-    {"is": "item", "header": {..}, "arrays": [..]}
    {"go": "next" | "stop"}                       ->
                                                  <-    {"is": "done", "header": {..}, "arrays": [..]}
                                               or <-    {"is": "reject", "reason": .., "message": ..,
                                                         "offset_bytes": ..}
"""

from __future__ import annotations

import json
import os
import select
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .shared_block import SharedBlock

#: A JSON object.
Message = dict[str, Any]

#: The only element types that cross the fence.
DTYPES: Final = frozenset({"|u1", "|i1", "<i2", "<i4", "<i8", "<f4"})
_LENGTH = struct.Struct("<I")
_MAX_MESSAGE_BYTES = 64 << 20
_ALIGNMENT_BYTES = 64


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """Messages over two pipes, one for each direction.

    Not over a socket pair: whoever reads from a socket wakes the other side, which waits there for the next message.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._poll = select.poll()
        self._poll.register(reading, select.POLLIN)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return the two ends of a new channel; their descriptors are not inherited."""
        one, other = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        return cls(one[0], other[1]), cls(other[0], one[1])

    @property
    def descriptors(self) -> tuple[int, int]:
        """The descriptors for reading and writing."""
        return self._reading, self._writing

    def send(self, message: Message) -> None:
        """Send one message; raises ChannelClosed."""
        body = json.dumps(message, separators=(",", ":")).encode()
        data = memoryview(_LENGTH.pack(len(body)) + body)
        try:
            while data:
                data = data[os.write(self._writing, data) :]
        except OSError as error:
            raise ChannelClosed from error

    def receive(self, timeout_seconds: float | None = None) -> Message:
        """Return the next message; raises ChannelClosed, and TimeoutError after about `timeout_seconds`."""
        data = self._read(1 << 16, timeout_seconds)
        while len(data) < (end := self._end(data)):
            data += self._read(end - len(data), timeout_seconds)
        message = json.loads(data[_LENGTH.size :])
        if not isinstance(message, dict):
            raise ValueError("a message is not an object")  # noqa: TRY004 - as wrong as no JSON at all
        return message

    def close(self) -> None:
        """Close both pipes; safe to call again."""
        for descriptor in self.descriptors:
            if descriptor >= 0:
                os.close(descriptor)
        self._reading = self._writing = -1

    def _read(self, num_bytes: int, timeout_seconds: float | None) -> bytes:
        if timeout_seconds is not None and not self._poll.poll(1000 * timeout_seconds):
            raise TimeoutError
        try:
            data = os.read(self._reading, num_bytes)
        except OSError as error:
            raise ChannelClosed from error
        if not data:
            raise ChannelClosed
        return data

    @staticmethod
    def _end(data: bytes) -> int:
        """Return where the message that begins in `data` ends: at least one byte further until its length is known."""
        if len(data) < _LENGTH.size:
            return _LENGTH.size
        length: int = _LENGTH.unpack_from(data)[0]
        if length > _MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {length} bytes")
        return _LENGTH.size + length


@dataclass(frozen=True, slots=True)
class Answer:
    """What one step of a decoder says: facts as JSON, and arrays of the element types in DTYPES."""

    header: Message = field(default_factory=dict)
    arrays: Sequence[NDArray[Any]] = ()


def num_bytes_of(arrays: Sequence[NDArray[Any]]) -> int:
    """Return how many bytes of a block `put_arrays` will use."""
    return sum(_aligned(array.nbytes) for array in arrays)


def put_arrays(block: SharedBlock, arrays: Sequence[NDArray[Any]]) -> list[Message]:
    """Copy `arrays` into `block` and return where they lie, for a message.

    Raises TypeError for element types that do not cross the fence.
    """
    places: list[Message] = []
    offset = 0
    for array in arrays:
        if array.dtype.str not in DTYPES:
            raise TypeError(f"arrays of {array.dtype} do not cross the fence")
        if array.size:
            np.frombuffer(block.memory, array.dtype, array.size, offset).reshape(array.shape)[...] = array
        places.append({"dtype": array.dtype.str, "shape": list(array.shape), "offset": offset})
        offset += _aligned(array.nbytes)
    return places


def take_arrays(block: SharedBlock, places: Sequence[Message]) -> list[NDArray[Any]]:
    """Return copies of the arrays in `block`.

    Raises ValueError where a place is not one that `put_arrays` gives: the other side is not trusted.
    """
    return [view_array(block, place).copy() for place in places]


def view_array(block: SharedBlock, place: Message) -> NDArray[Any]:
    """Return an array as it lies in `block`: to be dropped before the other side writes there again, or grows it.

    Raises ValueError as `take_arrays`.
    """
    dtype, shape, offset = place["dtype"], place["shape"], place["offset"]
    if dtype not in DTYPES or not all(isinstance(n, int) and n >= 0 for n in (*shape, offset)):
        raise ValueError(f"not an array: {place}")
    count = 1
    for length in shape:
        count *= length
    if count == 0:
        return np.empty(shape, dtype)
    if offset + count * np.dtype(dtype).itemsize > block.num_bytes:
        raise ValueError(f"an array outside of its block: {place}")
    return np.frombuffer(block.memory, dtype, count, offset).reshape(shape)


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
