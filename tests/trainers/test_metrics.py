from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.metrics import Sinks, flat, progress_line

REPORT = {
    "step": 40.0,
    "epoch": 0.5,
    "num_examples": 640.0,
    "loss": 1.2345678,
    "accuracy": 0.456,
    "learning_rate": 0.0123,
    "grad_norm": 3.0,
    "examples_per_second": 1234.5,
    "data_wait_fraction": 0.012,
}


def test_a_line_that_people_read() -> None:
    assert progress_line(REPORT, 80, 1, 100) == (
        "epoch 0.50 of 1, step 40 of 80, loss 1.235, accuracy 45.6 %, 1,234 examples/s, 1 % waiting for data, "
        "lr 0.012, 2 min left"
    )


def test_a_validation_has_a_line_of_its_own() -> None:
    assert progress_line({"step": 40, "epoch": 1.0, "val_loss": 1.5, "val_accuracy": 0.25}, 80, 1) == (
        "epoch 1.00: validation loss 1.5, accuracy 25.0 %"
    )


def test_tensorboard_reads_the_curves_and_forgets_what_a_killed_run_wrote_beyond(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store = Store.open(tmp_path)
    for start, steps in ((0, (10, 20, 30)), (20, (25,))):
        sinks = Sinks(store, start, {})
        for step in steps:
            sinks({**REPORT, "step": step, "loss": start + step})
        sinks.close()
    events: Any = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(10, 10.0), (25, 45.0)]
    assert "step" not in events.Tags()["scalars"]


def test_a_remote_run_gets_its_event_files_when_it_closes(store: Store) -> None:
    sinks = Sinks(store, 0, {})
    sinks(REPORT)
    sinks.close()
    names = [info.key for page in store.list("tensorboard") for info in page]
    assert len(names) == 1


def test_mlflow_gets_parameters_and_curves_where_its_uri_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need the whole of mlflow
    for _ in range(2):  # a run that goes on adds to its own
        sinks = Sinks(Store.open(tmp_path / "run"), 0, {"optimizer": {"name": "sgd"}})
        sinks(REPORT)
        sinks.close()
    (found,) = mlflow.search_runs(experiment_names=["unlabeled"], output_format="list")
    assert found.data.params == {"optimizer.name": "sgd"}
    assert found.data.metrics["accuracy"] == 0.456


def test_nested_settings_get_dotted_names() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": 2}) == {"a.b": 1, "d": 2}
