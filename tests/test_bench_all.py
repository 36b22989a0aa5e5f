"""The table of all benchmarks: each figure beside that of the last note, and what has become slower."""

from __future__ import annotations

from pathlib import Path

from tests.bench.bench_all import figures_of, last_note, table_of

_LOOP = "images: loop, ms a source"


def test_a_table_is_read_back_from_the_note_that_holds_it() -> None:
    """A note: any text, the table, any text."""
    figures = {_LOOP: 5.0, "images: engine, ms a source": 1234.5}
    assert figures_of(f"# Note\n\n{table_of(figures, {})}\n| other | table |\n") == figures


def test_more_than_ten_percent_above_the_last_note_is_marked() -> None:
    """The machine was half as fast on the day: only what grew beyond the bare loop's time counts."""
    before = {_LOOP: 5.0, "images: engine, ms a source": 4.0, "text: masks, ms an example": 1.0}
    found = {_LOOP: 10.0, "images: engine, ms a source": 8.1, "text: masks, ms an example": 2.3, "new": 1.0}
    rows = {line.split("|")[1].strip(): line for line in table_of(found, before).splitlines()[2:]}
    assert rows["images: engine, ms a source"] == "| images: engine, ms a source | 8.100 | 4.000 | +1% |  |"
    assert rows["text: masks, ms an example"] == "| text: masks, ms an example | 2.300 | 1.000 | +15% | **slower** |"
    assert rows["new"] == "| new | 1.000 |  |  |  |"


def test_quick_figures_are_compared_with_quick_ones_alone() -> None:
    """One note holds both."""
    before = {_LOOP: 5.0, "images: engine, ms a source": 4.0, f"{_LOOP} (quick)": 5.0, "start (quick)": 6.0}
    (row,) = table_of({f"{_LOOP} (quick)": 10.0, "start (quick)": 12.0}, before).splitlines()[3:]
    assert row == "| start (quick) | 12.000 | 6.000 | +0% |  |"


def test_the_last_note_is_the_newest_that_holds_a_table(tmp_path: Path) -> None:
    """Notes are named by date and topic; those without the table are passed over."""
    for name, text in {"2026-01-01-a.md": "", "2026-01-02-a.md": "", "2026-01-03-a.md": "# Other"}.items():
        tmp_path.joinpath(name).write_text(text or table_of({_LOOP: 1.0}, {}))
    assert last_note(tmp_path) == tmp_path / "2026-01-02-a.md"
    assert last_note(tmp_path / "none") is None
