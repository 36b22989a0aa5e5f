"""Near-duplicates from files to versions, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.dedup import hashed_key
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.fingerprinting import kind_of, take_fingerprints
from unlabeled.pipeline.manifest import Manifest, load_tables, require_manifest
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.verify import verify
from unlabeled.pipeline.work import Tools

from tests import samples
from tests.copies import copy_of_picture, jpeg_of
from tests.small_datasets import fill, make, target

PIXELS = [samples.photograph(seed, 96, 72) for seed in range(8)]
ORIGINALS = {f"{seed}.jpg": jpeg_of(pixels) for seed, pixels in enumerate(PIXELS)}


def copies(*seeds: int) -> dict[str, bytes]:
    return {f"copy of {seed}.jpg": copy_of_picture(PIXELS[seed], np.random.default_rng(seed)) for seed in seeds}


class Run:
    """Brings one dataset up to its inputs and counts what is fingerprinted."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self.sources = folder / "in"
        self.inputs = Store.open(str(fill(self.sources, ORIGINALS)))
        self.folder, self.tools = folder, tools
        self.num_taken = 0

    def take(self, of: Target, sources: pa.Table) -> Iterator[pa.Table]:
        self.num_taken += sources.num_rows
        kind = kind_of(of.task.modality, of.recipe)
        yield take_fingerprints(sources, of.task.modality, kind, self.inputs, self.tools.fence)

    def __call__(self, dedup: str = "group", **files: Any) -> Manifest:
        fill(self.sources, files)
        of = target(self.folder / "out", dedup=dedup, val_fraction=0.6)
        finished = make(of, self.inputs, self.tools, fingerprint=self.take)
        assert not verify(of.store).problems
        return finished.manifest

    def parts(self) -> dict[str, dict[str, Any]]:
        store = Store.open(str(self.folder / "out"))
        table = load_tables(store, require_manifest(store), "parts").parts
        return {row["source_key"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence() as opened:
        yield opened


@pytest.fixture
def run(tmp_path: Path, fence: Fence) -> Run:
    (tmp_path / "spool").mkdir()
    return Run(tmp_path, Tools(fence, tmp_path / "spool", ThreadPoolExecutor(1)))


def test_copies_stand_in_the_group_and_split_of_their_originals(run: Run) -> None:
    run(**copies(*range(8)))
    parts = run.parts()
    pairs = [(parts[f"{seed}.jpg"], parts[f"copy of {seed}.jpg"]) for seed in range(8)]
    assert all((a["group_id"], a["split"]) == (b["group_id"], b["split"]) for a, b in pairs)
    assert len({a["group_id"] for a, _ in pairs}) == 8
    assert {a["split"] for a, _ in pairs} == {"train", "val"}


def test_an_increment_takes_new_fingerprints_only_and_inherits(run: Run) -> None:
    first = run()
    before = run.parts()
    again = run(**copies(3, 4))
    parts = run.parts()
    assert (first.version, again.version, run.num_taken) == (1, 2, 10)
    assert [parts[f"copy of {seed}.jpg"]["group_id"] for seed in (3, 4)] == [hashed_key("3.jpg"), hashed_key("4.jpg")]
    assert [parts[f"copy of {seed}.jpg"]["split"] for seed in (3, 4)] == [before[f"{n}.jpg"]["split"] for n in (3, 4)]
    assert (run().version, run.num_taken) == (2, 10)


def test_dropped_copies_are_filtered_and_stay_so(run: Run) -> None:
    manifest = run("drop", **copies(1, 2))
    counts = manifest.counts
    assert (counts.num_sources, counts.num_used, counts.filtered_by_reason) == (10, 8, {"near_duplicate": 2})
    assert run("drop").version == 1
    later = run("drop", **{"9.jpg": jpeg_of(samples.photograph(9, 96, 72))})
    assert later.counts.filtered_by_reason == {"near_duplicate": 2}


def test_when_the_kept_one_goes_its_copy_takes_its_place(run: Run) -> None:
    run("drop", **copies(1))
    used = next(key for key in ("1.jpg", "copy of 1.jpg") if run.parts()[key]["status"] == "used")
    (run.sources / used).unlink()
    manifest = run("drop")
    assert (manifest.counts.num_used, manifest.counts.num_filtered) == (8, 0)


def test_a_newcomer_that_bridges_splits_is_filtered(run: Run) -> None:
    run()
    parts = run.parts()
    train, val = (next(n for n in range(8) if parts[f"{n}.jpg"]["split"] == split) for split in ("train", "val"))
    # What was another picture becomes the train picture's copy; its old place in val cannot hold it.
    manifest = run(**{f"{val}.jpg": copy_of_picture(PIXELS[train], np.random.default_rng(5))})
    assert manifest.counts.filtered_by_reason == {"bridges_splits": 1}
    assert run.parts()[f"{val}.jpg"]["status"] == "filtered"


def test_another_setting_on_a_dataset_is_refused_by_name(run: Run) -> None:
    run("off")
    with pytest.raises(ConfigError, match=r"`dedup`: found 'group', but .* 'off'"):
        run("group")
