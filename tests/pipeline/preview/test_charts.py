from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.preview import charts

from tests.pipeline.preview.shown import read


def widths(html: str) -> list[float]:
    return [float(bar["width"].rstrip("%")) for bar in read(html).all("rect")]


def test_bars_are_as_long_as_their_counts() -> None:
    assert widths(charts.bars({"a": 1, "b": 4, "c": 2}, "Counts")) == [100.0, 50.0, 25.0]


def test_bars_keep_the_order_of_classes() -> None:
    assert widths(charts.bars({"a": 1, "b": 4, "c": 0}, "Counts", by_count=False)) == [25.0, 100.0, 0.0]


def test_of_many_names_the_commonest_and_the_rarest_are_shown() -> None:
    page = read(charts.bars({f"name {number}": number for number in range(1, 101)}, "Counts"))
    assert len(page.all("rect")) == 24
    assert "name 100" in page.texts
    assert "name 1" in page.texts
    assert "… 76 more in between" in page.texts


def test_no_counts_are_an_empty_table() -> None:
    assert not widths(charts.bars({}, "Counts"))


def test_names_are_escaped() -> None:
    assert "<script>" in read(charts.bars({"<script>": 1}, "Counts")).text


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_a_histogram_says_least_median_and_most(values: list[float]) -> None:
    page = read(charts.histogram(values, "Sizes", repr))
    (picture,) = page.all("svg")
    said = picture["aria-label"]
    assert repr(float(np.median(values))) in said or min(values) == max(values)
    assert said.startswith("Sizes: from ")
    assert max(float(bar["height"]) for bar in page.all("rect")) == 100


def test_a_histogram_of_nothing_says_so() -> None:
    assert "nothing to show" in charts.histogram([float("nan")], "Sizes", str)


def test_a_waveform_reaches_as_far_as_the_sound() -> None:
    sound = np.zeros(3000, np.float32)
    sound[1500] = 0.5
    (outline,) = read(charts.waveform(sound, "a click")).all("polygon")
    heights = [float(point.split(",")[1]) for point in outline["points"].split()]
    assert min(heights) == 2.0
    assert heights.count(2.0) == 1


def test_silence_and_no_sound_have_a_waveform() -> None:
    for samples in (np.zeros(100, np.float32), np.zeros(0, np.float32)):
        assert read(charts.waveform(samples, "silence")).all("svg")[0]["aria-label"] == "silence"


def test_a_table_has_its_caption_and_scrolls_by_itself() -> None:
    page = read(charts.table(("key",), [("<b>",)], "Keys"))
    assert page.texts == ["Keys", "key", "<b>"]
    assert page.all("div")[0]["tabindex"] == "0"


def test_pairs_are_a_description_list() -> None:
    assert read(charts.pairs([("seed", 0)])).texts == ["seed", "0"]
