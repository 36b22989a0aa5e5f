"""Damaged, odd and hostile images, each made from nothing: what is wrong with it is the function's name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from tests.samples import photograph


def picture(mode: str = "RGB", width_px: int = 96, height_px: int = 64) -> PillowImage.Image:
    """Return a photograph in one of Pillow's 8-bit modes."""
    rgb = PillowImage.fromarray(photograph(0, width_px, height_px))
    return rgb if mode == "RGB" else rgb.convert(mode)


def encoded(image: PillowImage.Image, image_format: str, **options: Any) -> bytes:
    """Return the image as a file of `image_format`."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def jpeg(width_px: int = 96, height_px: int = 64, **options: Any) -> bytes:
    return encoded(picture("RGB", width_px, height_px), "JPEG", **{"quality": 90} | options)


def cut(data: bytes, fraction: float = 0.6) -> bytes:
    """Return the beginning of a file."""
    return data[: int(len(data) * fraction)]


def flipped(data: bytes, seed: int, num_bits: int = 1, first_byte: int = 0) -> bytes:
    """Return a file with some bits of it turned."""
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for place in rng.integers(first_byte * 8, len(data) * 8, num_bits):
        changed[place // 8] ^= 1 << (place % 8)
    return bytes(changed)


def html() -> bytes:
    return b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>"


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bomb(width_px: int, height_px: int) -> bytes:
    """Return a black 1-bit PNG: 100 megapixels in 12 kB, all of them really there."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width_px + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, body) for name, body in chunks)


def with_orientation(value: int, image_format: str = "JPEG", **options: Any) -> bytes:
    """Return a picture whose EXIF orientation is `value`, valid or not."""
    entry_type, packed = (3, struct.pack(">HH", value, 0)) if value < 1 << 16 else (4, struct.pack(">I", value))
    return _with_exif(struct.pack(">HHI", 0x0112, entry_type, 1) + packed, image_format, **options)


def with_orientation_as_bytes() -> bytes:
    return _with_exif(struct.pack(">HHI4s", 0x0112, 7, 4, b"\6\0\0\0"))


def _with_exif(entry: bytes, image_format: str = "JPEG", **options: Any) -> bytes:
    exif = b"Exif\0\0" + b"MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + bytes(4)
    return encoded(picture(), image_format, exif=exif, **options)


def with_broken_exif() -> bytes:
    return encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xa5" * 40)


def swapped_profile() -> bytes:
    """Return an ICC profile in which red and blue of sRGB have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    (num_tags,) = struct.unpack_from(">I", profile, 128)
    swapped = bytearray(profile)
    for place in range(132, 132 + 12 * num_tags, 12):
        name = bytes(swapped[place : place + 4])
        swapped[place : place + 4] = table.get(name, name)
    return bytes(swapped)


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_profile(profile: bytes, mode: str = "RGB") -> bytes:
    return encoded(picture(mode), "JPEG", quality=95, icc_profile=profile)


def sixteen_bit_values() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return a 12-bit ramp, as medical pictures have it, in 16 bit: uint16 [32, 128]."""
    return np.tile(np.linspace(0, 4095, 128).astype(np.uint16), (32, 1))


def sixteen_bit(image_format: str = "PNG") -> bytes:
    return encoded(PillowImage.fromarray(sixteen_bit_values()), image_format)


def float_tiff(*, with_nan: bool = False) -> bytes:
    values = np.linspace(-1, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    values[3, 5] = np.nan if with_nan else values[3, 5]
    return encoded(PillowImage.fromarray(values), "TIFF")


def see_through(mode: str = "RGBA") -> bytes:
    """Return a PNG, red on the left, fully transparent green on the right."""
    image = PillowImage.new("RGBA", (8, 4), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (4, 0, 8, 4))
    if mode == "P":
        paletted = PillowImage.new("P", (8, 4), 0)
        paletted.putpalette([255, 0, 0, 0, 255, 0])
        paletted.paste(1, (4, 0, 8, 4))
        return encoded(paletted, "PNG", transparency=1)
    return encoded(image.convert(mode), "PNG")


def animated(image_format: str = "GIF") -> bytes:
    """Return an animation whose frames are white, then black."""
    frames = [PillowImage.new("RGB", (16, 16), colour) for colour in ((255, 255, 255), (0, 0, 0))]
    return encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)


def eps() -> bytes:
    return encoded(picture(), "EPS")


#: Whole files of every allowed format.
SOUND: dict[str, Callable[[], bytes]] = {
    "jpeg": jpeg,
    "png": lambda: encoded(picture(), "PNG"),
    "webp": lambda: encoded(picture(), "WEBP"),
    "gif": lambda: encoded(picture("P"), "GIF"),
    "bmp": lambda: encoded(picture(), "BMP"),
    "tiff": lambda: encoded(picture(), "TIFF"),
    "avif": lambda: encoded(picture(), "AVIF"),
    "ppm": lambda: encoded(picture(), "PPM"),
}
