from __future__ import annotations

import os
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from unlabeled.pipeline.errors import ConfigError, Filtered
from unlabeled.pipeline.items import Document
from unlabeled.pipeline.pretext.text_masked_tokens import TextMaskedTokens
from unlabeled.pipeline.rng import ItemRng
from unlabeled.pipeline.transforms import mask_generator, unpack_mask
from unlabeled.pipeline.word_masks import mask_words

from tests import samples


@cache
def tokenizer_json() -> bytes:
    documents = [samples.document_item(seed) for seed in range(4)]
    return TextMaskedTokens(vocab_size=500).make_assets(lambda: documents)["tokenizer.json"]


def task_of(**changes: Any) -> TextMaskedTokens:
    return TextMaskedTokens(**changes).with_assets({"tokenizer.json": tokenizer_json()})


def document(text: str) -> Document:
    return Document(media_kind="text", codec="utf-8", text=text)


def rows(task: TextMaskedTokens, text: str, seed: int = 0) -> list[dict[str, Any]]:
    return [
        dict(example.values) for example in task.examples(document(text), ItemRng(seed, "text_masked_tokens", "a"))
    ]


def original(row: dict[str, Any]) -> NDArray[np.int32]:
    restored = np.where(row["labels"] == -100, row["input_ids"], row["labels"])
    return restored[1 : row["attention_mask"].sum() - 1]


TEXT = samples.document_item(9).text
MIXED = st.text(st.sampled_from("abc dé漢ไท🎉\n.,1नम"), min_size=200, max_size=600)


@settings(max_examples=25, deadline=None)
@given(text=MIXED, seq_length=st.sampled_from([32, 64]))
def test_labels_restore_the_text(text: str, seq_length: int) -> None:
    task = task_of(seq_length=seq_length)
    for row in rows(task, text):
        restored = task.tokenizer.decode(original(row))
        assert restored == text[row["doc_offset"] :][: row["num_chars"]]


def test_sequences_cover_the_document_without_overlap() -> None:
    made = rows(task_of(), TEXT)
    end = 0
    for row in made:
        assert row["doc_offset"] == end
        end += row["num_chars"]
    assert end > 0.9 * len(TEXT)
    assert all(len(original(row)) > 110 for row in made[:-1])


@settings(max_examples=25, deadline=None)
@given(text=MIXED)
def test_words_are_predicted_whole(text: str) -> None:
    for row in rows(task_of(), text):
        starts = unpack_mask(row["word_starts"], (128,))
        predicted = row["labels"] != -100
        size = len(original(row))
        word_of = np.cumsum(starts)[1 : size + 1]
        for word in np.unique(word_of):
            assert len(set(predicted[1 : size + 1][word_of == word])) == 1


def test_special_tokens_and_padding_are_never_predicted() -> None:
    task = task_of()
    for row in rows(task, TEXT):
        end = int(row["attention_mask"].sum())
        assert (row["labels"][[0, end - 1]] == -100).all()
        assert (row["labels"][end:] == -100).all()
        assert not set(row["labels"].tolist()) & set(row["special_token_ids"])
        assert task.tokenizer.decode(row["input_ids"][[0, end - 1]]) == "[CLS][SEP]"


def test_about_15_percent_are_predicted() -> None:
    made = rows(task_of(), TEXT)
    share = sum((row["labels"] != -100).sum() for row in made) / sum(len(original(row)) for row in made)
    assert 0.13 < share < 0.16


def test_a_trainer_redraws_the_stored_mask_and_others_from_the_row_alone() -> None:
    for row in rows(task_of(), TEXT):
        ids, end = original(row), int(row["attention_mask"].sum()) - 1
        starts = unpack_mask(row["word_starts"], (128,))[1:end]
        ordinary = np.setdiff1d(np.arange(row["vocab_size"]), row["special_token_ids"])
        masks = []
        for epoch in range(2):
            generator = mask_generator(row["mask_seed"], epoch)
            masks.append(mask_words(ids, starts, row["mlm_probability"], generator, row["mask_token_id"], ordinary))
        assert np.array_equal(masks[0][0], row["input_ids"][1:end])
        assert np.array_equal(masks[0][1], row["labels"][1:end] != -100)
        assert not np.array_equal(masks[1][1], masks[0][1])


def test_single_tokens_are_hidden_where_asked() -> None:
    row = rows(task_of(whole_word=False), TEXT)[0]
    assert unpack_mask(row["word_starts"], (128,)).sum() == len(original(row))


def test_a_capped_document_is_used_over_its_whole_length() -> None:
    long = " ".join(samples.document_item(seed).text for seed in range(40))
    made = rows(task_of(max_examples=5), long)
    assert len(made) == 5
    for number, row in enumerate(made):
        assert number * len(long) // 5 <= row["doc_offset"] < (number + 1) * len(long) // 5
        assert len(original(row)) > 110


@pytest.mark.parametrize("text", ["", "short", " \n" * 3])
def test_a_short_document_is_filtered(text: str) -> None:
    with pytest.raises(Filtered, match="too_short"):
        rows(task_of(), text)


@pytest.mark.parametrize("text", ["x" * 5000, " " * 5000, "\n" * 5000, "ก" * 5000, "🎉" * 2000, "a\u0301" * 3000])
def test_text_without_words_goes_through(text: str) -> None:
    task = task_of(min_tokens=2)
    for row in rows(task, text):
        assert task.tokenizer.decode(original(row)) == text[row["doc_offset"] :][: row["num_chars"]]


def test_stretches_that_cannot_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="min_tokens"):
        TextMaskedTokens(seq_length=16, min_tokens=15)


def test_a_task_without_its_tokenizer_says_so() -> None:
    with pytest.raises(ConfigError, match="with_assets"):
        next(TextMaskedTokens().examples(document(TEXT), ItemRng(0, "t", "a")))


def test_rederive_returns_no_labels_for_another_text() -> None:
    task = task_of()
    row = rows(task, TEXT)[1]
    assert task.rederive(row, document(TEXT))["labels"] == row["labels"].tolist()
    assert set(task.rederive(row, document(TEXT[1:]))["labels"]) == {-100}


@pytest.mark.real_media
def test_text_in_every_language_is_restored() -> None:
    folder = os.environ.get("UNLABELED_MEDIA")
    archives = sorted(Path(folder).rglob("text.tar.*")) if folder else []
    if not archives:
        pytest.skip("UNLABELED_MEDIA has no text.tar.*")
    with tarfile.open(archives[0]) as archive:
        members = [archive.extractfile(member) for member in archive if member.name.endswith(".txt")]
        documents = [document(member.read().decode("utf-8")) for member in members if member is not None]
    unbound = TextMaskedTokens(max_examples=50)
    task = unbound.with_assets(unbound.make_assets(lambda: documents))
    assert len(documents) > 20
    for item in documents:
        for row in rows(task, item.text):
            assert task.tokenizer.decode(original(row)) == item.text[row["doc_offset"] :][: row["num_chars"]]
