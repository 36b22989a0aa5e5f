"""Planted copies of pictures: scaled, cropped and encoded again, as an upload to somewhere else leaves them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def jpeg_of(pixels: NDArray[np.uint8], quality: int = 92) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def copy_of_picture(pixels: NDArray[np.uint8], rng: np.random.Generator) -> bytes:
    """Return a JPEG of quality 50 to 95 of a crop of 80 to 100 % of the area, scaled by 0.5 to 2."""
    height, width = pixels.shape[:2]
    area = rng.uniform(0.8, 1.0)
    share = area ** rng.uniform(0, 1)
    crop_width, crop_height = round(width * share), round(height * area / share)
    left, top = rng.integers(0, width - crop_width + 1), rng.integers(0, height - crop_height + 1)
    factor = 2 ** rng.uniform(-1, 1)
    size = (max(8, round(crop_width * factor)), max(8, round(crop_height * factor)))
    crop = Image.fromarray(pixels[top : top + crop_height, left : left + crop_width])
    return jpeg_of(np.asarray(crop.resize(size, Image.Resampling.BICUBIC)), int(rng.integers(50, 96)))
