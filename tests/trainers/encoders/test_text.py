from __future__ import annotations

import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.encoders.spec import TokenInputs
from unlabeled.trainers.encoders.text import PADDING


def test_padding_changes_nothing() -> None:
    encoder = build_encoder("bert-tiny", seed=0, vocab_size=20).eval()
    ids, ones = torch.arange(6)[None], torch.ones(1, 6)
    short = TokenInputs(ids, ones, 0 * ones)
    padded = TokenInputs(*(torch.nn.functional.pad(part, (0, 3)) for part in short))
    with torch.no_grad():
        pooled = [encoder(encoder.preprocess(inputs)).pooled for inputs in (short, padded)]
    torch.testing.assert_close(*pooled)


def test_a_vocabulary_is_needed() -> None:
    with pytest.raises(ConfigError, match="`vocab_size` must be the number of tokens"):
        build_encoder("bert-tiny", seed=0)


def test_plain_ids_are_one_segment_without_their_padding() -> None:
    encoder = build_encoder("bert-tiny", seed=0, vocab_size=20)
    inputs = encoder.preprocess(torch.tensor([[3, 0, PADDING]], dtype=torch.int32))
    assert [part.tolist() for part in inputs] == [[[3, 0, 0]], [[1, 1, 0]], [[0, 0, 0]]]
