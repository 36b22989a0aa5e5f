"""The built-in handlers, called in this process; through a real child they are tested in test_fence."""

from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.fence_child import MODULES, Session
from unlabeled.pipeline.decode.fence_handlers import HANDLERS
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits

from tests import broken_media, media_files


def session(data: bytes) -> Session:
    made = Session(Limits(), DecodeOptions(), None)  # type: ignore[arg-type]  # a peer is for sources out of reach
    made.source = MemoryBytes(data)
    return made


@pytest.mark.parametrize("name", sorted(HANDLERS))
def test_every_handler_says_what_it_does(name: str) -> None:
    assert HANDLERS[name].__doc__


def test_modules_are_named_for_handlers() -> None:
    assert set(MODULES) <= set(HANDLERS)


def test_an_image_is_kept_for_its_crops() -> None:
    opened = session(broken_media.jpeg(100, 80))
    header = HANDLERS["image"](opened).header  # type: ignore[union-attr]
    assert (header["width_px"], header["height_px"], header["codec"]) == (100, 80, "jpeg")
    (crop,) = HANDLERS["image_crop"](opened, box=[0, 0, 50, 40], width_px=25, height_px=20).arrays  # type: ignore[union-attr]
    (whole,) = HANDLERS["image_pixels"](opened).arrays  # type: ignore[union-attr]
    assert (crop.shape, whole.shape) == ((20, 25, 3), (80, 100, 3))


def test_sound_is_handed_over_in_large_blocks() -> None:
    num_samples = 40 * 16_000
    data = media_files.sound_file("wav", media_files.chirp(16_000, 40), 16_000)
    first, *blocks = HANDLERS["audio"](session(data), part_us=None)  # type: ignore[misc]
    assert first.header["num_channels"] == 1
    sizes = [len(block.arrays[0]) for block in blocks]
    assert sum(sizes) == num_samples
    assert min(sizes[:-1]) >= 1 << 18


def test_documents_are_handed_over_in_batches() -> None:
    lines = b"".join(b"line %d\n" % number for number in range(60_000))
    answers = list(HANDLERS["documents"](session(lines), layout="lines", field="text", part_bytes=[0, 9]))  # type: ignore[arg-type]
    assert [answer.header["documents"] for answer in answers] == [[(0, 6), (7, 6)]]
    assert answers[0].arrays[0].tobytes() == b"line 0line 1"
    batches = list(HANDLERS["documents"](session(lines), layout="lines", field="text", part_bytes=None))  # type: ignore[arg-type]
    assert 1 < len(batches) < 10
    assert np.concatenate([one.arrays[0] for one in batches]).tobytes() == lines.replace(b"\n", b"")
