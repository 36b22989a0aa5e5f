"""Masked language modelling: the original tokens of hidden words (Devlin et al., 2019, arXiv:1810.04805).

The mask is drawn anew for every epoch (Liu et al.: RoBERTa, 2019, arXiv:1907.11692) as `text_masked_tokens` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from numpy.typing import NDArray
from torch import Tensor, nn

from ...pipeline.transforms import mask_generator, unpack_mask
from ...pipeline.word_masks import mask_words
from ..data import Batch
from ..encoders.encoder import Encoder, take_tokens
from ..encoders.spec import TokenInputs
from .base import Outcome, PretextObjective, Score

#: Labels of tokens that are not predicted.
IGNORED = -100


class TokenPrediction(PretextObjective):
    """Cross-entropy over the tokens that are hidden.

    probability: share of the tokens to hide. mask_id, ordinary_ids: of the tokenizer.
    """

    columns = ("input_ids", "labels", "attention_mask", "token_type_ids", "word_starts", "mask_seed")

    def __init__(self, encoder: Encoder, probability: float, mask_id: int, ordinary_ids: NDArray[np.int32]) -> None:
        super().__init__(encoder)
        self._probability, self._mask_id, self._ordinary_ids = probability, mask_id, ordinary_ids
        width = encoder.num_features
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(encoder.spec.vocab_size))

    def arrange(self, batch: Batch) -> dict[str, Any]:
        """Return what the model sees, and places int64 [B, K] and original ids of what it is to predict."""
        columns = batch.columns
        original = np.where(columns["labels"] == IGNORED, columns["input_ids"], columns["labels"])
        seen = original.copy()
        hidden = np.zeros(original.shape, bool)
        for row, seed in enumerate(columns["mask_seed"].tolist()):
            end = int(columns["attention_mask"][row].sum()) - 1  # of the text, before the last separator
            starts = unpack_mask(bytes(columns["word_starts"][row]), (original.shape[1],))
            seen[row, 1:end], hidden[row, 1:end] = mask_words(
                original[row, 1:end],
                starts[1:end],
                self._probability,
                mask_generator(seed, batch.epoch),
                self._mask_id,
                self._ordinary_ids,
            )
        places, labels = _places(hidden, original)
        return {
            "input_ids": seen,
            "attention_mask": columns["attention_mask"],
            "token_type_ids": columns["token_type_ids"],
            "places": places,
            "labels": labels,
        }

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean cross-entropy over hidden tokens, and how many were right."""
        inputs = TokenInputs(*(tensors[name] for name in TokenInputs._fields))
        last = self.encoder(self.encoder.preprocess(inputs), with_layers=False).last
        hidden = self.transform(take_tokens(last, tensors["places"]))
        vectors: Tensor = self.encoder.model.get_input_embeddings().weight
        logits = F.linear(hidden, vectors, self.bias).float()
        labels = tensors["labels"].long()
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        given = labels != IGNORED
        right = ((logits.detach().argmax(dim=-1) == labels) & given).sum()
        return Outcome(loss, {"accuracy": Score(right, given.sum())})


def _places(hidden: NDArray[np.bool_], original: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the hidden tokens of each row are, int64 [B, K], and their ids, -100 where a row has fewer."""
    num = int(hidden.sum(axis=1).max())
    places = np.argsort(~hidden, axis=1, kind="stable")[:, :num]
    labels = np.where(np.take_along_axis(hidden, places, 1), np.take_along_axis(original, places, 1), IGNORED)
    return places, labels.astype(np.int64)
