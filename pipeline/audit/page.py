"""The audit's page: what the label means here, then family by family with its interval. One file, no script."""

from __future__ import annotations

from collections.abc import Sequence

from ..preview.about import section
from ..preview.charts import table
from ..preview.markup import Html, join, name, tag
from ..preview.style import document
from .report import AuditReport, FamilyReport, TrivialReport
from .scores import FAIL_ABOVE, PASS_AT_MOST

#: The plot's scores, left to right, and its size.
_LEAST, _MOST, _WIDTH, _HEIGHT = -0.1, 1.0, 260, 22


def render(report: AuditReport) -> str:
    """Return the whole document."""
    body = join(
        tag("h1", f"Audit: {report.task}"),
        tag("p", f"{report.objective} · version {report.version} of ", name(report.dataset)),
        _facts(report),
        _meaning(report),
        _families("families", "Can cheap cues tell the label?", report, is_semantic=False),
        _families("semantic", "Legitimate cues, for comparison", report, is_semantic=True),
        _trivial(report.trivial),
        _reading(),
    )
    return document(f"Audit of {report.task}, version {report.version}", body)


def _facts(report: AuditReport) -> Html:
    share = report.num_examples / max(1, report.num_dataset_examples)
    facts: list[tuple[object, str]] = [
        (_verdict(report.verdict), "verdict"),
        (_verdict(report.meaning.verdict), "meaning"),
        (f"{report.num_examples:,}", f"examples looked at, {min(1.0, share):.0%} of {report.num_dataset_examples:,}"),
        (f"{report.num_groups:,}", "groups of sources"),
    ]
    return tag("div", *(tag("div", tag("b", value), text, class_="fact") for value, text in facts), class_="facts")


def _meaning(report: AuditReport) -> Html:
    meaning = report.meaning
    children = [tag("p", _verdict(meaning.verdict), ": ", meaning.message)]
    if meaning.num_examples:
        children.append(
            tag(
                "p",
                f"Small network: score {meaning.score:.3f} [{meaning.low:.3f}, {meaning.high:.3f}] on "
                f"{meaning.num_examples:,} examples of sources that it did not learn from. ",
                _plot(meaning.score, meaning.low, meaning.high),
            )
        )
    return section("meaning", "Does the label mean anything here?", *children)


def _families(key: str, title: str, report: AuditReport, *, is_semantic: bool) -> Html:
    families = [one for one in report.worst_first if (one.verdict == "semantic") == is_semantic]
    if not families:
        return Html("") if is_semantic or report.trivial else section(key, title, tag("p", "There is no label."))
    rows = [_row(one) for one in families]
    head = ("family", "label", "score", "", "verdict", "permuted", "examples", "looks at")
    return section(key, title, table(head, rows, "Score of each family on sources that were not learnt from"))


def _row(one: FamilyReport) -> Sequence[object]:
    missing = f" (about {one.num_missing:,} examples missing)" if one.num_missing else ""
    return (
        _whole(name(one.family)),
        _whole(name(one.target)),
        _interval(one.score, one.low, one.high),
        _plot(one.score, one.low, one.high),
        join(_verdict(one.verdict), missing),
        f"{one.control:.3f}",
        f"{one.num_examples:,}",
        one.about,
    )


def _interval(value: float, low: float, high: float) -> Html:
    return _whole(f"{value:.3f} [{low:.3f}, {high:.3f}]")


def _whole(text: object) -> Html:
    """Return text on one line."""
    return tag("span", text, class_="nowrap")


def _trivial(found: Sequence[TrivialReport]) -> Html:
    if not found:
        return Html("")
    rows = [
        (
            name(one.predictor),
            f"{one.skill:.3f} [{one.skill_low:.3f}, {one.skill_high:.3f}]",
            f"{one.solved:.1%} [{one.solved_low:.1%}, {one.solved_high:.1%}]",
            _plot(one.solved, one.solved_low, one.solved_high, zone=0.5),
            _verdict(one.verdict),
            f"{one.num_examples:,}",
        )
        for one in found
    ]
    head = ("predictor", "skill", "examples solved", "", "verdict", "examples")
    note = "Skill is the share of the spread around a constant that is explained; a trained model must do better."
    return section("trivial", "What nothing learnt solves", table(head, rows, "Trivial predictors"), tag("p", note))


def _reading() -> Html:
    text = (
        "A score is (accuracy - chance) / (1 - chance), or R2 of a number, with its 95 % interval over groups of "
        f"sources. pass: surely at most {PASS_AT_MOST}; fail: surely more than {FAIL_ABOVE}, corrected for the number "
        "of families (Holm); inconclusive: more examples are needed. permuted: the same probe on permuted labels, "
        "which should be near 0. The plot runs from -0.1 to 1; the band is what passes."
    )
    return section("reading", "How to read this", tag("p", text, class_="dim"))


def _verdict(word: str) -> Html:
    return tag("span", word, class_=f"verdict {word}")


def _plot(value: float, low: float, high: float, *, zone: float = PASS_AT_MOST) -> Html:
    """Return a score and its interval on one line: -0.1 to 1, the passing band marked."""
    x = [round((min(max(at, _LEAST), _MOST) - _LEAST) / (_MOST - _LEAST) * _WIDTH, 1) for at in (low, value, high)]
    zero, end = ((at - _LEAST) / (_MOST - _LEAST) * _WIDTH for at in (0.0, zone))
    middle = _HEIGHT / 2
    return tag(
        "svg",
        tag("rect", x=0, y=0, width=f"{end:.1f}", height=_HEIGHT, class_="zone"),
        tag("line", x1=f"{zero:.1f}", x2=f"{zero:.1f}", y1=0, y2=_HEIGHT, class_="axis"),
        tag("line", x1=x[0], x2=x[2], y1=middle, y2=middle),
        tag("circle", cx=x[1], cy=middle, r=4),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{value:.3f}, from {low:.3f} to {high:.3f}",
        class_="forest",
    )
