"""Near-duplicates on a real Ray: planted copies never cross a split; an increment fingerprints new sources only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.fingerprint_store import FOLDER
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.storage import Store, StoreOptions

from tests import samples
from tests.copies import copy_of_picture, jpeg_of
from tests.runs import SMALL, Place, run

NUM = 50
PIXELS = [samples.photograph(seed, 112, 84) for seed in range(NUM)]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    import ray
    from unlabeled.jobs.ray_start import started_ray
    from unlabeled.pipeline.config import RunSettings

    with started_ray(RunSettings(num_cpus=2)):
        yield
    ray.shutdown()


def num_kept(store: Store) -> int:
    """Return how many fingerprints the store keeps."""
    files = [store.get(info.key) for page in store.list(FOLDER) for info in page]
    return sum(pq.read_metadata(io.BytesIO(data)).num_rows for data in files)


def test_fifty_of_fifty_planted_copies_stay_with_their_originals(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    inputs, out = place.store("in"), place.store("out")
    for seed, pixels in enumerate(PIXELS):
        inputs.put(f"{seed:02d}.jpg", jpeg_of(pixels))
        inputs.put(f"copies/{seed:02d}.jpg", copy_of_picture(pixels, np.random.default_rng(seed)))
    settings = (*SMALL, "dedup=group")
    first = run(place, assignments=settings)
    assert (first.num_near_duplicates, num_kept(out)) == (2 * NUM, 2 * NUM)
    inputs.put("later/00.jpg", copy_of_picture(PIXELS[0], np.random.default_rng(99)))
    second = run(place, assignments=settings)
    assert (second.num_used, num_kept(out)) == (2 * NUM + 1, 2 * NUM + 1)
    parts = load_tables(out, require_manifest(out), "parts").parts.to_pylist()
    by_name = {row["source_key"]: (row["group_id"], row["split"]) for row in parts}
    assert all(by_name[f"{seed:02d}.jpg"] == by_name[f"copies/{seed:02d}.jpg"] for seed in range(NUM))
    assert by_name["later/00.jpg"] == by_name["00.jpg"]
    assert len({group for group, _ in by_name.values()}) == NUM
