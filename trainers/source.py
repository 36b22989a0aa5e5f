"""A version of a dataset, opened for reading: which columns, which row groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ..pipeline.errors import ConfigError, nearest
from ..pipeline.features import Feature, Features
from ..pipeline.manifest import Manifest, load_columns, require_manifest
from ..pipeline.rendering import CROP, Rendering
from ..pipeline.storage import Store, StoreOptions
from .apart import COLUMNS, sources_of_rows
from .cache import Cache
from .sequence import Indices
from .shard_reader import ShardReader
from .units import Split, Unit, Units, read_units

ID = "example_id"
#: Parameters that say what is hidden in an example, or how to hide something else: read where they are named.
MASK_PARAMETERS = frozenset(
    "cell_px fill_rgb grid_h grid_w mask_bits mask_kind mask_ratio mask_seed mlm_probability num_frames_valid "
    "num_masked num_mels_valid overlap_px word_starts".split()
)
#: What must be equal in a column of datasets that are read as one.
_COMPARED = ("kind", "role", "dtype", "shape", "classes", "sample_rate_hz")


@dataclass(frozen=True)
class Source:
    """What is read, and how.

    Attributes:
        store: of the dataset.
        manifest: of the version.
        split: that is read.
        features: inputs and labels to read, by name.
        datasets: the row groups of each dataset that is read, in plan order, with their reader.
        rendering: how a column is made of what is read, where rows hold recipes.
    """

    store: Store
    manifest: Manifest
    split: Split
    features: Mapping[str, Feature]
    datasets: tuple[tuple[ShardReader, Units], ...]
    rendering: Rendering | None = None

    @property
    def id_feature(self) -> Feature:
        """The column of ids, which is always read."""
        return self.manifest.typed_features()[ID]

    @property
    def num_rows(self) -> Indices:
        """Rows of each unit, int64 [num_units]: those of one dataset after those of the other."""
        return np.concatenate([units.num_rows for _, units in self.datasets])

    @property
    def num_units(self) -> int:
        """Row groups of all datasets."""
        return sum(len(units) for _, units in self.datasets)

    def name(self, index: int) -> str:
        """Return file and row group of a unit, for messages."""
        return self.unit(index)[1].name

    def unit(self, index: int) -> tuple[ShardReader, Unit]:
        """Return a unit with its reader; `index` is in [0, num_units)."""
        for reader, units in self.datasets:
            if index < len(units):
                return reader, units[index]
            index -= len(units)
        raise IndexError(f"{self.store.uri}: there are {self.num_units} units")

    def read(self, index: int) -> dict[str, pa.Array]:
        """Return the columns of a unit; raises as `ShardReader.read`."""
        reader, unit = self.unit(index)
        return reader.read(unit)

    def apart(self) -> Indices:
        """Return a number for each row in plan order, int64: equal numbers are to be kept in different batches."""
        return sources_of_rows(load_columns(self.store, self.manifest, "parts", COLUMNS), self.split)


def open_source(
    dataset: str,
    split: Split,
    columns: Sequence[str] | None = None,
    *,
    lineage: Sequence[str] = (),
    version: int | None = None,
    store_options: StoreOptions | None = None,
    cache: Cache | None = None,
) -> Source:
    """Return a version of a dataset (the newest by default), opened for reading columns of one split.

    `lineage` names columns that say where an example is from: for what is written beside it, never for training.

    Raises:
        ConfigError: a column is none of the inputs and labels, or this release does not know how its recipes are
            followed.
        NotFound: there is no such dataset or version.
    """
    store = Store.open(dataset, store_options)
    manifest = require_manifest(store, version)
    every, rendering = manifest.seen_features(), manifest.typed_rendering()
    features = _wanted(every, columns) | {name: every[name] for name in lineage}
    if rendering is not None and rendering.column not in features:
        rendering = None
    stored = dict.fromkeys([*features, ID])
    if rendering is not None:
        del stored[rendering.column]
        stored |= dict.fromkeys([CROP, *rendering.arguments])
    reader = ShardReader(store, [*stored], None if store.is_local else cache)
    return Source(store, manifest, split, features, ((reader, read_units(store, manifest, split)),), rendering)


def joined(sources: Sequence[Source]) -> Source:
    """Return several datasets as one source, their units one after the other; what else is asked is the first's.

    Raises:
        ConfigError: they differ in objective, columns or batching, naming both and what differs.
    """
    first, *others = sources
    for other in others:
        for name in ("objective", "batching", "bundle_size"):
            found, expected = getattr(other.manifest, name), getattr(first.manifest, name)
            if found != expected:
                raise ConfigError(
                    f"data: {other.store.uri} cannot be mixed with {first.store.uri}: its {name} is {found}, "
                    f"expected {expected}."
                )
        if other.rendering != first.rendering:
            raise ConfigError(
                f"data: {other.store.uri} cannot be mixed with {first.store.uri}: it holds {other.manifest.store}, "
                f"expected {first.manifest.store}, of the same settings."
            )
        differing = sorted(
            name
            for name in {*first.features, *other.features}
            if _compared(first.features.get(name)) != _compared(other.features.get(name))
        )
        if differing:
            raise ConfigError(
                f"data: {other.store.uri} cannot be mixed with {first.store.uri}: columns {', '.join(differing)} "
                "are not alike."
            )
    return replace(first, datasets=tuple(each for source in sources for each in source.datasets))


def _compared(feature: Feature | None) -> list[object]:
    return [getattr(feature, name, None) for name in _COMPARED]


def _wanted(features: Features, columns: Sequence[str] | None) -> dict[str, Feature]:
    allowed = features.with_role("input", "label")
    if columns is None:
        # The readable name of a class says nothing that its number does not.
        columns = [name for name in allowed if name != "label_name"]
    allowed += tuple(name for name in features.with_role("parameter") if name in MASK_PARAMETERS)
    for name in columns:
        if name not in allowed:
            raise ConfigError(
                f"columns: found {name!r}, expected inputs and labels: {', '.join(allowed)}.{nearest(name, allowed)}"
            )
    return {name: features[name] for name in columns}
