"""The loop on a dataset of a few small pictures, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from unlabeled.pipeline.errors import Interrupted, UnlabeledError
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.checkpoint import Checkpoints
from unlabeled.trainers.loop import Report

from tests.loading import turns
from tests.training import Stopper, losses, settings, trained


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


def test_a_stopped_run_goes_on_bit_by_bit_as_if_it_had_never_stopped(dataset: Store, tmp_path: Path) -> None:
    whole, first, rest = (list[Report]() for _ in range(3))
    trained(dataset, tmp_path / "whole", settings(), whole)
    with pytest.raises(Interrupted, match="stopped at step 4 of 10"):
        trained(dataset, tmp_path / "cut", settings(), first, Stopper(4))
    result = trained(dataset, tmp_path / "cut", settings(), rest)
    assert result.start_step == 4
    assert losses(first) + losses(rest) == losses(whole)


def test_a_killed_run_goes_on_from_its_last_commit(dataset: Store, tmp_path: Path) -> None:
    whole, rest = list[Report](), list[Report]()
    trained(dataset, tmp_path / "run", settings(**{"run.checkpoint_steps": 3}), whole)
    store = Store.open(tmp_path / "run")
    # As a kill before the end leaves it: no result, and of the newest states no commit.
    store.delete(["result.json", "checkpoints/step-00000010.json"])
    assert trained(dataset, tmp_path / "run", settings(**{"run.checkpoint_steps": 3}), rest).start_step == 9
    assert losses(rest) == losses(whole)[9:]


def test_micro_batches_add_up_to_the_same_step(dataset: Store, tmp_path: Path) -> None:
    # Without batch norm, which sees each micro batch by itself.
    encoder = {"encoder.name": "vit-mini", "encoder.patch_px": 8}
    found = []
    for size in (None, 8):
        reports: list[Report] = []
        changes = {**encoder, "compute.micro_batch_size": size, "optimizer.name": "sgd"}
        trained(dataset, tmp_path / str(size), settings(**changes), reports)
        found.append(losses(reports))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(dataset: Store, tmp_path: Path) -> None:
    wild = settings(**{"optimizer.name": "sgd", "optimizer.learning_rate": 1e30, "optimizer.warmup_fraction": 0.0})
    with pytest.raises(UnlabeledError, match="the loss is nan at step"):
        trained(dataset, tmp_path, wild, [])
    assert Checkpoints(Store.open(tmp_path)).newest() is None


def test_reports_hold_what_people_watch(dataset: Store, tmp_path: Path) -> None:
    reports: list[Report] = []
    trained(dataset, tmp_path, settings(), reports)
    watched = {"loss", "accuracy", "learning_rate", "grad_norm", "examples_per_second", "data_wait_fraction"}
    assert watched <= set(reports[0])
    assert reports[0]["grad_norm"] > 0
    assert 0 <= reports[0]["data_wait_fraction"] <= 1
    assert {"val_loss", "val_accuracy"} <= set(reports[-1])


def test_a_running_mean_is_what_is_saved_in_the_end(dataset: Store, tmp_path: Path) -> None:
    from unlabeled.trainers.encoders.build import load_encoder

    for decay in (0.0, 0.99):
        trained(dataset, tmp_path / str(decay), settings(ema_decay=decay), [])
    plain, mean = (load_encoder(tmp_path / name / "encoder") for name in ("0.0", "0.99"))
    assert not torch.equal(next(plain.parameters()), next(mean.parameters()))
