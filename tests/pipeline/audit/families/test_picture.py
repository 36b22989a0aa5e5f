from __future__ import annotations

import io

import numpy as np
from PIL import Image
from unlabeled.pipeline.audit.families.picture import borders, chroma, grid_phase, layout, noise
from unlabeled.pipeline.audit.seen import Still
from unlabeled.pipeline.encode import decode_still, encode_png

from tests import samples
from tests.pipeline.audit.families.drawn import pictures

PHOTOGRAPH = samples.photograph(3, 160, 160)


def _through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    return decode_still(file.getvalue())


def test_the_grid_of_an_old_jpeg_shows_where_it_lies_and_turns_with_the_picture() -> None:
    """Cut 3 px into a block, borders of blocks lie after every column 4, 12, 20, ..."""
    cut = np.ascontiguousarray(_through_jpeg(PHOTOGRAPH, 30)[:, 3:131])
    columns = grid_phase(pictures(cut))[:8]
    assert int(np.argmax(columns)) == 3
    turned = grid_phase(pictures(np.ascontiguousarray(np.rot90(cut))))
    assert int(np.argmax(turned[:8])) == 6
    assert turned[8:].max() == np.max(turned)


def test_only_black_bars_are_borders() -> None:
    sky = PHOTOGRAPH.copy()
    sky[:40] = (120, 160, 220)
    barred = PHOTOGRAPH.copy()
    barred[:16] = 0
    assert not borders(pictures(sky)).any()
    told = borders(pictures(barred))
    assert told[1] == np.float32(0.1)
    assert told[2] == np.float32(0.1)


def test_a_shifted_channel_is_measured_in_pixels() -> None:
    plane = PHOTOGRAPH.mean(axis=2)
    grey = np.repeat(plane[..., None], 3, axis=2).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(grey).resize((640, 640), Image.Resampling.BICUBIC))
    shifted = smooth.copy()
    shifted[..., 0] = np.roll(smooth[..., 0], 1, axis=1)
    red_x, red_y = chroma(pictures(shifted))[1:3]
    assert red_x > 5 * abs(red_y)


def test_subsampled_chroma_is_coarser_in_one_direction() -> None:
    halved = np.asarray(Image.fromarray(PHOTOGRAPH).convert("YCbCr")).copy()
    halved[:, 1::2, 1:] = halved[:, ::2, 1:]
    red = chroma(pictures(np.asarray(Image.fromarray(halved, "YCbCr").convert("RGB"))))[6:8]
    assert red[0] < red[1] - 0.1


def test_noise_has_a_level_and_no_direction() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (np.clip(rng.normal(128, size, (64, 64, 3)), 0, 255).astype(np.uint8) for size in (2, 20))
    assert noise(Still(encode_png(quiet)))[0] < noise(Still(encode_png(loud)))[0]
    turned = noise(Still(encode_png(np.ascontiguousarray(np.rot90(loud)))))
    assert np.allclose(noise(Still(encode_png(loud))), turned, atol=1e-3)


def test_a_sky_above_shows_in_the_layout() -> None:
    upright = layout(pictures(PHOTOGRAPH))
    upside_down = layout(pictures(np.ascontiguousarray(PHOTOGRAPH[::-1])))
    assert np.allclose(upright[:9], upside_down[18:27], atol=6)
    assert not np.allclose(upright[:9], upside_down[:9], atol=6)
