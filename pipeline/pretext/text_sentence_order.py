"""Predict whether two consecutive segments of a document stand in their order, or were swapped.

Lan et al.: ALBERT, ICLR 2020 (arXiv:1909.11942), sentence-order prediction. Unlike next-sentence prediction, it cannot
be solved by topic: both segments are always of one document, one right after the other.

A segment is a run of whole sentences. A sentence ends at . ! ? and their like in other scripts, with closing quotes or
brackets, before a space (in Chinese and Japanese without one), unless a small letter follows. Where fewer than one
line in ten ends so (verse without points, Thai), every line is a sentence. Abbreviations cut too often; no harm.

Shortcuts closed here: each pair comes in both orders, so no word, length or place of a pair tells the label; how many
sentences make a pair depends on earlier ones only, and what is too much is dropped from either end, since filling up
with what just fits would make the first segment the longer one (0.11 of 1 by length alone); the cut between the two
is drawn among all sentence ends; all runs of spaces and line ends become one space; headings and other paragraphs
without a point, lines that a document repeats (headers, footers, speakers' names) and lines without letters are not
used, and no pair reaches over one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Filtered
from ..features import Features, class_label, value
from ..items import Document
from ..rng import ItemRng, sha256_hex
from ..task import Example, Modality, Objective, setting
from ..tokenizer import CLS, PAD, SEP, TokenizedTask

CLASSES = ("in_order", "swapped")
#: Quotes and brackets that may follow: ASCII, guillemet, curly, corner, full width.
_CLOSING = "[\"')\\]\u00bb\u201d\u2019\u300d\u300f\uff09]*"
#: Latin and the ellipsis; Arabic and Urdu; Indic danda; Ethiopic; Armenian; Khmer; Burmese.
_POINTS = ".!?\u2026\u061f\u06d4\u0964\u0965\u1362\u1367\u0589\u17d4\u17d6\u104b"
#: Chinese and Japanese: no space follows.
_WIDE_POINTS = "\u3002\uff01\uff1f"
_ENDS = re.compile(rf"[{_POINTS}]+{_CLOSING}(?=\s|$)|[{_WIDE_POINTS}]+{_CLOSING}")
_LINE_ENDS = re.compile(rf"[{_POINTS}{_WIDE_POINTS}]{_CLOSING}\s*$")
#: What may stand between a point and the next word, and how far that word is sought.
_BEFORE_WORDS = " \t\n\"'(["
_NUM_LOOK_AHEAD = 16
_LETTER = re.compile(r"[^\W\d_]")
#: Lines are sentences where a smaller share of them ends in a point.
_MIN_POINTED_FRACTION = 0.1


@dataclass(frozen=True)
class Sentence:
    """A sentence: its tokens, and where its text stands in the document."""

    ids: NDArray[np.int32]
    start: int
    end: int


@dataclass(frozen=True)
class Neighbours:
    """Two segments, one right after the other: characters [start, cut) and [cut, end) of the document, and tokens."""

    first_ids: NDArray[np.int32]
    second_ids: NDArray[np.int32]
    start: int
    cut: int
    end: int


@dataclass(frozen=True)
class TextSentenceOrder(TokenizedTask):
    """Predict whether two segments of text stand in order (ALBERT's SOP)."""

    version = "1"
    modality = Modality.TEXT
    objective = Objective.CLASSIFICATION
    paper = (
        "Lan et al.: ALBERT: A Lite BERT for Self-supervised Learning of Language Representations, ICLR 2020 "
        "(arXiv:1909.11942)"
    )

    max_examples: int = setting(2000, "most examples of one document, spread over it", at_least=2, multiple_of=2)

    def features(self) -> Features:
        """Return the ids of both segments as one sequence, the order, and where the text stands."""
        sequence = (self.seq_length,)
        return Features.of(
            input_ids=value("int32", "input", "cls, segment a, sep, segment b, sep, pads", shape=sequence),
            attention_mask=value("int8", "input", "1 for tokens, 0 for padding", shape=sequence),
            token_type_ids=value("int8", "input", "1 for segment b and the sep after it, else 0", shape=sequence),
            label=class_label(CLASSES, "1 where segment b comes before segment a in the document"),
            tokenizer_sha256=value("string", "parameter", "names the asset tokenizer.json"),
            doc_offset=value("int64", "parameter", "where in the item's text the pair begins", unit="characters"),
            cut_chars=value("int32", "parameter", "from there to where the later segment begins", unit="characters"),
            num_chars=value("int32", "parameter", "from there to the end of the pair", unit="characters"),
        )

    def examples(self, item: Document, rng: ItemRng) -> Iterator[Example]:
        """Yield each pair in both orders, the first of them drawn, in the order of the document.

        Raises:
            Filtered: `too_short`, where no two consecutive sentences fit a sequence.
            ConfigError: no tokenizer is bound, or the package `tokenizers` is missing.
        """
        coins, draw = rng.item("orders"), 0
        for pair in self._pairs(item.text, rng.item("cuts")):
            first = int(coins.integers(2))
            for label in (first, 1 - first):
                yield Example(draw, self._values(pair, label))
                draw += 1
        if not draw:
            raise Filtered("too_short", f"{len(item.text)} characters hold no two consecutive sentences that fit")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return about 1 byte a token and 100 an example; a pair takes tokens of 5 bytes of the source."""
        pairs = max(1, min(self.max_examples / 2, source_num_bytes / (5 * self.seq_length)))
        return int(2 * pairs * (100 + self.seq_length))

    def rederive(self, row: Mapping[str, Any], item: Document) -> Mapping[str, Any]:
        """Return the order in which the two stored segments stand in the text; -1 where they do not."""
        types, ids = np.array(row["token_type_ids"]), np.array(row["input_ids"])
        length = int(np.sum(row["attention_mask"]))
        later = int(np.argmax(types))
        stored = [self.tokenizer.decode(part) for part in (ids[1 : later - 1], ids[later : length - 1])]
        start, cut, end = (row["doc_offset"] + offset for offset in (0, row["cut_chars"], row["num_chars"]))
        in_text = [_normal(item.text[start:cut]), _normal(item.text[cut:end])]
        shown = [_normal(text) for text in stored]
        return {"label": 0 if shown == in_text else 1 if shown[::-1] == in_text else -1}

    def _pairs(self, text: str, generator: np.random.Generator) -> Iterator[Neighbours]:
        """Yield pairs that do not overlap, spread where there are more than half of max_examples."""
        most, made = self.max_examples // 2, 0
        for run in self._runs(text, generator):
            # Pair number n begins no earlier than at n shares of the document.
            pair = _neighbours(run, generator) if run[0].start >= made * len(text) // most else None
            if pair is not None:
                yield pair
                made += 1
            if made == most:
                return

    def _runs(self, text: str, generator: np.random.Generator) -> Iterator[list[Sentence]]:
        """Yield consecutive sentences that fit a sequence with its three special tokens, two at least."""
        room = self.seq_length - 3
        run: list[Sentence] = []
        num_sentences, num_tokens = 1, room // 4
        for start, end in sentence_spans(text):
            # No text of more than 16 characters a token is worth its encoding.
            ids = self._ids(text[start:end]) if 0 < end - start <= 16 * room else None
            if ids is not None and 0 < len(ids) <= room:
                run.append(Sentence(ids, start, end))
            # Of earlier sentences only: a run must not end where a long one begins.
            is_full = len(run) >= max(2, room * num_sentences // num_tokens)
            if is_full or ids is None or len(ids) > room:
                yield from _fitting(run, room, generator)
                run = []
            if ids is not None:
                num_sentences, num_tokens = num_sentences + 1, num_tokens + len(ids)
        yield from _fitting(run, room, generator)

    def _ids(self, sentence: str) -> NDArray[np.int32]:
        return self.tokenizer.encode(" " + " ".join(sentence.split())).ids

    def _values(self, pair: Neighbours, label: int) -> dict[str, Any]:
        tokenizer = self.tokenizer
        parts = (pair.first_ids, pair.second_ids)[:: -1 if label else 1]
        cls, sep, pad = (tokenizer.special_id(token) for token in (CLS, SEP, PAD))
        input_ids = np.full(self.seq_length, pad, np.int32)
        second, length = len(parts[0]) + 2, len(parts[0]) + len(parts[1]) + 3
        input_ids[:length] = [cls, *parts[0], sep, *parts[1], sep]
        places = np.arange(self.seq_length)
        return {
            "input_ids": input_ids,
            "attention_mask": (places < length).astype(np.int8),
            "token_type_ids": ((places >= second) & (places < length)).astype(np.int8),
            "label": label,
            "tokenizer_sha256": tokenizer.sha256,
            "doc_offset": pair.start,
            "cut_chars": pair.cut - pair.start,
            "num_chars": pair.end - pair.start,
        }


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of each sentence, without the spaces around it; an empty span where text is left out."""
    times = Counter(map(_line_key, _lines(text)))
    num_pointed = sum(1 for line in _lines(text) if _LINE_ENDS.search(line))
    lines_are_sentences = num_pointed < _MIN_POINTED_FRACTION * times.total()
    begin = 0
    for match in re.finditer(r"[^\n]*\n?", text):
        line = match.group()
        is_left_out = not _LETTER.search(line) or times[_line_key(line)] > 1
        if is_left_out and text[begin : match.start()].strip():
            # What a paragraph has after its last point, a heading as a whole.
            yield begin, begin
        if is_left_out:
            if line.strip():
                yield match.start(), match.start()
            begin = match.end()
            continue
        for end in (match.start() + found.end() for found in _ENDS.finditer(line)):
            # Not islower(): Georgian letters are lower-case by name, but begin sentences.
            next_letter = text[end : end + _NUM_LOOK_AHEAD].lstrip(_BEFORE_WORDS)[:1]
            if next_letter == next_letter.title():
                yield from _stripped(text, begin, end)
                begin = end
        if lines_are_sentences:
            yield from _stripped(text, begin, match.end())
            begin = match.end()


def _stripped(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    part = text[begin:end]
    if part.strip():
        start = begin + len(part) - len(part.lstrip())
        yield start, start + len(part.strip())


def _lines(text: str) -> Iterator[str]:
    return (match.group() for match in re.finditer(r"[^\n]+", text) if match.group().strip())


def _line_key(line: str) -> str:
    stripped = line.strip()
    # Long lines are counted by their hash, so that a huge document is not held twice.
    return stripped if len(stripped) <= 64 else sha256_hex(stripped.encode("utf-8", "surrogatepass"))


def _fitting(run: list[Sentence], room: int, generator: np.random.Generator) -> Iterator[list[Sentence]]:
    """Yield the run less what is too much, dropped from either end; nothing where fewer than two sentences stay."""
    kept = list(run)
    while sum(len(sentence.ids) for sentence in kept) > room:
        kept.pop(-int(generator.integers(2)))
    if len(kept) >= 2:
        yield kept


def _neighbours(run: list[Sentence], generator: np.random.Generator) -> Neighbours | None:
    """Return the run cut in two between sentences; None where the two would be alike."""
    cut = int(generator.integers(1, len(run)))
    first, second = (np.concatenate([sentence.ids for sentence in part]) for part in (run[:cut], run[cut:]))
    if np.array_equal(first, second):
        return None
    return Neighbours(first, second, run[0].start, run[cut].start, run[-1].end)


def _normal(text: str) -> str:
    return "".join(text.split())
