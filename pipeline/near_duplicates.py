"""Which sources are copies of one another: candidates by banded hashes, components of what was verified.

No all-pairs: two 64-bit hashes that differ in few bits agree in at least one of four bands of 16 nearly always, so
only sources that share a band are compared (multi-index hashing: Norouzi, Punjani, Fleet: Fast exact search in Hamming
space with multi-index hashing, TPAMI 2014).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

NUM_BANDS = 4
#: Of a band's value that very many sources share, the first so many stand for all: copies still meet in them.
_MAX_BUCKET = 512

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
