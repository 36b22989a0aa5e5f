"""What a window of video shows: motion, cuts, doubled frames, fades, black bars; which square of it to keep.

Motion, doubles and fades are measured on a grid of block means of luma, so that noise and compression hardly count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import Filtered
from .items import Clip, ClipRequest, VideoInfo
from .resample import Box, square_box

#: Blocks along each side of the grid that motion is measured on.
NUM_CELLS = 20
#: Two frames are doubles where no block's mean luma differs by more than this: re-encoding moves it by about 1.
DOUBLE_LEVELS = 1.5
#: Where doubles tell nothing of the label, this share of the steps may be doubles: people pause, cameras stutter.
MAX_DOUBLE_FRACTION = 0.2
#: A cut changes luma by this much on average, and either replaces the colours or stands out from its neighbours.
CUT_LEVELS = 12.0
CUT_HISTOGRAM_FRACTION = 0.5
CUT_TIMES_NEIGHBOURS = 3.0
#: A fade moves the mean luma by this much, steadily.
FADE_LEVELS = 24.0
#: No pixel of a black bar is brighter: limited-range black is 16 of 255, and coding adds a little.
BAR_LEVEL = 32
#: What a still of quality 95 may differ from its frame, mean absolute; grain loses most.
MAX_STILL_LOSS_LEVELS = 8.0
#: Side of the small frames that only look for cuts and motion between the frames of an example.
SCOUT_PX = 48


@dataclass(frozen=True, slots=True)
class Motion:
    """What a sequence of frames does, see `measure`."""

    score: float
    has_cut: bool
    double_fraction: float
    is_fade: bool

    def fault(self, min_motion: float, max_double_fraction: float = MAX_DOUBLE_FRACTION) -> str:
        """Return why the sequence should not be used: `static`, `cuts`, `duplicates`, `fade`, or an empty string."""
        if self.score < min_motion:
            return "static"
        has_doubles = self.double_fraction > max_double_fraction
        faults = (("cuts", self.has_cut), ("duplicates", has_doubles), ("fade", self.is_fade))
        return next((name for name, found in faults if found), "")


def luma_grid(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return block means of luma (Rec. 601 weights): float32 [num_frames, rows, columns] in [0, 255].

    `frames`: uint8 [num_frames, height, width, 3]. There are at most `NUM_CELLS` blocks a side; what is left over at
    the right and bottom edges is not looked at.
    """
    num, height, width, _ = frames.shape
    rows, columns = min(NUM_CELLS, height), min(NUM_CELLS, width)
    cell_h, cell_w = height // rows, width // columns
    cut = frames[:, : rows * cell_h, : columns * cell_w]
    lines = cut.reshape(num, rows, cell_h, columns * cell_w * 3).sum(axis=2, dtype=np.uint32)
    sums = lines.reshape(num, rows, columns, cell_w, 3).sum(axis=3).astype(np.float32)
    weights = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(cell_h * cell_w)
    return np.asarray((sums * weights).sum(axis=-1), np.float32)


def measure(frames: NDArray[np.uint8]) -> Motion:
    """Return what consecutive frames do: uint8 [num_frames >= 2, height, width, 3], in the order of time.

    score: mean absolute change of block luma from frame to frame, in levels of 255. has_cut: some step changes the
    picture, where there is more than one step also one that only stands out. double_fraction: share of the steps that
    repeat the frame before. is_fade: the whole grows darker or brighter throughout.
    """
    grid = luma_grid(frames)
    change = np.abs(np.diff(grid, axis=0))
    level = grid.mean(axis=(1, 2))
    steps = np.diff(level)
    is_steady = max((steps > 0).mean(), (steps < 0).mean()) >= 0.9
    return Motion(
        score=float(change.mean()),
        has_cut=bool(_cuts(change.mean(axis=(1, 2)), _histogram_change(frames)).any()),
        double_fraction=float((change.max(axis=(1, 2)) <= DOUBLE_LEVELS).mean()),
        is_fade=bool(is_steady and abs(level[-1] - level[0]) > FADE_LEVELS),
    )


def all_differ(frames: NDArray[np.uint8]) -> bool:
    """Return whether no two of the frames, neighbours or not, are doubles."""
    grid = luma_grid(frames)
    return all(float(np.abs(grid[i] - grid[j]).max()) > DOUBLE_LEVELS for i in range(len(grid)) for j in range(i))


