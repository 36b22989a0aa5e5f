"""Predict the colours of a photograph from its lightness.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016 (arXiv:1603.08511). The ab plane of CIE Lab is cut into
squares of 10; the class of a pixel is the square its colour falls into, and rare colours weigh more in the loss.

Only the picture is stored: lightness and classes are computed at load by `transforms.colorization_target`, with the
dataset's own list of squares, and the weights by `transforms.rebalanced_weights`. The objective is masked prediction:
what is hidden is not a place but the chroma, of every pixel. Shortcuts closed here: grey and tinted pictures (sepia,
duotone: chroma follows from lightness) are left out, and chroma is predicted at half resolution, since JPEGs seldom
hold more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptData, Filtered
from ..features import Features, box, image, value
from ..items import Image
from ..patches import require_size, tile_encoding
from ..resample import square_box
from ..rng import ItemRng, sha256_hex
from ..task import Example, Modality, Objective, PretextTask, setting
from ..transforms import ab_bins, rgb_to_lab

ASSET = "ab_bins.csv"


@dataclass(frozen=True)
class ImageColorization(PretextTask[Image]):
    """Predict the chroma of every pixel from the lightness (colourful image colourisation)."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.MASKED_PREDICTION
    has_recipe = True
    paper = "Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016 (arXiv:1603.08511)"

    side_px: int = setting(224, "side of the stored square", unit="px", at_least=16, at_most=1024, multiple_of=16)
    crop_fraction: float = setting(0.875, "share of the short side that the square takes", at_least=0.05, at_most=1)
    crop: Literal["center", "random"] = setting("center", "where the square lies; random is keyed to the source")
    max_upscale: float = setting(1.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_saturation: float = setting(0.04, "least mean of max(R, G, B) - min(R, G, B)", at_least=0, at_most=1)
    min_chroma_std: float = setting(
        2.0, "least deviation of a and b from what the lightness tells, in units of Lab", at_least=0, at_most=100
    )

    def features(self) -> Features:
        """Return picture, saturation and which list of squares the classes come from."""
        return Features.of(
            image=image("the square in colour; L is seen, ab is predicted", encoding=tile_encoding(self.side_px)),
            saturation=value("float32", "parameter", "mean of max(R, G, B) - min(R, G, B), of full scale; 0 = grey"),
            bins_sha256=value("string", "parameter", "sha256 of the list of ab squares, an asset of the dataset"),
            crop_box=box("the square in the upright source"),
        )

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield one example."""
        require_size(item, self.side_px, self.max_upscale)
        position = (0.5, 0.5) if self.crop == "center" else tuple(rng.item("crop").random(2))
        crop_box = square_box(item.width_px, item.height_px, self.side_px, self.crop_fraction, position)
        pixels = item.crop(crop_box, self.side_px, self.side_px)
        found = saturation(pixels)
        if found < self.min_saturation:
            raise Filtered("gray", f"saturation {found:.3f} < {self.min_saturation:g}")
        spread = chroma_std(pixels)
        if spread < self.min_chroma_std:
            raise Filtered("gray", f"tinted: chroma deviates by {spread:.2f} < {self.min_chroma_std:g}")
        yield Example(
            0,
            {
                "image": pixels,
                "saturation": found,
                "bins_sha256": _sha256(self.bins.tobytes()),
                "crop_box": crop_box,
            },
        )

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return a picture of measured density and 400 bytes of columns."""
        return 400 + int((1.9 if tile_encoding(self.side_px) == "png" else 0.67) * self.side_px**2)

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return the saturation of the source's crop where it is not within 0.01 of the stored one, and the bins."""
        crop = item.crop(tuple(row["crop_box"]), self.side_px, self.side_px).astype(np.float64)
        found = float((crop.max(axis=-1) - crop.min(axis=-1)).mean() / 255)
        agrees = abs(found - row["saturation"]) <= 0.01
        return {"saturation": row["saturation"] if agrees else found, "bins_sha256": sha256_hex(_as_text(self.bins))}

    @property
    def bins(self) -> NDArray[np.int16]:
        """The centres of the ab squares, int16 [num_bins, 2]: the dataset's where assets are bound, else computed."""
        bound: NDArray[np.int16] | None = self.__dict__.get("_bins")
        return ab_bins() if bound is None else bound

    def make_assets(self, sample: Callable[[], Iterable[Image]]) -> Mapping[str, bytes]:
        """Return the list of ab squares: centres a,b one a line."""
        return {ASSET: _as_text(self.bins)}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        """Return this task with the dataset's list of ab squares.

        Raises CorruptData where the asset is no such list.
        """
        try:
            bins = np.array([line.split(b",") for line in assets[ASSET].split()]).astype(np.int16).reshape(-1, 2)
        except ValueError as error:
            raise CorruptData(f"the asset {ASSET} is not a list of a,b: {error}.") from error
        bound = dataclasses.replace(self)
        # Not a setting, so no field: the manifest names the asset by its hash.
        bound.__dict__["_bins"] = bins
        return bound


def saturation(pixels: NDArray[np.uint8]) -> float:
    """Return the mean of max(R, G, B) - min(R, G, B) over every fourth pixel, of full scale, as a float32 number."""
    red, green, blue = (pixels[::2, ::2, channel] for channel in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    lowest = np.minimum(np.minimum(red, green), blue)
    return float(np.float32((highest - lowest).mean() / 255))


def chroma_std(pixels: NDArray[np.uint8]) -> float:
    """Return how far a and b deviate from a quadratic of L, as a standard deviation over a thin grid of pixels.

    About 0 for grey, sepia and duotone pictures, whatever their tint.
    """
    step = max(1, min(pixels.shape[:2]) // 48)
    lab = rgb_to_lab(np.ascontiguousarray(pixels[::step, ::step])).reshape(-1, 3)
    lightness = lab[:, :1] / 100
    basis = np.concatenate([np.ones_like(lightness), lightness, lightness**2], axis=1)
    explained = basis @ np.linalg.lstsq(basis, lab[:, 1:], rcond=None)[0]
    return float(np.sqrt(((lab[:, 1:] - explained) ** 2).mean()))


def _as_text(bins: NDArray[np.int16]) -> bytes:
    return "".join(f"{a},{b}\n" for a, b in bins.tolist()).encode()


@lru_cache(maxsize=4)
def _sha256(bins: bytes) -> str:
    return sha256_hex(_as_text(np.frombuffer(bins, np.int16).reshape(-1, 2)))
