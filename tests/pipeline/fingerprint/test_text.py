from __future__ import annotations

import numpy as np
from unlabeled.pipeline.fingerprint import text

WORDS = [f"w{number}" for number in range(400)]


def document(seed: int, num_words: int = 300) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, num_words))


def taken(*texts: str) -> bytes:
    data = text.fingerprint(texts)
    assert data is not None
    assert len(data) == text.NUM_BYTES
    return data


def test_every_trimmed_copy_meets_its_original_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    copies = []
    for seed in range(50):
        words = document(seed).split()
        cut = int(rng.integers(0, 31))
        start = int(rng.integers(0, cut + 1))
        copies.append(" ".join(words[start : len(words) - cut + start]).upper())
    pairs = text.copies([taken(document(seed)) for seed in range(50)] + [taken(copy) for copy in copies])
    assert pairs.tolist() == [[seed, 50 + seed] for seed in range(50)]


def test_a_sources_documents_count_together() -> None:
    whole = [document(1), document(2)]
    assert text.copies([taken(*whole), taken(*whole[::-1]), taken(whole[0])]).tolist() == [[0, 1]]


def test_a_text_of_few_words_is_no_copy_of_anything() -> None:
    assert text.fingerprint(["all rights reserved"]) is None
    assert text.fingerprint([]) is None


def test_scripts_without_spaces_are_cut_into_characters() -> None:
    letters = [chr(0x4E00 + number) for number in np.random.default_rng(0).integers(0, 3000, 200)]
    assert text.copies([taken("".join(letters)), taken("".join(letters[10:]))]).tolist() == [[0, 1]]
