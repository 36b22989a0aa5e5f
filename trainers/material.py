"""What is read of a run's datasets before training: shapes, frozen assets, and how their numbers are spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pipeline.errors import ConfigError
from ..pipeline.manifest import read_asset, require_manifest
from ..pipeline.storage import Store
from .data import read_split
from .objectives.shapes import Material
from .run import Run, TrainedOn

#: Rows from which shapes are read.
_NUM_ROWS = 8
#: Rows from which mean and deviation of numbers are taken.
_NUM_NUMBERS = 2000
#: Objectives whose targets are made from the task's settings while training.
_BY_SETTINGS = ("masked_prediction", "token_prediction")


def material(run: Run) -> Material:
    """Return what is known of the run's data before training; of several datasets, the first's, and all numbers.

    Raises:
        ConfigError: several datasets have other assets, other sizes of media, or (where these make the targets) other
            settings of the task than the first.
    """
    parts = [_of(each) for each in run.data]
    first, *others = parts
    for other, at in zip(others, run.data[1:], strict=True):
        _check_alike(first, other, at.dataset, run.data[0].dataset)
    numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in first.numbers}
    return Material(first.manifest, first.rows, first.assets, numbers)


def _of(at: TrainedOn) -> Material:
    store = Store.open(at.dataset)
    manifest = require_manifest(store, at.version)
    features = manifest.seen_features()
    media = [
        name
        for name in features.with_role("input", "label")
        if features[name].kind in ("image", "audio") or name == "input_ids"
    ]
    rows = read_split(at.dataset, "train", media, _NUM_ROWS, version=at.version).columns
    assets = {name: read_asset(store, sha256) for name, sha256 in manifest.assets.items()}
    labels = [name for name in features.with_role("label") if features[name].dtype.startswith("float")]
    numbers = read_split(at.dataset, "train", labels, _NUM_NUMBERS, version=at.version).columns if labels else {}
    return Material(manifest, rows, assets, numbers)


def _check_alike(first: Material, other: Material, name: str, first_name: str) -> None:
    what = f"data: {name} cannot be mixed with {first_name}:"
    if first.manifest.assets != other.manifest.assets:
        differing = sorted(first.manifest.assets.items() ^ other.manifest.assets.items())
        raise ConfigError(f"{what} their {', '.join(sorted({asset for asset, _ in differing}))} are not the same.")
    if first.manifest.objective in _BY_SETTINGS and first.task_settings != other.task_settings:
        raise ConfigError(f"{what} its task has other settings, and what is hidden follows from them.")
    for column in first.rows.keys() & other.rows.keys():
        expected, found = _shape(first.rows, column), _shape(other.rows, column)
        if expected and found and expected != found:
            raise ConfigError(f"{what} {column} has the shape {found}, expected {expected}.")


def _shape(rows: Mapping[str, Any], column: str) -> tuple[int, ...]:
    """Return the shape of an example, () where examples differ."""
    return tuple(np.shape(rows[column])[1:]) if isinstance(rows[column], np.ndarray) else ()
