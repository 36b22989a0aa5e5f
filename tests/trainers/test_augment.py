from __future__ import annotations

import pytest
import torch
from unlabeled.trainers.augment import NUM_DRAWS, AugmentSettings, augment


def pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def draws(num: int, flip: float = 0.9, shift: float = 0.5) -> torch.Tensor:
    drawn = torch.full((num, NUM_DRAWS), 0.5)
    drawn[:, :2], drawn[:, 2] = shift, flip
    return drawn


def settings(**changes: object) -> AugmentSettings:
    return AugmentSettings.model_validate({"shift_fraction": 0, "flip": "none", **changes})


def test_without_settings_nothing_changes() -> None:
    picture = pixels(2, 8, 8)
    assert torch.equal(augment(picture, draws(2), settings()), picture)


def test_a_flip_is_left_and_right() -> None:
    picture = pixels(2, 8, 8)
    assert torch.equal(augment(picture, draws(2, flip=0.1), settings(flip="horizontal")), picture.flip(2))


@pytest.mark.parametrize("turns", range(4))
def test_an_upright_flip_is_the_flip_of_the_picture_before_it_was_turned(turns: int) -> None:
    upright = pixels(1, 8, 8)
    turned = torch.rot90(upright, turns, (1, 2))
    expected = torch.rot90(upright.flip(2), turns, (1, 2))
    found = augment(turned, draws(1, flip=0.1), settings(flip="upright"), torch.tensor([turns]))
    assert torch.equal(found, expected)


def test_a_shift_moves_and_reflects_what_comes_from_beyond_the_border() -> None:
    picture = pixels(1, 8, 8)
    found = augment(picture, draws(1, shift=0.99), settings(shift_fraction=0.25))
    assert torch.equal(found[0, :6, :6], picture[0, 2:, 2:])
    assert torch.equal(found[0, 6, :6], picture[0, 6, 2:])


def test_all_frames_of_a_clip_move_alike() -> None:
    clip = pixels(1, 1, 8, 8).expand(2, 3, 8, 8, 3)
    found = augment(clip, torch.rand(2, NUM_DRAWS), settings(shift_fraction=0.3, flip="horizontal", brightness=0.5))
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])


def test_brightness_and_contrast_change_levels_by_at_most_what_is_set() -> None:
    picture = pixels(64, 8, 8)
    found = augment(picture, torch.rand(64, NUM_DRAWS), settings(brightness=0.2, contrast=0.2)).float()
    ratio = found.mean(dim=(1, 2, 3)) / picture.float().mean(dim=(1, 2, 3))
    assert 0.75 < ratio.min() < 0.95
    assert 1.05 < ratio.max() < 1.25
