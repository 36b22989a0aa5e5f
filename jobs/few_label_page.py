"""The few-label report as one static page: a plot, tables, what was chosen and what the intervals cover."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence

from ..pipeline.preview.charts import pairs, table
from ..pipeline.preview.markup import Html, join, tag
from ..pipeline.preview.style import CSS
from ..trainers.few_label import FewLabelReport, Gain, Method, Point
from ..trainers.scores import Interval

_COLOURS: dict[Method, str] = {
    "fine-tuned": "#0b6bcb",
    "from scratch": "#c2410c",
    "linear probe": "#1a7f4b",
    "linear probe, random init": "#7c8a2e",
    "kNN": "#7c3aed",
    "kNN, random init": "#b07cc6",
}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 400, 52, 190, 14, 46
_STYLE = (
    CSS
    + """
.plot{width:100%;max-width:960px;height:auto;font:13px system-ui,sans-serif}.plot text{fill:var(--fg)}
.plot .grid{stroke:var(--line);stroke-width:1}.plot .line{fill:none;stroke-width:2.2}
.plot .random{stroke-dasharray:6 4}.sure{font-weight:600}td.number,.scroll td+td{white-space:nowrap}
"""
)


def render(report: FewLabelReport) -> str:
    """Return the page, a whole document: it loads nothing and runs no script."""
    body = join(
        _head(report),
        tag("h2", "Accuracy by labels per class"),
        _plot(report),
        _accuracies(report),
        tag("h2", "What pretraining gains"),
        _gains(report),
        tag("h2", "How settings were chosen"),
        _chosen(report),
        tag("h2", "What this does and does not say"),
        _reading(report),
    )
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Few labels: {report.encoder}"),
        tag("style", Html(_STYLE)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en")


def _head(report: FewLabelReport) -> Html:
    facts = [
        (f"{len(report.classes)}", "classes"),
        (f"{report.num_train:,}", f"training examples, {report.num_held_out:,} held out"),
        (f"{report.num_test:,}", "test examples"),
        (f"{report.settings.num_draws}", "draws of labels"),
    ]
    facts += [
        (
            _signed(gain.difference.mean),
            f"points: {gain.method} over {gain.baseline}, {gain.labels_per_class} labels a class",
        )
        for gain in _headline(report)
    ]
    return join(
        tag("h1", "How many labels does pretraining save?"),
        tag("p", f"Encoder {report.encoder}, tested on {report.num_test:,} examples that nothing was chosen on."),
        tag("div", *(tag("div", tag("b", number), text, class_="fact") for number, text in facts), class_="facts"),
    )


def _headline(report: FewLabelReport) -> list[Gain]:
    fewest = min(report.settings.labels_per_class)
    shown = {("fine-tuned", "from scratch"), ("linear probe", "linear probe, random init")}
    return [gain for gain in report.gains if gain.labels_per_class == fewest and (gain.method, gain.baseline) in shown]


def _plot(report: FewLabelReport) -> Html:
    """Return lines with intervals; labels per class on a logarithmic scale."""
    counts = sorted(set(report.settings.labels_per_class))
    highs = [point.accuracy.high for point in report.points]
    lows = [1 / len(report.classes), *(point.accuracy.low for point in report.points)]
    bottom = max(0.0, math.floor(min(lows) * 10) / 10)
    top = min(1.0, math.ceil(max(highs) * 10) / 10)
    plot = _Scale(math.log(counts[0]), math.log(counts[-1]), bottom, max(top, bottom + 0.1))
    shapes: list[Html] = [
        *(plot.row(bottom + step / 10) for step in range(round((plot.top - bottom) * 10) + 1)),
        *(plot.column(count) for count in counts),
        plot.text(_LEFT + plot.width / 2, _HEIGHT - 6, "labels per class", anchor="middle"),
    ]
    ends: list[tuple[float, Method]] = []
    for method in dict.fromkeys(point.method for point in report.points):
        points = sorted((at for at in report.points if at.method == method), key=lambda at: at.labels_per_class)
        shapes += plot.curve(method, points)
        ends.append((plot.y(points[-1].accuracy.mean), method))
    shapes += _names(ends, plot)
    said = "Accuracy of each method by labels per class; the table below has the numbers."
    return tag("svg", *shapes, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=said, class_="plot")


def _names(ends: Sequence[tuple[float, Method]], plot: _Scale) -> list[Html]:
    """Return the methods' names at the ends of their lines, moved apart where they would overlap."""
    shapes, last = [], -math.inf
    for height, method in sorted(ends):
        last = max(height, last + 16)
        shapes.append(plot.text(_LEFT + plot.width + 12, last + 4, method, fill=_COLOURS[method]))
    return shapes


