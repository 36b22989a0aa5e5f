from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlabeled.pipeline.errors import ConfigError
from unlabeled.pipeline.pretext.video_masked_tubes import VideoMaskedTubes
from unlabeled.pipeline.transforms import expand_mask, unpack_mask

from tests import samples

TASK = VideoMaskedTubes(side_px=112, num_frames=4, max_windows=3)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([8, 14, 16, 28]), st.floats(0.1, 0.95))
def test_the_bits_select_exactly_the_hidden_tubes(seed: int, patch_px: int, ratio: float) -> None:
    task = VideoMaskedTubes(side_px=112, num_frames=4, max_windows=2, patch_px=patch_px, mask_ratio=ratio)
    _, examples = samples.video_examples(task, seed)
    for example in examples:
        values = example.values
        mask = unpack_mask(values["mask_bits"], (values["grid_h"], values["grid_w"]))
        assert mask.sum() == values["num_masked"] == round(ratio * mask.size)
        hidden = expand_mask(mask, patch_px)
        assert hidden.shape == values["frames"][0].shape[:2]
        # Hiding by the mask leaves the other tubes' pixels as they are, in every frame.
        shown = np.where(hidden[None, :, :, None], 0, np.stack(values["frames"]))
        tubes = shown.reshape(4, values["grid_h"], patch_px, values["grid_w"], patch_px, 3).any(axis=(0, 2, 4, 5))
        assert np.array_equal(tubes, ~mask)


def test_every_place_is_hidden_equally_often() -> None:
    masks = np.array([TASK.mask(seed) for seed in range(1000)])
    assert np.all(np.abs(masks.mean(axis=0) - 44 / 49) < 0.05)


def test_the_stored_mask_is_that_of_epoch_0_and_others_differ() -> None:
    _, examples = samples.video_examples(TASK)
    values = examples[0].values
    mask = unpack_mask(values["mask_bits"], (7, 7))
    assert np.array_equal(TASK.mask(values["mask_seed"]), mask)
    assert not np.array_equal(TASK.mask(values["mask_seed"], epoch=1), mask)


def test_examples_have_their_own_masks() -> None:
    _, examples = samples.video_examples(TASK)
    assert len({example.values["mask_seed"] for example in examples}) == len(examples) > 1


def test_defaults_are_those_of_the_paper() -> None:
    _, examples = samples.video_examples(VideoMaskedTubes(max_windows=1), info=samples.video_info(6, 30, 640, 360))
    values = examples[0].values
    assert values["tubelet"] == [2, 16, 16]
    assert values["stride"] == 4
    assert len(values["frames"]) == 16
    assert values["frames"][0].shape == (224, 224, 3)
    assert values["num_masked"] == 176


@pytest.mark.parametrize("wrong", [{"patch_px": 15}, {"num_frames": 15}])
def test_tubelets_must_fill_the_clip(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must divide"):
        VideoMaskedTubes(**wrong)


def test_bits_of_another_mask_and_other_frames_are_found() -> None:
    item, examples = samples.video_examples(TASK)
    row = dict(examples[0].values)
    assert TASK.rederive(row, item) == {"mask_bits": row["mask_bits"], "num_masked": row["num_masked"]}
    assert TASK.rederive(row | {"mask_bits": b"\xff" * 7}, item)["mask_bits"] == row["mask_bits"]
    assert TASK.rederive(row | {"frames": row["frames"][::-1]}, item)["mask_bits"] == b""
