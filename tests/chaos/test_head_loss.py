"""The head of a Ray cluster dies while a driver lives on: who comes next waits; nothing is made twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from unlabeled.jobs import Client, CommandLine
from unlabeled.pipeline.manifest import versions

from tests.conftest import Bucket
from tests.fault_proxy import FaultProxy, Rule, fault_proxy
from tests.ray_head import RayHead, forget_token, kill_family, start_head, start_node
from tests.runs import Place, cli, files_of, materialize_arguments, num_receipts, put_photographs

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

NUM_PHOTOGRAPHS = 48
#: So long everything that is waited for may take on a machine that does much else.
PATIENCE_SECONDS = 600.0
ORPHAN_IP = "127.0.0.6"


@pytest.fixture
def proxy(s3: Bucket) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint_url) as made:
        yield made


@pytest.fixture
def head(s3: Bucket, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayHead]:
    """A head without CPUs; all work is done on one more node."""
    env = {**s3.env, "AWS_ENDPOINT_URL": proxy.endpoint_url}
    running = start_head(num_cpus=0, env=env, is_bare=False, ip="127.0.0.5")
    node = None
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in running.env.items():
                patch.setenv(name, value)
            forget_token()
            node = start_node(running, 2, env, ORPHAN_IP)
            yield running
    finally:
        if node is not None:
            node.kill()
        running.kill()
        forget_token()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def test_what_a_head_leaves_behind_is_waited_for_and_used(head: RayHead, proxy: FaultProxy, s3: Bucket) -> None:
    """Its driver lives until Ray ends it: a run that will not wait exits 4, one that waits makes what is missing."""
    place = Place(s3.uri, s3.options)
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))
    calm = cli(*materialize_arguments(place, "in", "calm", "--num-cpus", "2"))
    assert calm.returncode == 0, calm.stderr

    # Every third shard waits in the proxy, so that the orphan is not done before it dies.
    hold = Rule("hold", method="PUT", path="out/data/", times=-1, every=3)
    proxy.rules.append(hold)
    arguments = materialize_arguments(place, "in", "out")
    Client(head.address).submit(CommandLine(*arguments), driver_resources={f"node:{ORPHAN_IP}": 0.01})
    wait_until(lambda: hold.num_injected > 0 and num_receipts(place.store("out")) > 0, "a shard that is made")
    kill_family(head.process)
    done = receipts_of(place)

    refused = cli(*arguments, "--num-cpus", "2")
    assert refused.returncode == 4, refused.stderr
    assert "another run is at work" in refused.stderr
    waited = cli(*arguments, "--num-cpus", "2", "--set", "run.lease_wait_seconds=600", timeout=PATIENCE_SECONDS)
    assert waited.returncode == 0, waited.stderr
    assert versions(place.store("out")) == [1]
    assert files_of(place.store("out")) == files_of(place.store("calm"))
    # What stood when the head died stands still: it was not made again.
    after = receipts_of(place)
    assert {key: after[key] for key in done} == done


def receipts_of(place: Place) -> dict[str, bytes]:
    store = place.store("out")
    return {info.key: store.get(info.key) for page in store.list("_receipts") for info in page}
