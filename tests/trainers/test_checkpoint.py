"""Complete or absent, whatever dies in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.storage import Store
from unlabeled.trainers.checkpoint import FOLDER, Checkpoints


def state(number: float) -> dict[str, Any]:
    return {"step": int(number), "model": {"weight": torch.full((3,), number)}}


def save(store: Store, *steps: int, keep: int = 2) -> None:
    checkpoints = Checkpoints(store, keep)
    for step in steps:
        checkpoints.save(step, state(step))
    checkpoints.close()


def test_the_newest_committed_state_is_read_back(store: Store) -> None:
    save(store, 5, 12)
    checkpoints = Checkpoints(store)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 12
    assert torch.equal(checkpoints.load(newest)["model"]["weight"], torch.full((3,), 12.0))


def test_a_run_without_checkpoints_has_none(store: Store) -> None:
    assert Checkpoints(store).newest() is None
    with pytest.raises(NotFound):
        Checkpoints(store).at(3)


def test_a_state_without_commit_does_not_count(store: Store) -> None:
    save(store, 5, 12)
    store.delete([f"{FOLDER}/step-00000012.json"])
    newest = Checkpoints(store).newest()
    assert newest is not None
    assert newest.step == 5


def test_a_commit_is_never_replaced(store: Store) -> None:
    save(store, 5)
    before = Checkpoints(store).newest()
    late = Checkpoints(store)
    late.save(5, state(99))  # a writer that was thought dead
    late.close()
    assert Checkpoints(store).newest() == before


def test_only_the_newest_are_kept(store: Store) -> None:
    save(store, 1, 2, 3, 4, keep=2)
    names = sorted(info.key.rpartition("/")[2] for page in store.list(FOLDER) for info in page)
    assert [name for name in names if name.endswith(".json")] == ["step-00000003.json", "step-00000004.json"]
    assert len(names) == 4


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    save(store, 5)
    (path,) = (tmp_path / FOLDER).glob("*.pt")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    checkpoints = Checkpoints(store)
    newest = checkpoints.newest()
    assert newest is not None
    with pytest.raises(CorruptData, match=path.name):
        checkpoints.load(newest)


def test_what_went_wrong_beside_the_training_is_raised_with_the_next_call(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where a folder is needed")
    checkpoints = Checkpoints(Store.open(tmp_path))
    checkpoints.save(1, state(1))
    with pytest.raises(Exception, match=FOLDER):
        checkpoints.wait()
