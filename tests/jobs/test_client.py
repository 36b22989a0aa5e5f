"""Jobs on a real Ray head with token authentication, in an environment that lacks this project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.jobs import Client, CommandLine, Materialize, Settings
from unlabeled.jobs.client import JobOptions, job_stem, make_entrypoint, make_runtime_env
from unlabeled.jobs.command_line import portable
from unlabeled.pipeline.errors import ConfigError, NotFound, UnlabeledError
from unlabeled.pipeline.ledger import read_receipt
from unlabeled.pipeline.manifest import versions
from unlabeled.pipeline.storage import Store, StoreOptions

from tests.jobs.slow_task import PATIENCE_SECONDS, slow_run
from tests.ray_head import RayHead, forget_token, start_head
from tests.runs import Place, files_of, num_receipts, put_photographs

ROTATION = ("materialize", "--task", "image_rotation", "--input", "s3://b/in", "--output", "s3://b/out")


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with pytest.MonkeyPatch.context() as patch:
        running = start_head()
        for name, value in running.env.items():
            patch.setenv(name, value)
        forget_token()
        yield running
        running.kill()
    forget_token()


@pytest.fixture(scope="module")
def client(head: RayHead) -> Client:
    return Client(head.address)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(str(tmp_path_factory.mktemp("place")), StoreOptions())
    put_photographs(made.store("in"), range(12))
    return made


def rotation(place: Place, output: str = "out") -> Materialize:
    return Materialize(["image_rotation"], place.path("in"), place.path(output), Settings(task={"side_px": 32}))


def cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unlabeled.jobs", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env={**os.environ, "COLUMNS": "300", **env},
    )


def test_an_id_is_name_and_digest_of_the_work() -> None:
    command = portable(ROTATION)
    stem = job_stem(command, JobOptions())
    assert stem == f"materialize-image_rotation-{command.sha256[:8]}"
    assert job_stem(command, JobOptions(driver_cpus=4)) == stem
    assert job_stem(portable([*ROTATION, "--seed", "1"]), JobOptions()) != stem
    assert job_stem(command, JobOptions(name="nightly")) == f"nightly-{command.sha256[:8]}"
    with pytest.raises(ConfigError, match="`name`: found 'a b'"):
        job_stem(command, JobOptions(name="a b"))


def test_the_shell_hands_its_process_to_the_command() -> None:
    command = portable(["show", "s3://b/it's here"])
    assert make_entrypoint(command, JobOptions()) == """exec unlabeled show --json 's3://b/it'"'"'s here'"""
    assert make_entrypoint(command, JobOptions(python="/env/bin/python")).startswith(
        "exec /env/bin/python -m unlabeled.jobs show"
    )


def test_ray_is_told_to_wait_longer_than_the_job_takes_to_stop(tmp_path: Path) -> None:
    env = make_runtime_env(tmp_path, portable(ROTATION), JobOptions(stop_grace_seconds=7, env={"A": "b"}))["env_vars"]
    assert (env["UNLABELED_STOP_GRACE_SECONDS"], env["RAY_JOB_STOP_WAIT_TIME_S"], env["A"]) == ("7", "17", "b")


def test_what_travels_lies_in_the_working_directory(tmp_path: Path) -> None:
    config = tmp_path / "nightly.yaml"
    config.write_text("seed: 3\n")
    folder = tmp_path / "job"
    folder.mkdir()
    made = make_runtime_env(folder, portable([*ROTATION, "-c", str(config)]), JobOptions(ship_wheel=True))
    assert made["working_dir"] == str(folder)
    assert [path.read_text() for path in folder.rglob("*.yaml")] == ["seed: 3\n"]
    (wheel,) = folder.glob("*.whl")
    assert made["pip"]["packages"] == [f"${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{wheel.name}"]


@pytest.mark.parametrize("address", ["ray://head:10001", "s3://bucket", "http://"])
def test_an_address_that_is_no_dashboard_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="expected the URL of a Ray dashboard"):
        Client(address)


def test_no_cluster_is_told_after_a_deadline() -> None:
    with pytest.raises(UnlabeledError, match=r"no Ray dashboard answers at http://127\.0\.0\.1:1"):
        Client("127.0.0.1:1", wait_seconds=0.1).list()


def test_a_token_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(ConfigError, match="`RAY_AUTH_TOKEN_PATH`: found '/nowhere/token'"):
        Client("127.0.0.1:1").list()


def test_a_wrong_token_and_none_are_told_apart(head: RayHead, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("f" * 64)
    refused = cli("jobs", "--address", head.address, RAY_AUTH_TOKEN_PATH=str(wrong))
    assert (refused.returncode, "the token is not the one it wants" in refused.stderr) == (1, True)
    nobody = cli("jobs", "--address", head.address, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN_PATH="")
    assert (nobody.returncode, "it wants a token, and none was sent" in nobody.stderr) == (1, True)


@pytest.mark.slow
def test_a_cluster_whose_nodes_take_no_jobs_yet_is_waited_for(head: RayHead) -> None:
    """A dashboard answers before its node has told of itself; Ray itself waits ten seconds for that."""
    work = CommandLine("show", "s3://nowhere/nothing")
    with head.without_node() as node_is_back:
        with pytest.raises(UnlabeledError, match=r"none of its nodes takes jobs yet \(tried for 0 s\)"):
            Client(head.address, wait_seconds=0).submit(work)
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            node_is_back()

        job = Client(head.address, wait_seconds=PATIENCE_SECONDS, say=say).submit(work)
    assert job.attempt == 1
    assert said == [f"the cluster at {head.address} answers, but none of its nodes takes jobs yet; trying again"]


def test_the_same_work_is_one_job_and_its_report_is_the_commands(client: Client, place: Place) -> None:
    first = client.submit(rotation(place), ship_wheel=True, metadata={"owner": "seismology"})
    second = client.submit(rotation(place), ship_wheel=True)
    assert (first.attached, second.attached) == (False, True)
    assert first.submission_id == second.submission_id
    ended = client.wait(first.submission_id, timeout_seconds=PATIENCE_SECONDS)
    assert (ended.status, ended.exit_code) == ("SUCCEEDED", 0), client.logs(first.submission_id).logs
    assert ended.metadata["owner"] == "seismology"
    report = client.report(first.submission_id)
    assert (report["dataset"], report["version"], report["num_examples"]) == (place.path("out"), 1, 48)
    assert files_of(place.store("out"))
    # Asked for by its attempt, it is the same job still; asked for anew, the next attempt finds nothing to do.
    assert client.submit(rotation(place), ship_wheel=True, attempt=1).attached
    again = client.submit(rotation(place), ship_wheel=True)
    assert (again.attempt, again.attached) == (2, False)
    assert client.wait(again.submission_id, timeout_seconds=PATIENCE_SECONDS).status == "SUCCEEDED"
    assert client.report(again.submission_id)["published"] is False
    assert [job.submission_id for job in client.list().jobs][:2] == [again.submission_id, first.submission_id]


def test_a_stopped_job_finishes_what_it_has_in_hand_and_the_next_one_resumes(
    client: Client, place: Place, tmp_path: Path
) -> None:
    job = client.submit(slow_run(place, tmp_path), ship_wheel=True, stop_grace_seconds=60)
    store = place.store("slow")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not num_receipts(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    client.stop(job.submission_id)
    assert client.wait(job.submission_id, timeout_seconds=PATIENCE_SECONDS).status == "STOPPED"
    log = client.logs(job.submission_id).logs
    num_left = re.search(r"stopped with (\d+) shards left; run the same command again", log)
    assert num_left, log
    num_made = num_receipts(store)
    assert num_made > 0
    assert versions(store) == []
    assert all(_is_finished(store, key) for key in _attempts(store)), "a shard in hand was dropped"
    again = client.submit(slow_run(place, tmp_path), ship_wheel=True)
    assert again.attempt == 2
    assert client.wait(again.submission_id, timeout_seconds=PATIENCE_SECONDS).status == "SUCCEEDED"
    report = client.report(again.submission_id)
    assert (report["num_skipped_shards"], report["num_made_shards"]) == (num_made, int(num_left[1]))
    assert report["num_examples"] == 24


def _attempts(store: Store) -> list[str]:
    return [info.key.split("/")[1] for page in store.list("_attempts") for info in page]


def _is_finished(store: Store, shard_id: str) -> bool:
    return read_receipt(store, shard_id) is not None


def test_a_command_that_the_cluster_lacks_is_explained(client: Client, place: Place) -> None:
    job = client.submit(CommandLine("show", place.path("in")))
    ended = client.wait(job.submission_id, timeout_seconds=PATIENCE_SECONDS)
    assert (ended.status, ended.exit_code) == ("FAILED", 127)
    assert "--ship-wheel" in ended.message


def test_a_job_that_is_not_there(client: Client) -> None:
    with pytest.raises(NotFound, match="no such job"):
        client.status("nobody-a1")


def test_the_command_line_submits_follows_and_ends_like_the_job(head: RayHead, place: Place) -> None:
    done = cli(
        *("submit", "verify", place.path("nothing"), "--rederive", "0.5", "--address", head.address),
        *("--ship-wheel", "--follow", "--json", "--env", "LANG"),
    )
    assert done.returncode == 1, done.stderr
    job = json.loads(done.stdout)
    assert (job["status"], job["exit_code"]) == ("FAILED", 1)
    assert "no dataset stands here" in job["message"]
    assert "no dataset stands here" in done.stderr
    shown = json.loads(cli("status", job["submission_id"], "--address", head.address, "--json").stdout)
    assert shown == {**job, "attached": False}
    listed = json.loads(cli("jobs", "--address", head.address, "--json").stdout)["jobs"]
    assert job["submission_id"] in [one["submission_id"] for one in listed]
    assert "no dataset stands here" in cli("logs", job["submission_id"], "--address", head.address).stdout


def test_a_wrong_setting_is_told_before_anything_is_sent(head: RayHead, client: Client) -> None:
    done = cli("submit", *ROTATION, "--set", "sed=1", "--address", head.address)
    assert (done.returncode, "unknown setting `sed`" in done.stderr) == (2, True)
    assert not [job for job in client.list().jobs if "sed=1" in job.command]
