"""Predict how much faster than recorded a clip is played.

Benaim et al.: SpeedNet: Learning the Speediness in Videos, CVPR 2020 (arXiv:2004.06130). Wang, Jiao, Liu:
Self-supervised Video Representation Learning by Pace Prediction, ECCV 2020 (arXiv:2008.05861).

Shortcuts closed here: all speeds are made of one window that is long enough for the fastest, so that no clip wraps
around and all begin with the same frame; speed 1 means nearly the same time between frames for every source, whatever
its frame rate (others are left out); sources whose frame rate was raised by doubling frames give no example; every
frame is encoded as a still after sampling, so no stream betrays the stride by its bits per frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import frames, windows
from ..errors import ConfigError, Filtered
from ..features import Features, class_label, image, value
from ..footage import ClipPlan, clip_plan, shot_features, shot_values
from ..items import Clip, ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Batching, Example, Modality, Objective, PretextTask, setting


@dataclass(frozen=True)
class VideoSpeed(PretextTask[Video]):
    """Predict the playback speed of a clip (SpeedNet, pace prediction)."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.CLASSIFICATION
    paper = "Benaim et al.: SpeedNet: Learning the Speediness in Videos, CVPR 2020 (arXiv:2004.06130)"

    side_px: int = setting(112, "side of the stored frames", unit="px", at_least=64, at_most=512, multiple_of=16)
    num_frames: int = setting(16, "frames of a clip", at_least=3, at_most=128)
    speeds: tuple[int, ...] = setting((1, 2, 3, 4), "the speeds, one class each, ascending", at_least=1, at_most=32)
    interval_us: int = setting(36_000, "time between frames at speed 1, in whole frames", unit="us", at_least=1000)
    max_interval_error_fraction: float = setting(
        0.25, "sources whose frames cannot come nearer to interval_us than this are filtered", at_least=0, at_most=1
    )
    max_windows: int = setting(4, "most windows of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(3, "windows decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.3, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, that speeds ascend, and that the clips of one source fit into memory."""
        super().__post_init__()
        if len(self.speeds) < 2 or list(self.speeds) != sorted(set(self.speeds)):
            raise ConfigError(f"`speeds` must be two or more ascending numbers, but is {self.speeds}.")
        _ = self._plan

    @property
    def _plan(self) -> ClipPlan:
        return clip_plan(self, self._offsets)

    @property
    def batching(self) -> Batching:
        """All speeds of a window share a batch, as in SpeedNet."""
        return "together"

    @property
    def bundle_size(self) -> int:
        """One row a speed."""
        return len(self.speeds)

    @property
    def _offsets(self) -> list[int]:
        """The steps of a window, from its start, that some speed shows."""
        return sorted({step * speed for speed in self.speeds for step in range(self.num_frames)})

    def features(self) -> Features:
        """Return the clip, its speed, and where it was taken."""
        classes = tuple(f"{speed}x" for speed in self.speeds)
        return Features.of(
            frames=image("the clip", shape=(self.num_frames,)),
            label=class_label(classes, "speed of the clip"),
            speed=value("int16", "parameter", "steps of interval_us from one frame to the next"),
            interval_us=value("int64", "parameter", "median time between frames at speed 1", unit="us"),
            pts_us=value("int64", "parameter", "presentation times", shape=(self.num_frames,), unit="us"),
            **shot_features("mean change of luma at the lowest speed"),
            num_seams=value("int16", "parameter", "jumps against the clip's own direction: always 0"),
        )

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one clip a window, spares included, in keyed order: every frame that some speed shows."""
        found_us = float(self._plan.stride(info) * windows.frame_grid(info).interval_us)
        if abs(found_us / self.interval_us - 1) > self.max_interval_error_fraction:
            raise Filtered("frame_rate", f"frames come every {found_us:.0f} us, not about {self.interval_us} us")
        return self._plan.requests(info, rng)

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield all speeds of each good window, in keyed order."""
        generator = rng.item("speeds")
        draw = 0
        for shot in self._plan.good_shots(item, self._judge):
            for label in generator.permutation(len(self.speeds)).tolist():
                speed = self.speeds[label]
                pts_us = shot.clip.pts_us[self._places(speed)]
                yield Example(
                    draw,
                    {
                        "frames": list(shot.pixels[self._places(speed)]),
                        "label": label,
                        "speed": speed,
                        "interval_us": self._interval_us(shot.clip),
                        "pts_us": pts_us.tolist(),
                        **shot_values(shot, item.info),
                        "stride": speed * shot.stride,
                        "num_seams": windows.num_seams(pts_us),
                    },
                )
                draw += 1

    def _places(self, speed: int) -> list[int]:
        """Return where the frames of `speed` stand in a clip."""
        place = {offset: index for index, offset in enumerate(self._offsets)}
        return [place[step * speed] for step in range(self.num_frames)]

    def _interval_us(self, clip: Clip) -> int:
        return round(float(np.median(np.diff(clip.pts_us[self._places(self.speeds[0])]))) / self.speeds[0])

    def _judge(self, clip: Clip, pixels: NDArray[np.uint8]) -> tuple[str, float]:
        """Return why a window gives no example, for all speeds alike, and its motion score at the lowest speed."""
        motion = frames.measure(pixels[self._places(self.speeds[0])])
        if windows.num_seams(clip.pts_us):
            return "low_frame_rate", motion.score
        if not all(windows.is_even(clip.pts_us[self._places(speed)]) for speed in self.speeds):
            return "variable_frame_rate", motion.score
        # A doubled frame shows at low speeds and is skipped at high ones: none may be there.
        fault = motion.fault(self.min_motion, 0.0) or frames.measure(pixels).fault(self.min_motion, 0.0)
        return fault, motion.score

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return one clip of JPEGs a speed and window."""
        num = self._plan.estimate_windows(source_num_bytes)
        return num * len(self.speeds) * (500 + self.num_frames * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return the speed that the presentation times tell against the source's frame rate.

        -1 where the stored frames are not what the source shows at these times.
        """
        if not frames.fits(row["frames"], frames.shown_at(item.clips, row["pts_us"], self.side_px)):
            return {"label": -1, "speed": -1}
        grid = windows.frame_grid(item.info)
        step_us = (row["pts_us"][-1] - row["pts_us"][0]) / (self.num_frames - 1)
        speed = round(step_us / float(grid.whole_steps(self.interval_us) * grid.interval_us))
        return {"label": self.speeds.index(speed) if speed in self.speeds else -1, "speed": speed}
