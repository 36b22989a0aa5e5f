from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from unlabeled.jobs.config import Settings
from unlabeled.jobs.materialize import Materialize
from unlabeled.pipeline.config import ShardSettings
from unlabeled.pipeline.errors import ConfigError, UnlabeledError
from unlabeled.pipeline.manifest import versions
from unlabeled.pipeline.materialize import materialize
from unlabeled.pipeline.storage import Store

from tests.small_datasets import Quiet, fill, jpeg

SMALL = Settings(
    shard=ShardSettings(spread_min_num_bytes=4096, spread_num_shards=8), task={"side_px": 32}, val_fraction=0.2
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {f"{number % 3}/{number}.jpg": jpeg(number, 48, 40) for number in range(12)}
    fill(tmp_path / "in", {**files, "0/small.png": jpeg(0, 8, 8)})
    return tmp_path


def run_of(folder: Path, *tasks: str, settings: Settings = SMALL, **changes: Any) -> Materialize:
    return Materialize(
        tasks=tasks or ["image_rotation"],
        input=str(folder / "in"),
        output=str(folder / "out"),
        settings=settings,
        **changes,
    )


def test_the_recipe_holds_what_decides_the_rows(folder: Path) -> None:
    settings = SMALL.model_copy(update={"seed": 7, "group_by": r"^(\d)/", "include": ("*.jpg",)})
    (output,) = run_of(folder, settings=settings).outputs()
    recipe = output.target.recipe
    assert (recipe.seed, recipe.group_by, recipe.include, recipe.val_fraction) == (7, r"^(\d)/", ("*.jpg",), 0.2)
    assert (recipe.task.name, recipe.task.settings["side_px"]) == ("image_rotation", 32)
    assert recipe.shard == SMALL.shard
    assert recipe.task.settings["turns"] == "all"


def test_how_it_is_run_changes_no_recipe(folder: Path) -> None:
    other = SMALL.model_copy(update={"run": SMALL.run.model_copy(update={"num_cpus": 3})})
    (one,), (two,) = run_of(folder).outputs(), run_of(folder, settings=other).outputs()
    assert one.target.recipe == two.target.recipe


def test_a_csv_of_groups_counts_by_its_content(folder: Path) -> None:
    data = b"source_key,group\n0/0.jpg,a\n"
    for name in ("groups.csv", "moved.csv"):
        (folder / name).write_bytes(data)
    recipes = []
    for name in ("groups.csv", "moved.csv"):
        (output,) = run_of(folder, settings=SMALL.model_copy(update={"group_by": str(folder / name)})).outputs()
        assert output.group_csv == data
        recipes.append(output.target.recipe)
    assert recipes[0] == recipes[1]
    assert (recipes[0].group_by, recipes[0].group_csv_sha256) == (None, hashlib.sha256(data).hexdigest())


def test_several_tasks_have_a_folder_each(folder: Path) -> None:
    run = run_of(
        folder,
        "image_rotation",
        "image_jigsaw",
        settings=Settings(),
        task_settings={"image_rotation": {"side_px": 48}},
    )
    targets = [output.target for output in run.outputs()]
    assert [Path(of.store.uri).relative_to(folder) for of in targets] == [
        Path("out/image_rotation"),
        Path("out/image_jigsaw"),
    ]
    assert targets[0].recipe.task.settings["side_px"] == 48


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["image_rotaton"], "unknown task 'image_rotaton'. Did you mean 'image_rotation'"),
        (["image_rotation", "image_rotation"], "each task once, but found image_rotation, image_rotation"),
        (["image_jigsaw", "audio_same_clip"], r"need one kind of media, but found \['audio', 'image'\]"),
    ],
)
def test_wrong_tasks_are_refused(folder: Path, tasks: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(folder, *tasks, settings=Settings()).outputs()


def test_no_task_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at least one pretext task is needed"):
        Materialize(tasks=[], input="in", output="out").outputs()


@pytest.mark.parametrize(
    ("task", "message"),
    [({"side": 32}, "has no setting 'side'"), ({"side_px": "wide"}, "image_rotation.side_px: found 'wide'")],
)
def test_wrong_settings_of_a_task_are_refused(folder: Path, task: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_of(folder, settings=SMALL.model_copy(update={"task": task})).outputs()


def test_a_csv_of_groups_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv`: there is no such file"):
        run_of(folder, settings=SMALL.model_copy(update={"group_by": "gone.csv"})).outputs()


@pytest.mark.parametrize("num_pilot_sources", [0, 5, 64])
def test_a_plan_says_what_would_be_done_and_does_nothing(folder: Path, num_pilot_sources: int) -> None:
    (report,) = run_of(folder).plan(num_pilot_sources=num_pilot_sources)
    assert (report.task, report.dataset, report.base_version) == ("image_rotation", str(folder / "out"), 0)
    assert (report.num_sources, report.num_new_sources, report.num_planned_sources) == (13, 13, 13)
    assert (report.num_shards_kept, report.num_shards_replanned, report.num_rejected) == (0, 0, 0)
    assert report.num_shards_to_make > 1
    assert report.num_pilot_sources == min(13, num_pilot_sources)
    assert report.estimated_num_bytes > 0
    assert (report.estimated_num_examples > 0) == (num_pilot_sources > 0)
    assert not (folder / "out").exists()


def test_a_pilot_of_all_sources_counts_their_examples(folder: Path) -> None:
    (report,) = run_of(folder).plan()
    # Four turns of twelve photographs; the thirteenth is too small.
    assert report.estimated_num_examples == 48


def test_a_plan_of_no_input_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="input"):
        Materialize(tasks=["image_rotation"], input=str(folder / "gone"), output=str(folder / "out")).plan()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(folder: Path) -> None:
    (folder / "out").write_text("a file stands here")
    with pytest.raises(UnlabeledError, match="out"):
        run_of(folder).run()


def publish_nothing(folder: Path) -> None:
    """Leave a plan behind, as a run does that is killed at once."""
    run = run_of(folder)
    inventory = run.inventory(None)
    request = run._request(run.outputs(), inventory, Store.open(inventory.root))
    with pytest.raises(UnlabeledError, match="were not made"):
        materialize(request, lambda targets, units: iter(()), Quiet())


def test_a_plan_counts_what_an_unfinished_run_would_make_too(folder: Path) -> None:
    publish_nothing(folder)
    assert versions(Store.open(str(folder / "out"))) == []
    (report,) = run_of(folder).plan(num_pilot_sources=0)
    assert report.num_planned_sources == 13
