from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.jobs import CommandLine, Materialize, Settings
from unlabeled.jobs.cli_make import materialize_spec
from unlabeled.jobs.command_line import parsed, places, portable
from unlabeled.pipeline.config import RejectLimits, RunSettings
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.storage import StoreOptions

S3 = ("--input", "s3://b/in", "--output", "s3://b/out")


@hypothesis.settings(max_examples=30)
@given(
    seed=st.integers(0, 2**63 - 1),
    fraction=st.floats(0, 1, exclude_max=True),
    group_by=st.none() | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1),
    include=st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1), max_size=2),
    turns=st.sampled_from(["all", "one"]),
    rebuild=st.booleans(),
)
def test_the_command_line_of_a_run_means_the_same_run(
    seed: int, fraction: float, group_by: str | None, include: list[str], turns: str, rebuild: bool
) -> None:
    settings = Settings(
        seed=seed,
        val_fraction=fraction,
        group_by=group_by,
        include=tuple(include),
        run=RunSettings(num_cpus=3, rejects=RejectLimits(max_reject_fraction=fraction)),
        task={"side_px": 64},
    )
    own = {"image_rotation": {"side_px": 64, "turns": turns}}
    run = Materialize(["image_rotation"], "s3://b/in +#", "-odd", settings, own, rebuild=rebuild, decoders=["a.py"])
    command, values = parsed(run.argv())
    assert command.name == "materialize"
    assert materialize_spec(values) == run


def test_credentials_are_not_put_on_a_command_line() -> None:
    with pytest.raises(ConfigError, match="store_options"):
        Materialize(["image_rotation"], "in", "out", store_options=StoreOptions(endpoint_url="http://s")).argv()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("materialise", "-t", "x"), "unknown command 'materialise'. Did you mean 'materialize'"),
        (("materialize", "-t", "image_rotation"), "materialize: Missing option '--input'"),
        (("materialize", "-t", "image_rotaton", *S3), "unknown task 'image_rotaton'. Did you mean"),
        (("materialize", "-t", "image_rotation", "--set", "sed=1", *S3), "unknown setting `sed`"),
        (("verify", "--rederiv", "1", "s3://b/out"), "verify: No such option: --rederiv"),
        (("show", "s4://b/out"), "found scheme 's4'"),
        ((), "found nothing"),
    ],
)
def test_a_wrong_command_is_refused_before_it_is_sent(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        portable(CommandLine(*argv).argv())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("materialize -t image_rotation -i s3://b/in -o s3://b/out", ["s3://b/in", "s3://b/out"]),
        ("pretrain -d s3://b/x=0.7 -d s3://b/y=3/10 -o run --encoder vit-mini", ["s3://b/x", "s3://b/y", "run"]),
        ("evaluate run --data labels --test-data s3://b/a=b", ["run", "labels", "s3://b/a=b"]),
        ("embed s3://b/x --encoder run --output v.parquet", ["s3://b/x", "run", "v.parquet"]),
        ("tasks", []),
    ],
)
def test_what_a_command_reads_and_writes_is_known(line: str, named: list[str]) -> None:
    assert places(line.split()) == named


def test_paths_become_absolute_and_small_files_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nightly.yaml").write_text("seed: 3\n")
    (tmp_path / "sites.csv").write_text("source_key,group\n")
    argv = ["materialize", "-t", "image_rotation", "-i", "in", "-o", "out", "-c", "nightly.yaml"]
    moved = portable([*argv, "--group-by", "sites.csv", "--address", "elsewhere"])
    assert sorted(Path(name).name for name in moved.files) == ["nightly.yaml", "sites.csv"]
    config = next(name for name in moved.files if name.endswith(".yaml"))
    assert moved.argv == (
        *("materialize", "--task=image_rotation", f"--input={tmp_path}/in", f"--output={tmp_path}/out"),
        *(f"--config={config}", f"--group-by={next(name for name in moved.files if name.endswith('.csv'))}", "--json"),
    )
    assert moved.tasks == ("image_rotation",)
    (tmp_path / "nightly.yaml").write_text("seed: 4\n")
    assert portable([*argv, "--group-by", "sites.csv"]).sha256 != moved.sha256


def test_the_same_work_has_the_same_digest_however_it_is_typed() -> None:
    one: Any = portable(["materialize", "-t", "image_rotation", *S3, "--seed", "3"])
    two: Any = portable(["materialize", "--seed=3", *S3, "--task=image_rotation", "--json"])
    assert one == two
    assert one.sha256 == two.sha256


def test_an_argument_that_begins_with_a_dash_stays_one() -> None:
    assert portable(["show", "--", "-odd"]).argv[-1].endswith("/-odd")
