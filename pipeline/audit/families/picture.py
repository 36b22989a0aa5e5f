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
    """Return of each picture how fine its colour is against its luma, by direction, and by what its channels shift.

    Subsampled chroma is coarser in one direction; lenses shift red and blue away from the middle of the picture
    (chromatic aberration: Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192, section 3.1).
    """
    return combined([_chroma(still) for still in seen.stills])


def _chroma(still: Still) -> list[float]:
    pixels = still.pixels.astype(np.float32)
    told: list[float] = []
    fineness = [_fineness(still.luma)]
    for channel in (0, 2):
        colour = pixels[..., channel] - still.luma
        fineness.append(_fineness(colour))
        told.append(log_ratio(float(colour.std()), float(still.luma.std())))
        told += _shift(pixels[..., channel], pixels[..., 1])
    for one in fineness[1:]:
        told += [one[0] - fineness[0][0], one[1] - fineness[0][1]]
    return told


def _fineness(plane: Lumas) -> tuple[float, float]:
    """Return ln of the steps of one pixel over those of two, along rows and along columns."""
    along = []
    for turned in (plane, plane.T):
        one, two = np.abs(turned[:, 1:] - turned[:, :-1]), np.abs(turned[:, 2:] - turned[:, :-2])
        along.append(log_ratio(float(one.mean()), float(two.mean())))
    return along[0], along[1]


def _shift(plane: Lumas, green: Lumas) -> list[float]:
    """Return by how many pixels (x, y) a channel's edges stand beside green's: least squares on green's gradient.

    Both are freed of what is coarse first: colours that change from sky to ground are no shift.
    """
    fine, fine_green = _fine(plane), _fine(green)
    if not fine_green.size:
        return [0.0, 0.0]
    across, down = np.gradient(fine_green)[::-1]
    gain = float((fine * fine_green).mean()) / (float(np.square(fine_green).mean()) + 1e-3)
    slopes = np.stack([across.ravel(), down.ravel()]) * gain
    system = slopes @ slopes.T + np.eye(2, dtype=np.float32) * fine_green.size * 0.5
    found = np.linalg.solve(system, slopes @ (gain * fine_green - fine).ravel())
    return [float(found[0]), float(found[1])]


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
