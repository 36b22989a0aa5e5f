"""`embed` as a typed call: the embeddings of a dataset in one Parquet file, and in vector stores."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from ..pipeline.config import RunSettings
from ..pipeline.errors import AlreadyExists, ConfigError, Conflict, NotFound
from ..pipeline.manifest import Manifest, require_manifest
from ..pipeline.storage import Store, StoreOptions, open_parent

if TYPE_CHECKING:
    import pyarrow as pa

    from ..trainers.embed import Work
    from ..trainers.units import Split


class EmbedReport(BaseModel):
    """What was embedded, and where the embeddings are."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    output: str
    num_examples: int
    num_features: int
    num_bytes: int
    seconds: float
    milvus: str = ""
    lance: str = ""


@dataclass(frozen=True)
class Embed:
    """Embeds a split of a dataset.

    Attributes:
        dataset: location of the dataset.
        encoder: folder of an encoder, or of a run that holds one.
        output: the Parquet file that is made; never replaced.
        split: train, val or all.
        version: of the dataset; the newest where it is not given.
        batch_size: examples that the encoder takes at a time.
        milvus: Milvus Lite file or server that gets a collection `collection`.
        collection: name of that collection.
        lance: where a Lance dataset is made.
        run: where Ray runs.
        store_options: how to reach remote stores.
    """

    dataset: str
    encoder: str
    output: str
    split: Split = "all"
    version: int | None = None
    batch_size: int = 64
    milvus: str = ""
    collection: str = "embeddings"
    lance: str = ""
    run: RunSettings = field(default_factory=RunSettings)
    store_options: StoreOptions | None = None

    def execute(self) -> EmbedReport:
        """Embed every example and return what was made.

        Raises:
            ConfigError: the encoder does not fit the dataset, or the output stands already.
            Conflict: another writer made the output meanwhile; nothing of theirs was touched.
            CorruptData: a stored page is damaged.
        """
        from ..trainers.embed import Embedder, Work, about, read_encoder

        started = time.monotonic()
        target, key = open_parent(self.output, self.store_options)
        _require_absent(target, key)
        manifest = require_manifest(Store.open(self.dataset, self.store_options), self.version)
        files = read_encoder(self.encoder, self.store_options)
        work = Work(self.dataset, manifest.version, self.split, files, self.batch_size, self.store_options)
        here = Embedder(work)
        if not here.source.num_units:
            raise ConfigError(f"split: {self.dataset} has no examples in {self.split!r}.")
        schema = here.schema.with_metadata(about(work, manifest.fingerprint))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "embeddings.parquet"
            self._spool(path, schema, work, here.source.num_units)
            table = _publish(path, target, key)
        self._index(table)
        return self._report(manifest, table, target.head(key).num_bytes, time.monotonic() - started)

    def _spool(self, path: Path, schema: pa.Schema, work: Work, num_units: int) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in self._embedded(work, num_units):
                writer.write_table(table.cast(schema))

    def _embedded(self, work: Work, num_units: int) -> Iterator[pa.Table]:
        from .ray_start import started_ray

        with started_ray(self.run) as num_slots:
            from ..trainers.ray_embed import embed_units

            yield from embed_units(work, num_units, num_slots)

    def _index(self, table: pa.Table) -> None:
        from ..trainers.vector_stores import write_lance, write_milvus

        if self.milvus:
            write_milvus(table, self.milvus, self.collection)
        if self.lance:
            write_lance(table, self.lance)

    def _report(self, manifest: Manifest, table: pa.Table, num_bytes: int, seconds: float) -> EmbedReport:
        return EmbedReport(
            dataset=self.dataset,
            version=manifest.version,
            output=self.output,
            num_examples=table.num_rows,
            num_features=table.schema.field("embedding").type.list_size,
            num_bytes=num_bytes,
            seconds=seconds,
            milvus=self.milvus,
            lance=self.lance,
        )


def _require_absent(store: Store, key: str) -> None:
    try:
        store.head(key)
    except NotFound:
        return
    raise ConfigError(f"output: {store.describe(key)} stands already, expected a name that is free.")


def _publish(path: Path, store: Store, key: str) -> pa.Table:
    """Put the finished file under its name, whole or not at all, and return its rows."""
    from unlabeled.pipeline.serial_arrow import ParquetReader

    with path.open("rb") as file:
        table = ParquetReader(file).read()
    try:
        store.create_file(key, path)
    except AlreadyExists as error:
        raise Conflict(f"{store.describe(key)}: another writer made it first; nothing was lost.") from error
    return table
