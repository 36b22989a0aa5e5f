from __future__ import annotations

from pathlib import Path

import yaml
from unlabeled.pipeline.manifest import require_manifest
from unlabeled.trainers.encoders.spec import EncoderSpec
from unlabeled.trainers.model_card import model_card
from unlabeled.trainers.run import TrainedOn

from tests.loading import turns


def test_the_card_says_on_what_and_how_and_how_well(tmp_path: Path) -> None:
    store = turns(tmp_path, 8)
    manifest = require_manifest(store)
    spec = EncoderSpec(name="resnet-small", medium="image", side_px=32)
    data = TrainedOn(dataset=store.uri, share="7/10", version=1, fingerprint=manifest.fingerprint, num_examples=1_200)
    card = model_card(manifest, [data], spec, {"seed": 3}, {"val_accuracy": 0.5, "device": "cpu"})
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "transformers"
    assert manifest.fingerprint in card
    assert "version 1, 1,200 examples, share 7/10" in card
    assert "| val_accuracy | 0.5 |" in card
    assert '"seed": 3' in card
    assert '"side_px": 32' in card
