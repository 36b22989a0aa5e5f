"""Ray's own client of its job API, with errors that say what to do."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from ..pipeline.errors import ConfigError, NotFound, UnlabeledError

AnswerT = TypeVar("AnswerT")
_POLL_SECONDS = 1.0


class JobExists(UnlabeledError):
    """The submission id is taken: Ray gives each id once, for good."""


class RayJobs:
    """Job submission, status, logs and stop at one cluster; all methods raise as `call`."""

    def __init__(self, address: str, wait_seconds: float, say: Callable[[str], None]) -> None:
        self._address = address
        self._wait_seconds = wait_seconds
        self._say = say
        # It tells of every upload, on the stream where logs of the job go.
        for name in ("ray.dashboard", "ray._private.runtime_env"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # Ray's client answers a missing file with a traceback.
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        if token and not Path(token).is_file():
            raise ConfigError(f"`RAY_AUTH_TOKEN_PATH`: found {token!r}, but there is no such file.")
        self._client = self.call(lambda: JobSubmissionClient(address))

    def call(self, request: Callable[[], AnswerT]) -> AnswerT:
        """Return what `request` returns; a cluster that is still starting is waited for.

        Raises:
            JobExists: the submission id is taken.
            NotFound: there is no such job.
            UnlabeledError: nobody answers, the token is not the cluster's, or no agent takes jobs in time.
        """
        deadline = time.monotonic() + self._wait_seconds
        said = ""
        while True:
            try:
                return request()
            except AuthenticationError as error:
                raise UnlabeledError(_refused(self._address, str(error))) from None
            except (ConnectionError, OSError) as error:
                problem = f"no Ray dashboard answers at {self._address}: {_last_line(error)}"
            except RuntimeError as error:
                problem = _explained(self._address, str(error))
            except ValueError as error:
                raise ConfigError(f"`--address {self._address}`: {_last_line(error)}") from None
            if time.monotonic() > deadline:
                raise UnlabeledError(f"{problem} (tried for {self._wait_seconds:.0f} s).")
            if problem != said:
                self._say(f"{problem}; trying again")
                said = problem
            time.sleep(_POLL_SECONDS)

    def submit(self, **options: Any) -> str:
        """Submit a job and return its submission id."""
        return self.call(lambda: str(self._client.submit_job(**options)))

    def info(self, submission_id: str) -> Mapping[str, Any]:
        """Return what Ray knows of a job."""
        return _fields(self.call(lambda: self._client.get_job_info(submission_id)))

    def list(self) -> list[Mapping[str, Any]]:
        """Return the jobs that were submitted here, in no order; drivers that came on their own have no id."""
        return [_fields(job) for job in self.call(self._client.list_jobs) if job.submission_id]

    def logs(self, submission_id: str) -> str:
        """Return all that a job has printed."""
        return self.call(lambda: str(self._client.get_job_logs(submission_id)))

    def follow(self, submission_id: str) -> Iterator[str]:
        """Yield what a job prints, from its beginning, until it ends."""
        tail = self.call(lambda: self._client.tail_job_logs(submission_id))
        with asyncio.Runner() as runner:
            while True:
                try:
                    yield runner.run(anext(tail))  # type: ignore[arg-type]
                except StopAsyncIteration:
                    return

    def stop(self, submission_id: str) -> bool:
        """Ask a job to stop; False where it has ended already."""
        return self.call(lambda: bool(self._client.stop_job(submission_id)))


def _fields(job: Any) -> dict[str, Any]:
    names = ("submission_id", "message", "start_time", "end_time", "metadata", "entrypoint", "driver_exit_code")
    return {"status": str(job.status), **{name: getattr(job, name) for name in names}}


def _explained(address: str, text: str) -> str:
    """Return what to say when the deadline has passed; raise at once where waiting cannot help."""
    if "already exists" in text:
        raise JobExists(text.rstrip(".").rpartition("ValueError: ")[2])
    if "status code 404" in text or "does not exist" in text:
        raise NotFound(f"{address}: there is no such job; `unlabeled jobs` lists them.")
    if "No available agent" in text:
        return f"the cluster at {address} answers, but none of its nodes takes jobs yet"
    if "status code 50" in text:
        return f"the cluster at {address} failed: {_last_line(text)}"
    raise UnlabeledError(f"{address}: {_last_line(text)}")


def _refused(address: str, text: str) -> str:
    found = "it wants a token, and none was sent" if "required" in text else "the token is not the one it wants"
    return (
        f"{address}: {found}. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file (mode 0600) with the "
        "cluster's token."
    )


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1][:500] if lines else type(error).__name__
