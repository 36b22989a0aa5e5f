"""Training fed by the loader beside the same loop on pictures that lie on the device already: interleaved rounds.

python -m tests.bench.bench_training --data ROTATION_DATASET [--encoder resnet-50] [--batch-size 256] [--steps 100]

On a GPU the loader keeps up where the ratio is near 1. On a CPU it says little: both share the cores (smoke test:
`--encoder resnet-small --batch-size 16 --steps 2 --rounds 1`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from unlabeled.trainers.augment import NUM_DRAWS, AugmentSettings, augment
from unlabeled.trainers.config import PretrainSettings
from unlabeled.trainers.data import Batch, Loader, LoaderSettings
from unlabeled.trainers.device import Compute, decide
from unlabeled.trainers.keyed import keyed_uniform
from unlabeled.trainers.loop import Report, Stretch, Surroundings, train
from unlabeled.trainers.material import material
from unlabeled.trainers.objectives.base import PretextObjective
from unlabeled.trainers.objectives.build import build_objective
from unlabeled.trainers.parallel import compile_blocks
from unlabeled.trainers.pretrain import feeding_processes
from unlabeled.trainers.run import Run, resolve

VARIED = AugmentSettings(flip="upright")
Tensors = Mapping[str, Tensor]


def varied(tensors: Tensors) -> Tensors:
    """Augment on the device, as `pretrain` does."""
    image = augment(tensors["image"], tensors["draws"], VARIED, tensors["label"])
    return {"image": image, "label": tensors["label"]}


def arranged(objective: PretextObjective, batch: Batch) -> dict[str, Any]:
    draws = keyed_uniform("augment", 0, batch.epoch, batch.example_ids, NUM_DRAWS)
    return {**objective.arrange(batch), "draws": draws}


def loaded(run: Run, objective: PretextObjective, compute: Compute) -> Surroundings:
    """Batches of the dataset."""
    manifest = material(run).manifest
    settings = LoaderSettings(
        global_batch_size=run.settings.batch_size,
        columns=objective.columns,
        num_processes=feeding_processes(run, manifest, compute, world_size=1),
        num_threads=run.settings.compute.num_loader_threads,
    )
    loader = Loader(run.shares, settings)
    return Surroundings(loader.batches, lambda batch: arranged(objective, batch), prepare=varied)


def resident(run: Run, compute: Compute, side_px: int) -> Surroundings:
    """One batch of noise, on the device before the first step."""
    num, rng = run.settings.batch_size, np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, (num, side_px, side_px, 3), np.uint8),
        "label": np.arange(num) % 4,
        "draws": rng.random((num, NUM_DRAWS), np.float32),
    }
    there = {name: torch.from_numpy(array).to(compute.device) for name, array in arrays.items()}
    ids = ("",) * num

    def batches(start: int) -> Iterator[Batch]:
        return (Batch(step, 0, ids, {}) for step in itertools.count(start))

    return Surroundings(batches, lambda batch: {}, prepare=lambda _: varied(there))


def speed(run: Run, around: Surroundings, compute: Compute, num_steps: int) -> Report:
    """Return the report on the second half of twice `num_steps` steps."""
    objective = build_objective(material(run), run.settings)
    if run.settings.compute.compile:
        compile_blocks(objective)
    stretch = Stretch(
        num_steps=2 * num_steps, steps_per_epoch=num_steps, batch_size=run.settings.batch_size, log_steps=num_steps
    )
    return train(objective, run.settings.optimizer, stretch, around, compute).report


def compared(run: Run, num_steps: int, rounds: int) -> dict[str, Any]:
    """Return examples a second of both, and the median of the rounds' ratios."""
    data = material(run)
    objective = build_objective(data, run.settings)
    compute = decide(run.settings.compute, is_convolutional=objective.encoder.layer_names[0] == "stem")
    ways: dict[str, Callable[[], Surroundings]] = {
        "loader": lambda: loaded(run, objective, compute),
        "resident": lambda: resident(run, compute, objective.encoder.spec.side_px),
    }
    found: dict[str, list[Report]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(speed(run, way(), compute, num_steps))
    speeds = {name: [report["examples_per_second"] for report in reports] for name, reports in found.items()}
    pairs = zip(speeds["loader"], speeds["resident"], strict=True)
    return {
        "device": torch.cuda.get_device_name() if compute.device.type == "cuda" else "cpu",
        "compute": compute.describe(),
        "encoder": objective.encoder.spec.name,
        "examples_per_second": {name: [round(one, 1) for one in of] for name, of in speeds.items()},
        "data_wait_fraction": [round(report["data_wait_fraction"], 4) for report in found["loader"]],
        "ratio": round(statistics.median(loader / resident for loader, resident in pairs), 3),
    }


def main(arguments: argparse.Namespace) -> dict[str, Any]:
    settings = PretrainSettings.model_validate(
        {
            "batch_size": arguments.batch_size,
            "encoder": {"name": arguments.encoder},
            "compute": {
                "compile": arguments.compile,
                "num_loader_processes": arguments.processes,
                "num_loader_threads": arguments.threads,
            },
        }
    )
    with tempfile.TemporaryDirectory() as scratch:
        run = resolve(str(arguments.data), str(Path(scratch, "run")), settings)
        return compared(run, arguments.steps, arguments.rounds)


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--encoder", default="resnet-50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    print(json.dumps(main(parsed()), indent=1))
