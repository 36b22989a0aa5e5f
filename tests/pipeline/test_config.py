from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from unlabeled.pipeline.config import Recipe, RunSettings, ShardSettings, first_difference, parse, setting_paths
from unlabeled.pipeline.errors import ConfigError

from tests.small_datasets import recipe


def test_settings_are_read_into_the_model() -> None:
    run = parse(RunSettings, {"num_cpus": 2, "rejects": {"max_rejects_min": 3}})
    assert (run.num_cpus, run.rejects.max_rejects_min, run.rejects.max_reject_fraction) == (2, 3, 0.05)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"num_cpu": 2}, r"unknown setting `run\.num_cpu`\. Did you mean `run\.num_cpus`\?"),
        ({"rejects": {"max_rejects": 2}}, r"unknown setting `run\.rejects\.max_rejects`\. Did you mean `run\.rejects"),
        (
            {"max_rejects_min": 2},
            r"unknown setting `run\.max_rejects_min`\. Did you mean `run\.rejects\.max_rejects_m",
        ),
        ({"zzz": 2}, r"unknown setting `run\.zzz`\. Known: run\.num_cpus, "),
        ({"num_cpus": 0}, r"setting `run\.num_cpus`: found 0, expected: .*greater than or equal to 1"),
        ({"num_cpus": "many"}, r"setting `run\.num_cpus`: found 'many', expected: .*integer"),
        ({"rejects": 3}, r"setting `run\.rejects`: found 3, expected: .*dictionary"),
        ({"rejects": {"max_reject_fraction": 2}}, r"setting `run\.rejects\.max_reject_fraction`: found 2, expected: "),
    ],
)
def test_wrong_settings_are_refused_by_name(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(RunSettings, data, "run")


def test_a_setting_at_the_top_needs_no_prefix() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting `target_bytes`\. Did you mean `target_num_bytes`\?"):
        parse(ShardSettings, {"target_bytes": 1})


def test_paths_of_all_settings() -> None:
    paths = setting_paths(Recipe)
    assert {"seed", "task.name", "limits.max_pixels", "shard.target_num_bytes"} <= set(paths)
    assert len(paths) == len(set(paths))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe().seed = 3


def test_a_recipe_is_read_back_from_json() -> None:
    made = recipe(include=("*.jpg",), group_by="(.)", column="image")
    assert Recipe.model_validate_json(made.model_dump_json()) == made


# What stands in every row: another value here means that existing datasets no longer match their recipe.
def test_the_hash_is_16_hex_digits_over_all_fields() -> None:
    assert len(recipe().hash) == 16
    assert recipe().hash == recipe().hash
    assert int(recipe().hash, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"val_fraction": 0.1},
        {"group_by": "x"},
        {"group_csv_sha256": "0"},
        {"column": "image"},
        {"include": ("*",)},
        {"limits": {"max_pixels": 1}},
        {"decode": {"truncated": "decode"}},
        {"shard": {"row_group_max_rows": 1}},
        {"task": {"name": "tiny", "version": "2", "source_sha256": "0" * 64, "settings": {}}},
        {"task": {"name": "tiny", "version": "1", "source_sha256": "1" * 64, "settings": {}}},
        {"task": {"name": "tiny", "version": "1", "source_sha256": "0" * 64, "settings": {"side_px": 1}}},
    ],
)
def test_every_field_changes_the_hash(changes: dict[str, Any]) -> None:
    assert recipe(**changes).hash != recipe().hash


def test_no_difference_between_equal_settings() -> None:
    assert first_difference({"a": {"b": 1}}, {"a": {"b": 1}}) is None


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ("b", 2, 3)),
        ({"b": 2, "a": {"x": 1, "c": 1}}, {"b": 3, "a": {"x": 2, "c": 1}}, ("a.x", 1, 2)),
        ({"a": 1}, {}, ("a", 1, None)),
        ({}, {"a": {"b": 1}}, ("a", None, {"b": 1})),
        ({"a": {}}, {"a": {"b": 1}}, ("a.b", None, 1)),
    ],
)
def test_the_first_difference_is_named(old: dict[str, Any], new: dict[str, Any], difference: tuple[Any, ...]) -> None:
    assert first_difference(old, new) == difference
