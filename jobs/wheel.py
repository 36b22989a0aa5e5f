"""The running code as a wheel: for clusters whose image has another version of it, or none."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import re
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from wheel.wheelfile import WheelFile

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
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"unlabeled-{version}-py3-none-any.whl"
    with WheelFile(str(path), "w") as wheel:
        for name, data in files.items():
            wheel.writestr(_entry(name), data)
    return path


def _entry(name: str) -> object:
    from zipfile import ZIP_DEFLATED, ZipInfo

    entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = ZIP_DEFLATED
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
