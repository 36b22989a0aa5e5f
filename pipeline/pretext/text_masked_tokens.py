"""Predict the hidden words of a stretch of text.

Devlin, Chang, Lee, Toutanova: BERT, NAACL 2019 (arXiv:1810.04805): 15 % of the tokens; of these, 80 % become the mask
token, 10 % another one, 10 % stay. Whole words (google-research/bert, 2019), since the tail of a word is guessed from
its head. Sequences of 128 tokens.

Shortcuts closed here: words are hidden whole, and share one fate; special tokens are never hidden; a trainer redraws
the mask every epoch (Liu et al.: RoBERTa, 2019, arXiv:1907.11692), for which rows have `word_starts` and `mask_seed`:

    n = attention_mask.sum() - 1                                 # the last token of the text is n - 1
    original = where(labels == -100, input_ids, labels)
    mask_words(original[1:n], word_starts[1:n], mlm_probability, mask_generator(mask_seed, epoch), mask_token_id,
               setdiff1d(arange(vocab_size), special_token_ids))

Copies of documents belong into one group (`--group-by`, or fingerprints), lest a hidden word stand in the clear
in the other split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, Filtered
from ..features import Features, value
from ..items import Document
from ..rng import ItemRng
from ..task import Example, Modality, Objective, setting
from ..tokenizer import CLS, MASK, PAD, SEP, TokenizedTask, Tokens, block_end
from ..transforms import mask_generator, pack_mask
from ..word_masks import mask_words

IGNORE = -100
#: How far a space is sought, in characters.
_LONGEST_WORD = 200


@dataclass(frozen=True)
class Stretch:
    """A piece of a document that fills one sequence. ids, word_starts: of its tokens; start, end: its characters."""

    ids: NDArray[np.int32]
    word_starts: NDArray[np.bool_]
    start: int
    end: int


@dataclass(frozen=True)
class TextMaskedTokens(TokenizedTask):
    """Predict hidden words (masked language modelling)."""

    version = "1"
    modality = Modality.TEXT
    objective = Objective.TOKEN_PREDICTION
    paper = (
        "Devlin, Chang, Lee, Toutanova: BERT: Pre-training of Deep Bidirectional Transformers for Language "
        "Understanding, NAACL 2019 (arXiv:1810.04805)"
    )

    mlm_probability: float = setting(0.15, "share of the tokens to predict", at_least=0.01, at_most=0.8)
    whole_word: bool = setting(True, "hide whole words; false: single tokens")
    min_tokens: int = setting(16, "shorter stretches are not used", at_least=2)
    max_examples: int = setting(10_000, "most sequences of one document, spread over it", at_least=1)

    def __post_init__(self) -> None:
        """Check that a stretch of the least length fits into a sequence."""
        super().__post_init__()
        if self.min_tokens > self.seq_length - 2:
            raise ConfigError(f"`min_tokens` must be at most `seq_length` - 2, but is {self.min_tokens}.")

    def features(self) -> Features:
        """Return ids, labels and masks, each [seq_length], and what is needed to redraw the mask."""
        sequence = (self.seq_length,)
        return Features.of(
            input_ids=value(
                "int32", "input", "what the model sees: cls, the text with words hidden, sep, pads", shape=sequence
            ),
            labels=value("int32", "label", "original id where a token is to be predicted, else -100", shape=sequence),
            attention_mask=value("int8", "input", "1 for tokens, 0 for padding", shape=sequence),
            token_type_ids=value("int8", "input", "0 throughout: one segment", shape=sequence),
            word_starts=value("binary", "parameter", "bits [seq_length], LSB first: 1 where a word begins"),
            mask_seed=value("int64", "parameter", "redraws the mask: transforms.mask_generator(mask_seed, epoch)"),
            mask_token_id=value("int32", "parameter", "id of the mask token"),
            special_token_ids=value("int32", "parameter", "ids of all special tokens, never predicted", shape=(None,)),
            vocab_size=value("int32", "parameter", "number of tokens of the tokenizer"),
            tokenizer_sha256=value("string", "parameter", "names the asset tokenizer.json"),
            mlm_probability=value("float32", "parameter", "share of the tokens to predict, as set"),
            whole_word=value("bool", "parameter", "whether words are hidden whole"),
            doc_offset=value("int64", "parameter", "where in the item's text the stretch begins", unit="characters"),
            num_chars=value("int32", "parameter", "length of the stretch in the item's text", unit="characters"),
        )

    def examples(self, item: Document, rng: ItemRng) -> Iterator[Example]:
        """Yield one masked sequence a stretch, in the order of the document.

        Raises:
            Filtered: `too_short`, where no stretch has `min_tokens`.
            ConfigError: no tokenizer is bound, or the package `tokenizers` is missing.
        """
        draw = 0
        for stretch in self._stretches(item.text):
            yield Example(draw, self._values(stretch, rng.draw(draw)))
            draw += 1
        if not draw:
            raise Filtered("too_short", f"{len(item.text)} characters give no {self.min_tokens} tokens")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return about 2.3 bytes a token and 150 a sequence; a token takes 4.2 bytes of the source."""
        sequences = max(1, min(self.max_examples, source_num_bytes / (4.2 * (self.seq_length - 2))))
        return int(sequences * (150 + 2.3 * self.seq_length))

    def rederive(self, row: Mapping[str, Any], item: Document) -> Mapping[str, Any]:
        """Return the labels, where the restored ids decode to the text of `item` that the row names; else none."""
        labels, shown = np.array(row["labels"], np.int32), np.array(row["input_ids"], np.int32)
        restored = np.where(labels == IGNORE, shown, labels)
        text = item.text[row["doc_offset"] : row["doc_offset"] + row["num_chars"]]
        ids = restored[1 : int(np.sum(row["attention_mask"])) - 1]
        # A tokenizer that the user brought may normalise: then the text must give the same ids.
        is_text = self.tokenizer.decode(ids) == text or np.array_equal(self.tokenizer.encode(text).ids, ids)
        return {"labels": (labels if is_text else np.full_like(labels, IGNORE)).tolist()}

    def _stretches(self, text: str) -> Iterator[Stretch]:
        """Yield stretches that do not overlap: end to end, or spread where there are more than max_examples."""
        position, made = 0, 0
        while position < len(text) and made < self.max_examples:
            position = _from_word(text, position, made * len(text) // self.max_examples)
            end = block_end(text, position, 32 * self.seq_length)
            tokens = self.tokenizer.encode(text[position:end])
            next_position = end
            for first, last in self._cuts(tokens):
                if last == len(tokens) and first and end < len(text):
                    # The rest of a block goes on in the next one.
                    next_position = position + tokens.chars(first)[0]
                    break
                if last - first >= self.min_tokens:
                    begin, stop = position + tokens.chars(first)[0], position + tokens.chars(last - 1)[1]
                    yield Stretch(tokens.ids[first:last], tokens.word_starts[first:last], begin, stop)
                    made += 1
                    if made == self.max_examples or stop < made * len(text) // self.max_examples:
                        next_position = stop
                        break
            position = next_position

    def _cuts(self, tokens: Tokens) -> Iterator[tuple[int, int]]:
        """Yield bounds of runs of tokens that fit a sequence, cut where words begin."""
        starts = np.flatnonzero(tokens.word_starts)
        first, room = 0, self.seq_length - 2
        while first < len(tokens):
            last = len(tokens)
            if last - first > room:
                fitting = int(starts[np.searchsorted(starts, first + room, side="right") - 1])
                last = fitting if fitting > first else first + room
            yield first, last
            first = last

    def _values(self, stretch: Stretch, generator: np.random.Generator) -> dict[str, Any]:
        tokenizer, size = self.tokenizer, len(stretch.ids)
        mask_seed = int(generator.integers(2**63))
        word_starts = stretch.word_starts if self.whole_word else np.ones(size, bool)
        mask_id = tokenizer.special_id(MASK)
        redrawn = mask_generator(mask_seed)
        shown, hidden = mask_words(
            stretch.ids, word_starts, self.mlm_probability, redrawn, mask_id, tokenizer.ordinary_ids
        )
        input_ids = np.full(self.seq_length, tokenizer.special_id(PAD), np.int32)
        input_ids[0], input_ids[size + 1] = tokenizer.special_id(CLS), tokenizer.special_id(SEP)
        input_ids[1 : size + 1] = shown
        labels = np.full(self.seq_length, IGNORE, np.int32)
        np.copyto(labels[1 : size + 1], stretch.ids, where=hidden)
        attention_mask = np.zeros(self.seq_length, np.int8)
        attention_mask[: size + 2] = 1
        begins = np.zeros(self.seq_length, bool)
        begins[1 : size + 1] = word_starts
        return {
            "input_ids": input_ids,
            "labels": labels,
            "attention_mask": attention_mask,
            "token_type_ids": np.zeros(self.seq_length, np.int8),
            "word_starts": pack_mask(begins),
            "mask_seed": mask_seed,
            "mask_token_id": mask_id,
            "special_token_ids": list(tokenizer.special_ids),
            "vocab_size": tokenizer.vocab_size,
            "tokenizer_sha256": tokenizer.sha256,
            "mlm_probability": self.mlm_probability,
            "whole_word": self.whole_word,
            "doc_offset": stretch.start,
            "num_chars": stretch.end - stretch.start,
        }


def _from_word(text: str, position: int, target: int) -> int:
    """Return `position`, or the next space at or after `target` where that lies ahead."""
    if target <= position:
        return position
    spaces = [found for sign in " \n" if (found := text.find(sign, target, target + _LONGEST_WORD)) >= 0]
    return min(spaces, default=target)
