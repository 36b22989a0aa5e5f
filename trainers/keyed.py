"""Random numbers for whole batches: a function of (purpose, seed, epoch, example), never of order, rank or device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..pipeline.rng import keyed_generator

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def keyed_uniform(purpose: str, seed: int, epoch: int, example_ids: Sequence[str], num: int) -> NDArray[np.float32]:
    """Return numbers in [0, 1), float32 [num_examples, num]: `num` for each example and epoch.

    SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) from a start that
    mixes the example's id (32 hex digits) with a key of the rest: a whole batch in a few array operations.
    """
    key = keyed_generator("uniform", purpose, seed, epoch).bit_generator.random_raw(1)
    ids = np.array([int(name[:16], 16) ^ int(name[16:32], 16) for name in example_ids], np.uint64)
    with np.errstate(over="ignore"):
        start = _mixed(ids ^ np.asarray(key, np.uint64).reshape(()))
        words = _mixed(start[:, None] + _GAMMA * np.arange(1, num + 1, dtype=np.uint64))
    return ((words >> np.uint64(40)).astype(np.float32) / np.float32(2**24)).astype(np.float32)


def step_seed(purpose: str, *identity: int) -> int:
    """Return a seed for torch's generators, in [0, 2**63)."""
    return int(keyed_generator("step", purpose, *identity).integers(2**63))


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
