from __future__ import annotations

import numpy as np
from unlabeled.pipeline.audit.seen import Seen
from unlabeled.pipeline.audit.shrunk import shrunk

from tests import samples
from tests.pipeline.audit.families.drawn import pictures, sounds


def test_pictures_and_sounds_become_channels_of_one_size() -> None:
    photograph = samples.photograph(0, 96, 72)
    assert shrunk(pictures(photograph, photograph)).shape == (6, 32, 32)
    assert shrunk(pictures(*[photograph] * 20)).shape == (48, 32, 32)
    assert shrunk(sounds(np.random.default_rng(0).normal(0, 0.1, 8000))).shape == (1, 32, 32)
    assert shrunk(Seen()).shape == (0, 32, 32)


def test_values_are_near_the_unit_range() -> None:
    assert np.abs(shrunk(pictures(samples.photograph(1, 64, 64)))).max() <= 1
