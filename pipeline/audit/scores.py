"""Scores with intervals that know of sources, and the verdicts that follow from them.

Examples of one source resemble each other, so sources (groups), not examples, are what is counted as independent. All
intervals are of linearised statistics with group totals: a first-order delete-one-group jackknife, with Student's t on
(number of groups - 1) degrees of freedom. (Cameron, Miller: A Practitioner's Guide to Cluster-Robust Inference,
Journal of Human Resources 50, 2015, sections II and VI.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["pass", "fail", "inconclusive"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: A family passes where its score is surely no more than this, and fails where it is surely more than that.
PASS_AT_MOST = 0.05
FAIL_ABOVE = 0.02
CONFIDENCE = 0.95
#: From fewer sources nothing is concluded: an interval would rest on their being like all others.
MIN_GROUPS = 12


@dataclass(frozen=True)
class Score:
    """A score and what it rests on.

    Attributes:
        value: 0 = chance, 1 = always right; below 0 where the probe did worse than chance.
        low, high: its 95 % interval.
        standard_error: of `value`, from the sources' totals.
        num_examples, num_groups: how many it rests on.
    """

    value: float
    low: float
    high: float
    standard_error: float
    num_examples: int
    num_groups: int

    @property
    def verdict(self) -> Verdict:
        """`pass` (upper bound <= 0.05), `fail` (lower bound > 0.02), else `inconclusive`; see `MIN_GROUPS`."""
        if self.num_groups < MIN_GROUPS:
            return "inconclusive"
        if self.high <= PASS_AT_MOST:
            return "pass"
        return "fail" if self.low > FAIL_ABOVE else "inconclusive"

    @property
    def num_missing(self) -> int:
        """About how many more examples would decide, if the score stayed as it is; 0 where it is decided.

        The half-width of an interval shrinks with the root of the number of examples.
        """
        if self.verdict != "inconclusive":
            return 0
        by_groups = self.num_examples * MIN_GROUPS / max(1, self.num_groups)
        wanted = max(PASS_AT_MOST - self.value, self.value - FAIL_ABOVE)
        half = max(self.high - self.value, self.value - self.low)
        needed = max(by_groups, self.num_examples * (half / wanted) ** 2)
        return max(1, int(np.ceil(needed)) - self.num_examples)

    def with_error(self, standard_error: float) -> Score:
        """Return the score with this standard error and its interval, where that is larger than its own."""
        if standard_error <= self.standard_error:
            return self
        half = _quantile(max(1, self.num_groups - 1)) * standard_error
        return replace(self, low=self.value - half, high=self.value + half, standard_error=standard_error)

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p-value of the hypothesis that the true score is at most `threshold`."""
        from scipy.stats import t

        if self.standard_error <= 0:
            # No two sources differ: the interval's bound stands for the missing error.
            return 0.0 if self.low > threshold else 1.0
        return float(t.sf((self.value - threshold) / self.standard_error, max(1, self.num_groups - 1)))


def accuracy_score(labels: Ints, predicted: Ints, groups: Ints) -> Score:
    """Return (accuracy - chance) / (1 - chance) of predictions that were made for sources not learnt from.

    Accuracy is balanced (the mean of the classes' recalls), so chance is 1 / number of classes.

    Args:
        labels: int64 [num_examples], the truth.
        predicted: int64 [num_examples].
        groups: int64 [num_examples], the number of each example's group.
    """
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    is_right = (labels == predicted).astype(np.float64)
    recalls = np.bincount(places, is_right) / counts
    chance = 1 / len(classes)
    influence = (is_right - recalls[places]) / (counts[places] * len(classes))
    accuracy = float(recalls.mean())
    score = _scored((accuracy - chance) / (1 - chance), influence / (1 - chance), groups)
    if accuracy < 1:
        return score
    # Always right: the sources do not differ, and only their number says how sure that is (Wilson's interval).
    z_squared = _quantile(10**6) ** 2
    low = (score.num_groups / (score.num_groups + z_squared) - chance) / (1 - chance)
    return Score(score.value, low, 1.0, 0.0, score.num_examples, score.num_groups)


def explained_score(truth: Floats, predicted: Floats, groups: Ints) -> Score:
    """Return R2, the share of the variance that predictions explain, each float64 [num_examples]."""
    errors, spread = np.square(truth - predicted), np.square(truth - truth.mean())
    total = float(spread.sum())
    if total <= 0:
        return Score(0.0, 0.0, 0.0, 0.0, len(truth), len(np.unique(groups)))
    unexplained = float(errors.sum()) / total
    return _scored(1 - unexplained, (unexplained * spread - errors) / total, groups)


def mean_score(values: Floats, groups: Ints) -> Score:
    """Return the mean of a value an example, float64 [num_examples]."""
    mean = float(values.mean())
    return _scored(mean, (values - mean) / len(values), groups)


def _scored(value: float, influence: Floats, groups: Ints) -> Score:
    """Return a score whose error is that of the groups' total influences on it."""
    _, places = np.unique(groups, return_inverse=True)
    totals = np.bincount(places, influence)
    num = len(totals)
    error = float(np.sqrt(num / max(1, num - 1) * np.square(totals).sum()))
    half = _quantile(max(1, num - 1)) * error
    return Score(value, value - half, value + half, error, len(groups), num)


def _quantile(degrees: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, degrees))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the order given.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

    Rejecting those at most alpha keeps the chance of any false rejection at most alpha, however they depend.
    """
    order: Any = np.argsort(np.asarray(p_values, np.float64), kind="stable")
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
