"""The command line. Each command is a thin layer over a typed call; heavy imports wait until a command runs."""

from __future__ import annotations

import os
import signal
import sys

from ..pipeline.errors import Interrupted, UnlabeledError

# Each module adds its commands to the app, in the order in which `--help` lists them.
from . import cli_make  # isort: skip
from . import cli_keep  # isort: skip
from . import cli_check  # isort: skip
from . import cli_train  # isort: skip
from . import cli_labels  # isort: skip
from . import cli_embed  # isort: skip
from . import cli_forget  # isort: skip
from . import cli_compact  # isort: skip
from . import cli_jobs  # isort: skip
from . import cli_schedule  # isort: skip
from .cli_options import app
from .stopping import STOPPING, Stopped

__all__ = [
    "app",
    "cli_check",
    "cli_compact",
    "cli_embed",
    "cli_forget",
    "cli_jobs",
    "cli_keep",
    "cli_labels",
    "cli_make",
    "cli_schedule",
    "cli_train",
    "main",
]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 rejects, 4 conflict, 5 check, 75 stopped."""
    STOPPING.install()
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except Stopped:
        _fail(_STOPPED_MESSAGE, Interrupted.exit_code, debug=debug)
    except SystemExit as error:
        # While Ray starts, a handler of its own has the place of ours.
        if error.code == signal.SIGTERM:
            _fail(_STOPPED_MESSAGE, Interrupted.exit_code, debug=debug)
        raise
    except Exception as error:  # noqa: BLE001 - the outermost frame: one message and an exit code
        # Raised in the middle of a library's call, `Stopped` may come out as an error of that library.
        if STOPPING.requested and not isinstance(error, Interrupted):
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
