from __future__ import annotations

from typing import Any

import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.encoders.build import build_encoder

from tests.small_media import SMALL, raw_media

FAMILIES = [("vit-mini", "image"), ("ast-mini", "audio"), ("videomae-mini", "video")]


@pytest.mark.parametrize(("name", "medium"), FAMILIES)
def test_patches_that_are_not_visible_change_nothing(name: str, medium: str) -> None:
    encoder: Any = build_encoder(name, seed=0, medium=medium, **SMALL[medium]).eval()
    inputs = encoder.preprocess(raw_media(medium))
    num_patches = int(torch.tensor(encoder.grid).prod())
    every = torch.arange(num_patches).expand(2, -1)
    with torch.no_grad():
        whole = encoder(inputs, with_layers=False).last[:, encoder.num_prefix_tokens :]
        torch.testing.assert_close(encoder.encode_visible(inputs, every), whole, rtol=1e-4, atol=1e-4)
        some = encoder.encode_visible(inputs, every[:, :-1])
        changed = inputs.clone(memory_format=torch.contiguous_format)
        changed.view(2, -1)[:, -1] += 9  # in the last patch, which is not visible
        assert torch.equal(encoder.encode_visible(changed, every[:, :-1]), some)


def test_patches_that_do_not_fill_the_picture_are_refused() -> None:
    with pytest.raises(ConfigError, match="`patch_px` must divide 30, but is 4"):
        build_encoder("vit-tiny", seed=0, side_px=30)
    with pytest.raises(ConfigError, match="`spectrum_patch` must be square"):
        build_encoder("ast-tiny", seed=0, spectrum_patch=(16, 8))
