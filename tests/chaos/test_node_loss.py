"""A Ray cluster of two nodes loses one in the middle of a job: the result is that of an undisturbed run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unlabeled.jobs import Client, CommandLine
from unlabeled.pipeline.manifest import versions
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.checkpoint import Checkpoints

from tests.conftest import Bucket
from tests.fault_proxy import FaultProxy, Rule, fault_proxy
from tests.loading import turns
from tests.ray_head import RayHead, RayNode, forget_token, start_head, start_node
from tests.runs import Place, files_of, materialize_arguments, num_receipts, put_photographs
from tests.seaweed import SeaweedServer

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

NUM_PHOTOGRAPHS = 96
#: So long everything that is waited for may take on a machine that does much else.
PATIENCE_SECONDS = 600.0


@pytest.fixture(scope="module")
def proxy(s3_server: SeaweedServer) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.endpoint_url) as made:
        yield made


@pytest.fixture(scope="module")
def env(s3_server: SeaweedServer, proxy: FaultProxy) -> dict[str, str]:
    """Return the cluster's environment: its nodes reach the store, through the proxy."""
    return {**s3_server.env, "AWS_ENDPOINT_URL": proxy.endpoint_url, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def head(env: dict[str, str]) -> Iterator[RayHead]:
    with pytest.MonkeyPatch.context() as patch:
        running = start_head(num_cpus=2, env=env, is_bare=False, ip="127.0.0.2")
        for name, value in running.env.items():
            patch.setenv(name, value)
        forget_token()
        yield running
        running.kill()
    forget_token()


@pytest.fixture
def client(head: RayHead) -> Client:
    return Client(head.address)


@pytest.fixture
def node(head: RayHead, env: dict[str, str]) -> Iterator[RayNode]:
    made = start_node(head, 1, env, "127.0.0.3")
    yield made
    made.kill()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def test_materialize_survives_the_loss_of_a_node(client: Client, node: RayNode, proxy: FaultProxy, s3: Bucket) -> None:
    """Writes of shards are held, so that it is in the middle; then one node is gone, and nothing replaces it."""
    place = Place(s3.uri, s3.options)
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))

    def submit(output: str) -> str:
        command = CommandLine(*materialize_arguments(place, "in", output))
        return client.submit(command, driver_resources={"head": 1}).submission_id

    calm = client.wait(submit("calm"), timeout_seconds=PATIENCE_SECONDS)
    assert calm.exit_code == 0, client.logs(calm.submission_id).logs
    hold = Rule("hold", method="PUT", path="out/data/", times=-1)
    proxy.rules.append(hold)
    job = submit("out")
    wait_until(lambda: hold.num_seen >= 2 and node.runs("materialize_image_rotation"), "a shard from each node")
    node.kill()
    proxy.rules.remove(hold)
    hold.released.set()
    ended = client.wait(job, timeout_seconds=PATIENCE_SECONDS)
    assert ended.exit_code == 0, client.logs(job).logs
    assert versions(place.store("out")) == [1]
    assert files_of(place.store("out")) == files_of(place.store("calm"))
    assert num_receipts(place.store("out")) == num_receipts(place.store("calm"))


def test_pretrain_survives_the_loss_of_a_node(
    head: RayHead, client: Client, node: RayNode, env: dict[str, str], proxy: FaultProxy, s3: Bucket, tmp_path: Path
) -> None:
    """One worker on each node; the second node is gone after the first checkpoint, and another one joins."""
    data = copied(turns(tmp_path), Store.open(f"{s3.uri}/turns", s3.options))

    def submit(output: str) -> str:
        command = CommandLine(
            *("pretrain", "--data", data.uri, "--output", f"{s3.uri}/{output}", "--num-workers", "2"),
            *("--encoder", "vit-mini", "--set", "encoder.patch_px=8", "--epochs", "4", "--batch-size", "16"),
            *("--set", "compute.precision=float32", "--set", "run.cpus_per_worker=1"),
            *("--set", "run.log_steps=1", "--set", "run.checkpoint_steps=5"),
        )
        return client.submit(command, driver_resources={"head": 1}).submission_id

    calm = client.wait(submit("calm"), timeout_seconds=PATIENCE_SECONDS)
    assert calm.exit_code == 0, client.logs(calm.submission_id).logs
    run = Store.open(f"{s3.uri}/run", s3.options)
    hold = Rule("hold", method="PUT", path="run/checkpoints/step-00000010", times=-1)
    proxy.rules.append(hold)
    job = submit("run")
    wait_until(lambda: hold.num_seen > 0 and Checkpoints(run).newest() is not None, "the first checkpoint")
    assert node.runs("RayTrainWorker")
    node.kill()
    proxy.rules.remove(hold)
    hold.released.set()
    another = start_node(head, 1, env, "127.0.0.4")
    try:
        ended = client.wait(job, timeout_seconds=PATIENCE_SECONDS)
    finally:
        another.kill()
    assert ended.exit_code == 0, client.logs(job).logs
    assert client.report(job)["start_step"] > 0
    assert losses(client.logs(job).logs) == losses(client.logs(calm.submission_id).logs)
    weights = "encoder/model.safetensors"
    assert run.get(weights) == Store.open(f"{s3.uri}/calm", s3.options).get(weights)


def losses(log: str) -> dict[int, str]:
    """Return step -> loss as a run's log tells them; steps that were made again must have lost the same."""
    found: dict[int, str] = {}
    for step, loss in re.findall(r"step (\d+) of \d+, loss ([\d.e+-]+)", log):
        assert found.setdefault(int(step), loss) == loss
    return found


def copied(source: Store, target: Store) -> Store:
    for page in source.list():
        for info in page:
            target.put(info.key, source.get(info.key))
    return target
