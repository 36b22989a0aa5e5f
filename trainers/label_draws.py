"""Which examples have a label: subsets of a labelled set, the same for every method that is compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..pipeline.errors import ConfigError
from ..pipeline.rng import keyed_generator

Indexes = NDArray[np.int64]


def balanced_draw(labels: NDArray[np.int64], num_per_class: int, *, seed: int, draw: int) -> Indexes:
    """Return the indexes of `num_per_class` examples of each class, ascending, int64 [classes * num_per_class].

    A pure function of its arguments. The draws of one (seed, draw) are nested: 10 a class are among the 20 a class.
    Negative labels are no label and never drawn.

    Raises:
        ConfigError: a class has fewer examples; names it.
    """
    if num_per_class < 1:
        raise ConfigError(f"labels per class: found {num_per_class}, expected at least 1.")
    chosen = []
    for label in np.unique(labels[labels >= 0]).tolist():
        places = np.flatnonzero(labels == label)
        if len(places) < num_per_class:
            raise ConfigError(
                f"labels per class: found {num_per_class}, but class {label} has {len(places)} labelled examples."
            )
        chosen.append(_generator(seed, draw, label).permutation(places)[:num_per_class])
    return _sorted(chosen)


def random_draw(labels: NDArray[np.int64], num_labels: int, *, seed: int, draw: int) -> Indexes:
    """Return the indexes of `num_labels` labelled examples of whatever class, ascending, int64 [num_labels].

    A pure function of its arguments; nested as `balanced_draw`. Some class may be drawn not at all.

    Raises:
        ConfigError: there are fewer labelled examples.
    """
    places = np.flatnonzero(labels >= 0)
    if not 1 <= num_labels <= len(places):
        raise ConfigError(f"labels: found {num_labels}, expected 1 to {len(places)}, which is how many there are.")
    return _sorted([_generator(seed, draw, "any").permutation(places)[:num_labels]])


def hold_out(labels: NDArray[np.int64], fraction: float, *, seed: int) -> tuple[Indexes, Indexes]:
    """Return (kept, held out): the labelled examples in two parts, the same share of every class in each.

    Settings are chosen on what is held out of the training split, so that the test split is never looked at.
    """
    held = [
        _generator(seed, "hold out", label).permutation(places)[: round(fraction * len(places))]
        for label in np.unique(labels[labels >= 0]).tolist()
        for places in [np.flatnonzero(labels == label)]
    ]
    out = _sorted(held)
    kept = np.setdiff1d(np.flatnonzero(labels >= 0), out)
    return kept, out


def _generator(seed: int, *identity: object) -> np.random.Generator:
    return keyed_generator("label draw", seed, *identity)


def _sorted(parts: list[Indexes]) -> Indexes:
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
