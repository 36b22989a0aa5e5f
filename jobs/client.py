"""Commands as jobs on a Ray cluster: submit, attach, follow, stop, list."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.config import parse
from ..pipeline.errors import ConfigError, UnlabeledError
from .command_line import Portable, Spec, portable

if TYPE_CHECKING:
    from .ray_jobs import RayJobs

TERMINAL = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_ID = re.compile(r"(?P<stem>.+-[0-9a-f]{8})-a(?P<attempt>\d+)")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}")
_POLL_SECONDS = 1.0


class JobOptions(BaseModel):
    """How a command runs as a job; none of it changes what it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, description="name of the job; default command and tasks")
    attempt: int | None = Field(
        None, ge=1, description="attempt of this very work; default the running one or the next"
    )
    ship_wheel: bool = Field(False, description="install this code from a wheel on every node; needs virtualenv there")
    python: str | None = Field(None, description="interpreter on the cluster; default `unlabeled` on its PATH")
    driver_cpus: float = Field(1.0, ge=0, description="CPUs to set aside for the driver")
    driver_memory_bytes: int | None = Field(None, ge=2**20, description="memory to set aside for the driver")
    driver_resources: dict[str, float] = Field(default_factory=dict, description="Ray resources that pin the driver")
    env: dict[str, str] = Field(default_factory=dict, description="environment of the job; the dashboard shows it")
    metadata: dict[str, str] = Field(default_factory=dict, description="kept with the job, shown on the dashboard")
    stop_grace_seconds: int = Field(120, ge=0, description="time that a stopped job has to finish shards in hand")


class JobInfo(BaseModel):
    """A job as its cluster knows it. `attached`: it was there already when it was asked for."""

    model_config = ConfigDict(frozen=True)

    submission_id: str
    status: str
    message: str = ""
    command: str = ""
    attempt: int = 1
    exit_code: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    attached: bool = False
    address: str = ""

    @property
    def is_over(self) -> bool:
        """True where it will not change any more."""
        return self.status in TERMINAL


class Jobs(BaseModel):
    """The jobs of a cluster, the newest first."""

    model_config = ConfigDict(frozen=True)

    jobs: list[JobInfo]


class JobLogs(BaseModel):
    """What a job has printed so far, stdout and stderr together."""

    model_config = ConfigDict(frozen=True)

    submission_id: str
    logs: str


