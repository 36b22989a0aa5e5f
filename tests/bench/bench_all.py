"""All benchmarks, one table, each figure beside that of the last note.

    python -m tests.bench.bench_all MEDIA [--quick] [--table bench.md] [--last NOTE]

MEDIA: the folder of archives that tests/README.md describes. Prints and writes a Markdown table of CPU times: of a
source (images), of an example (tasks), of a key (scale). The last note is the newest one of this folder that holds
such a table. A machine's speed of the day cancels out: `change` compares with the bare loop's CPU time of the same
run. More than 10 % above the last note is marked. `--quick`: two keys a photograph, 10,000 keys, one task a medium;
fixed costs weigh more then, so that these figures have names of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.bench_tasks import unpack

_HERE = Path(__file__).parent
_HEAD = "| figure | CPU | last note | change | |"
#: What every other figure is divided by.
_LOOP = "images: loop, ms a source"
_QUICK = " (quick)"
_REGRESSION = 0.10
_QUICK_TASKS = ("image_rotation", "audio_same_clip", "text_masked_tokens", "video_frame_pairs")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", type=Path, default=Path("bench.md"))
    parser.add_argument("--last", type=Path, default=None)
    arguments = parser.parse_args()
    last = arguments.last or last_note(_HERE)
    before = figures_of(last.read_text()) if last else {}
    found: dict[str, float] = {}
    for name, value in _figures(arguments.media.resolve(), quick=arguments.quick):
        sys.stderr.write(f"{name}: {value:.4g}\n")
        found[f"{name}{_QUICK}" if arguments.quick else name] = value
    table = table_of(found, before)
    arguments.table.write_text(table)
    sys.stdout.write((f"Last note: {last.name}\n\n" if last else "") + table)


def last_note(folder: Path) -> Path | None:
    """Return the newest note (by name) that holds a table of this benchmark, or None."""
    return max((note for note in folder.glob("*.md") if _HEAD in note.read_text()), default=None)


def figures_of(note: str) -> dict[str, float]:
    """Return the figures of the table in a note, by name."""
    lines = iter(note.splitlines())
    figures = {}
    if _HEAD in lines:  # which takes all lines up to it
        next(lines)
        for line in lines:
            if not line.startswith("|"):
                break
            name, value = (cell.strip() for cell in line.split("|")[1:3])
            figures[name] = float(value.replace(",", ""))
    return figures


def table_of(found: Mapping[str, float], before: Mapping[str, float]) -> str:
    """Return figures beside those of the last note; `change` is that of figure over bare loop."""
    lines = [_HEAD, "|---|---|---|---|---|"]
    for name, value in found.items():
        then, change = before.get(name), _change(name, found, before)
        cells = [
            name,
            f"{value:,.3f}",
            "" if then is None else f"{then:,.3f}",
            "" if change is None else f"{change:+.0%}",
            "**slower**" if change is not None and change > _REGRESSION else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _change(name: str, found: Mapping[str, float], before: Mapping[str, float]) -> float | None:
    if name not in before:
        return None
    loop = f"{_LOOP}{_QUICK}" if name.endswith(_QUICK) else _LOOP
    if name == loop or loop not in found or loop not in before:
        return found[name] / before[name] - 1
    return (found[name] / found[loop]) / (before[name] / before[loop]) - 1


def _figures(media: Path, *, quick: bool) -> Iterator[tuple[str, float]]:
    """Yield (name, CPU time), the bare loop's first."""
    yield from _images(media, quick=quick)
    for task in _QUICK_TASKS if quick else ("",):
        yield from _tasks(_output(["bench_tasks", str(media), "--only", task]))
    num_keys = 10_000 if quick else 1_000_000
    for what in ("start", "unchanged"):
        report = json.loads(_output(["bench_scale", what, "--keys", str(num_keys)]))
        cpu_seconds = report.get("second", report)["cpu_seconds"]
        yield f"scale: {what}, us a key", 1e6 * cpu_seconds / num_keys


def _images(media: Path, *, quick: bool) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        unpack(media, Path(folder), "images_web")
        size = ["--keys", "2", "--rounds", "1"] if quick else ["--peers"]
        report = json.loads(_output(["bench_images", folder, *size]))
    for name, figures in report["medians"].items():
        yield f"images: {name}, ms a source", figures["cpu_ms_per_source"]


def _tasks(table: str) -> Iterator[tuple[str, float]]:
    for line in table.splitlines()[2:]:
        source, task, rate = (cell.strip() for cell in line.split("|")[1:4])
        yield f"{source}: {task}, ms an example", 1000 / float(rate.replace(",", ""))


def _output(module_and_arguments: list[Any]) -> str:
    module, *arguments = module_and_arguments
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=_HERE.parents[1]).stdout


if __name__ == "__main__":
    main()
