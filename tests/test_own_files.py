"""A user's own task and decoder files, outside the project: every command takes them, and their content counts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from unlabeled.jobs.materialize import Materialize
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import StoreOptions

from tests import samples
from tests.ray_head import start_head
from tests.runs import Place, cli, files_of, jpeg, manifest_of, rows_of

TASK = '''
from dataclasses import dataclass

from unlabeled.pipeline.features import Features, class_label, image
from unlabeled.pipeline.task import Example, Modality, Objective, PretextTask, setting

def mirrored(pixels):
    return pixels[:, ::-1]

@dataclass(frozen=True)
class Mirrored(PretextTask):
    """Predict whether a picture was mirrored."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    side_px: int = setting(32, "side of the square", unit="px", at_least=8)

    def features(self):
        return Features.of(image=image("the square"), label=class_label(("no", "yes"), "mirrored"))

    def square(self, item):
        return item.crop((0, 0, item.width_px, item.height_px), self.side_px, self.side_px)

    def examples(self, item, rng):
        pixels = self.square(item)
        for draw, label in enumerate(rng.order(2)):
            yield Example(draw, {"image": mirrored(pixels) if label else pixels, "label": int(label)})

    def rederive(self, row, item):
        stored, pixels = row["image"].astype(int), self.square(item)
        return {"label": int(abs(stored - mirrored(pixels)).mean() < abs(stored - pixels).mean())}
'''

DECODER = '''
"""Pictures as a drum scanner writes them: width and height, two bytes each, then grey values."""

import numpy as np

SUFFIXES = (".drum",)
MEDIA = "image"


def decode(data):
    width, height = np.frombuffer(data[:4], "<u2")
    return np.frombuffer(data[4:], np.uint8).reshape(height, width)
