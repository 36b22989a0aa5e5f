"""Masks of a batch, drawn anew for every epoch from what the rows say: arrays on the CPU, True = hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...pipeline.transforms import draw_mask, free_form_mask, mask_generator, random_mask, unpack_mask
from ..data import Batch

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """Masks of a batch. hidden, real: bool [B, *grid]; what is not real is padding, never hidden."""

    hidden: Mask
    real: Mask


class Masks(Protocol):
    """How the masks of a kind of rows are drawn. columns: that it reads; grid: places along each axis."""

    columns: tuple[str, ...]
    grid: tuple[int, ...]

    def draw(self, batch: Batch) -> Drawn:
        """Return the masks of a batch in its epoch."""
        ...


def _seeds(batch: Batch) -> list[int]:
    seeds: list[int] = np.asarray(batch.columns["mask_seed"]).tolist()
    return seeds


class PatchMasks:
    """Of pictures in patches: columns mask_seed; settings of `image_masked_patches`."""

    columns: tuple[str, ...] = ("mask_seed",)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        side = settings["side_px"] // settings["patch_px"]
        self.grid: tuple[int, ...] = (side, side)
        self._strategy = settings["mask_strategy"]
        self._unit = max(1, settings["unit_px"] // settings["patch_px"])
        self._num_hidden = min(side * side - 1, max(1, round(settings["mask_ratio"] * side * side)))

    def draw(self, batch: Batch) -> Drawn:
        """Return one mask a picture, all with as many places hidden."""
        side = self.grid[0]
        masks = [
            draw_mask(self._strategy, mask_generator(seed, batch.epoch), (side, side), self._num_hidden, self._unit)
            for seed in _seeds(batch)
        ]
        hidden = np.stack(masks)
        return Drawn(hidden, np.ones_like(hidden))


class TubeMasks:
    """Of clips in tubelets, the same places in all frames: settings of `video_masked_tubes`."""

    columns: tuple[str, ...] = ("mask_seed",)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        side = settings["side_px"] // settings["patch_px"]
        self.grid: tuple[int, ...] = (settings["num_frames"] // settings["tubelet_frames"], side, side)
        self._num_hidden = round(settings["mask_ratio"] * side**2)

    def draw(self, batch: Batch) -> Drawn:
        """Return one mask a clip, all with as many places hidden."""
        places = self.grid[1:]
        planes = np.stack(
            [random_mask(mask_generator(s, batch.epoch), places, self._num_hidden) for s in _seeds(batch)]
        )
        hidden = np.repeat(planes[:, None], self.grid[0], axis=1)
        return Drawn(hidden, np.ones_like(hidden))


class SpectrumMasks:
    """Of spectrograms in patches [time, frequency], real ones alone: settings of `audio_masked_spectrogram`."""

    columns: tuple[str, ...] = ("mask_seed", "num_frames_valid", "num_mels_valid")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._patch = (settings["patch_t"], settings["patch_f"])
        self.grid: tuple[int, ...] = (settings["frames"] // self._patch[0], settings["n_mels"] // self._patch[1])
        self._ratio = settings["mask_ratio"]

    def draw(self, batch: Batch) -> Drawn:
        """Return one mask a sound; longer sounds have more places hidden."""
        hidden = np.zeros((len(batch.example_ids), *self.grid), bool)
        real = np.zeros_like(hidden)
        sizes = zip(batch.columns["num_frames_valid"].tolist(), batch.columns["num_mels_valid"].tolist(), strict=True)
        for row, (seed, (frames, mels)) in enumerate(zip(_seeds(batch), sizes, strict=True)):
            shape = (frames // self._patch[0], mels // self._patch[1])
            num_hidden = round(self._ratio * shape[0] * shape[1])
            hidden[row, : shape[0], : shape[1]] = random_mask(mask_generator(seed, batch.epoch), shape, num_hidden)
            real[row, : shape[0], : shape[1]] = True
        return Drawn(hidden, real)


class HoleMasks:
    """Of pictures with holes made of cells: central ones as stored, irregular ones drawn anew: `image_inpainting`."""

    columns: tuple[str, ...] = ("mask", "mask_seed", "mask_kind")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._side_px, self._cell_px = settings["side_px"], settings["cell_px"]
        side = self._side_px // self._cell_px
        self.grid: tuple[int, ...] = (side, side)
        self._num_hidden = max(1, round(settings["free_form_fraction"] * side**2))

    def draw(self, batch: Batch) -> Drawn:
        """Return one mask of cells a picture."""
        rows = zip(batch.columns["mask"], _seeds(batch), batch.columns["mask_kind"], strict=True)
        hidden = np.stack([self._one(bytes(bits), seed, kind, batch.epoch) for bits, seed, kind in rows])
        return Drawn(hidden, np.ones_like(hidden))

    def _one(self, bits: bytes, seed: int, kind: str, epoch: int) -> Mask:
        if kind == "free_form":
            return free_form_mask(mask_generator(seed, epoch), (self.grid[0], self.grid[1]), self._num_hidden)
        pixels = unpack_mask(bits, (self._side_px, self._side_px))
        return pixels[:: self._cell_px, :: self._cell_px]


def visible_places(drawn: Drawn, seeds: list[int], epoch: int) -> NDArray[np.int64]:
    """Return the places that each example shows, int64 [B, V] in flat order, as many of every example.

    Where some show more, keyed ones of them are left out: neither seen nor predicted.
    """
    visible = (drawn.real & ~drawn.hidden).reshape(len(seeds), -1)
    num_kept = int(visible.sum(axis=1).min())
    kept = np.empty((len(seeds), num_kept), np.int64)
    for row, (places, seed) in enumerate(zip(visible, seeds, strict=True)):
        shown = np.flatnonzero(places)
        if len(shown) > num_kept:
            # Another stream than the mask's own draws: what is left out must not follow from what is hidden.
            shown = np.sort(mask_generator(seed, -1 - epoch).permutation(shown)[:num_kept])
        kept[row] = shown
    return kept
