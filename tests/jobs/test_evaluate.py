"""evaluate on a real dataset, from the command line too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from unlabeled.jobs.cli import app
from unlabeled.jobs.evaluate import evaluate, few_label
from unlabeled.jobs.finetune import finetune
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.evaluate import ProbeSettings
from unlabeled.trainers.few_label import FewLabelSettings
from unlabeled.trainers.finetune import FinetuneSettings

from tests.jobs.labels import make_labelled, make_run
from tests.runs import cli

PROBES = ProbeSettings(sides=(2,), l2=(1e-3,))
QUICK = FewLabelSettings(
    labels_per_class=(2, 5),
    num_draws=2,
    learning_rates=(4e-3,),
    max_steps=4,
    finetune=FinetuneSettings(num_steps=3),
    probe=PROBES,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    make_labelled(folder)
    make_run(folder)
    return folder


def test_train_and_val_are_the_dataset_s_splits(folder: Path) -> None:
    report = evaluate(str(folder / "run"), str(folder / "labelled"), settings=PROBES)
    assert report.num_train + report.num_test == 120
    assert report.num_test > 20
    assert report.classes == ("bottom", "left", "top")
    assert report.linear.pretrained.accuracy > 0.6


def test_another_dataset_to_test_on_leaves_all_labels_for_training(folder: Path) -> None:
    data = str(folder / "labelled")
    report = evaluate(str(folder / "run" / "encoder"), data, test_data=data, settings=PROBES)
    assert report.num_train == report.num_test == report.num_test_in_train == 120


def test_the_page_and_its_json_say_the_same(folder: Path) -> None:
    page = folder / "page.html"
    report = few_label(str(folder / "run"), str(folder / "labelled"), out=page, settings=QUICK)
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(report.model_dump_json())
    assert f"{100 * report.point('fine-tuned', 5).accuracy.mean:.1f} %" in page.read_text()


def test_a_fine_tuned_run_is_scored_but_has_no_few_label_report(folder: Path) -> None:
    run, data, output = str(folder / "run"), str(folder / "labelled"), str(folder / "tuned")
    tuned = finetune(run, data, output, labels_per_class=5, settings=FinetuneSettings(num_steps=3))
    report = evaluate(output, data, settings=PROBES)
    assert report.classifier == tuned.scores
    with pytest.raises(ConfigError, match="it was fine-tuned with labels"):
        few_label(output, data, settings=QUICK)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--few-label", "ten"], "`--few-label`: found 'ten', expected numbers"),
        (["--out", "page.html"], "`--out` and `--seeds` belong to `--few-label"),
        (["--set", "sidez=[1]"], "unknown setting `sidez`. Did you mean `sides`?"),
        (["--few-label", "2", "--out", "no/such/folder/page.html"], "`--out`: found"),
    ],
)
def test_wrong_usage_is_named(folder: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        app(["evaluate", str(folder / "run"), "--data", str(folder / "labelled"), *arguments], standalone_mode=False)


def test_json_is_one_object_with_the_report(folder: Path) -> None:
    done = cli(
        *("evaluate", str(folder / "run"), "--data", str(folder / "labelled"), "--few-label", "3,2", "--seeds", "2"),
        *("--set", "has_finetuning=false", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"]["labels_per_class"] == [2, 3]
