"""Commands that make datasets: tasks, plan, materialize, demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_options import (
    AddressOption,
    AsJson,
    ConfigOption,
    Debug,
    DecoderOption,
    DedupOption,
    GroupOption,
    InputOption,
    LogOption,
    NumCpusOption,
    OutputOption,
    SeedOption,
    SetOption,
    TaskOption,
    app,
)

if TYPE_CHECKING:
    from .materialize import Materialize


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

    known = reading.tasks(task)
    if as_json:
        print_json(known)
        return
    out = console()
    for info in known.tasks:
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
    dedup: DedupOption = None,
    seed: SeedOption = None,
    pilot: Annotated[int, typer.Option(help="Sources to decode for the estimate; 0 for constants alone.")] = 64,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what materialize would do: sources, shards, examples, bytes, CPU hours. Writes nothing that counts."""
    from .output import print_json_of_each
    from .planned import print_plans

    spec = _spec(task, input, output, config, set_, {"group_by": group_by, "dedup": dedup, "seed": seed}, decoder)
    reports = spec.plan(num_pilot_sources=pilot)
    if as_json:
        print_json_of_each(reports)
    else:
        print_plans(reports)


@app.command()
def materialize(
    context: typer.Context,
    task: TaskOption,
    input: InputOption,  # noqa: A002 - the option's name
    output: OutputOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    decoder: DecoderOption = None,
    group_by: GroupOption = None,
    dedup: DedupOption = None,
    seed: SeedOption = None,
    num_cpus: NumCpusOption = None,
    address: AddressOption = None,
    max_reject_fraction: Annotated[float | None, typer.Option(help="Rejects allowed. [default: 0.05]")] = None,
    max_rejects_min: Annotated[int | None, typer.Option(help="Rejects always allowed. [default: 20]")] = None,
    replan: Annotated[bool, typer.Option("--replan", help="Abandon what an earlier run left unfinished.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Plan everything from nothing.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Start the Ray dashboard with a local Ray.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print CPU seconds by stage, on stderr.")] = False,
    log: LogOption = "text",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a dataset, or bring it up to its inputs. Resumes what was interrupted; nothing new is a quick no-op."""
    from .output import print_json_of_each, shown_progress
    from .planned import print_profiles, print_reports

    spec = materialize_spec(context.params)
    progress = shown_progress(log)
    try:
        reports = spec.run(progress)
    finally:
        progress.close()
    if profile:
        print_profiles(reports)
    if as_json:
        print_json_of_each(reports)
    else:
        print_reports(reports)


@app.command()
def demo(
    task: Annotated[str, typer.Option("--task", "-t", help="Pretext task.")] = "image_rotation",
    input: Annotated[str | None, typer.Option("--input", "-i", help="Your media; default renders some.")] = None,  # noqa: A002
    output: Annotated[str, typer.Option("--output", "-o", help="Where the dataset shall stand.")] = ".demo/rotation",
    num_photographs: Annotated[int, typer.Option(min=300, help="Photographs to render.")] = 900,
    debug: Debug = False,
) -> None:
    """From media to a dataset, an encoder and a few-label page: render photographs; of your own, make the dataset."""
    from . import demo as steps
    from .demo_media import render_folder
    from .output import ShownProgress, console, program_name
    from .planned import print_reports

    out, progress = console(), ShownProgress()

    def say(text: str) -> None:
        out.print(text, markup=False)

    folder = Path(output).parent
    media, options = input or str(folder / "photographs"), ""
    if input is None:
        say(f"Rendering {num_photographs} photographs into {media} ...")
        render_folder(Path(media), num_photographs)
        options = steps.OPTIONS if task == "image_rotation" else ""
    say(f"$ unlabeled materialize --task {task} --input {media} --output {output}{options}\n")
    spec = steps.rotation(media, output) if options else _spec([task], [media], output, None, None, {})
    try:
        reports = spec.run(progress)
        print_reports(reports)
        dataset = reports[0].dataset
        say(f"  load     datasets.load_dataset({dataset!r})")
        say(f"  card     {dataset}/README.md")
        say(f"  page     {program_name()} preview {dataset} --out page.html\n")
        if not options:
            say(f"Next: {program_name()} pretrain --data {dataset} --output {folder / 'run'}")
        elif not steps.can_train():
            say("Left out: pretraining, fine-tuning and the few-label page. They need torch: `make train-env`.")
        else:
            page = steps.train(dataset, media, folder, progress, say)
            say(f"Open {page}: what pretraining is worth with few labels.")
    finally:
        progress.close()
    say("Run it again: nothing is new, so nothing is done. Add a picture and run it: only that one is made.")


#: Options of `materialize` that are settings, and their names there.
_SETTINGS = {
    "group_by": "group_by",
    "dedup": "dedup",
    "seed": "seed",
    "num_cpus": "run.num_cpus",
    "address": "run.address",
    "max_reject_fraction": "run.rejects.max_reject_fraction",
    "max_rejects_min": "run.rejects.max_rejects_min",
    "dashboard": "run.dashboard",
}


def materialize_spec(given: Mapping[str, Any]) -> Materialize:
    """Return the run that options of `materialize` describe, by their names.

    Raises:
        ConfigError: unknown task, or unknown or mistyped setting.
    """
    overrides = {setting: given[option] for option, setting in _SETTINGS.items() if given[option] not in (None, False)}
    flags = {name: given[name] for name in ("replan", "rebuild")}
    return _spec(
        list(given["task"]),
        list(given["input"]),
        given["output"],
        given["config"],
        list(given["set_"] or ()),
        overrides,
        list(given["decoder"] or ()),
        **flags,
    )


def _spec(
    task: list[str],
    inputs: list[str],
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
    from ..pipeline.errors import ConfigError
    from .config import load_settings
    from .materialize import Materialize

    if len(inputs) > 1:
        raise ConfigError(
            f"--input: found {len(inputs)} ({', '.join(inputs)}), expected one: a prefix or glob that holds them all, "
            "or a dataset for each."
        )
    names = [discover.find_task(spec).name() for spec in task]
    settings, task_settings = load_settings(config, assignments or [], overrides, names)
    return Materialize(
        task, inputs[0], output, settings, task_settings, replan=replan, rebuild=rebuild, decoders=decoders or ()
    )
