"""A command as data: checked against the command line's own options, and made ready to run on another machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import typer

from ..pipeline.errors import ConfigError, nearest
from ..pipeline.storage import split_uri

#: Options and arguments that name a dataset or media: a relative path means this machine's folder.
_PLACES = frozenset({"input", "output", "dataset", "data", "test_data", "run"})
#: What `pretrain` takes behind a dataset where there are several.
_SHARE = re.compile(r"=[\d./]+$")
#: Small files that a command reads on the machine where it was typed: they travel with it.
_SUFFIXES = frozenset({".py", ".yaml", ".yml", ".csv"})
_MAX_SHIPPED_BYTES = 20 * 2**20
#: Where it runs is the cluster's business, what it prints the job's.
_LEFT_OUT = frozenset({"address", "as_json", "debug", "help"})


class Spec(Protocol):
    """What can be submitted: anything that knows the command line which does the same."""

    def argv(self) -> list[str]:
        """Return the command and its options."""


@dataclass(frozen=True)
class CommandLine:
    """Any command of this project as it is typed: `CommandLine("verify", "s3://bucket/rotation")`."""

    arguments: tuple[str, ...]

    def __init__(self, *arguments: str) -> None:
        object.__setattr__(self, "arguments", arguments)

    def argv(self) -> list[str]:
        """Return the command and its options."""
        return list(self.arguments)


@dataclass(frozen=True)
class Portable:
    """A command that means the same on any machine.

    Attributes:
        argv: command and options; files stand under the names that they have in `files`.
        files: name below the job's working directory -> content.
        tasks: pretext tasks that it names, for the job's name.
    """

    argv: tuple[str, ...]
    files: dict[str, bytes]
    tasks: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest over command and files: the same for the same work."""
        digest = hashlib.sha256("\0".join(self.argv).encode("utf-8", "surrogatepass"))
        for name in sorted(self.files):
            digest.update(f"\0{name}\0{hashlib.sha256(self.files[name]).hexdigest()}".encode())
        return digest.hexdigest()


def portable(argv: Sequence[str]) -> Portable:
    """Return the command with paths made absolute and small local files (.py .yaml .csv) taken along.

    Raises:
        ConfigError: no such command, option or setting; what is wrong is named as the command itself would.
    """
    command, values = parsed(argv)
    if argv[0] == "materialize":
        from .cli_make import materialize_spec

        materialize_spec(values).outputs()  # settings are told wrong here, not on the cluster
    shipped: dict[str, bytes] = {}
    options: list[str] = []
    arguments: list[str] = []
    for parameter in command.params:
        if parameter.name in _LEFT_OUT:
            continue
        for value in _given(parameter, values.get(parameter.name)):
            text = _moved(value, shipped, is_place=_is_place(argv[0], parameter.name))
            if parameter.param_type_name == "argument":
                arguments.append(text)
            elif value is True:
                options.append(parameter.opts[0])
            else:
                # In one piece, so that a value that begins with a dash stays one.
                options.append(f"{parameter.opts[0]}={text}")
    if any(parameter.name == "as_json" for parameter in command.params):
        options.append("--json")
    separator = ["--"] if any(text.startswith("-") for text in arguments) else []
    tasks = values.get("task") or ()
    named = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    return Portable((argv[0], *options, *separator, *arguments), shipped, tuple(Path(name).stem for name in named))


def parsed(argv: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """Return (the command's definition, its values by name); nothing is run.

    Raises:
        ConfigError: no such command, or options that it does not have.
    """
    from .cli import app

    group: Any = typer.main.get_command(app)
    if not argv:
        raise ConfigError("expected a command, such as `materialize`, found nothing.")
    with group.make_context("unlabeled", [], resilient_parsing=True) as context:
        command = group.get_command(context, argv[0])
        if command is None:
            raise ConfigError(f"unknown command {argv[0]!r}.{nearest(argv[0], group.list_commands(context))}")
        try:
            with command.make_context(argv[0], list(argv[1:]), parent=context) as inner:
                return command, dict(inner.params)
        except typer.TyperException as error:
            raise ConfigError(f"{argv[0]}: {error.format_message()}") from None


def places(argv: Sequence[str]) -> list[str]:
    """Return the datasets, folders and media that a command names: what it reads, and what it writes."""
    command, values = parsed(argv)
    named = [
        (parameter.name, str(value))
        for parameter in command.params
        if _is_place(argv[0], parameter.name)
        for value in _given(parameter, values.get(parameter.name))
    ]
    # `pretrain` takes DATASET=SHARE.
    return [_SHARE.sub("", value) if name == "data" and argv[0] == "pretrain" else value for name, value in named]


def _given(parameter: Any, value: Any) -> Iterable[Any]:
    """Return the values to write down: none where it is the default."""
    if value is None or value == parameter.default or value is False:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _is_place(command: str, name: str) -> bool:
    """Return whether an option or argument names a dataset, media or a run; to `pretrain` an encoder is a kind."""
    return name in _PLACES or (name == "encoder" and command != "pretrain")


def _moved(value: Any, shipped: dict[str, bytes], *, is_place: bool) -> str:
    text = str(getattr(value, "value", value))
    path = Path(text)
    if path.suffix in _SUFFIXES and path.is_file():
        data = path.read_bytes()
        inside = f"files/{hashlib.sha256(data).hexdigest()[:8]}/{path.name}"
        shipped[inside] = data
        if sum(map(len, shipped.values())) > _MAX_SHIPPED_BYTES:
            raise ConfigError(f"{text}: files that travel with a job may be {_MAX_SHIPPED_BYTES >> 20} MiB together.")
        return inside
    if is_place:
        split_uri(text)  # a mistyped scheme is told now
    if "://" not in text and not text.startswith("/") and (is_place or isinstance(value, Path)):
        return os.path.abspath(text)  # noqa: PTH100 - literal, as in storage
    return text
