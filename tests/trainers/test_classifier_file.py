from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModel
from unlabeled.pipeline.errors import ConfigError, CorruptData
from unlabeled.trainers.classifier_file import ClassifierInfo, find_encoder, load_classifier, save_classifier
from unlabeled.trainers.config import ComputeSettings
from unlabeled.trainers.encoders.build import build_encoder, save_encoder
from unlabeled.trainers.finetune import FinetuneSettings, Mode, predict, train_classifier

from tests.trainers.pictures import CLASSES, bars

PICTURES = bars(12, 0)


def _saved(folder: Path, mode: Mode) -> tuple[list[int], FinetuneSettings]:
    settings = FinetuneSettings(num_steps=2, mode=mode)
    classifier = train_classifier(build_encoder("resnet-small", side_px=16, seed=0), PICTURES, settings)
    info = ClassifierInfo(classes=CLASSES, num_labels=12, train_fingerprint="f", settings=settings)
    save_classifier(classifier, info, folder)
    return predict(classifier, PICTURES, ComputeSettings()).tolist(), settings


@pytest.mark.parametrize("mode", ["whole", "frozen"])
def test_what_is_loaded_predicts_the_same(tmp_path: Path, mode: Mode) -> None:
    expected, settings = _saved(tmp_path / "run", mode)
    classifier, info = load_classifier(tmp_path / "run")
    assert info.settings == settings
    assert np.array_equal(predict(classifier, PICTURES, ComputeSettings()), expected)
    assert AutoModel.from_pretrained(tmp_path / "run" / "encoder").config.model_type == "resnet"


def test_a_run_an_encoder_and_a_classifier_are_told_apart(tmp_path: Path) -> None:
    save_encoder(build_encoder("resnet-small", side_px=16, seed=0), tmp_path / "pretrained" / "encoder")
    _saved(tmp_path / "tuned", "linear")
    assert find_encoder(str(tmp_path / "pretrained"))[1] is None
    assert find_encoder(str(tmp_path / "pretrained" / "encoder"))[1] is None
    assert find_encoder(f"file://{tmp_path}/tuned")[1] is not None
    with pytest.raises(ConfigError, match="neither a run nor an encoder"):
        find_encoder(str(tmp_path))


def test_a_damaged_head_is_said_to_be(tmp_path: Path) -> None:
    _saved(tmp_path / "run", "linear")
    (tmp_path / "run" / "classifier.json").write_text("{}")
    with pytest.raises(CorruptData, match="not a fine-tuned classifier"):
        load_classifier(tmp_path / "run")
