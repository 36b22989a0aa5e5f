"""`embed` on a real Ray: one file, whole, in plan order, never replaced."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from unlabeled.jobs.embed import Embed
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.data import read_split
from unlabeled.trainers.encoders.build import build_encoder, save_encoder

from tests import runs
from tests.loading import labelled


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(build_encoder("resnet-small", side_px=32, seed=0), folder)
    return folder


@pytest.mark.slow
def test_every_example_has_its_row_in_plan_order(store: Store, encoder: Path, tmp_path: Path) -> None:
    output, lance = tmp_path / "all.parquet", tmp_path / "all.lance"
    run = RunSettings(num_cpus=1)
    report = Embed(store.uri, str(encoder), str(output), lance=str(lance), run=run).execute()
    rows = pq.read_table(output)
    examples = read_split(store.uri, "all", ["label"])
    assert report.num_examples == rows.num_rows == len(examples.example_ids)
    assert rows["example_id"].to_pylist() == list(examples.example_ids)
    assert rows["label"].to_pylist() == examples.columns["label"].tolist()
    assert rows.schema.field("embedding").type.list_size == report.num_features
    assert rows.schema.metadata[b"dataset_version"] == b"1"
    assert lance.is_dir()


def test_an_output_that_stands_is_never_replaced(store: Store, encoder: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.parquet"
    output.write_bytes(b"mine")
    done = runs.cli("embed", store.uri, "--encoder", str(encoder), "--output", str(output))
    assert done.returncode == 2
    assert "stands already" in done.stderr
    assert output.read_bytes() == b"mine"
