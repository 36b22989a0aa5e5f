"""deploy/monitoring, run: a head with a token, a job that meets a storm of rejects, Prometheus that scrapes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from unlabeled.jobs.client import Client
from unlabeled.jobs.command_line import CommandLine
from unlabeled.jobs.config import load_settings
from unlabeled.jobs.materialize import Materialize
from unlabeled.trainers.ray_pretrain import GAUGES

from tests import planted
from tests.loading import turns
from tests.ray_head import RayHead, forget_token, free_ports, start_head
from tests.runs import jpeg
from tests.small_datasets import fill

from .rendered import DEPLOY

MONITORING = DEPLOY / "monitoring"
#: What a test can wait for, in the place of what an operator wants.
SHORTER = (("[10m]", "[40s]"), ("[5m]", "[40s]"), ("for: 2m", "for: 1s"))
#: Enough for a run that outlasts several exports of metrics, which Ray makes every few seconds.
NUM_SOUND, NUM_BROKEN = 9000, 3000
#: So long everything that is waited for may take on a machine that does much else.
PATIENCE_SECONDS = 600.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed"),
]


def _shortened(text: str) -> str:
    for long, short in SHORTER:
        text = text.replace(long, short)
    return text


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    made = start_head(env={"RAY_metrics_report_interval_ms": "1000"})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.env.items():
            patch.setenv(name, value)
        forget_token()
        yield made
    forget_token()
    made.kill()


@pytest.fixture(scope="module")
def prometheus(head: RayHead, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Prometheus with the shipped rules and scrape configuration, but for addresses and intervals."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (discovery,) = config["scrape_configs"][0]["http_sd_configs"]
    discovery.update(url=f"{head.address}/api/prometheus/sd", refresh_interval="2s")
    discovery["authorization"]["credentials_file"] = str(head.token_file)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "rules.yml").write_text(_shortened((MONITORING / "rules.yml").read_text()))
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [
            *("prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait(timeout=30)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - http, on this machine
        return json.load(reply)


def _query(prometheus: str, expression: str) -> list[Any]:
    found = _get(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': _shortened(expression)})}")
    results: list[Any] = found["data"]["result"]
    return results


def _expressions_of(pattern: str) -> set[str]:
    boards = [json.loads(path.read_text()) for path in sorted(MONITORING.glob(pattern))]
    return {target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]}


def _await(prometheus: str, expressions: set[str], alerts: set[str]) -> None:
    """Wait until every expression has had data, and every alert has fired."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while expressions or alerts:
        assert time.monotonic() < deadline, f"no data from {expressions}; not fired: {alerts}"
        time.sleep(1)
        expressions = {expression for expression in expressions if not _query(prometheus, expression)}
        firing = _get(f"{prometheus}/api/v1/alerts")["data"]["alerts"]
        alerts = alerts - {alert["labels"]["alertname"] for alert in firing if alert["state"] == "firing"}


def _fill(folder: Path) -> None:
    """Write a few files, sound and broken, under many names."""
    sound, broken = jpeg(1, 640, 480), jpeg(2)[:300]
    for number, data in enumerate([sound] * NUM_SOUND + [broken] * NUM_BROKEN):
        first = folder / ("sound.jpg" if data is sound else "broken.jpg")
        if not first.exists():
            first.write_bytes(data)
        os.link(first, folder / f"{number:05d}.jpg")


def test_every_panel_has_data_and_the_alert_fires(head: RayHead, prometheus: str, tmp_path: Path) -> None:
    photographs = tmp_path / "in"
    photographs.mkdir()
    _fill(photographs)
    settings, of_task = load_settings(
        None,
        ["shard.spread_num_shards=60", "shard.spread_min_num_bytes=4096"],
        {"run.rejects.max_reject_fraction": 1.0},
        ["image_rotation"],
    )
    spec = Materialize(["image_rotation"], str(photographs), str(tmp_path / "rotation"), settings, of_task)
    client = Client(head.address)
    job = client.submit(spec, ship_wheel=True)
    panels = _expressions_of("grafana-materialize.json")
    of_audit = {expression for expression in panels if "_audit_" in expression}
    _await(prometheus, panels - of_audit, {"UnlabeledRejectStorm"})
    assert client.wait(job.submission_id).status == "SUCCEEDED"
    assert of_audit


def test_a_leak_that_an_audit_finds_is_seen_and_alerts(head: RayHead, prometheus: str, tmp_path: Path) -> None:
    """One class was saved as poorer JPEGs; the job ends at once, and what it found stays visible for a day."""
    pictures = {f"{'ab'[n % 2]}/{n}.jpg": jpeg(n, 96, 72, quality=(10, 95)[n % 2]) for n in range(80)}
    sources = fill(tmp_path / "in", pictures)
    output = tmp_path / "leaky"
    dataset = planted.build("labelled_media", sources, output, label_from="folder", classes=("a", "b"), side_px=64).uri
    client = Client(head.address)
    job = client.submit(CommandLine("audit", dataset, "--no-meaning"), ship_wheel=True)
    assert client.wait(job.submission_id).exit_code == 5
    _await(
        prometheus,
        {expression for expression in _expressions_of("grafana-materialize.json") if "_audit_" in expression},
        {"UnlabeledLabelLeaks"},
    )


def test_every_panel_of_training_has_data(head: RayHead, prometheus: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    arguments = ("--encoder", "vit-mini", "--set", "encoder.patch_px=8", "--batch-size", "16", "--epochs", "60")
    command = CommandLine("pretrain", "--data", turns(tmp_path).uri, "--output", str(tmp_path / "run"), *arguments)
    client = Client(head.address)
    job = client.submit(command, ship_wheel=True)
    panels = _expressions_of("grafana-train.json")
    of_gpus = {expression for expression in panels if "ray_node_g" in expression}
    assert len(of_gpus) == 2
    _await(prometheus, panels - of_gpus, set())  # no GPU here
    assert client.wait(job.submission_id).status == "SUCCEEDED"


def test_every_metric_that_is_asked_for_is_made() -> None:
    """A renamed metric would leave a panel empty and an alert silent."""
    made = set(_names((DEPLOY.parent / "jobs/ray_metrics.py").read_text().replace('"unlabeled', '"ray_unlabeled')))
    made |= {f"unlabeled_train_{name}" for name in GAUGES}
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"][0]["rules"]
    asked = " ".join([*_expressions_of("grafana-*.json"), *(rule["expr"] for rule in rules)])
    names = {word.removesuffix("_total") for word in _names(asked)}
    assert names
    assert names <= made


def _names(expressions: str) -> set[str]:
    return set(re.findall(r"ray_(unlabeled_\w+)", expressions))
