from __future__ import annotations

import math

import pytest
import torch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.contrastive import Contrastive
from unlabeled.trainers.objectives.views import Views

from tests.small_media import SMALL


def objective() -> Contrastive:
    encoder = build_encoder("resnet-small", seed=0, medium="audio", **SMALL["audio"])
    return Contrastive(encoder, Views(("clip_a", "clip_b"), 2), temperature=0.1).eval()


def test_equal_views_find_each_other() -> None:
    sound = 0.1 * torch.randn(6, 3200, generator=torch.Generator().manual_seed(0))
    outcome = objective()({"clip_a": sound, "clip_b": sound})
    assert outcome.scores["accuracy"].total.item() == 6


def test_views_that_are_all_alike_have_the_loss_of_chance() -> None:
    sound = 0.1 * torch.randn(1, 3200).expand(6, -1)
    outcome = objective()({"clip_a": sound, "clip_b": sound})
    assert outcome.loss.item() == pytest.approx(math.log(6), rel=1e-3)


def test_a_batch_cannot_be_cut() -> None:
    assert not Contrastive.accumulates
