from __future__ import annotations

import pytest
from unlabeled.pipeline.audit.judge import verdict_of
from unlabeled.pipeline.audit.probe import Probed
from unlabeled.pipeline.audit.scores import Score


def _score(value: float) -> Score:
    return Score(value, value - 0.03, value + 0.03, 0.015, 1000, 100)


@pytest.mark.parametrize(
    ("score", "control", "p_holm", "verdict"),
    [
        (0.5, 0.0, 0.001, "fail"),
        (0.5, 0.0, 0.2, "inconclusive"),
        (0.5, 0.5, 0.001, "inconclusive"),
        (0.0, 0.0, 1.0, "pass"),
    ],
)
def test_a_family_fails_only_where_the_control_and_the_others_allow_it(
    score: float, control: float, p_holm: float, verdict: str
) -> None:
    assert verdict_of(Probed(_score(score), _score(control)), p_holm) == verdict
