"""The image tasks on real photographs: nothing fails, labels are found again, histograms do not tell pairs."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps
from unlabeled.pipeline import discover
from unlabeled.pipeline.encode import cell_encoder, decode_cell
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.pretext.image_patch_pairs import ImagePatchPairs
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.task import PartneredTask, PretextTask

pytestmark = [
    pytest.mark.real_media,
    pytest.mark.skipif("UNLABELED_MEDIA" not in os.environ, reason="UNLABELED_MEDIA names no folder"),
]

#: Least share of photographs with a short side of 240 px and more that a task uses.
LEAST_USED = {"image_patch_pairs": 0.75, "image_colorization": 0.85}
TASKS = [name for name in discover.task_names() if name.startswith("image_") and name != "image_rotation"]


def photographs(every: int) -> Iterator[tuple[str, Image]]:
    for path in sorted(Path(os.environ["UNLABELED_MEDIA"]).glob("images_web/*.tar")):
        with tarfile.open(path) as archive:
            members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
            for member in members[::every]:
                data = archive.extractfile(member)
                assert data is not None
                upright = ImageOps.exif_transpose(PillowImage.open(io.BytesIO(data.read()))).convert("RGB")
                yield member.name, Image(media_kind="image", codec="jpeg", pixels=np.asarray(upright))


def made_of(task: PretextTask[Any], name: str, item: Image, lent: Sequence[Any]) -> list[dict[str, Any]]:
    rng = ItemRng(0, task.name(), name)
    made = task.examples(item, rng, lent) if isinstance(task, PartneredTask) else task.examples(item, rng)
    return [dict(example.values) for example in made]


def offer_of(task: PretextTask[Any], name: str, item: Image) -> list[Any]:
    try:
        return [task.offer(item, ItemRng(0, task.name(), name))] if isinstance(task, PartneredTask) else []
    except Filtered:
        return []


@pytest.mark.parametrize("name", TASKS)
def test_photographs_give_examples_whose_labels_are_found_again(name: str) -> None:
    task = discover.make_task(discover.find_task(name), {})
    features = task.features()
    encoders = {column: cell_encoder(feature) for column, feature in features}
    verdicts: Counter[str] = Counter()
    lent: list[Any] = []
    for key, item in photographs(every=6):
        if min(item.width_px, item.height_px) < 240:
            continue
        try:
            for values in made_of(task, key, item, lent):
                stored = {column: decode_cell(features[column], encoders[column](values[column])) for column in values}
                for column, again in task.rederive(stored, item).items():
                    assert np.array_equal(again, stored[column]), (key, column)
            verdicts["used"] += 1
        except Filtered as verdict:
            verdicts[verdict.reason] += 1
        lent = offer_of(task, key, item) or lent
    assert verdicts["used"] >= LEAST_USED.get(name, 0.9) * verdicts.total(), verdicts


def test_a_colour_histogram_does_not_tell_which_patches_of_a_photograph_belong_together() -> None:
    task = ImagePatchPairs(negatives="same_image")
    altered: list[tuple[int, float]] = []
    plain: list[tuple[int, float]] = []
    for key, item in photographs(every=1):
        try:
            made = made_of(task, key, item, [])
        except Filtered:
            continue
        for row in made:
            altered.append((row["label"], _difference(row["patch_a"], row["patch_b"])))
            plain.append((row["label"], _difference(item.crop(row["box_a"], 96, 96), item.crop(row["box_b"], 96, 96))))
    assert _area_under_roc(plain) > 0.7
    assert abs(_area_under_roc(altered) - 0.5) < 0.05


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    histograms = []
    for patch in (one, other):
        bins = (patch.reshape(-1, 3) >> 6).astype(int) @ (16, 4, 1)
        histograms.append(np.bincount(bins, minlength=64) / len(bins))
    return float(np.abs(histograms[0] - histograms[1]).sum())


def _area_under_roc(scored: list[tuple[int, float]]) -> float:
    """Return how often a pair that belongs together differs less than one that does not."""
    together = np.array([score for label, score in scored if label])
    not_together = np.array([score for label, score in scored if not label])
    return float((together[:, None] < not_together).mean())
