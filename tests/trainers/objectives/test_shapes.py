"""Which encoder fits which dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.config import PretrainSettings
from unlabeled.trainers.material import material
from unlabeled.trainers.objectives.shapes import Material, encoder_spec, medium_of, tokenizer_of, views_of
from unlabeled.trainers.run import resolve

from tests.loading import spoken, turns


def known(uri: str) -> Material:
    return material(resolve(uri, str(Path(uri).parent / "unused"), PretrainSettings()))


def test_small_pictures_get_a_small_net_of_their_side(tmp_path: Path) -> None:
    data = known(turns(tmp_path, 8).uri)
    spec = encoder_spec(data, medium_of(data), {})
    assert (spec.name, spec.medium, spec.side_px) == ("resnet-small", "image", 32)
    assert views_of(data, spec).columns == ("image",)


def test_sound_is_read_at_its_rate_and_length(tmp_path: Path) -> None:
    data = known(spoken(tmp_path).uri)
    spec = encoder_spec(data, medium_of(data), {"name": "ast-mini"})
    assert (spec.medium, spec.sample_rate_hz, spec.spectrum_frames % 16) == ("audio", 16000, 0)


def test_an_encoder_for_another_medium_is_refused(tmp_path: Path) -> None:
    data = known(turns(tmp_path, 8).uri)
    with pytest.raises(ConfigError, match="'bert-tiny' does not read image"):
        encoder_spec(data, "image", {"name": "bert-tiny"})
    with pytest.raises(ConfigError, match=r"no asset tokenizer\.json"):
        tokenizer_of(data)
