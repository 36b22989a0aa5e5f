"""Commands that run commands: each in a process of its own, which is stopped as gently as this one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .stopping import grace_seconds

#: Beyond its grace time, for what a command does after its last shard.
_MARGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Ended:
    """What became of a command. `is_late`: it was stopped for taking too long."""

    exit_code: int
    stdout: bytes
    is_late: bool = False


def run_subcommand(argv: Sequence[str], seconds: float | None = None) -> Ended:
    """Run a command of this very code and return what became of it; its stderr is this process's.

    One that takes longer than `seconds` is told to stop, and so is one that runs when this process is: then it
    finishes what it has in hand. A session of its own keeps signals to the group from reaching it, too: a second one
    would stop it at once.
    """
    command = [sys.executable, "-m", "unlabeled.jobs", *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            stdout, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            stdout = _stop(process)
            return Ended(process.returncode, stdout, is_late=True)
        except BaseException:
            _stop(process)
            raise
    return Ended(process.returncode, stdout)


def _stop(process: subprocess.Popen[bytes]) -> bytes:
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=grace_seconds() + _MARGIN_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]
    except BaseException:
        process.kill()  # told to stop a second time
        raise
