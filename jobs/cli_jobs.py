"""Commands about jobs on a Ray cluster: submit, status, logs, stop, jobs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_options import AsJson, Debug, app

if TYPE_CHECKING:
    from .client import Client, JobInfo

Address = Annotated[
    str,
    typer.Option("--address", envvar="RAY_DASHBOARD_ADDRESS", help="URL of the dashboard, such as http://head:8265."),
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="Submission id; `unlabeled jobs` lists them.")]
Wait = Annotated[float, typer.Option("--wait-seconds", help="Wait so long for a cluster that is still starting.")]


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="A command with its options.")],
    address: Address,
    job_name: Annotated[str | None, typer.Option(help="Name of the job. [default: command and tasks]")] = None,
    job_attempt: Annotated[int | None, typer.Option(help="Attempt of this work. [default: running, or next]")] = None,
    ship_wheel: Annotated[
        bool, typer.Option("--ship-wheel", help="Install this code on the cluster's nodes.")
    ] = False,
    driver_python: Annotated[
        str | None, typer.Option(help="Interpreter there. [default: `unlabeled` on the PATH]")
    ] = None,
    driver_cpus: Annotated[float | None, typer.Option(help="CPUs for the driver. [default: 1]")] = None,
    driver_memory_bytes: Annotated[int | None, typer.Option(help="Memory for the driver.")] = None,
    driver_resource: Annotated[list[str] | None, typer.Option(help="NAME=AMOUNT: where the driver may run.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, or NAME to take along; shown there.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, kept with the job.")] = None,
    stop_grace_seconds: Annotated[int | None, typer.Option(help="Time to finish when stopped. [default: 120]")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its log and end with its exit code.")] = False,
    wait_seconds: Wait = 30.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a command as a job on a Ray cluster. The same work twice is one job: the second joins the first."""
    from .command_line import CommandLine

    options: dict[str, Any] = {
        "name": job_name,
        "attempt": job_attempt,
        "python": driver_python,
        "driver_cpus": driver_cpus,
        "driver_memory_bytes": driver_memory_bytes,
        "stop_grace_seconds": stop_grace_seconds,
    }
    options = {name: value for name, value in options.items() if value is not None}
    client = _client(address, wait_seconds)
    job = client.submit(
        CommandLine(*command),
        ship_wheel=ship_wheel,
        driver_resources={name: _amount(name, value) for name, value in _pairs("--driver-resource", driver_resource)},
        env=dict(_pairs("--env", env, environment=True)),
        metadata=dict(_pairs("--metadata", metadata)),
        **options,
    )
    if follow:
        job = _follow(job, wait_seconds, quiet=as_json)
    _print(job, as_json=as_json)
    if follow:
        _exit_like(job)


@app.command()
def status(
    job: Job, address: Address, wait_seconds: Wait = 30.0, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Show one job: status, command, exit code."""
    _print(_client(address, wait_seconds).status(job), as_json=as_json)


@app.command()
def logs(
    job: Job,
    address: Address,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until it ends; end with its exit code.")] = False,
    wait_seconds: Wait = 30.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print what a job has printed."""
    from .output import print_json

    client = _client(address, wait_seconds)
    if follow:
        _exit_like(_follow(client.status(job), wait_seconds, quiet=False))
    elif as_json:
        print_json(client.logs(job))
    else:
        sys.stdout.write(client.logs(job).logs)


@app.command()
def stop(job: Job, address: Address, wait_seconds: Wait = 30.0, as_json: AsJson = False, debug: Debug = False) -> None:
    """Ask a job to stop. It finishes the shards that it has in hand; the same command resumes it."""
    _print(_client(address, wait_seconds).stop(job), as_json=as_json)


@app.command()
def jobs(address: Address, wait_seconds: Wait = 30.0, as_json: AsJson = False, debug: Debug = False) -> None:
    """List a cluster's jobs, the newest first."""
    from .output import print_json, print_table

    found = _client(address, wait_seconds).list()
    if as_json:
        print_json(found)
        return
    rows = [
        [job.submission_id, job.status, f"{job.started:%Y-%m-%d %H:%M}" if job.started else ""] for job in found.jobs
    ]
    print_table(["job", "status", "started (UTC)"], rows)


def _client(address: str, wait_seconds: float) -> Client:
    from .client import Client
    from .output import ShownProgress

    return Client(address, wait_seconds=wait_seconds, say=ShownProgress().phase)


def _follow(job: JobInfo, wait_seconds: float, *, quiet: bool) -> JobInfo:
    """Print a job's log until it ends, on stderr where stdout is for one JSON object."""
    client = _client(job.address, wait_seconds)
    out = sys.stderr if quiet else sys.stdout
    for text in client.follow(job.submission_id):
        out.write(text)
        out.flush()
    return client.wait(job.submission_id).model_copy(update={"attached": job.attached})


def _print(job: JobInfo, *, as_json: bool) -> None:
    from .output import print_json, print_pairs

    if as_json:
        print_json(job)
        return
    ended = "" if job.exit_code is None else f", exit code {job.exit_code}"
    pairs = [("status", job.status + ended), ("command", job.command), ("message", job.message)]
    joined = " (it was there already)" if job.attached else ""
    print_pairs(job.submission_id + joined, [(name, value) for name, value in pairs if value])


def _exit_like(job: JobInfo) -> None:
    if job.status != "SUCCEEDED":
        raise typer.Exit(job.exit_code or 1)


def _pairs(option: str, values: list[str] | None, *, environment: bool = False) -> list[tuple[str, str]]:
    from ..pipeline.errors import ConfigError

    found = []
    for value in values or []:
        name, separator, text = value.partition("=")
        if not separator and environment:
            if name not in os.environ:
                raise ConfigError(f"`{option} {value}`: this environment has no {name}.")
            text = os.environ[name]
        elif not separator or not name:
            raise ConfigError(f"`{option} {value}`: expected NAME=VALUE.")
        found.append((name, text))
    return found


def _amount(name: str, value: str) -> float:
    from ..pipeline.errors import ConfigError

    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"`--driver-resource {name}={value}`: expected a number.") from None
