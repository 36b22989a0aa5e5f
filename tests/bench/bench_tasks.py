"""Every task alone on real media, one CPU: what it makes a CPU second, what it decodes, and what it cannot use.

    python -m tests.bench.bench_tasks MEDIA [--only TEXT]

MEDIA: the folder of archives that tests/README.md describes. Prints one Markdown row a run, as it ends. CPU seconds
are those of worker and decoder; wall time is not told.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from unlabeled.jobs.materialize import MaterializeReport
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.discover import find_task, task_names
from unlabeled.pipeline.ledger import listed_receipts, read_receipts
from unlabeled.pipeline.storage import Store, StoreOptions

from tests.runs import Place, run_many
from tests.test_real_media import ANY_REJECTS, SETS, SMALL_SETS

_HEAD = "| input | task | examples/s a core | bytes an example | decoded/used frames | used | not used |"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path)
    parser.add_argument("--only", default="", help="runs whose input or task holds this text")
    arguments = parser.parse_args()
    # As it is now: while Ray runs, sys.stdout is stderr.
    show = partial(print, file=sys.stdout, flush=True)
    with tempfile.TemporaryDirectory() as folder, started_ray(RunSettings(num_cpus=1)):
        show(_HEAD, "|" + "---|" * 7, sep="\n")
        for source, task, sets in _runs():
            if arguments.only in f"{source} {task}":
                unpack(arguments.media, Path(folder), source)
                output = f"out/{source}/{task}"
                (report,) = run_many(Place(folder, StoreOptions()), source, output, [*sets, ANY_REJECTS], [task])
                show(_row(source, task, report, Store.open(f"{folder}/{output}")))


def _runs() -> list[tuple[str, str, list[str]]]:
    media = {medium: source for source, medium in SETS.items()}
    of_media = [(media[find_task(task).modality.removesuffix("_audio")], task, []) for task in task_names()]
    return [*sorted(of_media, key=lambda run: ("text", "audio", "images_web", "video").index(run[0])), *SMALL_SETS]


def unpack(media: Path, folder: Path, source: str) -> None:
    name, _, only = source.partition("/")
    for archive in sorted((media / name).glob(f"{only}*.tar*")):
        target = folder / name / archive.name.partition(".")[0]
        if not target.exists():
            with tarfile.open(archive) as opened:
                opened.extractall(target, filter="data")


def _row(source: str, task: str, report: MaterializeReport, store: Store) -> str:
    receipts = read_receipts(store, listed_receipts(store))
    decoded, used = (sum(one.stats.get(f"num_frames_{kind}", 0) for one in receipts) for kind in ("decoded", "used"))
    reasons = {**report.filtered_by_reason, **report.rejected_by_reason}
    cells = [
        source,
        task,
        f"{report.num_examples / report.cpu_seconds:,.1f}",
        f"{report.num_bytes_out / report.num_examples:,.0f}",
        f"{decoded / used:.1f}" if used else "",
        f"{report.num_used:,} of {report.num_sources:,}",
        ", ".join(f"{number:,} {reason}" for reason, number in reasons.items()),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
