from __future__ import annotations

import json
from pathlib import Path

import pytest
from unlabeled.jobs.cli import app
from unlabeled.jobs.finetune import finetune
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.classifier_file import load_classifier
from unlabeled.trainers.finetune import FinetuneSettings

from tests.jobs.labels import make_labelled, make_run
from tests.runs import cli

QUICK = FinetuneSettings(num_steps=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    make_labelled(folder, 60)
    make_run(folder)
    return folder


@pytest.mark.parametrize(("wanted", "num_labels"), [({}, None), ({"labels_per_class": 4}, 12), ({"num_labels": 7}, 7)])
def test_all_labels_or_a_draw_of_them(folder: Path, wanted: dict[str, int], num_labels: int | None) -> None:
    output = str(folder / f"tuned {num_labels}")
    report = finetune(str(folder / "run"), str(folder / "labelled"), output, settings=QUICK, **wanted)
    assert report.num_labels == (num_labels or 60 - report.num_test)
    assert load_classifier(output)[1].num_labels == report.num_labels
    assert sum(map(sum, report.scores.confusion)) == report.num_test


def test_a_run_is_never_overwritten(folder: Path) -> None:
    with pytest.raises(ConfigError, match="exists; a run is never overwritten"):
        finetune(str(folder / "run"), str(folder / "labelled"), str(folder / "run"), settings=QUICK)


def test_no_encoder_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run nor an encoder"):
        finetune(str(folder / "in"), str(folder / "labelled"), str(folder / "x"), settings=QUICK)


def test_from_the_command_line(folder: Path) -> None:
    run, data = str(folder / "run"), str(folder / "labelled")
    output = str(folder / "by command")
    done = cli(
        *("finetune", "--run", run, "--data", data, "--output", output, "--mode", "linear"),
        *("--labels-per-class", "3", "--set", "num_steps=2", "--json"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["mode"], report["num_labels"]) == ("linear", 9)


def test_neither_run_nor_encoder_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="give either `--run RUN` or `--encoder FOLDER`"):
        app(["finetune", "--data", str(folder / "labelled"), "--output", "x"], standalone_mode=False)
