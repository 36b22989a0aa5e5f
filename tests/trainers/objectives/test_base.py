from __future__ import annotations

import numpy as np
from unlabeled.trainers.data import Batch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.classification import Classification, Target
from unlabeled.trainers.objectives.views import Views


def test_an_objective_takes_the_columns_that_it_names_and_no_others() -> None:
    model = Classification(build_encoder("resnet-small", seed=0), Views(("image",), 1), [Target("label", 4)])
    columns = {"image": np.zeros((1, 8, 8, 3)), "label": np.zeros(1), "other": np.zeros(1)}
    assert set(model.arrange(Batch(0, 0, ("a",), columns))) == {"image", "label"} == set(model.columns)
    assert set(model.encoders) == {"encoder"}
