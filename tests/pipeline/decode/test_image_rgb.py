"""From whatever Pillow decodes to 8-bit sRGB."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageCms
from unlabeled.pipeline.decode.image import decode_image, open_picture
from unlabeled.pipeline.decode.image_rgb import split_profile
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Reject, RejectReason

from tests import broken_media

SHIFT, MINMAX = DecodeOptions(), DecodeOptions(intensity="minmax")


def pixels(data: bytes, options: DecodeOptions = SHIFT) -> np.ndarray:
    return decode_image(data, Limits(), options).pixels.astype(np.int16)


def to_rgb(picture: PillowImage.Image, options: DecodeOptions = SHIFT) -> PillowImage.Image:
    colours, profile = split_profile(picture, options)
    assert profile is None
    return colours


def test_rgb_without_a_profile_is_the_same_object() -> None:
    picture = broken_media.picture()
    assert to_rgb(picture) is picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "CMYK", "YCbCr", "HSV", "RGBA", "RGBa", "RGBX", "LAB"])
def test_every_mode_becomes_rgb_and_keeps_its_colours(mode: str) -> None:
    rgb = broken_media.picture()
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    elif mode in ("PA", "RGBa"):
        picture = rgb.convert("P" if mode == "PA" else "RGBA").convert(mode)
    else:
        picture = rgb.convert(mode)
    assert picture is not None
    got = to_rgb(picture)
    assert got.mode == "RGB"
    expected = picture.convert("L").convert("RGB") if mode in ("1", "L", "LA") else rgb
    tolerance = {"P": 20, "PA": 20}.get(mode, 2)
    assert np.abs(np.asarray(got).astype(int) - np.asarray(expected)).mean() <= tolerance


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    expected = (broken_media.sixteen_bit_values() >> 8).astype(np.uint8)
    for image_format in ("PNG", "TIFF", "PPM"):
        got = pixels(broken_media.sixteen_bit(image_format))
        assert np.array_equal(got, np.repeat(expected[..., None], 3, axis=2)), image_format


def test_sixteen_bit_grey_is_stretched_on_request() -> None:
    values = broken_media.sixteen_bit_values().astype(np.float64)
    got = pixels(broken_media.sixteen_bit(), MINMAX)[..., 0]
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got - values * 255 / 4095).max() <= 0.5


@pytest.mark.parametrize("options", [SHIFT, MINMAX])
def test_floats_are_always_stretched(options: DecodeOptions) -> None:
    got = pixels(broken_media.float_tiff(), options)[..., 0]
    assert np.array_equal(got.ravel(), np.floor(np.linspace(0, 255, 1024) + 0.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_no_number_is_a_reject(bad: float) -> None:
    values = np.zeros((8, 8), np.float32)
    values[2, 3] = bad
    with pytest.raises(Reject) as caught:
        to_rgb(PillowImage.fromarray(values))
    assert caught.value.reason is RejectReason.NON_FINITE


def test_a_flat_wide_picture_is_black() -> None:
    assert not np.asarray(to_rgb(PillowImage.fromarray(np.full((4, 4), 7, np.int32)), MINMAX)).any()


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparency_shows_white(mode: str) -> None:
    got = pixels(broken_media.see_through(mode))
    assert (got[:, :4] == (255, 0, 0)).all()
    assert (got[:, 4:] == 255).all()


def test_a_transparent_colour_of_a_plain_picture_shows_white() -> None:
    picture = PillowImage.new("RGB", (4, 4), (0, 255, 0))
    picture.putpixel((0, 0), (9, 9, 9))
    got = pixels(broken_media.encoded(picture, "PNG", transparency=(0, 255, 0)))
    assert (got[0, 0] == 9).all()
    assert (got[1:] == 255).all()


def test_a_profile_is_applied() -> None:
    plain, turned = broken_media.encoded(broken_media.picture(), "JPEG", quality=95), broken_media.swapped_profile()
    difference = pixels(broken_media.with_profile(turned))[..., ::-1] - pixels(plain)
    assert np.abs(difference).mean() < 3
    assert np.abs(difference).max() < 40


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_box_of_a_picture_with_a_profile_is_that_box_of_the_whole(orientation: int) -> None:
    data = broken_media.with_orientation(orientation, quality=95, icc_profile=broken_media.swapped_profile())
    picture = open_picture(data, Limits(), SHIFT)
    x, y, width, height = box = (5, 3, 20, 9)
    assert picture.profile is not None
    assert np.array_equal(np.asarray(picture.rgb(box)), pixels(data)[y : y + height, x : x + width])


def test_a_profile_of_srgb_changes_nothing() -> None:
    plain = broken_media.encoded(broken_media.picture(), "JPEG", quality=95)
    assert np.array_equal(pixels(broken_media.with_profile(broken_media.srgb_profile())), pixels(plain))


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (b"not a profile", "RGB"),
        (broken_media.srgb_profile()[:200], "RGB"),
        (broken_media.swapped_profile(), "CMYK"),
        (broken_media.swapped_profile(), "L"),
    ],
    ids=["rubbish", "cut", "RGB for CMYK", "RGB for grey"],
)
def test_a_profile_that_does_not_fit_is_ignored(profile: bytes, mode: str) -> None:
    plain = broken_media.encoded(broken_media.picture(mode), "JPEG", quality=95)
    assert np.array_equal(pixels(broken_media.with_profile(profile, mode)), pixels(plain))


def test_a_profile_is_applied_before_transparency_is_laid_over_white() -> None:
    picture = PillowImage.new("RGBA", (8, 8), (255, 0, 0, 128))
    got = pixels(broken_media.encoded(picture, "PNG", icc_profile=broken_media.swapped_profile()))[0, 0]
    assert got[2] > 245
    assert abs(got[0] - 127) < 12
