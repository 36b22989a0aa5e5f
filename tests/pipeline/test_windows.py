from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unlabeled.pipeline import windows
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.rng import ItemRng

from tests import samples

HOUR = 3600.0


def rng(key: int) -> ItemRng:
    return ItemRng(seed=0, task="t", source_key=f"s{key}")


@given(st.integers(1, 400), st.sampled_from([(24000, 1001), (25, 1), (30, 1), (30000, 1001), (60, 1), (7, 2)]))
def test_the_grid_has_every_frame_and_targets_lie_within_it(num_frames: int, rate: tuple[int, int]) -> None:
    assume(num_frames > 1)
    times = [round((n * 1_000_000 * rate[1]) / rate[0]) for n in range(num_frames)]
    info = replace(
        samples.video_info(), fps_num=rate[0], fps_den=rate[1], num_frames=num_frames, start_us=0, end_us=times[-1]
    )
    grid = windows.frame_grid(info)
    assert (grid.first, grid.last) == (0, num_frames - 1)
    hit = [int(np.searchsorted(times, grid.target_us(n), side="right")) - 1 for n in range(num_frames)]
    assert hit == list(range(num_frames))


def test_the_number_of_frames_corrects_a_rate_that_is_off_by_one_frame() -> None:
    # 240 frames at 30 hz; containers divide 240 frames by the 239 intervals between them.
    info = replace(samples.video_info(), fps_num=7200, fps_den=239, num_frames=240, end_us=7_966_667)
    assert abs(windows.frame_grid(info).interval_us - Fraction(100_000, 3)) < 1


def test_the_number_of_frames_says_nothing_of_a_part() -> None:
    info = replace(samples.video_info(20, fps=25), start_us=5_000_000, end_us=8_000_000)
    grid = windows.frame_grid(info)
    assert (grid.interval_us, grid.first, grid.last) == (40_000, 125, 200)


def test_a_video_without_a_rate_is_measured_by_its_frames() -> None:
    info = replace(samples.video_info(), fps_num=0, fps_den=1, num_frames=11, end_us=1_000_000)
    assert windows.frame_grid(info).interval_us == 100_000


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"end_us": 0}, "too_short"), ({"fps_num": 0, "num_frames": 0}, "no_frame_rate")],
)
def test_videos_without_a_grid_are_filtered(changed: dict[str, int], reason: str) -> None:
    with pytest.raises(Filtered) as caught:
        windows.frame_grid(replace(samples.video_info(), **changed))
    assert caught.value.reason == reason


def grid_of(seconds: float) -> windows.FrameGrid:
    return windows.frame_grid(samples.video_info(seconds))


