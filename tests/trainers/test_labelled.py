from __future__ import annotations

import numpy as np
from unlabeled.trainers.labelled import Labelled, num_shared

from tests.trainers.pictures import bars


def test_taking_keeps_media_and_labels_together() -> None:
    pictures = bars(9, 0)
    taken = pictures.take(np.array([4, 1]))
    assert len(taken) == 2
    assert taken.labels.tolist() == [pictures.labels[4], pictures.labels[1]]
    assert np.array_equal(taken.media[0], pictures.media[4])


def test_test_examples_that_were_trained_on_are_counted() -> None:
    train, test = bars(9, 0), bars(6, 1)
    assert num_shared(train, test) == 0
    media = np.concatenate([test.media, train.media[2:4]])
    mixed = Labelled("image", media, np.zeros(8, np.int64), test.classes, "")
    assert num_shared(train, mixed) == 2
