"""Ray's dashboard as people see it, in headless Chromium: jobs, datasets and operators bear names that tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.jobs import Client, Materialize, Settings
from unlabeled.jobs.client import JobInfo
from unlabeled.pipeline.storage import StoreOptions

from tests.browser import CHROMIUM, look
from tests.ray_head import RayHead, forget_token, start_head
from tests.runs import Place, put_photographs

PATIENCE_SECONDS = 600.0
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with pytest.MonkeyPatch.context() as patch:
        running = start_head(is_bare=False)
        for name, value in running.env.items():
            patch.setenv(name, value)
        forget_token()
        yield running
        running.kill()
    forget_token()


@pytest.fixture(scope="module")
def job(head: RayHead, tmp_path_factory: pytest.TempPathFactory) -> JobInfo:
    """A run that has ended well: the cluster's second; Ray starts to keep datasets with the first, and may lose it."""
    place = Place(str(tmp_path_factory.mktemp("place")), StoreOptions())
    put_photographs(place.store("in"), range(12))
    client = Client(head.address)
    for task in ("image_colorization", "image_rotation"):
        spec = Materialize([task], place.path("in"), place.path(task), Settings(task={"side_px": 32}))
        ended = client.wait(client.submit(spec).submission_id, timeout_seconds=PATIENCE_SECONDS)
        assert ended.exit_code == 0, client.logs(ended.submission_id).logs
    return ended


def page(head: RayHead, path: str, folder: Path, *wanted: str, clicks: tuple[str, ...] = ()) -> str:
    cookies = {"ray-authentication-token": head.token_file.read_text()}
    return look(f"{head.address}/#{path}", wanted, folder, cookies=cookies, clicks=clicks)


def test_the_list_of_jobs_names_the_work(head: RayHead, job: JobInfo, tmp_path: Path) -> None:
    text = page(head, "/jobs", tmp_path, job.submission_id, "SUCCEEDED")
    assert "unlabeled materialize --task=image_rotation" in text


def test_a_job_shows_its_datasets_and_operators_by_name(head: RayHead, job: JobInfo, tmp_path: Path) -> None:
    page(
        head,
        f"/jobs/{job.submission_id}",
        tmp_path,
        *("Ray Data Overview", "materialize_image_rotation", "MapBatches(materialize_image_rotation)"),
        clicks=(
            "//*[text()='Ray Data Overview']",
            "(//table[.//*[text()='Dataset / Operator Name']]//tbody//*[name()='svg'])[1]",
        ),
    )
