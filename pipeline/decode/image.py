"""Still images by Pillow: from bytes to an upright sRGB picture, or a typed reject.

Formats: JPEG (and MPO), PNG, WebP, GIF, BMP, TIFF, AVIF and PPM/PGM/PBM/PFM. Everything else is `format_not_allowed`
where its magic number is known and `unidentified` where not: each further format is more code that untrusted bytes
reach, and EPS would run Ghostscript. A picture is usable if all of its pixels decode; the first frame stands for an
animation. Pillow's draft mode is never used: it would make pixels depend on the size asked for.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import AvifImagePlugin, ExifTags, ImageCms, ImageFile, UnidentifiedImageError
from PIL import Image as PillowImage

from ..errors import Reject, RejectReason
from ..items import Image
from ..resample import Box
from .image_rgb import split_profile
from .limits import DecodeOptions, Limits
from .sniff import ends_early, sniff

#: Pillow's names, the commonest first. MPO is what its JPEG reader makes of two-picture JPEGs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
CODECS = frozenset(name.lower() for name in FORMATS)
_CODEC_OF = {"MPO": "jpeg"}

#: What Pillow raises on files that are damaged: seen on real ones, whatever its documentation says.
DAMAGE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    BufferError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
)
_TRUNCATED = re.compile(r"truncated|unexpected end|end of file|\bEOF\b|not enough (image )?data|buffer is not large")
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unknown (compression|pixel|photometric|data)|not implemented", re.I
)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

_TURNS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}

#: Bytes move between threads' cores otherwise, and the pixels' time with them: decoders run on one thread.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_lenient_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture as Pillow holds it, upright, and what goes to the lineage columns.

    `colours` are in mode RGB and sRGB, or still those that `profile` turns into that.
    """

    colours: PillowImage.Image
    profile: ImageCms.ImageCmsTransform | None
    codec: str
    exif_orientation: int
    is_truncated: bool

    def rgb(self, box: Box | None = None) -> PillowImage.Image:
        """Return the picture, or a box that lies within it, in mode RGB, sRGB."""
        part = self.colours
        if box is not None:
            x, y, width, height = box
            part = part.crop((x, y, x + width, y + height))
        return part if self.profile is None else self.profile.apply(part)


def decode_image(data: bytes, limits: Limits, options: DecodeOptions) -> Image:
    """Return the picture in `data` as uint8 [height, width, 3], sRGB, upright, read-only; decoded in this process.

    Raises Reject as `open_picture` does.
    """
    picture = open_picture(data, limits, options)
    pixels = np.asarray(picture.rgb())
    pixels.flags.writeable = False
    return Image(
        media_kind="image",
        codec=picture.codec,
        exif_orientation=picture.exif_orientation,
        is_truncated=picture.is_truncated,
        pixels=pixels,
    )


def open_picture(data: bytes, limits: Limits, options: DecodeOptions) -> Picture:
    """Return the picture in `data`, all of it decoded.

    Raises:
        Reject: empty, limit_bytes, limit_pixels, unidentified, format_not_allowed, truncated, corrupt, non_finite,
            unsupported_feature, decoder_memory.
    """
    if not data:
        raise Reject(RejectReason.EMPTY, "0 bytes")
    if len(data) > limits.max_image_bytes:
        raise Reject(RejectReason.LIMIT_BYTES, f"{len(data)} bytes > {limits.max_image_bytes}")
    with warnings.catch_warnings():
        # Pillow warns of metadata that it could not read and of pictures that our own limit judges.
        warnings.simplefilter("ignore")
        try:
            return _decode(data, limits, options, is_truncated=False)
        except Reject as reject:
            if options.truncated != "decode" or reject.reason is not RejectReason.TRUNCATED:
                raise
        with _lenient():
            return _decode(data, limits, options, is_truncated=True)


def _decode(data: bytes, limits: Limits, options: DecodeOptions, *, is_truncated: bool) -> Picture:
    try:
        picture = PillowImage.open(io.BytesIO(data), formats=FORMATS)
        _check_size(picture.size, limits)
        orientation = _tiff_orientation(picture)
        picture.load()
        _check_size(picture.size, limits)  # what a header declared and what was there may differ
        colours, profile = split_profile(picture, options)
        if orientation is None:
            orientation = _exif_orientation(picture)
            colours = colours.transpose(_TURNS[orientation]) if orientation in _TURNS else colours
    except Reject:
        raise
    except PillowImage.DecompressionBombError as error:
        # Pillow's own limit, for readers that take memory before we can ask for the size.
        raise Reject(RejectReason.LIMIT_PIXELS, "declares far more pixels than allowed") from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except MemoryError as error:
        raise Reject(RejectReason.DECODER_MEMORY, "the decoder ran out of memory") from error
    except DAMAGE_ERRORS as error:
        raise _damaged(data, error) from error
    codec = _CODEC_OF.get(picture.format or "", (picture.format or "").lower())
    return Picture(
        colours=colours,
        profile=profile,
        codec=codec,
        exif_orientation=orientation,
        is_truncated=is_truncated,
    )


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width_px, height_px = size
    if width_px * height_px > limits.max_pixels:
        raise Reject(RejectReason.LIMIT_PIXELS, f"{width_px} x {height_px} px > {limits.max_pixels} px")
    if max(width_px, height_px) > limits.max_side_px:
        raise Reject(RejectReason.LIMIT_PIXELS, f"{width_px} x {height_px} px: a side > {limits.max_side_px} px")


def _tiff_orientation(picture: PillowImage.Image) -> int | None:
    """Return the orientation of a TIFF, which Pillow turns upright itself while loading; None for other formats."""
    if picture.format != "TIFF":
        return None
    return _valid_orientation(getattr(picture, "tag_v2", {}).get(ExifTags.Base.Orientation))


def _exif_orientation(picture: PillowImage.Image) -> int:
    """Return the EXIF orientation 1 to 8; 0 where there is none, or it is broken: that spoils no pixel."""
    try:
        return _valid_orientation(picture.getexif().get(ExifTags.Base.Orientation))
    except DAMAGE_ERRORS:
        return 0


def _valid_orientation(found: object) -> int:
    return found if isinstance(found, int) and 1 <= found <= 8 else 0


def _unidentified(data: bytes) -> Reject:
    """Return the verdict on bytes that no allowed reader took."""
    kind = sniff(data)
    if kind is None:
        return Reject(RejectReason.UNIDENTIFIED, "not an image of any known format")
    if kind not in CODECS:
        return Reject(RejectReason.FORMAT_NOT_ALLOWED, kind)
    if ends_early(kind, data):
        return Reject(RejectReason.TRUNCATED, f"{kind} ends within its header", offset_bytes=len(data))
    return Reject(RejectReason.CORRUPT, f"{kind} with a broken header")


def _damaged(data: bytes, error: BaseException) -> Reject:
    """Return the verdict on an image whose reader failed with `error`."""
    message = _ADDRESS.sub("", f"{type(error).__name__}: {error}")
    kind = sniff(data) or ""
    if isinstance(error, EOFError) or _TRUNCATED.search(str(error)) or ends_early(kind, data):
        return Reject(RejectReason.TRUNCATED, message, offset_bytes=len(data))
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(str(error)):
        return Reject(RejectReason.UNSUPPORTED_FEATURE, message)
    return Reject(RejectReason.CORRUPT, message)


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """Let Pillow decode truncated files; its switch is global, so it is set for one decode at a time."""
    with _lenient_lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
