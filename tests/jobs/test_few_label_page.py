from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from unlabeled.jobs.few_label_page import render
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.evaluate import ProbeSettings
from unlabeled.trainers.few_label import FewLabelReport, FewLabelSettings, few_label

from tests.trainers.pictures import bars


@pytest.fixture(scope="module")
def report() -> FewLabelReport:
    settings = FewLabelSettings(
        labels_per_class=(2, 4), num_draws=3, has_finetuning=False, probe=ProbeSettings(sides=(1,), l2=(1e-3,))
    )
    return few_label(build_encoder("resnet-small", side_px=16, seed=0), bars(60, 0), bars(30, 1), settings)


def test_the_page_loads_nothing_and_runs_nothing(report: FewLabelReport) -> None:
    page = render(report)
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"<script|https?://|src=|@import|url\(", page)


def test_every_number_of_the_table_is_in_the_page(report: FewLabelReport) -> None:
    page = render(report)
    for point in report.points:
        assert f"{100 * point.accuracy.mean:.1f} %" in page
    for gain in report.gains:
        assert f"{100 * gain.difference.mean:+.1f}" in page


def test_each_method_has_a_line_with_its_intervals(report: FewLabelReport) -> None:
    page = render(report)
    assert page.count("<polyline") == 4
    assert page.count("<circle") == 4 * 2 + 4


def test_names_of_classes_and_encoders_are_escaped_and_tags_are_closed(report: FewLabelReport) -> None:
    page = render(report.model_copy(update={"encoder": "<b>x"}))
    assert "<b>x" not in page
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(page)
    assert not opened


def test_one_number_of_labels_and_one_draw_are_a_page_too(report: FewLabelReport) -> None:
    settings = report.settings.model_copy(update={"labels_per_class": (2,), "num_draws": 1})
    points = tuple(point for point in report.points if point.labels_per_class == 2)
    gains = tuple(gain for gain in report.gains if gain.labels_per_class == 2)
    assert "2 labels" in render(report.model_copy(update={"settings": settings, "points": points, "gains": gains}))
