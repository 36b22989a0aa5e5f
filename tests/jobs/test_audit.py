"""`unlabeled audit`, from a dataset to verdicts in it, a page and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from unlabeled.jobs.audit import Audit, failure, overall, write_page
from unlabeled.jobs.ray_start import started_ray
from unlabeled.pipeline.audit.measure import Spec
from unlabeled.pipeline.audit.report import load_verdicts
from unlabeled.pipeline.audit.sample import choose_units, measure_here
from unlabeled.pipeline.config import RunSettings
from unlabeled.pipeline.encode import encode_png
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.manifest import require_manifest
from unlabeled.pipeline.storage import Store

from tests import planted, small_datasets
from tests.audited import family, report
from tests.runs import cli


@pytest.fixture(scope="module")
def rotations(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("audit")
    return planted.build("image_rotation", planted.photographs(folder / "in", 40), folder / "out", side_px=48)


def card_of(store: Store) -> str:
    return store.get("README.md").decode()


def test_a_sound_dataset_does_not_fail_and_keeps_its_verdicts(rotations: Store) -> None:
    found = Audit(rotations.uri, meaning=False)()
    assert found.verdict != "fail"
    assert failure(found) is None
    assert {"container", "grid_phase", "layout", "position"} <= {one.family for one in found.families}
    assert load_verdicts(rotations, 1) == found
    assert f"Can cheap cues tell the label? {found.verdict.capitalize()} (160 of 160" in card_of(rotations)
    assert (found.num_examples, found.num_groups, found.num_dataset_examples) == (160, 40, 160)


def test_the_command_prints_one_object_and_writes_a_page(rotations: Store, tmp_path: Path) -> None:
    done = cli("audit", rotations.uri, "--json", "--no-meaning", "--out", str(tmp_path / "page.html"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["task"] == "image_rotation"
    assert "Audit: image_rotation" in (tmp_path / "page.html").read_text()


def test_ray_measures_what_this_process_does(rotations: Store) -> None:
    manifest = require_manifest(rotations)
    spec, units = Spec.of(manifest), choose_units(rotations, manifest, 1000)
    with started_ray(RunSettings(num_cpus=1)):
        from unlabeled.pipeline.ray_audit import measure_on_ray

        assert measure_on_ray(rotations, spec, units).equals(measure_here(rotations, spec, units))


@pytest.mark.slow
def test_textures_have_no_up_so_their_rotation_is_void(tmp_path: Path) -> None:
    """As in pictures from above: whichever way a texture is turned, it looks like another of its kind."""
    pytest.importorskip("torch")
    files = {f"{seed}.png": encode_png(texture(seed)) for seed in range(750)}
    store = planted.build("image_rotation", small_datasets.fill(tmp_path / "in", files), tmp_path / "out", side_px=48)
    found = Audit(store.uri, max_examples=3000)()
    assert found.meaning.verdict == "void", found.meaning
    assert found.meaning.high <= 0.05
    assert found.verdict != "fail"


def texture(seed: int) -> NDArray[np.uint8]:
    """Return noise of one colour and roughness, the same in all directions, uint8 [64, 64, 3]."""
    rng = np.random.default_rng([seed, 5])
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    frequency[0, 0] = 1
    plane = np.fft.ifft2(np.fft.fft2(rng.normal(0, 1, (64, 64))) * frequency ** -rng.uniform(0.5, 1.5)).real
    colour = rng.uniform(80, 170, 3) + plane[..., None] / plane.std() * rng.uniform(15, 35, 3)
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8)


def test_a_failing_family_is_named_with_its_figures() -> None:
    error = failure(report(verdict="fail", families=(family("container", "fail"),)))
    assert error is not None
    assert error.exit_code == 5
    assert "container tells label: score 0.500 [0.400, 0.600]" in str(error)


def test_one_failure_fails_and_nothing_looked_at_is_inconclusive() -> None:
    passed, failed, semantic = (family(word, word) for word in ("pass", "fail", "semantic"))
    assert overall([passed, failed], []) == "fail"
    assert overall([passed, semantic], []) == "pass"
    assert overall([], []) == "inconclusive"


def test_wrong_settings_are_named(rotations: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--max-examples"):
        Audit(rotations.uri, max_examples=0)()
    with pytest.raises(ConfigError, match="--out"):
        write_page(report(), tmp_path / "no" / "page.html")


def test_units_hold_about_as_many_examples_as_asked(rotations: Store) -> None:
    manifest = require_manifest(rotations)
    units = choose_units(rotations, manifest, 1)
    assert len(units) == 1
    assert np.isclose(units[0].num_shard_rows, units[0].group["num_rows"])
