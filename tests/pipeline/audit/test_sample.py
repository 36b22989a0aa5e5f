from __future__ import annotations

from pathlib import Path

from unlabeled.pipeline.audit.measure import Spec
from unlabeled.pipeline.audit.sample import choose_units, measure_here
from unlabeled.pipeline.manifest import require_manifest

from tests import planted


def test_rows_know_where_they_stand_in_their_shard(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 6), tmp_path / "out", side_px=48)
    manifest = require_manifest(store)
    table = measure_here(store, Spec.of(manifest), choose_units(store, manifest, 1000))
    assert table.num_rows == 24
    assert sorted(set(table["draw"].to_pylist())) == [0, 1, 2, 3]
    assert table["row"][0].as_py() == 0
    assert max(table["place"].to_pylist()) == 1


def test_no_more_row_groups_than_needed_are_chosen(tmp_path: Path) -> None:
    store = planted.build("image_rotation", planted.photographs(tmp_path / "in", 6), tmp_path / "out", side_px=48)
    assert len(choose_units(store, require_manifest(store), 1)) == 1
