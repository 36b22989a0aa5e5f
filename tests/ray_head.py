"""A throwaway Ray head with dashboard and token authentication on the loopback interface: a real cluster for tests."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 90.0


@dataclass(frozen=True)
class RayHead:
    """A running head: `address` of its dashboard, `gcs_address` for nodes, the variables of whoever talks to it."""

    address: str
    gcs_address: str
    token_file: Path
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def env(self) -> dict[str, str]:
        """Return the variables that let a client or a node in."""
        return {**_ENV, **_cluster(self.gcs_address), "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    @contextlib.contextmanager
    def without_node(self) -> Iterator[Callable[[], None]]:
        """Let the cluster forget which node is its head, as it does not know yet while it starts; yields the undoing.

        Its variables must be set in this process.
        """
        from ray._private.ray_constants import KV_HEAD_NODE_ID_KEY, KV_NAMESPACE_JOB
        from ray._raylet import GcsClient

        known = GcsClient(address=self.gcs_address)
        deadline = time.monotonic() + READY_SECONDS
        while (node_id := known.internal_kv_get(KV_HEAD_NODE_ID_KEY, KV_NAMESPACE_JOB)) is None:
            assert time.monotonic() < deadline, "the cluster has no head"
            time.sleep(0.1)

        def undo() -> None:
            known.internal_kv_put(KV_HEAD_NODE_ID_KEY, node_id, True, KV_NAMESPACE_JOB)

        known.internal_kv_del(KV_HEAD_NODE_ID_KEY, False, KV_NAMESPACE_JOB)
        try:
            yield undo
        finally:
            undo()

    def kill(self) -> None:
        """End the head, its workers and drivers at once, and remove what it wrote."""
        kill_family(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class RayNode:
    """A further node of a head's cluster: a raylet with its agent and workers."""

    process: subprocess.Popen[bytes]

    def runs(self, name: str) -> bool:
        """Return whether one of its workers has this name in its title, as Ray shows it in `ps`."""
        import psutil

        for one in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in " ".join(one.cmdline()):
                    return True
        return False

    def kill(self) -> None:
        """End it at once with all that runs on it, as a machine that loses its power."""
        kill_family(self.process)


_ENV = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def _cluster(address: str) -> dict[str, str]:
    """Say whether further nodes may join: at 127.0.0.1 Ray would take the host's outer address for its own."""
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if address.startswith("127.0.0.1:") else "1"}


def free_ports(count: int) -> list[int]:
    """Return free ports, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def bare_python(folder: Path) -> Path:
    """Make an environment with what is installed here except this project, and return its interpreter.

    It sees the installed packages by a plain path, so what an editable install adds to them is not found.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    seen = [path for path in sys.path if path.endswith("site-packages")]
    (site_packages / "installed.pth").write_text("\n".join(seen))
    return folder / "bin" / "python"


def start_head(
    num_cpus: int = 2, env: dict[str, str] | None = None, *, is_bare: bool = True, ip: str = "127.0.0.1"
) -> RayHead:
    """Start a head and return once its dashboard answers.

    Args:
        num_cpus: that it has for work.
        env: further variables of the head, its workers and drivers.
        is_bare: in an environment without this project; otherwise in this one.
        ip: address of the loopback interface; another than 127.0.0.1 where further nodes shall join.

    Raises:
        RuntimeError: it ended, or did not answer in time; the end of its log is in the message.
    """
    # Not pytest's own folder: the paths of Ray's sockets must be shorter than 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_hex(32))
    gcs, dashboard, metrics, agent, agent_grpc, client, runtime_env = free_ports(7)
    log = folder / "head.log"
    python = bare_python(folder / "venv") if is_bare else Path(sys.executable)
    command = [
        *(str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}/ray"),
        *(f"--node-ip-address={ip}", f"--port={gcs}", f"--dashboard-host={ip}"),
        *(f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
        *(f"--runtime-env-agent-port={runtime_env}", f"--ray-client-server-port={client}"),
        *(f"--num-cpus={num_cpus}", "--object-store-memory=100000000", "--disable-usage-stats"),
        '--resources={"head": 1}',
    ]
    started = {**os.environ, **_ENV, **_cluster(f"{ip}:{gcs}"), **(env or {}), "RAY_AUTH_TOKEN_PATH": str(token_file)}
    started["PATH"] = f"{python.parent}:{started['PATH']}"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=started, start_new_session=True
        )
    head = RayHead(f"http://{ip}:{dashboard}", f"{ip}:{gcs}", token_file, folder, process)
    try:
        _wait_until_ready(head, log)
    except BaseException:
        head.kill()
        raise
    return head


def start_node(head: RayHead, num_cpus: int, env: dict[str, str], ip: str) -> RayNode:
    """Start a further node on this machine, in the environment of this project, and return once the head knows it.

    Args:
        head: of the cluster that it joins.
        num_cpus: that it has for work.
        env: further variables of the node and its workers.
        ip: address of the loopback interface that no other node has.

    Raises:
        RuntimeError: it ended, or the head did not know it in time; the end of its log is in the message.
    """
    metrics, agent, agent_grpc, runtime_env = free_ports(4)
    folder = Path(tempfile.mkdtemp(prefix="node-", dir=head.folder))
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={head.gcs_address}"),
        *(f"--node-ip-address={ip}", f"--temp-dir={folder}/ray", f"--metrics-export-port={metrics}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"),
        *(f"--runtime-env-agent-port={runtime_env}", f"--num-cpus={num_cpus}"),
        *("--object-store-memory=100000000", "--disable-usage-stats"),
    ]
    log = folder / "node.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**os.environ, **env, **head.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ip in _alive_ips(head):
            return RayNode(process)
        time.sleep(0.2)
    kill_family(process)
    raise RuntimeError(f"the Ray node did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def _alive_ips(head: RayHead) -> set[str]:
    """Return the addresses of a cluster's living nodes."""
    request = urllib.request.Request(  # noqa: S310 - our own URL
        f"{head.address}/api/v0/nodes?filter_keys=state&filter_predicates=%3D&filter_values=ALIVE",
        headers={"Authorization": f"Bearer {head.token_file.read_text()}"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - our own URL
        rows = json.load(reply)["data"]["result"]["result"]
    return {row["node_ip"] for row in rows}


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and everything that it has started."""
    import psutil

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for one in [process, *family]:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(timeout=30)


def _wait_until_ready(head: RayHead, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and head.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{head.address}/api/gcs_healthz", timeout=2) as reply:  # noqa: S310 - our own URL
                if reply.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise RuntimeError(f"the Ray head did not become ready:\n{log.read_text(errors='replace')[-2000:]}")


def forget_token() -> None:
    """Let this process read mode and token anew: Ray reads them once, and another test may have been first."""
    from ray._private.authentication_test_utils import reset_auth_token_state

    reset_auth_token_state()
