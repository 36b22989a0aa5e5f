"""Video: the small pictures that tasks ask for, all of them in one pass over the source.

Every frame that is used becomes the crops that were asked for at once, so memory does not grow with the length of the
video. How frames are found is told in frame_timeline.py, how they become pixels in frame_pixels.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Reject, RejectReason
from ..items import Clip, ClipRequest, VideoInfo
from ..resample import Box, crop_resize
from .audio import OpenSound, check_complete, open_soundtrack
from .bytes_source import ByteSource
from .completeness import Completeness
from .container import check_size, ffmpeg_conversion
from .frame_pixels import ToRgb, turned, upright_turn
from .frame_reader import TimedFrame
from .frame_timeline import FrameTimeline, VideoCounters
from .limits import DecodeOptions, Limits


class OpenVideo:
    """An opened video: `info`, then `clips` and `sound`. Made by open_video."""

    def __init__(
        self,
        source: ByteSource,
        limits: Limits,
        options: DecodeOptions,
        *,
        found: Completeness,
        part_us: tuple[int, int] | None,
    ) -> None:
        self._source = source
        self._limits = limits
        self._options = options
        is_lenient = options.truncated == "decode"
        self._timeline = FrameTimeline(source, limits, may_end_early=found.may_end_early, is_lenient=is_lenient)
        first = self._timeline.first.frame
        self._stored_size_px = (first.width, first.height)
        self._turn = upright_turn(first)
        self.info = self._make_info(found.missing is not None, part_us)

    @property
    def counters(self) -> VideoCounters:
        """What decoding has cost until now."""
        return self._timeline.counters

    @property
    def is_truncated(self) -> bool:
        """True where the source ends early; known for certain once `clips` has run."""
        return self.info.is_truncated or self._timeline.is_truncated

    def clips(self, requests: Sequence[ClipRequest]) -> list[Clip]:
        """Return one clip a request, in their order; a target beyond the last frame gets the last frame.

        Raises:
            Reject: `corrupt`; `truncated` where frames end well before a target and before `info.end_us`;
                `limit_frames`, `limit_pixels`, `limit_output`, `unsupported_feature`.
            ValueError: a crop box leaves the picture, or a target is negative.
        """
        _check_requests(requests, self._limits)
        answers = [_Answer(request) for request in requests]
        wanted: dict[int, list[tuple[_Answer, int]]] = {}
        for answer in answers:
            for place, target_us in enumerate(answer.request.targets_us):
                wanted.setdefault(target_us, []).append((answer, place))
        to_rgb = ToRgb(*self._stored_size_px)
        shown: TimedFrame | None = None
        crops: dict[tuple[Box, int, int], NDArray[np.uint8]] = {}
        for target_us, timed in self._timeline.frames_at(sorted(wanted)):
            if timed is not shown:
                shown, pixels = timed, self._upright(timed, to_rgb)
                self.counters.num_frames_used += 1
                crops.clear()
            for answer, place in wanted[target_us]:
                view = answer.request.crop_box, answer.request.width_px, answer.request.height_px
                if view not in crops:  # several tasks, or several clips of one, often look at the same
                    crops[view] = crop_resize(pixels, *view)
                answer.put(place, crops[view], self._timeline.us(timed.stamp), timed.frame.pict_type)
        return [answer.clip() for answer in answers]

    def sound(self) -> OpenSound:
        """Open the video's sound; sample 0 is presented together with the first frame.

        Raises:
            Reject: `no_stream` for a silent film; else as open_soundtrack.
        """
        origin_seconds = self._timeline.first.stamp * self._timeline.time_base
        return open_soundtrack(self._source, self._limits, self._options, origin_seconds=origin_seconds)

    def _upright(self, timed: TimedFrame, to_rgb: ToRgb) -> NDArray[np.uint8]:
        if timed.frame.is_corrupt:
            raise Reject(RejectReason.CORRUPT, f"the frame at {self._timeline.us(timed.stamp)} us is damaged")
        with ffmpeg_conversion():
            return turned(to_rgb(timed.frame), self._turn)

    def _make_info(self, is_truncated: bool, part_us: tuple[int, int] | None) -> VideoInfo:
        timeline = self._timeline
        width_px, height_px = self._stored_size_px[::-1] if self._turn[0] else self._stored_size_px
        rate = timeline.frame_rate
        start_us, end_us = part_us or (0, timeline.end_us)
        return VideoInfo(
            media_kind="video",
            codec=timeline.stream.codec_context.codec.canonical_name,
            is_truncated=is_truncated,
            width_px=width_px,
            height_px=height_px,
            start_us=start_us,
            end_us=min(end_us, timeline.end_us),
            fps_num=rate.numerator,
            fps_den=rate.denominator,
            time_base_num=timeline.time_base.numerator,
            time_base_den=timeline.time_base.denominator,
            num_frames=timeline.stream.frames or 1 + round(timeline.end_us * rate / 1_000_000),
            is_indexed=timeline.is_indexed,
        )


def open_video(
    source: ByteSource, limits: Limits, options: DecodeOptions, *, part_us: tuple[int, int] | None = None
) -> OpenVideo:
    """Open a video, decode its first frame and find its end.

    `info.end_us` is the time of the last packet, found at the end of the container: in one without an index that takes
    a second reading of the bytes (MPEG-TS, MPEG-PS and Ogg: of the last seconds). `info.num_frames` is what the
    container declares, or frame rate times duration where it declares nothing.

    Args:
        source: the bytes; opened by content alone.
        limits: enforced on headers here, and while decoding.
        options: what to do with truncated files; the rate of the sound.
        part_us: where given, `info` covers [start, end] of a cut video; targets still count from its first frame.

    Raises:
        Reject: `empty`, `unidentified`, `format_not_allowed`, `no_stream`, `corrupt`, `truncated`, `zero_duration`,
            `unsupported_feature`, `limit_bytes`, `limit_pixels`, `limit_seconds`, `limit_frames`.
    """
    check_size(source, limits)
    found = check_complete(source, options)
    return OpenVideo(source, limits, options, found=found, part_us=part_us)


class _Answer:
    """A clip being filled."""

    def __init__(self, request: ClipRequest) -> None:
        num_targets = len(request.targets_us)
        self.request = request
        self._frames = np.empty((num_targets, request.height_px, request.width_px, 3), np.uint8)
        self._pts_us = np.empty(num_targets, np.int64)
        self._pict_types = np.empty(num_targets, np.int8)

    def put(self, place: int, crop: NDArray[np.uint8], pts_us: int, pict_type: int) -> None:
        self._frames[place] = crop
        self._pts_us[place] = pts_us
        self._pict_types[place] = pict_type

    def clip(self) -> Clip:
        return Clip(request=self.request, frames=self._frames, pts_us=self._pts_us, pict_types=self._pict_types)


def _check_requests(requests: Sequence[ClipRequest], limits: Limits) -> None:
    num_bytes = sum(len(one.targets_us) * one.height_px * one.width_px * 3 for one in requests)
    if num_bytes > limits.max_output_bytes:
        raise Reject(RejectReason.LIMIT_OUTPUT, f"{num_bytes} bytes, max_output_bytes={limits.max_output_bytes}")
    if any(target < 0 for one in requests for target in one.targets_us):
        raise ValueError("a target lies before the first frame")
