"""Fingerprints of pictures: a thumbnail, from which hashes of the whole and of its crops follow.

A copy may be scaled, encoded again and cropped. Its whole is then one crop of its original, so the hash of the whole
is looked up among the hashes of a grid of crops. What is found is verified on the thumbnails: the crop that agrees
best is searched for, and must agree in its details, its contrast and its colour.

The hash: signs of low spatial frequencies (Zauner: Implementation and benchmarking of perceptual image hash
functions, 2010), here of every crop; they are linear in the thumbnail, so no crop is ever resampled.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..items import Image
from ..near_duplicates import BandIndex, Pairs, doubtful_bits
from .cosines import cosines

#: Name and version of this fingerprint; stands beside every one that is kept.
KIND = "image-1"
#: Side of the thumbnail, and of its colour, px. It is square whatever the picture's shape.
SIDE_PX, COLOUR_SIDE_PX = 32, 8
NUM_BYTES = SIDE_PX**2 + 2 * COLOUR_SIDE_PX**2
HASH_BITS = 64
#: Crops are looked for down to this share of the area, on a grid of this share of each side.
_MIN_AREA, _STEP = 0.8, 0.05
#: Frequencies along each side that are compared.
_NUM_FREQUENCIES = 14
#: Below this standard deviation of luma (of 255 levels) a picture has no details to tell it by.
_MIN_CONTRAST = 4.0
#: Two pictures are copies where details correlate at least this much, contrast differs at most by this factor, and
#: the mean luma and chroma of what they share by at most so many levels. Chosen on photographs and on CIFAR-10.
_MIN_CORRELATION, _MAX_CONTRAST_RATIO, _MAX_COLOUR_LEVELS = 0.9, 1.4, 9.0
#: A crop may be adjusted beyond the grid until it holds this share of the area.
_MIN_ADJUSTED_AREA = 0.72
_ADJUSTMENTS = (0.025, 0.025, 0.0125, 0.0125, 0.006, 0.003)
#: Bits in which the hash of a crop on the grid and of a copy may differ; measured: 8 at most.
_MAX_BITS = 11
#: Bits of each of the index's bands that are looked up flipped, too.
_FLIPS_PER_BAND = 3
#: Pictures whose crops are looked up at once, candidates that are verified at once.
_CHUNK_PICTURES, _CHUNK_CANDIDATES = 256, 4096


def fingerprint(item: Image) -> bytes:
    """Return the picture's fingerprint: NUM_BYTES of luma [32, 32], then chroma blue and red [8, 8], uint8 each."""
    pixels = item.crop((0, 0, item.width_px, item.height_px), SIDE_PX, SIDE_PX).astype(np.float32)
    luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    blocks = SIDE_PX // COLOUR_SIDE_PX
    small = pixels.reshape(COLOUR_SIDE_PX, blocks, COLOUR_SIDE_PX, blocks, 3).mean(axis=(1, 3))
    grey = small @ np.array([0.299, 0.587, 0.114], np.float32)
    chroma = [128 + (small[..., 2] - grey) / 1.772, 128 + (small[..., 0] - grey) / 1.402]
    return b"".join(np.clip(np.rint(plane), 0, 255).astype(np.uint8).tobytes() for plane in (luma, *chroma))


def copies(data: NDArray[np.uint8]) -> Pairs:
    """Return the pairs of rows of `data` [n, NUM_BYTES] that are (original, copy), int64 [m, 2]."""
    detailed = np.flatnonzero(has_details(unpacked(data)[0]))
    kept = data[detailed]
    if len(kept) < 2:
        return np.empty((0, 2), np.int64)
    luma = unpacked(kept)[0]
    weights = luma.reshape(len(luma), -1) @ _hash_weights()[:HASH_BITS].T
    index = BandIndex(hashes(luma, of_crops=False), doubtful_bits(weights, _FLIPS_PER_BAND))
    found = [np.empty((0, 2), np.int64)]
    for first in range(0, len(kept), _CHUNK_PICTURES):
        of_crops = hashes(unpacked(kept[first : first + _CHUNK_PICTURES])[0], of_crops=True)
        for candidates in index.candidates(of_crops, first, _MAX_BITS, _CHUNK_CANDIDATES):
            whole, copy, crop = candidates.T
            verdict, _ = are_copies(kept[whole], kept[copy], crops()[crop])
            found.append(detailed[candidates[verdict, :2]])
    return np.concatenate(found)


