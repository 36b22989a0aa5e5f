from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.augment import AugmentSettings
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.evaluate import ProbeSettings
from unlabeled.trainers.few_label import FewLabelReport, FewLabelSettings, choose_training, few_label
from unlabeled.trainers.finetune import FinetuneSettings

from tests.trainers.pictures import bars

SETTINGS = FewLabelSettings(
    labels_per_class=(2, 4),
    num_draws=3,
    learning_rates=(4e-3,),
    max_steps=8,
    finetune=FinetuneSettings(num_steps=4, augment=AugmentSettings(flip="none")),
    probe=ProbeSettings(sides=(1, 2), l2=(1e-3,)),
)


@pytest.fixture(scope="module")
def report() -> FewLabelReport:
    encoder = build_encoder("resnet-small", side_px=16, seed=0).eval()
    return few_label(encoder, bars(90, 0), bars(60, 1), SETTINGS)


def test_every_method_has_a_point_for_every_number_of_labels(report: FewLabelReport) -> None:
    methods = {point.method for point in report.points}
    assert len(methods) == 6
    assert len(report.points) == 12
    assert all(len(point.accuracies) == 3 for point in report.points)


def test_gains_are_paired_over_draws(report: FewLabelReport) -> None:
    gain = next(at for at in report.gains if at.method == "linear probe" and at.labels_per_class == 4)
    pair = [report.point(method, 4).accuracies for method in (gain.method, gain.baseline)]
    assert gain.difference.mean == pytest.approx(np.subtract(*pair).mean())
    assert gain.difference.num_draws == 3


def test_two_random_encoders_do_not_differ_for_sure(report: FewLabelReport) -> None:
    """The encoder under test is random itself: a report that found a gain would be wrong."""
    gain = next(at for at in report.gains if at.baseline == "linear probe, random init" and at.labels_per_class == 4)
    assert abs(gain.difference.mean) < 0.2


def test_the_control_probe_is_at_the_same_place(report: FewLabelReport) -> None:
    chosen = [report.point(method, 2).probe for method in ("linear probe", "linear probe, random init")]
    assert chosen[0] is not None
    assert chosen[1] is not None
    assert chosen[0].place == chosen[1].place


def test_probes_alone_are_a_report_too() -> None:
    encoder = build_encoder("resnet-small", side_px=16, seed=0).eval()
    quick = SETTINGS.model_copy(update={"has_finetuning": False, "num_draws": 1})
    report = few_label(encoder, bars(90, 0), bars(60, 1), quick)
    assert {point.method for point in report.points} & {"fine-tuned", "from scratch"} == set()
    assert report.point("kNN", 2).accuracy.method == "none"


def test_more_labels_than_are_left_is_refused_before_work_begins() -> None:
    encoder = build_encoder("resnet-small", side_px=16, seed=0)
    with pytest.raises(ConfigError, match="found 30, expected at most 24"):
        few_label(encoder, bars(90, 0), bars(60, 1), SETTINGS.model_copy(update={"labels_per_class": (30,)}))


@pytest.mark.parametrize(
    ("accuracies", "chosen", "is_saturated"),
    [
        ({100: 0.5, 200: 0.5}, 100, True),
        ({100: 0.5, 200: 0.6, 400: 0.602}, 400, True),
        ({100: 0.5, 200: 0.6, 400: 0.7, 800: 0.8}, 800, False),
        ({100: 0.5, 200: 0.4}, 100, True),
    ],
)
def test_steps_are_doubled_until_nothing_is_gained(
    accuracies: dict[int, float], chosen: int, is_saturated: bool
) -> None:
    settings = FewLabelSettings(learning_rates=(1e-3,), max_steps=800, finetune=FinetuneSettings(num_steps=100))
    choice = choose_training(lambda tuned: accuracies[tuned.num_steps], settings)
    assert (choice.num_steps, choice.is_saturated) == (chosen, is_saturated)
    assert [steps for _, steps, _ in choice.tried] == list(accuracies)


def test_the_better_learning_rate_is_taken() -> None:
    settings = FewLabelSettings(learning_rates=(1e-3, 1e-2), max_steps=300)
    choice = choose_training(lambda tuned: 1 - tuned.learning_rate, settings)
    assert choice.learning_rate == 1e-3
