"""Frames of one stream in the order of presentation."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.container import EndsEarly
from unlabeled.pipeline.decode.frame_reader import FrameReader, Tail
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import Reject

from tests.media_files import INDEXED_KINDS, VIDEO_KINDS, chirp, default_video, real_media, sound_file


def reader_of(data: bytes, *, may_end_early: bool = False, **limits: int) -> FrameReader:
    return FrameReader(MemoryBytes(data), Limits(**limits), may_end_early=may_end_early)  # type: ignore[arg-type]


def seconds(reader: FrameReader) -> list[Fraction]:
    found = []
    while (timed := reader.next()) is not None:
        found.append(timed.stamp * reader.time_base)
    return found


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_frames_come_in_the_order_of_presentation(kind: str) -> None:
    times = seconds(reader_of(default_video(kind)))
    assert [time - times[0] for time in times] == [Fraction(number, 25) for number in range(48)]


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_an_index_is_recognised(kind: str) -> None:
    data = default_video(kind)
    assert reader_of(data).is_indexed(MemoryBytes(data)) == (kind in INDEXED_KINDS)


@pytest.mark.parametrize("kind", sorted(INDEXED_KINDS))
def test_after_a_seek_frames_begin_with_a_key_frame(kind: str) -> None:
    reader = reader_of(default_video(kind))
    reader.seek(round(Fraction(3, 2) / reader.time_base))
    timed = reader.next()
    assert timed is not None
    assert (timed.frame.key_frame, timed.stamp * reader.time_base <= Fraction(3, 2)) == (True, True)


@pytest.mark.parametrize("kind", sorted(INDEXED_KINDS))
def test_the_index_lists_the_key_frames(kind: str) -> None:
    reader = reader_of(default_video(kind))
    first = reader.next()
    assert first is not None
    stamps = [first.stamp]
    while (timed := reader.next()) is not None:
        stamps += [timed.stamp] * timed.frame.key_frame
    reader.seek(first.stamp)  # Matroska's index is read by the first seek
    # MP4 and MOV list times of decoding: a moved one may still be two frames early.
    assert np.abs((reader.key_stamps(first.stamp) - stamps) * float(reader.time_base)).max() < 0.081


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_the_tail_tells_the_last_time(kind: str) -> None:
    tail = reader_of(default_video(kind)).tail()
    reader = reader_of(default_video(kind))
    times = seconds(reader)
    assert tail == Tail(round(times[0] / reader.time_base), round(times[-1] / reader.time_base), 48, ends_well=True)


def test_a_fragment_that_is_cut_off_ends_badly() -> None:
    assert not reader_of(default_video("mp4-fragmented")[:-700]).tail().ends_well


def test_what_a_broadcast_begins_with_is_passed_over() -> None:
    data = default_video("ts-h264")
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    cut = b"".join(packets[:3] + packets[24:])
    assert 20 < len(seconds(reader_of(cut, may_end_early=True))) < 48


def test_only_garbage_is_corrupt() -> None:
    data = bytearray(default_video("mp4"))
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    with pytest.raises(Reject) as caught:
        reader_of(bytes(data)).next()
    assert caught.value.reason == "corrupt"


def test_an_error_at_the_end_is_an_early_end_where_that_may_be() -> None:
    data = bytearray(default_video("mp4"))
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    with pytest.raises(EndsEarly):
        reader_of(bytes(data), may_end_early=True).next()


def with_cover() -> bytes:
    """Return a sound with a cover picture, which FFmpeg lists as a video stream."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
        container.mux([*cover.encode(picture), *cover.encode(None)])
        tone = av.AudioFrame.from_ndarray(chirp(16_000, 0.5).T.copy(), "fltp", "mono")
        tone.sample_rate = 16_000
        container.mux([*sound.encode(tone), *sound.encode(None)])
    return file.getvalue()


def test_a_cover_picture_is_no_video() -> None:
    data = with_cover()
    with av.open(io.BytesIO(data)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(Reject) as caught:
        reader_of(data)
    assert caught.value.reason == "no_stream"


def test_a_sound_is_no_video() -> None:
    with pytest.raises(Reject) as caught:
        reader_of(sound_file("m4a", chirp(16_000, 0.5), 16_000))
    assert caught.value.reason == "no_stream"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_pixels": 6_143}, "limit_pixels"),
        ({"max_side_px": 95}, "limit_pixels"),
        ({"max_frames": 20}, "limit_frames"),
    ],
)
@pytest.mark.parametrize("kind", ["mp4", "ts", "webm"])
def test_limits(kind: str, limits: dict[str, int], reason: str) -> None:
    with pytest.raises(Reject) as caught:
        seconds(reader_of(default_video(kind), **limits))
    assert caught.value.reason == reason


def test_a_header_that_lies_about_the_size_does_not_help() -> None:
    data = bytearray(default_video("mp4"))
    place = data.rindex(b"avc1") + 28
    assert data[place : place + 4] == struct.pack(">HH", 96, 64)
    data[place : place + 4] = struct.pack(">HH", 16, 16)
    with pytest.raises(Reject) as caught:
        seconds(reader_of(bytes(data), max_pixels=1_000))
    assert caught.value.reason == "limit_pixels"


def test_it_reads_from_one_thread() -> None:
    context = reader_of(default_video("mp4")).stream.codec_context
    assert context.thread_count == 1


@pytest.mark.real_media
def test_an_encrypted_video_is_an_unsupported_feature() -> None:
    files = real_media("broken/video_broken.tar.xz")
    name = next(name for name in files if name.endswith("short-cenc.mp4"))
    with pytest.raises(Reject) as caught:
        reader_of(files[name]).next()
    assert caught.value.reason == "unsupported_feature"
