"""Predict whether two patches of photographs belong together, by a named proxy. They are never said to be one object.

What is one object cannot be told from unlabelled pixels. The proxies: `same_segment`, both patches lie in one region
of an unsupervised segmentation (as in Hénaff et al.: Efficient Visual Pretraining with Contrastive Detection, ICCV
2021, arXiv:2103.10957); `same_image_adjacent`, they lie beside each other (as in Isola, Zoran, Krishnan, Adelson:
Learning Visual Groups From Co-Occurrences in Space and Time, 2015, arXiv:1511.06811). The class is named after it.

A source gives four pairs of four patches, where (a, b) and (c, d) belong together: these two, against (a, d) of the
same picture and (c, a patch of another picture). So patches of both groups stand in pairs of both classes, and one
patch alone tells nothing. Other shortcuts closed here: patches never touch, negatives of the same picture (half, or
all) are about as far apart as positives, and every patch gets a histogram, resolution, noise and JPEG quality of its
own, so that neither colour nor noise nor compression tells the picture. Each is lowered below the resolution of its
source, so that no trace of the source's sensor, enlargement or compression is left, whatever the other patch's is
(tests/bench/2026-11-27-audit.md has what was told before, and is now).
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..errors import Filtered
from ..features import Features, box, class_label, image, value
from ..items import Image
from ..pairing import (
    ADJACENT_SIDES,
    PATCH_CELLS,
    by_adjacency,
    by_segment,
    find_quad,
    places_anywhere,
    places_in_segments,
)
from ..patches import lower_resolution, luma_std, require_size, tile_encoding
from ..resample import Box
from ..rng import ItemRng
from ..segment import SEGMENTER, segment
from ..task import Example, Modality, Objective, PartneredTask, setting
from ..transforms import ColorMode, drop_color

#: Stands for the distance between patches of two pictures.
NO_DISTANCE = -1.0
#: The normal distribution as a table: quantiles 0.001 to 0.999 and where they lie, in deviations.
_QUANTILES = np.linspace(0.001, 0.999, 999)
_NORMAL = np.array([NormalDist().inv_cdf(quantile) for quantile in _QUANTILES])
#: The least noise of a patch, in shares of the most.
_LEAST_NOISE = 1 / 6


@dataclass(frozen=True)
class Patch:
    """A patch of a source as it is cut, uint8 [patch_px, patch_px, 3]; also what a source lends to others."""

    source_key: str
    place: Box
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class ImagePatchPairs(PartneredTask[Image]):
    """Predict whether two patches belong together: same segment, or side by side in one picture."""

    version = "2"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    paper = (
        "Isola, Zoran, Krishnan, Adelson: Learning Visual Groups From Co-Occurrences in Space and Time, 2015 "
        "(arXiv:1511.06811)"
    )

    proxy: Literal["same_segment", "same_image_adjacent"] = setting(
        "same_segment", "what a positive pair has in common; never one object"
    )
    negatives: Literal["half", "same_image"] = setting(
        "half", "half of the negatives from another picture, or all from the same one"
    )
    patch_px: int = setting(96, "side of the stored patches", unit="px", at_least=8, at_most=512, multiple_of=8)
    patch_fraction: float = setting(0.2, "share of the short side that a patch takes", at_least=0.05, at_most=0.3)
    segment_scale: float = setting(150.0, "larger makes larger segments", at_least=1, at_most=10000)
    purity: float = setting(0.75, "least share of a patch that lies in its segment", at_least=0.55, at_most=1)
    gray_fraction: float = setting(0.5, "share of patches without colour", at_least=0, at_most=1)
    lowest_resolution: float = setting(
        0.16, "each patch is lowered to between this share of its side and half", at_least=0.05, at_most=0.5
    )
    most_noise: float = setting(
        24.0, "each patch gets noise between a sixth of this deviation and it, of 255 levels", at_least=0, at_most=64
    )
    lowest_jpeg_quality: int = setting(
        50, "each patch passes through a JPEG between this and 95", at_least=10, at_most=95
    )
    max_upscale: float = setting(2.5, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_std: float = setting(4.0, "least deviation of each patch's luma, of 255 levels", at_least=0, at_most=64)

    @property
    def num_partners(self) -> int:
        """One other picture, where half of the negatives come from one."""
        return 1 if self.negatives == "half" else 0

    def features(self) -> Features:
        """Return patches, whether they belong together, and the proxy by which that was decided."""
        encoding = tile_encoding(self.patch_px)
        return Features.of(
            patch_a=image("a patch", encoding=encoding),
            patch_b=image("a patch that does not touch it", encoding=encoding),
            label=class_label((f"not_{self.proxy}", self.proxy), "whether the patches belong together by the proxy"),
            relation=value("string", "parameter", f"{self.proxy}, same_image_other or different_image"),
            box_a=box("patch_a in its upright source"),
            box_b=box("patch_b in its upright source"),
            source_key_b=value("string", "parameter", "source of patch_b where it is another picture, else empty"),
            iou=value("float32", "parameter", "overlap of the boxes in one picture: always 0"),
            distance_px=value("float32", "parameter", "between centres in one picture; -1: two pictures", unit="px"),
            segmenter=value("string", "parameter", "what made the segments; empty where none are used"),
            window=box("the part of the picture that patches are taken from"),
        )

    def offer(self, item: Image, rng: ItemRng) -> Patch:
        """Return one of the patches that this source uses itself, for sources of other groups.

        Raises Filtered as `examples` does.
        """
        return self._cut_patches(item, rng)[1][1]

    def examples(self, item: Image, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        """Yield two pairs of each class in keyed order.

        Raises Filtered: `too_small`, `no_pair` (no two groups of patches), `flat`, `no_partner`.
        """
        if len(partners) < self.num_partners:
            raise Filtered("no_partner", "no picture of another group at hand")
        window, (a, b, c, d) = self._cut_patches(item, rng)
        pairs = [(a, b, 1), (c, d, 1), (a, d, 0), (c, partners[0] if self.num_partners else b, 0)]
        for draw, index in enumerate(rng.order(len(pairs))):
            first, second, label = pairs[index]
            yield Example(draw, {**self._pair(first, second, label, rng.draw(draw)), "window": window})

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return four pairs of PNG patches of measured density and 500 bytes of columns each."""
        return 4 * (500 + int(2 * 1.8 * self.patch_px**2))

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return label and relation from boxes and source: segments are found again, distances measured again."""
        if row["source_key_b"]:
            return {"label": 0, "relation": "different_image"}
        window, box_a, box_b = (tuple(row[name]) for name in ("window", "box_a", "box_b"))
        if self.proxy == "same_image_adjacent":
            apart_px = math.dist(_centre(box_a), _centre(box_b))
            together = apart_px < (ADJACENT_SIDES + 0.25) * box_a[2]
        else:
            rows, columns = self._grid(window)
            segments = segment(item.crop(window, columns, rows), self.segment_scale)
            together = _main_segment(segments, window, box_a) == _main_segment(segments, window, box_b)
        return {"label": int(together), "relation": self.proxy if together else "same_image_other"}

    def _grid(self, window: Box) -> tuple[int, int]:
        """Return rows and columns of cells over the window."""
        short_cells = round(PATCH_CELLS / self.patch_fraction)
        cell_px = min(window[2], window[3]) / short_cells
        return round(window[3] / cell_px), round(window[2] / cell_px)

    def _cut_patches(self, item: Image, rng: ItemRng) -> tuple[Box, list[Patch]]:
        """Return the window and patches a, b, c, d, as they are cut; (a, b) and (c, d) belong together."""
        short_px = min(item.width_px, item.height_px)
        require_size(item, round(self.patch_px / self.patch_fraction), self.max_upscale)
        generator = rng.item("layout")
        window = _window(item, generator.random())
        rows, columns = self._grid(window)
        if self.proxy == "same_image_adjacent":
            places = places_anywhere(rows, columns, generator)
            related, unrelated = by_adjacency(places)
        else:
            segments = segment(item.crop(window, columns, rows), self.segment_scale)
            places, groups = places_in_segments(segments, self.purity, generator)
            related, unrelated = by_segment(places, groups)
        # Adjacent patches are nearer than others by definition; patches of one segment need not be.
        quad = find_quad(places, related, unrelated, generator, is_matched=self.proxy == "same_segment")
        if quad is None:
            raise Filtered("no_pair", f"no two groups of patches for {self.proxy}")
        side_px = round(PATCH_CELLS * short_px / min(rows, columns))
        boxes = [_to_source(window, (rows, columns), place, side_px) for place in places[quad].tolist()]
        patches = [Patch(rng.source_key, at, item.crop(at, self.patch_px, self.patch_px)) for at in boxes]
        lowest = min(luma_std(patch.pixels) for patch in patches)
        if lowest < self.min_std:
            raise Filtered("flat", f"deviation of a patch's luma {lowest:.1f} < {self.min_std:g}")
        return window, patches

    def _pair(self, first: Patch, second: Patch, label: int, generator: np.random.Generator) -> dict[str, Any]:
        is_one_picture = first.source_key == second.source_key
        other = "same_image_other" if is_one_picture else "different_image"
        distance_px = math.dist(_centre(first.place), _centre(second.place)) if is_one_picture else NO_DISTANCE
        return {
            "patch_a": self._alter(first.pixels, generator),
            "patch_b": self._alter(second.pixels, generator),
            "label": label,
            "relation": self.proxy if label else other,
            "box_a": first.place,
            "box_b": second.place,
            "source_key_b": "" if is_one_picture else second.source_key,
            "iou": iou(first.place, second.place) if is_one_picture else 0.0,
            "distance_px": float(np.float32(distance_px)),
            "segmenter": SEGMENTER if self.proxy == "same_segment" else "",
        }

    def _alter(self, pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
        """Return the patch with a resolution, colour cast, contrast, noise and JPEG quality of its own."""
        resolution = _log_uniform(generator, self.lowest_resolution, 0.5)
        mode: ColorMode = "gray" if generator.random() < self.gray_fraction else "color"
        lowered = lower_resolution(pixels, max(2, round(resolution * self.patch_px)))
        recolored = recolor(drop_color(lowered, mode), generator)
        deviation = _log_uniform(generator, _LEAST_NOISE, 1) * self.most_noise
        quality = int(generator.integers(self.lowest_jpeg_quality, 96))
        return recompress(add_noise(recolored, deviation, generator), quality)


def _log_uniform(generator: np.random.Generator, least: float, most: float) -> float:
    return float(least * (most / least) ** generator.random())


def recolor(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with each channel's histogram replaced by a normal one, of random mean and deviation.

    Equal pixels stay equal and keep their order, so shapes and textures remain; what a histogram can tell is drawn for
    each patch by itself.
    """
    means = generator.uniform(100, 156) + generator.uniform(-20, 20, 3)
    deviations = generator.uniform(35, 60) * generator.uniform(0.8, 1.25, 3)
    recolored = np.empty_like(pixels)
    for channel in range(3):
        levels = pixels[..., channel]
        counts = np.bincount(levels.ravel(), minlength=256)
        rank = (np.cumsum(counts) - counts / 2) / levels.size
        normal = means[channel] + deviations[channel] * np.interp(rank, _QUANTILES, _NORMAL)
        recolored[..., channel] = np.clip(np.rint(normal), 0, 255).astype(np.uint8)[levels]
    return recolored


