"""Hiding words of a token sequence, shared by the task that stores a mask and the trainers that redraw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: What stands for a hidden word: its mask tokens, random tokens, or itself (BERT).
MASKED_FRACTION, RANDOM_FRACTION = 0.8, 0.1


def mask_words(
    ids: NDArray[np.int32],
    word_starts: NDArray[np.bool_],
    probability: float,
    generator: np.random.Generator,
    mask_id: int,
    ordinary_ids: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the ids that a model sees, int32 [num_tokens], and which tokens it is to predict, bool [num_tokens].

    Words are taken in random order as long as they fit into `probability` of all tokens, at least one word in all. A
    word's tokens share one fate: 80 % are replaced by the mask token, 10 % by random ordinary tokens, 10 % stay.

    Args:
        ids: the original tokens, without special ones.
        word_starts: bool [num_tokens], True where a word begins; the first token always begins one.
        probability: share of the tokens to predict.
        generator: of this example and epoch: `transforms.mask_generator(mask_seed, epoch)`.
        mask_id: the mask token's id.
        ordinary_ids: ids that random tokens are drawn from.
    """
    begins = word_starts.nonzero()[0]
    if not len(begins) or begins[0]:
        begins = np.concatenate([[0], begins])
    lengths = np.concatenate([begins[1:], [len(ids)]]) - begins
    order = generator.permutation(len(lengths))
    words = order[_fitting(lengths[order], max(1, round(probability * len(ids))))]
    fates = generator.random(len(lengths))
    # One number a token, whatever its fate: a word's numbers do not depend on those before it.
    random_ids = generator.integers(len(ordinary_ids), size=len(ids))
    seen, hidden = ids.astype(np.int32), np.zeros(len(ids), bool)
    bounds = zip(begins[words].tolist(), (begins + lengths)[words].tolist(), strict=True)
    # A handful of words: slices of them cost less than arrays over all tokens.
    for (begin, end), fate in zip(bounds, fates[words].tolist(), strict=True):
        word = slice(begin, end)
        hidden[word] = True
        if fate < MASKED_FRACTION:
            seen[word] = mask_id
        elif fate < MASKED_FRACTION + RANDOM_FRACTION:
            seen[word] = ordinary_ids[random_ids[word]]
    return seen, hidden


def _fitting(lengths: NDArray[np.int64], limit: int) -> list[int]:
    """Return indexes of words, first come first served, that together have at most `limit` tokens; one at least."""
    chosen, total = [], 0
    for index, length in enumerate(lengths.tolist()):
        if total + length <= limit:
            chosen.append(index)
            total += length
        if total == limit:
            break
    return chosen or [int(np.argmin(lengths))]
