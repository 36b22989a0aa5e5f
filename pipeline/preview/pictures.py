"""Stored media as data: URIs: thumbnails, hidden places, spectrograms."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..encode import decode_still

#: A stored picture of no more than this goes onto the page as it is.
_MAX_STORED_BYTES = 8_000
_THUMBNAIL_QUALITY = 82
#: Magma: even steps look even, dark to light, legible without colour. Colours at 0, 1/8, ... 1.
_MAGMA = np.array(
    [
        (0, 0, 4),
        (28, 16, 68),
        (79, 18, 123),
        (129, 37, 129),
        (181, 54, 122),
        (229, 80, 100),
        (251, 135, 97),
        (254, 194, 135),
        (252, 253, 191),
    ],
    np.float32,
)
_NUM_SHADES = 254
#: Ground and stripes of what hides.
_GREYS = (128, 190)
_SPECTROGRAM_MAX_FRAMES = 1200
#: What is this far below the loudest mel energy is black: 9 nepers of power are 39 dB.
_SPECTROGRAM_RANGE = 9.0


def data_uri(data: bytes, mime: str) -> str:
    """Return bytes as a data: URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def thumbnail(stored: bytes, max_side_px: int) -> str:
    """Return a stored JPEG or PNG as a data: URI: as it is where small, else reduced to `max_side_px`."""
    with PillowImage.open(io.BytesIO(stored), formats=("JPEG", "PNG")) as picture:
        if len(stored) <= _MAX_STORED_BYTES and max(picture.size) <= max_side_px:
            return data_uri(stored, "image/png" if picture.format == "PNG" else "image/jpeg")
        return _jpeg_uri(picture.convert("RGB"), max_side_px)


def pixels_uri(pixels: NDArray[np.uint8], max_side_px: int) -> str:
    """Return uint8 [height, width, 3] as a JPEG data: URI of at most `max_side_px` wide and high."""
    return _jpeg_uri(PillowImage.fromarray(np.ascontiguousarray(pixels)), max_side_px)


def _jpeg_uri(picture: PillowImage.Image, max_side_px: int) -> str:
    if max(picture.size) > max_side_px:
        picture.thumbnail((max_side_px, max_side_px), PillowImage.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY)
    return data_uri(buffer.getvalue(), "image/jpeg")


def masked(stored: bytes, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a stored picture with its hidden places (True, any grid over the whole picture) behind grey hatching."""
    return cover(decode_still(stored), mask)


def cover(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return uint8 [height, width, 3] with the places that `mask` (True = hidden, any grid) covers hatched in grey."""
    height, width = pixels.shape[:2]
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    hidden = mask[rows[:, None], columns[None, :]]
    stripes = (np.arange(height)[:, None] + np.arange(width)[None, :]) % 8 < 2
    hatching = np.where(stripes, *_GREYS[::-1])[..., None]
    faded = 0.22 * pixels + 0.78 * hatching
    return np.where(hidden[..., None], faded, pixels).astype(np.uint8)


def contrast(stored: bytes) -> float:
    """Return the deviation of a stored picture's luma, of 255 levels."""
    with PillowImage.open(io.BytesIO(stored), formats=("JPEG", "PNG")) as picture:
        # Of a JPEG only an eighth is decoded.
        picture.draft("L", (32, 32))
        return float(np.asarray(picture.convert("L"), np.float32).std())


def size_px(stored: bytes) -> tuple[int, int]:
    """Return width and height of a stored picture."""
    with PillowImage.open(io.BytesIO(stored), formats=("JPEG", "PNG")) as picture:
        return picture.size


def spectrogram(levels: NDArray[np.float32], hidden: NDArray[np.bool_] | None = None) -> bytes:
    """Return log-mel energies, float32 [num_frames, num_mels], as PNG, low notes at the bottom; b"" without frames.

    Of a long sound the first 1,200 frames are shown. `hidden`: bool [frames, mel bins], True = hatched in grey; what
    it does not reach is visible.
    """
    levels = levels[:_SPECTROGRAM_MAX_FRAMES]
    if not len(levels):
        return b""
    shade = np.clip(1 + (levels - levels.max()) / _SPECTROGRAM_RANGE, 0, 1)
    places = np.rint(shade * (_NUM_SHADES - 1)).astype(np.uint8)
    if hidden is not None:
        rows, columns = min(len(levels), len(hidden)), min(levels.shape[1], hidden.shape[1])
        stripes = np.add.outer(np.arange(rows), np.arange(columns)) % 8 < 2
        greys = np.where(stripes, _NUM_SHADES + 1, _NUM_SHADES)
        places[:rows, :columns] = np.where(hidden[:rows, :columns], greys, places[:rows, :columns])
    picture = PillowImage.fromarray(np.ascontiguousarray(places.T[::-1]))
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _palette() -> bytes:
    """Return RGB of `_NUM_SHADES` shades of magma, and of the two greys of the hatching."""
    at, known = np.linspace(0, 1, _NUM_SHADES), np.linspace(0, 1, len(_MAGMA))
    shades = np.stack([np.interp(at, known, _MAGMA[:, channel]) for channel in range(3)], axis=-1)
    greys = np.array(_GREYS)[:, None].repeat(3, axis=1)
    return np.concatenate([shades, greys]).astype(np.uint8).tobytes()
