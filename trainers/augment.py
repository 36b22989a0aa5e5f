"""Augmentation of pictures on the device: shifts, flips and brightness, keyed by (seed, epoch, example).

Only what leaves the label right: `flip` says which flips do. One gather moves the bytes, before anything is float.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

#: horizontal: left and right, all frames of a clip alike. upright: left and right of the picture as it was before it
#: was turned by `label` quarter turns, for rotation. auto: upright for image_rotation, none where views are compared,
#: else horizontal.
Flip = Literal["auto", "none", "horizontal", "upright"]
#: Numbers that `augment` takes for each example.
NUM_DRAWS = 5


class AugmentSettings(BaseModel):
    """How pictures are varied. Patches that are compared, and masks' pictures, are shifted and flipped as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift_fraction: float = Field(0.125, ge=0, lt=0.5, description="of the side: pad so much by reflection, crop anew")
    flip: Flip = Field("auto", description="flips that leave the label right")
    brightness: float = Field(0.0, ge=0, lt=1, description="levels are multiplied by 1 +- this")
    contrast: float = Field(0.0, ge=0, lt=1, description="distances from the mean level are multiplied by 1 +- this")


def augment(pixels: Tensor, draws: Tensor, settings: AugmentSettings, turns: Tensor | None = None) -> Tensor:
    """Return pictures varied: uint8 [B, ..., H, W, 3], square, all of one example alike.

    Args:
        pixels: uint8 [B, ..., H, W, 3].
        draws: float [B, NUM_DRAWS] in [0, 1).
        settings: how much; `flip` must not be `auto`.
        turns: int64 [B], quarter turns of each picture; for `upright`.
    """
    side = pixels.shape[-2]
    reach = round(settings.shift_fraction * side)
    rows, columns = (_shifted(draws[:, axis], side, reach) for axis in (0, 1))
    if settings.flip != "none":
        flipped = draws[:, 2] < 0.5
        if settings.flip == "upright" and turns is not None:
            # A quarter turn lays the picture's left and right along the columns.
            rows = _flipped(rows, flipped & (turns % 2 == 1))
            flipped = flipped & (turns % 2 == 0)
        columns = _flipped(columns, flipped)
    if reach or settings.flip != "none":
        pixels = _gather(pixels, rows, columns)
    if settings.brightness or settings.contrast:
        pixels = _relit(pixels, draws[:, 3], draws[:, 4], settings)
    return pixels


def _shifted(draw: Tensor, side: int, reach: int) -> Tensor:
    """Return source indexes int64 [B, side] of a random shift; what comes from beyond the border is its reflection."""
    shift = (draw * (2 * reach + 1)).long() - reach
    places = (torch.arange(side, device=draw.device) + shift[:, None]).abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


def _flipped(places: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen[:, None], places.flip(1), places)


def _gather(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return pixels[b, ..., rows[b], columns[b], :]."""
    flat = pixels.flatten(1, -4) if pixels.ndim > 4 else pixels.unsqueeze(1)
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None, None]
    pictures = torch.arange(flat.shape[1], device=pixels.device)[None, :, None, None]
    moved = flat[batch, pictures, rows[:, None, :, None], columns[:, None, None, :]]
    return moved.view(pixels.shape)


def _relit(pixels: Tensor, one: Tensor, other: Tensor, settings: AugmentSettings) -> Tensor:
    shape = (-1, *[1] * (pixels.ndim - 1))
    gain = (1 + settings.brightness * (2 * one - 1)).view(shape)
    spread = (1 + settings.contrast * (2 * other - 1)).view(shape)
    levels = pixels.float()
    mean = levels.mean(dim=tuple(range(1, pixels.ndim)), keepdim=True)
    return (((levels - mean) * spread + mean) * gain).round().clamp(0, 255).to(torch.uint8)
