"""Settings of a run. `Recipe` decides content and stands in the manifest; `RunSettings` only says how to get there."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from .decode.limits import DecodeOptions, Limits
from .errors import ConfigError
from .rng import canonical_json

FORMAT_VERSION = 1
StoreMode = Literal["pixels", "recipe"]
_LATER_DEFAULTS = {"dedup": "off", "store": "pixels"}


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardSettings(_Settings):
    """How examples are cut into files."""

    target_num_bytes: int = Field(256 * 2**20, ge=2**16, description="a shard is planned to hold at most this")
    spread_num_shards: int = Field(64, ge=1, description="small inputs are cut into up to this many shards ...")
    spread_min_num_bytes: int = Field(4 * 2**20, ge=2**12, description="... of at least this many bytes each")
    row_group_max_rows: int = Field(1000, ge=1, description="rows of a row group, at most")
    row_group_max_num_bytes: int = Field(16 * 2**20, ge=2**12, description="bytes of a row group, about, at most")


class PartSettings(_Settings):
    """Which sources are cut into parts that are worked on alone, and how large those are."""

    above_num_bytes: int = Field(256 * 2**20, ge=1, description="a source of more bytes is cut into parts ...")
    num_bytes: int = Field(64 * 2**20, ge=1, description="... of this many bytes (text: a line belongs to one part)")


class TaskRecipe(_Settings):
    """A pretext task and its settings, resolved: every field is there."""

    name: str
    version: str
    source_sha256: str = Field(description="sha256 of the file that defines the task")
    settings: dict[str, Any]


class DecoderRecipe(_Settings):
    """A user's decoder: which sources it decodes, and the sha256 of its file."""

    name: str
    media: str
    suffixes: tuple[str, ...]
    source_sha256: str


class Recipe(_Settings):
    """Everything that decides what a dataset's rows hold, besides the sources themselves."""

    format_version: Literal[1] = 1
    task: TaskRecipe
    seed: int = Field(0, ge=0, lt=2**63, description="keys all randomness")
    val_fraction: float = Field(0.05, ge=0, lt=1, description="share of the groups that form the val split")
    group_by: str | None = Field(None, description="regular expression on source_key, or a csv of source_key,group")
    group_csv_sha256: str | None = None
    dedup: Literal["off", "group", "drop"] = Field("off", description="what becomes of near-duplicates: see Settings")
    store: StoreMode = Field("pixels", description="examples as they are, or a crop and how they are made of it")
    column: str | None = Field(None, description="bytes column of Parquet inputs")
    include: tuple[str, ...] = Field((), description="globs on source_key; empty for all")
    limits: Limits = Limits()
    decode: DecodeOptions = DecodeOptions()
    decoders: tuple[DecoderRecipe, ...] = Field((), description="users' decoders of their own")
    parts: PartSettings = PartSettings()
    shard: ShardSettings = ShardSettings()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what this release added where it changes nothing: datasets made before keep their hash."""
        data: dict[str, Any] = handler(self)
        for name, default in _LATER_DEFAULTS.items():
            if data.get(name) == default:
                del data[name]
        return data

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the sha256 over all fields: the `recipe_hash` of every row."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json"))).hexdigest()[:16]


class RejectLimits(_Settings):
    """When rejects stop a run from publishing."""

    max_reject_fraction: float = Field(0.05, ge=0, le=1, description="of the resulting dataset's sources")
    max_rejects_min: int = Field(20, ge=0, description="this many rejects never stop a run")


class RunSettings(_Settings):
    """How a run is carried out; none of it changes a byte that a version names."""

    num_cpus: int | None = Field(None, ge=1, description="CPUs of a local Ray; default all")
    address: str | None = Field(None, description="address of a Ray cluster; default a local Ray")
    dashboard: bool = Field(False, description="start the Ray dashboard with a local Ray")
    worker_memory_bytes: int | None = Field(
        None, ge=2**28, description="memory to set aside for a worker with its decoder; default what `limits` may need"
    )
    lease_wait_seconds: float = Field(0, ge=0, description="wait so long for another run at work on the dataset")
    # Not what bounds a deadly source (trials do). A machine that is lost costs a dozen before Ray knows of it: each
    # connection that is refused counts.
    max_task_retries: int = Field(40, ge=0, description="how often Ray starts a task again after its worker died")
    hang_seconds: float = Field(
        600, gt=0, description="a worker that is busy with one source for so long, and a second a MiB of it, hangs"
    )
    rejects: RejectLimits = RejectLimits()
    licence: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        description="licence that the dataset card states, such as cc-by-4.0; later runs keep it",
    )


def parse(model: type[BaseModel], data: Mapping[str, Any], where: str = "") -> Any:
    """Return `model` with `data` applied.

    Raises:
        ConfigError: unknown or mistyped key: names field, found, expected and the nearest match.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        name = ".".join([where, *path] if where else path)
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"unknown setting `{name}`.{_did_you_mean(model, path, where)}") from None
        raise ConfigError(f"setting `{name}`: found {first.get('input')!r}, expected: {first['msg']}.") from None


def setting_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings of `model`."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths += setting_paths(field.annotation, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


def _did_you_mean(model: type[BaseModel], path: list[str], where: str) -> str:
    known = setting_paths(model, f"{where}." if where else "")
    wanted = ".".join([where, *path] if where else path)
    by_tail = [name for name in known if name.split(".")[-1] == path[-1]]
    close = by_tail or difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f" Did you mean `{close[0]}`?" if close else f" Known: {', '.join(known)}."


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> tuple[str, Any, Any] | None:
    """Return (dotted name, old, new) of the first setting that differs, or None."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            inner = first_difference(before, after, f"{prefix}{name}.")
            if inner:
                return inner
        elif before != after:
            return (prefix + name, before, after)
    return None