class Client:
    """A Ray cluster that runs commands: `Client("http://head:8265").submit(Materialize(...))`.

    Args:
        address: URL of the cluster's dashboard. A token comes from RAY_AUTH_TOKEN_PATH, as everywhere in Ray.
        wait_seconds: how long a cluster that is still starting is waited for.
        say: told what is waited for.

    Raises (all methods):
        UnlabeledError: nobody answers there, the token is not the cluster's, or no node takes jobs in time.
        NotFound: there is no such job.
    """

    def __init__(
        self, address: str, *, wait_seconds: float = 30.0, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.address = _url(address)
        self._wait_seconds = wait_seconds
        self._say = say
        self._connected: RayJobs | None = None

    def submit(self, spec: Spec, options: JobOptions | None = None, **changes: Any) -> JobInfo:
        """Run a command on the cluster and return its job; the same work twice is one job.

        The id is `{name}-{hash of command and files}-a{attempt}`. While an attempt is under way it is returned,
        `attached`; when it has ended, the next attempt begins. Two that submit at once get the same job.

        Args:
            spec: `Materialize(...)`, or `CommandLine("verify", "s3://...")` for any command.
            options: see JobOptions.
            **changes: single options, such as `ship_wheel=True`.

        Raises:
            ConfigError: a wrong command or option; nothing was sent.
        """
        options = parse(JobOptions, {**(options or JobOptions()).model_dump(), **changes})
        command = portable(spec.argv())
        stem = job_stem(command, options)
        known = self._attempts(stem)
        running = next((job for job in known if not job.is_over), None)
        if options.attempt is None and running is not None:
            return running.model_copy(update={"attached": True})
        attempt = options.attempt or 1 + max((job.attempt for job in known), default=0)
        return self._submit(f"{stem}-a{attempt}", command, options)

    def _submit(self, submission_id: str, command: Portable, options: JobOptions) -> JobInfo:
        from .ray_jobs import JobExists

        with tempfile.TemporaryDirectory(prefix="unlabeled-job-") as folder:
            runtime_env = make_runtime_env(Path(folder), command, options)
            runtime_env["env_vars"]["UNLABELED_JOB"] = submission_id  # the lease names it
            try:
                self._jobs.submit(
                    submission_id=submission_id,
                    entrypoint=make_entrypoint(command, options),
                    runtime_env=runtime_env,
                    entrypoint_num_cpus=options.driver_cpus,
                    entrypoint_memory=options.driver_memory_bytes,
                    entrypoint_resources=options.driver_resources or None,
                    metadata={
                        "job_name": submission_id,
                        "command": f"unlabeled {shlex.join(command.argv)}"[:1000],
                        **options.metadata,
                    },
                )
            except JobExists:
                return self.status(submission_id).model_copy(update={"attached": True})
        return self.status(submission_id)

    def status(self, submission_id: str) -> JobInfo:
        """Return a job as it is now."""
        return self._info(self._jobs.info(submission_id))

    def list(self) -> Jobs:
        """Return the cluster's jobs, the newest first."""
        found = [self._info(job) for job in self._jobs.list()]
        found.sort(key=lambda job: job.started or datetime.min.replace(tzinfo=UTC), reverse=True)
        return Jobs(jobs=found)

    def logs(self, submission_id: str) -> JobLogs:
        """Return all that a job has printed."""
        return JobLogs(submission_id=submission_id, logs=self._jobs.logs(submission_id))

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield what a job prints, from its beginning, until it ends."""
        self._jobs.info(submission_id)
        return self._jobs.follow(submission_id)

    def stop(self, submission_id: str) -> JobInfo:
        """Ask a job to stop and return it; it gets its grace time to finish what it has in hand."""
        self._jobs.stop(submission_id)
        return self.status(submission_id)

    def wait(self, submission_id: str, *, timeout_seconds: float | None = None) -> JobInfo:
        """Return a job once it is over.

        Raises:
            TimeoutError: it was not, in time; it runs on.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not (job := self.status(submission_id)).is_over:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{submission_id} is {job.status} after {timeout_seconds} s")
            time.sleep(_POLL_SECONDS)
        return job

    def report(self, submission_id: str) -> dict[str, Any]:
        """Return what the command's `--json` printed: the report of a job that succeeded.

        Raises:
            UnlabeledError: the job has printed none.
        """
        for line in reversed(self.logs(submission_id).logs.splitlines()):
            if line.startswith("{"):
                report: dict[str, Any] = json.loads(line)
                return report
        raise UnlabeledError(f"{submission_id}: it has printed no report; `unlabeled logs` shows what it has.")

    @property
    def _jobs(self) -> RayJobs:
        from .ray_jobs import RayJobs

        if self._connected is None:
            self._connected = RayJobs(self.address, self._wait_seconds, self._say)
        return self._connected

    def _attempts(self, stem: str) -> Sequence[JobInfo]:
        jobs = [self._info(job) for job in self._jobs.list() if job["submission_id"].startswith(f"{stem}-a")]
        return sorted(jobs, key=lambda job: job.attempt)

    def _info(self, job: Mapping[str, Any]) -> JobInfo:
        metadata = dict(job["metadata"] or {})
        match = _ID.fullmatch(job["submission_id"])
        return JobInfo(
            submission_id=job["submission_id"],
            status=job["status"],
            message=_explained(job["message"] or "", job["driver_exit_code"]),
            command=metadata.pop("command", job["entrypoint"] or ""),
            attempt=int(match["attempt"]) if match else 1,
            exit_code=job["driver_exit_code"],
            started=_time(job["start_time"]),
            ended=_time(job["end_time"]),
            metadata=metadata,
            address=self.address,
        )


def job_stem(command: Portable, options: JobOptions) -> str:
    """Return the submission id without its attempt: the same for the same name and work.

    Raises:
        ConfigError: a name that no id can have.
    """
    name = options.name or "-".join([command.argv[0], *command.tasks])[:100]
    if not _NAME.fullmatch(name):
        raise ConfigError(f"`name`: found {name!r}, expected letters, digits and _ . -, at most 100.")
    return f"{name}-{command.sha256[:8]}"


def make_entrypoint(command: Portable, options: JobOptions) -> str:
    """Return the shell line that a job runs. `exec`: the signal to stop must reach the command, not a shell."""
    program = [options.python, "-m", "unlabeled.jobs"] if options.python else ["unlabeled"]
    return f"exec {shlex.join([*program, *command.argv])}"


def make_runtime_env(folder: Path, command: Portable, options: JobOptions) -> dict[str, Any]:
    """Return the job's runtime environment; what travels with it is written into `folder`."""
    env = {
        # Ray kills a stopped job after 3 s otherwise. Some seconds more than the command itself takes to give up.
        "RAY_JOB_STOP_WAIT_TIME_S": str(options.stop_grace_seconds + 10),
        "UNLABELED_STOP_GRACE_SECONDS": str(options.stop_grace_seconds),
        **options.env,
    }
    runtime_env: dict[str, Any] = {"env_vars": env}
    for name, data in command.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if options.ship_wheel:
        from .wheel import build_wheel

        wheel = build_wheel(folder)
        # Requirements that the image has are left as they are; what it lacks comes from its package index.
        runtime_env["pip"] = {
            "packages": [f"${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{wheel.name}"],
            "pip_check": False,
        }
    if command.files or options.ship_wheel:
        runtime_env["working_dir"] = str(folder)
    return runtime_env


def _explained(message: str, exit_code: int | None) -> str:
    """Return a job's message as one line; Ray's own repeats the whole log."""
    if exit_code == 127 or "No module named 'unlabeled" in message or "No module named unlabeled" in message:
        return (
            "this command is not installed on the cluster: take it along with --ship-wheel, or name an interpreter "
            "that has it with --driver-python"
        )
    lines = [line for line in message.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("unlabeled: ")]
    return (told[-1] if told else lines[0] if lines else "")[:1000]


def _url(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if not separator:
        return f"http://{address}"
    if scheme not in ("http", "https") or not rest:
        raise ConfigError(
            f"`--address {address}`: expected the URL of a Ray dashboard, such as http://head:8265 "
            "(kubectl port-forward makes it http://127.0.0.1:8265)."
        )
    return address.rstrip("/")


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
