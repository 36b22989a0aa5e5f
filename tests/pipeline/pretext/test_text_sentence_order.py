from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import Filtered
from unlabeled.pipeline.items import Document
from unlabeled.pipeline.pretext.text_sentence_order import TextSentenceOrder, sentence_spans
from unlabeled.pipeline.rng import ItemRng

from tests import samples


@cache
def tokenizer_json() -> bytes:
    documents = [samples.document_item(seed) for seed in range(4)]
    return TextSentenceOrder(vocab_size=500).make_assets(lambda: documents)["tokenizer.json"]


def task_of(**changes: Any) -> TextSentenceOrder:
    return TextSentenceOrder(**changes).with_assets({"tokenizer.json": tokenizer_json()})


def document(text: str) -> Document:
    return Document(media_kind="text", codec="utf-8", text=text)


def rows(task: TextSentenceOrder, text: str, seed: int = 0) -> list[dict[str, Any]]:
    return [
        dict(example.values) for example in task.examples(document(text), ItemRng(seed, "text_sentence_order", "a"))
    ]


def segments(task: TextSentenceOrder, row: dict[str, Any]) -> tuple[str, str]:
    later, end = int(np.argmax(row["token_type_ids"])), int(row["attention_mask"].sum())
    ids = row["input_ids"]
    return task.tokenizer.decode(ids[1 : later - 1]).strip(), task.tokenizer.decode(ids[later : end - 1]).strip()


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


TEXT = samples.document_item(9, num_sentences=80).text


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), seq_length=st.sampled_from([64, 128]))
def test_segments_are_consecutive_in_order_or_swapped(seed: int, seq_length: int) -> None:
    task = task_of(seq_length=seq_length)
    for row in rows(task, TEXT, seed):
        first, second = segments(task, row)
        if row["label"]:
            first, second = second, first
        assert f"{first} {second}" in TEXT
        assert TEXT.index(first) == row["doc_offset"]


def test_each_pair_comes_in_both_orders() -> None:
    task = task_of()
    made = rows(task, TEXT)
    pairs = {}
    for row in made:
        pairs.setdefault(row["doc_offset"], []).append((row["label"], segments(task, row)))
    for (label_1, shown_1), (label_2, shown_2) in pairs.values():
        assert {label_1, label_2} == {0, 1}
        assert shown_1 == shown_2[::-1]
    assert len({row["label"] for row in made[::2]}) == 2


def test_lengths_do_not_tell_the_first_segment() -> None:
    task = task_of()
    longer = []
    for seed in range(60):
        made = rows(task, samples.document_item(seed).text, seed)[::2]
        longer += [row["cut_chars"] > row["num_chars"] - row["cut_chars"] for row in made]
    # 3.5 standard deviations of a fair coin.
    assert abs(np.mean(longer) - 0.5) < 3.5 * 0.5 / np.sqrt(len(longer))


def test_a_sequence_is_cls_a_sep_b_sep_pads() -> None:
    task = task_of()
    row = rows(task, TEXT)[0]
    cls, sep, pad = (task.tokenizer.special_id(token) for token in ("[CLS]", "[SEP]", "[PAD]"))
    end, later = int(row["attention_mask"].sum()), int(np.argmax(row["token_type_ids"]))
    assert row["input_ids"][[0, later - 1, end - 1]].tolist() == [cls, sep, sep]
    assert (row["input_ids"][end:] == pad).all()
    assert row["token_type_ids"].tolist() == [int(later <= place < end) for place in range(128)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One is here. Two is there! Is it?\n", ["One is here.", "Two is there!", "Is it?"]),
        ('He said "stop." She did.', ['He said "stop."', "She did."]),
        ("A wrapped\nsentence goes on. Then\nanother.", ["A wrapped\nsentence goes on.", "Then\nanother."]),
        ("It cost approx. three pounds. Nobody paid.", ["It cost approx. three pounds.", "Nobody paid."]),
        ("今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
        ("यह पहला है। यह दूसरा है।", ["यह पहला है।", "यह दूसरा है।"]),
        ("ეს არის. ისიც არის.", ["ეს არის.", "ისიც არის."]),
        ("verse without\npoints at all\n", ["verse without", "points at all"]),
    ],
)
def test_sentences_end_where_they_should(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("First one. Second one.\nPage 3 of 9\nThird. Fourth.\nPage 3 of 9\nFifth one.", "Page"),
        ("First one. Second one.\n----- 123 -----\nThird one.", "---"),
        ("First one. Second one.\n\nA Heading\n\nThird one. Fourth one.", "Heading"),
    ],
)
def test_boilerplate_is_left_out_and_breaks_the_text(text: str, left_out: str) -> None:
    assert not any(left_out in sentence for sentence in sentences(text))
    assert "" in sentences(text)


def test_no_pair_reaches_over_what_is_left_out() -> None:
    task = task_of()
    text = "\n\n".join(f"{samples.document_item(seed, 4).text}\n\nSome heading {seed}" for seed in range(9))
    made = rows(task, text)
    assert made
    for row in made:
        assert "heading" not in text[row["doc_offset"] :][: row["num_chars"]]


def test_a_capped_document_is_used_over_its_whole_length() -> None:
    long = " ".join(samples.document_item(seed).text for seed in range(20))
    made = rows(task_of(max_examples=8), long)
    quarters = Counter(4 * row["doc_offset"] // len(long) for row in made)
    assert quarters == {0: 2, 1: 2, 2: 2, 3: 2}


@pytest.mark.parametrize("text", ["", "Only one sentence here.", "\n\n\n", "word " * 5000])
def test_a_document_without_two_sentences_is_filtered(text: str) -> None:
    with pytest.raises(Filtered, match="too_short"):
        rows(task_of(), text)


def test_rederive_reads_the_order_from_the_text() -> None:
    task = task_of()
    for row in rows(task, TEXT):
        assert task.rederive(row, document(TEXT)) == {"label": row["label"]}
    assert task.rederive(row, document(TEXT[1:])) == {"label": -1}


def test_rederive_notices_a_wrong_label() -> None:
    task = task_of()
    in_order, swapped = sorted(rows(task, TEXT)[:2], key=lambda row: int(row["label"]))
    assert task.rederive(in_order | {"label": 1}, document(TEXT)) == {"label": 0}
    assert task.rederive(swapped | {"label": 0}, document(TEXT)) == {"label": 1}
