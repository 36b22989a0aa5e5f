"""Photographs for the demo: things that have an up and a down, before backdrops that have none.

Where sky and ground told the rotation, a net would look at them alone; here it must know the thing, so what it learns
from rotation helps to tell things apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..pipeline.rng import keyed_generator

_Rng = np.random.Generator
_Colour = tuple[int, int, int]
#: Points are shares of the thing's box: x to the right, y down.
_Polygon = Callable[[list[tuple[float, float]], _Colour], None]


def kind_of(number: int) -> str:
    """Return what the photograph shows: its label."""
    return tuple(_THINGS)[number % len(_THINGS)]


def render_photograph(number: int) -> Image.Image:
    """Return one photograph, 240 to 330 px a side; depends on its number alone."""
    rng = keyed_generator("demo", number)
    width, height = int(rng.integers(240, 330)), int(rng.integers(240, 330))
    picture = Image.fromarray(_backdrop(rng, width, height))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 12))):
        _draw_speck(draw, rng, width, height)
    _draw_thing(draw, rng, kind_of(number), width, height)
    picture = picture.filter(ImageFilter.GaussianBlur(0.8))
    noise = rng.normal(0, rng.uniform(3, 12), (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def render_folder(folder: Path, num_photographs: int) -> None:
    """Write photographs as JPEG into `folder`, in a folder for each kind; those that are there already stay."""
    for number in range(num_photographs):
        path = folder / kind_of(number) / f"photo {number:04d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            render_photograph(number).save(path, "JPEG", quality=88)


def _backdrop(rng: _Rng, width: int, height: int) -> NDArray[np.uint8]:
    """Return two colours, one going over into the other in any direction."""
    one, other = rng.uniform(20, 235, 3), rng.uniform(20, 235, 3)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    share = (0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    pixels: NDArray[np.uint8] = np.clip(one + (other - one) * share, 0, 255).astype(np.uint8)
    return pixels


def _draw_speck(draw: ImageDraw.ImageDraw, rng: _Rng, width: int, height: int) -> None:
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    wide, tall = rng.uniform(6, 34, 2)
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape((x, y, x + wide, y + tall), fill=_colour(rng))


def _draw_thing(draw: ImageDraw.ImageDraw, rng: _Rng, kind: str, width: int, height: int) -> None:
    """Draw a thing of any size, place and colours, never beyond the central square."""
    side = min(width, height)
    size = rng.uniform(0.42, 0.72) * side
    left, top = ((full - size) / 2 + rng.uniform(-0.5, 0.5) * (0.86 * side - size) for full in (width, height))
    wide = size * rng.uniform(0.8, 1.0)

    def polygon(points: list[tuple[float, float]], colour: _Colour) -> None:
        draw.polygon([(left + x * wide, top + y * size) for x, y in points], fill=colour)

    _THINGS[kind](polygon, [_colour(rng) for _ in range(3)])


def _colour(rng: _Rng) -> _Colour:
    red, green, blue = rng.integers(10, 245, 3).tolist()
    return red, green, blue


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _arch(x: float, y: float, half: float, tall: float) -> list[tuple[float, float]]:
    """Return half an ellipse above (tall > 0) or below the line at y."""
    angles = np.linspace(0, np.pi, 24)
    return [(float(x + half * np.cos(angle)), float(y - tall * np.sin(angle))) for angle in angles]


def _house(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon(_rectangle(0.1, 0.45, 0.9, 1), colours[0])
    polygon([(0, 0.45), (0.5, 0), (1, 0.45)], colours[1])
    polygon(_rectangle(0.4, 0.65, 0.6, 1), colours[2])


def _fir(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon(_rectangle(0.42, 0.8, 0.58, 1), colours[1])
    for level in range(3):
        polygon([(0.05 + 0.1 * level, 0.85 - 0.27 * level), (0.5, 0.4 - 0.2 * level),
                 (0.95 - 0.1 * level, 0.85 - 0.27 * level)], colours[0])  # fmt: skip


def _boat(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon([(0, 0.7), (1, 0.7), (0.8, 1), (0.2, 1)], colours[0])
    polygon(_rectangle(0.45, 0, 0.5, 0.7), colours[2])
    polygon([(0.53, 0.05), (0.53, 0.62), (0.95, 0.62)], colours[1])


def _mushroom(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon(_rectangle(0.36, 0.45, 0.64, 1), colours[1])
    polygon(_arch(0.5, 0.5, 0.5, 0.5), colours[0])


def _goblet(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon(_arch(0.5, 0.1, 0.42, -0.52), colours[0])
    polygon(_rectangle(0.45, 0.55, 0.55, 0.92), colours[1])
    polygon(_rectangle(0.22, 0.9, 0.78, 1), colours[1])


def _lamp(polygon: _Polygon, colours: list[_Colour]) -> None:
    polygon([(0.3, 0), (0.7, 0), (0.95, 0.42), (0.05, 0.42)], colours[0])
    polygon(_rectangle(0.46, 0.42, 0.54, 0.95), colours[1])
    polygon(_rectangle(0.25, 0.93, 0.75, 1), colours[1])


_THINGS: dict[str, Callable[[_Polygon, list[_Colour]], None]] = {
    "boat": _boat,
    "fir": _fir,
    "goblet": _goblet,
    "house": _house,
    "lamp": _lamp,
    "mushroom": _mushroom,
}
