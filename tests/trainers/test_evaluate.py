from __future__ import annotations

import numpy as np
import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.encoders.encoder import Encoder
from unlabeled.trainers.evaluate import ProbeKind, ProbeSettings, choose_probe, evaluate, held_out, places_of
from unlabeled.trainers.finetune import FinetuneSettings, train_classifier
from unlabeled.trainers.labelled import Labelled
from unlabeled.trainers.layer_features import Place

from tests.trainers.pictures import bars

TRAIN, TEST = bars(90, 0), bars(60, 1)
KINDS: tuple[ProbeKind, ...] = ("linear", "knn")
SETTINGS = ProbeSettings(sides=(1, 2), l2=(1e-3,))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return build_encoder("resnet-small", side_px=16, seed=0).eval()


def test_a_report_has_the_control_beside(encoder: Encoder) -> None:
    classifier = train_classifier(encoder, TRAIN, FinetuneSettings(num_steps=2))
    report = evaluate(encoder, TRAIN, TEST, SETTINGS, classifier)
    assert (report.num_train, report.num_test, report.num_test_in_train) == (90, 60, 0)
    assert report.classifier is not None
    for probes in (report.linear, report.knn):
        assert probes.choice.place == probes.control_choice.place
        assert probes.pretrained.num_examples == probes.random_init.num_examples == 60
        # A bar's place is seen by random features too.
        assert min(probes.pretrained.accuracy, probes.random_init.accuracy) > 0.6
    assert evaluate(encoder, TRAIN, TEST, SETTINGS).linear == report.linear


def test_choosing_never_looks_at_the_test_examples(encoder: Encoder) -> None:
    """Other test labels, the same choice."""
    other = Labelled("image", TEST.media, (TEST.labels + 1) % 3, TEST.classes, "")
    reports = [evaluate(encoder, TRAIN, test, SETTINGS) for test in (TEST, other)]
    assert reports[0].linear.choice == reports[1].linear.choice
    assert reports[0].linear.pretrained.accuracy > reports[1].linear.pretrained.accuracy


def test_the_place_that_is_best_on_held_out_examples_is_chosen() -> None:
    says_nothing, says_the_class = Place("stage1", 1), Place("stage2", 1)
    noise = torch.randn(len(TRAIN), 3, generator=torch.Generator().manual_seed(0))
    features = {says_nothing: noise, says_the_class: noise + 5 * torch.eye(3)[torch.from_numpy(TRAIN.labels)]}
    for kind in KINDS:
        choice = choose_probe(kind, features, TRAIN.labels, [held_out(TRAIN, SETTINGS)], SETTINGS)
        assert choice.place == says_the_class


def test_held_out_examples_are_bounded_and_apart() -> None:
    kept, held = held_out(TRAIN, SETTINGS.model_copy(update={"max_held_out": 6}))
    assert len(kept) == 72
    assert len(held) == 6
    assert not set(kept) & set(held)
    with pytest.raises(ConfigError, match="too few"):
        held_out(TRAIN.take(np.array([0])), SETTINGS)


def test_an_unknown_layer_is_named_with_the_nearest(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match=r"found 'stage7'.*stage1"):
        places_of(encoder, ProbeSettings(layers=("stage7",)))


def test_classes_of_another_dataset_are_refused(encoder: Encoder) -> None:
    classifier = train_classifier(encoder, TRAIN, FinetuneSettings(num_steps=1))
    other = Labelled("image", TEST.media, TEST.labels, ("a", "b", "c"), "")
    with pytest.raises(ConfigError, match="the run's classes are top, bottom, left"):
        evaluate(
            encoder, Labelled("image", TRAIN.media, TRAIN.labels, ("a", "b", "c"), ""), other, SETTINGS, classifier
        )
