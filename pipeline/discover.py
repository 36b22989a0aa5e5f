"""Finding pretext tasks: the built-in ones by listing their folder, a user's own by file path or `module:Class`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from .errors import ConfigError, nearest
from .task import PretextTask

TaskClass = type[PretextTask[Any]]
_FOLDER = Path(__file__).parent / "pretext"


def task_names() -> list[str]:
    """Return the names of the built-in tasks, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))


def find_task(spec: str) -> TaskClass:
    """Return the task class that `spec` names: a built-in name, `path/to/my_task.py`, or `package.module:Class`.

    Raises:
        ConfigError: no such task (with the nearest name), or the file holds none, or more than one.
    """
    if spec.endswith(".py"):
        return _only_task(_load_file(Path(spec)), spec)
    if ":" in spec:
        module_name, _, class_name = spec.partition(":")
        found = getattr(_import(module_name, spec), class_name, None)
        if not (inspect.isclass(found) and issubclass(found, PretextTask) and not inspect.isabstract(found)):
            raise ConfigError(f"`--task {spec}`: {class_name!r} in {module_name} is no PretextTask that can be used.")
        return found
    names = task_names()
    if spec not in names:
        raise ConfigError(
            f"unknown task {spec!r}.{nearest(spec, names)} `unlabeled tasks` lists all; your own file is given as "
            "`--task path/to/my_task.py`."
        )
    return _only_task(importlib.import_module(f".pretext.{spec}", __package__), spec)


def source_sha256(task: TaskClass) -> str:
    """Return the sha256 of the file that defines `task`: editing it changes what its examples may be."""
    return hashlib.sha256(Path(inspect.getfile(task)).read_bytes()).hexdigest()


def make_task(task: TaskClass, settings: Mapping[str, Any]) -> PretextTask[Any]:
    """Return the task with `settings` applied over its defaults.

    Raises:
        ConfigError: unknown or mistyped setting, or one out of bounds: names field, found, expected, nearest.
    """
    fields = [field.name for field in dataclasses.fields(task)]
    for name in settings:
        if name not in fields:
            raise ConfigError(
                f"task {task.name()} has no setting {name!r}.{nearest(name, fields)} It has: {', '.join(fields)}."
            )
    try:
        return TypeAdapter(task, config=_strict(task)).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"setting {task.name()}.{name}: found {first['input']!r}, expected: {first['msg']}."
        ) from None


def _strict(task: TaskClass) -> ConfigDict | None:
    # A dataclass carries its own pydantic configuration; TypeAdapter refuses a second one.
    task.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return None


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"`--task {path}`: there is no such file.")
    module_name = path.stem
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path.resolve()):
            return loaded
        raise ConfigError(f"`--task {path}`: a module named {module_name!r} is loaded already; rename the file.")
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"`--task {path}` cannot be loaded as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[module_name]
        raise ConfigError(f"`--task {path}` cannot be loaded: {type(error).__name__}: {error}.") from error
    return module


def _import(module_name: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"`--task {spec}`: {error}.") from error


def _only_task(module: ModuleType, spec: str) -> TaskClass:
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, PretextTask)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    ]
    if len(found) != 1:
        names = ", ".join(member.__name__ for member in found) or "none"
        raise ConfigError(f"`--task {spec}` must define exactly one PretextTask, but defines {names}.")
    return found[0]


def all_setting_names() -> set[str]:
    """Return the names of all settings of all built-in tasks."""
    return {field.name for name in task_names() for field in dataclasses.fields(find_task(name))}


def settings_of(task: PretextTask[Any]) -> dict[str, Any]:
    """Return a task's settings as plain JSON values, every field with its value."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        values[field.name] = list(value) if isinstance(value, tuple) else value
    return values
