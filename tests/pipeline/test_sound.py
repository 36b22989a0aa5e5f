from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline import sound


def tone(hz: float, seconds: float = 0.5, amplitude: float = 0.5, rate_hz: int = 16000) -> sound.Samples:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seed: int, num_samples: int = 8000, amplitude: float = 0.1) -> sound.Samples:
    return np.random.default_rng(seed).normal(0, amplitude, num_samples).clip(-1, 1).astype(np.float32)


def test_a_full_scale_sine_has_minus_three_dbfs() -> None:
    assert sound.rms_dbfs(tone(1000, amplitude=1.0)) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("samples", [np.zeros(100, np.float32), np.zeros(0, np.float32)])
def test_silence_has_a_finite_level(samples: sound.Samples) -> None:
    assert sound.rms_dbfs(samples) == sound.SILENCE_DBFS


def test_clipped_fraction_counts_both_ends_of_the_16_bit_range() -> None:
    samples = np.array([-32768, 32767, 32766, 32765, 0, 0, 0, 0], np.float32) / np.float32(32768)
    assert sound.clipped_fraction(samples) == pytest.approx(3 / 8)


def test_quiet_and_clipped_clips_are_not_usable() -> None:
    assert sound.is_usable(noise(0), -60, 0.05)
    assert not sound.is_usable(noise(0) * np.float32(0.001), -60, 0.05)
    assert not sound.is_usable(np.sign(noise(0)), -60, 0.05)


@given(seed=st.integers(0, 100), offset=st.floats(-0.5, 0.5))
def test_remove_dc_leaves_no_mean(seed: int, offset: float) -> None:
    assert abs(sound.remove_dc(noise(seed) + np.float32(offset)).mean()) < 1e-6


@given(seed=st.integers(0, 100), level_dbfs=st.floats(-50, -20), amplitude=st.floats(0.001, 0.2))
def test_at_level_brings_noise_to_the_level(seed: int, level_dbfs: float, amplitude: float) -> None:
    levelled = sound.at_level(noise(seed, amplitude=amplitude), level_dbfs)
    assert sound.rms_dbfs(levelled) == pytest.approx(level_dbfs, abs=0.01)


def test_at_level_stays_below_the_level_rather_than_clip() -> None:
    click = np.zeros(8000, np.float32)
    click[100] = 0.01
    assert np.abs(sound.at_level(click, -6)).max() == pytest.approx(sound.PEAK)


def test_at_level_leaves_silence() -> None:
    assert not sound.at_level(np.zeros(10, np.float32), -26).any()


@pytest.mark.parametrize("point", range(1, 6))
def test_equalise_has_each_gain_at_its_point(point: int) -> None:
    gains = [0.0] * 7
    gains[point] = -6.0
    clip = tone(sound.EQ_POINTS_HZ[point])
    middle = slice(1000, 7000)
    change_db = sound.rms_dbfs(sound.equalise(clip, tuple(gains), 16000)[middle]) - sound.rms_dbfs(clip[middle])
    # The filter is 8 ms long: below some 500 hz it rounds the curve off.
    assert change_db == pytest.approx(-6, abs=4 if point == 1 else 1.5)


@pytest.mark.parametrize("num_samples", [1, 128, 895, 896, 897, 4000])
def test_equalise_is_one_filter_wherever_its_blocks_meet(num_samples: int) -> None:
    gains = (3.0, -3.0, 2.0, -2.0, 1.0, -6.0, 6.0)
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, num_samples).astype(np.float32)
    click = np.zeros(257, np.float32)
    click[128] = 1
    taps = sound.equalise(click, gains, 16000)
    expected = np.convolve(clip, taps)[128 : 128 + num_samples]
    np.testing.assert_allclose(sound.equalise(clip, gains, 16000), expected, atol=1e-6)


def test_equalise_does_not_delay() -> None:
    click = np.zeros(1000, np.float32)
    click[500] = 0.5
    assert np.argmax(np.abs(sound.equalise(click, (3.0, -3.0, 3.0, -3.0, 3.0, -3.0, 3.0), 16000))) == 500


def test_equalise_does_not_wrap_one_end_into_the_other() -> None:
    click = np.zeros(1000, np.float32)
    click[-1] = 0.5
    assert np.abs(sound.equalise(click, (6.0, -6.0, 6.0, -6.0, 6.0, -6.0, 6.0), 16000)[:500]).max() < 1e-6


