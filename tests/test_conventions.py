"""House rules that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "trainers", "jobs")


def _sources() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")) if path.name != "__init__.py"]


def test_every_folder_with_code_is_installed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")}
    assert listed == {"unlabeled." + ".".join(folder.relative_to(ROOT).parts) for folder in folders}


#: Covered by the tests of what they serve, on a real Ray or through the command line.
WITHOUT_A_TEST_OF_THEIR_OWN = {
    "trainers/loader_child.py": "tests/trainers/test_loader_processes.py",
    "pipeline/ray_materialize.py": "tests/test_materialize.py",
    "pipeline/ray_trial.py": "tests/chaos/test_poison.py",
    "pipeline/ray_fingerprints.py": "tests/test_near_duplicates.py",
    "jobs/cli.py": "tests/test_errors_cli.py",
    "jobs/cli_options.py": "tests/test_errors_cli.py",
    "jobs/cli_make.py": "tests/test_errors_cli.py",
    "jobs/__main__.py": "tests/jobs/test_client.py",
    "trainers/ray_embed.py": "tests/jobs/test_embed.py",
    "jobs/cli_embed.py": "tests/jobs/test_embed.py",
    "jobs/cli_jobs.py": "tests/jobs/test_client.py",
    "jobs/ray_jobs.py": "tests/jobs/test_client.py",
    "jobs/cli_schedule.py": "tests/jobs/test_schedule.py",
    "jobs/cli_forget.py": "tests/test_errors_cli.py",
    "jobs/cli_compact.py": "tests/jobs/test_compact.py",
    "pipeline/forget.py": "tests/jobs/test_forget.py",
    "jobs/cli_keep.py": "tests/test_errors_cli.py",
    "jobs/cli_labels.py": "tests/jobs/test_evaluate.py",
    "jobs/cli_train.py": "tests/test_pretrain_command.py",
    "trainers/ray_pretrain.py": "tests/test_pretrain_command.py",
    "jobs/cli_check.py": "tests/jobs/test_audit.py",
    "pipeline/ray_audit.py": "tests/jobs/test_audit.py",
    "jobs/ray_start.py": "tests/test_exactly_once.py",
}


@pytest.mark.parametrize("source", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_file_has_a_test(source: Path) -> None:
    relative = source.relative_to(ROOT)
    instead = WITHOUT_A_TEST_OF_THEIR_OWN.get(str(relative))
    expected = ROOT / (instead or Path("tests", *relative.parts[:-1], f"test_{relative.name}"))
    assert expected.is_file()


def test_help_starts_quickly_because_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from unlabeled.jobs import cli\n"
        "try: cli.app(['materialize', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'ray', 'torch', 'pyarrow', 'av', 'numpy', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "--input" in done.stdout


def test_only_ray_modules_import_ray() -> None:
    importing = [
        path.relative_to(ROOT).as_posix()
        for path in _sources()
        if re.search(r"^\s*(import ray|from ray)\b", path.read_text(), re.MULTILINE)
    ]
    assert all(Path(name).name.startswith("ray_") for name in importing), importing


def test_arrow_reads_and_sorts_in_the_calling_thread() -> None:
    pattern = re.compile(
        r"pq\.(read_|ParquetFile|ParquetDataset)|csv\.(read_csv|open_csv)|\.(sort_by|group_by)\(|pyarrow\.dataset"
    )
    found = [path.relative_to(ROOT).as_posix() for path in _sources() if pattern.search(path.read_text())]
    assert found == ["pipeline/serial_arrow.py"]


def test_nothing_is_pickled() -> None:
    pattern = re.compile(r"^\s*(import|from) (pickle|cloudpickle|dill|marshal|shelve)\b", re.MULTILINE)
    assert not [path for path in _sources() if pattern.search(path.read_text())]


def test_no_path_of_somebodys_machine_stands_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    pattern = re.compile("/" + "(work|root|home)" + "/|/tmp/" + "(dev|bash_jobs)")
    texts = [name for name in listed.stdout.split() if Path(name).suffix in {".py", ".md", ".toml", ".txt", ""}]
    found = [name for name in texts if pattern.search((ROOT / name).read_text(errors="replace"))]
    assert not found
