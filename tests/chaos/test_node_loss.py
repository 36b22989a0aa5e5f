"""A Ray cluster of two nodes loses one in the middle of a job: the result is that of an undisturbed run."""

from __future__ import annotations

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
from tests.training_cli import losses, pretrain_arguments

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
    calm = client.wait(pretrain(client, data, f"{s3.uri}/calm"), timeout_seconds=PATIENCE_SECONDS)
    assert calm.exit_code == 0, client.logs(calm.submission_id).logs
    run = Store.open(f"{s3.uri}/run", s3.options)
    job = pretrain(client, data, run.uri)
    lose(node, job, run, proxy)
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


def test_pretrain_goes_on_with_fewer_workers(
    client: Client, node: RayNode, proxy: FaultProxy, s3: Bucket, tmp_path: Path
) -> None:
    """The second node is gone after the first checkpoint and nothing replaces it: one worker sees the same batches."""
    data = copied(turns(tmp_path), Store.open(f"{s3.uri}/turns", s3.options))
    calm = client.wait(pretrain(client, data, f"{s3.uri}/calm"), timeout_seconds=PATIENCE_SECONDS)
    assert calm.exit_code == 0, client.logs(calm.submission_id).logs
    run = Store.open(f"{s3.uri}/run", s3.options)
    job = pretrain(client, data, run.uri, "run.min_workers=1", "run.replacement_seconds=0")
    lose(node, job, run, proxy)
    ended = client.wait(job, timeout_seconds=PATIENCE_SECONDS)
    assert ended.exit_code == 0, client.logs(job).logs
    found, expected = client.report(job), client.report(calm.submission_id)
    assert (expected["world_size"], found["world_size"]) == (2, 1)
    assert found["start_step"] > 0
    assert [found[name] for name in ("num_steps", "num_examples")] == [
        expected[name] for name in ("num_steps", "num_examples")
    ]
    lost, wanted = (losses(client.logs(of).logs, is_exact=False) for of in (job, calm.submission_id))
    assert lost.keys() == wanted.keys()
    assert [float(lost[step]) for step in lost] == pytest.approx([float(wanted[step]) for step in lost], rel=2e-2)


def pretrain(client: Client, data: Store, output: str, *settings: str) -> str:
    """Submit a run on two workers of one CPU each; return the job's id."""
    command = CommandLine(*pretrain_arguments(data.uri, output, *settings))
    return client.submit(command, driver_resources={"head": 1}).submission_id


def lose(node: RayNode, job: str, run: Store, proxy: FaultProxy) -> None:
    """Kill a node that trains, while the second checkpoint is held on its way to the store."""
    hold = Rule("hold", method="PUT", path="run/checkpoints/step-00000010", times=-1)
    proxy.rules.append(hold)
    wait_until(lambda: hold.num_seen > 0 and Checkpoints(run).newest() is not None, f"the first checkpoint of {job}")
    assert node.runs("RayTrainWorker")
    node.kill()
    proxy.rules.remove(hold)
    hold.released.set()


def copied(source: Store, target: Store) -> Store:
    for page in source.list():
        for info in page:
            target.put(info.key, source.get(info.key))
    return target
