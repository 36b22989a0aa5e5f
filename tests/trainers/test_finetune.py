from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.augment import AugmentSettings
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.encoders.encoder import Encoder
from unlabeled.trainers.finetune import FinetuneSettings, Mode, predict, train_classifier

from tests.trainers.pictures import bars

TRAIN, TEST = bars(48, 0), bars(90, 1)
QUICK = FinetuneSettings(num_steps=30, batch_size=16, augment=AugmentSettings(flip="none"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder("resnet-small", side_px=16, seed=0)


@pytest.mark.parametrize("mode", ["whole", "frozen", "linear"])
def test_every_mode_learns_what_can_be_seen(encoder: Encoder, mode: Mode) -> None:
    classifier = train_classifier(encoder, TRAIN, QUICK.model_copy(update={"mode": mode, "learning_rate": 1e-2}))
    assert (predict(classifier, TEST, QUICK.compute) == TEST.labels).mean() > 0.6


@pytest.mark.parametrize(("mode", "stays"), [("whole", False), ("frozen", True), ("linear", True)])
def test_a_frozen_encoder_stays_as_it_is(encoder: Encoder, mode: Mode, stays: bool) -> None:
    """Weights and the statistics of batch norms alike."""
    classifier = train_classifier(encoder, TRAIN, QUICK.model_copy(update={"mode": mode, "num_steps": 2}))
    before, after = encoder.state_dict(), classifier.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before) == stays


def test_the_encoder_that_is_given_is_not_changed(encoder: Encoder) -> None:
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    train_classifier(encoder, TRAIN, QUICK.model_copy(update={"num_steps": 2}))
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_the_same_seed_gives_the_same_classifier_and_global_randomness_is_left_alone(encoder: Encoder) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, again, other = (
        train_classifier(encoder, TRAIN, QUICK.model_copy(update={"num_steps": 3, "seed": seed})) for seed in (0, 0, 5)
    )
    assert torch.equal(torch.rand(1), expected)
    heads = [classifier.head.state_dict()["weight"] for classifier in (one, again, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
