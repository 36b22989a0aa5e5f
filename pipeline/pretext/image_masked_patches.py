"""Predict the hidden patches of a photograph from the visible ones.

He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 (arXiv:2111.06377):
224 px, patches of 16, 75 % hidden one by one. `unit` and 0.6 are SimMIM (Xie et al., CVPR 2022, arXiv:2111.09886),
`block` and 0.4 are BEiT (Bao et al., ICLR 2022, arXiv:2106.08254).

The picture is stored once, with the mask of epoch 0 (1 = hidden) and its seed: a trainer draws a new mask every epoch
with `transforms.draw_mask(strategy, transforms.mask_generator(mask_seed, epoch), ...)`. Shortcuts closed here:
pictures are not enlarged (blur is easy to predict), and pictures of mostly flat patches (bars, borders, scans) are
left out.
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
from ..patches import require_size, shown_by, tile_encoding
from ..resample import square_box
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import draw_mask, luma, mask_generator, pack_mask, split_tiles


@dataclass(frozen=True)
class ImageMaskedPatches(PretextTask[Image]):
    """Predict the hidden patches of a photograph (masked image modelling)."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.MASKED_PREDICTION
    has_recipe = True
    paper = (
        "He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 "
        "(arXiv:2111.06377)"
    )

    side_px: int = setting(224, "side of the stored square", unit="px", at_least=16, at_most=1024)
    patch_px: int = setting(16, "side of the patches", unit="px", at_least=2, at_most=128)
    mask_strategy: Literal["random", "block", "unit"] = setting("random", "how hidden patches are chosen")
    mask_ratio: float = setting(
        0.75, "share of hidden patches; 0.6 is usual for unit, 0.4 for block", at_least=0.02, at_most=0.98
    )
    unit_px: int = setting(32, "side of the squares that `unit` hides", unit="px", at_least=2, at_most=256)
    crop_fraction: float = setting(0.875, "share of the short side that the square takes", at_least=0.05, at_most=1)
    crop: Literal["center", "random"] = setting("center", "where the square lies; random is keyed to the source")
    max_upscale: float = setting(1.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_std: float = setting(2.0, "a patch whose luma deviates less, of 255 levels, is flat", at_least=0, at_most=64)
    max_flat_fraction: float = setting(0.6, "largest share of flat patches", at_least=0, at_most=1)

    def __post_init__(self) -> None:
        """Check the bounds, and that patches and units fill the square."""
        super().__post_init__()
        if self.side_px % self.patch_px:
            raise ConfigError(f"`side_px` must be a multiple of `patch_px`, {self.patch_px}, but is {self.side_px}.")
        if self.mask_strategy == "unit" and (self.unit_px % self.patch_px or self.side_px % self.unit_px):
            raise ConfigError(
                f"`unit_px` must be a multiple of `patch_px`, {self.patch_px}, and divide `side_px`, "
                f"{self.side_px}, but is {self.unit_px}."
            )

    def features(self) -> Features:
        """Return picture, mask of epoch 0 and how masks are drawn."""
        return Features.of(
            image=image("the whole square: what is seen and what is predicted", encoding=tile_encoding(self.side_px)),
            mask_bits=value("binary", "input", "bit per patch, row by row, lowest bit first; 1 = hidden; epoch 0"),
            mask_seed=value("int64", "input", "with an epoch it keys the mask; epoch 0 is the stored one"),
            patch_px=value("int16", "parameter", "side of the patches", unit="px"),
            grid_h=value("int16", "parameter", "rows of patches"),
            grid_w=value("int16", "parameter", "columns of patches"),
            mask_ratio=value("float32", "parameter", "share of hidden patches"),
            mask_strategy=value("string", "parameter", "random, block, or unit with the unit's side in px"),
            num_masked=value("int32", "parameter", "number of hidden patches"),
            crop_box=box("the square in the upright source"),
        )

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield one example."""
        require_size(item, self.side_px, self.max_upscale)
        generator = rng.item("crop")
        position = (0.5, 0.5) if self.crop == "center" else tuple(generator.random(2))
        crop_box = square_box(item.width_px, item.height_px, self.side_px, self.crop_fraction, position)
        pixels = item.crop(crop_box, self.side_px, self.side_px)
        flat_fraction = self._flat_fraction(pixels)
        if flat_fraction > self.max_flat_fraction:
            raise Filtered("flat", f"share of flat patches {flat_fraction:.2f} > {self.max_flat_fraction:g}")
        mask_seed = int(rng.draw(0).integers(2**63 - 1))
        yield Example(
            0, {"image": pixels, "mask_seed": mask_seed, "crop_box": crop_box, **self._mask_columns(mask_seed)}
        )

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return a picture of measured density and 500 bytes of columns."""
        return 500 + int((1.9 if tile_encoding(self.side_px) == "png" else 0.67) * self.side_px**2)

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return the mask columns from the seed, with no hidden patch where the source does not show the picture."""
        crop = item.crop(tuple(row["crop_box"]), self.side_px, self.side_px)
        inverted = np.bitwise_not(crop)
        if shown_by(row["image"], [crop, inverted], 0, "color"):
            return {"num_masked": 0}
        return self._mask_columns(int(row["mask_seed"]))

    def _mask_columns(self, mask_seed: int) -> dict[str, Any]:
        grid = self.side_px // self.patch_px
        num_hidden = min(grid * grid - 1, max(1, round(self.mask_ratio * grid * grid)))
        unit = max(1, self.unit_px // self.patch_px)
        mask = draw_mask(self.mask_strategy, mask_generator(mask_seed), (grid, grid), num_hidden, unit)
        return {
            "mask_bits": pack_mask(mask),
            "patch_px": self.patch_px,
            "grid_h": grid,
            "grid_w": grid,
            "mask_ratio": float(np.float32(mask.mean())),
            "mask_strategy": f"unit{self.unit_px}" if self.mask_strategy == "unit" else self.mask_strategy,
            "num_masked": int(mask.sum()),
        }

    def _flat_fraction(self, pixels: NDArray[np.uint8]) -> float:
        grid = self.side_px // self.patch_px
        patches = split_tiles(luma(pixels)[..., None], grid, grid)
        return float((patches.std(axis=(1, 2, 3), dtype=np.float32) < self.min_std).mean())
