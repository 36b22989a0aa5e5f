"""Pretrain an encoder on a dataset: what the loop needs is made of a dataset's manifest and a run's settings.

RUN/run.json, RUN/result.json    see `run`
RUN/checkpoints/                 see `checkpoint`
RUN/tensorboard/                 curves
RUN/encoder/                     for load_encoder and transformers.AutoModel.from_pretrained, with its model card
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..pipeline.errors import ConfigError
from ..pipeline.manifest import Manifest, read_asset
from ..pipeline.storage import Store
from ..pipeline.tokenizer import ASSET as TOKENIZER
from .augment import NUM_DRAWS, AugmentSettings, augment
from .checkpoint import Checkpoints
from .config import PretrainSettings
from .data import Batch, Loader, LoaderSettings
from .device import Compute, decide
from .encoders.build import from_spec, save_encoder
from .encoders.encoder import Encoder
from .keyed import keyed_uniform
from .loader_processes import num_processes_for
from .loop import Report, Stretch, Surroundings, Trained, train
from .material import material
from .metrics import Sinks
from .mixture import DataShare
from .model_card import model_card
from .objectives.base import PretextObjective
from .objectives.build import build_objective
from .objectives.shapes import Material
from .parallel import compile_blocks, whole_state
from .ranks import Ranks
from .run import PretrainResult, Run, finish, freeze, resolve
from .sequence import Last, num_shares_of, world_sizes
from .source import open_source

_DRAWS = "augment_draws"


def prepare(data: str | Sequence[DataShare], output: str, settings: PretrainSettings) -> Run:
    """Return the run that begins or goes on at `output`, after checking that it can: nothing is trained yet.

    Args:
        data: location of a dataset; or several, each with its share of every run of batches.
        output: location of the run.
        settings: see PretrainSettings.

    Raises:
        ConfigError: a setting does not fit the data, datasets cannot be mixed, or another run stands at `output`
            (names the setting).
        NotFound: there is no such dataset.
    """
    run = resolve(data, output, settings)
    found = material(run)
    objective = build_objective(found, settings)
    if settings.compute.micro_batch_size and not objective.accumulates:
        raise ConfigError(
            f"`compute.micro_batch_size`: {found.manifest.objective} compares the examples of a batch with each "
            "other, so it cannot be cut; lower `batch_size` instead."
        )
    if settings.run.min_workers is not None and settings.run.min_workers > settings.run.num_workers:
        raise ConfigError(
            f"`run.min_workers`: found {settings.run.min_workers}, expected at most `run.num_workers` "
            f"({settings.run.num_workers})."
        )
    _loader(run, objective, Ranks(0, max(1, settings.run.num_workers)), settings.compute.num_loader_processes or 0)
    freeze(run)
    return run


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
    loader = _loader(run, objective, ranks, feeding_processes(run, data.manifest, compute, ranks.world_size))
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
    finish(result)
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


def _loader(run: Run, objective: PretextObjective, ranks: Ranks, num_processes: int = 0) -> Loader:
    more = {"seed": run.settings.seed, "num_processes": num_processes}
    return Loader(run.shares, _loader_settings(run, objective, ranks, **more))


def possible_world_sizes(run: Run) -> list[int]:
    """Return on how many workers the run may go on when a machine is lost, the most first."""
    settings = run.settings
    num_bundles = settings.batch_size // material(run).manifest.bundle_size
    fewest = settings.run.min_workers or settings.run.num_workers
    return world_sizes(settings.run.num_workers, fewest, settings.num_lanes, num_bundles)


def feeding_processes(run: Run, manifest: Manifest, compute: Compute, world_size: int) -> int:
    """Return how many processes load for one worker: as set, else what keeps a GPU fed without holding it up."""
    settings = run.settings
    if settings.compute.num_loader_processes is not None:
        return settings.compute.num_loader_processes
    if compute.device.type == "cpu":
        return 0
    num_cpus = len(os.sched_getaffinity(0)) // torch.cuda.device_count()
    num_shares = num_shares_of(world_size, settings.num_lanes, settings.batch_size // manifest.bundle_size)
    return num_processes_for(num_cpus, settings.compute.num_loader_threads, num_shares)


def _loader_settings(run: Run, objective: PretextObjective, ranks: Ranks, **settings: Any) -> LoaderSettings:
    return LoaderSettings(
        global_batch_size=run.settings.batch_size,
        num_lanes=run.settings.num_lanes,
        rank=ranks.rank,
        world_size=ranks.world_size,
        columns=objective.columns,
        num_threads=run.settings.compute.num_loader_threads,
        **settings,
    )


def _validation(run: Run, objective: PretextObjective, ranks: Ranks) -> Callable[[], Iterable[Batch]] | None:
    """Return what iterates over the val split of each dataset once; None if there is nothing to validate on.

    Its last batch is filled up, or dropped where the examples of a source must not share a batch.
    """
    loaders = []
    for share in run.shares:
        source = open_source(share.dataset, "val", objective.columns, version=share.version)
        is_apart = source.manifest.batching == "apart"
        num_apart = np.unique(source.apart()).size if is_apart else int(source.num_rows.sum())
        if num_apart >= (run.settings.batch_size if is_apart else 1):
            last: Last = "drop" if is_apart else "pad"
            loaders.append(Loader([share], _loader_settings(run, objective, ranks, split="val", last=last)))
    if not loaders:
        return None
    return lambda: itertools.chain.from_iterable(loader.batches(0, loader.steps_per_epoch) for loader in loaders)


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
        data=run.data,
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
        if TOKENIZER in manifest.assets and encoder.spec.medium == "text":
            tokenizer = read_asset(Store.open(run.data[0].dataset), manifest.assets[TOKENIZER])
            Path(scratch, TOKENIZER).write_bytes(tokenizer)
        shown = {**result.metrics, "seconds": result.seconds, **result.compute}
        card = model_card(manifest, run.data, encoder.spec, run.settings.model_dump(mode="json"), shown)
        Path(scratch, "README.md").write_text(card, encoding="utf-8")
        for path in sorted(Path(scratch).iterdir()):
            store.put(f"{name}/{path.name}", path.read_bytes())
