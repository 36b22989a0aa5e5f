from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.objectives.classification import Classification, PairHead, Target
from unlabeled.trainers.objectives.views import Views

from tests.small_media import SMALL, raw_media


def objective(*targets: Target) -> Classification:
    encoder = build_encoder("resnet-small", seed=0, **SMALL["image"])
    return Classification(encoder, Views(("image",), 1), targets)


def test_labels_that_are_not_given_count_neither_in_loss_nor_in_accuracy() -> None:
    model = objective(Target("label", 4)).eval()
    images = raw_media("image")
    both = model({"image": images, "label": torch.tensor([2, -1])})
    one = model({"image": images[:1], "label": torch.tensor([2])})
    assert both.loss.item() == pytest.approx(one.loss.item(), rel=1e-4)
    assert both.scores["accuracy"].weight.item() == 1


def test_a_label_without_classes_is_a_sign() -> None:
    assert Target("order", 0).classes_of(torch.tensor([-1, 1])).tolist() == [0, 1]


def test_the_losses_of_several_labels_add_up() -> None:
    model = objective(Target("label", 4), Target("order", 0)).eval()
    outcome = model({"image": raw_media("image"), "label": torch.tensor([0, 3]), "order": torch.tensor([-1, 1])})
    assert set(outcome.scores) == {"accuracy", "accuracy_order"}
    assert outcome.loss.item() > 1.0  # about log 4 + log 2


def test_the_places_of_views_matter_to_the_head() -> None:
    head = PairHead([8], [2], 16, 3)
    views = torch.randn(4, 2, 8)
    assert not torch.allclose(head([views]), head([views.flip(1)]))
