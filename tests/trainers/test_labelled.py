from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.labelled import Labelled, num_shared, read_labelled, require_fit

from tests.loading import written
from tests.trainers.pictures import bars


def test_taking_keeps_media_and_labels_together() -> None:
    pictures = bars(9, 0)
    taken = pictures.take(np.array([4, 1]))
    assert len(taken) == 2
    assert taken.labels.tolist() == [pictures.labels[4], pictures.labels[1]]
    assert np.array_equal(taken.media[0], pictures.media[4])


def test_test_examples_that_were_trained_on_are_counted() -> None:
    train, test = bars(9, 0), bars(6, 1)
    assert num_shared(train, test) == 0
    media = np.concatenate([test.media, train.media[2:4]])
    mixed = Labelled("image", media, np.zeros(8, np.int64), test.classes, "")
    assert num_shared(train, mixed) == 2


def test_texts_are_tokens_padded_with_what_is_no_token(tmp_path: Path) -> None:
    store, tokenizer = written(tmp_path, 6)
    texts = read_labelled(store.uri, "all")
    assert (texts.medium, texts.media.shape, texts.media.dtype) == ("text", (6, 32), np.int32)
    assert texts.tokenizer_sha256 == tokenizer.sha256
    shown = [tokenizer.decode(row[row >= 0]) for row in texts.media]
    assert all(text.startswith("[CLS]") and text.endswith("[SEP]") for text in shown)


def test_an_encoder_must_read_the_medium_and_know_its_tokens() -> None:
    pictures = bars(4, 0)
    with pytest.raises(ConfigError, match="resnet-small reads audio, but the labelled examples are image"):
        require_fit(build_encoder("resnet-small", medium="audio", seed=0), pictures)
    texts = Labelled("text", np.zeros((2, 16), np.int32), np.array([0, 1]), ("a", "b"), "", "1" * 64)
    require_fit(build_encoder("bert-tiny", vocab_size=20, tokenizer_sha256="1" * 64, seed=0), texts)
    with pytest.raises(ConfigError, match="by another tokenizer"):
        require_fit(build_encoder("bert-tiny", vocab_size=20, tokenizer_sha256="2" * 64, seed=0), texts)
