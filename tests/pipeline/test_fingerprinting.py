from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.config import Recipe
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.fingerprinting import find_copies, kind_of, take_fingerprints
from unlabeled.pipeline.inventory import take_inventory
from unlabeled.pipeline.storage import Store

from tests import samples
from tests.copies import copy_of_picture, jpeg_of
from tests.small_datasets import fill, recipe

PIXELS = samples.photograph(0, 120, 90)
OTHER = samples.photograph(1, 120, 90)


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence() as opened:
        yield opened


def test_copies_of_every_kind_meet_and_damage_has_no_fingerprint(tmp_path: Path, fence: Fence) -> None:
    files = {
        "a.jpg": jpeg_of(PIXELS),
        "b.jpg": copy_of_picture(PIXELS, np.random.default_rng(0)),
        "c.jpg": jpeg_of(OTHER),
        "d.jpg": b"no picture",
        "e.jpg": b"no picture",
        "f.jpg": b"another",
    }
    inputs = Store.open(str(fill(tmp_path, files)))
    table = take_fingerprints(take_inventory(inputs.uri).sources, "image", "k", inputs, fence)
    missing = dict(zip(table["source_key"].to_pylist(), table["fingerprint"].is_null().to_pylist(), strict=True))
    assert missing == {key: key in ("d.jpg", "e.jpg", "f.jpg") for key in files}
    copies = find_copies(table, "image")
    assert sorted(map(sorted, copies.components)) == [["a.jpg", "b.jpg"], ["d.jpg", "e.jpg"]]
    assert copies.neighbours["b.jpg"] == ["a.jpg"]


def test_what_decides_decoding_decides_the_kind() -> None:
    def kind(of: Recipe) -> str:
        return kind_of("image", of)

    assert kind(recipe()) == kind(recipe(seed=7))
    assert kind(recipe()) != kind(recipe(limits=Limits(max_pixels=10**6)))
