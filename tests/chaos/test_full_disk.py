"""Disks that are full, where shards grow and where Ray spills: real ones, small file systems in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unlabeled.pipeline.manifest import versions
from unlabeled.pipeline.storage import StoreOptions

from tests.runs import Place, cli, files_of, materialize_arguments, put_photographs

pytestmark = pytest.mark.chaos

NUM_PHOTOGRAPHS = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def calm(tmp_path: Path) -> Place:
    """Photographs in `in` and what an undisturbed run makes of them in `calm`."""
    place = Place(str(tmp_path), StoreOptions())
    put_photographs(place.store("in"), range(NUM_PHOTOGRAPHS))
    done = cli(*materialize_arguments(place, "in", "calm", "--num-cpus", "2"))
    assert done.returncode == 0, done.stderr
    return place


def fill_up(folder: Path, num_bytes_left: int) -> Path:
    """Take the rest of a disk and return the file that does."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - num_bytes_left))
    return ballast


def test_a_full_disk_where_shards_grow_is_named_and_blames_no_source(calm: Place, small_disk: Path) -> None:
    ballast = fill_up(small_disk, 8192)  # where nothing at all can be written, Python looks for another folder
    arguments = materialize_arguments(calm, "in", "out", "--num-cpus", "2")
    # Ray itself takes its place from RAY_TMPDIR.
    env = {"TMPDIR": str(small_disk), "RAY_TMPDIR": "/tmp"}  # noqa: S108 - its sockets need a short path
    failed = cli(*arguments, env=env)
    assert failed.returncode == 1
    assert str(small_disk) in failed.stderr
    assert "No space left" in failed.stderr
    assert versions(calm.store("out")) == []
    ballast.unlink()
    assert cli(*arguments, env=env).returncode == 0
    assert files_of(calm.store("out")) == files_of(calm.store("calm"))


def test_a_full_disk_where_ray_spills_is_not_needed(calm: Place, small_disk: Path) -> None:
    """Nothing large passes through Ray's object store, so nothing is ever spilled."""
    fill_up(small_disk, 0)
    spilling = {"type": "filesystem", "params": {"directory_path": str(small_disk)}}
    env = {"RAY_object_spilling_config": json.dumps(spilling)}
    done = cli(*materialize_arguments(calm, "in", "out", "--num-cpus", "2"), env=env)
    assert done.returncode == 0, done.stderr
    assert files_of(calm.store("out")) == files_of(calm.store("calm"))
