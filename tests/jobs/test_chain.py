from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from unlabeled.jobs.chain import Chain, Step, load_chain, place_fingerprint, run_chain
from unlabeled.pipeline.errors import ConfigError, Conflict
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.ledger import read_receipt
from unlabeled.pipeline.storage import Store, StoreOptions

from tests import planted
from tests.jobs.labels import make_labelled
from tests.jobs.slow_task import PATIENCE_SECONDS, slow_run
from tests.runs import Place, cli, command, num_receipts, put_photographs
from tests.small_datasets import fill, jpeg


def outcomes(chain: Chain) -> list[tuple[str, int | None]]:
    return [(step.outcome, step.exit_code) for step in run_chain(chain).steps]


def chain_of(folder: Path, *steps: Step) -> Chain:
    return Chain(state=str(folder / "state"), steps=steps)


def test_a_step_runs_again_when_what_it_reads_has_changed(tmp_path: Path) -> None:
    fill(tmp_path, {"in/a.jpg": jpeg(0), "other/b.jpg": jpeg(1)})
    step = Step(name="tasks", command="tasks -t image_rotation", inputs=(str(tmp_path / "in"),))
    chain = chain_of(tmp_path, step)
    assert outcomes(chain) == [("done", 0)]
    assert outcomes(chain) == [("skipped", None)]
    fill(tmp_path, {"other/c.jpg": jpeg(2)})
    assert outcomes(chain) == [("skipped", None)]
    fill(tmp_path, {"in/c.jpg": jpeg(2)})
    assert outcomes(chain) == [("done", 0)]
    other = step.model_copy(update={"command": ("tasks", "-t", "image_jigsaw")})
    assert outcomes(chain_of(tmp_path, other)) == [("done", 0)]


def test_the_first_step_that_fails_ends_the_chain_and_is_tried_again(tmp_path: Path) -> None:
    steps = (
        Step(name="tasks", command="tasks -t image_rotation"),
        Step(name="verify", command=f"verify {tmp_path}/nothing"),
        Step(name="after", command="tasks"),
    )
    chain = chain_of(tmp_path, *steps)
    for first in ("done", "skipped"):
        report = run_chain(chain)
        assert [step.outcome for step in report.steps] == [first, "failed", "not_reached"]
        assert report.exit_code == 1
    assert report.steps[0].report is not None
    assert report.steps[0].report["tasks"][0]["name"] == "image_rotation"


def test_a_weekly_step_is_left_alone_for_a_week(tmp_path: Path) -> None:
    place = str(fill(tmp_path / "in", {"a.jpg": jpeg(0)}))
    chain = chain_of(tmp_path, Step(name="weekly", command="tasks", inputs=(place,), every_days=7))
    assert outcomes(chain) == [("done", 0)]
    fill(tmp_path / "in", {"b.jpg": jpeg(1)})
    assert outcomes(chain) == [("skipped", None)]


def test_two_of_the_same_chain_are_not_run_at_once(tmp_path: Path) -> None:
    with acquire(Store.open(tmp_path / "state")), pytest.raises(Conflict, match="another run is at work"):
        run_chain(chain_of(tmp_path, Step(name="tasks", command="tasks")))


def test_what_stands_at_a_place_has_a_fingerprint(store: Store) -> None:
    options = getattr(store, "options", None)
    assert place_fingerprint(store.uri, options) == ""
    store.put("in/a", b"1")
    folder, file = place_fingerprint(f"{store.uri}/in", options), place_fingerprint(f"{store.uri}/in/a", options)
    assert len({folder, file, ""}) == 3
    store.put("in/a", b"22")
    assert place_fingerprint(f"{store.uri}/in", options) != folder
    assert place_fingerprint(f"{store.uri}/in/a", options) != file


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"name": "a", "command": "tasks"}, {"name": "a", "command": "tasks"}], "a name of its own"),
        ([{"name": "a", "command": "taks"}], "Did you mean 'tasks'"),
        ([{"name": "a", "command": "tasks", "every": 7}], "unknown setting `steps.0.every`"),
        (
            [{"name": "a", "command": "verify {b.dataset}"}, {"name": "b", "command": "tasks"}],
            "names 'b', no step before",
        ),
        ([], "steps"),
    ],
)
def test_a_wrong_chain_is_refused(tmp_path: Path, steps: list[dict[str, str]], message: str) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": steps}))
    with pytest.raises(ConfigError, match=message):
        load_chain(path)


