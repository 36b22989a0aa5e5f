"""The page says first what the label means, names what fails, and fetches nothing."""

from __future__ import annotations

from unlabeled.pipeline.audit.page import render
from unlabeled.pipeline.audit.report import MeaningReport, TrivialReport

from tests.audited import family, report
from tests.pipeline.preview.shown import read


def test_what_fails_comes_first_and_semantic_cues_stand_apart() -> None:
    found = (family("geometry", "pass"), family("container", "fail"), family("layout", "semantic"))
    html = render(report(families=found))
    assert html.index(">container<") < html.index(">geometry<") < html.index("Legitimate") < html.index(">layout<")


def test_meaning_stands_before_the_families() -> None:
    meaning = MeaningReport(verdict="void", message="Nothing here.", num_examples=9, low=-0.1, high=0.02)
    html = render(report(meaning=meaning, families=(family("container", "pass"),)))
    assert html.index("Nothing here.") < html.index(">container<")


def test_figures_are_text_and_plot() -> None:
    html = render(report(families=(family("container", "inconclusive", 0.25),)))
    assert "0.250 [0.150, 0.350]" in html
    assert 'aria-label="0.250, from 0.150 to 0.350"' in html
    assert "about 500 examples missing" in html


def test_trivial_predictors_have_their_table() -> None:
    figures = {"skill": 0.5, "skill_low": 0.4, "skill_high": 0.6, "solved": 0.2, "solved_low": 0.1, "solved_high": 0.3}
    found = TrivialReport(predictor="copy_last", num_examples=9, num_groups=9, verdict="pass", **figures)
    assert "20.0% [10.0%, 30.0%]" in render(report(trivial=(found,)))


def test_nothing_is_markup_and_nothing_is_fetched() -> None:
    shown = read(render(report(families=(family("container", "fail"),))))
    assert "what it <looks> at" in shown.texts
    for _, attributes in shown.elements:
        assert not {"src", "style", "onload", "srcset"} & attributes.keys()