def test_conditioning_draws_what_a_float32_column_holds() -> None:
    drawn = sound.Conditioning.draw(np.random.default_rng(0), -26, 6, 6)
    assert drawn.level_dbfs == np.float32(drawn.level_dbfs)
    assert all(gain == np.float32(gain) for gain in drawn.eq_db)


@given(seed=st.integers(0, 200))
def test_conditioning_draws_within_its_bounds(seed: int) -> None:
    drawn = sound.Conditioning.draw(np.random.default_rng(seed), -26, 6, 3)
    assert -32 <= drawn.level_dbfs <= -20
    assert all(-3 <= gain <= 3 for gain in drawn.eq_db)


@given(seed=st.integers(0, 50), gain=st.floats(0.1, 1), offset=st.floats(-0.1, 0.1))
def test_conditioning_hides_the_gain_and_dc_of_the_recorder(seed: int, gain: float, offset: float) -> None:
    condition = sound.Conditioning(-26.0, ())
    changed = noise(seed) * np.float32(gain) + np.float32(offset)
    np.testing.assert_allclose(condition(changed, 16000), condition(noise(seed), 16000), atol=1e-5)


@given(seed=st.integers(0, 200))
def test_conditioning_draws_a_ratio_to_noise_within_its_bounds(seed: int) -> None:
    drawn = sound.Conditioning.draw(np.random.default_rng(seed), -26, 6, 3, (10.0, 30.0))
    assert drawn.snr_db is not None
    assert 10 <= drawn.snr_db <= 30
    assert drawn.snr_db == np.float32(drawn.snr_db)


@pytest.mark.parametrize("snr_db", [6.0, 20.0])
def test_conditioning_adds_white_noise_so_far_below_the_clip(snr_db: float) -> None:
    clean = sound.Conditioning(-26.0, ())(tone(1000), 16000)
    noisy = sound.Conditioning(-26.0, (), snr_db)(tone(1000), 16000)
    share = float(noisy @ clean / (clean @ clean))
    added = noisy - np.float32(share) * clean
    assert sound.rms_dbfs(np.float32(share) * clean) - sound.rms_dbfs(added) == pytest.approx(snr_db, abs=0.3)
    power = np.abs(np.fft.rfft(added)) ** 2
    assert power[:2000].mean() == pytest.approx(power[2000:].mean(), rel=0.2)


def test_conditioning_repeats_its_noise_and_another_draw_has_another() -> None:
    condition = sound.Conditioning(-26.0, (), 10.0)
    np.testing.assert_array_equal(condition(tone(440), 16000), condition(tone(440), 16000))
    other = sound.Conditioning(-26.0, (), 10.5)
    difference = condition(tone(440), 16000) - other(tone(440), 16000)
    assert sound.rms_dbfs(difference) > -26 - 10.5


def test_same_sound_allows_what_16_bits_change_and_no_more() -> None:
    clip = noise(0)
    assert sound.is_same_sound(clip, clip + np.float32(2 / 32768))
    assert not sound.is_same_sound(clip, clip + np.float32(4 / 32768))
    assert not sound.is_same_sound(clip, clip[:-1])


@given(num_samples=st.integers(0, 3000), window=st.integers(1, 400), hop=st.integers(1, 400))
def test_num_frames_counts_whole_windows(num_samples: int, window: int, hop: int) -> None:
    assert sound.num_frames(num_samples, window, hop) == len(range(0, num_samples - window + 1, hop))


def test_log_mel_has_a_row_a_frame_and_peaks_at_the_tone() -> None:
    spectrogram = sound.log_mel(tone(2000), 16000)
    assert spectrogram.shape == (sound.num_frames(8000, 400, 160), 128)
    corners = sound.mel_edges_hz(16000, 128)
    loudest = int(spectrogram.mean(axis=0).argmax())
    assert corners[loudest] < 2000 < corners[loudest + 2]


def test_log_mel_of_less_than_a_window_is_empty() -> None:
    assert sound.log_mel(np.zeros(399, np.float32), 16000).shape == (0, 128)


def test_mel_corners_end_at_half_the_rate() -> None:
    corners = sound.mel_edges_hz(16000, 64)
    assert corners[0] == 0
    assert corners[-1] == pytest.approx(8000)
    assert (np.diff(corners) > 0).all()
