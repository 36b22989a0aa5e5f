"""Photographs for the demo: rendered landscapes that have an up and a down, so that there is a rotation to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..pipeline.rng import keyed_generator

_SKIES = [((90, 150, 225), (205, 225, 245)), ((240, 150, 90), (250, 215, 160)), ((130, 140, 155), (200, 205, 210))]
_GROUNDS = [(70, 120, 50), (150, 130, 80), (95, 95, 90), (215, 220, 225)]
_WALLS = [(190, 80, 60), (225, 215, 190), (130, 150, 170), (240, 200, 120)]


def render_photograph(number: int) -> Image.Image:
    """Return one landscape: sky, sun, hills, houses, trees, noise; depends on its number alone."""
    rng = keyed_generator("demo", number)
    width, height = int(rng.integers(300, 420)), int(rng.integers(260, 320))
    horizon = int(height * rng.uniform(0.4, 0.65))
    picture = Image.fromarray(_gradient(rng, width, height, horizon))
    draw = ImageDraw.Draw(picture)
    _draw_sun(draw, rng, width, horizon)
    _draw_hills(draw, rng, width, horizon)
    for _ in range(int(rng.integers(1, 4))):
        _draw_house(draw, rng, width, horizon)
    for _ in range(int(rng.integers(2, 9))):
        _draw_tree(draw, rng, width, height, horizon)
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    noise = rng.normal(0, rng.uniform(2, 7), (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def render_folder(folder: Path, num_photographs: int) -> None:
    """Write photographs as JPEG into `folder`, by season; those that are there already stay."""
    for number in range(num_photographs):
        path = folder / ("summer", "autumn", "winter")[number % 3] / f"photo {number:04d}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            render_photograph(number).save(path, "JPEG", quality=88)


def _gradient(rng: np.random.Generator, width: int, height: int, horizon: int) -> NDArray[np.uint8]:
    top, low = (np.array(colour, float) for colour in _SKIES[rng.integers(len(_SKIES))])
    ground = np.array(_GROUNDS[rng.integers(len(_GROUNDS))], float)
    rows = np.arange(height)[:, None]
    sky = top + (low - top) * np.clip(rows / horizon, 0, 1)
    land = ground * np.clip(1.1 - 0.5 * (rows - horizon) / (height - horizon), 0, 1.2)
    column = np.where(rows < horizon, sky, land)
    return np.broadcast_to(np.clip(column, 0, 255).astype(np.uint8)[:, None], (height, width, 3)).copy()


def _draw_sun(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, horizon: int) -> None:
    x, y, radius = rng.uniform(0.1, 0.9) * width, rng.uniform(0.15, 0.6) * horizon, rng.uniform(8, 22)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 245, 205))


def _draw_hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, horizon: int) -> None:
    shade = int(rng.integers(60, 130))
    for _ in range(int(rng.integers(1, 5))):
        x, half, top = rng.uniform(0, width), rng.uniform(40, 160), rng.uniform(10, 70)
        draw.polygon(
            [(x - half, horizon), (x, horizon - top), (x + half, horizon)], fill=(shade, shade + 15, shade + 25)
        )


def _draw_house(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, horizon: int) -> None:
    x, wide, tall = rng.uniform(0, width), rng.uniform(25, 60), rng.uniform(20, 50)
    base = horizon + rng.uniform(0, 20)
    draw.rectangle((x, base - tall, x + wide, base), fill=_WALLS[rng.integers(len(_WALLS))])
    draw.polygon(
        [(x - 4, base - tall), (x + wide / 2, base - tall - wide * 0.45), (x + wide + 4, base - tall)],
        fill=(110, 50, 40),
    )
    draw.rectangle((x + wide * 0.4, base - tall * 0.5, x + wide * 0.6, base), fill=(70, 45, 30))


def _draw_tree(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: int) -> None:
    base = rng.uniform(horizon + 5, height - 5)
    size = 15 + 50 * (base - horizon) / (height - horizon)
    x = rng.uniform(0, width)
    draw.rectangle((x - size * 0.06, base - size, x + size * 0.06, base), fill=(85, 60, 40))
    green = (int(rng.integers(20, 70)), int(rng.integers(80, 130)), int(rng.integers(20, 60)))
    for level in range(3):
        half, low = size * (0.42 - 0.1 * level), base - size * (0.4 + 0.3 * level)
        draw.polygon([(x - half, low), (x, low - size * 0.5), (x + half, low)], fill=green)
