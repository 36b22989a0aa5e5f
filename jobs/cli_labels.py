"""Commands that use labels: finetune, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import AsJson, ConfigOption, Debug, SeedOption, SetOption, app

if TYPE_CHECKING:
    from ..trainers.evaluate import EvaluateReport
    from ..trainers.few_label import FewLabelReport

_DATA = Annotated[
    str, typer.Option("--data", help="Dataset with labels (task labelled_media); its train split has the labels.")
]
_TEST_DATA = Annotated[
    str | None,
    typer.Option("--test-data", help="Another dataset to test on; then all of --data has labels. Default: val split."),
]


@app.command()
def finetune(
    data: _DATA,
    output: Annotated[str, typer.Option("--output", "-o", help="Folder for the classifier; must not exist.")],
    run: Annotated[str | None, typer.Option("--run", help="Folder of a pretraining run.")] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Folder of an encoder, instead of a run.")] = None,
    test_data: _TEST_DATA = None,
    mode: Annotated[str | None, typer.Option(help="whole, frozen or linear. [default: whole]")] = None,
    labels_per_class: Annotated[int | None, typer.Option(help="Use so many labels of each class.")] = None,
    num_labels: Annotated[int | None, typer.Option(help="Use so many labels of whatever class.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a classifier from an encoder and all or a few labels, and test it."""
    from ..pipeline.errors import ConfigError
    from ..trainers.finetune import FinetuneSettings
    from .config import read_settings
    from .finetune import finetune as train
    from .output import format_seconds, print_json, print_pairs

    source = run or encoder
    if source is None or (run and encoder):
        raise ConfigError("give either `--run RUN` or `--encoder FOLDER`.")
    settings = read_settings(FinetuneSettings, config, set_ or [], {"mode": mode, "seed": seed})
    report = train(
        source,
        data,
        output,
        test_data=test_data,
        labels_per_class=labels_per_class,
        num_labels=num_labels,
        settings=settings,
    )
    if as_json:
        print_json(report)
        return
    print_pairs(
        f"{report.output}: {report.encoder} with {report.num_labels:,} labels of {len(report.classes)} classes",
        [
            ("accuracy", f"{report.scores.accuracy:.1%} of {report.num_test:,} test examples"),
            ("macro-F1", f"{report.scores.macro_f1:.3f}"),
            ("took", format_seconds(report.seconds)),
        ],
    )


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run, or of an encoder.")],
    data: _DATA,
    test_data: _TEST_DATA = None,
    few_label: Annotated[
        str | None, typer.Option("--few-label", help="Labels per class to compare with, such as 10,20,100.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Draws of labels, with --few-label. [default: 5]")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="HTML page to write, with --few-label.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Score an encoder's features, or with --few-label what they are worth beside training from scratch."""
    from ..pipeline.errors import ConfigError
    from ..trainers.evaluate import ProbeSettings
    from ..trainers.few_label import FewLabelSettings
    from . import evaluate as evaluation
    from .config import read_settings
    from .output import ShownProgress, print_json

    if few_label is None:
        if out is not None or seeds is not None:
            raise ConfigError("`--out` and `--seeds` belong to `--few-label K,K,...`.")
        probes = read_settings(ProbeSettings, config, set_ or [], {"seed": seed})
        scored = evaluation.evaluate(run, data, test_data=test_data, settings=probes)
        print_json(scored) if as_json else _print_scores(scored)
        return
    counts = _counts(few_label)
    overrides = {"labels_per_class": counts, "num_draws": seeds, "seed": seed}
    settings = read_settings(FewLabelSettings, config, set_ or [], overrides)
    progress = ShownProgress()
    report = evaluation.few_label(run, data, test_data=test_data, out=out, settings=settings, progress=progress)
    print_json(report) if as_json else _print_few_label(report, out)


def _counts(text: str) -> list[int]:
    from ..pipeline.errors import ConfigError

    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise ConfigError(f"`--few-label`: found {text!r}, expected numbers of labels such as 10,20,100.")
    return sorted({int(part) for part in parts})


def _print_scores(report: EvaluateReport) -> None:
    from .output import console, print_table

    rows = [
        [f"{name} at {probes.choice.place}", who, f"{scores.accuracy:.1%}", f"{scores.macro_f1:.3f}"]
        for name, probes in (("linear probe", report.linear), ("kNN", report.knn))
        for who, scores in (("pretrained", probes.pretrained), ("random init", probes.random_init))
    ]
    if report.classifier is not None:
        scores = report.classifier
        rows.insert(0, ["classifier", "fine-tuned", f"{scores.accuracy:.1%}", f"{scores.macro_f1:.3f}"])
    print_table(["method", "encoder", "accuracy", "macro-F1"], rows)
    console().print(f"{report.num_train:,} training and {report.num_test:,} test examples", style="dim")


def _print_few_label(report: FewLabelReport, out: Path | None) -> None:
    from .output import console, print_table

    counts = report.settings.labels_per_class
    methods = list(dict.fromkeys(point.method for point in report.points))
    rows = [[method, *(f"{report.point(method, count).accuracy.mean:.1%}" for count in counts)] for method in methods]
    for method, baseline in dict.fromkeys((gain.method, gain.baseline) for gain in report.gains):
        differences = [gain.difference for gain in report.gains if (gain.method, gain.baseline) == (method, baseline)]
        cells = [f"{100 * at.mean:+.1f} [{100 * at.low:+.1f}, {100 * at.high:+.1f}]" for at in differences]
        rows.append([f"{method} less {baseline}", *cells])
    print_table(["accuracy, points", *(f"{count} labels" for count in counts)], rows)
    if out is not None:
        console().print(f"  page     {out}, {out.with_suffix('.json')}", markup=False)
