"""Sounds from streamed blocks, in memory and on disk; answers of a child that is not to be trusted."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.decode.fence_media import SpooledWaveform, documents_of, waveform_of
from unlabeled.pipeline.decode.fence_protocol import Answer
from unlabeled.pipeline.errors import Reject, RejectReason

HEADER = {"codec": "flac", "sample_rate_hz": 44_100, "num_channels": 2, "rate_hz": 16_000}


def blocks(num_blocks: int, num_samples: int = 1 << 20) -> Generator[Answer, None, Answer]:
    yield Answer(HEADER)
    for number in range(num_blocks):
        yield Answer({}, [np.arange(number, number + num_samples, dtype=np.int16)])
    return Answer({"is_truncated": True})


def test_a_short_sound_lies_in_memory() -> None:
    sound = waveform_of(blocks(2, 10), None, (5, 9))
    assert type(sound).__name__ == "Waveform"
    assert sound.samples.tolist() == [*range(10), *range(1, 11)]
    assert (sound.codec, sound.source_sample_rate_hz, sound.sample_rate_hz) == ("flac", 44_100, 16_000)
    assert (sound.start_us, sound.is_truncated, sound.num_channels) == (5, True, 2)


def test_a_long_sound_lies_in_a_nameless_file_and_reads_the_same(tmp_path: Path) -> None:
    sound = waveform_of(blocks(12), tmp_path, None)
    expected = np.concatenate([block.arrays[0] for block in list(blocks(12))[1:]])
    assert isinstance(sound, SpooledWaveform)
    assert list(tmp_path.iterdir()) == []
    assert np.array_equal(sound.samples, expected)
    assert not sound.samples.flags.writeable
    start = 3_000_000
    assert np.array_equal(sound.clip(start, 500), expected[start : start + 500].astype(np.float32) / 32768)
    with pytest.raises(IndexError, match="leaves"):
        sound.clip(len(expected) - 5, 6)


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(HEADER), Answer({}, [np.zeros(3, np.uint8)])],
        [Answer(HEADER), Answer({}, [np.zeros((3, 2), np.int16)])],
        [Answer({"codec": "flac"}), Answer({}, [np.zeros(3, np.int16)])],
    ],
    ids=["element type", "shape", "header"],
)
def test_nonsense_is_a_crash(answers: list[Answer]) -> None:
    def stream() -> Generator[Answer, None, Answer]:
        yield from answers
        return Answer({"is_truncated": False})

    with pytest.raises(Reject) as caught:
        waveform_of(stream(), None, None)
    assert caught.value.reason is RejectReason.DECODER_CRASH


def test_documents_come_in_batches() -> None:
    text = "añb".encode()
    batch = Answer({"documents": [[0, 3], [7, 1]]}, [np.frombuffer(text, np.uint8)])
    assert [(one.start_byte, one.text) for one in documents_of([batch])] == [(0, "añ"), (7, "b")]


@pytest.mark.parametrize("places", [None, [[0]], [[0, 2]]], ids=["none", "one number", "half a letter"])
def test_documents_that_are_nonsense_are_a_crash(places: object) -> None:
    header = {"documents": places} if places else {}
    with pytest.raises(Reject) as caught:
        list(documents_of([Answer(header, [np.frombuffer("añb".encode(), np.uint8)])]))
    assert caught.value.reason is RejectReason.DECODER_CRASH
