"""Recipes that are shipped are settings that are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import unlabeled.trainers
import yaml
from unlabeled.trainers.config import PretrainSettings

RECIPES = sorted((Path(unlabeled.trainers.__file__).parent / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_made_of_settings(recipe: Path) -> None:
    PretrainSettings.model_validate(yaml.safe_load(recipe.read_text(encoding="utf-8")))


def test_there_are_recipes() -> None:
    assert RECIPES
