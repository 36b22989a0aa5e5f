from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.preview.markup import bytes_text, escape, join, name, shorten, tag

from tests.pipeline.preview.shown import read

printable = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Cn"]), max_size=40)


@given(printable, printable)
def test_any_text_comes_back_as_text_and_attribute(text: str, attribute: str) -> None:
    page = read(tag("p", text, title=attribute))
    assert page.text == text
    assert page.elements == [("p", {"title": attribute})]


@pytest.mark.parametrize("key", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</p><p>", "'&amp;"])
def test_a_key_is_never_markup(key: str) -> None:
    page = read(tag("p", name(key), title=key))
    assert page.text == key
    assert [element for element, _ in page.elements] == ["p", "bdi", "code"]


def test_control_characters_and_lone_surrogates_are_replaced() -> None:
    assert escape("a\x00b\x1bc\udc80d") == "a\ufffdb\ufffdc\ufffdd"


def test_markup_is_not_escaped_again() -> None:
    assert join(tag("b", "<"), "<") == "<b>&lt;</b>&lt;"


def test_attributes_are_left_out_stand_alone_or_have_a_value() -> None:
    assert tag("audio", controls=True, loop=False, src=None, aria_label="a", class_="c") == (
        '<audio controls aria-label="a" class="c"></audio>'
    )


def test_an_element_without_content_is_not_closed() -> None:
    assert tag("img", alt="") == '<img alt="">'


@given(st.text(max_size=20), st.integers(1, 30))
def test_shortened_text_has_at_most_the_length(text: str, max_chars: int) -> None:
    shortened = shorten(text, max_chars)
    assert len(shortened) <= max_chars
    assert shortened == text or shortened.endswith("…")


@pytest.mark.parametrize(("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")])
def test_bytes_are_written_in_powers_of_1000(num_bytes: float, text: str) -> None:
    assert bytes_text(num_bytes) == text
