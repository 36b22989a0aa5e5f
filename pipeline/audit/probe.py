"""Can a cue tell the label? Source-grouped cross-validation of two small models that fit most cheap cues.

The label of a source's examples is always predicted by models that saw no example of the source's group. Of a linear
and a tree model, the one is used that did better on groups held out from the training folds: the choice never sees the
test fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..rng import keyed_generator
from .scores import Floats, Ints, Score, accuracy_score, explained_score

NUM_FOLDS = 5
#: Share of the training groups that chooses between the models.
_CHOOSING_FRACTION = 0.3
_NUM_TREES = 50
_MIN_LEAF = 5
_MAX_ITERATIONS = 200
#: Permutations by which a score that would fail a dataset is judged again.
NUM_PERMUTATIONS = 20


@dataclass(frozen=True)
class Probed:
    """What one family tells of one label. `control` is the same procedure on permuted labels.

    A rule that a probe learns by luck is right or wrong for many sources at once, which the sources' own spread does
    not show. So the error of a score that would fail is at least the spread of the scores on permuted labels (Ojala,
    Garriga: Permutation Tests for Studying Classifier Performance, JMLR 11, 2010, test 1).
    """

    score: Score
    control: Score


def probe(cues: NDArray[np.float32], labels: NDArray[Any], groups: Ints, *, is_regression: bool, seed: int) -> Probed:
    """Return how well cues tell the labels of sources that were not learnt from, and the permutation control.

    Args:
        cues: float32 [num_examples, num_cues]; what is not finite counts as 0.
        labels: int64 classes, or float64 values, [num_examples].
        groups: int64 [num_examples], the number of each example's group.
        is_regression: labels are values, the score is R2 (may be far below 0); else they are classes.
        seed: of folds, trees and permutation.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    _require_sklearn()
    known: Floats = np.nan_to_num(cues.astype(np.float64), posinf=0.0, neginf=0.0)
    known = known[:, np.ptp(known, axis=0) > 0] if len(known) else known
    generator = keyed_generator("probe", seed)
    from threadpoolctl import threadpool_limits

    def on_permuted() -> Score:
        return _cross_validated(known, permute(labels, groups, generator), groups, is_regression, seed)

    # The matrices are small: threads would only wait for each other.
    with threadpool_limits(limits=1):
        score, control = _cross_validated(known, labels, groups, is_regression, seed), on_permuted()
        if score.verdict == "fail":
            scores = [control.value, *(on_permuted().value for _ in range(NUM_PERMUTATIONS - 1))]
            score = score.with_error(float(np.std(scores, ddof=1)))
        return Probed(score, control)


def permute(labels: NDArray[Any], groups: Ints, generator: np.random.Generator) -> NDArray[Any]:
    """Return labels exchanged where that keeps the design: inside groups that have several, else between groups.

    What is balanced within a source stays so; what is one label a source stays one label a source.
    """
    _, places = np.unique(groups, return_inverse=True)
    order = np.argsort(places, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(places))[:-1])
    if any(len(np.unique(labels[rows])) > 1 for rows in members):
        permuted = labels.copy()
        for rows in members:
            permuted[rows] = labels[generator.permutation(rows)]
        singles = [rows[0] for rows in members if len(rows) == 1]
        if singles:
            permuted[singles] = labels[generator.permutation(singles)]
        return permuted
    firsts = labels[[rows[0] for rows in members]]
    exchanged: NDArray[Any] = generator.permutation(firsts)[places]
    return exchanged


def _cross_validated(cues: Floats, labels: NDArray[Any], groups: Ints, is_regression: bool, seed: int) -> Score:
    score = explained_score if is_regression else accuracy_score
    if not is_regression and len(np.unique(labels)) < 2:
        return Score(0.0, 0.0, 0.0, 0.0, len(labels), len(np.unique(groups)))
    if not cues.shape[1] or len(np.unique(groups)) < 2:
        # Nothing varies: no probe can do better than chance.
        return Score(0.0, 0.0, 0.0, 0.0, len(labels), len(np.unique(groups)))
    folds = fold_of(groups, seed)
    predicted = np.zeros_like(labels)
    for fold in np.unique(folds):
        is_test = folds == fold
        predicted[is_test] = _predict(
            cues[~is_test], labels[~is_test], groups[~is_test], cues[is_test], is_regression, seed
        )
    return score(labels, predicted, groups)


def fold_of(groups: Ints, seed: int, num_folds: int = NUM_FOLDS) -> Ints:
    """Return each example's fold, int64 [num_examples]: whole groups, as many groups in each."""
    unique, places = np.unique(groups, return_inverse=True)
    folds = keyed_generator("folds", seed).permutation(len(unique)) % num_folds
    return folds[places].astype(np.int64)


def _predict(
    cues: Floats, labels: NDArray[Any], groups: Ints, asked: Floats, is_regression: bool, seed: int
) -> NDArray[Any]:
    """Return labels for `asked` from the better of the two models, refitted on all of `cues`."""
    if len(np.unique(labels)) < 2:
        return np.full(len(asked), labels[0], labels.dtype)
    held_out = fold_of(groups, seed + 1, round(1 / _CHOOSING_FRACTION)) == 0
    best, best_value = _models(is_regression, seed)[0], -np.inf
    score = explained_score if is_regression else accuracy_score
    if held_out.any() and len(np.unique(labels[~held_out])) > 1 and len(np.unique(labels[held_out])) > 1:
        for model in _models(is_regression, seed):
            model.fit(cues[~held_out], labels[~held_out])
            value = score(labels[held_out], model.predict(cues[held_out]), groups[held_out]).value
            if value > best_value:
                best, best_value = model, value
    predicted: NDArray[Any] = best.fit(cues, labels).predict(asked)
    return predicted


def _models(is_regression: bool, seed: int) -> list[Any]:
    """Return the fixed set: a linear model on standardised cues, and extremely randomised trees."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trees = {"n_estimators": _NUM_TREES, "min_samples_leaf": _MIN_LEAF, "random_state": seed % 2**31}
    if is_regression:
        return [make_pipeline(StandardScaler(), Ridge(10.0)), ExtraTreesRegressor(max_features=0.5, **trees)]
    linear = LogisticRegression(C=0.3, class_weight="balanced", max_iter=_MAX_ITERATIONS, tol=1e-3)
    return [make_pipeline(StandardScaler(), linear), ExtraTreesClassifier(class_weight="balanced", **trees)]


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ConfigError('the audit needs scikit-learn: pip install "unlabeled[audit]".') from error
