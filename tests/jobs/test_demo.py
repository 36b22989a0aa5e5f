from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from unlabeled.jobs import demo
from unlabeled.jobs.config import load_settings

from tests.runs import cli


def test_the_options_that_are_shown_are_those_that_are_used() -> None:
    spec = demo.rotation("photographs", "rotation")
    shown = demo.OPTIONS.replace(" --set ", "\n").split()
    assert load_settings(None, shown, {}, ["image_rotation"]) == (
        spec.settings.model_copy(update={"task": {"side_px": 32}}),
        spec.task_settings,
    )


@pytest.mark.slow
def test_from_media_to_the_few_label_page_and_nothing_is_made_twice(tmp_path: Path) -> None:
    first, again = (cli("demo", "--output", str(tmp_path / "rotation"), "--num-photographs", "300") for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    report = json.loads((tmp_path / "few-label.json").read_text())
    assert {point["method"] for point in report["points"]} >= {"fine-tuned", "from scratch", "linear probe"}
    assert "few-label.html" in again.stdout
    assert "labels a class" not in again.stdout


@pytest.mark.slow
def test_without_torch_the_dataset_is_made_and_the_rest_is_said_to_be_left_out(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from unlabeled.jobs.cli import main; main()"
    arguments = ["demo", "--output", str(tmp_path / "rotation"), "--num-photographs", "300"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Left out: pretraining" in done.stdout
    assert (tmp_path / "rotation" / "_manifests").is_dir()
    assert not (tmp_path / "run").exists()
