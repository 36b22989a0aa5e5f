"""Predict by which quarter turn a photograph was rotated.

Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018
(arXiv:1803.07728). Label k stands for k * 90 degrees counter-clockwise, `numpy.rot90(pixels, k)`.

Shortcuts closed here: the crop is square (no width/height cue), its side is divisible by 16 (no JPEG grid phase),
turns permute pixels exactly (no corners, no bars), all four labels are made of one decode and encoded alike, and
pictures that look the same however they are turned (blank pages, round logos) are left out.
Cameras and codecs keep colour coarser, or shifted, in one direction of the sensor, which turns with the picture: that
alone gave a score of 0.11 on CIFAR-10 (the audit's family `chroma`). So colour is kept at half the resolution of luma;
`color_px=1` keeps the published picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import Filtered
from ..features import Features, box, class_label, image, value
from ..items import Image
from ..patches import coarsen_color
from ..rendering import CROP, Rendering
from ..resample import SquareCrop
from ..rng import ItemRng
from ..task import Batching, Example, Modality, Objective, PretextTask, setting
from ..transforms import luma

CLASSES = ("0", "90", "180", "270")

#: Turns whose pictures differ by less, in levels of 255, cannot be told apart after coding.
TIE_LEVELS = 0.05
#: About the side of the thumbnail on which turns are compared.
_THUMBNAIL_PX = 28


@dataclass(frozen=True)
class ImageRotation(PretextTask[Image]):
    """Predict the quarter turn of a photograph (RotNet)."""

    version = "2"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    has_recipe = True
    paper = "Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018"

    side_px: int = setting(224, "side of the stored square", unit="px", at_least=16, at_most=1024, multiple_of=16)
    crop_fraction: float = setting(0.875, "share of the short side that the crop box takes", at_least=0.05, at_most=1)
    crop: Literal["center", "random"] = setting("center", "where the crop box lies; random is keyed to the source")
    color_px: Literal[1, 2, 4, 8] = setting(2, "squares over which colour is averaged; 1 keeps it as it is", unit="px")
    turns: Literal["all", "one"] = setting("all", "all four turns of every picture, or one drawn by key")
    upscale: Literal["filter", "allow"] = setting("filter", "what to do with pictures smaller than side_px")
    min_turn_difference: float = setting(
        1.0,
        "least mean difference between a thumbnail's luma and that of any turn of it; else `no_orientation`",
        unit="levels of 255",
        at_least=0,
        at_most=255,
    )

    @property
    def batching(self) -> Batching:
        """The four turns of a picture share a batch, as in the paper."""
        return "together" if self.turns == "all" else "any"

    @property
    def bundle_size(self) -> int:
        """Four rows, one a turn, where all turns are made."""
        return 4 if self.turns == "all" else 1

    def features(self) -> Features:
        """Return image, label, angle, crop box and side."""
        return Features.of(
            image=image("the turned crop"),
            label=class_label(CLASSES, "quarter turns counter-clockwise"),
            angle_deg=value("int16", "parameter", "angle counter-clockwise: 0, 90, 180 or 270", unit="deg"),
            crop_box=box("crop in the upright source"),
            side_px=value("int32", "parameter", "side of the stored square", unit="px"),
        )

    def kept_features(self) -> Features:
        """Return the upright crop instead of the turned one."""
        crop = image("the upright crop", encoding="turnable_jpeg", role="parameter")
        own = ((name, feature) for name, feature in self.features() if name != "image")
        return Features(((CROP, crop), *own))

    def rendering(self) -> Rendering:
        """Return the quarter turn that the label says."""
        return Rendering("image", image("the turned crop"), "quarter_turn", ("label",))

    def square_crop(self, rng: ItemRng) -> SquareCrop:
        """Return the crop whose turns are taken."""
        position = (0.5, 0.5)
        if self.crop == "random":
            x, y = rng.item("crop").random(2)
            position = (float(x), float(y))
        return SquareCrop(self.side_px, self.crop_fraction, position)

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield the turns in keyed order, all from one crop.

        Raises Filtered: `too_small` or `no_orientation`.
        """
        if self.upscale == "filter" and min(item.width_px, item.height_px) < self.side_px:
            raise Filtered("too_small", f"short side {min(item.width_px, item.height_px)} px < {self.side_px} px")
        crop_box = self.square_crop(rng).box(item.width_px, item.height_px)
        upright = coarsen_color(item.crop(crop_box, self.side_px, self.side_px), self.color_px)
        upright.flags.writeable = False  # the turns are views of it
        difference = turn_difference(upright)
        if difference < self.min_turn_difference:
            raise Filtered("no_orientation", f"a turn differs by {difference:.2f} < {self.min_turn_difference:g}")
        order = rng.order(len(CLASSES))
        rendering = self.rendering()
        for draw in range(len(CLASSES) if self.turns == "all" else 1):
            label = int(order[draw])
            turn = {"label": label, "angle_deg": 90 * label, "crop_box": crop_box, "side_px": self.side_px}
            kept = {CROP: upright, **turn}
            yield Example(draw, {"image": rendering.apply(kept), **turn}, kept)

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the turns times a JPEG of about 0.7 bytes a pixel and 700 bytes of headers and columns."""
        return (4 if self.turns == "all" else 1) * (700 + int(0.7 * self.side_px**2))

    def estimate_recipe_num_bytes(self, source_num_bytes: int) -> int:
        """Return one JPEG and the columns of the turns."""
        return 700 * (4 if self.turns == "all" else 1) + int(0.7 * self.side_px**2)

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return the turn whose picture is nearest to the stored one, by mean absolute difference.

        Where turns look alike (a picture of one colour), the stored label stands if none is nearer by `TIE_LEVELS`.
        """
        crop_box = tuple(row["crop_box"])
        upright = coarsen_color(item.crop(crop_box, self.side_px, self.side_px), self.color_px).astype(np.int16)
        stored = row["image"].astype(np.int16)
        back = [np.abs(np.rot90(stored, -turns) - upright).mean() for turns in range(len(CLASSES))]
        nearest, stored_label = int(np.argmin(back)), int(row["label"])
        is_tie = stored_label in range(len(CLASSES)) and back[stored_label] <= back[nearest] + TIE_LEVELS
        label = stored_label if is_tie else nearest
        return {"label": label, "angle_deg": 90 * label}


def turn_difference(pixels: NDArray[np.uint8]) -> float:
    """Return how much a square picture [side, side, 3] differs from that of its turns that is most like it.

    The mean absolute difference of luma between thumbnails, in levels of 255.
    """
    step = max(1, pixels.shape[0] // (2 * _THUMBNAIL_PX))
    thinned = luma(pixels[::step, ::step])
    side = thinned.shape[0] // 2
    thumbnail = thinned[: 2 * side, : 2 * side].reshape(side, 2, side, 2).mean(axis=(1, 3), dtype=np.float32)
    # A quarter turn to either side differs by as much.
    return float(min(np.abs(thumbnail - np.rot90(thumbnail, turns)).mean() for turns in (1, 2)))
