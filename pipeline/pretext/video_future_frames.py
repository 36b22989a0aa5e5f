"""Predict the frames that follow a stretch of video.

Han, Xie, Zisserman: Video Representation Learning by Dense Predictive Coding, ICCV workshops 2019 (arXiv:1909.04656):
five blocks of frames are seen, the next three are predicted, as pixels or as embeddings.

Shortcuts closed here: on a still scene copying the last frame is a perfect prediction, so static windows (and doubled
frames) are not used; cuts cannot be foreseen, so windows with cuts are not used either. What copying achieves on a
dataset remains the baseline to beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import frames, windows
from ..features import Features, image, value
from ..footage import ClipPlan, clip_plan, shot_features, shot_values
from ..items import ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting


@dataclass(frozen=True)
class VideoFutureFrames(PretextTask[Video]):
    """Predict the frames that follow (dense predictive coding)."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.FRAME_PREDICTION
    paper = (
        "Han, Xie, Zisserman: Video Representation Learning by Dense Predictive Coding, ICCV workshops 2019 "
        "(arXiv:1909.04656)"
    )

    side_px: int = setting(128, "side of the stored frames", unit="px", at_least=64, at_most=512, multiple_of=16)
    context_blocks: int = setting(5, "blocks of frames that are seen", at_least=1, at_most=64)
    target_blocks: int = setting(3, "blocks of frames to predict, right after them", at_least=1, at_most=64)
    block_frames: int = setting(5, "frames of a block", at_least=1, at_most=64)
    interval_us: int = setting(100_000, "time between frames, to the nearest whole frame", unit="us", at_least=1000)
    max_windows: int = setting(6, "most examples of one source, spread over its whole duration", at_least=1)
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
        return clip_plan(self, range(self._num_frames))

    @property
    def _num_context(self) -> int:
        return self.context_blocks * self.block_frames

    @property
    def _num_frames(self) -> int:
        return (self.context_blocks + self.target_blocks) * self.block_frames

    def features(self) -> Features:
        """Return the frames seen and to be predicted, and where they were taken."""
        context, target = (self._num_context,), (self._num_frames - self._num_context,)
        return Features.of(
            context_frames=image("the frames seen, in the order of time", shape=context),
            target_frames=image("the frames that follow, in the order of time", shape=target, role="label"),
            block_frames=value("int16", "parameter", "consecutive frames that make one block"),
            context_pts_us=value("int64", "parameter", "presentation times of the context", shape=context, unit="us"),
            target_pts_us=value("int64", "parameter", "presentation times of the targets", shape=target, unit="us"),
            horizon_us=value(
                "int64",
                "parameter",
                "for each target block, time from the last frame seen to the block's first",
                shape=(self.target_blocks,),
                unit="us",
            ),
            **shot_features(),
        )

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return one clip a window, spares included, in keyed order."""
        return self._plan.requests(info, rng)

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield one example of each good window, in keyed order."""
        for draw, shot in enumerate(self._plan.good_shots(item)):
            pts_us = shot.clip.pts_us
            seen, coming = pts_us[: self._num_context], pts_us[self._num_context :]
            yield Example(
                draw,
                {
                    "context_frames": list(shot.pixels[: self._num_context]),
                    "target_frames": list(shot.pixels[self._num_context :]),
                    "block_frames": self.block_frames,
                    "context_pts_us": seen.tolist(),
                    "target_pts_us": coming.tolist(),
                    "horizon_us": (coming[:: self.block_frames] - seen[-1]).tolist(),
                    **shot_values(shot, item.info),
                },
            )

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the JPEGs of all frames of a window."""
        num = self._plan.estimate_windows(source_num_bytes)
        return num * (1500 + self._num_frames * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return the horizons as the presentation times tell them.

        An empty list where a frame, seen or to be predicted, is not what the source shows at its time.
        """
        targets_us = row["target_pts_us"]
        stored = [*row["context_frames"], *row["target_frames"]]
        if not frames.fits(stored, frames.shown_at(item.clips, [*row["context_pts_us"], *targets_us], self.side_px)):
            return {"horizon_us": []}
        last_seen_us = max(row["context_pts_us"])
        firsts = range(0, len(targets_us), self.block_frames)
        return {"horizon_us": [targets_us[first] - last_seen_us for first in firsts]}
