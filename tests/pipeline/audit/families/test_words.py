from __future__ import annotations

import numpy as np
from unlabeled.pipeline.audit.families.words import lengths
from unlabeled.pipeline.audit.seen import Seen


def test_segments_padding_and_strings_are_counted() -> None:
    told = lengths(Seen(segments=(np.arange(5), np.arange(3)), length=12))
    assert told[[0, 2, -1]].tolist() == [5, 3, 4]
    assert lengths(Seen(texts=("Two words",)))[:3].tolist() == [9, 2, 1]
    assert lengths(Seen()).tolist() == []
