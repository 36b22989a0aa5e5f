"""The README's own task, word for word, on a real Ray."""

from __future__ import annotations

import re
from pathlib import Path

from unlabeled.pipeline.storage import StoreOptions

from tests.runs import Place, cli, jpeg, rows_of

README = Path(__file__).parents[1] / "README.md"
_BLOCK = re.compile(
    r"<!-- own-task:begin -->.*?`(?P<name>\w+\.py)`.*?```python\n(?P<text>.*?)```.*?<!-- own-task:end -->", re.DOTALL
)


def test_the_task_in_the_readme_runs_as_it_stands_there(tmp_path: Path) -> None:
    block = _BLOCK.search(README.read_text(encoding="utf-8"))
    assert block, "the README shows no task between its marks"
    assert len(block["text"].splitlines()) <= 45
    task = tmp_path / block["name"]
    task.write_text(block["text"])
    place = Place(str(tmp_path), StoreOptions())
    for number in range(4):
        place.store("in").put(f"{number}.jpg", jpeg(number, 300, 240))
    done = cli(
        *("materialize", "--task", str(task), "--input", place.path("in"), "--output", place.path("out")),
        *("--num-cpus", "1"),
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(place.store("out"))
    assert sorted(rows["label"].to_pylist()) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert set(rows["task"].to_pylist()) == {task.stem}
