from __future__ import annotations

import builtins
import os
import pickle  # noqa: TID251 - Ray ships tasks to workers by pickle; nothing untrusted is read
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline import tokenizer as module
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.pretext.text_masked_tokens import TextMaskedTokens
from unlabeled.pipeline.tokenizer import CLS, MASK, MAX_WORD_TOKENS, PAD, SEP, Tokenizer, block_end, train

from tests import samples

TEXTS = [samples.document_item(seed).text for seed in range(4)] + [
    "नमस्ते दुनिया। สวัสดีชาวโลก ",
    "Größe, naïve café; 漢字と仮名",
]
TRAINED = train(TEXTS, 600, 1_000_000)
TOKENIZER = Tokenizer(TRAINED)


def test_two_trainings_give_the_same_bytes() -> None:
    assert train(TEXTS, 600, 1_000_000) == TRAINED


def test_a_training_in_another_process_gives_the_same_bytes() -> None:
    program = "import sys; from tests.pipeline.test_tokenizer import TRAINED; sys.stdout.buffer.write(TRAINED)"
    environment = os.environ | {"PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"}
    folder = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=folder, env=environment)
    assert ran.stdout == TRAINED


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_decoding_gives_back_any_text(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text


@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab é漢ไท🎉\n12,"), max_size=80))
def test_words_are_cut_only_between_characters_and_never_long(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    begins = [index for index, is_start in enumerate(tokens.word_starts) if is_start]
    assert begins[:1] == ([0] if len(tokens) else [])
    for first, last in pairwise([*begins, len(tokens)]):
        assert last - first <= MAX_WORD_TOKENS
        assert TOKENIZER.decode(tokens.ids[first:last]) == text[tokens.chars(first)[0] : tokens.chars(last - 1)[1]]


def test_words_have_the_space_before_them_and_marks_belong_to_letters() -> None:
    tokens = TOKENIZER.encode("the river मे, 12")
    assert [tokens.chars(at)[0] for at in np.flatnonzero(tokens.word_starts).tolist()] == [0, 3, 9, 12, 13]


def test_what_looks_like_a_special_token_is_ordinary_text() -> None:
    tokens = TOKENIZER.encode("see [MASK] and [SEP]")
    assert not set(tokens.ids.tolist()) & set(TOKENIZER.special_ids)


def test_special_and_ordinary_ids_make_up_the_vocabulary() -> None:
    special = [TOKENIZER.special_id(token) for token in (PAD, CLS, SEP, MASK)]
    assert set(special) < set(TOKENIZER.special_ids)
    assert sorted([*TOKENIZER.special_ids, *TOKENIZER.ordinary_ids.tolist()]) == list(range(TOKENIZER.vocab_size))


def test_the_vocabulary_is_no_larger_than_asked() -> None:
    assert TOKENIZER.vocab_size <= 600


def test_training_reads_no_more_than_max_chars() -> None:
    alone = train(["the river runs past old houses " * 20], 400, 1_000_000)
    assert train(["the river runs past old houses " * 20, "entirely other words " * 99], 400, 31 * 20) == alone


def test_training_reads_slices_of_all_of_a_huge_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_CHARS", 1600)
    huge = "alpha beta " * 400 + "omega psi " * 400
    trained = Tokenizer(train([huge], 400, 1_000_000))
    assert len(trained.encode(" omega")) == len(trained.encode(" alpha")) == 1


def test_training_on_nothing_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no text"):
        train([], 600, 1000)


def test_blocks_end_before_a_space() -> None:
    text = "word " * 30
    begin, pieces = 0, []
    while begin < len(text):
        end = block_end(text, begin, 32)
        pieces.append(text[begin:end])
        begin = end
    assert "".join(pieces) == text
    assert all(piece.startswith(" ") for piece in pieces[1:])
    assert block_end("x" * 50, 0, 32) == 32


def test_a_bound_task_is_pickled_with_its_tokenizer() -> None:
    task = TextMaskedTokens().with_assets({"tokenizer.json": TRAINED})
    copied = pickle.loads(pickle.dumps(task))
    assert copied == task
    assert copied.tokenizer == task.tokenizer


def test_binding_changes_neither_the_task_nor_its_settings() -> None:
    task = TextMaskedTokens(seq_length=64)
    bound = task.with_assets({"tokenizer.json": TRAINED})
    assert bound == task
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        _ = task.tokenizer


def test_a_dataset_without_the_asset_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        TextMaskedTokens().with_assets({"other": b""})


def test_a_given_tokenizer_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(TRAINED.replace(b"[MASK]", b"<mask>").replace(b"[CLS]", b"<s>"))
    assets = TextMaskedTokens(tokenizer_json=str(path)).make_assets(list)
    assert assets == {"tokenizer.json": path.read_bytes()}
    assert Tokenizer(assets["tokenizer.json"]).special_id(MASK) == TOKENIZER.special_id(MASK)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no file"), (b"{}", "not a tokenizer"), (TRAINED.replace(b"[SEP]", b"[END]"), r"no \[SEP\]")],
)
def test_a_given_tokenizer_that_does_not_serve_is_a_config_error(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        TextMaskedTokens(tokenizer_json=str(path)).make_assets(list)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_tokenizers(name: str, *arguments: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "tokenizers":
            raise ImportError(name)
        return imported(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_tokenizers)
    with pytest.raises(ConfigError, match=r"unlabeled\[text\]"):
        Tokenizer(TRAINED).encode("text")
