"""When to look at a video: windows on its frame grid, their order, labels, gap buckets, and which of them to use.

Everything is counted in microseconds of presentation time. The grid is nominal (frame n is presented from n times
the mean frame interval on) and only says where targets are put, at mid-interval, where rounded timestamps cannot
make them slip to a neighbour; what a target hit is judged by the presentation time that came back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, Filtered
from .items import VideoInfo
from .rng import ItemRng

#: The decoded clips of one source must fit into this.
MAX_CLIP_BYTES = 64_000_000
#: What a second of ordinary video takes, for estimates of output from the size of a source.
SOURCE_BYTES_PER_SECOND = 100_000
#: What a pixel of a video frame takes in a JPEG of quality 95, 4:4:4.
STILL_BYTES_PER_PX = 0.5


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """The nominal frames of a video, or of one part of it: numbers `first` to `last`, both included."""

    interval_us: Fraction
    first: int
    last: int
    end_us: int

    def target_us(self, frame: int) -> int:
        """Return a presentation time in the middle of the nominal frame, never after the last presented one."""
        return min(self.end_us, int((frame + Fraction(1, 2)) * self.interval_us))

    def whole_steps(self, span_us: int) -> int:
        """Return how many frame intervals come nearest to `span_us`; at least 1."""
        return max(1, round(span_us / self.interval_us))


def frame_grid(info: VideoInfo) -> FrameGrid:
    """Return the nominal frames of a video.

    Raises:
        Filtered: `too_short` where there is only one moment; `no_frame_rate` where nothing tells the rate.
    """
    if info.end_us <= info.start_us:
        raise Filtered("too_short", "one frame")
    interval_us = _mean_interval_us(info)
    # Presentation times were rounded to whole time-base units: the nearest number is meant.
    return FrameGrid(interval_us, round(info.start_us / interval_us), round(info.end_us / interval_us), info.end_us)


def _mean_interval_us(info: VideoInfo) -> Fraction:
    """Return the time between frames: from their number where it agrees with the declared rate, else from the rate.

    Containers give a rate as frames / duration, which is off by one frame over the whole video; of a part of a
    video, the number of frames says nothing.
    """
    counted = Fraction(info.end_us - info.start_us, info.num_frames - 1) if info.num_frames > 1 else None
    if info.fps_num <= 0 or info.fps_den <= 0:
        if counted is None:
            raise Filtered("no_frame_rate", "neither a frame rate nor a number of frames is known")
        return counted
    declared = Fraction(1_000_000 * info.fps_den, info.fps_num)
    # One frame in the count, or 2 %, whichever is more.
    tolerance = max(Fraction(1, 50), Fraction(3, 2 * max(1, info.num_frames - 1)))
    return counted if counted is not None and abs(counted / declared - 1) <= tolerance else declared


def num_windows(grid: FrameGrid, span_frames: int, most: int) -> int:
    """Return how many windows of `span_frames` frames to use: as many as fit side by side, at most `most`.

    Raises:
        Filtered: `too_short` where not even one fits.
    """
    available = grid.last - grid.first + 1
    if available < span_frames:
        found, needed = float(available * grid.interval_us), float(span_frames * grid.interval_us)
        raise Filtered("too_short", f"{found / 1e6:.2f} s < {needed / 1e6:.2f} s")
    return min(most, available // span_frames)


def window_starts(grid: FrameGrid, span_frames: int, num: int, rng: ItemRng) -> list[int]:
    """Return the first frames of about `num` windows, in keyed order; fewer where there are fewer places.

    The places are cut into `num` equal stretches and one is drawn from each: every place is equally likely, key
    frame or not, and the windows spread over the whole duration.
    """
    places = grid.last - grid.first + 2 - span_frames
    num = max(0, min(num, places))
    generator = rng.item("windows")
    starts = [
        int(generator.integers(grid.first + i * places // num, grid.first + (i + 1) * places // num))
        for i in range(num)
    ]
    return [starts[i] for i in generator.permutation(num)]


def targets(grid: FrameGrid, frames: Sequence[int]) -> tuple[int, ...]:
    """Return the presentation times, in microseconds, at which to ask for the grid's `frames`."""
    return tuple(grid.target_us(frame) for frame in frames)


