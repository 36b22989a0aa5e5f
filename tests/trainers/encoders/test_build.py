"""Every encoder by name: shapes, seeds, and what transformers reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel
from unlabeled.pipeline.errors import ConfigError, CorruptData
from unlabeled.trainers.encoders.build import (
    SPEC_FILE,
    build_encoder,
    encoder_names,
    from_spec,
    load_encoder,
    media_of,
    save_encoder,
)
from unlabeled.trainers.encoders.spec import TokenInputs

from tests.small_media import SMALL, raw_media

#: One of each family and of each convolutional stem; the larger sizes differ in numbers alone.
TRIED = [
    ("resnet-small", "image"),
    ("resnet-small", "audio"),
    ("resnet-18", "image"),
    ("vit-mini", "image"),
    ("ast-mini", "audio"),
    ("videomae-mini", "video"),
    ("bert-tiny", "text"),
]
#: Every name for every medium that it reads. Those of base size take seconds each.
ALL = [
    pytest.param(name, medium, marks=[pytest.mark.slow] if name.endswith("base") else [])
    for name in encoder_names()
    for medium in media_of(name)
]


@pytest.mark.parametrize(("name", "medium"), TRIED)
def test_layers_and_pooled_have_the_shapes_that_are_promised(name: str, medium: str) -> None:
    encoder = build_encoder(name, seed=0, medium=medium, **SMALL[medium]).eval()
    with torch.no_grad():
        output = encoder(encoder.preprocess(raw_media(medium)))
    assert output.pooled.shape == (2, encoder.num_features)
    assert len(output.layers) == len(encoder.layer_names)
    for layer, features in zip(encoder.layer_names, output.layers, strict=True):
        assert features.shape[1 if features.ndim == 4 else 2] == encoder.num_layer_features(layer)
    assert output.last.shape == output.layers[-1].shape


@pytest.mark.parametrize(("name", "medium"), ALL)
def test_a_saved_encoder_loads_with_transformers_and_gives_the_same_outputs(
    name: str, medium: str, tmp_path: Path
) -> None:
    encoder = build_encoder(name, seed=0, medium=medium, **SMALL[medium]).eval()
    save_encoder(encoder, tmp_path)
    inputs = encoder.preprocess(raw_media(medium))
    plain = AutoModel.from_pretrained(tmp_path).eval()
    ours = load_encoder(tmp_path)
    with torch.no_grad():
        expected = encoder(inputs)
        if isinstance(inputs, TokenInputs):
            theirs = plain(**inputs._asdict()).last_hidden_state
        else:
            theirs = plain(inputs).last_hidden_state
        # Within rounding: where its memory lies decides in what order a convolution of 1x1 adds.
        torch.testing.assert_close(theirs, expected.last, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours(inputs).pooled, expected.pooled, rtol=1e-4, atol=1e-5)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert ours.spec == encoder.spec
    assert not ours.training


def test_the_seed_alone_decides_the_weights_and_no_global_generator_is_touched() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, same, other = (build_encoder("resnet-small", seed=seed, side_px=32) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [next(encoder.parameters()) for encoder in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(next(from_spec(one.spec, 2).parameters()), weights[2])


def test_unknown_names_and_shapes_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'resnet-19'.*Did you mean 'resnet-18'"):
        build_encoder("resnet-19", seed=0)
    with pytest.raises(ConfigError, match=r"encoder\.side_pxs.*Did you mean `encoder\.side_px`"):
        build_encoder("resnet-18", seed=0, side_pxs=3)
    with pytest.raises(ConfigError, match="'vit-tiny' does not read audio"):
        build_encoder("vit-tiny", seed=0, medium="audio")


def test_a_folder_without_an_encoder_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no encoder stands here"):
        load_encoder(tmp_path)
    (tmp_path / SPEC_FILE).write_text("{}")
    with pytest.raises(CorruptData, match="not the description of an encoder"):
        load_encoder(tmp_path)
