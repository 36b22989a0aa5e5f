"""Images from bytes: what is decoded, how, and what each kind of damage is called."""

from __future__ import annotations

import io
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageFile
from unlabeled.pipeline.decode.image import decode_image
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Reject, RejectReason
from unlabeled.pipeline.items import Image

from tests import broken_media

LIMITS, STRICT, LENIENT = Limits(), DecodeOptions(), DecodeOptions(truncated="decode")


def decode(data: bytes, options: DecodeOptions = STRICT, limits: Limits = LIMITS) -> Image:
    return decode_image(data, limits, options)


def reason(data: bytes, options: DecodeOptions = STRICT, limits: Limits = LIMITS) -> RejectReason:
    with pytest.raises(Reject) as caught:
        decode(data, options, limits)
    assert caught.value.message
    assert " at 0x" not in caught.value.message
    return caught.value.reason


@pytest.mark.parametrize("kind", sorted(broken_media.SOUND))
def test_every_allowed_format_decodes(kind: str) -> None:
    image = decode(broken_media.SOUND[kind]())
    expected = np.asarray(broken_media.picture()).astype(int)
    assert (image.codec, image.media_kind, image.is_truncated, image.exif_orientation) == (kind, "image", False, 0)
    assert image.pixels.dtype == np.uint8
    assert not image.pixels.flags.writeable
    assert np.abs(image.pixels - expected).mean() < 20


def test_two_pictures_in_a_jpeg_are_a_jpeg() -> None:
    both = broken_media.encoded(
        broken_media.picture(), "MPO", save_all=True, append_images=[broken_media.picture("L").convert("RGB")]
    )
    assert decode(both).codec == "jpeg"


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_stands_for_an_animation(image_format: str) -> None:
    assert (decode(broken_media.animated(image_format)).pixels == 255).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"\0" * 100, "unidentified"),
        (b"just some text", "unidentified"),
        (broken_media.html(), "format_not_allowed"),
        (broken_media.eps(), "format_not_allowed"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "format_not_allowed"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "format_not_allowed"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "format_not_allowed"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\x89PNG\r\n\x1a\n" + broken_media.png_chunk(b"IEND", b""), "corrupt"),
        (b"II*\0\xff\xff\xff\xff", "corrupt"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:12].hex(),
)  # fmt: skip
def test_what_is_no_image_is_named(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("kind", sorted(broken_media.SOUND))
@pytest.mark.parametrize("fraction", [0.5, 0.9])
def test_a_cut_image_is_truncated(kind: str, fraction: float) -> None:
    assert reason(broken_media.cut(broken_media.SOUND[kind](), fraction)) == "truncated"


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff", "ppm"])
def test_a_cut_image_is_decoded_as_far_as_it_goes_on_request(kind: str) -> None:
    whole = broken_media.SOUND[kind]()
    image, expected = decode(broken_media.cut(whole, 0.8), LENIENT), decode(whole).pixels
    assert image.is_truncated
    first_rows = slice(-16, None) if kind == "bmp" else slice(16)  # BMP begins at the bottom
    assert np.array_equal(image.pixels[first_rows], expected[first_rows])
    assert not np.array_equal(image.pixels, expected)


def test_asking_for_truncated_images_does_not_change_others() -> None:
    decode(broken_media.cut(broken_media.jpeg()), LENIENT)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert reason(broken_media.cut(broken_media.jpeg())) == "truncated"
    assert not decode(broken_media.jpeg(), LENIENT).is_truncated


def test_a_progressive_jpeg_that_ends_early_is_truncated() -> None:
    assert reason(broken_media.cut(broken_media.jpeg(progressive=True), 0.7)) == "truncated"


def test_a_damaged_checksum_before_the_end_is_corrupt() -> None:
    data = bytearray(broken_media.encoded(broken_media.picture(), "PNG"))
    data[29] ^= 0xFF  # the header's checksum
    assert reason(bytes(data)) == "corrupt"


@pytest.mark.parametrize(("width_px", "height_px"), [(10_001, 10_000), (20_000, 20_000)])
def test_a_bomb_is_refused_before_it_is_decoded(width_px: int, height_px: int) -> None:
    bomb = broken_media.png_bomb(width_px, height_px)
    assert len(bomb) < 60_000
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason(bomb) == "limit_pixels"
    assert time.process_time() - started < 0.2


def test_the_limit_of_pixels_is_exact() -> None:
    data = broken_media.encoded(broken_media.picture(width_px=30, height_px=20), "BMP")
    assert decode(data, limits=Limits(max_pixels=600)).pixels.shape == (20, 30, 3)
    assert reason(data, limits=Limits(max_pixels=599)) == "limit_pixels"
    assert reason(data, limits=Limits(max_side_px=29)) == "limit_pixels"


def test_too_many_bytes_are_refused() -> None:
    assert reason(broken_media.jpeg(), limits=Limits(max_image_bytes=100)) == "limit_bytes"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
def test_orientation_is_applied_and_recorded(orientation: int, image_format: str) -> None:
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    stored = decode(broken_media.with_orientation(1, image_format, **lossless)).pixels
    image = decode(broken_media.with_orientation(orientation, image_format, **lossless))
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1), 7: np.rot90(stored, 2).transpose(1, 0, 2), 8: np.rot90(stored, 1),
    }[orientation]  # fmt: skip
    assert image.exif_orientation == orientation or (image_format, orientation) == ("AVIF", 1)  # says nothing of 1
    assert np.array_equal(image.pixels, upright)


@pytest.mark.parametrize(
    "data",
    [broken_media.with_orientation(0), broken_media.with_orientation(9), broken_media.with_orientation(65_537),
     broken_media.with_orientation_as_bytes(), broken_media.with_broken_exif()],
    ids=["0", "9", "65537", "bytes", "broken"],
)  # fmt: skip
def test_a_senseless_orientation_is_no_failure(data: bytes) -> None:
    image = decode(data)
    assert image.exif_orientation == 0
    assert np.array_equal(image.pixels, decode(broken_media.with_orientation(1)).pixels)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "P", "LA", "I;16"])
def test_other_modes_come_out_as_rgb(mode: str) -> None:
    data = {
        "CMYK": lambda: broken_media.encoded(broken_media.picture("CMYK"), "JPEG"),
        "I;16": broken_media.sixteen_bit,
    }.get(mode, lambda: broken_media.encoded(broken_media.picture(mode), "PNG"))()
    assert PillowImage.open(io.BytesIO(data)).mode == mode
    assert decode(data).pixels.shape[2] == 3


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(broken_media.SOUND)), st.integers(0, 2**32), st.integers(1, 40), st.booleans())
def test_damage_gives_pixels_or_a_reason_and_twice_the_same(
    kind: str, seed: int, num_bits: int, is_lenient: bool
) -> None:
    data = broken_media.flipped(_whole(kind), seed, num_bits)
    limits = Limits(max_pixels=1_000_000)
    options = LENIENT if is_lenient else STRICT
    assert _outcome(data, options, limits) == _outcome(data, options, limits)


def _outcome(data: bytes, options: DecodeOptions, limits: Limits) -> object:
    try:
        image = decode(data, options, limits)
    except Reject as reject:
        return reject.reason, reject.message
    assert image.pixels.dtype == np.uint8
    return image.pixels.shape, image.pixels.tobytes()


_WHOLE: dict[str, bytes] = {}


def _whole(kind: str) -> bytes:
    return _WHOLE.setdefault(kind, broken_media.SOUND[kind]())
