"""Opening versions of datasets, one or several as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.pipeline.errors import ConfigError, NotFound
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.source import joined, open_source

from tests.loading import labelled, turns


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return turns(tmp_path_factory.mktemp("turns"), 8)


def test_inputs_and_labels_are_read_by_default(store: Store) -> None:
    assert list(open_source(store.uri, "train").features) == ["image", "label"]


def test_the_readable_label_can_be_asked_for(store: Store) -> None:
    assert list(open_source(store.uri, "train", ["label_name"]).features) == ["label_name"]


@pytest.mark.parametrize("column", ["source_key", "crop_box", "lable"])
def test_a_trainer_reaches_inputs_and_labels_alone(store: Store, column: str) -> None:
    with pytest.raises(ConfigError, match=f"columns: found '{column}', expected inputs and labels: image, label"):
        open_source(store.uri, "train", [column])


def test_a_folder_without_a_dataset_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_source(str(tmp_path), "train")


def test_datasets_of_one_task_are_joined(store: Store) -> None:
    one = open_source(store.uri, "train")
    both = joined([one, open_source(store.uri, "val")])
    assert both.num_rows.tolist() == [*one.num_rows, *open_source(store.uri, "val").num_rows]


def test_datasets_that_differ_are_refused(store: Store, tmp_path: Path) -> None:
    other = open_source(labelled(tmp_path, 4).uri, "all")
    with pytest.raises(ConfigError, match=r"cannot be mixed .* its batching is any, expected together"):
        joined([open_source(store.uri, "all"), other])