def first_good(faults: Sequence[str], num: int) -> list[int]:
    """Return the indices of the first `num` entries without a fault (an empty string).

    Raises:
        Filtered: with the commonest fault, where every entry has one.
    """
    good = [index for index, fault in enumerate(faults) if not fault][:num]
    if not good:
        counts = sorted(Counter(faults).items(), key=lambda found: (-found[1], found[0]))
        listed = ", ".join(f"{count} {fault}" for fault, count in counts)
        raise Filtered(counts[0][0] if counts else "too_short", f"{len(faults)} windows tried: {listed}")
    return good


def balanced_labels(num: int, num_classes: int, rng: ItemRng, purpose: str = "labels") -> NDArray[np.int64]:
    """Return the labels of `num` draws, int64: counts differ by at most 1, and every class is equally likely.

    Neither the draw's number nor the place of the window that it uses says anything of the label.
    """
    generator = rng.item(purpose)
    labels: NDArray[np.int64] = (generator.permutation(num) + int(generator.integers(num_classes))) % num_classes
    return labels


def num_seams(pts_us: Sequence[int] | NDArray[np.int64]) -> int:
    """Return how often a clip jumps against its own direction in time, or stands still; 0 for a clip without seams.

    A clip that was too short and began again from its start has a seam.
    """
    steps = np.sign(np.diff(np.asarray(pts_us, np.int64)))
    return int(len(steps) - max((steps > 0).sum(), (steps < 0).sum()))


def is_even(pts_us: NDArray[np.int64], tolerance_fraction: float = 0.25) -> bool:
    """Return whether all steps of ascending times lie within a fraction of their median."""
    steps = np.diff(pts_us)
    middle = float(np.median(steps))
    return middle > 0 and bool(np.all(np.abs(steps - middle) <= tolerance_fraction * middle))


def bucket_of(gap_us: int, edges_us: Sequence[int]) -> int:
    """Return the k with `edges_us[k] <= gap_us < edges_us[k + 1]`, or -1 where there is none."""
    k = int(np.searchsorted(np.asarray(edges_us, np.int64), gap_us, side="right")) - 1
    return k if k < len(edges_us) - 1 else -1


def gap_steps(grid: FrameGrid, edges_us: Sequence[int], generator: np.random.Generator) -> list[int]:
    """Return one number of frame intervals for each bucket, drawn evenly on a logarithmic scale.

    Raises:
        Filtered: `low_frame_rate` where a bucket holds no whole number of intervals.
    """
    steps = []
    for low_us, high_us in pairwise(edges_us):
        # 1 ms inside the edges: containers that round to milliseconds must not move a gap to the next bucket.
        fewest = -int(-(low_us + 1000) // grid.interval_us)
        most = int((high_us - 1001) // grid.interval_us)
        if fewest > most:
            interval_ms = float(grid.interval_us) / 1000
            raise Filtered("low_frame_rate", f"no multiple of {interval_ms:.1f} ms in [{low_us}, {high_us}) us")
        drawn = np.exp(generator.uniform(np.log(fewest), np.log(most + 1)))
        steps.append(min(most, int(drawn)))
    return steps


def check_clip_bytes(num_windows: int, frames_per_window: int, frame_px: int) -> None:
    """Raise ConfigError where the clips of one source could take more than `MAX_CLIP_BYTES`."""
    num_bytes = num_windows * frames_per_window * frame_px**2 * 3
    if num_bytes > MAX_CLIP_BYTES:
        raise ConfigError(
            f"`max_windows` + `num_spares` = {num_windows} windows of {frames_per_window} frames of {frame_px} x "
            f"{frame_px} px take {num_bytes / 1e6:.0f} MB, but at most {MAX_CLIP_BYTES / 1e6:.0f} MB are allowed."
        )


def estimate_windows(source_num_bytes: int, span_us: int, most: int) -> int:
    """Return about how many windows of `span_us` a source of this size gives; at least 1, at most `most`."""
    seconds = source_num_bytes / SOURCE_BYTES_PER_SECOND
    return max(1, min(most, int(seconds * 1e6 / span_us)))


def estimate_still_bytes(side_px: int) -> int:
    """Return about how many bytes a stored frame of `side_px` x `side_px` px takes as a JPEG."""
    return 700 + int(STILL_BYTES_PER_PX * side_px**2)