def unpacked(data: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (luma [n, 32, 32], chroma [n, 2, 8, 8]) of fingerprints [n, NUM_BYTES], float32 of 255 levels."""
    luma = data[:, : SIDE_PX**2].reshape(-1, SIDE_PX, SIDE_PX).astype(np.float32)
    chroma = data[:, SIDE_PX**2 :].reshape(-1, 2, COLOUR_SIDE_PX, COLOUR_SIDE_PX).astype(np.float32)
    return luma, chroma


@cache
def crops() -> NDArray[np.float64]:
    """Return the grid of crops, the whole first: x, width, y, height as shares of the sides, [num_crops, 4]."""
    num_steps = round((1 - _MIN_AREA) / _STEP)
    boxes = [
        (left * _STEP, 1 - cut_x * _STEP, top * _STEP, 1 - cut_y * _STEP)
        for cut_x in range(num_steps + 1)
        for cut_y in range(num_steps + 1)
        if (1 - cut_x * _STEP) * (1 - cut_y * _STEP) >= _MIN_AREA - _STEP / 2
        for left in range(cut_x + 1)
        for top in range(cut_y + 1)
    ]
    return np.array(boxes)


def hashes(luma: NDArray[np.float32], *, of_crops: bool) -> NDArray[np.uint64]:
    """Return 64-bit hashes of pictures [n, 32, 32]: of the whole, uint64 [n]; `of_crops`: uint64 [n, num_crops]."""
    weights = _hash_weights() if of_crops else _hash_weights()[:HASH_BITS]
    bits = luma.reshape(len(luma), -1) @ weights.T > 0
    packed = np.packbits(bits.reshape(len(luma), -1, HASH_BITS), axis=-1).view(np.uint64)[..., 0]
    return packed if of_crops else packed[:, 0]


def has_details(luma: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pictures [n, 32, 32] have enough contrast to be told apart, bool [n]."""
    enough: NDArray[np.bool_] = luma.std(axis=(1, 2)) >= _MIN_CONTRAST
    return enough


def are_copies(
    whole: NDArray[np.uint8], copy: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether each `copy` is about the crop `boxes` of `whole`: (bool [n], correlation of details [n]).

    Args:
        whole: fingerprints, uint8 [n, NUM_BYTES].
        copy: fingerprints, uint8 [n, NUM_BYTES].
        boxes: crops to start from (columns as `crops()`), float64 [n, 4].
    """
    luma, chroma = unpacked(whole)
    luma_of_copy, chroma_of_copy = unpacked(copy)
    correlation, boxes, contrast = _adjusted(luma, _coefficients(luma_of_copy, _entire(len(boxes))), boxes)
    of_box = _means(luma, chroma, boxes)
    of_copy = _means(luma_of_copy, chroma_of_copy, _entire(len(boxes)))
    verdict = (
        (correlation >= _MIN_CORRELATION)
        & (np.maximum(contrast, 1 / contrast) <= _MAX_CONTRAST_RATIO)
        & (np.abs(of_box - of_copy).max(axis=1) <= _MAX_COLOUR_LEVELS)
        & has_details(luma)
        & has_details(luma_of_copy)
    )
    return verdict, correlation


@cache
def _hash_weights() -> NDArray[np.float32]:
    """Return what each hash bit of each crop weighs the thumbnail's pixels with, float32 [num_crops * 64, 1024]."""
    boxes = crops()
    frequencies = sorted(
        ((x, y) for x in range(9) for y in range(9) if x + y), key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair[0])
    )[:HASH_BITS]
    across, down = (
        cosines(boxes[:, 0], boxes[:, 1], SIDE_PX, _NUM_FREQUENCIES),
        cosines(boxes[:, 2], boxes[:, 3], SIDE_PX, _NUM_FREQUENCIES),
    )
    planes = [np.einsum("ky,kx->kyx", down[:, y], across[:, x]) for x, y in frequencies]
    return np.stack(planes, axis=1).reshape(len(boxes) * HASH_BITS, -1)


def _across_and_down(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the cosines over the sides of crops, float32 [n, num_frequencies, 32] each."""
    x, width, y, height = boxes.T
    return cosines(x, width, SIDE_PX, _NUM_FREQUENCIES), cosines(y, height, SIDE_PX, _NUM_FREQUENCIES)


@cache
def _detail_weights() -> NDArray[np.float32]:
    """Return the weight of each frequency: the root of its modulus, so that the broad layout does not decide alone."""
    order = np.arange(_NUM_FREQUENCIES)
    modulus = np.hypot(order[:, None], order[None])
    return np.where(modulus < _NUM_FREQUENCIES, np.sqrt(modulus), 0).astype(np.float32)


def _coefficients(luma: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weighted frequencies of crops of pictures, float32 [n, num_frequencies ** 2]."""
    down, across = (
        cosines(boxes[:, 2], boxes[:, 3], SIDE_PX, _NUM_FREQUENCIES),
        cosines(boxes[:, 0], boxes[:, 1], SIDE_PX, _NUM_FREQUENCIES),
    )
    weighted = down @ luma @ across.transpose(0, 2, 1) * _detail_weights()
    return weighted.reshape(len(luma), -1).astype(np.float32)


def _adjusted(
    luma: NDArray[np.float32], wanted: NDArray[np.float32], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (correlation, crop, ratio of contrast) of the crops near `boxes` that agree best with `wanted`."""
    best, contrast = _agreement(_coefficients(luma, boxes), wanted)
    boxes = boxes.copy()
    for step in _ADJUSTMENTS:
        for moves in ((step, -step, 0, 0), (0, step, 0, 0), (0, 0, step, -step), (0, 0, 0, step)):
            for sign in (1, -1):
                moved = boxes + sign * np.array(moves)
                correlation, ratio = _agreement(_coefficients(luma, moved), wanted)
                better = (correlation > best) & _is_inside(moved)
                boxes[better], best[better], contrast[better] = moved[better], correlation[better], ratio[better]
    return best, boxes, contrast


def _agreement(
    found: NDArray[np.float32], wanted: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (correlation, norm of `found` / norm of `wanted`) of rows, float64 [n] each."""
    norms = np.linalg.norm(found, axis=1).astype(np.float64), np.linalg.norm(wanted, axis=1).astype(np.float64)
    floor = 1e-6
    product = (found * wanted).sum(axis=1)
    return product / np.maximum(norms[0] * norms[1], floor), (norms[0] + floor) / (norms[1] + floor)


def _is_inside(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    slack = 1e-9
    inside: NDArray[np.bool_] = (
        (boxes[:, [0, 2]].min(axis=1) >= -slack)
        & ((boxes[:, [0, 2]] + boxes[:, [1, 3]]).max(axis=1) <= 1 + slack)
        & (boxes[:, 1] * boxes[:, 3] >= _MIN_ADJUSTED_AREA)
    )
    return inside


def _means(luma: NDArray[np.float32], chroma: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the mean luma and chroma of crops, float32 [n, 3]."""
    planes = []
    for plane in (luma, chroma[:, 0], chroma[:, 1]):
        num_px = plane.shape[1]
        down, across = (cosines(boxes[:, at], boxes[:, at + 1], num_px, 1) for at in (2, 0))
        planes.append((down @ plane @ across.transpose(0, 2, 1))[:, 0, 0])
    return np.stack(planes, axis=1)


def _entire(num: int) -> NDArray[np.float64]:
    return np.tile(np.array([0.0, 1.0, 0.0, 1.0]), (num, 1))
