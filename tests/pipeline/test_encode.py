from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile
from unlabeled.pipeline.encode import (
    cell_encoder,
    decode_cell,
    decode_flac,
    decode_still,
    encode_flac,
    encode_jpeg,
    encode_png,
    encode_turnable_jpeg,
    encode_values,
)
from unlabeled.pipeline.features import Features, audio, box, class_label, image, value

from tests.samples import photograph

#: Pixels of an upright picture whose height differs from its width.
PIXELS = photograph(1, 48, 32)
VIEWS = {
    "turned by 90": np.rot90(PIXELS),
    "turned by 180": np.rot90(PIXELS, 2),
    "turned by 270": np.rot90(PIXELS, 3),
    "turned twice": np.rot90(np.rot90(PIXELS)),
    "turned back": np.rot90(np.rot90(PIXELS), -1),
    "turned square": np.rot90(photograph(2, 32, 32)),
    "turned one row": np.rot90(PIXELS[:1].copy()),
    "turned one column": np.rot90(PIXELS[:, :1].copy(), 3),
    "turned crop": np.rot90(PIXELS[3:20, 5:30]),
    "turned crop of all rows": np.rot90(PIXELS[:, 5:30]),
    "mirrored": PIXELS[:, ::-1],
    "upside down": PIXELS[::-1],
    "transposed": PIXELS.transpose(1, 0, 2),
    "mirrored along the other diagonal": PIXELS[::-1, ::-1].transpose(1, 0, 2),
    "every second": PIXELS[::2, ::2],
    "every second, turned": np.rot90(PIXELS[::2, ::2]),
    "channels reversed": PIXELS[..., ::-1],
    "channels reversed, turned": np.rot90(PIXELS[..., ::-1]),
    "channels first": np.ascontiguousarray(PIXELS.transpose(2, 0, 1)).transpose(1, 2, 0),
    "repeated": np.broadcast_to(PIXELS[:1], PIXELS.shape),
    "of other numbers": np.rot90(PIXELS.view(np.int8).copy().view(np.uint8)),
    "from bytes": np.rot90(np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape)),
    "Fortran order": np.asfortranarray(PIXELS),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_encoded_like_its_copy(name: str) -> None:
    view = VIEWS[name]
    copy = np.array(view, order="C")
    assert encode_png(view) == encode_png(copy)
    assert encode_jpeg(view) == encode_jpeg(copy)


_STEPS = st.sampled_from([None, 1, -1, 2, -2])


@settings(max_examples=200)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    _STEPS,
    _STEPS,
    st.sampled_from([None, -1]),
    st.permutations([0, 1]),
    st.integers(0, 3),
)
def test_any_view_of_pixels_is_encoded_like_its_copy(
    shape: tuple[int, int], rows: int | None, columns: int | None, channels: int | None, axes: list[int], turns: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    view = np.rot90(pixels[::rows, ::columns, ::channels].transpose(*axes, 2), turns)
    assert np.array_equal(decode_still(encode_png(view)), view)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_png_is_exact(pixels: NDArray[np.uint8]) -> None:
    assert np.array_equal(decode_still(encode_png(pixels)), pixels)


def test_jpeg_is_near_keeps_colour_and_carries_nothing_else() -> None:
    data = encode_jpeg(PIXELS)
    decoded = decode_still(data)
    assert np.abs(decoded.astype(int) - PIXELS).mean() < 5
    with PillowImage.open(io.BytesIO(data)) as picture:
        # Sampling factors of the three components: 4:4:4.
        assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3
        assert set(picture.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_nothing_but_stills_is_decoded() -> None:
    file = io.BytesIO()
    PillowImage.fromarray(PIXELS).save(file, "GIF")
    with pytest.raises(OSError, match="cannot identify"):
        decode_still(file.getvalue())


@given(arrays(np.int16, st.integers(1, 300)), st.sampled_from([8000, 16000, 44100]))
def test_flac_is_exact_for_16_bit_samples(samples: NDArray[np.int16], rate_hz: int) -> None:
    sound = samples.astype(np.float32) / np.float32(32768)
    decoded = decode_flac(encode_flac(sound, rate_hz))
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, sound)


def test_every_16_bit_value_survives() -> None:
    sound = np.arange(-32768, 32768).astype(np.float32) / np.float32(32768)
    assert np.array_equal(decode_flac(encode_flac(sound, 16000)), sound)


def test_full_scale_clips_and_halves_round_to_even() -> None:
    sound = np.array([1.0, -1.0, 0.5 / 32768, 1.5 / 32768, 2.5 / 32768], np.float32)
    assert (decode_flac(encode_flac(sound, 16000)) * 32768).tolist() == [32767, -32768, 0, 2, 2]


def test_flac_has_the_declared_rate_and_one_channel() -> None:
    info = soundfile.info(io.BytesIO(encode_flac(np.zeros(100, np.float32), 22050)))
    assert (info.format, info.subtype, info.samplerate, info.channels, info.frames) == (
        "FLAC",
        "PCM_16",
        22050,
        1,
        100,
    )


CELLS: list[tuple[Any, Any]] = [
    (image("", encoding="png"), PIXELS),
    (image("", encoding="png", shape=(2,)), [PIXELS, PIXELS[::-1]]),
    (audio("", sample_rate_hz=8000), np.array([0.5, -0.25], np.float32)),
    (audio("", sample_rate_hz=8000, shape=(1, None)), [[np.array([0.5], np.float32)] * 2]),
    (box(""), (1, 2, 3, 4)),
    (box("", shape=(None,)), [(1, 2, 3, 4), (5, 6, 7, 8)]),
    (value("float32", "label", ""), 0.5),
    (value("string", "label", ""), "x"),
    (value("binary", "label", ""), b"x"),
    (value("int32", "label", "", shape=(2, None)), [[1], [2, 3]]),
    (class_label(("a", "b"), ""), 1),
]


@pytest.mark.parametrize(("feature", "found"), CELLS)
def test_a_cell_is_decoded_to_the_value(feature: Any, found: Any) -> None:
    cell = cell_encoder(feature)(found)
    np.testing.assert_equal(decode_cell(feature, cell), found)


def test_cells_are_plain_values() -> None:
    features = Features.of(a=value("int64", "label", ""), b=value("float32", "label", "", shape=(2,)), c=box(""))
    cells = encode_values(
        features, {"a": np.int16(3), "b": np.array([0.5, 1], np.float32), "c": np.array([1, 2, 3, 4])}
    )
    assert cells == {"a": 3, "b": [0.5, 1.0], "c": {"x": 1, "y": 2, "w": 3, "h": 4}}
    assert [type(cells["a"]), type(cells["b"][0]), type(cells["c"]["x"])] == [int, float, int]


def test_the_encoding_is_the_features() -> None:
    assert cell_encoder(image("", encoding="jpeg"))(PIXELS) == {"bytes": encode_jpeg(PIXELS), "path": None}
    assert cell_encoder(image("", encoding="png"))(PIXELS) == {"bytes": encode_png(PIXELS), "path": None}


def test_an_empty_cell_stays_empty() -> None:
    assert decode_cell(image(""), None) is None


def test_a_turnable_jpeg_has_tables_that_are_their_own_transposes() -> None:
    with JpegImageFile(io.BytesIO(encode_turnable_jpeg(photograph(0, 32, 32)))) as picture:
        tables = [np.reshape(table, (8, 8)) for table in picture.quantization.values()]
    assert len(tables) == 2
    assert all(np.array_equal(table, table.T) for table in tables)
