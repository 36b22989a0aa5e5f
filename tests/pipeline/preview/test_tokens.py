from __future__ import annotations

from typing import Any

import pytest
from unlabeled.pipeline.preview.tokens import token_text
from unlabeled.pipeline.tokenizer import CLS, MASK, SEP, Tokenizer, train

from tests import samples
from tests.pipeline.preview.shown import read

TEXT = "the river runs past old houses"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train([samples.document_item(seed).text for seed in range(3)], 400, 100_000))


def masked_row(tokenizer: Tokenizer, word: int, shown: int | None) -> dict[str, Any]:
    """Return a row whose `word`-th token is to be predicted and seen as `shown` (None: as it is)."""
    ids = tokenizer.encode(TEXT).ids.tolist()
    labels = [-100] * len(ids)
    labels[word] = ids[word]
    ids[word] = ids[word] if shown is None else shown
    cls, sep = tokenizer.special_id(CLS), tokenizer.special_id(SEP)
    return {
        "input_ids": [cls, *ids, sep, 0, 0],
        "labels": [-100, *labels, -100, -100, -100],
        "attention_mask": [1] * (len(ids) + 2) + [0, 0],
        "mask_token_id": tokenizer.special_id(MASK),
    }


def test_a_hidden_word_is_shown_as_it_was_and_marked(tokenizer: Tokenizer) -> None:
    page = read(token_text(masked_row(tokenizer, 1, tokenizer.special_id(MASK)), tokenizer))
    assert page.all("mark") == [{"class": "hidden", "title": "hidden"}]
    assert page.text == f"[CLS]{TEXT}[SEP]"


def test_a_replaced_word_is_followed_by_what_the_model_sees(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT).ids
    page = read(token_text(masked_row(tokenizer, 1, int(ids[3])), tokenizer))
    (mark,) = page.all("mark")
    assert mark["class"] == "replaced"
    assert f"→{tokenizer.decode([ids[3]]).strip()}" in page.texts


def test_a_word_to_predict_that_is_left_as_it_is_is_marked(tokenizer: Tokenizer) -> None:
    page = read(token_text(masked_row(tokenizer, 2, None), tokenizer))
    assert page.all("mark")[0]["class"] == "kept"
    assert page.text == f"[CLS]{TEXT}[SEP]"


def test_segments_are_paragraphs_without_special_tokens(tokenizer: Tokenizer) -> None:
    first, second = (tokenizer.encode(text).ids.tolist() for text in ("the river", "old houses"))
    cls, sep = tokenizer.special_id(CLS), tokenizer.special_id(SEP)
    row = {
        "input_ids": [cls, *first, sep, *second, sep],
        "token_type_ids": [0] * (len(first) + 2) + [1] * (len(second) + 1),
        "attention_mask": [1] * (len(first) + len(second) + 3),
    }
    page = read(token_text(row, tokenizer))
    assert page.text == "A the riverB old houses"
    assert len(page.all("p")) == 2


def test_markup_in_a_text_is_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<script>x</script>").ids.tolist()
    row = {"input_ids": ids, "labels": [-100] * len(ids)}
    page = read(token_text(row, tokenizer))
    assert not page.all("script")
    assert page.text == "<script>x</script>"
