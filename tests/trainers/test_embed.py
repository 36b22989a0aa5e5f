"""Embeddings of a dataset's examples, in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.data import read_split
from unlabeled.trainers.embed import Embedder, Work, read_encoder
from unlabeled.trainers.encoders.build import build_encoder, load_encoder, save_encoder
from unlabeled.trainers.labelled import read_labelled

from tests.loading import labelled, spoken, written


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return labelled(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that holds an encoder."""
    folder = tmp_path_factory.mktemp("run")
    save_encoder(build_encoder("resnet-small", side_px=32, seed=0), folder / "encoder")
    return folder


def work(store: Store, run: Path) -> Work:
    return Work(store.uri, 1, "all", read_encoder(str(run)), batch_size=5)


def test_embeddings_are_what_the_encoder_makes_of_each_example(store: Store, run: Path) -> None:
    embedder = Embedder(work(store, run))
    found = pa.concat_tables([embedder.embed(unit) for unit in range(embedder.source.num_units)])
    examples = read_split(store.uri, "all")
    encoder = load_encoder(run / "encoder")
    with torch.inference_mode():
        expected = encoder(encoder.preprocess(torch.from_numpy(examples.columns["image"]))).pooled.numpy()
    assert found["example_id"].to_pylist() == list(examples.example_ids)
    assert found["label"].to_pylist() == examples.columns["label"].tolist()
    assert np.allclose(np.stack(found["embedding"].to_numpy()), expected, atol=1e-5)
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), encoder.num_features)
    assert {key.rpartition(".")[2] for key in found["source_key"].to_pylist()} == {"jpg"}


def test_an_encoder_is_found_in_a_run_or_by_itself(run: Path) -> None:
    assert read_encoder(str(run)) == read_encoder(str(run / "encoder"))


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no encoder"):
        read_encoder(str(tmp_path))


def test_an_encoder_of_another_medium_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it reads image, but .* has 0 columns of image"):
        Embedder(work(spoken(tmp_path, 2), run))


def test_sound_of_another_rate_is_refused(tmp_path: Path) -> None:
    save_encoder(build_encoder("resnet-small", medium="audio", sample_rate_hz=8000, seed=0), tmp_path / "encoder")
    with pytest.raises(ConfigError, match=r"it reads sound of 8000 Hz, but .* holds 16000 Hz"):
        Embedder(work(spoken(tmp_path, 2), tmp_path))


def test_texts_are_embedded_by_the_encoder_that_knows_their_tokens(tmp_path: Path) -> None:
    store, tokenizer = written(tmp_path, 4)
    shape = {"vocab_size": tokenizer.vocab_size, "num_tokens": 32}
    encoder = build_encoder("bert-tiny", seed=0, tokenizer_sha256=tokenizer.sha256, **shape)
    save_encoder(encoder, tmp_path / "run" / "encoder")
    embedder = Embedder(work(store, tmp_path / "run"))
    found = pa.concat_tables([embedder.embed(unit) for unit in range(embedder.source.num_units)])
    texts = read_labelled(store.uri, "all")
    with torch.inference_mode():
        expected = encoder.eval()(encoder.preprocess(torch.from_numpy(texts.media))).pooled.numpy()
    assert np.allclose(np.stack(found["embedding"].to_numpy()), expected, atol=1e-5)
    save_encoder(build_encoder("bert-tiny", seed=0, **shape), tmp_path / "other" / "encoder")
    with pytest.raises(ConfigError, match="tokens of another tokenizer"):
        Embedder(work(store, tmp_path / "other"))
