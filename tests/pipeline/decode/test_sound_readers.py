"""libsndfile for WAV and FLAC, FFmpeg for the rest."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.container import AUDIO_DEMUXERS, EndsEarly
from unlabeled.pipeline.decode.sound_readers import FfmpegReader, SndfileReader, SoundReader
from unlabeled.pipeline.errors import Reject, StoreError

from tests.media_files import chirp, sound_file

RATE_HZ = 48_000
FFMPEG_KINDS = ("ogg", "mp3", "m4a", "mov", "opus", "webm", "aac", "oga")


def reader_of(data: bytes, kind: str, *, may_end_early: bool = False) -> SoundReader:
    if kind in FFMPEG_KINDS:
        return FfmpegReader(MemoryBytes(data), AUDIO_DEMUXERS, may_end_early=may_end_early)
    return SndfileReader(MemoryBytes(data), may_end_early=may_end_early)


def samples_of(reader: SoundReader, first: int = 0) -> NDArray[np.float32]:
    return np.concatenate(list(reader.blocks(first)))


@pytest.mark.parametrize("kind", ["wav", "flac", *FFMPEG_KINDS])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_facts_and_samples(kind: str, num_channels: int) -> None:
    reader = reader_of(sound_file(kind, chirp(RATE_HZ, 1.0, num_channels), RATE_HZ), kind)
    samples = samples_of(reader)
    assert (reader.sample_rate_hz, reader.num_channels) == (RATE_HZ, num_channels)
    assert (samples.dtype, samples.shape[1]) == (np.float32, num_channels)
    assert abs(len(samples) - RATE_HZ) < 3_000


@pytest.mark.parametrize(
    ("kind", "codec", "is_declared"),
    [
        ("wav", "wav_pcm_16", True),
        ("flac", "flac_pcm_16", True),
        ("ogg", "vorbis", False),
        ("mp3", "mp3", True),
        ("m4a", "aac", True),
        ("opus", "opus", False),
        ("aac", "aac", False),
    ],
)
def test_codec_and_declared_length(kind: str, codec: str, is_declared: bool) -> None:
    reader = reader_of(sound_file(kind, chirp(RATE_HZ, 1.0), RATE_HZ), kind)
    assert (reader.codec, reader.num_declared is not None) == (codec, is_declared)
    assert abs((reader.num_declared or RATE_HZ) - RATE_HZ) < 3_000


@pytest.mark.parametrize("kind", ["wav", "flac", "mov", "oga"])
def test_reading_can_begin_at_any_sample(kind: str) -> None:
    data = sound_file(kind, chirp(RATE_HZ, 1.0, 2), RATE_HZ)
    whole = samples_of(reader_of(data, kind))
    assert np.array_equal(samples_of(reader_of(data, kind), 12_345), whole[12_345:])


def read_until_early_end(reader: SoundReader) -> int:
    num_samples = 0
    try:
        for block in reader.blocks():
            num_samples += len(block)
    except EndsEarly:
        return num_samples
    pytest.fail("the end is not early")


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_an_early_end_comes_after_what_is_sound(kind: str) -> None:
    data = sound_file(kind, chirp(RATE_HZ, 10.0), RATE_HZ)
    num_samples = read_until_early_end(reader_of(data[: len(data) // 2], kind, may_end_early=True))
    assert 2 * RATE_HZ < num_samples < 9 * RATE_HZ


def test_damage_is_not_an_early_end_where_the_container_is_complete() -> None:
    data = bytearray(sound_file("m4a", chirp(RATE_HZ, 2.0), RATE_HZ))
    begin = data.index(b"mdat") + 2_000
    data[begin : begin + 6_000] = b"\xff" * 6_000
    with pytest.raises(Reject) as caught:
        samples_of(reader_of(bytes(data), "m4a"))
    assert caught.value.reason == "corrupt"


def with_pause(seconds: int) -> bytes:
    """Return a recording in Matroska whose time stamps jump by `seconds` in the middle."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8_000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
            frame.sample_rate, frame.time_base = 8_000, Fraction(1, 8_000)
            frame.pts = 800 * number + (8_000 * seconds if number >= 10 else 0)
            container.mux(stream.encode(frame))
    return file.getvalue()


def test_sound_without_a_pause_is_read() -> None:
    assert len(samples_of(reader_of(with_pause(0), "webm"))) == 16_000


def test_a_jump_of_the_time_stamps_is_missing_sound() -> None:
    with pytest.raises(Reject, match="jumps") as caught:
        samples_of(reader_of(with_pause(3), "webm"))
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("kind", ["m4a", "opus", "oga", "webm"])
def test_eight_channels_keep_their_order(kind: str) -> None:
    samples = np.concatenate([chirp(RATE_HZ, 1.0) * (number + 1) / 8 for number in range(8)], axis=1)
    found = samples_of(reader_of(sound_file(kind, samples, RATE_HZ), kind))
    levels = np.sort(np.abs(found).max(axis=0))
    assert found.shape[1] == 8
    assert levels[-1] > 3 * levels[0]


def test_more_channels_than_eight_are_an_unsupported_feature() -> None:
    samples = np.zeros((4_800, 16), np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="hexadecagonal")
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), "s16", "hexadecagonal")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
    with pytest.raises(Reject) as caught:
        reader_of(file.getvalue(), "webm")
    assert caught.value.reason == "unsupported_feature"


def test_a_flac_behind_an_id3_tag_is_read() -> None:
    data = b"ID3\4\0\0\0\0\0\x14" + bytes(20) + sound_file("flac", chirp(RATE_HZ, 0.5), RATE_HZ)
    assert len(samples_of(reader_of(data, "flac"))) == RATE_HZ // 2


class Failing(MemoryBytes):
    """A source whose store fails beyond the first bytes."""

    def read(self, offset: int, length: int) -> bytes:
        if offset > 5_000:
            raise StoreError("the store is down")
        return super().read(offset, length)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_store_error_is_not_taken_for_the_end(kind: str) -> None:
    source = Failing(sound_file(kind, chirp(RATE_HZ, 3.0), RATE_HZ))
    with pytest.raises(StoreError):
        samples_of(SndfileReader(source, may_end_early=True))


@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_nor_by_ffmpeg(kind: str) -> None:
    source = Failing(sound_file(kind, chirp(RATE_HZ, 60.0), RATE_HZ))
    with pytest.raises(StoreError):
        samples_of(FfmpegReader(source, AUDIO_DEMUXERS, may_end_early=True))
