"""A pretraining run's two records: what was asked for, frozen when it begins, and what it came to, written last.

RUN/run.json        datasets with shares, versions and fingerprints, and settings
RUN/result.json     the run is done
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..pipeline.config import FORMAT_VERSION, first_difference
from ..pipeline.errors import AlreadyExists, ConfigError, CorruptData, NotFound
from ..pipeline.ledger import checked_json, with_digest
from ..pipeline.manifest import require_manifest
from ..pipeline.storage import Store
from .config import PretrainSettings
from .mixture import DataShare

_RUN, _RESULT = "run.json", "result.json"


class TrainedOn(BaseModel):
    """A version of a dataset that a run is trained on.

    share: exact, of every run of batches, such as 7/10. num_examples: of its train split.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    share: str
    version: int
    fingerprint: str
    num_examples: int


class Run(BaseModel):
    """One resolved run: what was asked for, and which versions of which datasets it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[TrainedOn, ...]
    output: str
    settings: PretrainSettings

    @property
    def shares(self) -> tuple[DataShare, ...]:
        """What the loader takes."""
        return tuple(DataShare(each.dataset, Fraction(each.share), each.version) for each in self.data)


class PretrainResult(BaseModel):
    """What a finished run says. metrics: the last report; compute: device, precision, layout and why."""

    model_config = ConfigDict(frozen=True)

    output: str
    data: tuple[TrainedOn, ...]
    task: str
    objective: str
    encoder: str
    num_parameters: int
    num_steps: int
    num_examples: int
    num_dropped_examples_per_epoch: int
    world_size: int
    start_step: int
    seconds: float
    compute: dict[str, str]
    metrics: dict[str, float]


def resolve(data: str | Sequence[DataShare], output: str, settings: PretrainSettings) -> Run:
    """Return the run that begins or goes on at `output`, with the versions that it began with; writes nothing.

    Raises:
        ConfigError: another run stands at `output` (names the setting).
        NotFound: there is no such dataset.
    """
    store = Store.open(output)
    frozen = _read(store, _RUN, Run)
    known = {each.dataset: each.version for each in frozen.data} if frozen else {}
    shares = [DataShare(data)] if isinstance(data, str) else data
    run = Run(data=tuple(_trained_on(share, known) for share in shares), output=store.uri, settings=settings)
    _check_same(frozen, run, store)
    return run


def _trained_on(of: DataShare, known: dict[str, int]) -> TrainedOn:
    store = Store.open(of.dataset)
    manifest = require_manifest(store, known.get(store.uri, of.version))
    return TrainedOn(
        dataset=store.uri,
        share=str(Fraction(str(of.share))),
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        num_examples=manifest.splits["train"].num_examples,
    )


def freeze(run: Run) -> None:
    """Write the run's record, if it is not there yet."""
    _create(Store.open(run.output), _RUN, run)


def finish(result: PretrainResult) -> None:
    """Write that the run is done."""
    _create(Store.open(result.output), _RESULT, result)


def result_of(output: str) -> PretrainResult | None:
    """Return what the run at `output` came to, or None where it is not done."""
    result: PretrainResult | None = _read(Store.open(output), _RESULT, PretrainResult)
    return result


def _check_same(frozen: Run | None, run: Run, store: Store) -> None:
    """Raise ConfigError where the run that stands there was begun with other settings."""
    if frozen is None:
        return
    hows = {"settings": {"run": True}}
    before, now = (each.model_dump(mode="json", exclude=hows) for each in (frozen, run))
    difference = first_difference(before, now)
    if difference is not None:
        name, old, new = difference
        raise ConfigError(
            f"setting `{name.removeprefix('settings.')}`: found {new!r}, but the run at {store.uri} was begun with "
            f"{old!r}. Use that value, or another --output."
        )


def _read(store: Store, key: str, model: type[Any]) -> Any:
    try:
        data = store.get(key)
    except NotFound:
        return None
    body = checked_json(data, store.describe(key))
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise CorruptData(f"{store.describe(key)}: {error.errors()[0]}") from error


def _create(store: Store, key: str, value: BaseModel) -> None:
    try:
        store.create(key, with_digest({"format_version": FORMAT_VERSION, **value.model_dump(mode="json")}))
    except AlreadyExists:
        # Of the same run: settings were compared, and a result follows from them.
        return
