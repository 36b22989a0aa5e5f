"""`unlabeled evaluate`: what an encoder knows of labels, and how many labels it saves."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..pipeline.errors import ConfigError
from ..trainers.classifier_file import find_encoder
from ..trainers.evaluate import EvaluateReport, ProbeSettings
from ..trainers.evaluate import evaluate as evaluate_encoder
from ..trainers.few_label import FewLabelReport, FewLabelSettings, Progress
from ..trainers.few_label import few_label as compare
from ..trainers.labelled import read_train_and_test, require_fit
from .few_label_page import render
from .finetune import MAX_EXAMPLES


def evaluate(
    run: str, data: str, *, test_data: str | None = None, settings: ProbeSettings | None = None
) -> EvaluateReport:
    """Return scores of probes fitted on the train split, and of the run's classifier where it has one.

    Raises:
        ConfigError: no encoder, no labels, an unknown layer.
        NotFound: there is no such dataset.
    """
    encoder, classifier = find_encoder(run)
    train, test = read_train_and_test(data, test_data, MAX_EXAMPLES)
    require_fit(encoder, train)
    return evaluate_encoder(encoder, train, test, settings or ProbeSettings(), classifier)


def few_label(
    run: str,
    data: str,
    *,
    test_data: str | None = None,
    out: str | Path | None = None,
    settings: FewLabelSettings | None = None,
    progress: Progress | None = None,
) -> FewLabelReport:
    """Return the few-label report of a run; with `out` also write it as a page, and as JSON beside it.

    Raises:
        ConfigError: no encoder, a fine-tuned run, too few labels, or `out` is no place for a file.
        NotFound: there is no such dataset.
    """
    page = None if out is None else _require_place(Path(out))
    encoder, classifier = find_encoder(run)
    if classifier is not None:
        raise ConfigError(f"{run}: it was fine-tuned with labels; the few-label report is of a pretrained encoder.")
    train, test = read_train_and_test(data, test_data, MAX_EXAMPLES)
    require_fit(encoder, train)
    report = compare(encoder, train, test, settings or FewLabelSettings(), progress)
    if page is not None:
        _replace(page, render(report))
        _replace(page.with_suffix(".json"), json.dumps(report.model_dump(mode="json"), indent=1) + "\n")
    return report


def _require_place(page: Path) -> Path:
    if page.is_dir() or not page.parent.is_dir() or page.suffix == ".json":
        raise ConfigError(f"`--out`: found {str(page)!r}, expected the name of a page in a folder that exists.")
    return page


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
