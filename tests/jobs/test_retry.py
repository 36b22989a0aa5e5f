"""A retry touches rejected sources and nothing else; what was repaired leaves the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.jobs.reading import rejects
from unlabeled.jobs.retry import RetryReport, retry
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.storage import StoreOptions

from tests.runs import Place, files_of, jpeg, photograph_key, put_photographs, rows_of, run

RUN = RunSettings(num_cpus=2)


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    import ray
    from unlabeled.jobs.ray_start import started_ray

    with started_ray(RUN):
        yield
    ray.shutdown()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A dataset of ten photographs, one cut short, one no picture at all."""
    made = Place(str(tmp_path), StoreOptions())
    put_photographs(made.store("in"), range(10))
    made.store("in").put("cut.jpg", jpeg(50)[:-400])
    made.store("in").put("text.jpg", b"no picture")
    assert run(made).num_rejected == 2
    return made


def again(place: Place, *, everything: bool = False) -> RetryReport:
    return retry(place.path("out"), everything=everything, run=RUN)


def test_without_transient_rejects_nothing_is_done(place: Place) -> None:
    report = again(place)
    assert (report.published, report.version, report.num_retried) == (False, 1, 0)


def test_a_fixed_object_leaves_the_list_and_nothing_else_is_touched(place: Place) -> None:
    before = files_of(place.store("out"))
    place.store("in").put("cut.jpg", jpeg(50))
    # A new source, a changed one and a removed one are no business of a retry.
    put_photographs(place.store("in"), [77])
    place.store("in").put(photograph_key(1), jpeg(99))
    place.store("in").delete([photograph_key(2)])
    report = again(place)
    assert (report.version, report.recovered, report.num_retried) == (2, ["cut.jpg"], 1)
    assert [one.source_key for one in rejects(place.path("out")).rejects] == ["text.jpg"]
    after = files_of(place.store("out"))
    assert {name: after[name] for name in before} == before
    assert set(rows_of(place.store("out"))["source_key"].to_pylist()) == {
        "cut.jpg",
        *(photograph_key(number) for number in range(10)),
    }


def test_all_tries_permanent_rejects_under_a_new_attempt(place: Place) -> None:
    report = again(place, everything=True)
    assert (report.version, report.recovered, report.num_retried, report.num_rejected) == (2, [], 2, 2)
    assert {one.attempt for one in rejects(place.path("out")).rejects} == {1}
    assert again(place, everything=True).num_retried == 2
    assert {one.attempt for one in rejects(place.path("out")).rejects} == {2}


def test_an_object_that_is_gone_stays_on_the_list(place: Place) -> None:
    place.store("in").delete(["cut.jpg"])
    report = again(place, everything=True)
    assert (report.num_retried, report.num_rejected) == (1, 2)


def test_the_next_materialize_goes_on_from_there(place: Place) -> None:
    place.store("in").put("cut.jpg", jpeg(50))
    again(place)
    report = run(place)
    assert (report.published, report.version, report.num_rejected) == (False, 2, 1)
