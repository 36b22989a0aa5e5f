"""Pretrain an encoder on a dataset: what the loop needs is made of a dataset's manifest and a run's settings.

RUN/run.json        dataset, version, fingerprint and settings: frozen when the run begins
RUN/checkpoints/    see `checkpoint`
RUN/tensorboard/    curves
RUN/encoder/        for load_encoder and transformers.AutoModel.from_pretrained, with README.md, the model card
RUN/result.json     written last: the run is done
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..pipeline.config import FORMAT_VERSION, first_difference
from ..pipeline.errors import AlreadyExists, ConfigError, CorruptData, NotFound
from ..pipeline.ledger import checked_json, with_digest
from ..pipeline.manifest import Manifest, read_asset, require_manifest
from ..pipeline.storage import Store
from .augment import NUM_DRAWS, AugmentSettings, augment
from .checkpoint import Checkpoints
from .config import PretrainSettings
from .data import Batch, Loader, LoaderSettings, read_split
from .device import Compute, decide
from .encoders.build import from_spec, save_encoder
from .encoders.encoder import Encoder
from .keyed import keyed_uniform
from .loop import Report, Stretch, Surroundings, Trained, train
from .metrics import Sinks
from .model_card import model_card
from .objectives.base import PretextObjective
from .objectives.build import build_objective
from .objectives.shapes import Material
from .parallel import compile_blocks, whole_state
from .ranks import Ranks
from .source import open_source

_RUN, _RESULT = "run.json", "result.json"
#: Rows from which shapes are read.
_NUM_ROWS = 8
#: Rows from which mean and deviation of numbers are taken.
_NUM_NUMBERS = 2000
_DRAWS = "augment_draws"


class Run(BaseModel):
    """One resolved run: what was asked for, and which version of the dataset it is trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    version: int
    fingerprint: str
    output: str
    settings: PretrainSettings


class PretrainResult(BaseModel):
    """What a finished run says. metrics: the last report; compute: device, precision, layout and why."""

    model_config = ConfigDict(frozen=True)

    output: str
    dataset: str
    dataset_version: int
    fingerprint: str
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


def prepare(dataset: str, output: str, settings: PretrainSettings) -> Run:
    """Return the run that begins or goes on at `output`, after checking that it can: nothing is trained yet.

    Raises:
        ConfigError: a setting does not fit the dataset, or another run stands at `output` (names the setting).
        NotFound: there is no such dataset.
    """
    store = Store.open(output)
    frozen = _read(store, _RUN, Run)
    source = Store.open(dataset)
    manifest = require_manifest(source, frozen.version if frozen else None)
    run = Run(
        dataset=source.uri,
        version=manifest.version,
        fingerprint=manifest.fingerprint,
        output=store.uri,
        settings=settings,
    )
    _check_same(frozen, run, store)
    objective = build_objective(material(run), settings)
    if settings.compute.micro_batch_size and not objective.accumulates:
        raise ConfigError(
            f"`compute.micro_batch_size`: {manifest.objective} compares the examples of a batch with each other, so "
            "it cannot be cut; lower `batch_size` instead."
        )
    _loader(run, objective, Ranks(0, max(1, settings.run.num_workers)))
    if frozen is None:
        _create(store, _RUN, run)
    return run


def result_of(output: str) -> PretrainResult | None:
    """Return what the run at `output` came to, or None where it is not done."""
    result: PretrainResult | None = _read(Store.open(output), _RESULT, PretrainResult)
    return result


def material(run: Run) -> Material:
    """Return what is known of the run's dataset before training."""
    store = Store.open(run.dataset)
    manifest = require_manifest(store, run.version)
    features = manifest.typed_features()
    media = [
        name
        for name in features.with_role("input", "label")
        if features[name].kind in ("image", "audio") or name == "input_ids"
    ]
    rows = read_split(run.dataset, "train", media, _NUM_ROWS).columns
    assets = {name: read_asset(store, sha256) for name, sha256 in manifest.assets.items()}
    labels = [name for name in features.with_role("label") if features[name].dtype.startswith("float")]
    numbers = read_split(run.dataset, "train", labels, _NUM_NUMBERS).columns if labels else {}
    return Material(manifest, rows, assets, numbers)


