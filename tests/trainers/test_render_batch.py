"""Columns of a batch that are made of stored crops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.features import Features, class_label, image
from unlabeled.pipeline.rendering import Rendering
from unlabeled.trainers import render_batch
from unlabeled.trainers.decode_batch import Piece, decode_picture
from unlabeled.trainers.render_batch import render_column

from tests.samples import photograph

TURN = Rendering("image", image("turned"), "quarter_turn", ("label",))
STORED = Features.of(crop=image("upright", encoding="png"), label=class_label(("0", "90", "180", "270"), "turns"))


def rendered(values: list[dict[str, Any]]) -> Any:
    """Return the column that is made of rows, the last of them first."""
    rows = [encode_values(STORED, one) for one in values]
    return rendered_rows(rows)


def rendered_rows(rows: list[dict[str, Any]]) -> Any:
    table = pa.Table.from_pylist(rows, STORED.arrow_schema())
    numbers = np.arange(len(rows))

    def pieces(name: str) -> list[Piece]:
        return [Piece("shard row group 0".format, table[name].combine_chunks(), numbers, numbers[::-1].copy())]

    with ThreadPoolExecutor(1) as pool:
        return render_column(STORED, TURN, pieces, pool)


def test_rows_are_turned_and_put_in_their_places() -> None:
    pictures = [photograph(seed, 16, 16) for seed in range(2)]
    made = rendered([{"crop": pictures[n // 4], "label": n % 4} for n in range(8)])
    assert made.shape == (8, 16, 16, 3)
    for n in range(8):
        assert np.array_equal(made[7 - n], np.rot90(pictures[n // 4], n % 4))


def test_a_crop_that_rows_share_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def counted(data: memoryview) -> Any:
        decoded.append(len(data))
        return decode_picture(data)

    monkeypatch.setattr(render_batch, "decode_picture", counted)
    picture = photograph(0, 16, 16)
    rendered([{"crop": picture, "label": n} for n in range(4)])
    assert len(decoded) == 1


def test_crops_of_different_size_come_as_a_list() -> None:
    made = rendered([{"crop": photograph(0, side, side), "label": 0} for side in (16, 32)])
    assert [one.shape for one in made] == [(32, 32, 3), (16, 16, 3)]


def test_a_crop_that_is_no_picture_is_told_with_its_row_group() -> None:
    with pytest.raises(CorruptData, match="one of shard row group 0"):
        rendered_rows([{"crop": {"bytes": b"none", "path": None}, "label": 0}])
