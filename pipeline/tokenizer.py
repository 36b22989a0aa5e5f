"""The tokenizer of the text tasks: byte-level BPE, trained the same way every time, frozen as an asset of the dataset.

Byte-level BPE has no unknown characters, so it takes any language, and decoding gives back exactly the text; trained
twice on one text it is the same, byte for byte (WordPiece training is not: it breaks ties by the order of hashes).
A word is a run of letters and marks with the space before it, a run of digits, or a run of other signs. Scripts
without spaces would make words of whole clauses: words longer than `MAX_WORD_TOKENS` are cut, between characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .items import Document
from .rng import sha256_hex
from .task import PretextTask, setting

ASSET = "tokenizer.json"
PAD, UNKNOWN, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
#: Tokens that are hidden together at most.
MAX_WORD_TOKENS = 8
#: Characters of one document that training reads at most, in `_NUM_SLICES` even slices.
MAX_DOCUMENT_CHARS = 1_000_000
_NUM_SLICES = 16
_BLOCK_CHARS = 4096
#: Marks belong to letters: the usual pattern of GPT-2 tears Hindi, Thai or Tamil words apart at every vowel sign.
_WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
#: Other names of the special tokens, in tokenizers that users bring along.
_ALIASES = {PAD: ("<pad>",), CLS: ("<s>", "<cls>"), SEP: ("</s>", "<sep>"), MASK: ("<mask>",)}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens: parallel arrays [num_tokens], special tokens not among them.

    ids: int32. word_starts: bool, True where a word (or a piece of an overlong one) begins. chars: of a token's index,
    where the characters begin and end that it stands for; asked one by one, since few are needed.
    """

    ids: NDArray[np.int32]
    word_starts: NDArray[np.bool_]
    chars: Callable[[int], tuple[int, int]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Tokenizer:
    """A frozen tokenizer. `data`: the bytes of a tokenizer.json; equal bytes are equal tokenizers.

    Raises:
        ConfigError: on first use, where the package `tokenizers` is missing, or `data` is no tokenizer with the
            special tokens pad, cls, sep and mask.
    """

    data: bytes

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[bytes]]:
        return Tokenizer, (self.data,)

    @cached_property
    def sha256(self) -> str:
        """Hash of the tokenizer's bytes, 64 hexadecimal digits."""
        return sha256_hex(self.data)

    @cached_property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return int(self._model.get_vocab_size(with_added_tokens=True))

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of all special tokens, ascending."""
        added = self._model.get_added_tokens_decoder()
        return tuple(sorted(number for number, token in added.items() if token.special))

    @cached_property
    def ordinary_ids(self) -> NDArray[np.int32]:
        """Ids of all other tokens, int32, ascending."""
        return np.setdiff1d(np.arange(self.vocab_size, dtype=np.int32), np.array(self.special_ids, np.int32))

    def special_id(self, token: str) -> int:
        """Return the id of PAD, CLS, SEP or MASK, by whichever of its names the tokenizer knows."""
        if token not in self._found_ids:
            self._found_ids[token] = self._find_id(token)
        return self._found_ids[token]

    @cached_property
    def _found_ids(self) -> dict[str, int]:
        return {}

    def _find_id(self, token: str) -> int:
        for name in (token, *_ALIASES[token]):
            number = self._model.token_to_id(name)
            if number is not None:
                return int(number)
        raise ConfigError(f"the tokenizer has no {token} token; it must have {', '.join(_ALIASES)} (or `<pad>`, ...).")

    def encode(self, text: str) -> Tokens:
        """Return the tokens of `text`; what looks like a special token in it is taken as ordinary text."""
        encoding = self._model.encode(text, add_special_tokens=False)
        words, chars = _numbered(encoding.word_ids), encoding.token_to_chars
        return Tokens(np.array(encoding.ids, np.int32), _word_starts(words, chars), chars)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, special tokens as they are written."""
        return str(self._model.decode([int(number) for number in ids], skip_special_tokens=False))

    @cached_property
    def _model(self) -> Any:
        library = _library()
        try:
            model = library.Tokenizer.from_str(self.data.decode("utf-8"))
        except Exception as error:  # The library raises bare Exception.
            raise ConfigError(f"`tokenizer_json` is not a tokenizer.json that `tokenizers` reads: {error}") from error
        model.encode_special_tokens = True
        model.no_padding()
        model.no_truncation()
        return model


def read_tokenizer(path: str) -> Tokenizer:
    """Return the tokenizer of a local tokenizer.json, which is the value of the setting `tokenizer_json`.

    Raises:
        ConfigError: the file is missing or no tokenizer with the special tokens, or the package is missing.
    """
    if not Path(path).is_file():
        raise ConfigError(f"`tokenizer_json`: there is no file {path!r}.")
    given = Tokenizer(Path(path).read_bytes())
    for token in _ALIASES:
        given.special_id(token)
    return given


