"""Pure numpy functions shared by tasks and trainers: quarter turns, masks, tiles, colour spaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .rng import keyed_generator


def quarter_turn(pixels: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Return `pixels` [height, width, channels] turned counter-clockwise by `turns` * 90 degrees, as a view.

    An exact permutation of pixels: no resampling, no fill.
    """
    if turns % 2:  # as numpy.rot90, ten times faster on a small picture
        pixels = pixels.swapaxes(0, 1)
        return pixels[::-1] if turns % 4 == 1 else pixels[:, ::-1]
    return pixels[::-1, ::-1] if turns % 4 else pixels[:]


#: What is left of a patch's colour: all, luma, or one channel with the others at mid-grey.
ColorMode = Literal["color", "gray", "red", "green", "blue"]
CHANNELS: tuple[ColorMode, ...] = ("red", "green", "blue")
_MID_GREY = 128


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (BT.601) of sRGB [..., 3] as uint8 [...], in exact integer arithmetic."""
    weighted = pixels[..., 0] * np.uint16(77) + pixels[..., 1] * np.uint16(150) + pixels[..., 2] * np.uint16(29)
    rounded: NDArray[np.uint8] = ((weighted + np.uint16(128)) >> np.uint16(8)).astype(np.uint8)
    return rounded


def drop_color(pixels: NDArray[np.uint8], mode: ColorMode) -> NDArray[np.uint8]:
    """Return the picture [height, width, 3] with what `mode` leaves of its colour; a copy unless that is all.

    One channel alone cannot show how lenses shift colours against each other; so cannot the luma of a patch that is
    compared with another, though a trace of the shift remains in it as blur.
    """
    if mode == "color":
        return pixels
    if mode == "gray":
        return np.repeat(luma(pixels)[..., None], 3, axis=-1)
    kept = np.full_like(pixels, _MID_GREY)
    channel = CHANNELS.index(mode)
    kept[..., channel] = pixels[..., channel]
    return kept


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask as bits, row-major, least significant bit first; 1 = hidden."""
    return np.packbits(mask.ravel(), bitorder="little").tobytes()


