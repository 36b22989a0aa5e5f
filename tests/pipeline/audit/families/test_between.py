from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.audit.families.between import continuity, exposure, predicted, repeats, sharpness

from tests import samples
from tests.pipeline.audit.families.drawn import pictures, sounds

WIDE = samples.landscape(1, 400, 96)


def test_neighbouring_tiles_fit_and_others_do_not() -> None:
    left, right, far = (np.ascontiguousarray(WIDE[:, at : at + 64]) for at in (100, 164, 300))
    assert continuity(pictures(left, right))[0] > continuity(pictures(left, far))[0] + 0.15


def test_a_tone_goes_on_where_it_is_foretold() -> None:
    tone = np.sin(np.arange(600) * 0.3).astype(np.float32)
    assert predicted(tone[:500], 24) == pytest.approx(tone[500:524], abs=0.05)


def test_a_sound_that_goes_on_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    sound = np.convolve(rng.normal(0, 1, 20000), np.hanning(32), "same")
    sound = 0.3 * sound / np.abs(sound).max()
    follows = continuity(sounds(sound[:5000], sound[5000:10000]))
    apart = continuity(sounds(sound[:5000], sound[12000:17000]))
    assert follows[2] > 0.85
    assert abs(apart[2]) < 0.7


def test_clips_without_a_gap_are_one_step_apart() -> None:
    frames = [np.ascontiguousarray(WIDE[:, 6 * n : 6 * n + 96]) for n in range(40)]
    close = continuity(pictures(*frames[:12], is_timed=True, clips=(4, 4, 4)))
    apart = continuity(pictures(*frames[:4], *frames[16:20], *frames[32:36], is_timed=True, clips=(4, 4, 4)))
    assert close[0] < 1.5
    assert apart.min() == 2


def test_a_saw_tooth_of_sharpness_shows_its_direction() -> None:
    blurred = np.asarray(WIDE[:, :96].astype(np.float32))
    frames = []
    for step in range(8):
        soft = blurred + step % 4 * (np.roll(blurred, 1, 0) - blurred) * 0.12
        frames.append(np.clip(soft, 0, 255).astype(np.uint8))
    forward, backward = (sharpness(pictures(*order, is_timed=True))[-1] for order in (frames, frames[::-1]))
    assert forward == pytest.approx(-backward, abs=1e-3)
    assert abs(forward) > 0.3


def test_a_fade_shows() -> None:
    frames = [np.clip(WIDE[:, :96] * (0.5 + 0.1 * n), 0, 255).astype(np.uint8) for n in range(5)]
    told = exposure(pictures(*frames, is_timed=True)).reshape(-1, 2)
    assert told[0, 0] < 0 < told[4, 0]


def test_doubles_and_seams_are_counted() -> None:
    moving = [np.ascontiguousarray(WIDE[:, 3 * n : 3 * n + 96]) for n in range(8)]
    doubled = [moving[n // 2] for n in range(8)]
    wrapped = [*moving[:4], *moving[:4]]
    assert repeats(pictures(*moving, is_timed=True))[:3].tolist() == [0, 0, 1]
    assert repeats(pictures(*doubled, is_timed=True))[0] > 0.5
    assert repeats(pictures(*wrapped, is_timed=True))[1] > 0
    assert repeats(pictures(*wrapped, is_timed=True))[3] > repeats(pictures(*moving, is_timed=True))[3]


def test_single_pictures_have_nothing_in_between() -> None:
    still = pictures(WIDE[:, :96])
    assert [len(of(still)) for of in (continuity, sharpness, exposure, repeats)] == [0, 0, 0, 0]
