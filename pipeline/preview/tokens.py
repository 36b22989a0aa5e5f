"""Tokens as text: what is to be predicted is marked, with what the model sees in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..tokenizer import Tokenizer
from .markup import Html, join, shorten, tag

_IGNORED = -100
_MAX_CHARS = 2000


def token_text(row: Mapping[str, Any], tokenizer: Tokenizer) -> Html:
    """Return the text of a row's `input_ids`.

    With `labels`, the words to predict are shown as they were: struck out in what the model sees where they are
    hidden, replaced by another token, or left as they are. With `token_type_ids` alone, each segment is a paragraph.
    Padding is left out.
    """
    num_tokens = sum(row["attention_mask"]) if "attention_mask" in row else len(row["input_ids"])
    seen = row["input_ids"][:num_tokens]
    if "labels" in row:
        return tag("p", _marked(seen, row["labels"][:num_tokens], row, tokenizer), class_="text", dir="auto")
    segments = row.get("token_type_ids", [0] * num_tokens)[:num_tokens]
    paragraphs = []
    for segment, group in groupby(zip(seen, segments, strict=True), key=lambda pair: pair[1]):
        text = _decoded([token for token, _ in group if token not in tokenizer.special_ids], tokenizer)
        paragraphs.append(
            tag("p", tag("bdi", tag("strong", "AB"[min(segment, 1)]), " "), text, class_="text", dir="auto")
        )
    return join(*paragraphs)


def _marked(seen: Sequence[int], labels: Sequence[int], row: Mapping[str, Any], tokenizer: Tokenizer) -> Html:
    special = set(tokenizer.special_ids)
    hidden_by = row.get("mask_token_id")

    def fate(pair: tuple[int, int]) -> str:
        token, label = pair
        if label == _IGNORED:
            return "special" if token in special else "plain"
        if token == hidden_by:
            return "hidden"
        return "kept" if token == label else "replaced"

    pieces: list[object] = []
    for kind, group in groupby(zip(seen, labels, strict=True), key=fate):
        run = list(group)
        shown, original = [token for token, _ in run], [label for _, label in run]
        if kind == "plain":
            pieces.append(_decoded(shown, tokenizer))
        elif kind == "special":
            # Isolated, it does not decide the direction of the text.
            pieces.append(tag("bdi", _decoded(shown, tokenizer), class_="dim"))
        else:
            pieces.append(_prediction(kind, _decoded(shown, tokenizer), _decoded(original, tokenizer)))
    return join(*pieces)


def _prediction(kind: str, shown: str, original: str) -> Html:
    said = {"hidden": "hidden", "kept": "to predict, left as it is", "replaced": f"to predict, seen as {shown}"}[kind]
    lead = original[: len(original) - len(original.lstrip())]
    mark = tag("mark", original.strip() or "␣", class_=kind, title=said)
    instead = tag("bdi", f"→{shown.strip() or '␣'}", class_="dim") if kind == "replaced" else ""
    return join(lead, mark, instead)


def _decoded(ids: Sequence[int], tokenizer: Tokenizer) -> str:
    return shorten(tokenizer.decode(ids), _MAX_CHARS)


LEGEND = join(
    tag("mark", "hidden", class_="hidden"),
    " the model sees a mask · ",
    tag("mark", "replaced", class_="replaced"),
    " it sees another token · ",
    tag("mark", "kept", class_="kept"),
    " it sees the word and must still predict it",
)
