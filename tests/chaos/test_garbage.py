"""`gc` during a run, and between a run that was cut off and the next one: it removes nothing that is needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from unlabeled.jobs.gc import collect_garbage
from unlabeled.pipeline.errors import Conflict, UnlabeledError
from unlabeled.pipeline.manifest import versions

from tests.conftest import Bucket
from tests.fault_proxy import Rule, fault_proxy
from tests.runs import Place, files_of, num_receipts, put_photographs, run, through

pytestmark = [pytest.mark.chaos, pytest.mark.s3, pytest.mark.quick]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    from unlabeled.jobs.ray_start import started_ray
    from unlabeled.pipeline.config import RunSettings

    with started_ray(RunSettings(num_cpus=2)):
        yield


@pytest.fixture
def place(s3: Bucket) -> Place:
    """Two increments in `calm`, the first one of them in `out`: the second is to be made."""
    made = Place(s3.uri, s3.options)
    put_photographs(made.store("in"), range(12))
    for output in ("calm", "out"):
        run(made, output=output)
    put_photographs(made.store("in"), range(12, 36))
    run(made, output="calm")
    return made


def tidy(place: Place) -> int:
    """Remove whatever nothing needs, however young it is; return how much that was."""
    return collect_garbage(place.path("out"), delete=True, min_age_days=0, store_options=place.options).num_objects


def everything(place: Place) -> set[str]:
    return {info.key for page in place.store("out").list() for info in page if not info.key.startswith("_leases/")}


def test_while_a_run_makes_shards_gc_removes_nothing(place: Place) -> None:
    held = Rule("hold", method="PUT", path="out/data/", times=-1)
    with fault_proxy(place.options.endpoint_url, held) as proxy:
        running = threading.Thread(target=run, args=(through(proxy, place),))
        running.start()
        assert held.arrived.wait(120)
        before = everything(place)
        with pytest.raises(Conflict, match="another run is at work"):
            tidy(place)
        assert before <= everything(place)
        proxy.rules.remove(held)
        held.released.set()
        running.join()
    assert files_of(place.store("out")) == files_of(place.store("calm"))


def test_what_a_failed_run_made_outlives_gc_and_is_used(place: Place) -> None:
    num_before = num_receipts(place.store("out"))
    stays = Rule("500", method="PUT", path="out/_tables/", times=-1)
    with fault_proxy(place.options.endpoint_url, stays) as proxy, pytest.raises(UnlabeledError, match="InternalError"):
        run(through(proxy, place, num_retries=1))
    num_made = num_receipts(place.store("out")) - num_before
    assert num_made > 0
    tidy(place)
    report = run(place)
    assert (report.num_made_shards, report.num_skipped_shards) == (0, num_made)
    assert versions(place.store("out")) == [1, 2]
    assert files_of(place.store("out")) == files_of(place.store("calm"))
