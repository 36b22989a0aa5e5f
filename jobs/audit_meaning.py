"""The small network's part of the audit: what its score means beside those of the artefacts."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..pipeline.audit.judge import Target
from ..pipeline.audit.measure import Spec
from ..pipeline.audit.report import FamilyReport, Meaning, MeaningReport
from ..pipeline.audit.sample import Unit
from ..pipeline.audit.scores import Score
from ..pipeline.audit.seen import see
from ..pipeline.audit.shrunk import shrunk
from ..pipeline.preview.sample import read_row_group
from ..pipeline.storage import Store

#: Enough for a network of this size, and seconds to train.
MAX_EXAMPLES = 3000
#: From fewer it is not said that a label carries nothing: the network may have lacked examples.
MIN_EXAMPLES = 1000
MIN_EXAMPLES_A_CLASS = 100
_MESSAGES: dict[Meaning, str] = {
    "meaningful": "A small network learns to tell the label of sources that it did not see.",
    "void": "A small network does no better than chance: on these media the label may carry nothing.",
    "leaky": "A small network does no better than artefacts that say nothing of what is shown.",
    "inconclusive": "A small network may or may not do better than chance: more examples are needed.",
}


def judge_meaning(
    store: Store, spec: Spec, units: Sequence[Unit], families: Sequence[FamilyReport], seed: int
) -> MeaningReport:
    """Return what a small network makes of the first label, or why it was not asked."""
    name = spec.targets[0] if spec.targets else ""
    if not name or not spec.features[name].classes:
        return MeaningReport(verdict="skipped", message="Only labels with classes are put to the small network.")
    if importlib.util.find_spec("torch") is None:
        return MeaningReport(
            verdict="skipped", message='The small network needs torch: pip install "unlabeled[train]".'
        )
    from ..trainers.meaning import network_score

    inputs: list[NDArray[np.float32]] = []
    labels: list[int] = []
    groups: list[str] = []
    for unit in units:
        if len(inputs) >= MAX_EXAMPLES:
            break
        for row in spec.examples(read_row_group(store, unit.group, None)):
            if row[name] is not None:
                inputs.append(shrunk(see(spec.features, row)))
                labels.append(int(row[name]))
                groups.append(row["group_id"])
    if not inputs or not len(inputs[0]):
        return MeaningReport(verdict="skipped", message="There is no small network for this kind of media.")
    target = Target(name, np.asarray(labels, np.int64), is_regression=False)
    numbers = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    num_classes = len(np.unique(target.labels))
    return meaning_of(network_score(np.stack(inputs), target.labels, numbers, seed), families, name, num_classes)


def meaning_of(score: Score, families: Sequence[FamilyReport], target: str, num_classes: int) -> MeaningReport:
    """Return the verdict on a network's score: void at chance, leaky where a failing artefact does as well.

    Above chance is above it, however little: what is surely so is never void.
    """
    rivals = [one for one in families if one.verdict == "fail" and one.target == target]
    best = max(rivals, key=lambda one: one.score, default=None)
    verdict: Meaning = "inconclusive"
    is_enough = score.num_examples >= max(MIN_EXAMPLES, MIN_EXAMPLES_A_CLASS * num_classes)
    if score.verdict == "pass" and score.low <= 0 and is_enough:
        verdict = "void"
    elif score.verdict == "fail":
        verdict = "leaky" if best is not None and score.low <= best.high else "meaningful"
    return MeaningReport(
        verdict=verdict,
        score=round(score.value, 4),
        low=round(score.low, 4),
        high=round(score.high, 4),
        num_examples=score.num_examples,
        best_artefact="" if best is None else best.family,
        best_artefact_high=0.0 if best is None else best.high,
        message=_MESSAGES[verdict],
    )
