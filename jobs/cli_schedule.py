"""Recurring runs and chains: schedule next, render, tick, run; run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import AsJson, Debug, app

if TYPE_CHECKING:
    from .schedule_run import TickReport

schedules = typer.Typer(
    help="Recurring runs: one definition for Kubernetes, KubeRay, cron, systemd, or this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(schedules, name="schedule")

File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML file with name, cron, time_zone, command, ...")]


@schedules.command("next")
def next_ticks(
    file: File,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many.")] = 5,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show when it is due next."""
    from .output import print_json
    from .schedule import load_schedule, now

    coming = load_schedule(file).coming(number, now())
    if as_json:
        print_json(coming)
    else:
        sys.stdout.write("".join(f"{tick.isoformat()}\n" for tick in coming.ticks))


@schedules.command()
def render(
    file: File,
    to: Annotated[str, typer.Option("--to", help="cronjob, raycronjob, crontab or systemd.")] = "cronjob",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write it in the words of what shall run it."""
    from .output import print_json
    from .schedule import load_schedule
    from .schedule_render import render as render_schedule

    rendered = render_schedule(load_schedule(file), to, file)
    if as_json:
        print_json(rendered)
    else:
        sys.stdout.write(rendered.text)


@schedules.command()
def tick(file: File, as_json: AsJson = False, debug: Debug = False) -> None:
    """Run it once now, with its retries and deadline: what cron and systemd call. Ends with its exit code."""
    from .schedule import load_schedule, now
    from .schedule_run import run_tick

    report = run_tick(load_schedule(file), now())
    _tell(report, as_json=as_json)
    if report.outcome in ("failed", "too_late"):
        raise typer.Exit(report.exit_code or 1)


@schedules.command("run")
def run_schedule(
    file: File,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers the last tick. [default: XDG_STATE_HOME]")
    ] = None,
    max_ticks: Annotated[int | None, typer.Option(help="End after so many; default never.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Stay, and run every tick as it comes due; for machines without Kubernetes, cron or systemd."""
    from .output import ShownProgress
    from .schedule import load_schedule
    from .schedule_run import default_state, run_forever

    schedule = load_schedule(file)
    run_forever(
        schedule,
        state or default_state(schedule),
        lambda report: _tell(report, as_json=as_json),
        max_ticks=max_ticks,
        say=ShownProgress().phase,
    )


@app.command("run")
def run_chain(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file with state and steps.")],
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a chain of commands: steps whose inputs are unchanged are skipped; the first that fails ends it."""
    from .chain import load_chain
    from .chain import run_chain as run_steps
    from .output import print_json, print_table

    report = run_steps(load_chain(file))
    if as_json:
        print_json(report)
    else:
        rows = [
            [step.name, step.outcome, "" if step.exit_code is None else str(step.exit_code), f"{step.seconds:.1f}"]
            for step in report.steps
        ]
        print_table(["step", "outcome", "exit code", "seconds"], rows)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _tell(report: TickReport, *, as_json: bool) -> None:
    from .output import print_json

    if as_json:
        print_json(report)
    else:
        tries = f", {report.num_tries} tries" if report.num_tries > 1 else ""
        sys.stdout.write(
            f"{report.due.isoformat()} {report.name}: {report.outcome}, exit code {report.exit_code}{tries}\n"
        )
    sys.stdout.flush()
