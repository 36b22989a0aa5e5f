"""Which sources are copies of one another: candidates by banded hashes, components of what was verified.

No all-pairs: two 64-bit hashes that differ in few bits agree in at least one of four bands of 16 nearly always, so
only sources that share a band are compared (multi-index hashing: Norouzi, Punjani, Fleet: Fast exact search in Hamming
space with multi-index hashing, TPAMI 2014).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

NUM_BANDS = 4
#: Of a band's value that very many sources share, the first so many stand for all: copies still meet in them.
_MAX_BUCKET = 512
_MAX_PAIRED = 16

Pairs = NDArray[np.int64]


class BandIndex:
    """64-bit hashes, found by what differs from them in few bits.

    Args:
        hashes: uint64 [n].
        doubtful: bits that are the likeliest to differ in a copy, uint64 [n, num_flips], one bit set in each or none.
            A hash is also found under what it would be with one of them flipped.
    """

    def __init__(self, hashes: NDArray[np.uint64], doubtful: NDArray[np.uint64] | None = None) -> None:
        self._hashes = hashes
        flips = np.zeros((len(hashes), 1), np.uint64) if doubtful is None else doubtful
        flips = np.concatenate([np.zeros((len(hashes), 1), np.uint64), flips], axis=1)
        variants, owners = (hashes[:, None] ^ flips).ravel(), np.repeat(np.arange(len(hashes)), flips.shape[1])
        self._tables = []
        for band in range(NUM_BANDS):
            keyed = np.unique(_band(variants, band).astype(np.int64) << 40 | owners)
            self._tables.append(((keyed >> 40).astype(np.uint16), keyed & ((1 << 40) - 1)))

    def within(self, wanted: NDArray[np.uint64], max_bits: int) -> Pairs:
        """Return (row of `wanted`, row of the index, bits that differ), int64 [m, 3], each pair once, sorted.

        Found is what differs in at most `max_bits` bits and agrees in a whole band.
        """
        found = [np.empty((0, 3), np.int64)]
        for band, (values, order) in enumerate(self._tables):
            asked = _band(wanted, band)
            first = np.searchsorted(values, asked)
            count = np.minimum(np.searchsorted(values, asked, "right") - first, _MAX_BUCKET)
            row = np.repeat(np.arange(len(asked)), count)
            place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
            at = order[place]
            num_bits = np.bitwise_count(wanted[row] ^ self._hashes[at])
            near = num_bits <= max_bits
            found.append(np.stack([row[near], at[near], num_bits[near].astype(np.int64)], axis=1))
        pairs: Pairs = np.unique(np.concatenate(found), axis=0)
        return pairs

    def candidates(self, of_parts: NDArray[np.uint64], first: int, max_bits: int, chunk: int) -> Iterator[Pairs]:
        """Yield (source, possible copy, part that is nearest), int64 [m, 3], at most `chunk` at once.

        Args:
            of_parts: hashes of the parts of sources, uint64 [num_sources, num_parts].
            first: row of the first of these sources in the index.
            max_bits: see `within`.
            chunk: how many may be yielded at once.
        """
        near = self.within(of_parts.ravel(), max_bits)
        source, part = first + near[:, 0] // of_parts.shape[1], near[:, 0] % of_parts.shape[1]
        rows = np.stack([source, near[:, 1], near[:, 2], part], axis=1)[source != near[:, 1]]
        rows = rows[np.lexsort(rows.T[::-1])]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
        rows = rows[is_first][:, [0, 1, 3]]
        for start in range(0, len(rows), chunk):
            yield rows[start : start + chunk]


def doubtful_bits(weights: NDArray[np.float32], num_flips: int) -> NDArray[np.uint64]:
    """Return the `num_flips` bits of each band whose `weights` [n, 64] are weakest, one set in each, uint64 [n, m]."""
    width = weights.shape[1] // NUM_BANDS
    weakest = np.argsort(np.abs(weights).reshape(len(weights), NUM_BANDS, width), axis=2)[:, :, :num_flips]
    bits = np.zeros((*weakest.shape, weights.shape[1]), np.uint8)
    np.put_along_axis(bits, (weakest + width * np.arange(NUM_BANDS)[:, None])[..., None], 1, axis=3)
    return np.packbits(bits, axis=-1).view(np.uint64).reshape(len(weights), -1)


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    shift = np.uint64(16 * band)
    return ((hashes >> shift) & np.uint64(0xFFFF)).astype(np.uint16)


def exact_pairs(digests: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Yield (first, row) for every row whose digest stood before; empty digests equal nothing."""
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        if digest and first.setdefault(digest, row) != row:
            yield first[digest], row


def components(num_nodes: int, pairs: Pairs) -> NDArray[np.int64]:
    """Return the component of every node, named by its smallest member, int64 [num_nodes]; `pairs` int64 [m, 2]."""
    names = np.arange(num_nodes)
    if not len(pairs):
        return names
    left, right = pairs[:, 0], pairs[:, 1]
    while True:
        # Hook the larger of two names on the smaller, then let names follow their own names to the end.
        low = np.minimum(names[left], names[right])
        before = names.copy()
        np.minimum.at(names, names[left], low)
        np.minimum.at(names, names[right], low)
        while (names != names[names]).any():
            names = names[names]
        if (names == before).all():
            return names


def bucket_pairs(bands: Iterable[Sequence[Hashable]]) -> Pairs:
    """Return the pairs of rows that have equal values in some band, int64 [m, 2], each once.

    Where very many rows share a value, each is paired with the first alone.
    """
    found: set[tuple[int, int]] = set()
    for values in bands:
        buckets: dict[Hashable, list[int]] = {}
        for row, value in enumerate(values):
            known = buckets.setdefault(value, [])
            found.update((other, row) for other in known)
            if len(known) < _MAX_PAIRED:
                known.append(row)
    return np.array(sorted(found), np.int64).reshape(-1, 2)