def test_a_check_that_finds_a_problem_ends_the_chain_with_its_exit_code(tmp_path: Path) -> None:
    dataset = planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=16).uri
    path = tmp_path / "nightly.yaml"
    steps = [{"name": "check", "command": f"verify {dataset}"}, {"name": "after", "command": "tasks"}]
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": steps}))
    shard = next((tmp_path / "out" / "data").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    done = cli("run", str(path))
    assert done.returncode == 5, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [
        ["check", "failed"],
        ["after", "not_reached"],
    ]


def test_braces_stand_for_what_is_read_and_for_what_earlier_steps_told(tmp_path: Path) -> None:
    dataset = planted.build("image_rotation", planted.photographs(tmp_path / "in"), tmp_path / "out", side_px=16).uri
    page = f"{tmp_path}/{{inputs}}.html"
    steps = (
        Step(name="look", command=f"preview {dataset} --out {page}"),
        Step(name="check", command="verify {look.dataset}"),
    )
    chain = chain_of(tmp_path, *steps)
    assert outcomes(chain) == [("done", 0), ("done", 0)]
    assert outcomes(chain) == [("skipped", None), ("skipped", None)]
    assert len(list(tmp_path.glob("*.html"))) == 1
    planted.photographs(tmp_path / "in", 5)
    planted.build("image_rotation", tmp_path / "in", tmp_path / "out", side_px=16)
    assert outcomes(chain) == [("done", 0), ("done", 0)]
    assert len(list(tmp_path.glob("*.html"))) == 2
    wrong = chain_of(tmp_path, steps[0], Step(name="check", command="verify {look.dataste}"))
    with pytest.raises(ConfigError, match=r"the report of 'look' has no 'dataste'. Did you mean 'dataset'"):
        run_chain(wrong)


NIGHTLY = """
state: {folder}/state
steps:
  - name: make
    command: >-
      materialize -t image_rotation -i {folder}/in -o {folder}/rotation --num-cpus 1 --set task.side_px=32
      --set shard.spread_min_num_bytes=4096 --set shard.spread_num_shards=8 --set val_fraction=0.25
  - {{name: check, command: verify {folder}/rotation --rederive 1}}
  - {{name: audit, command: audit {folder}/rotation --no-meaning --num-cpus 1}}
  - {{name: tidy, command: compact {folder}/rotation, every_days: 7}}
  - name: pretrain
    command: >-
      pretrain -d {folder}/rotation -o {folder}/runs/{{inputs}} --num-workers 0 --epochs 1 --batch-size 16
      --encoder resnet-small
  - {{name: evaluate, command: "evaluate {{pretrain.output}} --data {folder}/labels/labelled --set sides=[2]"}}
"""


@pytest.mark.slow
def test_a_night_from_photographs_to_a_scored_encoder(tmp_path: Path) -> None:
    """All steps for real. On the second night nothing has changed; on the third there are new photographs."""
    pytest.importorskip("torch")
    planted.photographs(tmp_path / "in", 40)
    make_labelled(tmp_path / "labels")
    path = tmp_path / "nightly.yaml"
    path.write_text(NIGHTLY.format(folder=tmp_path))
    chain = load_chain(path)
    assert outcomes(chain) == [("done", 0)] * 6
    # What compact published is a version of its own: it is checked once, and there is nothing to make.
    assert outcomes(chain) == [("done", 0)] * 3 + [("skipped", None)] * 3
    assert outcomes(chain) == [("skipped", None)] * 6
    planted.photographs(tmp_path / "in", 44)
    grown = run_chain(chain)
    assert [step.outcome for step in grown.steps] == ["done", "done", "done", "skipped", "done", "done"]
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert grown.steps[-1].report is not None
    assert grown.steps[-1].report["num_test"] > 20


@pytest.mark.slow
def test_a_chain_that_is_told_to_stop_lets_its_step_finish_what_it_has_in_hand(tmp_path: Path) -> None:
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(12))
    step = {"name": "make", "command": [*slow_run(place, tmp_path).argv(), "--num-cpus", "1"]}
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": [step]}))
    store = place.store("slow")
    with subprocess.Popen(command("run", str(path)), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not num_receipts(store) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=PATIENCE_SECONDS)[1]
    assert process.returncode == 75, said
    assert "shards left; run the same command again to resume" in said
    begun = [info.key.split("/")[1] for page in store.list("_attempts") for info in page]
    assert all(read_receipt(store, shard_id) for shard_id in begun), "a shard in hand was dropped"
