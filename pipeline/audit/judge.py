"""Measured examples to verdicts: a probe a family and label, corrected for their number; trivial predictors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..features import Features
from .catalogue import COLUMN_FAMILIES, FAMILIES
from .families import columns
from .families.family import Cues
from .measure import SAME, Spec
from .probe import Probed, probe
from .report import FamilyReport, Judgement, TrivialReport
from .scores import CONFIDENCE, FAIL_ABOVE, Ints, Score, holm, mean_score

#: Whole numbers with more values than this, without names of classes, are regressed.
_MAX_CLASSES = 64
#: A trivial predictor fails a task where it surely solves more than this share of the examples.
MAX_SOLVED = 0.5


@dataclass(frozen=True)
class Target:
    """One label of all examples: int64 classes or float64 values, [num_examples]."""

    name: str
    labels: NDArray[Any]
    is_regression: bool


def judge_families(table: pa.Table, spec: Spec, seed: int) -> list[FamilyReport]:
    """Return the verdict of every family that applies, for every label; `seed` is that of folds and permutations."""
    groups = group_numbers(table)
    found: list[tuple[str, str, bool, Target, Probed]] = []
    for target in targets_of(table, spec):
        for name, about, is_semantic, cues in _families(table, spec, target):
            if cues.shape[1]:
                done = probe(cues, target.labels, groups, is_regression=target.is_regression, seed=seed)
                found.append((name, about, is_semantic, target, done))
    artefacts = [one for one in found if not one[2]]
    adjusted = iter(holm([one[4].score.p_above(FAIL_ABOVE) for one in artefacts]))
    reports = []
    for name, about, is_semantic, target, done in found:
        p_holm = done.score.p_above(FAIL_ABOVE) if is_semantic else next(adjusted)
        verdict = "semantic" if is_semantic else verdict_of(done, p_holm)
        reports.append(_report(name, about, target, done, p_holm, verdict))
    return reports


def verdict_of(done: Probed, p_holm: float) -> Judgement:
    """Return the verdict of one family; none is trusted whose probe tells permuted labels, too."""
    if done.control.verdict == "fail":
        return "inconclusive"
    if done.score.verdict == "fail" and p_holm > 1 - CONFIDENCE:
        return "inconclusive"
    return done.score.verdict


def _report(name: str, about: str, target: Target, done: Probed, p_holm: float, verdict: Judgement) -> FamilyReport:
    measure: Literal["accuracy", "r2"] = "r2" if target.is_regression else "accuracy"
    score = done.score
    return FamilyReport(
        family=name,
        about=about,
        target=target.name,
        measure=measure,
        score=round(score.value, 4),
        low=round(score.low, 4),
        high=round(score.high, 4),
        control=round(done.control.value, 4),
        p_holm=p_holm,
        num_examples=score.num_examples,
        num_groups=score.num_groups,
        verdict=verdict,
        num_missing=score.num_missing if verdict == "inconclusive" else 0,
    )


def group_numbers(table: pa.Table) -> Ints:
    """Return the number of each example's group, int64 [num_examples]."""
    names = table["group_id"].to_pylist()
    number = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.asarray([number[name] for name in names], np.int64)


def targets_of(table: pa.Table, spec: Spec) -> list[Target]:
    """Return every label of the examples."""
    names = (SAME,) if spec.is_contrastive else spec.targets
    if not names or not table.num_rows:
        return []
    values = np.asarray(table["labels"].to_pylist(), np.float64).reshape(-1, len(names))
    targets = []
    for place, name in enumerate(names):
        column = values[:, place]
        is_regression = not spec.is_contrastive and _is_regression(spec.features, name, column)
        targets.append(Target(name, column if is_regression else column.astype(np.int64), is_regression))
    return targets


def _is_regression(features: Features, name: str, values: NDArray[np.float64]) -> bool:
    feature = features[name]
    return feature.dtype.startswith("float") or (not feature.classes and len(np.unique(values)) > _MAX_CLASSES)


def _families(table: pa.Table, spec: Spec, target: Target) -> Iterator[tuple[str, str, bool, Cues]]:
    """Yield name, what it looks at, whether it is legitimate, and cues [num_examples, num_cues] of each family."""
    for family in FAMILIES:
        cues = np.asarray(table[family.name].to_pylist(), np.float32).reshape(table.num_rows, -1)
        yield family.name, family.about, family.is_semantic, cues
    segments = table["segments"].to_pylist()
    if spec.is_contrastive:
        # Both kinds of pairs come from one row: nothing beside it can tell them apart.
        return
    num_classes = 0 if target.is_regression else len(np.unique(target.labels))
    rows = [json.loads(text) for text in table["lineage"].to_pylist()]
    lineage = {name: [row[place] for row in rows] for place, name in enumerate(spec.lineage)}
    of_frames = {name: lineage.pop(name) for name in list(lineage) if "pict_type" in name}
    at = [table[name].to_pylist() for name in ("row", "place", "draw")]
    found = {"position": columns.position(at[0], at[1], at[2], num_classes), "lineage": columns.lineage(lineage)}
    if of_frames:
        found["picture_type"] = columns.lineage(of_frames)
    if any(segments):
        found["boilerplate"] = columns.boilerplate(segments, table["group_id"].to_pylist())
    for name, cues in found.items():
        yield name, COLUMN_FAMILIES[name], False, cues


def judge_trivial(table: pa.Table) -> list[TrivialReport]:
    """Return what trivial predictors make of a task without a label; nothing where no predictor fits it."""
    judged: list[Mapping[str, Sequence[float]]] = [json.loads(text) for text in table["trivial"].to_pylist()]
    groups = group_numbers(table)
    reports = []
    for name in sorted({key for row in judged for key in row}):
        values = np.asarray([row[name] for row in judged], np.float64)
        solved = mean_score(values[:, 2], groups)
        skill = _skill(values[:, 0], values[:, 1], groups)
        verdict: Judgement = "pass"
        if solved.low <= MAX_SOLVED < solved.high:
            verdict = "inconclusive"
        elif solved.low > MAX_SOLVED:
            verdict = "fail"
        reports.append(
            TrivialReport(
                predictor=name,
                skill=round(skill.value, 4),
                skill_low=round(skill.low, 4),
                skill_high=round(skill.high, 4),
                solved=round(solved.value, 4),
                solved_low=round(max(0.0, solved.low), 4),
                solved_high=round(min(1.0, solved.high), 4),
                num_examples=solved.num_examples,
                num_groups=solved.num_groups,
                verdict=verdict,
            )
        )
    return reports


def _skill(errors: NDArray[np.float64], spreads: NDArray[np.float64], groups: Ints) -> Score:
    """Return 1 - error / spread over all examples, each counted by its spread, with its interval."""
    total = max(float(spreads.sum()), 1e-12)
    ratio = float(errors.sum()) / total
    # The mean of 1 - ratio and the examples' influences on it has the statistic's value and its jackknife error.
    influences = (1 - ratio) + (ratio * spreads - errors) * len(errors) / total
    return mean_score(influences, groups)
