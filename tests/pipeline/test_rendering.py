"""Examples made of a stored crop and parameters."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.encode import decode_still, encode_png, encode_values
from unlabeled.pipeline.errors import ConfigError, CorruptData
from unlabeled.pipeline.features import Features, class_label, image, value
from unlabeled.pipeline.rendering import CROP, Rendering

from tests.samples import photograph

TURN = Rendering("image", image("turned"), "quarter_turn", ("label",))
STORED = Features.of(crop=image("upright", encoding="png"), label=class_label(("0", "90"), "turns"))
PICTURE = photograph(0, 12, 12)


def row(**changes: Any) -> dict[str, Any]:
    return {**encode_values(STORED, {"crop": PICTURE, "label": 1}), "example_id": "e1", **changes}


def test_the_function_is_given_crop_and_arguments() -> None:
    assert np.array_equal(TURN.apply({"crop": PICTURE, "label": 1}), np.rot90(PICTURE))


def test_the_made_column_stands_where_the_crop_stood() -> None:
    assert [name for name, _ in TURN.seen(STORED)] == ["image", "label"]
    assert TURN.seen(STORED)["image"] == TURN.feature


def test_a_stored_row_becomes_an_example_without_loss() -> None:
    made = TURN.row(STORED, row())
    assert list(made) == ["image", "label", "example_id"]
    assert np.array_equal(decode_still(made["image"]["bytes"]), np.rot90(PICTURE))


def test_a_list_of_pictures_is_made_too() -> None:
    places = Features.of(
        crop=image("", encoding="png"),
        top=value("int16", "parameter", "", shape=(3,)),
        left=value("int16", "parameter", "", shape=(3,)),
        mode=value("string", "parameter", ""),
    )
    cut = Rendering("tiles", image("", shape=(1,)), "cut_tiles", ("top", "left", "mode"), {"tile_px": 4})
    stored = encode_values(places, {"crop": PICTURE, "top": [2] * 3, "left": [3] * 3, "mode": "color"})
    (tile,) = cut.row(places, stored)["tiles"]
    assert np.array_equal(decode_still(tile["bytes"]), PICTURE[2:6, 3:7])


def test_it_travels_in_a_manifest() -> None:
    assert Rendering.from_json(json.loads(json.dumps(TURN.to_json()))) == TURN


def test_an_unknown_function_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"but is 'quarter_turns'.*quarter_turn"):
        Rendering.from_json({**TURN.to_json(), "function": "quarter_turns"})


@pytest.mark.parametrize("data", [b"no picture", encode_png(PICTURE)[:40]])
def test_a_crop_that_is_no_picture_is_named_with_its_example(data: bytes) -> None:
    with pytest.raises(CorruptData, match="example e1: its recipe cannot be followed"):
        TURN.row(STORED, row(**{CROP: {"bytes": data, "path": None}}))
