from __future__ import annotations

import numpy as np
import pytest
import torch
from unlabeled.trainers.config import ComputeSettings
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.labelled import Labelled
from unlabeled.trainers.layer_features import Place, all_places, features_at, random_control

from tests.trainers.pictures import bars

PICTURES = bars(20, 0)
PLAIN = ComputeSettings(precision="float32")


def test_maps_are_pooled_to_grids_and_tokens_to_means() -> None:
    maps, tokens = (build_encoder(name, side_px=16, seed=0) for name in ("resnet-small", "vit-tiny"))
    assert Place("stage2", 4) in all_places(maps, (1, 4))
    assert {place.side for place in all_places(tokens, (1, 4))} == {1}
    for encoder in (maps, tokens):
        places = all_places(encoder, (1, 2))
        found = features_at(encoder, PICTURES, places, PLAIN)
        for place in places:
            assert found[place].shape == (20, encoder.num_layer_features(place.layer) * place.side**2)
            assert not torch.equal(found[place][0], found[place][1])


def test_a_control_is_random_centred_and_keyed_by_its_seed() -> None:
    encoder = build_encoder("resnet-small", side_px=16, seed=0)
    one, again, other = (random_control(encoder, PICTURES, seed, PLAIN) for seed in (7, 7, 8))
    at = Place("stage3", 1)
    features = [features_at(control, PICTURES, [at], PLAIN)[at] for control in (one, again, other, encoder)]
    assert torch.equal(features[0], features[1])
    assert not torch.allclose(features[0], features[2])
    # Batch norms have seen the pictures: the numbers are of order 1.
    assert 0.05 < features[0].abs().mean() < 20


@pytest.mark.parametrize(
    ("place", "text"), [(Place("stage2", 4), "stage2, 4x4"), (Place("stage3", 1), "stage3, mean")]
)
def test_a_place_is_written_as_people_say_it(place: Place, text: str) -> None:
    assert str(place) == text


def test_padding_of_a_text_is_no_part_of_its_mean() -> None:
    encoder = build_encoder("bert-tiny", vocab_size=20, seed=0)
    short = np.array([[3, 4, 5], [6, 7, 8]], np.int32)
    padded = np.pad(short, ((0, 0), (0, 2)), constant_values=-1)
    at = Place("block2", 1)
    found = [
        features_at(encoder, Labelled("text", media, np.zeros(2, np.int64), ("a",), ""), [at], PLAIN)[at]
        for media in (short, padded)
    ]
    torch.testing.assert_close(*found)
