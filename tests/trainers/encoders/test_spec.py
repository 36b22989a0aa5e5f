from __future__ import annotations

import pytest
from unlabeled.trainers.encoders.spec import EncoderSpec


@pytest.mark.parametrize(("side_px", "patch_px", "expected"), [(224, 0, 16), (32, 0, 4), (224, 14, 14)])
def test_patches_fit_the_picture_unless_set(side_px: int, patch_px: int, expected: int) -> None:
    assert EncoderSpec(name="vit-tiny", medium="image", side_px=side_px, patch_px=patch_px).patch == expected
