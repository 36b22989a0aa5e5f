"""Pure numpy functions shared by tasks and trainers: quarter turns, boxes, packed masks, tiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quarter_turn(pixels: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Return `pixels` [height, width, channels] turned counter-clockwise by `turns` * 90 degrees, contiguous.

    An exact permutation of pixels: no resampling, no fill.
    """
    return np.ascontiguousarray(np.rot90(pixels, turns))


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask as bits, row-major, least significant bit first; 1 = hidden."""
    return np.packbits(mask.ravel(), bitorder="little").tobytes()


def unpack_mask(bits: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of `shape` that `pack_mask` wrote; True = hidden.

    Raises ValueError where `bits` has another length than the shape needs.
    """
    size = int(np.prod(shape))
    if len(bits) != (size + 7) // 8:
        raise ValueError(f"a mask of {size} places needs {(size + 7) // 8} bytes, but has {len(bits)}.")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=size, bitorder="little").astype(bool).reshape(shape)
