"""Patches of one picture: where they may lie, and what keeps artefacts from telling which belong together.

Colour is dropped against chromatic aberration, resolution is varied against sharpness and noise, flat pictures are
left out. After Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context Prediction, ICCV 2015
(arXiv:1505.05192). Brightness and contrast are normalised at load, by `transforms.standardize`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from .errors import Filtered
from .features import ImageEncoding
from .items import Image
from .resample import Box, crop_resize
from .transforms import ColorMode, drop_color, luma

#: JPEG's blocks are large against a small tile, so tiles below this side are stored without loss.
SMALLEST_JPEG_PX = 112
_THUMBNAIL_PX = 12


def tile_encoding(side_px: int) -> ImageEncoding:
    """Return how pictures of this side are stored: PNG below 112 px, JPEG from there."""
    return "png" if side_px < SMALLEST_JPEG_PX else "jpeg"


def require_size(item: Image, needed_px: int, max_upscale: float) -> None:
    """Raise Filtered `too_small` where the short side must be enlarged more than `max_upscale` times."""
    short_px = min(item.width_px, item.height_px)
    if short_px * max_upscale < needed_px:
        raise Filtered("too_small", f"short side {short_px} px x {max_upscale:g} < {needed_px} px")


def to_source(crop_box: Box, canvas_px: int, box: Box) -> Box:
    """Return a box of the square canvas that `crop_box` was resized to, in px of the source, rounded."""
    scale = crop_box[2] / canvas_px
    x, y, width, height = box
    left, top = round(x * scale), round(y * scale)
    right, bottom = round((x + width) * scale), round((y + height) * scale)
    return (crop_box[0] + left, crop_box[1] + top, right - left, bottom - top)


def luma_std(pixels: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the luma over every fourth pixel, in levels of 255."""
    return float(luma(pixels[::2, ::2]).std(dtype=np.float32))


def coarsen_color(pixels: NDArray[np.uint8], square_px: int) -> NDArray[np.uint8]:
    """Return the picture [height, width, 3] with chroma averaged over squares of `square_px`, luma as it is.

    Both sides must be multiples of `square_px`. Cameras and codecs keep colour coarser than luma, often in one
    direction only, and a little beside it; at a resolution that is lower than theirs in both directions that is gone.
    """
    if square_px == 1:
        return pixels
    height, width = pixels.shape[:2]
    luma_plane, *chroma = PillowImage.fromarray(pixels).convert("YCbCr").split()
    coarse = [plane.reduce(square_px).resize((width, height), PillowImage.Resampling.BILINEAR) for plane in chroma]
    return np.asarray(PillowImage.merge("YCbCr", (luma_plane, *coarse)).convert("RGB"))


def lower_resolution(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a square patch resized to `side_px` and back: uint8 of the same shape."""
    own_px = pixels.shape[0]
    small = crop_resize(pixels, (0, 0, own_px, own_px), side_px, side_px)
    return crop_resize(small, (0, 0, side_px, side_px), own_px, own_px)


def draw_resolution(generator: np.random.Generator, side_px: int) -> int:
    """Return a side to lower a patch's resolution to: its area is uniform between about 1/92 and 1 of the patch's.

    For 96 px this is the published range, 10 to 95 px.
    """
    smallest_px, largest_px = max(2, round(side_px * 10 / 96)), max(2, side_px - 1)
    return int(np.sqrt(generator.uniform(smallest_px**2, largest_px**2)))


def shown_by(
    patch: NDArray[np.uint8],
    candidates: Sequence[NDArray[np.uint8]],
    expected: int,
    mode: ColorMode,
    tolerance: float = 6.0,
) -> int:
    """Return the index of the candidate that `patch` shows; `expected` where that fits about as well as the best.

    For re-deriving labels from the source. Compares thumbnails, so resolution and shifts of some px do not matter;
    `tolerance` is in levels of 255 (mean absolute difference): flat pictures cannot contradict.
    """
    stored = _thumbnail(patch)
    shown = [_thumbnail(drop_color(candidate, mode)) for candidate in candidates]
    # By the channel that differs most, since channels that were dropped differ in nothing.
    misfits = [np.abs(stored - candidate).mean(axis=(0, 1)).max() for candidate in shown]
    best = int(np.argmin(misfits))
    return expected if misfits[expected] <= misfits[best] + tolerance else best


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    side_px = min(_THUMBNAIL_PX, pixels.shape[0])
    whole = (0, 0, pixels.shape[1], pixels.shape[0])
    return crop_resize(pixels, whole, side_px, side_px).astype(np.float32)
