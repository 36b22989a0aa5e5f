"""Tell whether three frames are in their order in time.

Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification, ECCV 2016
(arXiv:1603.08561). Of five frames a < b < c < d < e, (b, c, d) is in order; (b, a, d) and (b, e, d) are not.

Shortcuts closed here: both labels of a window show the same b and d, so only the middle frame can tell them apart;
distances are microseconds of presentation time, uniform over the source and never tied to its key frames (the frames'
coding types stand in the row for the audit); static, cut and fading windows and any two equal frames are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import frames, windows
from ..features import Features, box, class_label, image, value
from ..items import Clip, ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting

CLASSES = ("shuffled", "ordered")
#: Small frames look for cuts and motion this often between the five.
SCOUT_US = 250_000


@dataclass(frozen=True)
class VideoFrameOrder(PretextTask[Video]):
    """Tell whether three frames are in order (Shuffle and Learn)."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.CLASSIFICATION
    paper = (
        "Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification, "
        "ECCV 2016 (arXiv:1603.08561)"
    )

    side_px: int = setting(224, "side of the stored frames", unit="px", at_least=64, at_most=1024, multiple_of=16)
    tau_max_us: int = setting(
        2_000_000, "time from b to d (60 frames at 30 Hz)", unit="us", at_least=10_000, at_most=60_000_000
    )
    tau_min_us: int = setting(
        500_000, "time from a to b and from d to e", unit="us", at_least=10_000, at_most=60_000_000
    )
    max_windows: int = setting(6, "most windows of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(3, "windows decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.8, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, and that the clips of one source fit into memory."""
        super().__post_init__()
        frame_px = frames.request_px(self.side_px, self.crop_fraction)
        windows.check_clip_bytes(self.max_windows + self.num_spares, 6, frame_px)

    def features(self) -> Features:
        """Return the three frames, whether they are in order, and where they were taken."""
        return Features.of(
            frames=image("three frames in the order shown", shape=(3,)),
            label=class_label(CLASSES, "whether the frames are in their order in time"),
            pts_us=value("int64", "parameter", "presentation times in the order shown", shape=(3,), unit="us"),
            time_base_num=value("int32", "parameter", "the source's time base, numerator", unit="s"),
            time_base_den=value("int32", "parameter", "the source's time base, denominator"),
            pict_type=value(
                "int8", "lineage", "coding types in the source: 1 key, 2 predicted, 3 bidirectional", shape=(3,)
            ),
            motion_score=value(
                "float32", "parameter", "mean change of luma every 0.25 s of the window", unit="levels of 255"
            ),
            tau_max_us=value("int64", "parameter", "time from b to d", unit="us"),
            tau_min_us=value("int64", "parameter", "the shorter of a to b and d to e", unit="us"),
            crop_box=box("crop in the upright source, to the nearest px"),
        )

    def _spans(self, grid: windows.FrameGrid) -> tuple[int, int, int]:
        """Return tau_min and tau_max in whole frames, and the frames of a window."""
        near, far = grid.whole_steps(self.tau_min_us), grid.whole_steps(self.tau_max_us)
        return near, far, 2 * near + far + 1

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return two clips a window, spares included, in keyed order: a, b, c, d, e, then scouts between them."""
        crop_box, size_px = frames.square_request(info, self.side_px, self.crop_fraction)
        grid = windows.frame_grid(info)
        near, far, span = self._spans(grid)
        num = windows.num_windows(grid, span, self.max_windows) + self.num_spares
        generator = rng.item("middle")
        found = []
        for start in windows.window_starts(grid, span, num, rng):
            # The middle half: c is as far from b and d as a and e are, at least.
            middle = start + near + round(far * generator.uniform(0.25, 0.75))
            five = (start, start + near, middle, start + near + far, start + span - 1)
            targets_us = windows.targets(grid, five)
            found.append(ClipRequest(targets_us=targets_us, crop_box=crop_box, width_px=size_px, height_px=size_px))
            found.append(frames.scout_request(info, range(targets_us[0], targets_us[-1] + 1, SCOUT_US)))
        return found

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield an ordered and a shuffled triple of each good window, in keyed order."""
        grid = windows.frame_grid(item.info)
        num = windows.num_windows(grid, self._spans(grid)[2], self.max_windows)
        clips, scouts = item.clips[::2], item.clips[1::2]
        inner = frames.inner_crop(clips, self.side_px)
        motions = [frames.measure(scout.frames) for scout in scouts]
        faults = [
            self._fault(clip, frames.cut_out(clip.frames, inner), motion)
            for clip, motion in zip(clips, motions, strict=True)
        ]
        good = windows.first_good(faults, num)
        first_labels = windows.balanced_labels(len(good), 2, rng)
        use_last = windows.balanced_labels(len(good), 2, rng, "negatives")
        for place, index in enumerate(good):
            clip = clips[index]
            pixels = frames.cut_out(clip.frames, inner)
            a, b, _, d, e = clip.pts_us.tolist()
            for turn in range(2):
                label = int(first_labels[place]) ^ turn
                shown = [1, 2 if label else (4 if use_last[place] else 0), 3]
                yield Example(
                    2 * place + turn,
                    {
                        "frames": list(pixels[shown]),
                        "label": label,
                        "pts_us": clip.pts_us[shown].tolist(),
                        "time_base_num": item.info.time_base_num,
                        "time_base_den": item.info.time_base_den,
                        "pict_type": clip.pict_types[shown].tolist(),
                        "motion_score": motions[index].score,
                        "tau_max_us": d - b,
                        "tau_min_us": min(b - a, e - d),
                        "crop_box": frames.source_box(clip.request, inner),
                    },
                )

    def _fault(self, clip: Clip, pixels: np.ndarray[Any, np.dtype[np.uint8]], motion: frames.Motion) -> str:
        """Return why a window gives no example, for both labels alike."""
        if windows.num_seams(clip.pts_us):
            return "low_frame_rate"
        fault = motion.fault(self.min_motion, max_double_fraction=1.0)
        return fault or ("" if frames.all_differ(pixels) else "duplicates")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return two triples of JPEGs a window."""
        num = windows.estimate_windows(source_num_bytes, 2 * self.tau_min_us + self.tau_max_us, self.max_windows)
        return num * 2 * (500 + 3 * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return whether the times ascend, or -1 where the frames are not what the source shows at these times."""
        ascending = sorted(row["pts_us"])
        shown = frames.shown_at(item.clips, ascending, self.side_px)
        by_time = [row["frames"][row["pts_us"].index(time)] for time in ascending]
        if not frames.fits(by_time, shown):
            return {"label": -1}
        return {"label": int(ascending == list(row["pts_us"]))}
