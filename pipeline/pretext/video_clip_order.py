"""Predict in which order the shuffled clips of a video belong.

Xu et al.: Self-supervised Spatiotemporal Learning via Video Clip Order Prediction, CVPR 2019.

Shortcuts closed here: between neighbouring clips lies an interval, so the last frame of one does not continue in the
first of the next; every clip gets its own brightness, contrast and saturation, so a slow drift of the light does not
give the order away; fading, static and cut windows are not used; frames are stills, encoded after shuffling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import frames, windows
from ..features import Features, class_label, image, value
from ..footage import ClipPlan, clip_plan, shot_features, shot_values
from ..items import Clip, ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting


@dataclass(frozen=True)
class VideoClipOrder(PretextTask[Video]):
    """Predict the order of shuffled clips (VCOP)."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.CLASSIFICATION
    paper = "Xu et al.: Self-supervised Spatiotemporal Learning via Video Clip Order Prediction, CVPR 2019"

    side_px: int = setting(112, "side of the stored frames", unit="px", at_least=64, at_most=512, multiple_of=16)
    num_clips: int = setting(3, "clips to order; their permutations are the classes", at_least=2, at_most=4)
    clip_frames: int = setting(16, "frames of a clip", at_least=2, at_most=64)
    gap_frames: int = setting(8, "frames left out between two clips", at_least=8, at_most=256)
    interval_us: int = setting(36_000, "time between frames, to the nearest whole frame", unit="us", at_least=1000)
    jitter_fraction: float = setting(
        0.2, "a clip's brightness, contrast and saturation are changed by up to this", at_least=0, at_most=0.9
    )
    max_windows: int = setting(6, "most examples of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(3, "windows decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.3, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, and that the clips of one source fit into memory."""
        super().__post_init__()
        _ = self._plan

    @property
    def _plan(self) -> ClipPlan:
        return clip_plan(self, self._offsets)

    @property
    def permutations(self) -> tuple[tuple[int, ...], ...]:
        """The classes: place i of the example shows the clip that comes at `permutations[label][i]` in time."""
        return tuple(permutations(range(self.num_clips)))

    def features(self) -> Features:
        """Return the shuffled clips, their permutation, and where they were taken."""
        shape = (self.num_clips, self.clip_frames)
        classes = tuple("-".join(str(one) for one in order) for order in self.permutations)
        return Features.of(
            clips=image("the clips in the order shown", shape=shape),
            label=class_label(classes, "permutation: the clips' places in time, in the order shown"),
            permutation=value(
                "int8", "parameter", "place in time of each clip, in the order shown", shape=(self.num_clips,)
            ),
            pts_us=value("int64", "parameter", "presentation times in the order shown", shape=shape, unit="us"),
            colour_factors=value(
                "float32",
                "parameter",
                "brightness, contrast and saturation of each clip over the source's, in the order shown",
                shape=(self.num_clips, 3),
            ),
            gap_us=value("int64", "parameter", "least time between the end of a clip and the next", unit="us"),
            **shot_features(),
            num_seams=value("int16", "parameter", "jumps against time within the clips: always 0"),
        )

    @property
    def _offsets(self) -> list[int]:
        """The steps of a window, from its start, that some clip shows, in the order of time."""
        period = self.clip_frames + self.gap_frames
        return [clip * period + step for clip in range(self.num_clips) for step in range(self.clip_frames)]

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one clip a window, spares included, in keyed order: the frames of its clips in the order of time."""
        return self._plan.requests(info, rng)

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield one permutation of each good window, in keyed order."""
        shots = self._plan.good_shots(item, self._judge)
        labels = windows.balanced_labels(len(shots), len(self.permutations), rng)
        for draw, shot in enumerate(shots):
            order = list(self.permutations[labels[draw]])
            in_time = shot.clip.pts_us.reshape(self.num_clips, self.clip_frames)
            shown = self._clips(shot.pixels)[order]
            reach = self.jitter_fraction
            factors = rng.draw(draw).uniform(1 - reach, 1 + reach, (self.num_clips, 3)).astype(np.float32).tolist()
            yield Example(
                draw,
                {
                    "clips": [list(change_colours(one, *factor)) for one, factor in zip(shown, factors, strict=True)],
                    "label": int(labels[draw]),
                    "permutation": order,
                    "pts_us": in_time[order].tolist(),
                    "colour_factors": factors,
                    "gap_us": int((in_time[1:, 0] - in_time[:-1, -1]).min()),
                    **shot_values(shot, item.info),
                    "num_seams": sum(windows.num_seams(one) for one in in_time[order]),
                },
            )

    def _judge(self, clip: Clip, pixels: NDArray[np.uint8]) -> tuple[str, float]:
        """Return why a window gives no example, and its motion score: that of its clips, without what lies between."""
        clips = self._clips(pixels)
        motions = [frames.measure(one) for one in clips]
        score = float(np.mean([motion.score for motion in motions]))
        if windows.num_seams(clip.pts_us):
            return "low_frame_rate", score
        if score < self.min_motion:
            return "static", score
        if any(frames.measure(np.stack([a[-1], b[0]])).has_cut for a, b in pairwise(clips)):
            return "cuts", score
        faults = [motion.fault(0.0) for motion in motions] + ["fade"] * frames.measure(pixels).is_fade
        return next(filter(None, faults), ""), score

    def _clips(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a window's frames as [num_clips, clip_frames, height, width, 3]."""
        return pixels.reshape(self.num_clips, self.clip_frames, *pixels.shape[1:])

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the JPEGs of all clips of a window."""
        num = self._plan.estimate_windows(source_num_bytes)
        return num * (900 + len(self._offsets) * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return the permutation of clips of the source, recoloured, that is nearest to the stored one.

        None (label -1) where a stored frame is not at its place in the clip.
        """
        by_time = sorted(time for clip in row["pts_us"] for time in clip)
        shown = frames.shown_at(item.clips, by_time, self.side_px)
        if shown is None:
            return {"label": -1, "permutation": []}
        in_time = self._clips(shown)
        distances = np.array(
            [
                [frames.difference(stored, change_colours(clip, *factor)) for clip in in_time]
                for stored, factor in zip(row["clips"], row["colour_factors"], strict=True)
            ]
        )
        places = range(self.num_clips)
        totals = [sum(distances[i, order[i]] for i in places) for order in self.permutations]
        label = int(np.argmin(totals))
        recoloured = [
            change_colours(in_time[at], *factor)
            for at, factor in zip(self.permutations[label], row["colour_factors"], strict=True)
        ]
        if not all(map(frames.fits, row["clips"], recoloured)):
            return {"label": -1, "permutation": []}
        return {"label": label, "permutation": list(self.permutations[label])}


def change_colours(
    pixels: NDArray[np.uint8], brightness: float, contrast: float, saturation: float
) -> NDArray[np.uint8]:
    """Return uint8 [num_frames, height, width, 3] with all frames recoloured alike; factors of 1 change nothing.

    brightness scales all values, contrast the distance from the clip's mean luma, saturation that from each pixel's
    own luma (Rec. 601 weights).
    """
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    scaled = pixels.astype(np.float32) * np.float32(brightness)
    luma = scaled @ weights
    mean = np.float32(luma.mean())
    grey = ((luma - mean) * np.float32(contrast) + mean)[..., None]
    scaled -= luma[..., None]
    scaled *= np.float32(contrast * saturation)
    return np.clip(np.rint(scaled + grey), 0, 255).astype(np.uint8)
