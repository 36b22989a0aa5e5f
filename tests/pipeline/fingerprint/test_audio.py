from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from unlabeled.pipeline.fingerprint import audio
from unlabeled.pipeline.items import Waveform

from tests import samples

RATE_HZ = 16000
NUM = 50


def sound(samples_of: NDArray[np.float32]) -> Waveform:
    loud = np.clip(np.rint(samples_of * 20000), -32768, 32767).astype(np.int16)
    return replace(samples.waveform_item(0, 0.1), samples=loud)


def phrase(seed: int, seconds: float = 4.0) -> NDArray[np.float32]:
    """Return syllables of differing pitch, length and loudness."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * RATE_HZ:
        t = np.arange(int(rng.uniform(0.08, 0.4) * RATE_HZ)) / RATE_HZ
        tone = sum(np.sin(2 * np.pi * rng.uniform(150, 3500) * t) for _ in range(3))
        parts.append(rng.uniform(0.02, 0.3) * np.hanning(len(t)) * np.asarray(tone))
    return np.concatenate(parts)[: int(seconds * RATE_HZ)].astype(np.float32)


def copy_of(whole: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a sound cut by up to 10 %, up to 2 % faster or slower, quieter, with a little noise."""
    num_cut = int(rng.uniform(0, 0.1) * len(whole))
    start = int(rng.integers(0, num_cut + 1))
    part = soxr.resample(whole[start : len(whole) - num_cut + start], RATE_HZ, RATE_HZ / rng.uniform(0.98, 1.02))
    quiet: NDArray[np.float32] = part * rng.uniform(0.3, 1) + rng.normal(0, 2e-4, len(part)).astype(np.float32)
    return quiet


def taken(of: Waveform) -> bytes:
    data = audio.fingerprint(of)
    assert data is not None
    assert len(data) == audio.NUM_BYTES
    return data


def test_every_copy_meets_its_original_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    phrases = [phrase(seed) for seed in range(NUM)]
    data = [taken(sound(one)) for one in [*phrases, *(copy_of(one, rng) for one in phrases)]]
    pairs = {tuple(sorted(pair)) for pair in audio.copies(data).tolist()}
    assert pairs == {(seed, NUM + seed) for seed in range(NUM)}


def test_another_tempo_is_another_performance() -> None:
    whole = phrase(1)
    faster = soxr.resample(whole, RATE_HZ, RATE_HZ / 1.12)
    assert not len(audio.copies([taken(sound(whole)), taken(sound(faster))]))


@pytest.mark.parametrize("num_samples", [0, 100, RATE_HZ])
def test_silence_and_what_is_too_short_have_no_fingerprint(num_samples: int) -> None:
    assert audio.fingerprint(sound(np.zeros(num_samples, np.float32))) is None


def test_a_steady_tone_is_a_copy_of_nothing() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    assert not len(audio.copies([taken(sound(tone)), taken(sound(tone))]))


@pytest.mark.parametrize(("seconds", "share_of_other", "is_copy"), [(4.0, 0.016, True), (1.0, 0.01, False)])
def test_a_short_sound_must_agree_more(seconds: float, share_of_other: float, is_copy: bool) -> None:
    whole = phrase(1, seconds)
    other = whole + share_of_other * phrase(51, seconds)
    assert bool(len(audio.copies([taken(sound(whole)), taken(sound(other))]))) == is_copy
