"""Faults of the object store during a run: what passes is outlived, what stays ends it with key and code."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from unlabeled.pipeline.errors import UnlabeledError
from unlabeled.pipeline.manifest import versions

from tests.conftest import Bucket
from tests.fault_proxy import Kind, Rule, fault_proxy
from tests.runs import Place, files_of, manifest_of, put_photographs, rows_of, run, through

pytestmark = [pytest.mark.chaos, pytest.mark.s3]

NUM_PHOTOGRAPHS = 24


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    from unlabeled.jobs.ray_start import started_ray
    from unlabeled.pipeline.config import RunSettings

    with started_ray(RunSettings(num_cpus=2)):
        yield


@pytest.fixture
def calm(s3: Bucket) -> Place:
    """A bucket with photographs in `in` and what an undisturbed run makes of them in `calm`."""
    place = Place(s3.uri, s3.options)
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))
    run(place, output="calm")
    return place


def _assert_as_calm(place: Place) -> None:
    assert files_of(place.store("out")) == files_of(place.store("calm"))
    assert manifest_of(place.store("out")).fingerprint == manifest_of(place.store("calm")).fingerprint


@pytest.mark.parametrize("kind", ["500", "slow_down", "reset", "truncate", "flip"])
def test_bursts_are_outlived(calm: Place, kind: Kind) -> None:
    """Every fifth read and every fifth write meets the fault."""
    # A listing has no checksum: a bit that flips in one cannot be seen by any client.
    reads = Rule(kind, method="GET", path="^[^?]+$" if kind == "flip" else "", times=-1, every=5)
    writes = Rule(kind, method="PUT|POST", times=-1, every=5)
    rules = [reads] if kind in ("truncate", "flip") else [reads, writes]
    with fault_proxy(calm.options.endpoint_url, *rules) as proxy:
        report = run(through(proxy, calm))
    assert report.num_rejected == 0
    assert all(rule.num_injected >= 3 for rule in rules)
    _assert_as_calm(calm)


def test_hangs_are_cut_off_and_tried_again(calm: Place) -> None:
    hangs = Rule("hang", path="out/|in/", times=4, every=7, hang_seconds=5.0)
    with fault_proxy(calm.options.endpoint_url, hangs) as proxy:
        run(through(proxy, calm))
    assert hangs.num_injected == 4
    _assert_as_calm(calm)


@pytest.mark.parametrize("folder", ["_manifests", "_receipts", "_plans", "_tables"])
def test_a_lost_reply_to_a_create_is_no_defeat(calm: Place, folder: str) -> None:
    lost = Rule("lost_reply", method="PUT", path=f"out/{folder}/")
    with fault_proxy(calm.options.endpoint_url, lost) as proxy:
        run(through(proxy, calm))
    assert lost.num_injected == 1
    assert versions(calm.store("out")) == [1]
    _assert_as_calm(calm)


def test_a_conflict_that_passes_is_tried_again(calm: Place) -> None:
    conflict = Rule("conflict", method="PUT", path="out/(_manifests|_receipts)/", times=3)
    with fault_proxy(calm.options.endpoint_url, conflict) as proxy:
        run(through(proxy, calm))
    assert conflict.num_injected == 3
    _assert_as_calm(calm)


@pytest.mark.parametrize(
    ("kind", "code"), [("slow_down", "SlowDown"), ("500", "InternalError"), ("expired", "ExpiredToken")]
)
def test_a_fault_that_stays_ends_in_bounded_time_with_key_and_code(calm: Place, kind: Kind, code: str) -> None:
    stays = Rule(kind, method="PUT", path="out/data/", times=-1)
    begun = time.monotonic()
    with fault_proxy(calm.options.endpoint_url, stays) as proxy, pytest.raises(UnlabeledError) as caught:
        run(through(proxy, calm, num_retries=2))
    assert time.monotonic() - begun < 60  # the bound of the promise, far above what it takes
    assert code in str(caught.value)
    assert "out/data/" in str(caught.value)
    assert versions(calm.store("out")) == []
    # Nothing is lost by it: the same run goes on once the store is well.
    run(calm)
    _assert_as_calm(calm)


def test_credentials_that_expire_while_reading_are_no_rejects(calm: Place) -> None:
    """A source that cannot be read for want of rights is not a bad source."""
    expired = Rule("expired", method="GET", path="in/site", times=-1)
    with fault_proxy(calm.options.endpoint_url, expired) as proxy, pytest.raises(UnlabeledError, match="ExpiredToken"):
        run(through(proxy, calm, num_retries=1))
    assert versions(calm.store("out")) == []


def test_an_input_deleted_after_planning_is_a_missing_source(calm: Place) -> None:
    """The listing still has it, the object store no longer does."""
    store = calm.store("in")
    victim = next(info.key for page in store.list() for info in page)
    held = Rule("hold", method="PUT", path="out/_plans/")
    with fault_proxy(calm.options.endpoint_url, held) as proxy:

        def delete_then_go_on() -> None:
            held.arrived.wait(60)
            store.delete([victim])
            held.released.set()

        deleter = threading.Thread(target=delete_then_go_on)
        deleter.start()
        report = run(through(proxy, calm))
        deleter.join()
    assert report.rejected_by_reason == {"missing": 1}
    assert report.num_sources == NUM_PHOTOGRAPHS
    assert victim not in rows_of(calm.store("out"))["source_key"].to_pylist()


def test_an_input_changed_after_planning_is_a_changed_source(calm: Place) -> None:
    store = calm.store("in")
    victim, other = [info.key for page in store.list() for info in page][:2]
    held = Rule("hold", method="PUT", path="out/_plans/")
    with fault_proxy(calm.options.endpoint_url, held) as proxy:

        def change_then_go_on() -> None:
            held.arrived.wait(60)
            store.put(victim, store.get(other))
            held.released.set()

        changer = threading.Thread(target=change_then_go_on)
        changer.start()
        report = run(through(proxy, calm))
        changer.join()
    assert report.rejected_by_reason == {"changed": 1}
