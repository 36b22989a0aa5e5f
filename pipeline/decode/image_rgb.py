"""Any picture that Pillow decodes, as 8-bit sRGB: wide grey, palettes, alpha, CMYK, LAB and embedded profiles."""

from __future__ import annotations

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageCms

from ..errors import Reject, RejectReason
from .limits import DecodeOptions

#: A profile that moves no colour of a coarse grid by more than this is sRGB for us, and is not applied.
_SAME_LSB = 2
_MAX_PROFILE_BYTES = 4 << 20
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_ROWS_AT_ONCE = 64


def split_profile(
    picture: PillowImage.Image, options: DecodeOptions
) -> tuple[PillowImage.Image, ImageCms.ImageCmsTransform | None]:
    """Return the loaded picture's colours, and what turns any part of them into RGB, sRGB: None where they are that.

    - 16-bit grey: by `options.intensity`. 32-bit and float grey: stretched from its smallest to its largest value.
    - An embedded ICC profile (perceptual intent) is left for the caller to apply to what it wants: it costs more than
      decoding, and a pixel's colour depends on that pixel alone. One that does not fit or is broken is ignored.
      CMYK without a profile: the plain conversion.
    - Transparency of any kind is laid over white.

    Raises Reject(non_finite) for float pictures with NaN or infinity. May raise what Pillow raises.
    """
    if picture.mode == "RGB" and "icc_profile" not in picture.info and "transparency" not in picture.info:
        return picture, None
    profile = picture.info.get("icc_profile")
    if picture.mode in _SIXTEEN_BIT_MODES or picture.mode in ("I", "F"):
        picture = _eight_bit(picture, options)
    colour, alpha = _split(picture)
    transform = _transform_of(colour, profile) if isinstance(profile, bytes) and profile else None
    is_opaque = alpha is None or alpha.getextrema() == (255, 255)
    if transform is not None and is_opaque:
        return colour, transform
    if transform is not None:
        rgb = transform.apply(colour)
    else:
        rgb = _from_lab(colour) if colour.mode == "LAB" else colour.convert("RGB")
    if is_opaque:
        return rgb, None
    canvas = PillowImage.new("RGB", rgb.size, (255, 255, 255))
    canvas.paste(rgb, mask=alpha)
    return canvas, None


def _split(picture: PillowImage.Image) -> tuple[PillowImage.Image, PillowImage.Image | None]:
    """Return the colours in mode L, RGB, CMYK or LAB, and the alpha channel (mode L) where there is one."""
    if picture.mode == "LA":
        return picture.getchannel("L"), picture.getchannel("A")
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info or _has_alpha_palette(picture):
        rgba = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if picture.mode in ("L", "RGB", "CMYK", "LAB"):
        return picture, None
    return picture.convert("L" if picture.mode == "1" else "RGB"), None


def _has_alpha_palette(picture: PillowImage.Image) -> bool:
    return picture.palette is not None and picture.palette.mode.endswith("A")


def _transform_of(colour: PillowImage.Image, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the way to sRGB, or None where the profile is sRGB already, broken, or made for another mode."""
    return _transform(profile, colour.mode) if len(profile) <= _MAX_PROFILE_BYTES else None


@functools.lru_cache(maxsize=256)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if mode == "LAB":
        return None  # LAB needs no profile, and profiles for it are not those of a device
    try:
        transform = _build(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if _changes_nothing(transform, mode) else transform


def _build(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.createProfile("sRGB")
    # Not ImageCms.buildTransform: it takes names too, and tries to open what it is given.
    return ImageCms.ImageCmsTransform(profile, ImageCms.ImageCmsProfile(srgb), mode, "RGB", ImageCms.Intent.PERCEPTUAL)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode not in ("RGB", "L"):
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    before = PillowImage.fromarray(grid if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    after = np.asarray(transform.apply(before)).astype(np.int16)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= _SAME_LSB)


def _from_lab(picture: PillowImage.Image) -> PillowImage.Image:
    return _build(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB").apply(picture)


def _eight_bit(picture: PillowImage.Image, options: DecodeOptions) -> PillowImage.Image:
    """Return a grey picture of 16 or 32 bit or of floats in mode L."""
    values = np.asarray(picture)
    # Pillow gives 16-bit PGM, and nothing else of 16 bit without a sign, in mode I.
    is_sixteen_bit = picture.mode in _SIXTEEN_BIT_MODES or (picture.mode == "I" and picture.format == "PPM")
    if is_sixteen_bit and options.intensity == "shift":
        return PillowImage.fromarray((values >> 8).astype(np.uint8))
    return PillowImage.fromarray(_stretched(values))


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return values mapped linearly from [smallest, largest] to [0, 255]; a flat picture becomes 0."""
    low, high = float(np.min(values)), float(np.max(values))
    if not np.isfinite([low, high]).all():
        raise Reject(RejectReason.NON_FINITE, "the picture holds NaN or infinity")
    out = np.zeros(values.shape, np.uint8)
    if high > low:
        for row in range(0, len(values), _ROWS_AT_ONCE):
            rows = values[row : row + _ROWS_AT_ONCE].astype(np.float64)
            out[row : row + _ROWS_AT_ONCE] = ((rows - low) * (255 / (high - low)) + 0.5).astype(np.uint8)
    return out
