"""What pixels betray besides what they show: grid, borders, chroma, noise; and the layout, which they may betray."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..seen import Lumas, Seen, Still
from .family import Cues, combined, log_ratio

_BLOCK_PX = 8
#: Black after a JPEG: what was 0 is no more than this.
_BLACK_BELOW = 6
_BAR_SHARE = 0.97
#: Differences below this, of 255 levels, are rounding.
_FLOOR_LEVELS = 0.05
#: Squares of so many px in which two channels are compared, the least squared correlation of their detail, and the
#: least share of the strength of the one in the other.
_NEAR_PX, _SAME_DETAIL, _SAME_STRENGTH = 5, 0.8, 0.8


def grid_phase(seen: Seen) -> Cues:
    """Return of each picture how strong its steps are at each phase of an 8 x 8 grid, columns, then rows.

    The blocks of a source's JPEG stay visible at its own phase and orientation after it is decoded.
    """
    return combined([[*_phases(still.luma), *_phases(still.luma.T)] for still in seen.stills])


def _phases(luma: Lumas) -> list[float]:
    """Return the mean step between neighbouring columns at each phase over that of all, less 1."""
    if luma.shape[1] < 2 * _BLOCK_PX:
        return [0.0] * _BLOCK_PX
    # Against the steps on either side: only what jumps more than its surroundings is a block's border.
    step = np.abs(np.diff(luma, axis=1))
    excess = step[:, 1:-1] - 0.5 * (step[:, :-2] + step[:, 2:])
    lines = excess.mean(axis=0) / (step.mean() + 1e-3)
    return [float(lines[phase::_BLOCK_PX].mean()) for phase in range(_BLOCK_PX)]


def borders(seen: Seen) -> Cues:
    """Return of each picture how far black bars reach in from each side, the black corners, and the bars of all.

    Only what is black throughout counts: a clear sky is as flat, and says rightly where up is.
    """
    return combined([_borders(still.luma) for still in seen.stills])


def _borders(luma: Lumas) -> list[float]:
    is_black = luma < _BLACK_BELOW
    corner = max(2, min(luma.shape) // _BLOCK_PX)
    told = [float((is_black.mean(axis=axis) > _BAR_SHARE).mean()) for axis in (0, 1)]
    for turns in range(4):
        black = np.rot90(is_black, turns)
        is_bar = black.mean(axis=1) > _BAR_SHARE
        num_lines = int(np.argmin(is_bar)) if not is_bar.all() else len(is_bar)
        told += [num_lines / len(is_bar), float(black[:corner, :corner].mean() > _BAR_SHARE)]
    return told


def chroma(seen: Seen) -> Cues:
    """Return of each picture how its colours were captured: what of them is finest, by direction, and their shifts.

    Subsampled chroma lacks the finest detail in one direction; lenses and decoders shift red and blue against green
    (chromatic aberration: Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192, section 3.1). Scenes have directions,
    too: broad steps of colour and luma tell where the sky is. So only the finest detail is looked at, against luma's
    in the same direction, and shifts only where the colour of the scene does not change.
    """
    return combined([_chroma(still) for still in seen.stills])


def _chroma(still: Still) -> list[float]:
    pixels = still.pixels.astype(np.float32)
    finest_luma = _finest(still.luma), _finest(still.luma.T)
    told: list[float] = []
    for channel in (0, 2):
        colour = pixels[..., channel] - still.luma
        told += _shift(pixels[..., channel], pixels[..., 1])
        told += [_finest(colour) - finest_luma[0], _finest(colour.T) - finest_luma[1]]
    return told


def _finest(plane: Lumas) -> float:
    """Return ln of the fourth differences along rows over the second ones: how much lies near one cycle in 2 px."""
    if plane.shape[1] <= _BLOCK_PX:
        return 0.0
    fourth, second = (float(np.abs(np.diff(plane, order, axis=1)).mean()) for order in (4, 2))
    return float(np.log((fourth + _FLOOR_LEVELS) / (second + _FLOOR_LEVELS)))


def _shift(plane: Lumas, green: Lumas) -> list[float]:
    """Return by how many pixels (x, y) a channel's edges stand beside green's: least squares on green's gradient.

    Counted where both channels have the same detail, as light and dark of one colour have. Where colours meet, the
    brighter side of an edge spreads in the channel in which it is brighter: that says what is there, not how it was
    captured.
    """
    fine, fine_green = _fine(plane), _fine(green)
    if min(fine_green.shape, default=0) < _BLOCK_PX:
        return [0.0, 0.0]
    common, own, of_green = _nearby(fine * fine_green), _nearby(fine * fine), _nearby(fine_green * fine_green)
    is_grey = (
        (common**2 > _SAME_DETAIL * own * of_green)
        & (common > of_green * _SAME_STRENGTH)
        & (common * _SAME_STRENGTH < of_green)
    )
    inner = np.s_[_NEAR_PX // 2 : -(_NEAR_PX // 2), _NEAR_PX // 2 : -(_NEAR_PX // 2)]
    across, down = (slope[inner][is_grey] for slope in np.gradient(fine_green)[::-1])
    slopes = np.stack([across, down])
    system = slopes @ slopes.T + np.eye(2, dtype=np.float32) * fine_green.size * _FLOOR_LEVELS
    found = np.linalg.solve(system, slopes @ (fine_green - fine)[inner][is_grey])
    return [float(found[0]), float(found[1])]


def _nearby(plane: Lumas) -> Lumas:
    """Return the mean of the square of _NEAR_PX around each pixel that has one."""
    sums = np.cumsum(np.cumsum(np.pad(plane, ((1, 0), (1, 0))), axis=0, dtype=np.float64), axis=1)
    whole = sums[_NEAR_PX:, _NEAR_PX:] - sums[:-_NEAR_PX, _NEAR_PX:] - sums[_NEAR_PX:, :-_NEAR_PX]
    mean: Lumas = ((whole + sums[:-_NEAR_PX, :-_NEAR_PX]) / _NEAR_PX**2).astype(np.float32)
    return mean


def _fine(plane: Lumas) -> Lumas:
    """Return a plane less the mean of each pixel's four neighbours, without the outermost pixels."""
    around = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
    fine: Lumas = plane[1:-1, 1:-1] - np.float32(0.25) * around
    return fine


