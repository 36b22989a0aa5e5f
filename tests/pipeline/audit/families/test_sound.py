from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.audit.families.sound import ends, frame_levels, noise

from tests.pipeline.audit.families.drawn import sounds

HISS = np.random.default_rng(0).normal(0, 0.05, 8000)


def test_level_is_in_decibels_and_dc_in_levels() -> None:
    plain, louder, lifted = (noise(sounds(of).sounds[0]) for of in (HISS, HISS * 2, HISS + 0.05))
    assert louder[0] - plain[0] == pytest.approx(6.02, abs=0.01)
    assert lifted[2] == pytest.approx(0.7, abs=0.05)
    assert abs(plain[2]) < 0.03


def test_dull_sound_is_tilted() -> None:
    dull = np.convolve(HISS, np.ones(8) / 8, "same")
    assert noise(sounds(dull).sounds[0])[4] > noise(sounds(HISS).sounds[0])[4] + 3


def test_priming_and_fades_show_at_the_ends() -> None:
    primed = np.concatenate([np.zeros(1105), HISS])
    assert ends(sounds(primed).sounds[0])[0] == pytest.approx(np.log1p(1105), abs=0.01)
    rising = ends(sounds(HISS * np.linspace(0.1, 1, len(HISS))).sounds[0])
    assert rising[-1] > 0.1 > abs(ends(sounds(HISS).sounds[0])[-1])


def test_there_is_always_a_frame() -> None:
    assert len(frame_levels(np.zeros(5), 16000)) == 1
