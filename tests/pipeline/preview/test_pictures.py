from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image as PillowImage
from unlabeled.pipeline.encode import encode_jpeg, encode_png
from unlabeled.pipeline.preview import pictures
from unlabeled.pipeline.sound import log_mel

from tests import samples


def opened(uri: str) -> PillowImage.Image:
    head, data = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return PillowImage.open(io.BytesIO(base64.b64decode(data)))


def test_a_small_stored_picture_goes_onto_the_page_as_it_is() -> None:
    stored = encode_png(samples.photograph(width_px=32, height_px=32))
    assert base64.b64decode(pictures.thumbnail(stored, 64).split(",")[1]) == stored


def test_a_large_stored_picture_is_reduced_in_proportion() -> None:
    stored = encode_jpeg(samples.photograph(width_px=400, height_px=200))
    assert opened(pictures.thumbnail(stored, 100)).size == (100, 50)


def test_hidden_places_are_covered_and_the_others_are_as_they_were() -> None:
    pixels = samples.photograph(width_px=32, height_px=16)
    mask = np.array([[True, False], [False, False]])
    covered = pictures.cover(pixels, mask)
    assert np.array_equal(covered[8:], pixels[8:])
    assert np.array_equal(covered[:, 16:], pixels[:, 16:])
    assert (covered[:8, :16] != pixels[:8, :16]).mean() > 0.9


def test_a_mask_of_a_bit_a_pixel_covers_exactly_these() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    mask = np.random.default_rng(0).random((4, 6)) < 0.5
    assert np.array_equal(pictures.cover(pixels, mask).any(axis=-1), mask)


def test_contrast_is_that_of_the_luma() -> None:
    grey = encode_jpeg(np.full((64, 64, 3), 90, np.uint8))
    assert pictures.contrast(grey) < 1 < pictures.contrast(encode_jpeg(samples.photograph()))


def test_low_notes_stand_at_the_bottom_of_a_spectrogram() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)).astype(np.float32)
    picture = PillowImage.open(io.BytesIO(pictures.spectrogram(log_mel(tone, 16000, num_mels=80))))
    assert picture.height == 80
    brightest = np.asarray(picture.convert("L")).sum(axis=1).argmax()
    assert brightest > 55


def test_hidden_patches_of_a_spectrogram_are_grey_and_the_others_are_not_changed() -> None:
    levels = log_mel(samples.waveform_item(seconds=1).clip(0, 16000), 16000, num_mels=64)
    hidden = np.zeros((32, 64), bool)
    hidden[:16, :32] = True
    plain, covered = (
        np.asarray(PillowImage.open(io.BytesIO(pictures.spectrogram(levels, mask))).convert("RGB"))
        for mask in (None, hidden)
    )
    assert set(np.unique(covered[32:, :16])) == {128, 190}
    assert np.array_equal(covered[:32], plain[:32])
    assert np.array_equal(covered[:, 16:], plain[:, 16:])


def test_a_sound_shorter_than_a_window_has_no_spectrogram() -> None:
    assert pictures.spectrogram(np.zeros((0, 80), np.float32)) == b""


@pytest.mark.parametrize(("width_px", "height_px"), [(40, 20), (7, 9)])
def test_size_is_width_and_height(width_px: int, height_px: int) -> None:
    assert pictures.size_px(encode_png(np.zeros((height_px, width_px, 3), np.uint8))) == (width_px, height_px)
