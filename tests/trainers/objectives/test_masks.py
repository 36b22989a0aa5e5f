"""Masks are those of the tasks in epoch 0, and others later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from unlabeled.pipeline.pretext.audio_masked_spectrogram import AudioMaskedSpectrogram
from unlabeled.pipeline.pretext.video_masked_tubes import VideoMaskedTubes
from unlabeled.pipeline.transforms import centre_mask, draw_mask, expand_mask, mask_generator, pack_mask
from unlabeled.trainers.data import Batch
from unlabeled.trainers.objectives.masks import (
    Drawn,
    HoleMasks,
    Masks,
    PatchMasks,
    SpectrumMasks,
    TubeMasks,
    visible_places,
)

SEEDS = np.array([5, 6], np.int64)


def batch(epoch: int = 0, **columns: Any) -> Batch:
    return Batch(0, epoch, ("a", "b"), {"mask_seed": SEEDS, **columns})


PATCHES = PatchMasks({"side_px": 64, "patch_px": 16, "mask_strategy": "random", "unit_px": 32, "mask_ratio": 0.75})


def test_patches_are_hidden_as_the_task_says() -> None:
    drawn = PATCHES.draw(batch())
    assert drawn.hidden.sum(axis=(1, 2)).tolist() == [12, 12]
    assert drawn.real.all()
    np.testing.assert_array_equal(drawn.hidden[0], draw_mask("random", mask_generator(5, 0), (4, 4), 12))


def test_tubes_are_those_of_the_task_in_every_frame() -> None:
    task = VideoMaskedTubes(side_px=64, num_frames=8)
    masks = TubeMasks({"side_px": 64, "patch_px": 16, "num_frames": 8, "tubelet_frames": 2, "mask_ratio": 0.9})
    hidden = masks.draw(batch(3)).hidden
    assert hidden.shape == (2, 4, 4, 4)
    for frame in range(4):
        np.testing.assert_array_equal(hidden[1, frame], task.mask(6, epoch=3))


def test_spectrum_masks_are_those_of_the_task_and_spare_what_is_not_real() -> None:
    task = AudioMaskedSpectrogram(frames=128, n_mels=64)
    masks = SpectrumMasks({"frames": 128, "n_mels": 64, "patch_t": 16, "patch_f": 16, "mask_ratio": 0.8})
    drawn = masks.draw(batch(1, num_frames_valid=np.array([100, 128]), num_mels_valid=np.array([64, 40])))
    np.testing.assert_array_equal(drawn.hidden[0], task.mask(5, 100, 64, epoch=1))
    assert not (drawn.hidden & ~drawn.real).any()
    assert drawn.real.sum(axis=(1, 2)).tolist() == [6 * 4, 8 * 2]


def test_central_holes_stay_and_irregular_ones_are_drawn_anew() -> None:
    stored = expand_mask(centre_mask((4, 4), 2), 16)
    bits = np.stack([np.frombuffer(pack_mask(stored), np.uint8)] * 2)
    masks = HoleMasks({"side_px": 64, "cell_px": 16, "free_form_fraction": 0.25})
    first, later = (masks.draw(batch(epoch, mask=bits, mask_kind=["centre", "free_form"])).hidden for epoch in (0, 1))
    np.testing.assert_array_equal(first[0], centre_mask((4, 4), 2))
    np.testing.assert_array_equal(first[0], later[0])
    assert first[1].sum() == later[1].sum() == 4
    assert not np.array_equal(first[1], later[1])


@pytest.mark.parametrize("masks", [PATCHES])
def test_epochs_differ_and_repeat(masks: Masks) -> None:
    first, second, again = (masks.draw(batch(epoch)).hidden for epoch in (0, 1, 0))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


def test_as_many_places_are_visible_of_every_example_and_none_that_is_hidden_or_padding() -> None:
    hidden = np.array([[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]], bool)
    real = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], bool)
    kept = visible_places(Drawn(hidden, real), [5, 6], 0)
    assert kept.shape == (2, 2)
    assert set(kept[0].tolist()) < {1, 2, 3, 5}
    assert kept[1].tolist() == [2, 3]