def pretrain_here(
    run: Run,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    report: Callable[[Report], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PretrainResult | None:
    """Train in this process, as one of `ranks`; return the result on the first rank.

    Raises:
        Interrupted: `should_stop` said so; running again goes on.
        Diverged: the loss is not finite.
    """
    begin = time.perf_counter()
    settings, store = run.settings, Store.open(run.output)
    data = material(run)
    objective = build_objective(data, settings)
    is_convolutional = any(encoder.layer_names[0] == "stem" for encoder in objective.encoders.values())
    compute = decide(settings.compute, is_convolutional=is_convolutional, local_rank=ranks.local_rank)
    if settings.compute.compile:
        compile_blocks(objective)
    loader = _loader(run, objective, ranks)
    stretch = _stretch(settings, loader)
    checkpoints = Checkpoints(store, settings.run.keep_checkpoints)
    newest = checkpoints.newest()
    sinks = None
    if ranks.is_first:
        sinks = Sinks(store, newest.step if newest else 0, settings.model_dump(mode="json"), report)
    around = Surroundings(
        batches=loader.batches,
        arrange=_arranged(objective, run),
        validation=_validation(run, objective, ranks),
        arrange_validation=objective.arrange,
        report=sinks or report,
        should_stop=should_stop,
        checkpoints=checkpoints,
        prepare=_augmented(data, settings.augment),
    )
    try:
        trained = train(objective, settings.optimizer, stretch, around, compute, ranks, settings.compute.strategy)
    finally:
        checkpoints.close()
        if sinks is not None:
            sinks.close()
    encoders = _whole_encoders(trained)
    if not ranks.is_first:
        return None
    result = _result(run, data.manifest, trained, stretch, loader, compute, ranks, time.perf_counter() - begin)
    for name, encoder in encoders.items():
        _write_encoder(store, name, encoder, run, data.manifest, result)
    _create(store, _RESULT, result)
    return result


def _stretch(settings: PretrainSettings, loader: Loader) -> Stretch:
    per_epoch = loader.steps_per_epoch
    return Stretch(
        num_steps=max(1, round(settings.num_epochs * per_epoch)),
        steps_per_epoch=per_epoch,
        batch_size=settings.batch_size,
        seed=settings.seed,
        micro_batch_size=settings.compute.micro_batch_size,
        ema_decay=settings.ema_decay,
        log_steps=settings.run.log_steps,
        validate_steps=round(settings.validate_every_epochs * per_epoch),
        checkpoint_steps=settings.run.checkpoint_steps,
        checkpoint_seconds=settings.run.checkpoint_seconds,
    )


def _loader(run: Run, objective: PretextObjective, ranks: Ranks) -> Loader:
    settings = run.settings
    return Loader(
        run.dataset,
        LoaderSettings(
            global_batch_size=settings.batch_size,
            seed=settings.seed,
            num_lanes=settings.num_lanes,
            version=run.version,
            rank=ranks.rank,
            world_size=ranks.world_size,
            columns=objective.columns,
            num_threads=settings.compute.num_loader_threads,
        ),
    )


def _validation(run: Run, objective: PretextObjective, ranks: Ranks) -> Callable[[], Iterable[Batch]] | None:
    """Return what iterates over the val split once; None if there is nothing to validate on.

    Its last batch is filled up, or dropped where the examples of a source must not share a batch.
    """
    source = open_source(run.dataset, "val", objective.columns, version=run.version)
    settings = run.settings
    is_apart = source.manifest.batching == "apart"
    num_apart = np.unique(source.apart()).size if is_apart else int(source.num_rows.sum())
    if num_apart < (settings.batch_size if is_apart else 1):
        return None
    loader = Loader(
        run.dataset,
        LoaderSettings(
            global_batch_size=settings.batch_size,
            split="val",
            num_lanes=settings.num_lanes,
            version=run.version,
            last="drop" if is_apart else "pad",
            rank=ranks.rank,
            world_size=ranks.world_size,
            columns=objective.columns,
            num_threads=settings.compute.num_loader_threads,
        ),
    )
    return lambda: loader.batches(0, loader.steps_per_epoch)


def _arranged(objective: PretextObjective, run: Run) -> Callable[[Batch], Mapping[str, Any]]:
    """Return what arranges a batch for training: the objective's arrays, and draws for the augmentation."""

    def arrange(batch: Batch) -> Mapping[str, Any]:
        draws = keyed_uniform("augment", run.settings.seed, batch.epoch, batch.example_ids, NUM_DRAWS)
        return {**objective.arrange(batch), _DRAWS: draws}

    return arrange


def _augmented(data: Material, settings: AugmentSettings) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]:
    """Return what varies the pictures of a batch on the device, all of one example alike."""
    pictures = tuple(name for name, feature in data.features if feature.kind == "image" and name in data.rows)
    is_turned = "angle_deg" in data.features  # of rotation, and of tasks that follow it
    compared = data.manifest.modality == "image" and sum(_num_pictures(data.rows[name]) for name in pictures) > 1
    flip = settings.flip
    if flip == "auto":
        flip = "upright" if is_turned else "none" if compared else "horizontal"
    resolved = settings.model_copy(update={"flip": flip, **({"shift_fraction": 0.0} if compared else {})})

    def prepare(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        draws = tensors[_DRAWS]
        turns = tensors["label"] if resolved.flip == "upright" else None
        varied = {name: augment(tensors[name], draws, resolved, turns) for name in pictures if name in tensors}
        return {name: tensor for name, tensor in {**tensors, **varied}.items() if name != _DRAWS}

    return prepare


def _num_pictures(rows: Any) -> int:
    return int(np.prod(rows.shape[1:-3], dtype=np.int64))


def _whole_encoders(trained: Trained) -> Mapping[str, Encoder]:
    """Return the encoders with whole weights: the running mean's where there is one. Every rank must call it."""
    objective = trained.objective if trained.mean is None else trained.mean.module
    encoders: Mapping[str, Encoder] = objective.encoders  # type: ignore[assignment]
    whole = {name: from_spec(encoder.spec, seed=0) for name, encoder in encoders.items()}
    for name, encoder in encoders.items():
        whole[name].load_state_dict(whole_state(encoder))
    return whole


def _result(  # noqa: PLR0913, PLR0917 - the parts of a report
    run: Run,
    manifest: Manifest,
    trained: Trained,
    stretch: Stretch,
    loader: Loader,
    compute: Compute,
    ranks: Ranks,
    seconds: float,
) -> PretrainResult:
    encoder = trained.objective.encoder
    return PretrainResult(
        output=run.output,
        dataset=run.dataset,
        dataset_version=run.version,
        fingerprint=run.fingerprint,
        task=manifest.task,
        objective=manifest.objective,
        encoder=encoder.spec.name,
        num_parameters=sum(weights.numel() for weights in encoder.parameters()),
        num_steps=stretch.num_steps,
        num_examples=stretch.num_steps * stretch.batch_size,
        num_dropped_examples_per_epoch=loader.num_dropped_examples,
        world_size=ranks.world_size,
        start_step=trained.start_step,
        seconds=seconds,
        compute=dict(compute.describe()),
        metrics={name: value for name, value in trained.report.items() if value == value},  # noqa: PLR0124 - no NaN in JSON
    )


def _write_encoder(
    store: Store, name: str, encoder: Encoder, run: Run, manifest: Manifest, result: PretrainResult
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        save_encoder(encoder, scratch)
        shown = {**result.metrics, "seconds": result.seconds, **result.compute}
        card = model_card(manifest, run.dataset, encoder.spec, run.settings.model_dump(mode="json"), shown)
        Path(scratch, "README.md").write_text(card, encoding="utf-8")
        for path in sorted(Path(scratch).iterdir()):
            store.put(f"{name}/{path.name}", path.read_bytes())


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
