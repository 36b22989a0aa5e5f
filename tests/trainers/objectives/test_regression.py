from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.regression import Regression
from unlabeled.trainers.objectives.views import Views

from tests.small_media import SMALL, raw_media


def test_predicting_the_mean_has_the_deviation_as_its_error_and_no_skill() -> None:
    encoder = build_encoder("resnet-small", seed=0, medium="audio", **SMALL["audio"])
    model = Regression(encoder, Views(("clip",), 1), "label", mean=0.5, deviation=0.2).eval()
    with torch.no_grad():
        model.predict.predict.weight.zero_()  # type: ignore[operator, union-attr]
        model.predict.predict.bias.zero_()  # type: ignore[operator, union-attr]
    outcome = model({"clip": raw_media("audio"), "label": torch.tensor([0.3, 0.7])})
    assert outcome.loss.item() == pytest.approx(1)
    assert outcome.scores["skill"].total.item() == pytest.approx(0, abs=1e-6)
    assert (outcome.scores["mean_absolute_error"].total / 2).item() == pytest.approx(0.2)