class _Scale:
    """From numbers to places in the picture."""

    def __init__(self, first: float, last: float, bottom: float, top: float) -> None:
        self._first, self._span = first, last - first
        self._bottom, self.top = bottom, top
        self.width, self._height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(self, count: int) -> float:
        """Return where a number of labels stands."""
        share = 0.5 if self._span == 0 else (math.log(count) - self._first) / self._span
        return _LEFT + 10 + share * (self.width - 20)

    def y(self, accuracy: float) -> float:
        """Return where an accuracy stands; intervals may reach beyond 0 and 1, the picture does not."""
        accuracy = min(max(accuracy, self._bottom), self.top)
        return _TOP + (self.top - accuracy) / (self.top - self._bottom) * self._height

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", fill: str | None = None) -> Html:
        """Return text, after a dot where there is a fill."""
        dot = [tag("circle", cx=f"{x + 4:.1f}", cy=f"{y - 4:.1f}", r=4, fill=fill)] if fill else []
        at = x + 14 if fill else x
        return join(*dot, tag("text", text, x=f"{at:.1f}", y=f"{y:.1f}", text_anchor=anchor))

    def row(self, accuracy: float) -> Html:
        """Return a grid line with its accuracy."""
        y = f"{self.y(accuracy):.1f}"
        line = tag("line", x1=_LEFT, x2=_LEFT + self.width, y1=y, y2=y, class_="grid")
        return join(line, self.text(_LEFT - 8, self.y(accuracy) + 4, f"{accuracy:.0%}", anchor="end"))

    def column(self, count: int) -> Html:
        """Return the mark of a number of labels."""
        return self.text(self.x(count), _HEIGHT - 26, str(count), anchor="middle")

    def curve(self, method: Method, points: Sequence[Point]) -> list[Html]:
        """Return a line with an interval at each point."""
        colour = _COLOURS[method]
        places = [(self.x(point.labels_per_class), point.accuracy) for point in points]
        line = " ".join(f"{x:.1f},{self.y(at.mean):.1f}" for x, at in places)
        style = "line random" if method.endswith("random init") else "line"
        return [
            tag("polyline", points=line, stroke=colour, class_=style),
            *(
                tag(
                    "line",
                    x1=f"{x:.1f}",
                    x2=f"{x:.1f}",
                    y1=f"{self.y(at.low):.1f}",
                    y2=f"{self.y(at.high):.1f}",
                    stroke=colour,
                    stroke_width=1.5,
                )
                for x, at in places
            ),
            *(tag("circle", cx=f"{x:.1f}", cy=f"{self.y(at.mean):.1f}", r=3.5, fill=colour) for x, at in places),
        ]


def _percent(interval: Interval) -> str:
    half = 100 * (interval.high - interval.mean)
    return f"{100 * interval.mean:.1f} %" + (f" ± {half:.1f}" if interval.method != "none" else "")


def _signed(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _accuracies(report: FewLabelReport) -> Html:
    counts = report.settings.labels_per_class
    rows = [
        [method, *(_percent(report.point(method, count).accuracy) for count in counts)]
        for method in dict.fromkeys(point.method for point in report.points)
    ]
    return table(["method", *(f"{count} labels" for count in counts)], rows, "Accuracy on the test examples")


def _gains(report: FewLabelReport) -> Html:
    counts = report.settings.labels_per_class
    found = {(gain.method, gain.baseline, gain.labels_per_class): gain.difference for gain in report.gains}
    rows = []
    for method, baseline in dict.fromkeys((gain.method, gain.baseline) for gain in report.gains):
        cells = [_difference(found[method, baseline, count]) for count in counts]
        rows.append([f"{method} less {baseline}", *cells])
    share = f"{report.settings.confidence:.0%}"
    return join(
        table(["points of accuracy", *(f"{count} labels" for count in counts)], rows, "Paired differences"),
        tag("p", f"Bold: the {share} interval excludes 0.", class_="dim"),
    )


def _difference(interval: Interval) -> Html:
    text = _signed(interval.mean)
    if interval.method != "none":
        text += f"  [{_signed(interval.low)}, {_signed(interval.high)}]"
    return tag("span", text, class_="sure" if interval.excludes_zero else None)


def _chosen(report: FewLabelReport) -> Html:
    rows = []
    for point in report.points:
        if point.probe is not None:
            l2 = "" if point.probe.l2 is None else f", l2 {point.probe.l2:g}"
            rows.append([point.method, str(point.labels_per_class), f"{point.probe.place}{l2}"])
        if point.training is not None:
            chosen = point.training
            end = "more steps gained nothing" if chosen.is_saturated else "most steps that were allowed"
            text = f"{chosen.num_steps} steps at {chosen.learning_rate:g}; {end}"
            rows.append([point.method, str(point.labels_per_class), text])
    return table(["method", "labels per class", "chosen on held-out training examples"], rows, "Settings")


def _reading(report: FewLabelReport) -> Html:
    settings = report.settings
    return join(
        tag(
            "p",
            f"Intervals are {settings.confidence:.0%} Student t intervals over {settings.num_draws} draws of labels, "
            "which all methods share. They cover another draw and the training's own randomness, not another "
            "pretraining run nor other test examples.",
        ),
        tag(
            "p",
            f"{report.num_test_in_train:,} of the {report.num_test:,} test examples equal a training example byte for "
            "byte. The random control has the encoder's architecture and batch norms that have seen the same media, "
            "and is probed at the same layer.",
        ),
        pairs([("training data", report.train_fingerprint), ("test data", report.test_fingerprint)]),
    )
