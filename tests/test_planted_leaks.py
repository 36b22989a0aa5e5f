"""Every planted leak fails and its family is named; the same examples without the leak do not fail it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.audit import probe
from unlabeled.pipeline.features import Features

from tests import leaky
from tests.runs import cli

LEAKS: list[Any] = [
    pytest.param("quantisation", leaky.TURNED, lambda leak: leaky.turned(keeps_original=leak), id="kept original"),
    pytest.param("borders", leaky.TURNED, lambda leak: leaky.turned(turns_first=leak), id="turned before crop"),
    pytest.param("position", leaky.TURNED, lambda leak: leaky.turned(in_order=leak), id="draws in label order"),
    pytest.param(
        "chroma", leaky.TURNED, lambda leak: leaky.turned(captured=leaky.aberrant if leak else None), id="red aside"
    ),
    pytest.param(
        "chroma", leaky.TURNED, lambda leak: leaky.turned(captured=leaky.subsampled if leak else None), id="4:2:2"
    ),
    pytest.param("continuity", leaky.BESIDE, lambda leak: leaky.beside(gap_px=0 if leak else 24), id="no patch gap"),
    pytest.param(
        "continuity",
        leaky.FOLLOWS,
        lambda leak: leaky.follows(gap=0 if leak else 160, is_levelled=True, other=False),
        id="no clip gap",
    ),
    pytest.param(
        "noise",
        leaky.FOLLOWS,
        lambda leak: leaky.follows(gap=160, is_levelled=not leak, other=True),
        id="level as recorded",
    ),
    pytest.param("sharpness", leaky.SHOWN, lambda leak: leaky.played(encode_first=leak), id="encoded, then reversed"),
    pytest.param("repeats", leaky.SHOWN, lambda leak: leaky.sped(wraps=leak), id="wraps around"),
    pytest.param(
        "continuity", leaky.CLIPS, lambda leak: leaky.clipped(gap_frames=0 if leak else 8), id="no frame gap"
    ),
]


@pytest.mark.parametrize(("family", "features", "made"), LEAKS)
def test_a_planted_leak_fails_and_is_named(
    family: str, features: Features, made: Callable[[bool], leaky.Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A fifth of the permutations: the command is tried with all of them, in the slow half.
    monkeypatch.setattr(probe, "NUM_PERMUTATIONS", 4)
    found = leaky.audited(features, made(True), {family, "geometry"})
    assert found[family].verdict == "fail", found[family]
    assert found[family].low > 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("family", "features", "made"), LEAKS)
def test_without_the_leak_the_family_does_not_fail(
    family: str, features: Features, made: Callable[[bool], leaky.Made]
) -> None:
    found = leaky.audited(features, made(False), {family})
    assert found[family].verdict != "fail", found[family]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "features", "made"), LEAKS)
def test_the_command_exits_5_and_names_the_family(
    family: str, features: Features, made: Callable[[bool], leaky.Made], tmp_path: Path
) -> None:
    done = cli("audit", leaky.published(features, made(True), tmp_path), "--no-meaning", timeout=600)
    assert done.returncode == 5, done.stderr
    assert re.search(rf"^  {family} tells label: score", done.stderr, re.MULTILINE), done.stderr
