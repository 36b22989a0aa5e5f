"""Runs of a few steps in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlabeled.pipeline.storage import Store
from unlabeled.trainers.config import PretrainSettings
from unlabeled.trainers.loop import Report
from unlabeled.trainers.pretrain import prepare, pretrain_here
from unlabeled.trainers.run import PretrainResult


def settings(**changes: Any) -> PretrainSettings:
    """Return settings for ten steps of 16 examples in float32, a report a step; `changes` have dotted names."""
    nested: dict[str, Any] = {
        "num_epochs": 2,
        "batch_size": 16,
        "run": {"num_workers": 0, "log_steps": 1},
        "compute": {"precision": "float32"},
    }
    for name, value in changes.items():
        *sections, last = name.split(".")
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = value
    return PretrainSettings.model_validate(nested)


class Stopper:
    """Says stop when it is asked for the `num`-th time: after that step."""

    def __init__(self, num: int) -> None:
        self._left = num

    def __call__(self) -> bool:
        self._left -= 1
        return self._left == 0


def trained(
    dataset: Store, output: Path, of: PretrainSettings, reports: list[Report], should_stop: Any = lambda: False
) -> PretrainResult:
    """Train in this process and return the result."""
    result = pretrain_here(prepare(dataset.uri, str(output), of), report=reports.append, should_stop=should_stop)
    assert result is not None
    return result


def losses(reports: list[Report]) -> list[float]:
    """Return the training losses, report by report."""
    return [report["loss"] for report in reports if "loss" in report]
