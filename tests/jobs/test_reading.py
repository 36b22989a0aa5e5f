from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unlabeled.jobs import reading
from unlabeled.jobs.planned import print_rejects, print_shown
from unlabeled.pipeline import discover
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import NotFound
from unlabeled.pipeline.pretext.image_rotation import ImageRotation
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools

from tests.small_datasets import fill, jpeg, make, target

KEYS = [f"{number}.jpg" for number in range(8)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a dataset of two versions: eight photographs, one too small, and in the second version two rejects."""
    folder = tmp_path_factory.mktemp("reading")
    files = {**{key: jpeg(number) for number, key in enumerate(KEYS)}, "tiny.png": jpeg(0, 2, 2)}
    inputs, of = Store.open(str(fill(folder / "in", files))), target(folder / "out", seed=5)
    with Fence(Limits(), DecodeOptions()) as fence, ThreadPoolExecutor(1) as closing:
        tools = Tools(fence, folder, closing)
        make(of, inputs, tools)
        inputs.put("bad [1].jpg", b"no picture")
        Path(os.fsdecode(os.fsencode(inputs.uri) + b"/\xff.jpg")).write_bytes(b"a name that is not UTF-8")
        make(of, inputs, tools)
    return of.store.uri


def test_a_version_is_shown(dataset: str) -> None:
    shown = reading.show(dataset)
    assert (shown.dataset, shown.version, shown.versions) == (dataset, 2, [1, 2])
    assert (shown.task, shown.modality, shown.objective, shown.seed) == ("tiny", "image", "classification", 5)
    assert (shown.counts.num_sources, shown.counts.num_used, shown.counts.num_rejected) == (11, 8, 2)
    assert [column["name"] for column in shown.columns][:3] == ["label", "payload", "label_name"]
    assert set(shown.files) == {"train", "val"}
    for name in [*shown.files["train"], *shown.files["val"]]:
        assert Path(name).is_file()
    assert sum(map(len, shown.files.values())) == shown.counts.num_shards


def test_an_earlier_version_is_shown(dataset: str) -> None:
    shown = reading.show(dataset, version=1)
    assert (shown.version, shown.counts.num_sources, shown.counts.num_rejected) == (1, 9, 0)


@pytest.mark.parametrize("call", [reading.show, reading.rejects])
def test_nothing_stands_there(tmp_path: Path, call: object) -> None:
    assert callable(call)
    with pytest.raises(NotFound, match="no dataset stands here"):
        call(str(tmp_path))


def test_a_version_that_is_not_there_is_named(dataset: str) -> None:
    with pytest.raises(NotFound, match=r"no version 9; it has \[1, 2\]"):
        reading.show(dataset, version=9)


def test_dead_letters_are_listed_by_reason(dataset: str) -> None:
    listed = reading.rejects(dataset)
    assert (listed.version, listed.num_sources, listed.num_rejected, listed.num_transient) == (2, 11, 2, 0)
    assert listed.by_reason == {"unidentified": 1, "unsupported_key": 1}
    bad, unsupported = listed.rejects
    assert (bad.source_key, bad.stage, bad.reason, bad.attempt) == ("bad [1].jpg", "decode", "unidentified", 0)
    assert bad.message
    assert (unsupported.stage, unsupported.reason, unsupported.is_permanent) == ("list", "unsupported_key", True)
    assert unsupported.offset_bytes is None


def test_no_dead_letters(dataset: str) -> None:
    listed = reading.rejects(dataset, version=1)
    assert (listed.rejects, listed.by_reason) == ([], {})


def test_people_read_the_same(dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_shown(reading.show(dataset))
    out = capsys.readouterr().out
    assert f"{dataset}: tiny, version 2 of 2" in out
    assert "11 = 8 used + 1 filtered + 2 rejected" in out
    assert "1 too_small" in out
    assert "1 unidentified, 1 unsupported_key" in out
    print_rejects(reading.rejects(dataset))
    out = capsys.readouterr().out
    assert "2 of 11 sources rejected (18.18%), 0 of them transient" in out
    assert "bad [1].jpg" in out


def test_all_tasks_are_listed_with_their_settings() -> None:
    listed = {task.name: task for task in reading.tasks().tasks}
    assert sorted(listed) == discover.task_names()
    rotation = listed["image_rotation"]
    assert (rotation.modality, rotation.objective, rotation.version) == ("image", "classification", "2")
    assert rotation.summary == "Predict the quarter turn of a photograph (RotNet)."
    assert "ICLR 2018" in rotation.paper
    side = next(setting for setting in rotation.settings if setting.name == "side_px")
    assert (side.default, side.unit) == (ImageRotation().side_px, "px")
    assert side.doc
