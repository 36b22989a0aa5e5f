"""The clips that a video task decodes and uses: asking for windows with spares, then keeping the good ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import frames, windows
from .features import Feature, box, value
from .items import Clip, ClipRequest, Video, VideoInfo
from .resample import Box
from .rng import ItemRng

Frames = NDArray[np.uint8]
#: Returns why a window should not be used (or an empty string) and its motion score.
Judge = Callable[[Clip, Frames], tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Shot:
    """A good window: `pixels` uint8 [num_frames, side_px, side_px, 3] are the clip's frames within the crop box."""

    clip: Clip
    pixels: Frames
    motion_score: float
    crop_box: Box
    stride: int


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Which frames of which windows a task looks at.

    Args:
        offsets: the frames of a window, in steps from its start, ascending from 0.
        interval_us: a step, to the nearest whole frame of the source.
        side_px, crop_fraction: side of the stored frames, and the share of the short side they show at least.
        max_windows, num_spares: windows used at most, and decoded beside them.
        min_motion: least motion score.

    Raises:
        ConfigError: where the clips of one source could be too large.
    """

    offsets: Sequence[int]
    interval_us: int
    side_px: int
    crop_fraction: float
    max_windows: int
    num_spares: int
    min_motion: float

    def __post_init__(self) -> None:
        frame_px = frames.request_px(self.side_px, self.crop_fraction)
        windows.check_clip_bytes(self.max_windows + self.num_spares, len(self.offsets), frame_px)

    def stride(self, info: VideoInfo) -> int:
        """Return the frames of the source that a step takes."""
        return windows.frame_grid(info).whole_steps(self.interval_us)

    def requests(self, info: VideoInfo, rng: ItemRng) -> list[ClipRequest]:
        """Return one clip a window, spares included, in keyed order.

        Raises:
            Filtered: `too_small`, `too_short`, `no_frame_rate`.
        """
        crop_box, size_px = frames.square_request(info, self.side_px, self.crop_fraction)
        grid, stride = windows.frame_grid(info), self.stride(info)
        span = self.offsets[-1] * stride + 1
        num = windows.num_windows(grid, span, self.max_windows) + self.num_spares
        return [
            ClipRequest(
                targets_us=windows.targets(grid, [start + offset * stride for offset in self.offsets]),
                crop_box=crop_box,
                width_px=size_px,
                height_px=size_px,
            )
            for start in windows.window_starts(grid, span, num, rng)
        ]

    def good_shots(self, item: Video, judge: Judge | None = None) -> list[Shot]:
        """Return the first good windows in keyed order, as many as the source's duration and the cap allow.

        Raises:
            Filtered: `letterbox`; or, where no window is good, the commonest fault: `static`, `cuts`, `duplicates`,
                `fade`, `low_frame_rate`, or what `judge` says.
        """
        stride = self.stride(item.info)
        num = windows.num_windows(windows.frame_grid(item.info), self.offsets[-1] * stride + 1, self.max_windows)
        inner = frames.inner_crop(item.clips, self.side_px)
        judged = [(judge or self.judge)(clip, frames.cut_out(clip.frames, inner)) for clip in item.clips]
        return [
            Shot(
                item.clips[index],
                frames.cut_out(item.clips[index].frames, inner),
                judged[index][1],
                frames.source_box(item.clips[index].request, inner),
                stride,
            )
            for index in windows.first_good([fault for fault, _ in judged], num)
        ]

    def judge(self, clip: Clip, pixels: Frames) -> tuple[str, float]:
        """Return the fault of a window whose frames come one by one in time, and its motion score."""
        motion = frames.measure(pixels)
        repeats = windows.num_seams(clip.pts_us) > 0
        return "low_frame_rate" if repeats else motion.fault(self.min_motion), motion.score

    def estimate_windows(self, source_num_bytes: int) -> int:
        """Return about how many windows a source of this size gives."""
        return windows.estimate_windows(source_num_bytes, self.offsets[-1] * self.interval_us, self.max_windows)


class ClipSettings(Protocol):
    """The settings by which tasks choose clips, see ClipPlan."""

    @property
    def interval_us(self) -> int:
        """A step of the clip."""

    @property
    def side_px(self) -> int:
        """Side of the stored frames."""

    @property
    def crop_fraction(self) -> float:
        """Share of the short side that they show at least."""

    @property
    def max_windows(self) -> int:
        """Windows used at most."""

    @property
    def num_spares(self) -> int:
        """Windows decoded beside them."""

    @property
    def min_motion(self) -> float:
        """Least motion score."""


def clip_plan(settings: ClipSettings, offsets: Sequence[int]) -> ClipPlan:
    """Return the plan of a task whose windows show the frames at `offsets`.

    Raises:
        ConfigError: where the clips of one source could be too large.
    """
    return ClipPlan(
        offsets,
        settings.interval_us,
        settings.side_px,
        settings.crop_fraction,
        settings.max_windows,
        settings.num_spares,
        settings.min_motion,
    )


def shot_features(motion: str = "mean change of luma between frames") -> dict[str, Feature]:
    """Return the columns that say how a shot was taken, see `shot_values`; `motion` says what its score is."""
    return {
        "stride": value("int16", "parameter", "frames of the source from one frame to the next"),
        "fps_num": value("int32", "parameter", "frame rate of the source, numerator", unit="hz"),
        "fps_den": value("int32", "parameter", "frame rate of the source, denominator"),
        "motion_score": value("float32", "parameter", motion, unit="levels of 255"),
        "crop_box": box("crop in the upright source, to the nearest px"),
    }


def shot_values(shot: Shot, info: VideoInfo) -> dict[str, Any]:
    """Return the values of `shot_features`."""
    return {
        "stride": shot.stride,
        "fps_num": info.fps_num,
        "fps_den": info.fps_den,
        "motion_score": shot.motion_score,
        "crop_box": shot.crop_box,
    }