@given(st.floats(2, 100), st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
def test_windows_lie_within_the_video_one_in_each_stretch(seconds: float, span: int, num: int, key: int) -> None:
    grid = grid_of(seconds)
    starts = windows.window_starts(grid, span, num, rng(key))
    places = grid.last - grid.first + 2 - span
    assert all(grid.first <= start and start + span - 1 <= grid.last for start in starts)
    assert len(set(starts)) == len(starts) == min(num, places)
    assert sorted(start * len(starts) // places for start in starts) == pytest.approx(range(len(starts)), abs=1)


def test_windows_spread_over_an_hour() -> None:
    grid = grid_of(HOUR)
    starts = sorted(windows.window_starts(grid, 64, 12, rng(0)))
    assert starts[0] < grid.last / 12
    assert starts[-1] > grid.last * 11 / 12
    assert max(np.diff(starts)) <= 2 * grid.last / 12


def test_windows_are_not_drawn_to_key_frames() -> None:
    starts = [start for key in range(300) for start in windows.window_starts(grid_of(60), 16, 8, rng(key))]
    # Every 12th frame is a key frame.
    on_key_frame = np.mean([start % 12 == 0 for start in starts])
    assert abs(on_key_frame - 1 / 12) < 4 * np.sqrt(1 / 12 / len(starts))


def test_windows_come_in_keyed_order() -> None:
    first_is_earliest = [windows.window_starts(grid_of(60), 16, 4, rng(key))[0] < 1500 / 4 for key in range(400)]
    assert abs(np.mean(first_is_earliest) - 1 / 4) < 0.1


@pytest.mark.parametrize(("seconds", "expected"), [(2.0, 1), (4.0, 2), (3599.0, 5)])
def test_windows_are_as_many_as_fit_side_by_side(seconds: float, expected: int) -> None:
    assert windows.num_windows(grid_of(seconds), 50, 5) == expected


def test_a_video_shorter_than_a_window_is_filtered() -> None:
    with pytest.raises(Filtered, match="too_short"):
        windows.num_windows(grid_of(1.96), 50, 5)


@given(st.integers(0, 60), st.integers(2, 9), st.integers(0, 99))
def test_labels_are_balanced_within_a_source(num: int, num_classes: int, key: int) -> None:
    counts = np.bincount(windows.balanced_labels(num, num_classes, rng(key)), minlength=num_classes)
    assert len(counts) == num_classes
    assert counts.max() - counts.min() <= 1


def test_labels_are_balanced_in_expectation_at_every_draw() -> None:
    drawn = Counter((draw, int(label)) for key in range(1200) for draw, label in enumerate(labels_of(key)))
    assert len(drawn) == 4 * 6
    assert all(abs(count - 200) < 4.5 * np.sqrt(200) for count in drawn.values())


def labels_of(key: int) -> np.ndarray:
    return windows.balanced_labels(4, 6, rng(key))


def test_first_good_takes_the_first_without_fault() -> None:
    assert windows.first_good(["cuts", "", "static", "", ""], 2) == [1, 3]


def test_without_a_good_window_the_commonest_fault_is_told() -> None:
    with pytest.raises(Filtered) as caught:
        windows.first_good(["cuts", "static", "static"], 2)
    assert (caught.value.reason, caught.value.message) == ("static", "3 windows tried: 2 static, 1 cuts")


@pytest.mark.parametrize(
    ("pts_us", "expected"),
    [([1, 2, 3], 0), ([3, 2, 1], 0), ([1, 2, 3, 1, 2], 1), ([5, 4, 9, 8], 1), ([1, 2, 2, 3], 1)],
)
def test_seams_are_jumps_against_the_direction(pts_us: list[int], expected: int) -> None:
    assert windows.num_seams(pts_us) == expected


def test_even_steps_may_differ_by_rounding_alone() -> None:
    assert windows.is_even(np.array([0, 33_000, 67_000, 100_000]))
    assert not windows.is_even(np.array([0, 33_000, 99_000, 133_000]))
    assert not windows.is_even(np.array([5, 5, 5]))


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True).map(sorted), st.integers(-5, 1005))
def test_bucket_of_finds_the_bucket_that_holds_a_gap(edges: list[int], gap: int) -> None:
    expected = [k for k in range(len(edges) - 1) if edges[k] <= gap < edges[k + 1]]
    assert windows.bucket_of(gap, edges) == (expected[0] if expected else -1)


EDGES_US = (40_000, 100_000, 250_000, 630_000, 1_600_000, 4_000_000, 10_000_000)


@given(st.sampled_from([15, 24, 25, 30, 50, 60, 120]), st.integers(0, 10_000))
def test_every_gap_lies_in_its_bucket(fps: int, key: int) -> None:
    grid = windows.frame_grid(samples.video_info(20, fps))
    steps = windows.gap_steps(grid, EDGES_US, np.random.default_rng(key))
    assert [windows.bucket_of(round(step * grid.interval_us), EDGES_US) for step in steps] == list(range(6))


def test_gaps_are_spread_evenly_on_a_logarithmic_scale() -> None:
    grid = windows.frame_grid(samples.video_info(20, 60))
    generator = np.random.default_rng(0)
    last = [windows.gap_steps(grid, EDGES_US, generator)[-1] for _ in range(2000)]
    middle = np.sqrt(4_000_000 * 10_000_000) / float(grid.interval_us)
    assert abs(np.mean(np.array(last) < middle) - 0.5) < 0.05


def test_a_rate_too_low_for_the_shortest_gap_is_filtered() -> None:
    with pytest.raises(Filtered, match="low_frame_rate"):
        windows.gap_steps(windows.frame_grid(samples.video_info(20, 10)), EDGES_US, np.random.default_rng(0))


def test_clips_of_one_source_are_bounded() -> None:
    windows.check_clip_bytes(9, 16, 320)
    with pytest.raises(ConfigError, match="max_windows"):
        windows.check_clip_bytes(90, 16, 320)


@given(st.integers(0, 10**10), st.integers(0, 10**10))
def test_estimates_grow_with_the_source_up_to_the_cap(one: int, other: int) -> None:
    small, large = (windows.estimate_windows(size, 2_000_000, 6) for size in sorted((one, other)))
    assert 1 <= small <= large <= 6


def test_a_still_is_estimated_by_its_area() -> None:
    assert windows.estimate_still_bytes(224) > 3 * windows.estimate_still_bytes(112)
