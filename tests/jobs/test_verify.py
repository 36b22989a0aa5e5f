"""The command's exit code and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import Store

from tests import planted
from tests.runs import cli


@pytest.fixture
def dataset(tmp_path: Path) -> Store:
    return planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=32)


def test_a_fault_is_exit_5_with_shard_and_row(dataset: Store, tmp_path: Path) -> None:
    done = cli("verify", dataset.uri, "--json")
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)
    key = planted.forge(dataset, lambda rows: rows[5].update(label=(rows[5]["label"] + 1) % 4), tmp_path)
    done = cli("verify", dataset.uri, "--rederive", "1.0")
    assert done.returncode == 5
    assert f"{key} row 5" in done.stderr


def test_a_fraction_is_between_nothing_and_all(dataset: Store) -> None:
    with pytest.raises(ConfigError, match=r"within \[0, 1\]"):
        verify_dataset(dataset.uri, rederive_fraction=1.5)
