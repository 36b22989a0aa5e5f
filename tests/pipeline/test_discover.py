from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline import discover
from unlabeled.pipeline.discover import all_setting_names, find_task, make_task, settings_of, source_sha256, task_names
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.pretext.image_rotation import ImageRotation
from unlabeled.pipeline.task import PretextTask

from tests.small_datasets import Tiny

TASK = """
from dataclasses import dataclass
from unlabeled.pipeline.pretext.image_rotation import ImageRotation

@dataclass(frozen=True)
class {name}(ImageRotation):
    '''A task of the user's own.'''
"""


@pytest.fixture(autouse=True)
def _no_modules_left() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("users_"):
            del sys.modules[name]


def test_the_built_in_tasks_are_the_files_of_their_folder() -> None:
    files = Path(discover.__file__).parent.joinpath("pretext").glob("[!_]*.py")
    assert task_names() == sorted(path.stem for path in files)


@pytest.mark.parametrize("name", task_names())
def test_every_built_in_task_is_found_by_its_name(name: str) -> None:
    task = find_task(name)
    assert task.name() == name
    assert isinstance(make_task(task, {}), PretextTask)


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown task 'image_rotaton'\. Did you mean 'image_rotation'"):
        find_task("image_rotaton")


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "users_turns.py"
    path.write_text(TASK.format(name="Turns"))
    task = find_task(str(path))
    assert (task.__name__, task.name()) == ("Turns", "users_turns")
    assert find_task(str(path)) is task
    assert source_sha256(task) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"users_gone\.py`: there is no such file"):
        find_task(str(tmp_path / "users_gone.py"))


@pytest.mark.parametrize(
    ("text", "defines"),
    [("x = 1", "none"), (TASK.format(name="One") + TASK.format(name="Two"), "One, Two")],
)
def test_a_file_must_define_one_task(tmp_path: Path, text: str, defines: str) -> None:
    (tmp_path / "users_some.py").write_text(text)
    with pytest.raises(ConfigError, match=f"must define exactly one PretextTask, but defines {defines}"):
        find_task(str(tmp_path / "users_some.py"))


@pytest.mark.parametrize("text", ["def (", "import no_such_module_anywhere", "1 / 0"])
def test_a_file_that_does_not_run_is_refused_and_can_be_repaired(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users_broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"users_broken\.py` cannot be loaded: \w+Error"):
        find_task(str(path))
    path.write_text(TASK.format(name="Repaired"))
    assert find_task(str(path)).__name__ == "Repaired"


def test_a_file_with_the_name_of_a_loaded_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(TASK.format(name="Turns"))
    with pytest.raises(ConfigError, match="a module named 'json' is loaded already; rename the file"):
        find_task(str(tmp_path / "json.py"))


def test_a_class_in_a_module() -> None:
    assert find_task("unlabeled.pipeline.pretext.image_rotation:ImageRotation") is ImageRotation


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:Task", "No module named 'no_such_module'"),
        ("unlabeled.pipeline.pretext.image_rotation:Image", "'Image' in .* is no PretextTask"),
        ("unlabeled.pipeline.task:PretextTask", "'PretextTask' in .* is no PretextTask that can be used"),
        ("json:Turns", "'Turns' in json is no PretextTask"),
    ],
)
def test_a_module_without_the_task_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task(spec)


def test_settings_are_applied_over_the_defaults() -> None:
    task = make_task(ImageRotation, {"side_px": 64, "turns": "one"})
    assert task == ImageRotation(side_px=64, turns="one")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": 64}, r"task image_rotation has no setting 'side'\. Did you mean 'side_px'"),
        ({"side_px": "wide"}, "setting image_rotation.side_px: found 'wide', expected: .*integer"),
        ({"side_px": 1040}, "`side_px` must be at most 1024, but is 1040"),
        ({"turns": "two"}, "setting image_rotation.turns: found 'two', expected: .*'all' or 'one'"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(ImageRotation, settings)


def test_all_settings_with_their_values() -> None:
    assert settings_of(Tiny(num_draws=3)) == {"num_draws": 3, "payload_bytes": 8}


@pytest.mark.parametrize("name", task_names())
def test_settings_make_the_same_task_again(name: str) -> None:
    task = make_task(find_task(name), {})
    assert make_task(find_task(name), settings_of(task)) == task


def test_setting_names_of_all_tasks() -> None:
    assert {"side_px", "turns"} <= all_setting_names()
