"""Predict the hidden part of a photograph from what surrounds it.

Pathak, Krähenbühl, Donahue, Darrell, Efros: Context Encoders: Feature Learning by Inpainting, CVPR 2016
(arXiv:1604.07379). A square of 128 px, with a central hole of 64 and with irregular holes over a quarter of it.

The picture is stored whole, once; the mask says what the model may not see (1 = hidden). Shortcuts closed here: holes
are made of 16 px cells (no JPEG block shows hidden pixels), the fill is the mean colour of the visible pixels and is
put in at load (`transforms.fill_hidden`), irregular holes can be drawn anew every epoch (`draw_mask`), holes with
nothing in them are left out. `overlap_px` is the band of visible pixels around the hole that the loss covers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, Filtered
from ..features import Features, box, image, value
from ..items import Image
from ..patches import require_size, tile_encoding
from ..resample import Box, square_box
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import (
    centre_mask,
    expand_mask,
    free_form_mask,
    luma,
    mask_generator,
    pack_mask,
    unpack_mask,
    visible_mean_rgb,
)

MaskKind = Literal["centre", "free_form"]
CENTRE: MaskKind = "centre"
FREE_FORM: MaskKind = "free_form"
#: Crops tried for each example before the source counts as flat.
_TRIES = 4


@dataclass(frozen=True)
class ImageInpainting(PretextTask[Image]):
    """Predict the pixels of a hole in a photograph (context encoder)."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.MASKED_PREDICTION
    has_recipe = True
    paper = (
        "Pathak, Krähenbühl, Donahue, Darrell, Efros: Context Encoders: Feature Learning by Inpainting, CVPR 2016 "
        "(arXiv:1604.07379)"
    )

    side_px: int = setting(128, "side of the stored square", unit="px", at_least=16, at_most=1024, multiple_of=16)
    crop_fraction: float = setting(
        0.366, "share of the short side that the square takes; 128 of 350 px", at_least=0.05, at_most=1
    )
    centre_holes: int = setting(1, "examples of a picture with a central hole", at_least=0, at_most=64)
    free_form_holes: int = setting(1, "examples of a picture with irregular holes", at_least=0, at_most=64)
    hole_px: int = setting(64, "side of the central hole", unit="px", at_least=8, multiple_of=8)
    free_form_fraction: float = setting(0.25, "share that irregular holes hide", at_least=0.02, at_most=0.9)
    cell_px: int = setting(16, "side of the cells that holes are made of", unit="px", at_least=8, multiple_of=8)
    overlap_px: int = setting(4, "band around the hole that the loss covers too", unit="px", at_least=0, at_most=64)
    max_upscale: float = setting(1.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_std: float = setting(6.0, "least deviation of the hidden luma, of 255 levels", at_least=0, at_most=64)

    def __post_init__(self) -> None:
        """Check the bounds, and that the holes are made of whole cells."""
        super().__post_init__()
        if self.side_px % self.cell_px:
            raise ConfigError(f"`side_px` must be a multiple of `cell_px`, {self.cell_px}, but is {self.side_px}.")
        if self.hole_px >= self.side_px or (self.side_px - self.hole_px) % (2 * self.cell_px):
            raise ConfigError(
                f"`hole_px` must leave whole cells of {self.cell_px} px on both sides of {self.side_px} px, "
                f"but is {self.hole_px}."
            )
        if self.centre_holes + self.free_form_holes == 0:
            raise ConfigError("`centre_holes` and `free_form_holes` are both 0: there would be no example.")

    def features(self) -> Features:
        """Return picture, mask and how the mask is drawn."""
        return Features.of(
            image=image("the whole square: what is seen and what is predicted", encoding=tile_encoding(self.side_px)),
            mask=value("binary", "input", "bit per pixel, row by row, lowest bit first; 1 = hidden"),
            mask_seed=value("int64", "input", "with an epoch it keys the mask; epoch 0 is the stored one"),
            mask_kind=value("string", "parameter", "centre or free_form"),
            cell_px=value("int16", "parameter", "side of the cells that the hole is made of", unit="px"),
            overlap_px=value("int16", "parameter", "band around the hole that the loss covers too", unit="px"),
            hidden_fraction=value("float32", "parameter", "share of hidden pixels"),
            fill_rgb=value("uint8", "parameter", "mean colour of the visible pixels", shape=(3,)),
            crop_box=box("the square in the upright source"),
        )

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield the holes in keyed order, each in a crop of its own."""
        require_size(item, self.side_px, self.max_upscale)
        kinds = [CENTRE] * self.centre_holes + [FREE_FORM] * self.free_form_holes
        made = [self._example(item, kinds[index], rng.draw(draw)) for draw, index in enumerate(rng.order(len(kinds)))]
        for draw, values in enumerate(made):
            yield Example(draw, values)

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the holes times a picture of measured density, its mask and 500 bytes of columns."""
        picture = int((1.9 if tile_encoding(self.side_px) == "png" else 0.72) * self.side_px**2)
        return (self.centre_holes + self.free_form_holes) * (500 + picture + self.side_px**2 // 8)

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return the mask from its seed, its share, and the fill from the source where that fits the stored one."""
        mask = self._mask(row["mask_kind"], int(row["mask_seed"]))
        visible = ~unpack_mask(row["mask"], (self.side_px, self.side_px))
        crop = item.crop(tuple(row["crop_box"]), self.side_px, self.side_px)
        fill = crop[visible].mean(axis=0)
        stored = np.asarray(row["fill_rgb"], dtype=np.float64)
        agrees = np.abs(fill - stored).max() <= 1.5
        return {
            "mask": pack_mask(mask),
            "hidden_fraction": float(np.float32(mask.mean())),
            "fill_rgb": row["fill_rgb"] if agrees else np.rint(fill).astype(int).tolist(),
        }

    def _example(self, item: Image, kind: MaskKind, generator: np.random.Generator) -> dict[str, Any]:
        mask_seed = int(generator.integers(2**63 - 1))
        mask = self._mask(kind, mask_seed)
        crop_box, pixels = self._crop(item, mask, generator)
        return {
            "image": pixels,
            "mask": pack_mask(mask),
            "mask_seed": mask_seed,
            "mask_kind": kind,
            "cell_px": self.cell_px,
            "overlap_px": self.overlap_px,
            "hidden_fraction": float(np.float32(mask.mean())),
            "fill_rgb": visible_mean_rgb(pixels, mask).tolist(),
            "crop_box": crop_box,
        }

    def _crop(
        self, item: Image, mask: NDArray[np.bool_], generator: np.random.Generator
    ) -> tuple[Box, NDArray[np.uint8]]:
        """Return a random crop whose hidden pixels are not flat.

        Raises Filtered `flat` where none of a few is such.
        """
        for _ in range(_TRIES):
            x, y = generator.random(2)
            crop_box = square_box(item.width_px, item.height_px, self.side_px, self.crop_fraction, (x, y))
            pixels = item.crop(crop_box, self.side_px, self.side_px)
            if luma(pixels[mask]).std(dtype=np.float32) >= self.min_std:
                return crop_box, pixels
        raise Filtered("flat", f"deviation of the hidden luma < {self.min_std:g} in {_TRIES} crops")

    def _mask(self, kind: MaskKind, mask_seed: int) -> NDArray[np.bool_]:
        """Return the pixel mask of epoch 0, bool [side_px, side_px], True = hidden."""
        cells = self.side_px // self.cell_px
        if kind == CENTRE:
            coarse = centre_mask((cells, cells), self.hole_px // self.cell_px)
        else:
            num_hidden = max(1, round(self.free_form_fraction * cells**2))
            coarse = free_form_mask(mask_generator(mask_seed), (cells, cells), num_hidden)
        return expand_mask(coarse, self.cell_px)
