from __future__ import annotations

from pathlib import Path

import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.config import PretrainSettings
from unlabeled.trainers.objectives.build import build_objective
from unlabeled.trainers.objectives.shapes import Material

from tests.loading import turns
from tests.trainers.objectives.test_shapes import known


def test_the_seed_alone_decides_the_weights(tmp_path: Path) -> None:
    data = known(turns(tmp_path, 8).uri)
    one, same, other = (build_objective(data, PretrainSettings(seed=seed)) for seed in (1, 1, 2))
    for first, second, third in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)
        assert first.ndim < 2 or not torch.equal(first, third)


def test_an_objective_that_no_trainer_knows_is_refused(tmp_path: Path) -> None:
    data = known(turns(tmp_path, 8).uri)
    strange = data.manifest.model_copy(update={"objective": "divination"})
    with pytest.raises(ConfigError, match="no trainer for the objective divination"):
        build_objective(Material(strange, data.rows, data.assets), PretrainSettings())
