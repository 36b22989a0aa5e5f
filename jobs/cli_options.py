"""The command line's app, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..pipeline.config import RunSettings

app = typer.Typer(
    name="unlabeled",
    help="Raw media in, trustworthy pretext datasets out: plan, materialize and look at them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="URI or path of a dataset.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
Version = Annotated[int | None, typer.Option("--version", help="Version to read; default the newest.")]
TaskOption = Annotated[
    list[str],
    typer.Option("--task", "-t", help="Name, file.py or module:Class of a pretext task; repeat to share decodes."),
]
# A list although one is taken: of a repeated option that takes one value, all but the last would vanish unseen.
InputOption = Annotated[
    list[str],
    typer.Option("--input", "-i", help="Raw media: s3:// gs:// az:// file:// or a path; * and ** are globs."),
]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="Where the dataset stands or shall stand.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="One setting, such as task.side_px=128; repeat for more.")
]
DecoderOption = Annotated[
    list[str] | None, typer.Option("--decoder", help="file.py with a decoder of your own; repeat for more.")
]
OwnTaskOption = Annotated[str | None, typer.Option("--task", "-t", help="file.py or module:Class of a task of yours.")]
DecoderFileOption = Annotated[
    list[str] | None, typer.Option("--decoder", help="file.py of a decoder; repeat for more.")
]
NumCpusOption = Annotated[int | None, typer.Option(help="CPUs of a local Ray; default all.")]
AddressOption = Annotated[str | None, typer.Option(help="Ray cluster to run on; default a local Ray.")]
GroupOption = Annotated[
    str | None,
    typer.Option("--group-by", help="Regular expression on keys, or csv source_key,group: groups never cross splits."),
]
DedupOption = Annotated[
    str | None,
    typer.Option("--dedup", help="Near-duplicates: off; group: all in one split; drop: use one. [default: off]"),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all randomness. [default: 0]")]
LogOption = Annotated[
    str, typer.Option("--log", envvar="UNLABELED_LOG", help="Progress on stderr: text for people, json for machines.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]


def run_settings(num_cpus: int | None, address: str | None) -> RunSettings:
    """Return where a command runs: the defaults, but for what was given."""
    from ..pipeline.config import RunSettings

    given = {"num_cpus": num_cpus, "address": address}
    return RunSettings(**{name: value for name, value in given.items() if value is not None})
