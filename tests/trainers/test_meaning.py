"""A small network finds a label that is there, and none where there is none."""

from __future__ import annotations

import numpy as np
from unlabeled.trainers.meaning import network_score, small_network

GROUPS = np.repeat(np.arange(60), 4)
LABELS = np.tile(np.arange(4), 60)


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, (240, 1, 32, 32)).astype(np.float32)


def test_a_bright_corner_is_learnt() -> None:
    inputs = _noise(0)
    for place, label in enumerate(LABELS):
        inputs[place, 0, 16 * (label // 2) :, 16 * (label % 2) :][:12, :12] += 1
    assert network_score(inputs, LABELS, GROUPS, 0).low > 0.5


def test_noise_teaches_nothing_and_a_seed_decides() -> None:
    first, second = (network_score(_noise(1), LABELS, GROUPS, 1) for _ in range(2))
    assert first.low < 0.02
    assert first == second


def test_there_is_an_output_a_class() -> None:
    import torch

    assert small_network(6, 5).eval()(torch.zeros(2, 6, 32, 32)).shape == (2, 5)
