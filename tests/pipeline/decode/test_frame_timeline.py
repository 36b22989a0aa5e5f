"""Frames by time, compared with decoding everything."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.frame_reader import FrameReader
from unlabeled.pipeline.decode.frame_timeline import FrameTimeline
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import Reject

from tests.media_files import INDEXED_KINDS, VIDEO_KINDS, default_video, numbered_frame, real_media, video_file

#: (time in microseconds, kind of picture, sha256 of its luma: all frames of a real video would fill the memory)
Shown = tuple[int, int, bytes]


def luma(frame: VideoFrame) -> bytes:
    """Return the sha256 of the first plane without the padding of its lines, which holds what was in memory before."""
    plane = frame.planes[0]
    num_bytes = plane.width * (2 if frame.format.components[0].bits > 8 else 1)
    lines = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, :num_bytes]
    return hashlib.sha256(lines.tobytes()).digest()


def timeline_of(data: bytes, *, is_lenient: bool = False) -> FrameTimeline:
    return FrameTimeline(MemoryBytes(data), Limits(), may_end_early=False, is_lenient=is_lenient)


def shown_at(timeline: FrameTimeline, targets_us: Sequence[int]) -> list[Shown]:
    found = timeline.frames_at(targets_us)
    return [(timeline.us(one.stamp), one.frame.pict_type, luma(one.frame)) for _, one in found]


def everything(data: bytes) -> list[Shown]:
    """Return all frames of a video by plain decoding: the reference."""
    timeline = timeline_of(data)
    reader = FrameReader(MemoryBytes(data), Limits(), may_end_early=False)
    found = []
    while (timed := reader.next()) is not None:
        found.append((timeline.us(timed.stamp), timed.frame.pict_type, luma(timed.frame)))
    return found


def expected(data: bytes, targets_us: Sequence[int]) -> list[Shown]:
    frames = everything(data)
    return [frames[bisect_right([frame[0] for frame in frames], target) - 1] for target in targets_us]


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_the_frame_of_a_target_is_the_last_one_before_it(kind: str) -> None:
    timeline = timeline_of(default_video(kind))
    times = [time for time, _, _ in shown_at(timeline, [0, 39_999, 40_000, 1_119_999, 1_120_000, 9_000_000])]
    assert times == [0, 0, 40_000, 1_080_000, 1_120_000, 1_880_000]


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_the_end_is_found(kind: str) -> None:
    timeline = timeline_of(default_video(kind))
    assert (timeline.end_us, abs(timeline.frame_rate - 25) <= 1) == (47 * 40_000, True)


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_seeking_saves_decoding_where_there_is_an_index(kind: str) -> None:
    timeline = timeline_of(default_video(kind))
    shown_at(timeline, [0, 40_000 * 38])
    counters = timeline.counters
    if kind in INDEXED_KINDS:
        assert (counters.num_seeks, counters.num_frames_decoded <= 10) == (1, True)
    else:
        assert (counters.num_seeks, counters.num_frames_decoded >= 39) == (0, True)


def test_a_target_in_the_group_at_hand_is_decoded_on() -> None:
    timeline = timeline_of(default_video("mp4"))
    shown_at(timeline, range(0, 48 * 40_000, 40_000))
    assert (timeline.counters.num_seeks, timeline.counters.num_frames_decoded) == (0, 48)


def test_a_seek_that_lands_too_late_is_repeated_further_back() -> None:
    data = default_video("ts-h264")
    timeline = timeline_of(data)
    # MPEG-TS is read in order; with key frames given all the same, FFmpeg's seeks in it overshoot.
    reader = FrameReader(MemoryBytes(data), Limits(), may_end_early=False)
    stamps = []
    while (timed := reader.next()) is not None:
        stamps += [timed.stamp] * timed.frame.key_frame
    timeline._key_stamps = np.array(stamps, np.int64)
    targets = [100_000, 1_000_000, 1_500_000]
    assert shown_at(timeline, targets) == expected(data, targets)
    assert timeline.counters.num_seeks > 2


def test_it_can_be_asked_again() -> None:
    timeline = timeline_of(default_video("mkv"))
    assert shown_at(timeline, [1_000_000]) == shown_at(timeline, [1_000_000])


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from(["mp4", "mp4-fragmented", "mkv", "ts-h264"]),
    gaps_ms=st.lists(st.integers(5, 400), min_size=2, max_size=40),
    gop_frames=st.integers(1, 15),
    num_b_frames=st.integers(0, 3),
    options=st.sampled_from(["", "open-gop=1", "open-gop=1:b-pyramid=normal", "intra-refresh=1"]),
    data=st.data(),
)
def test_any_timing_gives_what_decoding_everything_gives(
    kind: str, gaps_ms: list[int], gop_frames: int, num_b_frames: int, options: str, data: st.DataObject
) -> None:
    assume(kind != "ts-h264" or len(gaps_ms) > 6)  # of a few frames FFmpeg opens no transport stream
    times_ms = np.cumsum([0, *gaps_ms]).tolist()
    content = video_file(
        kind,
        [numbered_frame(number) for number in range(len(times_ms))],
        times_ms=times_ms,
        codec_options={"preset": "veryfast", "threads": "1", "sc_threshold": "0", "x264-params": options},
        gop_frames=gop_frames,
        num_b_frames=0 if "intra" in options else num_b_frames,
    )
    targets = sorted(data.draw(st.lists(st.integers(0, times_ms[-1] * 1_000), min_size=1, max_size=6)))
    timeline = timeline_of(content)
    assert timeline.end_us == times_ms[-1] * 1_000
    assert shown_at(timeline, targets) == expected(content, targets)


def test_frames_that_end_before_the_packets_do_are_truncated() -> None:
    data = default_video("mp4")
    timeline = timeline_of(data)
    timeline.end_us += 1_000_000
    with pytest.raises(Reject) as caught:
        shown_at(timeline, [2_800_000])
    assert caught.value.reason == "truncated"


def test_frames_that_end_early_are_taken_where_asked_for() -> None:
    timeline = timeline_of(default_video("mp4"), is_lenient=True)
    timeline.end_us += 1_000_000
    assert shown_at(timeline, [2_800_000])[0][0] == 1_880_000


#: A raw MPEG-1 stream, in no container.
NOT_ALLOWED = "filetype/fixture2.mpg"


@pytest.mark.real_media
@pytest.mark.parametrize("archive", ["clips_mixed", "asl_gestures"])
def test_real_videos_seek_to_what_decoding_everything_gives(archive: str) -> None:
    files = real_media(f"video/{archive}.tar")
    for path, data in files.items():
        if path.endswith(NOT_ALLOWED):
            continue
        timeline = timeline_of(data)
        targets = sorted(np.random.default_rng(0).integers(0, timeline.end_us + 1, 6).tolist())
        assert shown_at(timeline, targets) == expected(data, targets), path
