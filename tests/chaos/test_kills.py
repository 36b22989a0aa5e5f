"""A driver killed at the worst moments: the dataset is what it was or what it becomes; the next run makes it whole."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator

import pytest
from unlabeled.pipeline.manifest import versions

from tests.conftest import Bucket
from tests.fault_proxy import FaultProxy, Rule, fault_proxy
from tests.runs import Place, cli, command, files_of, materialize_arguments, put_photographs

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

NUM_PHOTOGRAPHS = 48


@pytest.fixture
def calm(s3: Bucket) -> Place:
    """A bucket with photographs in `in` and what an undisturbed run makes of them in `calm`."""
    place = Place(s3.uri, s3.options)
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))
    done = cli(*materialize_arguments(place, "in", "calm", "--num-cpus", "2"))
    assert done.returncode == 0, done.stderr
    return place


def _start(place: Place, proxy: FaultProxy) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*materialize_arguments(place, "in", "out", "--num-cpus", "2")),
        env={**os.environ, "AWS_ENDPOINT_URL": proxy.endpoint_url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("moment", "rule"),
    [
        ("planning", Rule("hold", method="PUT", path="out/_plans/.*json")),
        ("first shard", Rule("hold", method="PUT", path="out/data/")),
        ("a shard without its receipt", Rule("hold", method="PUT", path="out/_receipts/", times=1, every=5)),
        ("between the last shard and the manifest", Rule("hold", method="PUT", path="out/_tables/")),
        ("publishing, before the store has it", Rule("hold", method="PUT", path="out/_manifests/")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_driver_killed_at(calm: Place, moment: str, rule: Rule) -> None:
    """The rule holds the request of that moment; the driver is killed while it waits."""
    with fault_proxy(calm.options.endpoint_url, rule) as proxy:
        driver = _start(calm, proxy)
        assert rule.arrived.wait(120), moment
        driver.send_signal(signal.SIGKILL)
        driver.wait(timeout=30)
    assert versions(calm.store("out")) == []
    again = cli(*materialize_arguments(calm, "in", "out", "--num-cpus", "2"))
    assert again.returncode == 0, again.stderr
    assert versions(calm.store("out")) == [1]
    assert files_of(calm.store("out")) == files_of(calm.store("calm"))


def test_a_driver_killed_after_publishing_before_it_knows(calm: Place) -> None:
    """The store has the version, the reply never came: the next run finds nothing to do."""
    lost = Rule("lost_reply", method="PUT", path="out/_manifests/")
    after = Rule("hold", method="PUT|GET", path="out/(_manifests/|README)")
    with fault_proxy(calm.options.endpoint_url, lost) as proxy:
        driver = _start(calm, proxy)
        stop = threading.Event()
        killer = threading.Thread(target=_kill_once_injected, args=(driver, lost, proxy, after, stop))
        killer.start()
        driver.wait(timeout=180)
        stop.set()
        killer.join(timeout=10)
    assert driver.returncode == -signal.SIGKILL
    assert versions(calm.store("out")) == [1]
    again = cli(*materialize_arguments(calm, "in", "out", "--num-cpus", "2"))
    assert again.returncode == 0, again.stderr
    assert versions(calm.store("out")) == [1]
    assert files_of(calm.store("out")) == files_of(calm.store("calm"))


def _kill_once_injected(
    driver: subprocess.Popen[bytes], lost: Rule, proxy: FaultProxy, after: Rule, stop: threading.Event
) -> None:
    while not lost.num_injected and not stop.is_set():
        stop.wait(0.005)
    proxy.rules.append(after)
    driver.kill()


def test_a_storm_of_twenty_ticks_publishes_one_version(calm: Place) -> None:
    """A scheduler that makes up missed ticks starts all of them within seconds."""
    codes = [tick.wait(timeout=400) for tick in _in_waves([_tick(calm)] * 20)]
    assert set(codes) <= {0, 4}
    assert codes.count(0) >= 1
    assert versions(calm.store("out")) == [1]
    assert files_of(calm.store("out")) == files_of(calm.store("calm"))


def _tick(place: Place) -> list[str]:
    return command(*materialize_arguments(place, "in", "out", "--num-cpus", "1"))


def _in_waves(commands: list[list[str]]) -> Iterator[subprocess.Popen[bytes]]:
    """Run five at a time: each starts a Ray of its own, which a small machine cannot take twenty times at once."""
    for first in range(0, len(commands), 5):
        wave = [
            subprocess.Popen(tick, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for tick in commands[first : first + 5]
        ]
        yield from wave
