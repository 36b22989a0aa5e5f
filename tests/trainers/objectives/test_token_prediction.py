from __future__ import annotations

from typing import Any

import numpy as np
import torch
from unlabeled.pipeline.transforms import mask_generator, pack_mask
from unlabeled.pipeline.word_masks import mask_words
from unlabeled.trainers.data import Batch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.token_prediction import IGNORED, TokenPrediction

ORDINARY = np.arange(5, 30, dtype=np.int32)
MASK_ID, LENGTH, NUM_TOKENS = 4, 16, 12
TEXT = np.arange(5, 15, dtype=np.int32)
STARTS = np.zeros(LENGTH, bool)
STARTS[[1, 3, 4, 7, 9]] = True


def stored(seed: int) -> dict[str, Any]:
    """Return a row as the task stores it: [CLS] ten tokens [SEP] and padding."""
    seen, hidden = mask_words(TEXT, STARTS[1:11], 0.3, mask_generator(seed, 0), MASK_ID, ORDINARY)
    ids, labels = np.zeros(LENGTH, np.int32), np.full(LENGTH, IGNORED, np.int32)
    ids[0], ids[1:11], ids[11] = 2, seen, 3
    labels[1:11][hidden] = TEXT[hidden]
    mask = (np.arange(LENGTH) < NUM_TOKENS).astype(np.int8)
    bits = np.frombuffer(pack_mask(STARTS), np.uint8)
    return {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": mask,
        "token_type_ids": 0 * mask,
        "word_starts": bits,
    }


def batch(epoch: int, *seeds: int) -> Batch:
    rows = [stored(seed) for seed in seeds]
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Batch(0, epoch, tuple(map(str, seeds)), {**columns, "mask_seed": np.array(seeds)})


def objective() -> TokenPrediction:
    return TokenPrediction(build_encoder("bert-tiny", seed=0, vocab_size=30), 0.3, MASK_ID, ORDINARY)


def test_epoch_0_shows_what_is_stored() -> None:
    of = batch(0, 7, 8)
    arranged = objective().arrange(of)
    np.testing.assert_array_equal(arranged["input_ids"], of.columns["input_ids"])
    for row in range(2):
        given = arranged["labels"][row] != IGNORED
        places = arranged["places"][row][given]
        np.testing.assert_array_equal(of.columns["labels"][row][places], arranged["labels"][row][given])
        assert given.sum() == (of.columns["labels"][row] != IGNORED).sum()


def test_other_epochs_hide_other_words_of_the_same_text() -> None:
    shown = [objective().arrange(batch(epoch, 7))["places"].tolist() for epoch in range(6)]
    assert len({str(places) for places in shown}) > 2
    later = objective().arrange(batch(3, 7))
    places, labels = later["places"][0], later["labels"][0]
    np.testing.assert_array_equal(labels, TEXT[places - 1])


def test_the_loss_is_over_hidden_tokens_and_reaches_the_embeddings() -> None:
    model = objective()
    tensors = {name: torch.as_tensor(array) for name, array in model.arrange(batch(0, 7, 8)).items()}
    outcome = model(tensors)
    outcome.loss.backward()
    assert outcome.scores["accuracy"].weight == (tensors["labels"] != IGNORED).sum()
    assert model.encoder.model.get_input_embeddings().weight.grad.abs().sum() > 0
