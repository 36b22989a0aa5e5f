"""Chains of commands: each step runs when what it reads has changed, and the first that fails ends the chain.

Words in braces stand for what is known when a step's turn comes: `{inputs}` for a digest of what it reads, so that a
changed dataset makes a new run beside the old one (`--output runs/{inputs}`), `{step.field}` for what the report of an
earlier step says (`{pretrain.output}`).
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..pipeline.config import parse
from ..pipeline.errors import ConfigError, NotFound, nearest
from ..pipeline.lease import acquire
from ..pipeline.manifest import load_manifest
from ..pipeline.rng import canonical_json, sha256_hex
from ..pipeline.storage import Store, StoreOptions, open_parent
from .command_line import places, portable
from .config import read_yaml
from .subcommand import run_subcommand

Outcome = Literal["done", "skipped", "failed", "not_reached"]
_INPUTS = "{inputs}"
_REFERENCE = re.compile(r"\{([a-z0-9][a-z0-9_-]*)\.([a-z_]+)\}")


class Step(BaseModel):
    """One command of a chain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="of the step, once in a chain")
    command: tuple[str, ...] = Field(min_length=1, description="command and options, as a line or a list")
    inputs: tuple[str, ...] | None = Field(
        None, description="datasets, folders and files that it reads; default those that its options name"
    )
    every_days: float = Field(0, ge=0, description="at most so often, whatever has changed")

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value


class Chain(BaseModel):
    """A chain: the keys of its YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: str = Field(description="folder or prefix where it remembers what it has done")
    steps: tuple[Step, ...] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _once(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        names = [step.name for step in steps]
        if len(set(names)) < len(names):
            raise ValueError(f"each step needs a name of its own, found {', '.join(names)}")
        for number, step in enumerate(steps):
            for name, _ in _REFERENCE.findall(" ".join(step.command)):
                if name not in names[:number]:
                    raise ValueError(f"step {step.name!r} names {name!r}, no step before it.{nearest(name, names)}")
        return steps


class StepReport(BaseModel):
    """What became of a step. `report` is what its command's `--json` printed, this time or when it last ran."""

    model_config = ConfigDict(frozen=True)

    name: str
    outcome: Outcome
    exit_code: int | None
    seconds: float
    report: dict[str, Any] | None


class ChainReport(BaseModel):
    """What became of a chain. `exit_code` is that of the step that ended it, 0 where all went well."""

    model_config = ConfigDict(frozen=True)

    exit_code: int
    steps: list[StepReport]


class _Memory(BaseModel):
    """What a step that succeeded leaves in the store."""

    fingerprint: str
    finished: datetime
    report: dict[str, Any] | None


def load_chain(path: Path) -> Chain:
    """Return the chain of a YAML file, every command checked like one that is typed.

    Raises:
        ConfigError: no such file, not YAML, an unknown or wrong key, or a command that would be refused.
    """
    chain: Chain = parse(Chain, read_yaml(path, str(path), "state and steps"))
    for step in chain.steps:
        portable(step.command)
    return chain


def run_chain(chain: Chain, *, store_options: StoreOptions | None = None) -> ChainReport:
    """Run the steps in order and return what became of them; the first that fails ends the chain.

    A step is skipped where its command, the files that travel with it and all that it reads are what they were when it
    last succeeded. What steps print goes to stderr.

    Raises:
        Conflict: the same chain is being run elsewhere.
        ConfigError: a step names a field that the report of an earlier one does not have.
    """
    store = Store.open(chain.state, store_options)
    reports: list[StepReport] = []
    exit_code = 0
    with acquire(store):
        for step in chain.steps:
            if exit_code:
                reports.append(
                    StepReport(name=step.name, outcome="not_reached", exit_code=None, seconds=0, report=None)
                )
                continue
            reports.append(_run_step(_filled(step, reports, store_options), store, store_options))
            exit_code = reports[-1].exit_code or 0
    return ChainReport(exit_code=exit_code, steps=reports)


