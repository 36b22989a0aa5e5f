"""Sources that a user's task dies of: the run ends, names them, and makes all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unlabeled.pipeline.storage import StoreOptions

from tests.runs import Place, cli, jpeg, rows_of

TASK = '''
import ctypes, os, signal, time
from dataclasses import dataclass

from unlabeled.pipeline.features import Features, class_label, image
from unlabeled.pipeline.task import Example, Modality, Objective, PretextTask, setting

def segfault():
    ctypes.string_at(0)

def hang():
    ctypes.PyDLL(None).sleep(10_000)  # without giving the interpreter's lock back

def eat_memory():
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does with whom it takes the memory from

@dataclass(frozen=True)
class Fragile(PretextTask):
    """Dies of pictures that are 50 pixels wide."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION

    def features(self):
        return Features.of(image=image("the square"), label=class_label(("no", "yes"), "mirrored"))

    def examples(self, item, rng):
        if item.width_px == 50:
            {death}()
        pixels = item.crop((0, 0, item.width_px, item.height_px), 32, 32)
        for draw, label in enumerate(rng.order(2)):
            yield Example(draw, {{"image": pixels[:, ::-1] if label else pixels, "label": int(label)}})
'''
pytestmark = pytest.mark.chaos

_SMALL_SHARDS = ("--set", "shard.spread_min_num_bytes=4096", "--set", "shard.spread_num_shards=4")


@pytest.mark.parametrize("death", ["segfault", pytest.param("hang", marks=pytest.mark.slow), "eat_memory"])
def test_a_source_that_kills_the_worker_is_named_and_all_others_are_made(tmp_path: Path, death: str) -> None:
    place = Place(str(tmp_path), StoreOptions())
    for number in range(12):
        place.store("in").put(f"{number}.jpg", jpeg(number, 50 if number in (3, 7) else 56))
    task = tmp_path / f"fragile_{death}.py"
    task.write_text(TASK.format(death=death))
    arguments = (
        *("materialize", "--task", str(task), "--input", place.path("in"), "--output", place.path("out")),
        *(*_SMALL_SHARDS, "--set", "run.hang_seconds=5", "--num-cpus", "2", "--json"),
    )
    done = cli(*arguments, timeout=400)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["num_used"], report["rejected_by_reason"]) == (10, {"worker_death": 2})
    named = json.loads(cli("rejects", place.path("out"), "--json").stdout)
    assert [row["source_key"] for row in named["rejects"]] == ["3.jpg", "7.jpg"]
    assert named["num_transient"] == 2
    assert len(set(rows_of(place.store("out"))["source_key"].to_pylist())) == 10
