from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unlabeled.jobs.config import Settings, load_settings
from unlabeled.pipeline.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


def load(*assignments: str, config: Path | None = None, **overrides: Any) -> Settings:
    return load_settings(config, assignments, overrides, ["image_rotation"])[0]


def load_task(*assignments: str, config: Path | None = None, **overrides: Any) -> dict[str, Any]:
    return load_settings(config, assignments, overrides, ["image_rotation"])[1]["image_rotation"]


def test_nothing_given_means_defaults() -> None:
    assert load() == Settings()
    assert load_task() == {}


def test_a_file_is_read(tmp_path: Path) -> None:
    settings = load(config=write(tmp_path, "seed: 7\nrun: {num_cpus: 2}\ninclude: ['*.jpg']\n"))
    assert (settings.seed, settings.run.num_cpus, settings.include) == (7, 2, ("*.jpg",))


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_an_empty_file_means_defaults(tmp_path: Path, text: str) -> None:
    assert load(config=write(tmp_path, text)) == Settings()


@pytest.mark.parametrize("name", ["run", "task", "image_rotation"])
def test_a_section_whose_lines_are_all_comments_means_defaults(tmp_path: Path, name: str) -> None:
    config = write(tmp_path, f"{name}:\n  # x: 1\n")
    assert load(config=config) == Settings()
    assert load("run.num_cpus=2", config=config).run.num_cpus == 2


def test_later_sources_win(tmp_path: Path) -> None:
    config = write(tmp_path, "seed: 1\nval_fraction: 0.1\nrun: {num_cpus: 1}\n")
    settings = load("seed=2", "run.num_cpus=2", config=config, **{"run.num_cpus": 3, "seed": None})
    assert (settings.seed, settings.val_fraction, settings.run.num_cpus) == (2, 0.1, 3)


def test_a_section_keeps_what_is_not_set() -> None:
    settings = load("run.num_cpus=2", "run.rejects.max_rejects_min=0")
    assert (settings.run.num_cpus, settings.run.rejects.max_rejects_min) == (2, 0)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("", ""), ("[1, 2]", [1, 2]), ("a=b", "a=b"), ("1.5", 1.5), ("null", None)]
)
def test_values_on_the_command_line_are_yaml(text: str, value: Any) -> None:
    assert load_task(f"task.x={text}") == {"x": value}


@pytest.mark.parametrize(("text", "dedup"), [("off", "off"), ("'off'", "off"), ("group", "group")])
def test_words_that_yaml_1_1_takes_for_booleans_are_words(text: str, dedup: str, tmp_path: Path) -> None:
    assert load(f"dedup={text}").dedup == load(config=write(tmp_path, f"dedup: {text}")).dedup == dedup


def test_a_section_task_goes_to_every_task_and_its_own_section_wins(tmp_path: Path) -> None:
    config = write(tmp_path, "task: {side_px: 32, crop: random}\nimage_rotation: {side_px: 64}\n")
    _, by_task = load_settings(config, [], {}, ["image_rotation", "image_jigsaw"])
    assert by_task == {
        "image_rotation": {"side_px": 64, "crop": "random"},
        "image_jigsaw": {"side_px": 32, "crop": "random"},
    }


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sed=3", r"unknown setting `sed`\. Did you mean 'seed'"),
        ("side_px=64", r"unknown setting `side_px`\. Did you mean `task\.side_px`\?"),
        ("run.num_cpu=3", r"unknown setting `run\.num_cpu`\. Did you mean `run\.num_cpus`\?"),
        ("seed=few", r"setting `seed`: found 'few', expected: .*integer"),
        ("run=3", r"setting `run`: found 3, expected"),
        ("task=3", r"setting `task`: found 3, expected a section"),
        ("seed", r"`--set seed`: expected name=value"),
        ("=3", r"`--set =3`: expected name=value"),
        ("seed=[", r"`--set seed=\[`: '\[' is not a value"),
    ],
)
def test_wrong_settings_are_refused_by_name(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(assignment)


def test_a_value_is_no_section() -> None:
    with pytest.raises(ConfigError, match=r"setting `seed\.x`: `seed` is a value, not a section"):
        load("seed=3", "seed.x=4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [", "not YAML"),
        ("- seed", "expected a mapping of settings, found list"),
        ("1: 2", "unknown setting `1`"),
        ("run: {1: 2}", r"setting `run\.1`: found 1, expected: .*strings"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(config=write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml`: there is no such file"):
        load(config=tmp_path / "no.yaml")


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`--config .*`: cannot be read: "):
        load(config=tmp_path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ConfigError, match=r"run\.yaml`: not YAML"):
        load(config=tmp_path / "run.yaml")
