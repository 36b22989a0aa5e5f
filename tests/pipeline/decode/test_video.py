"""Clips out of videos of every container, compared with decoding everything."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.decode.audio import read_waveform
from unlabeled.pipeline.decode.bytes_source import Blocks, MemoryBytes
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.decode.video import OpenVideo, open_video
from unlabeled.pipeline.errors import TRANSIENT_REASONS, Reject, RejectReason
from unlabeled.pipeline.items import Clip, ClipRequest

from tests.media_files import (
    INDEXED_KINDS,
    VIDEO_KINDS,
    chirp,
    default_video,
    frame_number,
    likeness,
    numbered_frame,
    real_labels,
    real_media,
    sound_file,
    video_file,
)

WIDTH_PX, HEIGHT_PX = 96, 64


def opened(data: bytes, options: DecodeOptions | None = None, **limits: float) -> OpenVideo:
    return open_video(MemoryBytes(data), Limits(**limits), options or DecodeOptions())  # type: ignore[arg-type]


def whole(*targets_us: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> ClipRequest:
    box = (0, 0, width_px, height_px)
    return ClipRequest(targets_us=targets_us, crop_box=box, width_px=width_px, height_px=height_px)


def numbers(clip: Clip) -> list[int]:
    return [frame_number(pixels) for pixels in clip.frames]


def rejected(data: bytes, *targets_us: int, **limits: float) -> Reject:
    with pytest.raises(Reject) as caught:
        opened(data, **limits).clips([whole(*targets_us)])
    return caught.value


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_facts(kind: str) -> None:
    info = opened(default_video(kind)).info
    assert (info.width_px, info.height_px, info.start_us, info.end_us) == (96, 64, 0, 47 * 40_000)
    assert Fraction(info.fps_num, info.fps_den) == 25
    assert abs(info.num_frames - 48) <= 1
    assert info.is_indexed == (kind in INDEXED_KINDS)


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_every_frame_comes_at_its_time(kind: str) -> None:
    clip = opened(default_video(kind)).clips([whole(*range(0, 48 * 40_000, 40_000))])[0]
    assert numbers(clip) == list(range(48))
    assert clip.pts_us.tolist() == list(range(0, 48 * 40_000, 40_000))
    assert set(clip.pict_types.tolist()) <= {1, 2, 3}


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_sparse_targets_get_the_frames_shown_then(kind: str) -> None:
    clip = opened(default_video(kind)).clips([whole(39_999, 40_000, 1_119_999, 1_120_000, 1_880_000, 9_000_000)])[0]
    assert numbers(clip) == [0, 1, 27, 28, 47, 47]


def test_all_requests_are_served_in_one_pass() -> None:
    video = opened(default_video("ts"))
    first, second = video.clips([whole(1_000_000, 1_200_000), whole(0, 1_000_000)])
    assert (numbers(first), numbers(second)) == ([25, 30], [0, 25])
    assert (video.counters.num_frames_decoded <= 48, video.counters.num_frames_used) == (True, 3)


def test_clips_can_be_asked_for_again() -> None:
    video = opened(default_video("mkv"))
    assert numbers(video.clips([whole(1_000_000)])[0]) == numbers(video.clips([whole(1_000_000)])[0]) == [25]


def test_only_the_box_that_was_asked_for_is_kept() -> None:
    request = ClipRequest(targets_us=(0,), crop_box=(8, 32, 32, 32), width_px=16, height_px=16)
    clip = opened(default_video("mp4")).clips([request])[0]
    assert clip.frames.shape == (1, 16, 16, 3)
    assert abs(int(clip.frames[0, :, :, 0].mean()) - int(numbered_frame(0)[32:, 8:40, 0].mean())) < 4


def test_without_requests_there_are_no_clips() -> None:
    assert opened(default_video("mp4")).clips([]) == []


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_the_result_does_not_depend_on_how_bytes_are_read(kind: str) -> None:
    data = default_video(kind)
    ranged = Blocks(MemoryBytes(data), block_bytes=1_000, num_kept=3)
    request = whole(200_000, 1_500_000)
    clips = [opened(data).clips([request])[0], open_video(ranged, Limits(), DecodeOptions()).clips([request])[0]]
    assert np.array_equal(clips[0].frames, clips[1].frames)


@pytest.mark.parametrize("kind", ["mp4", "mp4-faststart", "mp4-fragmented", "mov", "mkv", "webm", "avi"])
def test_a_file_cut_short_is_truncated(kind: str) -> None:
    data = default_video(kind)
    assert rejected(data[: len(data) * 2 // 3], 0).reason == "truncated"


@pytest.mark.parametrize("kind", ["mp4-faststart", "mp4-fragmented", "mkv", "mkv-live", "webm", "avi", "ts"])
def test_a_file_cut_short_is_decoded_and_marked_where_asked_for(kind: str) -> None:
    data = default_video(kind)
    video = opened(data[:-2_501], DecodeOptions(truncated="decode"))
    clip = video.clips([whole(0, 400_000, 4_000_000)])[0]
    assert (numbers(clip)[:2], video.is_truncated or kind == "mkv-live") == ([0, 10], True)
    assert 10 < numbers(clip)[2] < 47


def test_an_mp4_cut_before_its_table_cannot_be_decoded() -> None:
    data = default_video("mp4")
    with pytest.raises(Reject) as caught:
        opened(data[: len(data) // 2], DecodeOptions(truncated="decode"))
    assert caught.value.reason == "corrupt"


def test_a_damaged_frame_is_found_when_it_is_decoded() -> None:
    data = bytearray(default_video("mp4"))
    place = data.index(b"mdat") + 4
    data[place + 2_500 : place + 2_900] = bytes(400)
    assert rejected(bytes(data), *range(0, 48 * 40_000, 40_000)).reason == "corrupt"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_pixels": 96 * 64 - 1}, "limit_pixels"),
        ({"max_side_px": 95}, "limit_pixels"),
        ({"max_seconds": 1.5}, "limit_seconds"),
        ({"max_frames": 20}, "limit_frames"),
        ({"max_output_bytes": 96 * 64 * 3}, "limit_output"),
        ({"max_source_bytes": 1_000}, "limit_bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["mp4", "ts"])
def test_limits(kind: str, limits: dict[str, float], reason: str) -> None:
    assert rejected(default_video(kind), *range(0, 48 * 40_000, 40_000), **limits).reason == reason


def test_a_header_that_lies_about_the_size_does_not_help() -> None:
    data = bytearray(default_video("mp4"))
    size = struct.pack(">HH", 96, 64)
    place = data.rindex(b"avc1") + 28
    assert data[place : place + 4] == size
    data[place : place + 4] = struct.pack(">HH", 16, 16)
    assert rejected(bytes(data), 0, max_pixels=1_000).reason == "limit_pixels"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (bytes(range(256)) * 8, "unidentified"),
        (sound_file("m4a", chirp(16_000, 0.5), 16_000), "no_stream"),
        (sound_file("wav", chirp(16_000, 0.5), 16_000), "format_not_allowed"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "corrupt"),
    ],
)
def test_what_is_no_video(data: bytes, reason: str) -> None:
    assert rejected(data, 0).reason == reason


def test_a_target_before_the_first_frame_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="before the first frame"):
        opened(default_video("mp4")).clips([whole(-1)])


def test_a_part_covers_its_bounds() -> None:
    video = open_video(MemoryBytes(default_video("mp4")), Limits(), DecodeOptions(), part_us=(500_000, 9_000_000))
    assert (video.info.start_us, video.info.end_us) == (500_000, 1_880_000)
    assert numbers(video.clips([whole(1_000_000)])[0]) == [25]


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "ts"])
def test_sound_and_picture_start_together(kind: str) -> None:
    tone = chirp(16_000, 2.0)
    video = opened(video_file(kind, sound=tone))
    wave = read_waveform(video.sound())
    assert abs(wave.duration_seconds - 2.0) < 0.15
    alike, late = likeness(wave.samples, tone[:, 0])
    # The encoder's delay of 1,024 samples is declared in MP4 and MOV only.
    assert (alike > 0.99, abs(late) <= 1_100) == (True, True)


def test_a_silent_film_has_no_sound() -> None:
    with pytest.raises(Reject) as caught:
        opened(default_video("mp4")).sound()
    assert caught.value.reason == "no_stream"


VERDICTS = {"used", *RejectReason} - TRANSIENT_REASONS - {RejectReason.UNKNOWN}


def fate(data: bytes) -> str:
    try:
        video = opened(data, max_pixels=1_000_000)
        clip = video.clips([whole(0, video.info.end_us, width_px=1, height_px=1)])[0]
    except Reject as reject:
        return reject.reason
    return "used" if len(clip.frames) == 2 else "nothing"


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(VIDEO_KINDS), data=st.data())
def test_damage_is_a_reject_or_frames(kind: str, data: st.DataObject) -> None:
    content = bytearray(default_video(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert fate(bytes(content[: data.draw(st.integers(1, len(content)))])) in VERDICTS


#: A raw MPEG-1 stream, in no container.
NOT_ALLOWED = "filetype/fixture2.mpg"


@pytest.mark.real_media
def test_broken_videos_get_a_verdict() -> None:
    files = real_media("broken/video_broken.tar.xz")
    rows = real_labels("broken/video_broken.labels.csv")
    assert len(rows) == 116
    fates = {row["path"]: fate(files[row["path"]]) for row in rows}
    assert set(fates.values()) <= VERDICTS
    assert [row["path"] for row in rows if row["result"] == "ok" and fates[row["path"]] != "used"] == []