def noise(still: Still) -> list[float]:
    """Return a picture's noise floor and how fast it falls from fine to coarse, without regard to direction.

    The floor is Immerkaer's: Fast noise variance estimation, Computer Vision and Image Understanding 64 (1996).
    """
    luma = still.luma
    if min(luma.shape) < _BLOCK_PX:
        return [0.0, 0.0, 0.0]
    residual = np.abs(_cross(_cross(luma).T))
    return [
        float(np.log(np.median(residual) + 0.1)),
        float(np.log(residual.mean() + 0.1) - np.log(np.median(residual) + 0.1)),
        log_ratio(float(residual.mean()), float(np.abs(_cross(_cross(_halved(luma)).T)).mean())),
    ]


def _cross(plane: Lumas) -> Lumas:
    difference: Lumas = plane[:, 2:] - 2 * plane[:, 1:-1] + plane[:, :-2]
    return difference


def _halved(luma: Lumas) -> Lumas:
    height, width = (side // 2 * 2 for side in luma.shape)
    halved: Lumas = luma[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return halved


def layout(seen: Seen) -> Cues:
    """Return of each picture its 3 x 3 mean colours and whether steps are steeper across or down: legitimate cues."""
    return combined([_layout(still) for still in seen.stills])


def _layout(still: Still) -> list[float]:
    pixels: NDArray[np.float32] = still.pixels.astype(np.float32)
    cells = [
        cell.mean(axis=(0, 1))
        for row in np.array_split(pixels, 3)
        for cell in np.array_split(row, 3, axis=1)
        if cell.size
    ]
    steps = [float(np.abs(np.diff(still.luma, axis=axis)).mean()) for axis in (0, 1)]
    return [*np.concatenate(cells).tolist(), log_ratio(*steps)]
