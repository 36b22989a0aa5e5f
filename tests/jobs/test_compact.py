"""The command that merges small shards, and what reads the dataset afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unlabeled.jobs.compact import Compact
from unlabeled.jobs.reading import show
from unlabeled.jobs.verify import verify_dataset
from unlabeled.pipeline.errors import Conflict, NotFound
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.merge import RowsDigest, rows_digest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.data import Loader, LoaderSettings

from tests import planted
from tests.runs import cli

NUM_NIGHTS = 3


@pytest.fixture
def nightly(tmp_path: Path) -> Store:
    """Two photographs, and two more in each night that follows: a shard a night."""
    for night in range(1, NUM_NIGHTS + 1):
        sources = planted.photographs(tmp_path / "in", 2 * night)
        store = planted.build("image_rotation", sources, tmp_path / "out", side_px=32)
    return store


def order_free_fingerprint(store: Store) -> RowsDigest:
    """Return the digest of all rows of the newest version."""
    whole = RowsDigest()
    for name in files_of(load_tables(store, require_manifest(store), "shards")):
        of_file = rows_digest(store.get(name))
        whole = RowsDigest(whole.num_rows + of_file.num_rows, (whole.total + of_file.total) % 2**256)
    return whole


def loaded(store: Store, version: int) -> dict[str, tuple[int, bytes]]:
    """Return label and pixels of every example of an epoch."""
    loader = Loader(store.uri, LoaderSettings(global_batch_size=8, version=version))
    return {
        name: (int(batch.columns["label"][row]), batch.columns["image"][row].tobytes())
        for batch in loader.batches(0, loader.steps_per_epoch)
        for row, name in enumerate(batch.example_ids)
    }


def test_the_report_says_what_became_of_the_shards(nightly: Store) -> None:
    before = order_free_fingerprint(nightly)
    done = cli("compact", nightly.uri, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {name: report[name] for name in ("version", "published", "num_merged", "num_made", "num_shards")} == {
        "version": NUM_NIGHTS + 1,
        "published": True,
        "num_merged": NUM_NIGHTS,
        "num_made": 1,
        "num_shards": 1,
    }
    assert report["fingerprint"] == require_manifest(nightly).fingerprint
    assert order_free_fingerprint(nightly) == before


def test_in_words(nightly: Store) -> None:
    assert "3 small shards became 1" in cli("compact", nightly.uri).stdout
    assert "no two small shards to merge" in cli("compact", nightly.uri).stdout


def test_the_loader_gives_the_same_examples(nightly: Store) -> None:
    version = Compact(nightly.uri).run().version
    before, after = loaded(nightly, version - 1), loaded(nightly, version)
    assert len(after) == 8 * NUM_NIGHTS
    assert after == before


def test_labels_follow_from_the_sources_still(nightly: Store) -> None:
    Compact(nightly.uri).run()
    report = verify_dataset(nightly.uri, rederive_fraction=1.0)
    assert (report.ok, report.num_rederived_sources) == (True, 2 * NUM_NIGHTS)


def test_show_tells_the_new_version_and_the_old_ones_stand(nightly: Store) -> None:
    before = show(nightly.uri)
    report = Compact(nightly.uri).run()
    assert (show(nightly.uri).version, show(nightly.uri).fingerprint) == (report.version, report.fingerprint)
    assert show(nightly.uri, version=before.version).files == before.files
    assert verify_dataset(nightly.uri, version=before.version).ok


def test_while_a_run_is_at_work_nothing_is_done(nightly: Store) -> None:
    with acquire(nightly), pytest.raises(Conflict):
        Compact(nightly.uri).run()
    assert require_manifest(nightly).version == NUM_NIGHTS


def test_where_nothing_stands_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no dataset stands here"):
        Compact(str(tmp_path)).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("wait", "argv"), [(0.0, ["compact"]), (60.0, ["compact", "--wait-seconds=60.0"])])
def test_as_a_command_line(wait: float, argv: list[Any]) -> None:
    assert Compact("s3://bucket/set", wait).argv() == [*argv, "s3://bucket/set"]
