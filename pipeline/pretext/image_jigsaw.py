"""Predict how the nine tiles of a photograph were shuffled, out of a fixed set of permutations.

Noroozi, Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, ECCV 2016
(arXiv:1603.09246). A square of 255 px is cut into 3 x 3 cells of 85; a tile of 64 is taken from anywhere in each.

Shortcuts closed here: tiles are at least 8 px apart (no lines or textures that run on), two thirds of the puzzles are
grey and the colour channels of the others are shifted tile by tile (no chromatic aberration), the permutations differ
in many places (no two tiles tell the class), flat pictures are left out, tiles are stored without loss. Brightness and
contrast are normalised at load, tile by tile (`transforms.standardize`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, CorruptData, Filtered
from ..features import Features, box, class_label, image, value
from ..items import Image
from ..patches import luma_std, require_size, shown_by, tile_encoding
from ..rendering import CROP, Rendering
from ..resample import square_box
from ..rng import ItemRng, keyed_generator, sha256_hex
from ..task import Example, Modality, Objective, PretextTask, setting

GRID = 3
NUM_TILES = GRID * GRID
ASSET = "jigsaw_permutations.txt"


@dataclass(frozen=True)
class ImageJigsaw(PretextTask[Image]):
    """Predict the permutation of a photograph's 3 x 3 tiles (jigsaw puzzles)."""

    version = "1"
    modality = Modality.IMAGE
    objective = Objective.CLASSIFICATION
    has_recipe = True
    paper = (
        "Noroozi, Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, ECCV 2016 "
        "(arXiv:1603.09246)"
    )

    tile_px: int = setting(64, "side of the stored tiles", unit="px", at_least=4, at_most=512)
    cell_px: int = setting(85, "side of the cells that the tiles lie in", unit="px", at_least=6, at_most=680)
    min_gap_px: int = setting(8, "least gap between tiles", unit="px", at_least=0, at_most=168, multiple_of=2)
    num_permutations: int = setting(100, "size of the set, the number of classes", at_least=2, at_most=1000)
    puzzles: int = setting(1, "puzzles of every picture, with different permutations", at_least=1, at_most=100)
    gray_fraction: float = setting(0.66, "share of puzzles without colour", at_least=0, at_most=1)
    channel_shift_px: int = setting(
        2, "largest shift of each colour channel of each tile, where the puzzle has colour", unit="px", at_least=0
    )
    crop_fraction: float = setting(1.0, "share of the short side that the square takes", at_least=0.05, at_most=1)
    max_upscale: float = setting(2.0, "largest enlargement; smaller pictures are filtered", at_least=1, at_most=16)
    min_std: float = setting(4.0, "least deviation of the square's luma, of 255 levels", at_least=0, at_most=64)

    def __post_init__(self) -> None:
        """Check the bounds, and that tiles with their gaps fit into the cells."""
        super().__post_init__()
        if self.tile_px + self.min_gap_px > self.cell_px:
            raise ConfigError(
                f"`cell_px` must be at least tile_px + min_gap_px = {self.tile_px + self.min_gap_px}, "
                f"but is {self.cell_px}."
            )
        if self.puzzles > self.num_permutations:
            raise ConfigError(f"`puzzles` must be at most {self.num_permutations}, but is {self.puzzles}.")

    def features(self) -> Features:
        """Return tiles, permutation, its set, and how the tiles were cut."""
        return Features.of(
            tiles=image("the tiles in shuffled order", shape=(NUM_TILES,), encoding=tile_encoding(self.tile_px)),
            label=class_label(tuple(map(str, range(self.num_permutations))), "index of the permutation in the set"),
            permutation=value(
                "int8", "parameter", "tiles[i] shows cell permutation[i], cells row by row", shape=(NUM_TILES,)
            ),
            perm_set_sha256=value("string", "parameter", "sha256 of the permutation set, an asset of the dataset"),
            min_gap_px=value("int16", "parameter", "least gap between tiles, in stored px", unit="px"),
            offset_x_px=value("int16", "parameter", "of tiles[i] in its cell, to the right", shape=(9,), unit="px"),
            offset_y_px=value("int16", "parameter", "of tiles[i] in its cell, down", shape=(9,), unit="px"),
            color_mode=value("string", "parameter", "color (with shifted channels) or gray"),
            crop_box=box("the square in the upright source"),
        )

    def kept_features(self) -> Features:
        """Return the square instead of the tiles, and where each channel of each tile begins in it."""
        crop = image("the square that the tiles are cut from", encoding="png", role="parameter")
        corners = (3 * NUM_TILES,)
        more = Features.of(
            top_px=value("int16", "parameter", "of channels of tiles in the square", shape=corners, unit="px"),
            left_px=value("int16", "parameter", "of channels of tiles in the square", shape=corners, unit="px"),
        )
        own = ((name, feature) for name, feature in self.features() if name != "tiles")
        return Features(((CROP, crop), *own, *more))

    def rendering(self) -> Rendering:
        """Return how the tiles are cut."""
        tiles = self.features()["tiles"]
        arguments = ("top_px", "left_px", "color_mode")
        return Rendering("tiles", tiles, "cut_tiles", arguments, {"tile_px": self.tile_px})

    def examples(self, item: Image, rng: ItemRng) -> Iterator[Example]:
        """Yield the puzzles, all from one crop; their permutations differ."""
        side_px = GRID * self.cell_px
        require_size(item, side_px, self.max_upscale)
        generator = rng.item("crop")
        least_px = math.ceil(side_px / self.max_upscale)
        position = tuple(generator.random(2))
        crop_box = square_box(item.width_px, item.height_px, least_px, self.crop_fraction, position)
        canvas = item.crop(crop_box, side_px, side_px)
        if luma_std(canvas) < self.min_std:
            raise Filtered("flat", f"deviation of the luma {luma_std(canvas):.1f} < {self.min_std:g}")
        labels = generator.permutation(self.num_permutations)
        rendering = self.rendering()
        for draw in range(self.puzzles):
            puzzle, cuts = self._puzzle(int(labels[draw]), rng.draw(draw))
            puzzle["crop_box"] = crop_box
            kept = {CROP: canvas, **puzzle, **cuts}
            yield Example(draw, {"tiles": rendering.apply(kept), **puzzle}, kept)

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return the puzzles times nine PNG tiles of measured density and 900 bytes of columns."""
        bytes_per_px = self.gray_fraction * 1.05 + (1 - self.gray_fraction) * 2.0
        return self.puzzles * (900 + int(NUM_TILES * bytes_per_px * self.tile_px**2))

    def estimate_recipe_num_bytes(self, source_num_bytes: int) -> int:
        """Return one PNG of the square and the columns of the puzzles."""
        return self.puzzles * 1200 + int(2.0 * (GRID * self.cell_px) ** 2)

    def rederive(self, row: Mapping[str, Any], item: Image) -> Mapping[str, Any]:
        """Return permutation and label as the source shows them: which cell each tile was cut from."""
        side_px = GRID * self.cell_px
        canvas = item.crop(tuple(row["crop_box"]), side_px, side_px)
        found = []
        for place, tile in enumerate(row["tiles"]):
            at = (int(row["offset_y_px"][place]), int(row["offset_x_px"][place]))
            cells = [_cut(canvas, *_corner(cell, self.cell_px, at), self.tile_px) for cell in range(NUM_TILES)]
            found.append(shown_by(tile, cells, int(row["permutation"][place]), row["color_mode"]))
        matches = np.flatnonzero((self.permutations == np.array(found)).all(axis=1))
        return {"permutation": found, "label": int(matches[0]) if len(matches) else -1}

    @property
    def permutations(self) -> NDArray[np.int8]:
        """The permutation set, int8 [num_permutations, 9]: the dataset's where assets are bound, else computed."""
        bound: NDArray[np.int8] | None = self.__dict__.get("_permutations")
        return max_hamming_permutations(NUM_TILES, self.num_permutations) if bound is None else bound

    def make_assets(self, sample: Callable[[], Iterable[Image]]) -> Mapping[str, bytes]:
        """Return the permutation set: one permutation a line, as digits."""
        return {ASSET: _as_text(self.permutations)}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        """Return this task with the dataset's permutation set.

        Raises CorruptData where the set is not one of `num_permutations` permutations of nine.
        """
        lines = assets[ASSET].split()
        permutations = np.array([[digit - ord("0") for digit in line] for line in lines], np.int8)
        shape = (self.num_permutations, NUM_TILES)
        if permutations.shape != shape or (np.sort(permutations, axis=1) != np.arange(NUM_TILES)).any():
            raise CorruptData(f"the asset {ASSET} is not {shape[0]} permutations of {NUM_TILES} tiles.")
        bound = dataclasses.replace(self)
        # Not a setting, so no field: the manifest names the asset by its hash.
        bound.__dict__["_permutations"] = permutations
        return bound

    def _puzzle(self, label: int, generator: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a puzzle's columns but its tiles, and what says how these are cut."""
        permutation = self.permutations[label].tolist()
        gray = bool(generator.random() < self.gray_fraction)
        offsets, by_channel = self._offsets(generator, 0 if gray else self.channel_shift_px)
        corners = [
            _corner(cell, self.cell_px, at)
            for cell, of_tile in zip(permutation, by_channel.tolist(), strict=True)
            for at in of_tile
        ]
        cuts = {"top_px": [top for top, _ in corners], "left_px": [left for _, left in corners]}
        puzzle = {
            "label": label,
            "permutation": permutation,
            "perm_set_sha256": _sha256(self.permutations.tobytes()),
            "min_gap_px": self.min_gap_px,
            "offset_x_px": offsets[:, 1].tolist(),
            "offset_y_px": offsets[:, 0].tolist(),
            "color_mode": "gray" if gray else "color",
        }
        return puzzle, cuts

    def _offsets(self, generator: np.random.Generator, shift_px: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where tiles begin in their cells, (down, right): [9, 2], and for each channel: [9, 3, 2]."""
        margin_px = self.min_gap_px // 2
        last_px = self.cell_px - self.tile_px - margin_px
        offsets = generator.integers(margin_px, last_px + 1, (NUM_TILES, 2))
        shifts = generator.integers(-shift_px, shift_px + 1, (NUM_TILES, 3, 2))
        # Shifted channels, too, stay within the margin that keeps tiles apart.
        return offsets, np.clip(offsets[:, None] + shifts, margin_px, last_px)


def _corner(cell: int, cell_px: int, at: Sequence[int]) -> tuple[int, int]:
    """Return the row and column of the canvas where a tile `at` (down, right) in `cell` begins."""
    return cell // GRID * cell_px + at[0], cell % GRID * cell_px + at[1]


def _cut(pixels: NDArray[np.uint8], top: int, left: int, side_px: int) -> NDArray[np.uint8]:
    return pixels[top : top + side_px, left : left + side_px]


def _as_text(permutations: NDArray[np.int8]) -> bytes:
    return "".join("".join(map(str, line)) + "\n" for line in permutations.tolist()).encode()


@lru_cache(maxsize=4)
def _sha256(permutations: bytes) -> str:
    return sha256_hex(_as_text(np.frombuffer(permutations, np.int8).reshape(-1, NUM_TILES)))


@lru_cache(maxsize=4)
def max_hamming_permutations(num_places: int, count: int) -> NDArray[np.int8]:
    """Return `count` permutations of `range(num_places)` that differ from each other in many places.

    Greedy as in the paper's algorithm 1: each next one is farthest from those chosen, here by the least Hamming
    distance, then by the sum of distances, then in a keyed order. The identity is left out. int8 [count, num_places],
    read-only; 100 of nine places take half a second.

    Raises ValueError where there are not so many.
    """
    everything = _all_permutations(num_places)
    if not 0 < count < len(everything):
        raise ValueError(f"{num_places} places have {len(everything) - 1} permutations besides the identity.")
    order = 1 + keyed_generator("permutations", num_places).permutation(len(everything) - 1)
    # One row a place: comparing whole rows is several times faster than comparing permutations.
    candidates = np.ascontiguousarray(everything[order].T)
    chosen = [candidates[:, 0]]
    least = np.full(candidates.shape[1], num_places, np.int32)
    total = np.zeros(candidates.shape[1], np.int32)
    while len(chosen) < count:
        distance = np.zeros(candidates.shape[1], np.int8)
        for of_place, kept in zip(candidates, chosen[-1], strict=True):
            distance += of_place != kept
        np.minimum(least, distance, out=least)
        total += distance
        chosen.append(candidates[:, int(np.argmax(least * (num_places * count + 1) + total))])
    permutations = np.stack(chosen)
    permutations.flags.writeable = False
    return permutations


def _all_permutations(num_places: int) -> NDArray[np.int8]:
    """Return all permutations, int8 [num_places!, num_places]; the first is the identity."""
    found = np.zeros((1, 1), np.int8)
    for last in range(1, num_places):
        found = np.concatenate([np.insert(found, place, last, axis=1) for place in range(last, -1, -1)])
    return found
