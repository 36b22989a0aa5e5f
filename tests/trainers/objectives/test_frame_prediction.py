from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.frame_prediction import FramePrediction
from unlabeled.trainers.objectives.views import Views


@pytest.mark.parametrize(
    ("name", "shape", "num_views"),
    [("videomae-mini", {"side_px": 32, "num_frames": 4}, 1), ("resnet-small", {"side_px": 32}, 4)],
)
def test_copying_the_last_frame_has_no_skill(name: str, shape: dict[str, int], num_views: int) -> None:
    encoder = build_encoder(name, seed=0, **shape)
    model = FramePrediction(encoder, Views(("context",), num_views), "target", 2).eval()
    frames = torch.randint(0, 256, (3, 6, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        model.predict[-1].weight.zero_()
        model.predict[-1].bias.zero_()
        outcome = model({"context": frames[:, :4], "target": frames[:, 4:]})
        still = model({"context": frames[:, :4], "target": frames[:, 3:4].expand(-1, 2, -1, -1, -1)})
    assert outcome.scores["skill"].total.item() == pytest.approx(0, abs=1e-3)
    assert outcome.loss.item() > 0
    assert still.loss.item() == pytest.approx(0, abs=1e-6)
