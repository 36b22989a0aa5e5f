"""Embeddings in vector stores: Milvus (a file for Milvus Lite, or a server's address) and Lance."""

from __future__ import annotations

import importlib
from typing import Any

import pyarrow as pa

from ..pipeline.errors import AlreadyExists, ConfigError
from .embed import EMBEDDING

#: Rows of one insert: a message of Milvus holds 64 MB.
_INSERT_ROWS = 1000


def write_milvus(table: pa.Table, uri: str, collection: str) -> None:
    """Write embeddings as a new collection (cosine similarity; id is the example_id): whole, or not at all.

    Raises:
        AlreadyExists: there is a collection of that name; it is left as it is.
        ConfigError: the extra `milvus` is not installed.
    """
    client = _required("pymilvus", "milvus").MilvusClient(uri)
    try:
        if client.has_collection(collection):
            raise AlreadyExists(f"{uri}: there is a collection {collection!r} already.")
        client.create_collection(
            collection,
            dimension=table.schema.field(EMBEDDING).type.list_size,
            primary_field_name="example_id",
            id_type="string",
            max_length=64,
            vector_field_name=EMBEDDING,
            metric_type="COSINE",
        )
        try:
            for batch in table.to_batches(max_chunksize=_INSERT_ROWS):
                client.insert(collection, batch.to_pylist())
        except BaseException:
            client.drop_collection(collection)
            raise
    finally:
        client.close()


def write_lance(table: pa.Table, uri: str) -> None:
    """Write embeddings as a new Lance dataset, in one commit.

    Raises:
        AlreadyExists: a dataset stands there; it is left as it is.
        ConfigError: the extra `lance` is not installed.
    """
    lance = _required("lance", "lance")
    try:
        lance.write_dataset(table, uri, mode="create")
    except OSError as error:
        if "already exists" in str(error).lower():
            raise AlreadyExists(f"{uri}: a Lance dataset stands there already.") from error
        raise


def _required(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"{extra}: its packages are not installed: pip install 'unlabeled[{extra}]'.") from error
