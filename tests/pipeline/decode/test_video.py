"""Clips out of videos of every container, compared with decoding everything."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
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


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_seeking_saves_decoding_where_there_is_an_index(kind: str) -> None:
    video = opened(default_video(kind))
    video.clips([whole(0, 40_000 * 38)])
    counters = video.counters
    assert counters.num_frames_used == 2
    if kind in INDEXED_KINDS:
        assert counters.num_seeks == 1
        assert counters.num_frames_decoded <= 10
    else:
        assert (counters.num_seeks, counters.num_frames_decoded >= 39) == (0, True)


def test_a_target_in_the_group_at_hand_is_decoded_on() -> None:
    video = opened(default_video("mp4"))
    video.clips([whole(*range(0, 48 * 40_000, 40_000))])
    assert (video.counters.num_seeks, video.counters.num_frames_decoded) == (0, 48)


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


def variable_times(gaps_ms: list[int]) -> list[int]:
    return np.cumsum([0, *gaps_ms]).tolist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from(["mp4", "mp4-fragmented", "mkv", "ts-h264"]),
    gaps_ms=st.lists(st.integers(5, 400), min_size=2, max_size=40),
    gop_frames=st.integers(1, 15),
    num_b_frames=st.integers(0, 3),
    options=st.sampled_from(["", "open-gop=1", "open-gop=1:b-pyramid=normal"]),
    data=st.data(),
)
def test_any_timing_gives_what_decoding_everything_gives(
    kind: str, gaps_ms: list[int], gop_frames: int, num_b_frames: int, options: str, data: st.DataObject
) -> None:
    times_ms = variable_times(gaps_ms)
    codec_options = {"preset": "veryfast", "crf": "18", "threads": "1", "sc_threshold": "0", "x264-params": options}
    frames = [numbered_frame(number) for number in range(len(times_ms))]
    content = video_file(
        kind,
        frames,
        times_ms=times_ms,
        codec_options=codec_options,
        gop_frames=gop_frames,
        num_b_frames=num_b_frames,
    )
    last_us = times_ms[-1] * 1_000
    targets = sorted(data.draw(st.lists(st.integers(0, last_us), min_size=1, max_size=6)))
    clip = opened(content).clips([whole(*targets)])[0]
    assert numbers(clip) == [int(np.searchsorted(times_ms, target / 1_000, "right")) - 1 for target in targets]
    assert clip.pts_us.tolist() == [times_ms[number] * 1_000 for number in numbers(clip)]
    everything = opened(content).clips([whole(*(1_000 * time for time in times_ms))])[0]
    assert np.array_equal(clip.frames, everything.frames[numbers(clip)])
    assert np.array_equal(clip.pict_types, everything.pict_types[numbers(clip)])


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_the_result_does_not_depend_on_how_bytes_are_read(kind: str) -> None:
    data = default_video(kind)
    ranged = Blocks(MemoryBytes(data), block_bytes=1_000, num_kept=3)
    request = whole(200_000, 1_500_000)
    clips = [opened(data).clips([request])[0], open_video(ranged, Limits(), DecodeOptions()).clips([request])[0]]
    assert np.array_equal(clips[0].frames, clips[1].frames)


CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48] = (220, 30, 30)
CORNERS[:32, 48:] = (30, 220, 30)
CORNERS[32:, :48] = (30, 30, 220)
CORNERS[32:, 48:] = (220, 220, 220)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_picture_is_upright(kind: str, rotation: int, is_mirrored: bool) -> None:
    data = video_file(kind, [CORNERS] * 3, rotation=rotation, is_mirrored=is_mirrored)
    video = opened(data)
    expected = np.rot90(CORNERS, rotation // 90)
    expected = expected[:, ::-1] if is_mirrored else expected
    assert (video.info.height_px, video.info.width_px) == expected.shape[:2]
    shown = video.clips([whole(0, width_px=video.info.width_px, height_px=video.info.height_px)])[0].frames[0]
    for row, column in ((8, 8), (8, -8), (-8, 8), (-8, -8)):
        assert np.abs(shown[row, column].astype(int) - expected[row, column]).max() < 30


def rgb(luma: float, blue: float, red: float, kr: float, kb: float) -> NDArray[np.float64]:
    """Return the colour of full-range Y'CbCr in [0, 1] and [-0.5, 0.5], by the definition of the matrix."""
    r, b = luma + 2 * (1 - kr) * red, luma + 2 * (1 - kb) * blue
    return np.clip(np.array([r, (luma - kr * r - kb * b) / (1 - kr - kb), b]), 0, 1) * 255


MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("is_full_range", [False, True])
def test_colours_follow_the_stated_matrix_and_range(matrix: int, is_full_range: bool) -> None:
    picture = np.full((64, 64, 3), (200, 60, 90), np.uint8)
    data = video_file("mp4", [picture] * 2, colorspace=matrix, color_range=2 if is_full_range else 1)
    video = opened(data)
    shown = video.clips([whole(0, width_px=64, height_px=64)])[0].frames[0, 32, 32]
    timed = next(iter(video._timeline.frames_at([0])))[1].frame
    luma, blue, red = (float(bytes(plane)[plane.line_size * 4 + 4]) for plane in timed.planes)
    if is_full_range:
        colour = rgb(luma / 255, (blue - 128) / 255, (red - 128) / 255, *MATRICES[matrix])
    else:
        colour = rgb((luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224, *MATRICES[matrix])
    assert np.abs(shown - colour).max() < 1.5


def test_ten_bits_become_eight() -> None:
    data = video_file("mp4", [CORNERS] * 3, pix_fmt="yuv420p10le")
    shown = opened(data).clips([whole(0)])[0].frames[0]
    assert np.abs(shown[8, 8].astype(int) - CORNERS[8, 8]).max() < 30


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
@pytest.mark.parametrize("archive", ["clips_mixed", "asl_gestures"])
def test_real_videos_seek_to_what_decoding_everything_gives(archive: str) -> None:
    for path, data in real_media(f"video/{archive}.tar").items():
        if path.endswith(NOT_ALLOWED):
            assert rejected(data, 0).reason == "format_not_allowed"
            continue
        video, plain = opened(data), opened(data)
        info = video.info
        plain._timeline._key_stamps = np.empty(0, np.int64)  # no index: read in order
        targets = sorted(np.random.default_rng(0).integers(0, info.end_us + 1, 6).tolist())
        request = ClipRequest(
            targets_us=tuple(targets), crop_box=(0, 0, info.width_px, info.height_px), width_px=64, height_px=64
        )
        found, reference = video.clips([request])[0], plain.clips([request])[0]
        assert np.array_equal(found.frames, reference.frames), path
        assert np.array_equal(found.pts_us, reference.pts_us), path
        assert all(found.pts_us <= targets), path


@pytest.mark.real_media
def test_broken_videos_get_a_verdict() -> None:
    files = real_media("broken/video_broken.tar.xz")
    rows = real_labels("broken/video_broken.labels.csv")
    assert len(rows) == 116
    fates = {row["path"]: fate(files[row["path"]]) for row in rows}
    assert set(fates.values()) <= VERDICTS
    assert [row["path"] for row in rows if row["result"] == "ok" and fates[row["path"]] != "used"] == []
