"""Wrong usage: exit 2 (or 1) within seconds, one readable message, no stack trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Bucket
from tests.runs import cli, jpeg


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    return folder


def _fails(*arguments: str, code: int, saying: str, env: dict[str, str] | None = None) -> None:
    done = cli(*arguments, env=env, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert re.search(saying, " ".join(done.stderr.split())), done.stderr


def test_unknown_task_names_the_nearest(photographs: Path, tmp_path: Path) -> None:
    arguments = ("materialize", "-t", "image_rotatoin", "-i", str(photographs), "-o", str(tmp_path / "out"))
    _fails(*arguments, code=2, saying="unknown task 'image_rotatoin'. Did you mean 'image_rotation'")


@pytest.mark.parametrize(
    ("assignment", "saying"),
    [
        ("task.side=32", "no setting 'side'. Did you mean 'side_px'"),
        ("side_px=32", "Did you mean `task.side_px`"),
        ("task.side_px=wide", "side_px: found 'wide', expected"),
        ("task.side_px=33", "side_px: found 33, expected: Input should be a multiple of 16"),
        ("limits.max_pixel=3", "Did you mean `limits.max_pixels`"),
        ("seed=-1", "`seed`: found -1"),
    ],
)
def test_wrong_settings_are_named(photographs: Path, tmp_path: Path, assignment: str, saying: str) -> None:
    arguments = ("-t", "image_rotation", "-i", str(photographs), "-o", str(tmp_path / "out"), "--set", assignment)
    _fails("materialize", *arguments, code=2, saying=saying)


def test_missing_input_is_named(tmp_path: Path) -> None:
    arguments = ("-t", "image_rotation", "-i", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out"))
    _fails("materialize", *arguments, code=2, saying="nowhere")


@pytest.mark.parametrize("command", ["plan", "materialize"])
def test_a_second_input_is_not_forgotten_but_refused(photographs: Path, tmp_path: Path, command: str) -> None:
    arguments = ("-t", "image_rotation", "-i", str(photographs), "-i", "other", "-o", str(tmp_path / "out"))
    _fails(command, *arguments, code=2, saying=r"--input: found 2 \(.*, other\), expected one")


def test_missing_options_are_named() -> None:
    _fails("materialize", "-t", "image_rotation", code=2, saying="--input")


def test_unwritable_output_is_named(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    arguments = ("-t", "image_rotation", "-i", str(photographs), "-o", str(tmp_path / "file" / "out"))
    _fails("materialize", *arguments, code=1, saying="file")


def test_unknown_scheme_names_the_nearest(photographs: Path) -> None:
    arguments = ("-t", "image_rotation", "-i", str(photographs), "-o", "s4://bucket/out")
    _fails("materialize", *arguments, code=2, saying="found scheme 's4'")


def test_no_dataset_is_named(tmp_path: Path) -> None:
    _fails("show", str(tmp_path), code=1, saying="no dataset stands here")


@pytest.mark.s3
def test_wrong_credentials_are_named(s3: Bucket, photographs: Path) -> None:
    arguments = ("-t", "image_rotation", "-i", str(photographs), "-o", f"{s3.uri}/out")
    env = {**s3.env, "AWS_SECRET_ACCESS_KEY": "wrong"}
    _fails("materialize", *arguments, code=1, saying="(?i)denied|signature|403", env=env)


@pytest.mark.s3
def test_missing_prefix_is_named(s3: Bucket, tmp_path: Path) -> None:
    arguments = ("-t", "image_rotation", "-i", f"{s3.uri}/nowhere", "-o", str(tmp_path / "out"))
    _fails("materialize", *arguments, code=2, saying="nowhere", env=s3.env)
