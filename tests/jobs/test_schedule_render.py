from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from unlabeled.jobs.schedule import Schedule
from unlabeled.jobs.schedule_render import calendar, crontab, render
from unlabeled.pipeline.errors import ConfigError

from tests.deploy.rendered import strict, without_nulls

FILE = Path("/etc/unlabeled/it's nightly.yaml")


def schedule(**changes: Any) -> Schedule:
    command = "materialize -t image_rotation -i s3://b/in -o s3://b/out"
    given = {"name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "command": command}
    return Schedule(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "policy", "deadline"),
    [
        ({}, "Forbid", 3600),
        ({"missed": "skip"}, "Forbid", 60),
        ({"overlap": "queue", "missed_within_seconds": 600}, "Allow", 600),
    ],
)
def test_a_cron_job_says_the_same_and_kubernetes_accepts_it(
    changes: dict[str, Any], policy: str, deadline: int
) -> None:
    made = yaml.safe_load(render(schedule(**changes), "cronjob", FILE).text)
    kubernetes_validate.validate(made, "1.33", strict=True)
    spec = made["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("30 2 * * *", "Europe/Berlin")
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == (policy, deadline)
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (3, 43_200)
    (container,) = job["template"]["spec"]["containers"]
    assert container["args"] == schedule(**changes).argv()
    assert container["command"][:3] == ["unlabeled", "submit", "--follow"]


@pytest.mark.parametrize(("overlap", "name"), [("refuse", "nightly"), ("queue", "$(TICK)")])
def test_queued_ticks_are_jobs_of_their_own(overlap: str, name: str) -> None:
    spec = yaml.safe_load(render(schedule(overlap=overlap), "cronjob", FILE).text)["spec"]
    (container,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert f"--job-name={name}" in container["command"]
    assert ("TICK" in [one["name"] for one in container["env"]]) == (overlap == "queue")


def test_a_ray_cron_job_fits_kuberays_definition() -> None:
    made = yaml.safe_load(render(schedule(), "raycronjob", FILE).text)
    assert made["spec"]["jobTemplate"]["entrypoint"].startswith("exec unlabeled materialize -t image_rotation")
    folder = Path(os.environ.get("UNLABELED_DEPLOY_SCHEMAS", "/nowhere"))
    definition = folder / "ray.io_raycronjobs.yaml"
    if not definition.is_file():
        pytest.skip("KubeRay's definitions are not here; UNLABELED_DEPLOY_SCHEMAS names their folder")
    versions = yaml.safe_load(definition.read_text())["spec"]["versions"]
    (version,) = [one for one in versions if one["name"] == "v1"]
    jsonschema.validate(without_nulls(made), strict(version["schema"]["openAPIV3Schema"]))


def test_a_crontab_line_runs_the_tick() -> None:
    text = crontab(schedule(missed="skip"), FILE)
    assert (
        text == "CRON_TZ=Europe/Berlin\n30 2 * * * unlabeled schedule tick '/etc/unlabeled/it'\"'\"'s nightly.yaml'\n"
    )
    with pytest.raises(ConfigError, match="cron forgets what it missed"):
        crontab(schedule(), FILE)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 2 * * *", "*-*-* 2:30:00"),
        ("*/15 8-18 * * 1-5", "Mon..Fri *-*-* 8..18:0/15:00"),
        ("0 3 1,15 * *", "*-*-1,15 3:0:00"),
        ("5 4 * 6-8/2 sun,3", "Sun,Wed *-6..8/2-* 4:5:00"),
    ],
)
def test_a_cron_expression_as_a_calendar_event(cron: str, expected: str) -> None:
    event = calendar(schedule(cron=cron))
    assert event == f"{expected} Europe/Berlin"
    if shutil.which("systemd-analyze"):
        subprocess.run(["systemd-analyze", "calendar", event], check=True, capture_output=True)


def test_what_a_target_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"days of month .or. of week"):
        render(schedule(cron="0 3 1 * 1"), "systemd", FILE)
    with pytest.raises(ConfigError, match=r"expected one of cronjob.*Did you mean 'cronjob'"):
        render(schedule(), "cronjobs", FILE)


def test_a_timer_makes_up_for_what_was_missed() -> None:
    assert "Persistent=true" in render(schedule(), "systemd", FILE).text
    assert "Persistent=false" in render(schedule(missed="skip"), "systemd", FILE).text