def add_noise(pixels: NDArray[np.uint8], deviation: float, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture with normal noise of a deviation in levels of 255, the same in all channels."""
    noise = generator.standard_normal(pixels.shape[:2], np.float32)[..., None] * np.float32(deviation)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def recompress(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the picture after a JPEG (4:2:0) of this quality."""
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with PillowImage.open(buffer, formats=("JPEG",)) as picture:
        return np.asarray(picture)


def iou(one: Box, other: Box) -> float:
    """Return the overlap of two boxes over their union, in [0, 1]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, width) * max(0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _window(item: Image, position: float) -> Box:
    """Return the whole picture, or where it is longer than 2:1 a part of that shape."""
    width = min(item.width_px, 2 * item.height_px)
    height = min(item.height_px, 2 * item.width_px)
    return (int(position * (item.width_px - width)), int(position * (item.height_px - height)), width, height)


def _to_source(window: Box, grid: tuple[int, int], place: Sequence[int], side_px: int) -> Box:
    """Return the square of the source at a place of the grid (rows, columns) over the window."""
    x = round(place[1] * window[2] / grid[1])
    y = round(place[0] * window[3] / grid[0])
    return (window[0] + min(x, window[2] - side_px), window[1] + min(y, window[3] - side_px), side_px, side_px)


def _centre(at: Box) -> tuple[float, float]:
    return (at[0] + at[2] / 2, at[1] + at[3] / 2)


def _main_segment(segments: NDArray[np.int32], window: Box, at: Box) -> int:
    """Return the segment that most cells of the box belong to."""
    rows, columns = segments.shape
    left, right = ((x - window[0]) * columns / window[2] for x in (at[0], at[0] + at[2]))
    top, bottom = ((y - window[1]) * rows / window[3] for y in (at[1], at[1] + at[3]))
    inside = segments[round(top) : round(bottom), round(left) : round(right)]
    return int(np.argmax(np.bincount(inside.ravel())))
