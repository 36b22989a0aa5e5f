"""The row groups of a split, as columns: a dataset of 400,000 shards has millions of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..pipeline.manifest import Manifest, load_columns
from ..pipeline.storage import Store
from .sequence import Indices

Split = Literal["train", "val", "all"]

_OF_FILE = ["file", "sha256", "num_bytes", "footer_sha256", "footer_num_bytes"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One row group, and what must be known of its file to read it."""

    file: str
    sha256: str
    file_num_bytes: int
    footer_sha256: str
    footer_num_bytes: int
    row_group: int
    num_rows: int

    @property
    def name(self) -> str:
        """File and row group, for messages."""
        return f"{self.file}: row group {self.row_group}"


@dataclass(frozen=True)
class Units:
    """Row groups in plan order.

    Attributes:
        files: of the shards, one row each.
        file_of: row of `files` that each unit is in, int32 [num_units].
        row_group: of each unit in its file, int32 [num_units].
        num_rows: of each unit, int64 [num_units].
    """

    files: pa.Table
    file_of: NDArray[np.int32]
    row_group: NDArray[np.int32]
    num_rows: Indices

    def __len__(self) -> int:
        return len(self.num_rows)

    def __getitem__(self, index: int) -> Unit:
        file, sha256, num_bytes, footer_sha256, footer_num_bytes = (
            self.files[name][int(self.file_of[index])].as_py() for name in _OF_FILE
        )
        num_rows, row_group = int(self.num_rows[index]), int(self.row_group[index])
        return Unit(file, sha256, num_bytes, footer_sha256, footer_num_bytes, row_group, num_rows)


def read_units(store: Store, manifest: Manifest, split: Split) -> Units:
    """Return the row groups of a split (or of both) that hold rows.

    Raises:
        CorruptData: a table's bytes are not what the manifest says.
    """
    shards = load_columns(store, manifest, "shards", ["generation", "ordinal", "split", *_OF_FILE])
    if split != "all":
        shards = shards.filter(pc.equal(shards["split"], split)).combine_chunks()
    groups = load_columns(store, manifest, "row_groups", ["generation", "ordinal", "row_group", "num_rows"])
    row_group, num_rows = groups["row_group"].to_numpy(), groups["num_rows"].to_numpy()
    of_group = _places(groups)
    file_of = pc.fill_null(pc.index_in(pa.array(of_group), value_set=pa.array(_places(shards))), -1).to_numpy()
    held = np.flatnonzero((file_of >= 0) & (num_rows > 0))
    order = held[np.lexsort((row_group[held], of_group[held]))]
    return Units(shards.select(_OF_FILE), file_of[order], row_group[order], num_rows[order])


def _places(table: pa.Table) -> Indices:
    """Return a number that names the shard of each row, ascending in plan order."""
    generation, ordinal = (table[name].to_numpy().astype(np.int64) for name in ("generation", "ordinal"))
    places: Indices = (generation << 32) + ordinal
    return places
