"""What a run was begun with decides how it goes on."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from unlabeled.pipeline.errors import ConfigError, NotFound
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.mixture import DataShare
from unlabeled.trainers.run import freeze, resolve, result_of

from tests.loading import turns
from tests.training import settings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"), 8)


def test_a_run_names_the_version_and_is_written_only_when_it_is_frozen(dataset: Store, tmp_path: Path) -> None:
    run = resolve(dataset.uri, str(tmp_path / "run"), settings())
    assert run.shares == (DataShare(dataset.uri, Fraction(1), 1),)
    assert not (tmp_path / "run").exists()
    freeze(run)
    assert resolve(dataset.uri, str(tmp_path / "run"), settings()) == run
    assert result_of(run.output) is None


def test_other_settings_for_a_run_that_has_begun_are_refused_by_name(dataset: Store, tmp_path: Path) -> None:
    freeze(resolve(dataset.uri, str(tmp_path), settings()))
    with pytest.raises(ConfigError, match=r"`optimizer\.name`: found 'sgd', but the run at .* was begun with 'adamw'"):
        resolve(dataset.uri, str(tmp_path), settings(**{"optimizer.name": "sgd"}))
    resolve(dataset.uri, str(tmp_path), settings(**{"run.log_steps": 7}))  # how, not what


def test_other_shares_are_another_run(dataset: Store, tmp_path: Path) -> None:
    freeze(resolve([DataShare(dataset.uri, 0.7)], str(tmp_path), settings()))
    with pytest.raises(ConfigError, match=r"`data`: found .*'3/5'.*begun with .*'7/10'"):
        resolve([DataShare(dataset.uri, 0.6)], str(tmp_path), settings())


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing"):
        resolve(str(tmp_path / "nothing"), str(tmp_path / "run"), settings())
