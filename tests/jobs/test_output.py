from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from unlabeled.jobs.output import (
    ShownProgress,
    format_bytes,
    format_seconds,
    print_json,
    print_pairs,
    print_table,
    program_name,
)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_550_000, "1.6 MB"), (2e9, "2.0 GB"), (5e15, "5000.0 TB")],
)
def test_bytes_as_people_read_them(num_bytes: float, text: str) -> None:
    assert format_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (99.94, "99.9 s"),
        (200, "3 min 20 s"),
        (5999, "99 min 59 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.floats(0, 1e6))
def test_every_duration_has_a_text(seconds: float) -> None:
    assert format_seconds(seconds)[-1] in "sn"


class Told(BaseModel):
    key: str
    n: int = 0


def test_json_is_one_object_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(Told(key="ü\n[bold]", n=1))
    out = capsys.readouterr().out
    assert json.loads(out) == {"key": "ü\n[bold]", "n": 1}
    assert out.count("\n") == 1


def test_json_of_a_name_that_is_not_unicode_is_still_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(Told(key="\ud800"))
    assert json.loads(capsys.readouterr().out)["key"].startswith("�")


LITERAL = ["[bold]x[/bold]", "[/nothing]", "a[1].jpg", "[red]"]


@pytest.mark.parametrize("text", LITERAL)
def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_pairs(text, [(text, text)])
    assert capsys.readouterr().out == f"{text}\n  {text}  {text}\n"


@pytest.mark.parametrize("text", LITERAL)
def test_cells_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_table(["column"], [[text]])
    assert capsys.readouterr().out.split() == ["column", text]


def test_names_stand_in_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs("title", [("a", "1"), ("long", "2")])
    assert capsys.readouterr().out == "title\n  a     1\n  long  2\n"


def test_a_title_without_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs("title", [])
    assert capsys.readouterr().out == "title\n"


def shown(*rows: dict[str, Any], quiet: bool = False) -> None:
    progress = ShownProgress(quiet=quiet)
    progress.phase("planning")
    progress.planned(num_shards=3, num_done=1, num_sources=1200)
    for row in rows:
        progress.shard_done(row)
    progress.close()


def test_progress_goes_to_stderr_and_needs_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown({"num_rejected": 1, "num_rows": 1000}, {"num_rejected": 0, "num_rows": 500})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "planning ...",
        "1,200 sources in 3 shards, 1 of them done already",
        "2 of 3 shards: 1,000 examples, 1 rejects",
        "3 of 3 shards: 1,500 examples, 1 rejects",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown({"num_rejected": 1, "num_rows": 1000}, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_many_shards_are_reported_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ShownProgress()
    progress.planned(num_shards=1000, num_done=0, num_sources=1000)
    for _ in range(1000):
        progress.shard_done({"num_rejected": 0, "num_rows": 1})
    assert len(capsys.readouterr().err.splitlines()) == 11


def test_the_program_is_named_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["/x/unlabeled", "show"])
    assert program_name() == "/x/unlabeled"
