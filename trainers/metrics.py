"""Where reports go: a line that people read, TensorBoard, a file of JSON lines, and MLflow where its URI is set."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..pipeline.errors import ConfigError
from ..pipeline.storage import Store
from .loop import Report

#: Not curves of their own: the axis.
_AXES = ("step", "epoch", "num_examples")


def progress_line(report: Report, num_steps: int, num_epochs: float, seconds_left: float = math.nan) -> str:
    """Return a report as people read it, on one line."""
    if "loss" not in report:
        return f"epoch {report['epoch']:.2f}: validation {_scores(report, 'val_')}"
    parts = [
        f"epoch {report['epoch']:.2f} of {num_epochs:g}, step {report['step']:.0f} of {num_steps}",
        _scores(report),
        f"{report['examples_per_second']:,.0f} examples/s",
        f"{100 * report['data_wait_fraction']:.0f} % waiting for data",
        f"lr {report['learning_rate']:.2g}",
    ]
    if math.isfinite(seconds_left):
        parts.append(f"{seconds_left / 60:.0f} min left" if seconds_left >= 90 else f"{seconds_left:.0f} s left")
    return ", ".join(parts)


def _scores(report: Report, prefix: str = "") -> str:
    names = [name for name in report if name.startswith(prefix) and name.removeprefix(prefix) not in _NOT_SCORES]
    names = [name for name in names if prefix or not name.startswith("val_")]
    return ", ".join(_score(name.removeprefix(prefix), report[name]) for name in names)


_NOT_SCORES = (*_AXES, "learning_rate", "grad_norm", "examples_per_second", "data_wait_fraction")


def _score(name: str, value: float) -> str:
    return f"{name} {100 * value:.1f} %" if name.startswith("accuracy") else f"{name} {value:.4g}"


class Sinks:
    """Everything that a run's reports go to; on the first worker.

    Args:
        store: of the run; `metrics.jsonl` and `tensorboard/` are written there.
        start_step: where the run goes on: TensorBoard forgets what a killed run wrote beyond it.
        settings: shown in MLflow as parameters.
        others: further receivers.
    """

    def __init__(
        self, store: Store, start_step: int, settings: Mapping[str, Any], *others: Callable[[Report], None]
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._store = store
        path = store.local_path("tensorboard")
        self._scratch = None if path else tempfile.TemporaryDirectory()
        self._folder = path or Path(self._scratch.name)  # type: ignore[union-attr]
        self._board: Any = SummaryWriter(str(self._folder), purge_step=start_step or None)
        self._receivers = [self._to_board, *others]
        self._mlflow = Mlflow(store.uri, settings) if os.environ.get("MLFLOW_TRACKING_URI") else None
        if self._mlflow is not None:
            self._receivers.append(self._mlflow)

    def __call__(self, report: Report) -> None:
        """Hand a report to all receivers."""
        for receive in self._receivers:
            receive(report)

    def _to_board(self, report: Report) -> None:
        for name, value in report.items():
            if name not in _AXES and math.isfinite(value):
                self._board.add_scalar(name, value, int(report["step"]))

    def close(self) -> None:
        """Write out what is buffered; for a remote run, put the event files there."""
        self._board.close()
        if self._mlflow is not None:
            self._mlflow.close()
        if self._scratch is not None:
            for path in sorted(self._folder.iterdir()):
                self._store.put(f"tensorboard/{path.name}", path.read_bytes())
            self._scratch.cleanup()


class Mlflow:
    """Reports as an MLflow run named after the training run; a run that goes on adds to its own.

    Args:
        name: of the run.
        settings: nested; logged as parameters under dotted names.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise ConfigError("MLFLOW_TRACKING_URI is set: it needs pip install 'unlabeled[mlflow]'.") from error
        self._mlflow = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "unlabeled"))
        found = mlflow.search_runs(filter_string=f"tags.unlabeled_run = {json.dumps(name)}", output_format="list")
        self._run = mlflow.start_run(run_id=found[0].info.run_id) if found else mlflow.start_run(run_name=name)
        if not found:
            mlflow.set_tag("unlabeled_run", name)
            mlflow.log_params(flat(settings))

    def __call__(self, report: Report) -> None:
        """Log what is finite."""
        values = {name: value for name, value in report.items() if name != "step" and math.isfinite(value)}
        self._mlflow.log_metrics(values, step=int(report["step"]), run_id=self._run.info.run_id)

    def close(self) -> None:
        """End the MLflow run; the next of its name opens it again."""
        self._mlflow.end_run()


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
