from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from unlabeled.jobs.wheel import build_wheel


def test_the_same_code_gives_the_same_wheel_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_wheel(tmp_path / "a")
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    two = build_wheel(tmp_path / "b")
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_the_wheel_holds_the_code_and_what_it_requires(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        names = wheel.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = wheel.read(f"{info}/METADATA").decode()
    assert {"unlabeled/jobs/cli.py", "unlabeled/pipeline/py.typed", "unlabeled/trainers/__init__.py"} <= set(names)
    assert "Requires-Dist: obstore" in metadata
    assert "+" in info


def test_pip_installs_it_and_its_command_runs(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import unlabeled.jobs as j; print(j.__file__); "
        "from unlabeled.pipeline.discover import task_names; print(len(task_names()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    where, num_tasks = done.stdout.split()
    assert where.startswith(str(target))
    assert int(num_tasks) > 10
