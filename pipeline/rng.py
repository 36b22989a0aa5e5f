"""Randomness as a function of identity: (seed, task, source_key, segment, draw), never of order, worker or time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256_hex(data: bytes | memoryview) -> str:
    """Return the sha256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: object) -> bytes:
    """Return `value` as JSON with sorted keys and no spaces: one value, one byte string (UTF-8)."""
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def _digest(purpose: str, *identity: object) -> bytes:
    return hashlib.sha256(canonical_json([purpose, *identity])).digest()


@lru_cache(maxsize=4, typed=True)
def _head(purpose: str, *shared: str | int) -> hashlib._Hash:
    """Return the hash of an identity as far as `shared` goes; more of it may follow. To be copied, never updated."""
    return hashlib.sha256(canonical_json([purpose, *shared])[:-1] + b",")


class _Key(ISeedSequence):
    """A Philox key, little endian, as numpy takes it three times faster than by `Philox(key=)`, to the same end."""

    def __init__(self, key: bytes) -> None:
        self._key = np.frombuffer(key, "<u8")

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[Any]:
        """Return the key: what Philox asks for, two words of 64 bits."""
        return self._key


def keyed_generator(purpose: str, *identity: object) -> np.random.Generator:
    """Return a Philox generator whose 128-bit key is a hash of `purpose` and `identity`.

    Philox: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    return _generator(_digest(purpose, *identity))


def _generator(digest: bytes) -> np.random.Generator:
    key = _Key(digest[:16])
    return np.random.Generator(np.random.Philox(key))  # type: ignore[arg-type]  # the stubs lack ISeedSequence


def keyed_fraction(purpose: str, *identity: object) -> float:
    """Return a number in [0, 1) that depends on `purpose` and `identity` alone."""
    return int.from_bytes(_digest(purpose, *identity)[:7], "big") / 2.0**56


def keyed_fractions(purpose: str, shared: object, names: Iterable[str]) -> Iterator[float]:
    """Yield `keyed_fraction(purpose, shared, name)` of every name; for millions of them."""
    head = hashlib.sha256(canonical_json([purpose, shared])[:-1] + b",")
    for name in names:
        digest = head.copy()
        digest.update(canonical_json(name) + b"]")
        yield int.from_bytes(digest.digest()[:7], "big") / 2.0**56


@dataclass(frozen=True, slots=True)
class ItemRng:
    """The randomness of one item: what a task may draw from, and the ids of its examples.

    A draw's generator depends on the draw's number alone, so examples can be made in any order.
    """

    seed: int
    task: str
    source_key: str
    segment: int = 0

    def item(self, purpose: str = "item") -> np.random.Generator:
        """Return the generator for decisions about the whole item (crop, windows, draw order)."""
        return keyed_generator("rng", self.seed, self.task, self.source_key, self.segment, purpose)

    def draw(self, draw: int) -> np.random.Generator:
        """Return the generator of the item's `draw`-th example."""
        return _generator(self._digest_of_draw("rng", draw))

    def order(self, num_draws: int) -> NDArray[np.int64]:
        """Return a keyed permutation of `range(num_draws)`, int64.

        Give draw `d` the label `labels[order[d]]`: then neither the draw's number nor the row's position
        tells the label.
        """
        return self.item("order").permutation(num_draws)

    def example_id(self, draw: int) -> str:
        """Return the id of the item's `draw`-th example: 128 bits of sha256 as 32 hexadecimal digits."""
        return self._digest_of_draw("example", draw).hex()[:32]

    def _digest_of_draw(self, purpose: str, draw: int) -> bytes:
        """Return `_digest` of purpose, item and draw; the head is hashed once for all draws of an item."""
        digest = _head(purpose, self.seed, self.task, self.source_key, self.segment).copy()
        digest.update(b"%d]" % draw)
        return digest.digest()
