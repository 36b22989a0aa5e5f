from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from unlabeled.jobs.cli import app
from unlabeled.jobs.preview import preview
from unlabeled.pipeline.errors import ConfigError, NotFound

from tests.pipeline.preview.shown import FILES, make_dataset, read


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("preview"), FILES).uri


def test_the_report_says_what_was_written(dataset: str, tmp_path: Path) -> None:
    report = preview(dataset, tmp_path / "page.html", num_examples=5)
    written = (tmp_path / "page.html").read_bytes()
    assert (report.version, report.num_examples, report.num_bytes) == (1, 5, len(written))
    assert len(read(written.decode()).all("article")) == 5


def test_an_older_page_is_replaced_and_nothing_else_is_left(dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    preview(dataset, out, num_examples=1)
    assert out.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("out", [".", "missing/page.html"])
def test_a_place_that_is_none_is_refused(dataset: str, tmp_path: Path, out: str) -> None:
    with pytest.raises(ConfigError, match="--out"):
        preview(dataset, tmp_path / out)


def test_no_examples_are_refused(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--examples"):
        preview(dataset, tmp_path / "page.html", num_examples=0)


def test_a_place_without_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no dataset stands here"):
        preview(str(tmp_path), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_prints_one_json_object(dataset: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["preview", dataset, "--out", str(out), "--examples", "3", "--json"])
    report = json.loads(result.stdout)
    assert (report["task"], report["num_examples"], report["out"]) == ("imagerotation", 3, str(out))


def test_the_command_says_where_the_page_is(dataset: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["preview", dataset, "--out", str(tmp_path / "page.html")])
    assert "page.html" in result.stdout
