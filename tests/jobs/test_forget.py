"""Forgetting on a real Ray: nothing in the store names the source any more, and it does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.jobs.forget import forget
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.audit.report import store_verdicts
from unlabeled.pipeline.card import repair_card
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.forgotten import bury
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.storage import StoreOptions

from tests import planted
from tests.audited import report as audit_report
from tests.runs import SMALL, Place, files_of, jpeg, photograph_key, put_photographs, rows_of, run

RUN = RunSettings(num_cpus=2)
SETTINGS = (*SMALL, "dedup=group")


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    import ray
    from unlabeled.jobs.ray_start import started_ray

    with started_ray(RUN):
        yield
    ray.shutdown()


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("_ray")
def test_a_forgotten_source_leaves_no_trace_and_stays_away(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(12))
    run(place, assignments=SETTINGS)
    put_photographs(place.store("in"), range(12, 15))
    place.store("in").put("text.jpg", b"no picture")
    run(place, assignments=SETTINGS)
    key = photograph_key(3)
    before = files_of(place.store("out"))
    report = forget(place.path("out"), [key, "text.jpg"], run=RUN)
    assert (report.version, report.versions, report.num_sources) == (3, [3], 2)
    left = bytes_below(tmp_path / "out")
    assert not any(name in left for name in report.removed)
    assert not [name for name, data in left.items() if key.encode() in data or b"text.jpg" in data]
    assert key not in rows_of(place.store("out"))["source_key"].to_pylist()
    # Shards that it was no part of keep name and bytes.
    assert len(before.items() & files_of(place.store("out")).items()) >= len(before) - 1
    assert verify_dataset(place.path("out"), rederive_fraction=1.0).ok
    # Both are in the bucket still; only what is new is made.
    place.store("in").put("new.jpg", jpeg(77))
    later = run(place, assignments=SETTINGS)
    assert (later.version, later.num_sources, later.num_used) == (4, 15, 15)
    assert not [name for name, data in bytes_below(tmp_path / "out").items() if key.encode() in data]
    assert forget(place.path("out"), [key], run=RUN).version == 4


@pytest.mark.usefixtures("_ray")
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(3))
    run(place)
    with pytest.raises(ConfigError, match=r"holds no source .*Did you mean"):
        forget(place.path("out"), [photograph_key(1).upper()], run=RUN)


def test_the_card_shows_no_audit_that_is_gone(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 4), tmp_path / "out", side_px=48)
    manifest = require_manifest(store)
    store_verdicts(store, audit_report())
    repair_card(store, manifest, load_tables(store, manifest, "shards"), "mit")
    bury(store, {"long gone.jpg"})
    assert forget(store.uri, ["long gone.jpg"], run=RUN).version == 1
    card = store.get("README.md").decode()
    assert "not audited yet" in card
    assert "license: mit\n" in card
