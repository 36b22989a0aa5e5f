"""Embeddings: what an encoder makes of each example of a dataset, as rows with their source and label."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..pipeline.errors import ConfigError
from ..pipeline.rng import sha256_hex
from ..pipeline.storage import Store, StoreOptions
from ..pipeline.tokenizer import ASSET as TOKENIZER
from .decode_batch import NO_LABEL
from .labelled import MEDIA_COLUMNS, media_of
from .reading import Reading
from .sequence import Bundles
from .source import Source, open_source
from .units import Split

_KEY = "source_key"
_LABEL = "label"
EMBEDDING = "embedding"
#: An encoder is found in a folder of its own, or in this one of a run.
_IN_RUN = "encoder"


@dataclass(frozen=True)
class Work:
    """What is embedded, by what: everything that a worker needs, small but for the encoder's files.

    Attributes:
        dataset: location of the dataset.
        version: its version.
        split: train, val or all.
        encoder_files: of the encoder's folder, by name.
        batch_size: examples that the encoder takes at a time.
        store_options: how to reach the dataset.
    """

    dataset: str
    version: int
    split: Split
    encoder_files: Mapping[str, bytes]
    batch_size: int
    store_options: StoreOptions | None = None


def read_encoder(location: str, store_options: StoreOptions | None = None) -> dict[str, bytes]:
    """Return the files of an encoder's folder, or of a run's, by name.

    Raises:
        ConfigError: no encoder stands there.
    """
    for uri in (f"{location.rstrip('/')}/{_IN_RUN}", location):
        store = Store.open(uri, store_options)
        files = {info.key: store.get(info.key) for page in store.list() for info in page if "/" not in info.key}
        if "config.json" in files and any(name.endswith(".safetensors") for name in files):
            return files
    raise ConfigError(
        f"encoder: {location} holds no encoder (config.json and *.safetensors), nor does its {_IN_RUN}/."
    )


def open_embedded(work: Work, medium: str) -> Source:
    """Return the dataset, opened for reading the encoder's medium, label and source of each example.

    Raises:
        ConfigError: the dataset has no such medium.
    """

    def opened(columns: list[str] | None) -> Source:
        return open_source(
            work.dataset,
            work.split,
            columns,
            lineage=[_KEY],
            version=work.version,
            store_options=work.store_options,
        )

    source = opened(None)
    if medium == "text":
        inputs = [name for name in MEDIA_COLUMNS["text"] if name in source.features]
        num_expected = len(MEDIA_COLUMNS["text"])
    else:
        inputs = [name for name, feature in source.features.items() if feature.kind == medium and not feature.shape]
        num_expected = 1
    if len(inputs) != num_expected:
        raise ConfigError(
            f"encoder: it reads {medium}, but {work.dataset} has {len(inputs)} columns of {medium}, expected "
            f"{num_expected} (make a dataset of labelled_media)."
        )
    return opened([*inputs, *([_LABEL] if _LABEL in source.features else [])])


class Embedder:
    """An encoder at work, one a process.

    Raises:
        ConfigError: as `open_embedded`; or the sound has another rate, or the text another tokenizer, than the encoder
            reads.
    """

    def __init__(self, work: Work) -> None:
        from .encoders.build import load_encoder

        with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
            for name, data in work.encoder_files.items():
                (Path(folder) / name).write_bytes(data)
            self._encoder = load_encoder(folder)
        self._work = work
        self._medium = self._encoder.spec.medium
        self.source = open_embedded(work, self._medium)
        self._input = next(iter(self.source.features))
        rate_hz, expected_hz = self.source.features[self._input].sample_rate_hz, self._encoder.spec.sample_rate_hz
        if self._medium == "audio" and rate_hz != expected_hz:
            raise ConfigError(f"encoder: it reads sound of {expected_hz} Hz, but {work.dataset} holds {rate_hz} Hz.")
        tokenizer = self.source.manifest.assets.get(TOKENIZER, "")
        if self._medium == "text" and tokenizer != self._encoder.spec.tokenizer_sha256:
            raise ConfigError(f"encoder: {work.dataset} holds tokens of another tokenizer than the encoder knows.")
        self.schema = schema(self._encoder.num_features, has_label=_LABEL in self.source.features)

    def embed(self, unit: int) -> pa.Table:
        """Return the embeddings of a unit's examples (see `schema`), in the order of its rows."""
        num_rows = self.source.unit(unit)[1].num_rows
        tables = []
        with Reading(self.source, num_threads=1, num_batches=1, raw=False) as reading:
            for start in range(0, num_rows, self._work.batch_size):
                rows = np.arange(start, min(start + self._work.batch_size, num_rows))
                planned = reading.plan(0, Bundles(np.full(len(rows), unit), rows), 1)
                ids, columns = reading.make(planned).result()
                tables.append(self._table(ids, columns))
        return pa.concat_tables(tables)

    def _table(self, ids: tuple[str, ...], columns: Mapping[str, Any]) -> pa.Table:
        import torch

        with torch.inference_mode():
            media = media_of("text", columns) if self._medium == "text" else np.array(columns[self._input])
            inputs = self._encoder.preprocess(torch.from_numpy(media))
            pooled = self._encoder(inputs, with_layers=False).pooled.float().numpy()
        arrays = [pa.array(ids), pa.array(columns[_KEY])]
        if _LABEL in columns:
            arrays.append(_labels(columns[_LABEL]))
        flat = pa.array(np.ascontiguousarray(pooled, np.float32).reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, pooled.shape[1]))
        return pa.Table.from_arrays(arrays, names=self.schema.names).cast(self.schema)


def schema(num_features: int, *, has_label: bool) -> pa.Schema:
    """Return the columns of embeddings: example_id, source_key, label (null where none was given), embedding."""
    label = [pa.field(_LABEL, pa.int64())] if has_label else []
    embedding = pa.field(EMBEDDING, pa.list_(pa.float32(), num_features))
    return pa.schema([pa.field("example_id", pa.string()), pa.field(_KEY, pa.string()), *label, embedding])


def about(work: Work, fingerprint: str) -> dict[str, str]:
    """Return where embeddings are from, for a file's metadata: the dataset's version and the encoder's files."""
    digests = {name: sha256_hex(data) for name, data in sorted(work.encoder_files.items())}
    return {
        "dataset_fingerprint": fingerprint,
        "dataset_version": str(work.version),
        "split": work.split,
        "encoder_sha256": sha256_hex("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()),
    }


def _labels(labels: Any) -> pa.Array:
    numbers = np.asarray(labels, np.int64)
    return pa.array(numbers, mask=numbers == NO_LABEL)
