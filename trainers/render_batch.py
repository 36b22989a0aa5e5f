"""Recipes followed: a column of a batch made of the stored crops and parameters of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from ..pipeline.errors import CorruptData
from ..pipeline.features import Features
from ..pipeline.rendering import CROP, Rendering
from .decode_batch import Piece, decode_column, decode_picture, map_chunks, media_in_order, stacked


def render_column(
    stored: Features, rendering: Rendering, pieces_of: Callable[[str], Sequence[Piece]], pool: Executor
) -> Any:
    """Return the column that `rendering` makes: uint8 [num_rows, *lists, height, width, 3], a list where sizes differ.

    A crop that several rows of the batch have in common is decoded once.

    Args:
        stored: columns of the rows.
        rendering: how one is made of them.
        pieces_of: the rows of a stored column.
        pool: where pictures are decoded.

    Raises:
        CorruptData: a crop cannot be decoded, or its parameters do not fit it, though checksums are right.
    """
    pieces = pieces_of(CROP)
    cells = [bytes(cell) for cell in media_in_order(pieces)]
    arguments = [decode_column(name, stored[name], pieces_of(name), pool)[name] for name in rendering.arguments]
    try:
        distinct = list(dict.fromkeys(cells))
        decoded = map_chunks(pool, decode_picture, [memoryview(cell) for cell in distinct])
        crops = dict(zip(distinct, decoded, strict=True))
        made = [
            rendering.apply({CROP: crops[cell], **dict(zip(rendering.arguments, values, strict=True))})
            for cell, *values in zip(cells, *arguments, strict=True)
        ]
    except (OSError, RuntimeError, SyntaxError, ValueError) as error:
        places = ", ".join(sorted({piece.name() for piece in pieces}))
        raise CorruptData(f"a recipe of one of {places} cannot be followed: {error}") from error
    return stacked(made)
