"""Command line, submission and schedules: the one place that reads argv, environment and cluster addresses.

`from unlabeled.jobs import Client, Materialize` loads what it names, and nothing before that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client, JobInfo
    from .command_line import CommandLine
    from .compact import Compact
    from .config import Settings
    from .materialize import Materialize

__all__ = ["Client", "CommandLine", "Compact", "JobInfo", "Materialize", "Settings"]

_HOMES = {
    "Client": "client",
    "CommandLine": "command_line",
    "Compact": "compact",
    "JobInfo": "client",
    "Materialize": "materialize",
    "Settings": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
