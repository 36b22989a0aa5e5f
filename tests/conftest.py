"""Fixtures that several folders of tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from unlabeled.pipeline.storage import Store, StoreOptions

from .seaweed import SeaweedServer, start_seaweed

# How long one example takes says how busy the machine is.
# The same examples every time: what passes here passes there. `make fuzz` is for finding new ones.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket on a real S3 server: `uri`, explicit `options`, and `env`, which is set while the test runs."""

    name: str
    server: SeaweedServer

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    @property
    def endpoint_url(self) -> str:
        return self.server.endpoint_url

    @property
    def env(self) -> dict[str, str]:
        return self.server.env

    @property
    def options(self) -> StoreOptions:
        return StoreOptions(
            endpoint_url=self.server.endpoint_url,
            access_key_id=self.server.access_key_id,
            secret_access_key=self.server.secret_access_key,
        )

    @property
    def client(self) -> Any:
        """A boto3 client: the other S3 client, for what ours must not be trusted to arrange."""
        return self.server.client()


@pytest.fixture(scope="session", autouse=True)
def _no_cloud_metadata() -> Iterator[None]:
    """No test ever asks a cloud's metadata service for credentials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A SeaweedFS server for the whole run; use with `@pytest.mark.s3`."""
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.kill()


@pytest.fixture
def s3(s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket; the environment names its server, too. Use with `@pytest.mark.s3`."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(f"bucket-{uuid.uuid4().hex[:12]}", s3_server)
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, once on the local disk and once on S3, under a prefix that needs care."""
    if request.param == "local":
        return Store.open(tmp_path / "root 100% +#")
    bucket: Bucket = request.getfixturevalue("s3")
    return Store.open(f"{bucket.uri}/root 100% +#", bucket.options)
