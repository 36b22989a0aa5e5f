"""Predict whether a clip is played forward or backward.

Wei, Lim, Zisserman, Freeman: Learning and Using the Arrow of Time, CVPR 2018. Pickup et al.: Seeing the Arrow of
Time, CVPR 2014.

Shortcuts closed here: both directions are made of one window and every frame is encoded as a still after the order is
decided (a codec's key frames, or a reversed stream, would tell the direction); black bars, whose coding residue runs
along the stream, are cropped away; windows that are static, cut, faded or hold doubled frames are not used. A trace of
the source's own key frames may remain in the pixels: only a probe on the dataset at hand can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import frames, windows
from ..features import Features, class_label, image, value
from ..footage import ClipPlan, clip_plan, shot_features, shot_values
from ..items import ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Batching, Example, Modality, Objective, PretextTask, setting

CLASSES = ("backward", "forward")


@dataclass(frozen=True)
class VideoArrowOfTime(PretextTask[Video]):
    """Predict whether a clip is played forward or backward."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.CLASSIFICATION
    paper = "Wei, Lim, Zisserman, Freeman: Learning and Using the Arrow of Time, CVPR 2018"

    side_px: int = setting(112, "side of the stored frames", unit="px", at_least=64, at_most=512, multiple_of=16)
    num_frames: int = setting(16, "frames of a clip", at_least=3, at_most=128)
    interval_us: int = setting(66_667, "time between frames, to the nearest whole frame", unit="us", at_least=1000)
    max_windows: int = setting(6, "most windows of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(3, "windows decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.5, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, and that the clips of one source fit into memory."""
        super().__post_init__()
        _ = self._plan

    @property
    def _plan(self) -> ClipPlan:
        return clip_plan(self, range(self.num_frames))

    @property
    def batching(self) -> Batching:
        """Both directions of a window share a batch."""
        return "together"

    @property
    def bundle_size(self) -> int:
        """Two rows, one a direction."""
        return len(CLASSES)

    def features(self) -> Features:
        """Return the clip, its direction, and where it was taken."""
        return Features.of(
            frames=image("the clip in the order shown", shape=(self.num_frames,)),
            label=class_label(CLASSES, "direction in which the clip is shown"),
            direction=value("int8", "parameter", "1 forward, -1 backward"),
            pts_us=value(
                "int64", "parameter", "presentation times in the order shown", shape=(self.num_frames,), unit="us"
            ),
            **shot_features(),
            num_seams=value("int16", "parameter", "jumps against the clip's own direction: always 0"),
        )

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one clip a window, spares included, in keyed order."""
        return self._plan.requests(info, rng)

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield both directions of each good window, in keyed order."""
        shots = self._plan.good_shots(item)
        first_labels = windows.balanced_labels(len(shots), len(CLASSES), rng)
        for place, shot in enumerate(shots):
            for turn in range(len(CLASSES)):
                label = int(first_labels[place]) ^ turn
                step = 1 if label else -1
                pts_us = shot.clip.pts_us[::step]
                yield Example(
                    len(CLASSES) * place + turn,
                    {
                        "frames": list(shot.pixels[::step]),
                        "label": label,
                        "direction": step,
                        "pts_us": pts_us.tolist(),
                        **shot_values(shot, item.info),
                        "num_seams": windows.num_seams(pts_us),
                    },
                )

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return two clips of JPEGs a window."""
        num = self._plan.estimate_windows(source_num_bytes)
        return num * len(CLASSES) * (500 + self.num_frames * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return the direction in which the source's frames, sorted by time, are the stored ones.

        No direction (0, label -1) where the stored frames are not those of the source in either one.
        """
        shown = frames.shown_at(item.clips, sorted(row["pts_us"]), self.side_px)
        if shown is None:
            return {"label": -1, "direction": 0}
        forward = frames.difference(row["frames"], shown)
        label = int(forward < frames.difference(row["frames"], shown[::-1]))
        if not frames.fits(row["frames"], shown if label else shown[::-1]):
            return {"label": -1, "direction": 0}
        return {"label": label, "direction": 1 if label else -1}
