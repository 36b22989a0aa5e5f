"""Messages, and arrays in shared memory."""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from unlabeled.pipeline.decode.fence_protocol import (
    DTYPES,
    Channel,
    ChannelClosed,
    num_bytes_of,
    put_arrays,
    take_arrays,
)
from unlabeled.pipeline.decode.shared_block import SharedBlock


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def write(channel: Channel, data: bytes) -> None:
    os.write(channel.descriptors[1], data)


@pytest.mark.parametrize("message", [{}, {"is": "ä", "n": [1, None, True]}, {"text": "x" * 3_000_000}])
def test_messages_arrive_as_they_were_sent(message: dict[str, object]) -> None:
    ours, theirs = Channel.pair()
    sender = threading.Thread(target=ours.send, args=(message,))
    sender.start()
    assert theirs.receive(10) == message
    sender.join()
    ours.close()
    theirs.close()


def test_a_message_may_arrive_in_pieces(pair: tuple[Channel, Channel]) -> None:
    channel, theirs = pair
    body = b'{"a":1}'
    pieces = (struct.pack("<I", len(body))[:2], struct.pack("<I", len(body))[2:] + body[:3], body[3:])

    def write_slowly() -> None:
        for piece in pieces:
            time.sleep(0.02)
            write(theirs, piece)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    assert channel.receive(10) == {"a": 1}
    writer.join()


def test_silence_times_out(pair: tuple[Channel, Channel]) -> None:
    with pytest.raises(TimeoutError):
        pair[0].receive(0.05)


def test_the_other_side_s_end_is_noticed(pair: tuple[Channel, Channel]) -> None:
    channel, theirs = pair
    write(theirs, struct.pack("<I", 100) + b"half")
    theirs.close()
    with pytest.raises(ChannelClosed):
        channel.receive(10)
    with pytest.raises(ChannelClosed):
        channel.send({"a": 1})


@pytest.mark.parametrize("data", [struct.pack("<I", 3) + b"[1]", struct.pack("<I", 3) + b"abc", b"\xff" * 8])
def test_what_is_no_message_is_an_error(pair: tuple[Channel, Channel], data: bytes) -> None:
    write(pair[1], data)
    with pytest.raises(ValueError, match=r"."):
        pair[0].receive(10)


arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@given(st.lists(arrays, max_size=4))
def test_arrays_come_back_equal(given_arrays: list[np.ndarray]) -> None:
    block = SharedBlock.create("test", num_bytes_of(given_arrays) + 1)
    taken = take_arrays(block, put_arrays(block, given_arrays))
    block.memory[:] = bytes(block.num_bytes)  # they are copies
    for one, other in zip(given_arrays, taken, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    block.close()


def test_objects_do_not_cross() -> None:
    block = SharedBlock.create("test")
    with pytest.raises(TypeError, match="do not cross"):
        put_arrays(block, [np.array([object()])])
    block.close()


@pytest.mark.parametrize(
    "place",
    [
        {"dtype": "|O", "shape": [1], "offset": 0},
        {"dtype": "|u1", "shape": [-1], "offset": 0},
        {"dtype": "|u1", "shape": [1], "offset": -1},
        {"dtype": "|u1", "shape": [1.5], "offset": 0},
        {"dtype": "<i8", "shape": [513], "offset": 0},
        {"dtype": "|u1", "shape": [2], "offset": 4095},
        {"dtype": "|u1", "shape": [1 << 40, 1 << 40], "offset": 0},
    ],
)
def test_a_place_outside_of_the_block_is_refused(place: dict[str, object]) -> None:
    block = SharedBlock.create("test", 4096)
    with pytest.raises(ValueError, match="array"):
        take_arrays(block, [place])
    block.close()
