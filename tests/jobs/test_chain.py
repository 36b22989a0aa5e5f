from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from unlabeled.jobs.chain import Chain, Step, load_chain, place_fingerprint, run_chain
from unlabeled.pipeline.errors import ConfigError, Conflict
from unlabeled.pipeline.lease import acquire
from unlabeled.pipeline.storage import Store

from tests.runs import cli
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
        ([], "steps"),
    ],
)
def test_a_wrong_chain_is_refused(tmp_path: Path, steps: list[dict[str, str]], message: str) -> None:
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": steps}))
    with pytest.raises(ConfigError, match=message):
        load_chain(path)


def test_materialize_and_verify_as_a_chain_from_the_command_line(tmp_path: Path) -> None:
    fill(tmp_path / "in", {f"{number}.jpg": jpeg(number) for number in range(4)})
    out = tmp_path / "out"
    materialize = f"materialize -t image_rotation -i {tmp_path}/in -o {out} --set task.side_px=16 --num-cpus 1"
    path = tmp_path / "nightly.yaml"
    steps = [{"name": "make", "command": materialize}, {"name": "check", "command": f"verify {out} --rederive 1"}]
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": steps}))
    first = cli("run", str(path))
    assert first.returncode == 0, first.stderr
    assert [line.split()[:2] for line in first.stdout.splitlines()[1:]] == [["make", "done"], ["check", "done"]]
    again = cli("run", str(path))
    assert [line.split()[:2] for line in again.stdout.splitlines()[1:]] == [["make", "skipped"], ["check", "skipped"]]
    # A shard that rots: its dataset's fingerprint is what it was, so the check is asked for by another command.
    shard = next((out / "data").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    steps[1]["command"] = f"verify {out}"
    path.write_text(yaml.safe_dump({"state": str(tmp_path / "state"), "steps": steps}))
    assert cli("run", str(path)).returncode == 5
