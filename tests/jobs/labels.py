"""A labelled dataset on disk, and an encoder in a folder: made once for the tests of commands that use them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from unlabeled.jobs.config import Settings
from unlabeled.jobs.materialize import Materialize
from unlabeled.pipeline.config import RunSettings
from unlabeled.trainers.encoders.build import build_encoder, save_encoder

from tests.trainers.pictures import bars


def make_labelled(folder: Path, num: int = 120) -> str:
    """Return a dataset of bars, 16 px, labelled by folder, about a third of it in val."""
    pictures = bars(num, 3)
    for number, (pixels, label) in enumerate(zip(pictures.media, pictures.labels.tolist(), strict=True)):
        place = folder / "in" / pictures.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        data = io.BytesIO()
        Image.fromarray(np.asarray(pixels)).save(data, "PNG")
        (place / f"{number:03d}.png").write_bytes(data.getvalue())
    settings = Settings(val_fraction=0.35, run=RunSettings(num_cpus=1))
    task = {"labelled_media": {"label_from": "folder", "side_px": 16, "crop_fraction": 1.0}}
    report = Materialize(["labelled_media"], str(folder / "in"), str(folder / "labelled"), settings, task).run()[0]
    return str(report.dataset)


def make_run(folder: Path) -> str:
    """Return a folder with an encoder, as pretraining leaves it."""
    save_encoder(build_encoder("resnet-small", side_px=16, seed=0), folder / "run" / "encoder")
    return str(folder / "run")