def train(texts: Iterable[str], vocab_size: int, max_chars: int) -> bytes:
    """Return the tokenizer.json of a byte-level BPE with about `vocab_size` tokens; deterministic.

    Args:
        texts: documents, in a fixed order; each is read up to `MAX_DOCUMENT_CHARS`, all up to `max_chars`.
        vocab_size: fewer where the text is too small to merge more.
        max_chars: characters in all.

    Raises:
        ConfigError: the package `tokenizers` is missing, or there is no text.
    """
    library = _library()
    model = library.Tokenizer(library.models.BPE())
    split = library.pre_tokenizers.Split(library.Regex(_WORDS), "isolated")
    to_bytes = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model.pre_tokenizer = library.pre_tokenizers.Sequence([split, to_bytes])
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, UNKNOWN, CLS, SEP, MASK],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    blocks = list(_training_blocks(texts, max_chars))
    if not blocks:
        raise ConfigError("there is no text to train a tokenizer on: the sample of the input holds none.")
    model.train_from_iterator(blocks, trainer)
    return str(model.to_str()).encode("utf-8")


def block_end(text: str, begin: int, num_chars: int = _BLOCK_CHARS) -> int:
    """Return where a block of `text` from `begin` on ends: after about `num_chars`, before a space where there is one.

    No word is cut, so blocks can be encoded one by one.
    """
    end = begin + num_chars
    if end >= len(text):
        return len(text)
    space = max(text.rfind(" ", begin + 1, end), text.rfind("\n", begin + 1, end))
    return space if space > 0 else end


@dataclass(frozen=True)
class TokenizedTask(PretextTask[Document]):
    """Base of text tasks. The tokenizer is an asset, not a setting: `with_assets` gives a copy that has it."""

    seq_length: int = setting(128, "tokens of a stored sequence, special ones included", at_least=16, at_most=8192)
    tokenizer_json: str = setting(
        "", "path of a tokenizer.json to use; empty: one is trained on a sample of the input"
    )
    vocab_size: int = setting(16384, "tokens of a trained tokenizer", at_least=300, at_most=1_000_000)
    max_training_chars: int = setting(20_000_000, "characters that training reads at most", at_least=1000)

    @property
    def tokenizer(self) -> Tokenizer:
        """The frozen tokenizer.

        Raises:
            ConfigError: `with_assets` has not been given one.
        """
        bound = self.__dict__.get("_tokenizer")
        if bound is None:
            raise ConfigError(
                f"{self.name()} needs its asset {ASSET!r}: make_assets() makes it, with_assets() binds it."
            )
        return bound  # type: ignore[no-any-return]

    def make_assets(self, sample: Callable[[], Iterable[Document]]) -> Mapping[str, bytes]:
        """Return tokenizer.json: the given one as it is, or one trained on the sample.

        Raises:
            ConfigError: the file is missing or no tokenizer, the package is missing, or the sample is empty.
        """
        if not self.tokenizer_json:
            return {ASSET: train((item.text for item in sample()), self.vocab_size, self.max_training_chars)}
        return {ASSET: read_tokenizer(self.tokenizer_json).data}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        """Return a copy that uses the frozen tokenizer; pickles with it. Equality is that of the settings.

        Raises:
            ConfigError: `assets` has no tokenizer.json.
        """
        if ASSET not in assets:
            raise ConfigError(f"{self.name()} needs the asset {ASSET!r}, but the dataset has {sorted(assets)}.")
        bound = replace(self)
        # Beside the fields: fields are settings.
        object.__setattr__(bound, "_tokenizer", Tokenizer(assets[ASSET]))
        return bound


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ConfigError("text tasks need the package `tokenizers`: pip install 'unlabeled[text]'") from error
    return tokenizers


def _numbered(words: list[int | None]) -> NDArray[np.int64]:
    """Return the numbers of words, int64; -1 for tokens of none."""
    if None in words:
        words = [-1 if word is None else word for word in words]
    return np.array(words, np.int64)


def _word_starts(words: NDArray[np.int64], chars: Callable[[int], tuple[int, int]]) -> NDArray[np.bool_]:
    """Return where words begin, overlong ones cut between characters after `MAX_WORD_TOKENS` at the latest."""
    begins = np.ones(len(words), bool)
    begins[1:] = words[1:] != words[:-1]
    bounds = np.append(np.flatnonzero(begins), len(words))
    for index in np.flatnonzero(np.diff(bounds) > MAX_WORD_TOKENS):
        first, end = int(bounds[index]), int(bounds[index + 1])
        while end - first > MAX_WORD_TOKENS:
            latest = first + MAX_WORD_TOKENS
            # Several tokens may stand for one character: no cut among them.
            cuts = (at for at in range(latest, first, -1) if chars(at)[0] >= chars(at - 1)[1])
            first = next(cuts, latest)
            begins[first] = True
    return begins


def _training_blocks(texts: Iterable[str], max_chars: int) -> Iterator[str]:
    left = max_chars
    for text in texts:
        for part in _slices(text):
            begin = 0
            while begin < len(part) and left > 0:
                end = block_end(part, begin, min(_BLOCK_CHARS, left))
                yield part[begin:end]
                left -= end - begin
                begin = end
        if left <= 0:
            return


def _slices(text: str) -> Iterator[str]:
    if len(text) <= MAX_DOCUMENT_CHARS:
        yield text
        return
    for number in range(_NUM_SLICES):
        begin = number * len(text) // _NUM_SLICES
        yield text[begin : begin + MAX_DOCUMENT_CHARS // _NUM_SLICES]
