"""Segments of a picture without supervision: regions that differ more from their neighbours than within themselves.

Felzenszwalb, Huttenlocher: Efficient Graph-Based Image Segmentation, IJCV 2004. A segment is a region of similar
colour, not an object.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Name of this segmenter, as stored beside labels that depend on it. Changes whenever segments may change.
SEGMENTER = "felzenszwalb-huttenlocher-1"


def segment(pixels: NDArray[np.uint8], scale: float = 150.0, smallest_px: int = 16) -> NDArray[np.int32]:
    """Return the segment of every pixel of a small picture [height, width, 3]: int32 [height, width], from 0.

    Edges join each pixel with the four beside it; their weight is the distance of the two colours (levels of 255)
    after a slight blur. A larger `scale` makes larger segments; segments below `smallest_px` join the neighbour that
    they are nearest to. A loop over edges: made for thumbnails, 64 x 48 px take about 3 ms.
    """
    height, width, _ = pixels.shape
    ends, weights = _edges(_blur(pixels.astype(np.float32)))
    parents = _merge(height * width, ends[:, 0].tolist(), ends[:, 1].tolist(), weights.tolist(), scale, smallest_px)
    roots = np.array(parents)
    while (roots != roots[roots]).any():
        roots = roots[roots]
    _, segments = np.unique(roots, return_inverse=True)
    return segments.reshape(height, width).astype(np.int32)


def _merge(
    num_pixels: int, left: list[int], right: list[int], weights: list[float], scale: float, smallest_px: int
) -> list[int]:
    """Return the parent of every pixel in a forest whose trees are the segments; edges come lightest first."""
    parents = list(range(num_pixels))
    sizes = [1] * num_pixels
    # The heaviest edge that a segment may still be joined by: its largest inner difference plus scale / size.
    tolerances = [scale] * num_pixels
    borders = []
    for one, other, weight in zip(left, right, weights, strict=True):
        a, b = one, other
        while parents[a] != a:
            parents[a] = a = parents[parents[a]]
        while parents[b] != b:
            parents[b] = b = parents[parents[b]]
        if a == b:
            continue
        if weight <= tolerances[a] and weight <= tolerances[b]:
            parents[b] = a
            sizes[a] += sizes[b]
            tolerances[a] = weight + scale / sizes[a]
        else:
            borders.append((a, b))
    for one, other in borders:
        a, b = one, other
        while parents[a] != a:
            a = parents[a]
        while parents[b] != b:
            b = parents[b]
        if a != b and (sizes[a] < smallest_px or sizes[b] < smallest_px):
            parents[b] = a
            sizes[a] += sizes[b]
    return parents


def _blur(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the picture smoothed by (1, 2, 1) / 4 along both axes, borders repeated."""
    padded = np.pad(colours, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    smooth: NDArray[np.float32] = (across[:-2] + 2 * across[1:-1] + across[2:]) / 16
    return smooth


def _edges(colours: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return all pairs of pixels that touch along a side, [num_edges, 2], and their weights, lightest first."""
    height, width, _ = colours.shape
    numbers = np.arange(height * width).reshape(height, width)
    ends = np.concatenate(
        [
            np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1),
            np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1),
        ]
    )
    across = ((colours[:, 1:] - colours[:, :-1]) ** 2).sum(axis=-1).ravel()
    down = ((colours[1:] - colours[:-1]) ** 2).sum(axis=-1).ravel()
    weights = np.sqrt(np.concatenate([across, down]))
    order = np.argsort(weights, kind="stable")
    return ends[order], weights[order]
