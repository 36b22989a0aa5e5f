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
    grey = np.repeat(samples.photograph(3, 160, 160).mean(axis=2)[..., None], 3, axis=2)
    shifted = grey.copy()
    shifted[:, 1:, 0] = 0.7 * grey[:, 1:, 0] + 0.3 * grey[:, :-1, 0]
    red_x, red_y = chroma(pictures(np.rint(shifted).astype(np.uint8)))[:2]
    assert 0.2 < red_x < 0.4
    assert abs(red_y) < 0.05


def test_subsampled_chroma_is_coarser_in_one_direction() -> None:
    halved = np.asarray(Image.fromarray(PHOTOGRAPH).convert("YCbCr")).copy()
    halved[:, 1::2, 1:] = halved[:, ::2, 1:]
    red = chroma(pictures(np.asarray(Image.fromarray(halved, "YCbCr").convert("RGB"))))[2:4]
    assert red[0] < red[1] - 0.1


def test_edges_between_colours_are_no_shift() -> None:
    """A bright blue sky spreads over a dark field in blue alone: that is seen, not captured."""
    rng = np.random.default_rng(0)
    sky = np.where(np.arange(128)[:, None, None] < 64 + rng.integers(-6, 7, (1, 128, 1)), (90, 150, 250), (60, 80, 30))
    assert np.abs(chroma(pictures(sky.astype(np.uint8)))[[0, 1, 4, 5]]).max() < 0.02


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
