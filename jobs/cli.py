"""The command line. Each command is a thin layer over a typed call; heavy imports wait until a command runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..pipeline.errors import Interrupted, UnlabeledError

if TYPE_CHECKING:
    from .materialize import Materialize

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
InputOption = Annotated[
    str, typer.Option("--input", "-i", help="Raw media: s3:// gs:// az:// file:// or a path; * and ** are globs.")
]
OutputOption = Annotated[str, typer.Option("--output", "-o", help="Where the dataset stands or shall stand.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file with settings.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="One setting, such as task.side_px=128; repeat for more.")
]
DecoderOption = Annotated[
    list[str] | None, typer.Option("--decoder", help="file.py with a decoder of your own; repeat for more.")
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group-by", help="Regular expression on keys, or csv source_key,group: groups never cross splits."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all randomness. [default: 0]")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]


@app.command()
def tasks(
    task: Annotated[
        list[str] | None, typer.Option("--task", "-t", help="Only these: names, file.py or module:Class.")
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the pretext tasks: what they predict, their settings with defaults and units, their papers."""
    from . import reading
    from .output import console, print_json

    infos = reading.tasks(task)
    if as_json:
        print_json({"tasks": [info.model_dump(mode="json") for info in infos]})
        return
    out = console()
    for info in infos:
        out.print(f"[bold]{info.name}[/bold]  {info.modality}, {info.objective}")
        out.print(f"  {info.summary}", markup=False)
        out.print(f"  {info.paper}", markup=False, style="dim")
        for setting in info.settings:
            unit = f" {setting.unit}" if setting.unit else ""
            out.print(f"    {setting.name} = {setting.default}{unit}", markup=False, end="")
            out.print(f"  {setting.doc}", markup=False, style="dim")
        out.print()