def unpack_mask(bits: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of `shape` that `pack_mask` wrote; True = hidden.

    Raises ValueError where `bits` has another length than the shape needs.
    """
    size = int(np.prod(shape))
    if len(bits) != (size + 7) // 8:
        raise ValueError(f"a mask of {size} places needs {(size + 7) // 8} bytes, but has {len(bits)}.")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=size, bitorder="little").astype(bool).reshape(shape)


#: How the places of a mask are chosen; `draw_mask` says what each means.
MaskStrategy = Literal["random", "block", "unit", "free_form"]


def mask_generator(mask_seed: int, epoch: int = 0) -> np.random.Generator:
    """Return the generator of one example's mask in one epoch; epoch 0 redraws the mask that is stored.

    `mask_seed` stands in the example's row, so a trainer gets a new mask every epoch and the same one on a rerun.
    """
    return keyed_generator("mask", mask_seed, epoch)


def draw_mask(
    strategy: MaskStrategy,
    generator: np.random.Generator,
    shape: tuple[int, int],
    num_hidden: int,
    unit: int = 2,
) -> NDArray[np.bool_]:
    """Return a mask of `shape` (rows, columns), True = hidden, drawn by the named strategy.

    random: places one by one (MAE). block: rectangles (BEiT). unit: squares of `unit` x `unit` places (SimMIM).
    free_form: connected patches of irregular outline (Context Encoder's random region). All hide exactly
    `num_hidden` places, so that a batch has one shape; `unit` rounds it to whole squares.
    """
    if strategy == "unit":
        return unit_mask(generator, shape, num_hidden, unit)
    if strategy == "block":
        return block_mask(generator, shape, num_hidden)
    if strategy == "free_form":
        return free_form_mask(generator, shape, num_hidden)
    return random_mask(generator, shape, num_hidden)


def random_mask(generator: np.random.Generator, shape: tuple[int, ...], num_hidden: int) -> NDArray[np.bool_]:
    """Return a mask of any shape with `num_hidden` places hidden, each set of places equally likely."""
    return _hide_smallest(generator.random(shape), num_hidden)


def unit_mask(generator: np.random.Generator, shape: tuple[int, int], num_hidden: int, unit: int) -> NDArray[np.bool_]:
    """Return a mask that hides whole squares of `unit` x `unit` places, about `num_hidden` places in all.

    Raises ValueError where `unit` does not divide the shape.
    """
    rows, columns = shape
    if rows % unit or columns % unit:
        raise ValueError(f"a mask of {rows} x {columns} places is not made of squares of {unit} x {unit}.")
    coarse = random_mask(generator, (rows // unit, columns // unit), round(num_hidden / unit**2))
    return expand_mask(coarse, unit)


def block_mask(
    generator: np.random.Generator, shape: tuple[int, int], num_hidden: int, smallest_block: int = 16
) -> NDArray[np.bool_]:
    """Return a mask of overlapping rectangles with `num_hidden` places hidden.

    Bao et al., BEiT, ICLR 2022 (arXiv:2106.08254), algorithm 1: areas from `smallest_block` up, aspect ratio 0.3 to
    1/0.3. What no rectangle fits any more is hidden place by place.
    """
    rows, columns = shape
    mask = np.zeros(shape, dtype=bool)
    for _ in range(10 * 8):
        missing = num_hidden - int(mask.sum())
        if missing <= 0:
            break
        area = generator.uniform(min(smallest_block, missing), missing)
        aspect = np.exp(generator.uniform(np.log(0.3), -np.log(0.3)))
        height, width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        top, left = generator.random(2) * (rows - height + 1, columns - width + 1)
        if not (0 < height <= rows and 0 < width <= columns):
            continue
        block = mask[int(top) : int(top) + height, int(left) : int(left) + width]
        if block.size - int(block.sum()) <= missing:
            block[:] = True
    # Hidden places come first in the order, then random ones.
    return _hide_smallest(np.where(mask, -1.0, generator.random(shape)), num_hidden)


def free_form_mask(generator: np.random.Generator, shape: tuple[int, int], num_hidden: int) -> NDArray[np.bool_]:
    """Return a mask that hides the `num_hidden` lowest places of smoothed noise: blobs of irregular outline.

    In the manner of the random region of Pathak et al., Context Encoders, CVPR 2016 (arXiv:1604.07379).
    """
    noise = generator.random(shape)
    for axis in (0, 1):
        noise = 2 * noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return _hide_smallest(noise, num_hidden)


def centre_mask(shape: tuple[int, int], hole: int) -> NDArray[np.bool_]:
    """Return a mask that hides the central square of `hole` x `hole` places."""
    mask = np.zeros(shape, dtype=bool)
    top, left = (shape[0] - hole) // 2, (shape[1] - hole) // 2
    mask[top : top + hole, left : left + hole] = True
    return mask


def expand_mask(mask: NDArray[np.bool_], cell: int) -> NDArray[np.bool_]:
    """Return the mask with each place repeated to a square of `cell` x `cell`: from patches to pixels."""
    return np.repeat(np.repeat(mask, cell, axis=0), cell, axis=1)


def visible_mean_rgb(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the mean colour of the visible pixels, uint8 [3]: the fill that tells nothing of what it hides."""
    visible = ~hidden
    total = visible.ravel().astype(np.float32) @ pixels.reshape(-1, 3).astype(np.float32)
    return np.rint(total / max(1, int(visible.sum()))).astype(np.uint8)


def fill_hidden(
    pixels: NDArray[np.uint8], hidden: NDArray[np.bool_], fill_rgb: NDArray[np.uint8] | Sequence[int]
) -> NDArray[np.uint8]:
    """Return `pixels` [height, width, 3] with the hidden pixels [height, width] replaced by one colour."""
    return np.where(hidden[..., None], np.asarray(fill_rgb, np.uint8), pixels)


def _hide_smallest(order: NDArray[np.float64], num_hidden: int) -> NDArray[np.bool_]:
    mask = np.zeros(order.size, dtype=bool)
    mask[np.argsort(order, axis=None, kind="stable")[:num_hidden]] = True
    return mask.reshape(order.shape)


def split_tiles(pixels: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return [height, width, channels] cut into [rows * columns, tile height, tile width, channels], row-major.

    Raises ValueError where the picture cannot be cut evenly.
    """
    height, width, channels = pixels.shape
    cut = pixels.reshape(rows, height // rows, columns, width // columns, channels)
    return cut.swapaxes(1, 2).reshape(rows * columns, height // rows, width // columns, channels)


def join_tiles(tiles: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Return the picture that `split_tiles` cut."""
    _, height, width, channels = tiles.shape
    grid = tiles.reshape(rows, columns, height, width, channels)
    return grid.swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def cut_tiles(
    pixels: NDArray[np.uint8], top_px: Sequence[int], left_px: Sequence[int], color_mode: ColorMode, *, tile_px: int
) -> NDArray[np.uint8]:
    """Return square tiles of a picture, uint8 [num_tiles, tile_px, tile_px, 3].

    `top_px`, `left_px`: where each channel of each tile begins, tile by tile, [3 * num_tiles]; the colour that
    `color_mode` leaves is all that is shown.
    """
    shown = drop_color(pixels, color_mode)
    tiles = np.empty((len(top_px) // 3, tile_px, tile_px, 3), np.uint8)
    for place, (top, left) in enumerate(zip(top_px, left_px, strict=True)):
        tile, channel = divmod(place, 3)
        tiles[tile, ..., channel] = shown[top : top + tile_px, left : left + tile_px, channel]
    return tiles


def standardize(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a patch [..., height, width, channels] with mean 0 and deviation 1 over its pixels and channels.

    For patches compared with each other: brightness and contrast then tell nothing of where a patch comes from.
    """
    patch = pixels.astype(np.float32)
    patch -= patch.mean(axis=(-3, -2, -1), keepdims=True)
    patch /= np.maximum(patch.std(axis=(-3, -2, -1), keepdims=True), 1e-3)
    return patch


#: Side of the squares that the ab plane is cut into, as in Zhang et al.
AB_STEP = 10


def rgb_to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return sRGB [..., 3] as CIE Lab (D65), float32 [..., 3]: L in [0, 100], a and b within [-108, 99]."""
    linear = _srgb_to_linear()[pixels]
    xyz = linear @ _RGB_TO_WHITE_XYZ
    curved = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * np.float32(841 / 108) + np.float32(4 / 29))
    lab: NDArray[np.float32] = curved @ _XYZ_TO_LAB
    lab[..., 0] -= 16
    return lab


@lru_cache(maxsize=1)
def ab_bins() -> NDArray[np.int16]:
    """Return the centres of the squares of the ab plane that hold an sRGB colour, int16 [261, 2], by a, then b.

    Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016 (arXiv:1603.08511) cut the plane likewise and list 313
    centres; these are the ones that 8-bit colours really fall into, so no class is empty by construction.
    """
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    cells = np.rint(rgb_to_lab(colours)[..., 1:] / AB_STEP).astype(np.int16).reshape(-1, 2)
    bins: NDArray[np.int16] = AB_STEP * np.unique(cells, axis=0)
    bins.flags.writeable = False
    return bins


def quantize_ab(ab: NDArray[np.float32], bins: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return the index of the bin [num_bins, 2] whose square holds each ab [..., 2], else of the nearest bin."""
    cells = np.clip(np.rint(ab / AB_STEP).astype(np.int64), -_AB_REACH, _AB_REACH) + _AB_REACH
    return _bin_of_cell(bins.astype(np.int16).tobytes())[cells[..., 0], cells[..., 1]]


def colorization_target(
    pixels: NDArray[np.uint8], bins: NDArray[np.int16]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what colourisation sees and predicts: L float32 [height, width], bin int64 [height / 2, width / 2].

    The chroma is taken at half resolution: most photographs come from JPEGs that hold no more of it.
    """
    lab = rgb_to_lab(pixels)
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    quads = lab[:height, :width, 1:].reshape(height // 2, 2, width // 2, 2, 2)
    return lab[..., 0], quantize_ab(quads.mean(axis=(1, 3)), bins)


def rebalanced_weights(bin_counts: NDArray[np.int64], uniform_fraction: float = 0.5) -> NDArray[np.float32]:
    """Return the weight of each bin in the loss, float32 [num_bins]: rare colours weigh more.

    Zhang et al.: 1 / (their share mixed with a uniform one by `uniform_fraction`), mean weight of a pixel 1.
    """
    share = bin_counts / max(1, int(bin_counts.sum()))
    weights = 1 / ((1 - uniform_fraction) * share + uniform_fraction / len(share))
    return (weights / max(1e-12, float(share @ weights))).astype(np.float32)


#: The ab plane of sRGB lies within this many steps of the origin.
_AB_REACH = 12
#: Linear sRGB (IEC 61966-2-1) to XYZ relative to the D65 white point; transposed, for row vectors.
_RGB_TO_WHITE_XYZ = (
    np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    / np.array([[0.95047], [1.0], [1.08883]])
).T.astype(np.float32)
_XYZ_TO_LAB = np.array([[0, 500, 0], [116, -500, 200], [0, 0, -200]], np.float32)


@lru_cache(maxsize=1)
def _srgb_to_linear() -> NDArray[np.float32]:
    level = np.arange(256) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


@lru_cache(maxsize=4)
def _bin_of_cell(bins: bytes) -> NDArray[np.int64]:
    centres = np.frombuffer(bins, np.int16).reshape(-1, 2)
    steps = AB_STEP * np.arange(-_AB_REACH, _AB_REACH + 1)
    cells = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    nearest: NDArray[np.int64] = np.argmin(((cells[:, :, None] - centres) ** 2).sum(axis=-1), axis=-1)
    return nearest