def _cuts(change: NDArray[np.float32], histogram_change: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each step whether it is a cut."""
    padded = np.pad(change, 2)
    neighbours = np.max([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]], axis=0)
    stands_out = (change > CUT_TIMES_NEIGHBOURS * neighbours) & (len(change) > 2)
    cuts: NDArray[np.bool_] = (change > CUT_LEVELS) & ((histogram_change > CUT_HISTOGRAM_FRACTION) | stands_out)
    return cuts


def _histogram_change(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the total variation between the colour histograms (4 x 4 x 4 bins) of neighbours: [num_frames - 1]."""
    thin = frames[:, ::4, ::4].astype(np.int64) >> 6
    bins = (thin[..., 0] * 16 + thin[..., 1] * 4 + thin[..., 2]).reshape(len(frames), -1)
    shares = np.stack([np.bincount(one, minlength=64) for one in bins]) / bins.shape[1]
    change: NDArray[np.float64] = 0.5 * np.abs(np.diff(shares, axis=0)).sum(axis=1)
    return change


def square_request(info: VideoInfo, side_px: int, crop_fraction: float) -> tuple[Box, int]:
    """Return the centre square of the video's short side, and the side in px at which to ask for it.

    Frames come larger than `side_px`, so that `inner_crop` can step inside black bars; they are never upscaled.

    Raises:
        Filtered: `too_small` where the short side is below `side_px`.
    """
    short_px = min(info.width_px, info.height_px)
    if short_px < side_px:
        raise Filtered("too_small", f"short side {short_px} px < {side_px} px")
    box = square_box(info.width_px, info.height_px, side_px, 1.0)
    return box, min(short_px, request_px(side_px, crop_fraction))


def request_px(side_px: int, crop_fraction: float) -> int:
    """Return the largest side at which frames are asked for, in px, for a stored side of `side_px`."""
    return math.ceil(side_px / crop_fraction)


def scout_request(info: VideoInfo, targets_us: Sequence[int]) -> ClipRequest:
    """Return the request for small frames of the whole centre square."""
    box = square_box(info.width_px, info.height_px, SCOUT_PX, 1.0)
    return ClipRequest(targets_us=tuple(targets_us), crop_box=box, width_px=SCOUT_PX, height_px=SCOUT_PX)


def inner_crop(clips: Sequence[Clip], side_px: int) -> Box:
    """Return a square of `side_px` in the middle of what the clips show within black bars, if there are any.

    The clips are those of one source, all of one size; bars are rows and columns at the border that no frame lights.

    Raises:
        Filtered: `letterbox` where the picture inside the bars is smaller than `side_px`; `black` where all is bar.
    """
    brightest = np.max([clip.frames.max(axis=0) for clip in clips], axis=0).max(axis=2)
    rows = np.flatnonzero(brightest.max(axis=1) > BAR_LEVEL)
    columns = np.flatnonzero(brightest.max(axis=0) > BAR_LEVEL)
    if not len(rows):
        raise Filtered("black", f"no pixel of any frame is brighter than {BAR_LEVEL}")
    height, width = (int(lit[-1] - lit[0]) + 1 for lit in (rows, columns))
    if min(height, width) < side_px:
        raise Filtered("letterbox", f"{width} x {height} px inside black bars, {side_px} px needed")
    return (int(columns[0]) + (width - side_px) // 2, int(rows[0]) + (height - side_px) // 2, side_px, side_px)


def cut_out(frames: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return the box of every frame, contiguous: uint8 [num_frames, box height, box width, 3]."""
    x, y, width, height = box
    return np.ascontiguousarray(frames[:, y : y + height, x : x + width])


def source_box(request: ClipRequest, inner: Box) -> Box:
    """Return where `inner`, a box of the requested frames, lies in the upright source, to the nearest px."""
    x, y, width, height = request.crop_box
    scale_x, scale_y = width / request.width_px, height / request.height_px
    return (
        x + round(inner[0] * scale_x),
        y + round(inner[1] * scale_y),
        round(inner[2] * scale_x),
        round(inner[3] * scale_y),
    )


def shown_at(clips: Sequence[Clip], pts_us: Sequence[int], side_px: int) -> NDArray[np.uint8] | None:
    """Return the square frames that some clip shows at these times: uint8 [num_times, side_px, side_px, 3], or None.

    Of the clips, those smaller than `side_px` (scouts) are left out.
    """
    large = [clip for clip in clips if clip.request.width_px >= side_px]
    for clip in large:
        index = np.searchsorted(clip.pts_us, pts_us).clip(0, len(clip.pts_us) - 1)
        if np.array_equal(clip.pts_us[index], pts_us):
            return cut_out(clip.frames[index], inner_crop(large, side_px))
    return None


def difference(stored: Sequence[NDArray[np.uint8]], shown: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two equally long sequences of frames, in levels of 255."""
    return float(np.abs(np.asarray(stored, np.int16) - shown.astype(np.int16)).mean())


def fits(stored: Sequence[NDArray[np.uint8]], shown: NDArray[np.uint8] | None) -> bool:
    """Return whether stored frames are the shown ones, each at its place, up to the loss of the stills' encoder.

    Each must be near to its own frame, and as near as to any other that is shown, within half a level.
    """
    if shown is None or len(stored) != len(shown):
        return False
    thin = shown[:, ::2, ::2].astype(np.int16)
    for place, still in enumerate(stored):
        distances = np.abs(thin - still[::2, ::2].astype(np.int16)).mean(axis=(1, 2, 3))
        if distances[place] > min(MAX_STILL_LOSS_LEVELS, distances.min() + 0.5):
            return False
    return True
