"""From argv, YAML and environment to typed settings: one place, so that every command reads them alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from ..pipeline.config import PartSettings, RunSettings, ShardSettings, StoreMode, parse
from ..pipeline.decode.limits import DecodeOptions, Limits
from ..pipeline.errors import ConfigError, nearest


class Settings(BaseModel):
    """The settings of `plan` and `materialize`: the keys of a `--config` file, and of `--set`.

    `task` holds the settings of the task itself; where several tasks run together, a section named after each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63, description="keys all randomness")
    val_fraction: float = Field(0.05, ge=0, lt=1, description="share of the groups that form the val split")
    group_by: str | None = Field(None, description="regular expression on the key, or a csv with source_key,group")
    dedup: Literal["off", "group", "drop"] = Field(
        "off", description="near-duplicates stay in one group, or all but one are dropped, or nobody looks for them"
    )
    store: StoreMode = Field(
        "pixels", description="examples as they are; or recipe: one crop a source and how they are made of it at load"
    )
    column: str | None = Field(None, description="bytes column of Parquet inputs, such as image.bytes")
    include: tuple[str, ...] = Field((), description="only sources whose key matches one of these globs")
    listing: str | None = Field(None, description="csv or Parquet listing (key,size,etag) used instead of listing")
    limits: Limits = Limits()
    decode: DecodeOptions = DecodeOptions()
    parts: PartSettings = PartSettings()
    shard: ShardSettings = ShardSettings()
    run: RunSettings = RunSettings()
    task: dict[str, Any] = Field(default_factory=dict, description="settings of the pretext task")


_SECTIONS = tuple(
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.get_default(call_default_factory=True), BaseModel | dict)
)


def load_settings(
    config: Path | None, assignments: Sequence[str], overrides: Mapping[str, Any], task_names: Sequence[str]
) -> tuple[Settings, dict[str, dict[str, Any]]]:
    """Return (settings, task name -> its settings) from a YAML file, `--set a.b=c` values and command options.

    Later sources win: file, then --set, then options. A section `task` goes to every task, a section named after a
    task to that one.

    Raises:
        ConfigError: no such file, not readable, not YAML, or an unknown or mistyped key, named with the nearest match.
    """
    sections_of_all = {*_SECTIONS, *task_names}
    # A section whose lines are all comments is read as null.
    data = {
        name: {} if value is None and name in sections_of_all else value
        for name, value in (_read_config(config) if config else {}).items()
    }
    for assignment in assignments:
        _assign(data, assignment)
    for name, value in overrides.items():
        if value is not None:
            _put(data, name.split("."), value, name)
    sections = {name: data.pop(name) for name in list(data) if name in task_names}
    common = data.get("task", {})
    for name, section in {"task": common, **sections}.items():
        if not isinstance(section, dict):
            raise ConfigError(f"setting `{name}`: found {section!r}, expected a section of settings.")
    _hint_task_settings(data)
    settings = parse(Settings, data)
    return settings, {name: {**common, **sections.get(name, {})} for name in task_names}


def assignments(settings: BaseModel, prefix: str = "") -> list[str]:
    """Return what differs from the defaults as `a.b=value`, the way `--set` takes it: `load_settings` undoes it."""
    found: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found += assignments(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            found += assignments_of(f"{prefix}{name}", value)
        elif value != field.get_default(call_default_factory=True):
            found.append(f"{prefix}{name}={_yaml(value)}")
    return found


def assignments_of(section: str, values: Mapping[str, Any]) -> list[str]:
    """Return a section of plain values as `section.name=value`."""
    return [f"{section}.{name}={_yaml(value)}" for name, value in values.items()]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: of on, off, yes and no, which some settings take as words, 1.1 makes true and false."""


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, words) for tag, words in known if tag != _BOOL]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def _from_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def _yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def read_settings(
    model: type[BaseModel], config: Path | None, assignments: Sequence[str], overrides: Mapping[str, Any]
) -> Any:
    """Return `model` from a YAML file, `--set a.b=c` values and command options; later sources win.

    Raises:
        ConfigError: as `load_settings`.
    """
    data = {name: value for name, value in (_read_config(config) if config else {}).items() if value is not None}
    for assignment in assignments:
        _assign(data, assignment)
    for name, value in overrides.items():
        if value is not None:
            _put(data, name.split("."), value, name)
    return parse(model, data)


def read_yaml(path: Path, name: str, expected: str) -> dict[str, Any]:
    """Return the mapping of a YAML file, {} of an empty one; errors call it `name` and say what was `expected`.

    Raises:
        ConfigError: no such file, not readable, not YAML, or no mapping.
    """
    try:
        data = _from_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no such file.") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: not YAML: {error}.") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected a mapping of {expected}, found {type(data).__name__}.")
    return data


def _read_config(path: Path) -> dict[str, Any]:
    return read_yaml(path, f"`--config {path}`", "settings")


def _assign(data: dict[str, Any], assignment: str) -> None:
    name, separator, text = assignment.partition("=")
    if not separator or not name:
        raise ConfigError(f"`--set {assignment}`: expected name=value, such as task.side_px=128.")
    try:
        value = _from_yaml(text) if text else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"`--set {assignment}`: {text!r} is not a value: {error}.") from error
    _put(data, name.split("."), value, name)


def _put(data: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise ConfigError(f"setting `{name}`: `{part}` is a value, not a section.")
    data[path[-1]] = value


def _hint_task_settings(data: Mapping[str, Any]) -> None:
    """Say so where a task's setting was given without its section: the commonest slip."""
    from ..pipeline.discover import all_setting_names

    for name in data:
        if name not in Settings.model_fields and name in all_setting_names():
            raise ConfigError(f"unknown setting `{name}`. Did you mean `task.{name}`?")
        if name not in Settings.model_fields:
            raise ConfigError(f"unknown setting `{name}`.{nearest(str(name), Settings.model_fields)}")