@app.command()
def plan(
    task: TaskOption,
    input: InputOption,  # noqa: A002 - the option's name
    output: OutputOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    decoder: DecoderOption = None,
    group_by: GroupOption = None,
    seed: SeedOption = None,
    pilot: Annotated[int, typer.Option(help="Sources to decode for the estimate; 0 for constants alone.")] = 64,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what materialize would do: sources, shards, examples, bytes, CPU hours. Writes nothing that counts."""
    from .output import print_json
    from .planned import print_plans

    spec = _spec(task, input, output, config, set_, {"group_by": group_by, "seed": seed}, decoder)
    reports = spec.plan(num_pilot_sources=pilot)
    if as_json:
        print_json(_one_or_many([report.model_dump(mode="json") for report in reports]))
    else:
        print_plans(reports)


@app.command()
def materialize(
    task: TaskOption,
    input: InputOption,  # noqa: A002 - the option's name
    output: OutputOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    decoder: DecoderOption = None,
    group_by: GroupOption = None,
    seed: SeedOption = None,
    num_cpus: Annotated[int | None, typer.Option(help="CPUs of a local Ray; default all.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to run on; default a local Ray.")] = None,
    max_reject_fraction: Annotated[float | None, typer.Option(help="Rejects allowed. [default: 0.05]")] = None,
    max_rejects_min: Annotated[int | None, typer.Option(help="Rejects always allowed. [default: 20]")] = None,
    replan: Annotated[bool, typer.Option("--replan", help="Abandon what an earlier run left unfinished.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Plan everything from nothing.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Start the Ray dashboard with a local Ray.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a dataset, or bring it up to its inputs. Resumes what was interrupted; nothing new is a quick no-op."""
    from .output import ShownProgress, print_json
    from .planned import print_reports

    overrides = {
        "group_by": group_by,
        "seed": seed,
        "run.num_cpus": num_cpus,
        "run.address": address,
        "run.rejects.max_reject_fraction": max_reject_fraction,
        "run.rejects.max_rejects_min": max_rejects_min,
        "run.dashboard": dashboard or None,
    }
    spec = _spec(task, input, output, config, set_, overrides, decoder, replan=replan, rebuild=rebuild)
    progress = ShownProgress()
    try:
        reports = spec.run(progress)
    finally:
        progress.close()
    if as_json:
        print_json(_one_or_many([report.model_dump(mode="json") for report in reports]))
    else:
        print_reports(reports)


@app.command()
def show(
    dataset: Dataset,
    files: Annotated[bool, typer.Option("--files", help="Print the version's shard files, nothing else.")] = False,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a dataset's newest version: counts, settings, splits, files."""
    from . import reading
    from .output import print_json
    from .planned import print_shown

    shown = reading.show(dataset, version=version)
    if as_json:
        print_json(shown.model_dump(mode="json"))
    elif files:
        for names in shown.files.values():
            for name in names:
                sys.stdout.write(name + "\n")
    else:
        print_shown(shown)


@app.command()
def rejects(dataset: Dataset, version: Version = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the sources that could not be used, with reason, stage and message."""
    from . import reading
    from .output import print_json
    from .planned import print_rejects

    listed = reading.rejects(dataset, version=version)
    if as_json:
        print_json(listed.model_dump(mode="json"))
    else:
        print_rejects(listed)


@app.command()
def preview(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
    examples: Annotated[int, typer.Option(help="Examples to show, at most.")] = 24,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write one static page: examples with labels, the odd ones first, counts, sizes, what was left out."""
    from .output import format_bytes, format_seconds, print_json, print_pairs
    from .preview import preview as write_page

    report = write_page(dataset, out, version=version, num_examples=examples)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    print_pairs(
        f"{report.dataset}: {report.num_examples} examples, {report.num_odd} of them odd, {report.num_rows_read} read",
        [("page", f"{report.out}, {format_bytes(report.num_bytes)}"), ("took", format_seconds(report.seconds))],
    )


@app.command()
def verify(
    dataset: Dataset,
    rederive: Annotated[
        float, typer.Option(help="Share of the sources to read again and recompute labels from, 0 to 1.")
    ] = 0.0,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="file.py or module:Class of a task of yours.")
    ] = None,
    decoder: Annotated[
        list[str] | None, typer.Option("--decoder", help="file.py of a decoder; repeat for more.")
    ] = None,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check digests, schema, counts, identities, splits and balance; --rederive checks labels. Exit 5 on a fault."""
    from .output import print_json, print_pairs
    from .verify import failure, verify_dataset

    report = verify_dataset(dataset, version=version, rederive_fraction=rederive, task=task, decoders=decoder or ())
    if as_json:
        print_json(report.model_dump(mode="json"))
    error = failure(report)
    if error is not None:
        raise error
    if not as_json:
        rederived = f"{report.num_rederived_rows} rows of {report.num_rederived_sources} sources"
        print_pairs(
            f"{report.dataset}: version {report.version} is what its manifest says",
            [
                ("shard files", str(report.num_files)),
                ("rows", str(report.num_rows)),
                ("rederived", rederived),
                ("sources changed since", str(len(report.changed_sources))),
            ],
        )


@app.command()
def retry(
    dataset: Dataset,
    all_: Annotated[
        bool, typer.Option("--all", help="Also permanent rejects whose object has not changed since.")
    ] = False,
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="file.py or module:Class of a task of yours.")
    ] = None,
    decoder: Annotated[
        list[str] | None, typer.Option("--decoder", help="file.py of a decoder; repeat for more.")
    ] = None,
    num_cpus: Annotated[int | None, typer.Option(help="CPUs of a local Ray; default all.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to run on; default a local Ray.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Try rejected sources again, nothing else: transient ones and changed objects. Publishes a new version."""
    from ..pipeline.config import RunSettings
    from .output import ShownProgress, print_json, print_pairs
    from .retry import retry as try_again

    given = {"num_cpus": num_cpus, "address": address}
    run = RunSettings(**{name: value for name, value in given.items() if value is not None})
    progress = ShownProgress()
    try:
        report = try_again(dataset, everything=all_, task=task, decoders=decoder or (), run=run, progress=progress)
    finally:
        progress.close()
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    print_pairs(
        f"{report.dataset}: version {report.version}",
        [
            ("tried again", str(report.num_retried)),
            ("no longer rejected", str(len(report.recovered))),
            ("still rejected", str(report.num_rejected)),
        ],
    )


@app.command()
def gc(
    dataset: Dataset,
    delete: Annotated[
        bool, typer.Option("--delete", help="Really remove; without it only say what would go.")
    ] = False,
    min_age_days: Annotated[float, typer.Option(help="Spare what is younger, by the store's clock.")] = 7.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Remove what no version, live plan or receipt names: orphans of killed runs, pending uploads."""
    from .gc import collect_garbage
    from .output import format_bytes, print_json, print_pairs

    report = collect_garbage(dataset, delete=delete, min_age_days=min_age_days)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    done = "removed" if delete else "would be removed (add --delete)"
    print_pairs(
        f"{report.dataset}: {report.num_objects} objects, {format_bytes(report.num_bytes)}, {done}",
        [("spared, too young", str(report.num_spared)), ("pending uploads", str(report.num_pending_uploads))],
    )


@app.command()
def demo(
    task: Annotated[str, typer.Option("--task", "-t", help="Pretext task.")] = "image_rotation",
    input: Annotated[str | None, typer.Option("--input", "-i", help="Your media; default renders some.")] = None,  # noqa: A002
    output: Annotated[str, typer.Option("--output", "-o", help="Where the dataset shall stand.")] = ".demo/rotation",
    num_photographs: Annotated[int, typer.Option(help="Photographs to render.")] = 240,
    debug: Debug = False,
) -> None:
    """From media to a dataset in a minute: render photographs (or take yours), materialize, say where to look."""
    from .demo_media import render_folder
    from .output import ShownProgress, console, program_name
    from .planned import print_reports

    out = console()
    if input is None:
        folder = Path(output).parent / "photographs"
        out.print(f"Rendering {num_photographs} photographs into {folder} ...")
        render_folder(folder, num_photographs)
        input = str(folder)  # noqa: A001 - the option's name
    out.print(f"$ unlabeled materialize --task {task} --input {input} --output {output}\n", markup=False)
    spec = _spec([task], input, output, None, None, {})
    progress = ShownProgress()
    try:
        reports = spec.run(progress)
    finally:
        progress.close()
    print_reports(reports)
    dataset = reports[0].dataset
    out.print(f"  load     datasets.load_dataset({dataset!r})", markup=False)
    out.print(f"  card     {dataset}/README.md", markup=False)
    out.print(f"  page     {program_name()} preview {dataset} --out page.html", markup=False)
    out.print("\nRun it again: nothing is new, so nothing is done. Add a picture and run it: only that one is made.")


def _spec(
    task: list[str],
    input_uri: str,
    output: str,
    config: Path | None,
    assignments: list[str] | None,
    overrides: dict[str, Any],
    decoders: list[str] | None = None,
    *,
    replan: bool = False,
    rebuild: bool = False,
) -> Materialize:
    from ..pipeline import discover
    from .config import load_settings
    from .materialize import Materialize

    names = [discover.find_task(spec).name() for spec in task]
    settings, task_settings = load_settings(config, assignments or [], overrides, names)
    return Materialize(
        task, input_uri, output, settings, task_settings, replan=replan, rebuild=rebuild, decoders=decoders or ()
    )


def _one_or_many(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """One task: its report. Several: `datasets` with a report each."""
    return reports[0] if len(reports) == 1 else {"datasets": reports}


class _Stopped(BaseException):
    """SIGTERM or Ctrl-C. Not an Exception, so that no library on the way takes it for a fault of its own."""


def _stop(number: int, frame: object) -> None:
    _STOP_REQUESTED.append(number)
    raise _Stopped


#: Signals that came. Raised in the middle of a library's call, `_Stopped` may come out as an error of that library.
_STOP_REQUESTED: list[int] = []


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 rejects, 4 conflict, 5 check, 75 stopped."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except _Stopped:
        _fail(_STOPPED_MESSAGE, Interrupted.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the outermost frame: one message and an exit code
        if _STOP_REQUESTED:
            _fail(_STOPPED_MESSAGE, Interrupted.exit_code, debug=debug)
        if isinstance(error, UnlabeledError):
            _fail(str(error), type(error).exit_code, debug=debug)
        message = str(error).strip().splitlines() or [""]
        text = f"{type(error).__name__}: {message[-1][:500]} (--debug shows the stack trace)"
        _fail(text, 1, debug=debug)


_STOPPED_MESSAGE = "stopped; run the same command again to resume."


def _fail(message: str, exit_code: int, *, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    sys.stderr.write(f"unlabeled: {message}\n")
    sys.stderr.flush()
    sys.stdout.flush()
    # Not sys.exit: a local Ray's atexit handlers may take seconds, and nothing is left to do.
    os._exit(exit_code)
