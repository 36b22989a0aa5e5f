"""The running code as a wheel: for clusters whose image has another version of it, or none."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.resources
import re
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path

_PACKAGES = ("pipeline", "trainers", "jobs")
_WHEEL = "Wheel-Version: 1.0\nGenerator: unlabeled\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(folder: Path) -> Path:
    """Write the installed code as a wheel into `folder` and return its path; the same code gives the same bytes.

    Works from a checkout as from an installed package. The version gets the content's digest as its local part
    (PEP 440), so that pip never takes another code of the same version for it.
    """
    files = dict(_code_files())
    digest = hashlib.sha256()
    for name, data in files.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    found = importlib.metadata.distribution("unlabeled")
    version = f"{found.version}+{digest.hexdigest()[:12]}"
    info = f"unlabeled-{version}.dist-info"
    files[f"{info}/METADATA"] = _metadata(found, version)
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nunlabeled = unlabeled.jobs.cli:main\n"
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"unlabeled-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(_entry(name), data)
    return path


def _record(files: Mapping[str, bytes], own_name: str) -> str:
    """Return the members with hash and size that installers check (PyPA, "Recording installed projects")."""
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own_name},,\n"])


def _entry(name: str) -> zipfile.ZipInfo:
    """Return a member's header: the time is fixed, for the same bytes whenever the wheel is built."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _code_files() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        root = Path(str(importlib.resources.files(f"unlabeled.{package}")))
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"unlabeled/{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _metadata(found: importlib.metadata.Distribution, version: str) -> bytes:
    """Return name, version and requirements; the rest of the metadata is for people who browse an index."""
    message = Message()
    message["Metadata-Version"] = "2.1"
    message["Name"] = "unlabeled"
    message["Version"] = version
    for name in ("Requires-Python", "Provides-Extra", "Requires-Dist"):
        for value in found.metadata.get_all(name) or ():
            message[name] = re.sub(r"\s+", " ", value)
    return message.as_bytes()
