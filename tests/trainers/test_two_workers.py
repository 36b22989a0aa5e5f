"""Two workers without Ray: the same examples a step as one, weights whole or in shards."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.encoders.build import load_encoder
from unlabeled.trainers.loop import Report

from tests.loading import turns
from tests.training import losses, settings, trained

pytestmark = pytest.mark.slow

#: Without batch norm, whose statistics are each worker's own.
NET = {"encoder.name": "vit-mini", "encoder.patch_px": 8, "optimizer.name": "sgd"}
CODE = """
import json, sys, torch
import torch.distributed as dist
from unlabeled.trainers.pretrain import pretrain_here
from unlabeled.trainers.ranks import Ranks
from unlabeled.trainers.run import Run
torch.set_num_threads(1)
rank, run = int(sys.argv[1]), Run.model_validate(json.loads(sys.argv[2]))
dist.init_process_group("gloo", rank=rank, world_size=2)
reports = []
pretrain_here(run, Ranks(rank, 2, 0), reports.append)
dist.destroy_process_group()
if rank == 0:
    print(json.dumps([report["loss"] for report in reports if "loss" in report]))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"))


def two_workers(dataset: Store, output: Path, strategy: str) -> list[float]:
    from unlabeled.trainers.pretrain import prepare

    run = prepare(dataset.uri, str(output), settings(**NET, **{"compute.strategy": strategy}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(rank), run.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs[0][1] + outputs[1][1]
    found: list[float] = json.loads(outputs[0][0].strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_workers_learn_what_one_learns(dataset: Store, tmp_path: Path, strategy: str) -> None:
    alone: list[Report] = []
    trained(dataset, tmp_path / "alone", settings(**NET), alone)
    found = two_workers(dataset, tmp_path / "two", strategy)
    assert found == pytest.approx(losses(alone), rel=1e-3)
    assert load_encoder(tmp_path / "two" / "encoder").spec.name == "vit-mini"
