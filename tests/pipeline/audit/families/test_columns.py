from __future__ import annotations

import numpy as np
from unlabeled.pipeline.audit.families.columns import boilerplate, lineage, position


def test_rows_and_draws_are_looked_at_in_turns() -> None:
    cues = position([0, 1, 2, 3], [0.0, 0.33, 0.66, 1.0], [3, 2, 1, 0], num_classes=4)
    assert [3.0, 2.0, 1.0, 0.0] in cues.T.tolist()
    assert len(cues) == 4


def test_numbers_texts_and_lists_become_cues() -> None:
    cues = lineage({"codec": ["jpeg", "png", "jpeg"], "size": [5, 7, 5], "pict_type": [[1, 2], [1, 3], [2, 2]]}).T
    told = cues.tolist()
    assert [1.0, 0.0, 1.0] in told
    assert [5.0, 7.0, 5.0] in told
    assert [2.0, 3.0, 2.0] in told


def test_no_columns_give_no_cues() -> None:
    assert lineage({}).shape == (0, 0)


def test_what_other_groups_say_too_is_boilerplate() -> None:
    segments = [[[1, 2, 3, 4, 5]], [[1, 2, 3, 9, 9]], [[7, 7, 7, 7, 7]]]
    cues = boilerplate(segments, ["a", "b", "c"])
    assert np.allclose(cues[:, 0], [np.log(2), np.log(2), 0])
    assert not cues[:, 1].any()