def _filled(step: Step, before: Sequence[StepReport], options: StoreOptions | None) -> Step:
    """Return the step with what its braces stand for."""
    known = {report.name: report.report or {} for report in before}

    def told(match: re.Match[str]) -> str:
        name, field = match.groups()
        of = known[name]
        if field not in of:
            raise ConfigError(f"step {step.name!r}: the report of {name!r} has no {field!r}.{nearest(field, of)}")
        return str(of[field])

    step = step.model_copy(update={"command": tuple(_REFERENCE.sub(told, word) for word in step.command)})
    if not any(_INPUTS in word for word in step.command):
        return step
    digest = sha256_hex(canonical_json([place_fingerprint(place, options) for place in _reads(step)]))[:12]
    return step.model_copy(update={"command": tuple(word.replace(_INPUTS, digest) for word in step.command)})


def _reads(step: Step) -> list[str]:
    named = places(step.command) if step.inputs is None else step.inputs
    return [place for place in named if _INPUTS not in place]


def _run_step(step: Step, store: Store, options: StoreOptions | None) -> StepReport:
    started = time.monotonic()
    memory = _recall(store, step)
    is_soon = memory is not None and datetime.now(UTC) - memory.finished < timedelta(days=step.every_days)
    if memory is not None and (is_soon or memory.fingerprint == step_fingerprint(step, options)):
        seconds = round(time.monotonic() - started, 3)
        return StepReport(name=step.name, outcome="skipped", exit_code=None, seconds=seconds, report=memory.report)
    exit_code, report = _call(portable(step.command).argv, step)
    if exit_code == 0:
        # Taken afterwards: a step that writes where it reads (compact) is not to run for its own sake.
        done = _Memory(fingerprint=step_fingerprint(step, options), finished=datetime.now(UTC), report=report)
        store.put(_key(step), done.model_dump_json().encode())
    seconds = round(time.monotonic() - started, 3)
    outcome: Outcome = "failed" if exit_code else "done"
    return StepReport(name=step.name, outcome=outcome, exit_code=exit_code, seconds=seconds, report=report)


def _call(argv: Sequence[str], step: Step) -> tuple[int, dict[str, Any] | None]:
    """Run the command as it was typed (files lie here); return its exit code and what its --json printed."""
    as_json = ["--json"] if "--json" in argv and "--json" not in step.command else []
    done = run_subcommand([*step.command, *as_json])
    try:
        report = json.loads(done.stdout)
    except ValueError:
        sys.stderr.buffer.write(done.stdout)
        report = None
    return done.exit_code, report if isinstance(report, dict) else None


def step_fingerprint(step: Step, options: StoreOptions | None = None) -> str:
    """Return the sha256 over a step's command, its files, and the content of all that it reads."""
    read = [place_fingerprint(place, options) for place in _reads(step)]
    return sha256_hex(canonical_json([portable(step.command).sha256, read]))


def place_fingerprint(place: str, options: StoreOptions | None = None) -> str:
    """Return a digest that changes with what stands at a URI or path: dataset, object or folder; "" for nothing.

    A dataset is its newest fingerprint. Objects count by key, size and etag: nothing is read.
    """
    store = Store.open(place, options)
    manifest = load_manifest(store)
    if manifest is not None:
        return manifest.fingerprint
    try:
        parent, name = open_parent(place, options)
        info = parent.head(name)
    except (NotFound, ConfigError):
        rows = sorted((info.key, info.num_bytes, info.etag) for page in store.list() for info in page)
        return sha256_hex(canonical_json(rows)) if rows else ""
    return sha256_hex(canonical_json([info.num_bytes, info.etag]))


def _recall(store: Store, step: Step) -> _Memory | None:
    try:
        return _Memory.model_validate_json(store.get(_key(step)))
    except NotFound:
        return None


def _key(step: Step) -> str:
    return f"steps/{step.name}.json"
