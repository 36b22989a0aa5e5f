"""Every command has a typed call that returns what its --json prints, and the README names it; its examples run."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner
from unlabeled.jobs import Materialize, reading
from unlabeled.jobs.cli import app
from unlabeled.jobs.gc import collect_garbage
from unlabeled.jobs.preview import preview
from unlabeled.jobs.ray_start import started_ray
from unlabeled.jobs.schedule import load_schedule, now
from unlabeled.jobs.schedule_render import render
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.storage import Store

from tests import planted
from tests.small_datasets import fill

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
#: Narrates what the calls of other commands return, and has no --json.
NARRATED = {"demo"}
#: Differs from call to call: the time it took, and what gc finds of the lease that the call before it held.
OF_THE_CALL = {"seconds", "num_spared"}


def commands() -> dict[str, Any]:
    """Return every command by the words that call it."""
    found: dict[str, Any] = {}

    def walk(group: Any, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*words, name))
            else:
                found[" ".join((*words, name))] = command

    walk(typer.main.get_command(app), ())
    return found


def between(marks: str) -> str:
    return README.partition(f"<!-- {marks}:begin -->")[2].partition(f"<!-- {marks}:end -->")[0]


def documented() -> list[tuple[list[str], list[str], list[str]]]:
    """Return the README's rows: commands, calls, types."""
    cells = [line.strip("|").split("|") for line in between("calls").strip().splitlines()[2:]]
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in row) for row in cells]  # type: ignore[misc]


def call_of(path: str) -> Any:
    module, *names = path.split(".")
    found = importlib.import_module(f"unlabeled.jobs.{module}")
    for name in names:
        found = getattr(found, name)
    return found


def models_in(hint: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        yield hint
    for inner in hint if isinstance(hint, list) else typing.get_args(hint):
        yield from models_in(inner)


def test_every_command_stands_in_the_table_and_takes_json() -> None:
    named = [name for row in documented() for name in row[0]]
    assert sorted(named) == sorted(set(commands()) - NARRATED)
    without = {name for name, one in commands().items() if not any(p.name == "as_json" for p in one.params)}
    assert without == NARRATED


@pytest.mark.parametrize(("names", "calls", "types"), documented())
def test_the_calls_return_frozen_models(names: list[str], calls: list[str], types: list[str]) -> None:
    returned: set[type[BaseModel]] = set()
    for path in calls:
        call = call_of(path)
        assert inspect.getdoc(call)
        hints = typing.get_type_hints(call)
        # What runs for ever hands each report to its caller.
        returned |= set(models_in(hints.get("on_tick", hints["return"])))
    assert {model.__name__ for model in returned} == set(types)
    assert all(model.model_config.get("frozen") for model in returned)


@pytest.fixture(scope="module")
def rotations(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("rotations")
    return planted.build("image_rotation", planted.photographs(folder / "in", 4), folder / "out", side_px=48)


def told(*arguments: str) -> dict[str, Any]:
    """Return what a command prints with --json, less what differs from call to call."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return {name: value for name, value in report.items() if name not in OF_THE_CALL}


def dumped(report: BaseModel) -> dict[str, Any]:
    return json.loads(report.model_dump_json(exclude=OF_THE_CALL))  # type: ignore[no-any-return]


def test_commands_print_what_their_calls_return(rotations: Store, tmp_path: Path) -> None:
    uri = rotations.uri
    (example, *_) = reading.show(uri).files["train"]
    identity = pq.read_table(example)["example_id"][0].as_py()
    page = tmp_path / "page.html"
    assert told("tasks", "-t", "image_jigsaw") == dumped(reading.tasks(["image_jigsaw"]))
    assert told("show", uri) == dumped(reading.show(uri))
    assert told("show", uri, identity) == dumped(reading.show_example(uri, identity))
    assert told("rejects", uri) == dumped(reading.rejects(uri))
    assert told("verify", uri) == dumped(verify_dataset(uri))
    assert told("gc", uri) == dumped(collect_garbage(uri))
    assert told("preview", uri, "--out", str(page)) == dumped(preview(uri, page))
    plan = ["plan", "-t", "image_rotation", "-i", f"{uri}/../in", "-o", str(tmp_path / "new"), "--pilot", "0"]
    (planned,) = Materialize(["image_rotation"], f"{uri}/../in", str(tmp_path / "new")).plan(num_pilot_sources=0)
    assert told(*plan) == dumped(planned)


def test_schedules_are_told_as_their_calls_return_them(tmp_path: Path) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text("{name: nightly, cron: '0 0 1 1 *', command: tasks}")
    schedule = load_schedule(path)
    assert told("schedule", "next", str(path)) == dumped(schedule.coming(5, now()))
    assert told("schedule", "render", str(path), "--to", "systemd") == dumped(render(schedule, "systemd", path))


def write_media(folder: Path) -> None:
    planted.photographs(folder / "photographs")
    planted.sounds(folder / "recordings")
    planted.videos(folder / "films")
    text = "The gauge at the weir was read at noon. Nobody had expected the water to rise by night. "
    fill(folder / "letters", {f"{number}.txt": f"Letter {number}. {text * 40}".encode() for number in range(4)})


@pytest.mark.slow
def test_the_examples_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_media(tmp_path)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", between("examples"), re.DOTALL)
    assert len(examples) == 4
    with started_ray(RunSettings(num_cpus=1)):
        for example in examples:
            exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own text
    made = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert made == ["arrow", "clips", "rotation", "words"]
    assert all(reading.show(str(tmp_path / "made" / name)).counts.num_examples for name in made)
    assert (tmp_path / "words.html").is_file()
    first, *_, rederived, shown = capsys.readouterr().out.splitlines()
    assert first.startswith("12 ")
    assert int(rederived) > 0
    assert int(shown) > 0
