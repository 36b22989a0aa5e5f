from __future__ import annotations

import numpy as np
from unlabeled.pipeline.fingerprint.cosines import cosines


def test_the_part_of_a_signal_has_the_transform_of_what_was_cut_out() -> None:
    signal = np.random.default_rng(0).normal(size=40)
    (part,) = cosines(np.array([0.25]), np.array([0.5]), 40, 6) @ signal
    (cut,) = cosines(np.zeros(1), np.ones(1), 20, 6) @ signal[10:30]
    assert np.allclose(part, cut, atol=1e-5)


def test_the_first_is_the_mean() -> None:
    signal = np.random.default_rng(1).normal(size=16)
    (whole,) = cosines(np.zeros(1), np.ones(1), 16, 1) @ signal
    assert np.allclose(whole, signal.mean(), atol=1e-6)
