"""What vector stores find, beside brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from unlabeled.pipeline.errors import AlreadyExists
from unlabeled.trainers.embed import schema
from unlabeled.trainers.vector_stores import write_lance, write_milvus

NUM_ROWS, NUM_FEATURES, NUM_FOUND = 500, 16, 10


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(NUM_ROWS, NUM_FEATURES)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def table(vectors: np.ndarray) -> pa.Table:
    ids = [f"{row:032x}" for row in range(NUM_ROWS)]
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), NUM_FEATURES)
    labels = pa.array([None if row % 3 == 0 else row % 2 for row in range(NUM_ROWS)], pa.int64())
    return pa.table(
        [ids, [f"{row}.jpg" for row in range(NUM_ROWS)], labels, embeddings], schema=schema(16, has_label=True)
    )


def recall(found: list[list[str]], vectors: np.ndarray) -> float:
    """Return the share of the true ten nearest (by cosine) of the first rows that were found."""
    nearest = np.argsort(-(vectors[: len(found)] @ vectors.T), axis=1)[:, :NUM_FOUND]
    hits = [
        len({int(name, 16) for name in names} & set(row.tolist())) for names, row in zip(found, nearest, strict=True)
    ]
    return sum(hits) / (NUM_FOUND * len(found))


def test_milvus_finds_what_brute_force_finds(table: pa.Table, vectors: np.ndarray, tmp_path: Path) -> None:
    pymilvus = pytest.importorskip("pymilvus")
    write_milvus(table, str(tmp_path / "m.db"), "photos")
    client = pymilvus.MilvusClient(str(tmp_path / "m.db"))
    hits = client.search("photos", data=vectors[:20].tolist(), limit=NUM_FOUND, output_fields=["source_key", "label"])
    client.close()
    assert recall([[hit["example_id"] for hit in of] for of in hits], vectors) >= 0.99
    assert hits[1][0]["entity"] == {"source_key": "1.jpg", "label": 1}


def test_lance_finds_what_brute_force_finds(table: pa.Table, vectors: np.ndarray, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    write_lance(table, str(tmp_path / "photos.lance"))
    found = lance.dataset(str(tmp_path / "photos.lance"))
    names = [
        found.to_table(nearest={"column": "embedding", "q": query, "k": NUM_FOUND}, columns=["example_id"])
        for query in vectors[:20]
    ]
    assert recall([of["example_id"].to_pylist() for of in names], vectors) >= 0.99


def test_what_stands_there_is_left_as_it_is(table: pa.Table, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    write_lance(table, str(tmp_path / "photos.lance"))
    with pytest.raises(AlreadyExists):
        write_lance(table.slice(0, 1), str(tmp_path / "photos.lance"))


def test_a_collection_that_stands_there_is_left_as_it_is(table: pa.Table, tmp_path: Path) -> None:
    pytest.importorskip("pymilvus")
    write_milvus(table, str(tmp_path / "m.db"), "photos")
    with pytest.raises(AlreadyExists, match="there is a collection 'photos' already"):
        write_milvus(table, str(tmp_path / "m.db"), "photos")