'''


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(str(tmp_path), StoreOptions())


def write(folder: Path, name: str, text: str) -> str:
    path = folder / "files" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def answer(*arguments: str) -> dict[str, Any]:
    done = cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_command_takes_a_task_of_the_users_own(place: Place, tmp_path: Path) -> None:
    for number in range(4):
        place.store("in").put(f"{number}.jpg", jpeg(number))
    task = write(tmp_path, "users_mirrored.py", TASK)
    where = ("--task", task, "--input", place.path("in"), "--output", place.path("out"))
    (listed,) = answer("tasks", "--task", task)["tasks"]
    assert (listed["name"], listed["settings"][0]["name"]) == ("users_mirrored", "side_px")
    planned = answer("plan", *where, "--set", "task.side_px=40")
    assert (planned["task"], planned["estimated_num_examples"]) == ("users_mirrored", 8)
    made = answer("materialize", *where, "--set", "task.side_px=40", "--num-cpus", "1")
    assert (made["num_used"], made["num_examples"]) == (4, 8)
    shown = answer("show", place.path("out"))
    assert (shown["task"], shown["settings"]) == ("users_mirrored", {"side_px": 40})
    rows = rows_of(place.store("out")).to_pylist()
    assert {Image.open(io.BytesIO(row["image"]["bytes"])).size for row in rows} == {(40, 40)}
    verified = answer("verify", place.path("out"), "--rederive", "1", "--task", task)
    assert (verified["ok"], verified["num_rederived_rows"]) == (True, 8)
    assert answer("preview", place.path("out"), "--out", str(tmp_path / "page.html"))["num_examples"] == 8


def test_a_task_that_cannot_make_its_labels_again_is_named(place: Place, tmp_path: Path) -> None:
    place.store("in").put("1.jpg", jpeg(1))
    task = write(tmp_path, "users_once.py", TASK.partition("    def rederive")[0])
    answer(*("materialize", "--task", task, "--input", place.path("in"), "--output", place.path("out")))
    done = cli("verify", place.path("out"), "--rederive", "1", "--task", task)
    assert (done.returncode, "users_once has no method `rederive(row, item)`" in done.stderr) == (2, True)


@pytest.mark.slow
def test_a_task_and_a_decoder_are_audited_trained_on_and_sent_to_a_cluster(place: Place, tmp_path: Path) -> None:
    for number in range(40):
        grey = samples.photograph(number, 56, 48)[:, :, 0]
        place.store("in").put(f"{number}.drum", np.array([56, 48], "<u2").tobytes() + grey.tobytes())
    files = ("--task", write(tmp_path, "users_drums.py", TASK), "--decoder", write(tmp_path, "drum.py", DECODER))
    made = ("materialize", *files, "--input", place.path("in"), "--output", place.path("out"))
    answer(*made, "--num-cpus", "1")
    audited = answer("audit", place.path("out"), "--no-meaning", "--num-cpus", "1", "--max-examples", "80")
    assert (audited["task"], audited["num_examples"]) == ("users_drums", 80)
    size = ("--encoder", "resnet-small", "--epochs", "1", "--batch-size", "16", "--num-workers", "0")
    trained = answer("pretrain", "--data", place.path("out"), "--output", place.path("run"), *size)
    assert trained["task"] == "users_drums"
    head = start_head()
    try:
        for work in ((*made[:-1], place.path("sent")), ("verify", place.path("sent"), "--rederive", "1", *files)):
            done = cli("submit", "--address", head.address, "--ship-wheel", "--follow", "--", *work, env=head.env)
            assert done.returncode == 0, done.stderr
    finally:
        head.kill()
    assert files_of(place.store("sent")) == files_of(place.store("out"))


def shard_ids(place: Place, task: str, decoders: tuple[str, ...] = ()) -> list[str]:
    """Return the ids of the shards that would be made, as a run would name them."""
    from unlabeled.pipeline.materialize import draft_new_plan, load_base

    spec = Materialize([task], place.path("in"), place.path("none"), decoders=decoders)
    (output,) = spec.outputs()
    inventory = spec.inventory(None)
    request = spec._request([output], inventory, place.store("in"))
    _, draft, _ = draft_new_plan(request, output, load_base(output.target), inventory)
    assert draft is not None
    ids: list[str] = draft.shards.shards["shard_id"].to_pylist()
    return ids


def test_editing_a_tasks_file_changes_the_ids_of_its_shards(place: Place, tmp_path: Path) -> None:
    place.store("in").put("1.jpg", jpeg(1))
    task = write(tmp_path, "users_edited.py", TASK)
    before = shard_ids(place, task)
    assert shard_ids(place, task) == before
    write(tmp_path, "users_edited.py", TASK + "\n# edited\n")
    assert not set(before) & set(shard_ids(place, task))


def test_editing_a_decoders_file_changes_the_ids_of_shards(place: Place, tmp_path: Path) -> None:
    place.store("in").put("1.jpg", jpeg(1))
    decoder = write(tmp_path, "drum.py", DECODER)
    ids = [shard_ids(place, "image_rotation"), shard_ids(place, "image_rotation", (decoder,))]
    write(tmp_path, "drum.py", DECODER + "\n# edited\n")
    ids.append(shard_ids(place, "image_rotation", (decoder,)))
    assert len({name for one in ids for name in one}) == sum(map(len, ids))


def test_a_decoder_of_the_users_own_is_used_for_its_suffix_and_no_other(place: Place, tmp_path: Path) -> None:
    pixels = samples.photograph(1, 56, 48)[:, :, 0]
    place.store("in").put("scan.DRUM", np.array([56, 48], "<u2").tobytes() + pixels.tobytes())
    place.store("in").put("short.drum", np.array([56, 48], "<u2").tobytes() + b"123")
    place.store("in").put("photograph.jpg", jpeg(2))
    decoder = write(tmp_path, "drum.py", DECODER)
    where = ("--task", "image_rotation", "--input", place.path("in"), "--output", place.path("out"))
    sets = ("--set", "task.side_px=32", "--decoder", decoder)
    assert answer("plan", *where, *sets)["estimated_num_examples"] > 0
    made = answer("materialize", *where, *sets, "--num-cpus", "1")
    assert (made["num_used"], made["rejected_by_reason"]) == (2, {"corrupt": 1})
    codecs = {row["source_key"]: row["source_codec"] for row in rows_of(place.store("out")).to_pylist()}
    assert codecs == {"scan.DRUM": "drum", "photograph.jpg": "jpeg"}
    (named,) = manifest_of(place.store("out")).recipe.decoders
    assert (named.name, named.media, named.suffixes) == ("drum", "image", (".drum",))


def test_a_decoder_for_another_medium_is_refused_by_name(place: Place, tmp_path: Path) -> None:
    decoder = write(tmp_path, "drum.py", DECODER)
    spec = Materialize(["text_sentence_order"], place.path("in"), place.path("out"), decoders=[decoder])
    with pytest.raises(ConfigError, match="drum makes MEDIA = 'image', but text_sentence_order reads text"):
        spec.outputs()


def test_a_rate_that_no_decoder_gives_is_refused_by_both_names(place: Place) -> None:
    settings = {"audio_masked_spectrogram": {"sample_rate_hz": 8000}}
    spec = Materialize(["audio_masked_spectrogram"], place.path("in"), place.path("out"), task_settings=settings)
    with pytest.raises(ConfigError, match=r"`task\.sample_rate_hz` is 8000, but `decode\.audio_rate_hz` is 16000"):
        spec.outputs()
