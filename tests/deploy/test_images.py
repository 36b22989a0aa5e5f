"""Dockerfiles: linted, not root, and pinned as the tests are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .rendered import DEPLOY, tool

DOCKERFILES = sorted((DEPLOY / "images").glob("*.Dockerfile"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_an_ordinary_user_with_the_versions_that_were_tested(path: Path) -> None:
    final = path.read_text().rpartition("\nFROM ")[2]
    assert "\nUSER 1000\n" in final
    assert "--constraint /wheels/constraints.txt" in final


def test_only_the_gpu_image_brings_torch() -> None:
    by_name = {path.name: path.read_text() for path in DOCKERFILES}
    assert sorted(by_name) == ["cpu.Dockerfile", "gpu.Dockerfile"]
    assert "torch" not in by_name["cpu.Dockerfile"]
    assert "[text,audit,train]" in by_name["gpu.Dockerfile"]


def test_every_copied_path_is_let_through() -> None:
    let_through = {
        line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for path in DOCKERFILES:
        lines = [line.split() for line in path.read_text().splitlines() if line.startswith("COPY ")]
        copied = [words[1:-1] for words in lines if not words[1].startswith("--from")]
        assert {name for names in copied for name in names} <= let_through
