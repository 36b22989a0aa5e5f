from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.globs import glob_pattern, include_pattern, split_glob


@pytest.mark.parametrize(
    ("uri", "root", "glob"),
    [
        ("s3://b/photos", "s3://b/photos", ""),
        ("s3://b/photos/**/*.jpg", "s3://b/photos", "**/*.jpg"),
        ("s3://b/photos/2024*/x?.jpg", "s3://b/photos", "2024*/x?.jpg"),
        ("s3://b/*", "s3://b", "*"),
        ("/data/*.jpg", "/data", "*.jpg"),
        ("/*.jpg", "/", "*.jpg"),
        ("*.jpg", ".", "*.jpg"),
    ],
)
def test_the_root_ends_before_the_first_star(uri: str, root: str, glob: str) -> None:
    assert split_glob(uri) == (root, glob)


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*.jpg", ["a.jpg", ".jpg"], ["a/b.jpg", "a.jpg.txt", "a.jpgx"]),
        ("**/*.jpg", ["a.jpg", "a/b.jpg", "a/b/c.jpg", "a\n/b.jpg"], ["a.png"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "b/a/z", "a/bz"]),
        ("a/**", ["a/b", "a/b/c"], ["ab", "a"]),
        ("x**y", ["xy", "x/a/y"], ["x"]),
        ("[a]?+.*", ["[a]?+.b"], ["ab.c"]),
        ("", ["anything", "at/all\n"], []),
    ],
)
def test_globs(glob: str, matching: list[str], others: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [key for key in matching if not pattern.fullmatch(key)] == []
    assert [key for key in others if pattern.fullmatch(key)] == []


def test_include_without_a_slash_means_the_last_part() -> None:
    pattern = include_pattern(["*.jpg", "deep/**/x.png"])
    for key in ("a.jpg", "a/b.jpg", "w.tar#a.jpg", "a/w.tar#b/c.jpg", "deep/x.png", "deep/er/x.png"):
        assert pattern.fullmatch(key)
    for key in ("a.txt", "x.png", "a/deep/x.png", "a.jpg/b"):
        assert not pattern.fullmatch(key)
    assert include_pattern([]).fullmatch("any/thing#\n")


@given(st.text(st.sampled_from("ab/.#[]()+?\\$^| é\n")))
def test_without_a_star_a_glob_is_literal(key: str) -> None:
    assert glob_pattern(key).fullmatch(key)
    if key:
        assert not glob_pattern(key).fullmatch(key + "x")
