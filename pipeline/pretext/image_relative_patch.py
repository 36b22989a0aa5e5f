"""Predict where one patch of a photograph lies relative to another: one of eight directions.

Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context Prediction, ICCV 2015
(arXiv:1505.05192). The picture is resized so that a 3 x 3 neighbourhood of patches takes most of its short side.

Shortcuts closed here: a gap of half a patch and jitter (no lines or textures that run on), all but one colour channel
dropped (no chromatic aberration), a third of the patches at lower resolution, flat neighbourhoods left out. All eight
neighbours must lie inside the picture, so that the centre's position tells nothing; all come from one decode.
Brightness and contrast are normalised at load (`transforms.standardize`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, Filtered
from ..features import Features, box, class_label, image, value
from ..items import Image
from ..patches import (
    draw_resolution,
    lower_resolution,
    luma_std,
    require_size,
    shown_by,
    tile_encoding,
    to_source,
)
from ..resample import Box, square_box
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import CHANNELS, ColorMode, drop_color

CLASSES = ("NW", "N", "NE", "W", "E", "SW", "S", "SE")
#: (columns to the right, rows down) from the centre to the neighbour, by class.
STEPS = ((-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1))


@dataclass(frozen=True)
class ImageRelativePatch(PretextTask[Image]):
    """Predict the direction from one patch of a photograph to another (context prediction)."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    paper = (
        "Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context Prediction, ICCV 2015 "
        "(arXiv:1505.05192)"
    )

    patch_px: int = setting(96, "side of the stored patches", unit="px", at_least=4, at_most=512)
    gap_px: int = setting(48, "gap between patches, before jitter", unit="px", at_least=0, at_most=512)
    jitter_px: int = setting(7, "largest shift of the neighbour, each way", unit="px", at_least=0, at_most=128)
    pairs: Literal["all", "one"] = setting("all", "all eight directions of every picture, or one drawn by key")
    color: Literal["channel", "gray", "keep"] = setting("channel", "what is left of the colour where it is dropped")
    drop_fraction: float = setting(1.0, "share of pairs whose colour is dropped", at_least=0, at_most=1)
    resample_fraction: float = setting(0.33, "share of patches at lower resolution", at_least=0, at_most=1)
    smallest_crop_fraction: float = setting(
        0.7, "least share of the short side that the neighbourhood takes; drawn up to 1", at_least=0.05, at_most=1
    )
    max_upscale: float = setting(2.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_std: float = setting(4.0, "least deviation of the neighbourhood's luma, of 255 levels", at_least=0, at_most=64)

    def __post_init__(self) -> None:
        """Check the bounds, and that jittered patches stay apart."""
        super().__post_init__()
        if self.jitter_px > self.gap_px:
            raise ConfigError(f"`jitter_px` must be at most `gap_px`, {self.gap_px}, but is {self.jitter_px}.")

    def features(self) -> Features:
        """Return patches, direction, boxes and how the patches were altered."""
        encoding = tile_encoding(self.patch_px)
        return Features.of(
            patch_a=image("the centre", encoding=encoding),
            patch_b=image("its neighbour", encoding=encoding),
            label=class_label(CLASSES, "direction from patch_a to patch_b, north is up"),
            box_a=box("patch_a in the upright source, rounded"),
            box_b=box("patch_b in the upright source, rounded"),
            crop_box=box("the 3 x 3 neighbourhood in the upright source"),
            gap_px=value("int16", "parameter", "gap before jitter, in px of the stored patches", unit="px"),
            jitter_x_px=value("int16", "parameter", "shift of patch_b to the right, in stored px", unit="px"),
            jitter_y_px=value("int16", "parameter", "shift of patch_b down, in stored px", unit="px"),
            color_mode=value("string", "parameter", "what is left of the colour of patch_a and patch_b", shape=(2,)),
            resampled_px=value(
                "int16", "parameter", "side that patch_a and patch_b were reduced to; 0: not", shape=(2,), unit="px"
            ),
        )

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield the pairs in keyed order, all from one crop."""
        crop_box, canvas = self._neighbourhood(item, rng.item("crop"))
        order = rng.order(len(CLASSES))
        for draw in range(len(CLASSES) if self.pairs == "all" else 1):
            yield Example(draw, self._pair(canvas, crop_box, int(order[draw]), rng.draw(draw)))

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the pairs times two patches of measured PNG density and 500 bytes of columns."""
        kept = {"channel": 0.74, "gray": 1.0, "keep": 1.75}[self.color]
        bytes_per_px = self.drop_fraction * kept + (1 - self.drop_fraction) * 1.75
        return (8 if self.pairs == "all" else 1) * (500 + int(2 * bytes_per_px * self.patch_px**2))

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return the direction between the boxes, unless the source shows patch_b in another one."""
        horizontal = _side(row["box_a"][0], row["box_b"][0], row["box_a"][2])
        vertical = _side(row["box_a"][1], row["box_b"][1], row["box_a"][3])
        by_boxes = STEPS.index((horizontal, vertical))
        canvas = item.crop(tuple(row["crop_box"]), self._canvas_px, self._canvas_px)
        shift = (int(row["jitter_x_px"]), int(row["jitter_y_px"]))
        places = [self._cut(canvas, self._place(step, shift)) for step in STEPS]
        return {"label": shown_by(row["patch_b"], places, by_boxes, row["color_mode"][1])}

    @property
    def _canvas_px(self) -> int:
        return 3 * self.patch_px + 2 * self.gap_px + 2 * self.jitter_px

    def _neighbourhood(self, item: Image, generator: np.random.Generator) -> tuple[Box, NDArray[np.uint8]]:
        require_size(item, self._canvas_px, self.max_upscale)
        fraction, x, y = generator.random(3)
        fraction = self.smallest_crop_fraction + fraction * (1 - self.smallest_crop_fraction)
        least_px = int(np.ceil(self._canvas_px / self.max_upscale))
        crop_box = square_box(item.width_px, item.height_px, least_px, fraction, (x, y))
        canvas = item.crop(crop_box, self._canvas_px, self._canvas_px)
        if luma_std(canvas) < self.min_std:
            raise Filtered("flat", f"deviation of the luma {luma_std(canvas):.1f} < {self.min_std:g}")
        return crop_box, canvas

    def _pair(
        self, canvas: NDArray[np.uint8], crop_box: Box, label: int, generator: np.random.Generator
    ) -> dict[str, Any]:
        jitter_x, jitter_y = generator.integers(-self.jitter_px, self.jitter_px + 1, 2).tolist()
        places = (self._place((0, 0), (0, 0)), self._place(STEPS[label], (jitter_x, jitter_y)))
        modes = self._color_modes(generator)
        altered = [self._alter(self._cut(canvas, at), mode, generator) for at, mode in zip(places, modes, strict=True)]
        box_a, box_b = (to_source(crop_box, self._canvas_px, place) for place in places)
        return {
            "patch_a": altered[0][0],
            "patch_b": altered[1][0],
            "label": label,
            "box_a": box_a,
            "box_b": box_b,
            "crop_box": crop_box,
            "gap_px": self.gap_px,
            "jitter_x_px": jitter_x,
            "jitter_y_px": jitter_y,
            "color_mode": modes,
            "resampled_px": [altered[0][1], altered[1][1]],
        }

    def _place(self, step: tuple[int, int], shift: tuple[int, int]) -> Box:
        """Return the canvas box of the patch that lies `step` from the centre, moved by `shift`."""
        centre_px = self.patch_px + self.gap_px + self.jitter_px
        x, y = (centre_px + step[i] * (self.patch_px + self.gap_px) + shift[i] for i in (0, 1))
        return (x, y, self.patch_px, self.patch_px)

    def _cut(self, canvas: NDArray[np.uint8], place: Box) -> NDArray[np.uint8]:
        x, y, width, height = place
        return np.ascontiguousarray(canvas[y : y + height, x : x + width])

    def _color_modes(self, generator: np.random.Generator) -> list[ColorMode]:
        dropped = generator.random() < self.drop_fraction
        channels = [CHANNELS[index] for index in generator.integers(0, 3, 2)]
        if self.color == "keep" or not dropped:
            return ["color", "color"]
        return ["gray", "gray"] if self.color == "gray" else channels

    def _alter(
        self, patch: NDArray[np.uint8], mode: ColorMode, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], int]:
        lowered = generator.random() < self.resample_fraction
        side_px = draw_resolution(generator, self.patch_px)
        if lowered:
            patch = lower_resolution(patch, side_px)
        return drop_color(patch, mode), side_px if lowered else 0


def _side(from_px: int, to_px: int, patch_px: int) -> int:
    """Return -1, 0 or 1: whether a box begins more than half a patch before, about at, or after another's begin."""
    return int(to_px - from_px > patch_px / 2) - int(from_px - to_px > patch_px / 2)
