"""Predict how far apart in time two frames of a video are, and which of them came first.

The temporal distance and order of frame pairs as in Misra, Zitnick, Hebert: Shuffle and Learn, ECCV 2016
(arXiv:1603.08561), and Sermanet et al.: Time-Contrastive Networks, ICRA 2018 (arXiv:1704.06888).

The label is the bucket of the distance, measured in microseconds of presentation time; `order` is the second target.
Shortcuts closed here: every anchor frame gets a partner in every bucket, so neither the anchor nor the source tells
the label, and a source shorter than the longest bucket gives no example (else short distances would mean short
videos); anchors stand first or last, and are shown first or second, equally often; anchors are uniform in time and
never tied to key frames (the frames' coding types stand in the row for the audit); windows with cuts are left out (a
cut in between would mean a long distance), and so are static ones and those where the anchor shows up twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .. import frames, windows
from ..errors import ConfigError
from ..features import Features, box, class_label, image, value
from ..items import Clip, ClipRequest, Video, VideoInfo
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting

#: Small frames look for cuts and motion this often in the window of an anchor.
SCOUT_US = 500_000


@dataclass(frozen=True)
class VideoFramePairs(PretextTask[Video]):
    """Predict the time between two frames of a video, and their order."""

    version = "1"
    modality = Modality.VIDEO
    objective = Objective.CLASSIFICATION
    paper = (
        "Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification, "
        "ECCV 2016 (arXiv:1603.08561); Sermanet et al.: Time-Contrastive Networks, ICRA 2018 (arXiv:1704.06888)"
    )

    side_px: int = setting(224, "side of the stored frames", unit="px", at_least=64, at_most=1024, multiple_of=16)
    gap_edges_us: tuple[int, ...] = setting(
        (40_000, 100_000, 250_000, 630_000, 1_600_000, 4_000_000, 10_000_000),
        "edges of the buckets of distances, ascending; leave out the last ones to use shorter sources",
        unit="us",
        at_least=10_000,
        at_most=600_000_000,
    )
    max_windows: int = setting(8, "most anchors of one source, spread over its whole duration", at_least=1)
    num_spares: int = setting(4, "anchors decoded beside them, in case some are static or cut", at_least=0)
    min_motion: float = setting(0.8, "least motion_score of a window", unit="levels of 255", at_least=0)
    crop_fraction: float = setting(
        0.7, "share of the short side that is stored, where the source is large enough", at_least=0.1, at_most=1
    )

    def __post_init__(self) -> None:
        """Check bounds, that edges ascend, and that the clips of one source fit into memory."""
        super().__post_init__()
        if len(self.gap_edges_us) < 3 or list(self.gap_edges_us) != sorted(set(self.gap_edges_us)):
            raise ConfigError(f"`gap_edges_us` must be three or more ascending times, but is {self.gap_edges_us}.")
        num, frame_px = self.max_windows + self.num_spares, frames.request_px(self.side_px, self.crop_fraction)
        windows.check_clip_bytes(num, len(self.gap_edges_us), frame_px)
        windows.check_clip_bytes(num, self.gap_edges_us[-1] // SCOUT_US, frames.SCOUT_PX)

    @property
    def _num_buckets(self) -> int:
        return len(self.gap_edges_us) - 1

    def features(self) -> Features:
        """Return the two frames, their distance and order, and where they were taken."""
        edges_ms = [f"{edge / 1000:g}" for edge in self.gap_edges_us]
        classes = tuple(f"{low} to {high} ms" for low, high in pairwise(edges_ms))
        return Features.of(
            frame_a=image("the frame shown first"),
            frame_b=image("the frame shown second"),
            label=class_label(classes, "bucket of the distance in time"),
            order=value("int8", "label", "1 where frame_a came first, -1 where frame_b did"),
            pts_a_us=value("int64", "parameter", "presentation time of frame_a", unit="us"),
            pts_b_us=value("int64", "parameter", "presentation time of frame_b", unit="us"),
            gap_us=value("int64", "parameter", "distance in time, never negative", unit="us"),
            pict_type_a=value("int8", "lineage", "coding type of frame_a in the source: 1 key, 2 predicted, 3 bi"),
            pict_type_b=value("int8", "lineage", "coding type of frame_b in the source"),
            motion_score=value(
                "float32", "parameter", "mean change of luma every 0.5 s of the anchor's window", unit="levels of 255"
            ),
            crop_box=box("crop in the upright source, to the nearest px"),
        )

    def _span(self, grid: windows.FrameGrid) -> int:
        """Return the frames of a window: the longest distance fits in on either side of its anchor."""
        return int(self.gap_edges_us[-1] / grid.interval_us) + 1

    def _anchored(self, info: VideoInfo, rng: ItemRng) -> tuple[windows.FrameGrid, list[tuple[list[int], bool]]]:
        """Return the frame grid, and for each candidate its frames in order and whether the anchor comes last."""
        grid = windows.frame_grid(info)
        span = self._span(grid)
        num = windows.num_windows(grid, span, self.max_windows) + self.num_spares
        starts = windows.window_starts(grid, span, num, rng)
        is_last = windows.balanced_labels(len(starts), 2, rng, "anchor last")
        generator = rng.item("gaps")
        found = []
        for start, last in zip(starts, is_last.tolist(), strict=True):
            steps = [0, *windows.gap_steps(grid, self.gap_edges_us, generator)]
            taken = [start + span - 1 - step for step in steps[::-1]] if last else [start + step for step in steps]
            found.append((taken, bool(last)))
        return grid, found

    def requests(self, info: VideoInfo, rng: ItemRng) -> Sequence[ClipRequest]:
        """Return two clips an anchor, spares included, in keyed order: it and its partners, then scouts between."""
        crop_box, size_px = frames.square_request(info, self.side_px, self.crop_fraction)
        grid, anchored = self._anchored(info, rng)
        found = []
        for taken, _ in anchored:
            targets_us = windows.targets(grid, taken)
            found.append(ClipRequest(targets_us=targets_us, crop_box=crop_box, width_px=size_px, height_px=size_px))
            found.append(frames.scout_request(info, range(targets_us[0], targets_us[-1] + 1, SCOUT_US)))
        return found

    def examples(self, item: Video, rng: ItemRng) -> Iterator[Example]:
        """Yield one pair of each bucket for each good anchor, in keyed order."""
        grid, anchored = self._anchored(item.info, rng)
        num = windows.num_windows(grid, self._span(grid), self.max_windows)
        clips, scouts = item.clips[::2], item.clips[1::2]
        inner = frames.inner_crop(clips, self.side_px)
        motions = [frames.measure(scout.frames) for scout in scouts]
        shown = [frames.cut_out(clip.frames, inner) for clip in clips]
        faults = [
            self._fault(clip, pixels, motion, is_last)
            for clip, pixels, motion, (_, is_last) in zip(clips, shown, motions, anchored, strict=True)
        ]
        generator = rng.item("orders")
        for place, index in enumerate(windows.first_good(faults, num)):
            clip, is_last = clips[index], anchored[index][1]
            orders = _balanced_orders(self._num_buckets, generator)
            for turn, bucket in enumerate(generator.permutation(self._num_buckets).tolist()):
                # In the order of time: the anchor and its partners, or the partners and then the anchor.
                early, late = (self._num_buckets - 1 - bucket, self._num_buckets) if is_last else (0, bucket + 1)
                a, b = (early, late) if orders[bucket] == 1 else (late, early)
                yield Example(
                    self._num_buckets * place + turn,
                    {
                        "frame_a": shown[index][a],
                        "frame_b": shown[index][b],
                        "label": bucket,
                        "order": orders[bucket],
                        "pts_a_us": int(clip.pts_us[a]),
                        "pts_b_us": int(clip.pts_us[b]),
                        "gap_us": int(clip.pts_us[late] - clip.pts_us[early]),
                        "pict_type_a": int(clip.pict_types[a]),
                        "pict_type_b": int(clip.pict_types[b]),
                        "motion_score": motions[index].score,
                        "crop_box": frames.source_box(clip.request, inner),
                    },
                )

    def _fault(
        self, clip: Clip, pixels: np.ndarray[Any, np.dtype[np.uint8]], motion: frames.Motion, is_last: bool
    ) -> str:
        """Return why an anchor gives no example, for all buckets alike."""
        distances = clip.pts_us[-1] - clip.pts_us[-2::-1] if is_last else clip.pts_us[1:] - clip.pts_us[0]
        buckets = [windows.bucket_of(int(gap_us), self.gap_edges_us) for gap_us in distances]
        if buckets != list(range(self._num_buckets)):
            return "variable_frame_rate"
        fault = motion.fault(self.min_motion, max_double_fraction=1.0)
        return fault or ("" if frames.all_differ(pixels) else "duplicates")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return two JPEGs a bucket and anchor."""
        num = windows.estimate_windows(source_num_bytes, self.gap_edges_us[-1], self.max_windows)
        return num * self._num_buckets * (400 + 2 * windows.estimate_still_bytes(self.side_px))

    def rederive(self, row: Mapping[str, Any], item: Video) -> Mapping[str, Any]:
        """Return bucket, order and distance as the presentation times tell them.

        The bucket is -1 where the frames are not what the source shows at these times.
        """
        pair = [(row["pts_a_us"], row["frame_a"]), (row["pts_b_us"], row["frame_b"])]
        early, late = sorted(pair, key=lambda one: int(one[0]))
        gap_us = late[0] - early[0]
        shown = frames.shown_at(item.clips, [early[0], late[0]], self.side_px)
        reached = [edge for edge in self.gap_edges_us if edge <= gap_us]
        label = len(reached) - 1 if frames.fits([early[1], late[1]], shown) else -1
        return {"label": label, "order": 1 if early is pair[0] else -1, "gap_us": gap_us}


def _balanced_orders(num: int, generator: np.random.Generator) -> list[int]:
    """Return `num` times 1 or -1, in keyed order, each equally often (to within one)."""
    halves = (generator.permutation(num) + int(generator.integers(2))) % 2
    return [int(1 - 2 * half) for half in halves]
