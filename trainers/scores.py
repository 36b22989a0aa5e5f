"""How good predictions are: accuracy, macro-F1, confusion; and how sure a difference is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class Scores(_Report):
    """Predictions against labels.

    Attributes:
        num_examples: how many were predicted.
        accuracy: share that was right, in [0, 1].
        macro_f1: mean over classes of the harmonic mean of precision and recall, in [0, 1]; classes that neither
            labels nor predictions have are left out.
        confusion: `confusion[label][prediction]` counts.
    """

    num_examples: int
    accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]


class Interval(_Report):
    """A mean over paired draws with its confidence interval.

    Attributes:
        mean, low, high: in the unit of what was measured; low and high are NaN-free: equal to mean for one draw.
        num_draws: how many values it stands on.
        confidence: coverage of [low, high] over repeated draws, such as 0.95.
        method: `student_t` over draws; `none` for a single draw, which has no interval.
    """

    mean: float
    low: float
    high: float
    num_draws: int
    confidence: float
    method: Literal["student_t", "none"]

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside of [low, high]; never for a single draw."""
        return self.method != "none" and (self.low > 0 or self.high < 0)


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return counts int64 [num_classes, num_classes]: rows are labels, columns are predictions."""
    cells = labels * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def score(labels: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> Scores:
    """Return the scores of predictions int64 [N] against labels int64 [N], all in [0, num_classes)."""
    counts = confusion(labels, predicted, num_classes)
    right, num_labels, num_predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    seen = num_labels + num_predicted
    f1 = 2 * right[seen > 0] / seen[seen > 0]
    return Scores(
        num_examples=len(labels),
        accuracy=float(right.sum() / max(1, len(labels))),
        macro_f1=float(f1.mean()) if len(f1) else 0.0,
        confusion=tuple(tuple(row) for row in counts.tolist()),
    )


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return mean and Student t interval of values that are independent over draws (of differences: paired).

    Mean ± t[(1 + confidence) / 2, n - 1] · s / √n (Student 1908). It covers what another draw of labels, and the
    training's own randomness, would change; not another test set, nor another pretraining run.
    """
    data = np.asarray(values, np.float64)
    mean = float(data.mean())
    if len(data) < 2:
        return Interval(mean=mean, low=mean, high=mean, num_draws=len(data), confidence=confidence, method="none")
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, len(data) - 1)) * float(data.std(ddof=1)) / len(data) ** 0.5
    return Interval(
        mean=mean, low=mean - half, high=mean + half, num_draws=len(data), confidence=confidence, method="student_t"
    )


def paired_interval(values: Sequence[float], others: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the interval of `values - others`, where both have one value for each draw, in the same order."""
    return t_interval([value - other for value, other in zip(values, others, strict=True)], confidence)
