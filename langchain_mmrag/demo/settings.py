"""Places a thing is shown in: the sea, a meadow, a table. Each is a function of a seed and a side."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Painter = Callable[[random.Random, int], Image.Image]

_SUPERSAMPLING: Final = 2
_FADED: Final = 0.3
"""Share of white: what stands in a place should be what is seen first."""


def paint(setting: str, rng: random.Random, side: int) -> Image.Image:
    """One of `SETTINGS` as an RGB picture of `side` pixels."""
    large = SETTINGS[setting](rng, side * _SUPERSAMPLING)
    image = large.resize((side, side), Image.Resampling.BOX)
    return Image.blend(image, Image.new("RGB", image.size, "white"), _FADED)


def _fade(side: int, *stops: tuple[float, RGB]) -> Image.Image:
    """Colours that run into each other from top to bottom; a stop is a share of the height and a colour."""
    rows = np.linspace(0, 1, side)
    shares = [share for share, _ in stops]
    channels = [np.interp(rows, shares, [color[i] for _, color in stops]) for i in range(3)]
    column = np.stack(channels, axis=-1).astype(np.uint8)[:, None]
    return Image.fromarray(np.repeat(column, side, axis=1))


def _disc(image: Image.Image, x: float, y: float, radius: float, color: RGB, *, squeeze: float = 1.0) -> None:
    side = image.width
    box = (
        (x - radius) * side,
        (y - radius * squeeze) * side,
        (x + radius) * side,
        (y + radius * squeeze) * side,
    )
    ImageDraw.Draw(image).ellipse(box, fill=color)


def _box(image: Image.Image, box: tuple[float, float, float, float], color: RGB) -> None:
    left, top, right, bottom = (share * image.width for share in box)
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=color)


def _cloud(image: Image.Image, x: float, y: float, size: float, color: RGB) -> None:
    for dx, dy, radius in ((-0.9, 0.15, 0.55), (0, 0, 0.8), (0.9, 0.15, 0.6)):
        _disc(image, x + dx * size, y + dy * size, radius * size, color, squeeze=0.55)


def _hills(image: Image.Image, rng: random.Random, colors: tuple[RGB, ...], top: float) -> None:
    for row, color in enumerate(colors):
        height = top + row * 0.1
        for x in (rng.uniform(0, 0.35), rng.uniform(0.65, 1.0)):
            _disc(image, x, height + 0.55, rng.uniform(0.55, 0.7), color, squeeze=0.8)


def _sea(rng: random.Random, side: int) -> Image.Image:
    image = _fade(
        side, (0, (150, 205, 235)), (0.56, (232, 243, 246)), (0.561, (62, 140, 180)), (1, (22, 84, 132))
    )
    _cloud(image, rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.22), 0.09, (250, 252, 252))
    for row in range(5):
        y = 0.62 + 0.08 * row
        for _ in range(4):
            x = rng.random()
            _disc(image, x, y, 0.05, (92, 164, 198), squeeze=0.12)
    return image


def _deep(rng: random.Random, side: int) -> Image.Image:
    image = _fade(
        side, (0, (96, 190, 205)), (0.84, (20, 78, 122)), (0.841, (214, 196, 150)), (1, (190, 168, 120))
    )
    for _ in range(9):
        _disc(image, rng.random(), rng.uniform(0.05, 0.8), rng.uniform(0.008, 0.02), (190, 228, 234))
    return image


def _meadow(rng: random.Random, side: int) -> Image.Image:
    image = _fade(side, (0, (170, 216, 240)), (0.6, (240, 247, 240)), (1, (240, 247, 240)))
    _cloud(image, rng.uniform(0.15, 0.85), rng.uniform(0.1, 0.2), 0.08, (255, 255, 255))
    _hills(image, rng, ((150, 196, 120), (116, 176, 92)), 0.52)
    _box(image, (0, 0.8, 1, 1), (116, 176, 92))
    for _ in range(10):
        color = rng.choice([(250, 240, 150), (250, 250, 250), (240, 170, 190)])
        _disc(image, rng.random(), rng.uniform(0.82, 0.98), 0.008, color)
    return image


def _town(rng: random.Random, side: int) -> Image.Image:
    image = _fade(side, (0, (196, 214, 232)), (0.7, (250, 232, 208)), (1, (250, 232, 208)))
    left = -0.05
    while left < 1:
        width, top = rng.uniform(0.14, 0.2), rng.uniform(0.42, 0.58)
        wall = rng.choice([(226, 196, 176), (206, 190, 196), (190, 200, 206), (222, 208, 180)])
        _box(image, (left, top, left + width - 0.008, 0.86), wall)
        for x in (left + 0.28 * width, left + 0.66 * width):
            for y in (top + 0.07, top + 0.19):
                _box(image, (x - 0.014, y, x + 0.014, y + 0.05), (250, 244, 226))
        left += width
    _box(image, (0, 0.84, 1, 1), (172, 168, 162))
    return image


def _table(rng: random.Random, side: int) -> Image.Image:
    wall = rng.choice([(238, 226, 204), (214, 226, 220), (232, 214, 208), (216, 222, 234)])
    image = _fade(side, (0, wall), (0.6, wall), (0.601, (186, 138, 92)), (1, (160, 112, 70)))
    _disc(image, 0.5, 0.77, 0.42, (246, 246, 242), squeeze=0.42)
    _disc(image, 0.5, 0.77, 0.33, (232, 232, 228), squeeze=0.42)
    return image


def _night(rng: random.Random, side: int) -> Image.Image:
    image = _fade(side, (0, (18, 22, 52)), (0.8, (58, 66, 116)), (1, (84, 88, 132)))
    for _ in range(26):
        _disc(image, rng.random(), rng.uniform(0, 0.7), rng.uniform(0.002, 0.006), (236, 236, 220))
    _hills(image, rng, ((30, 36, 62), (22, 26, 46)), 0.66)
    _box(image, (0, 0.92, 1, 1), (22, 26, 46))
    return image


def _room(rng: random.Random, side: int) -> Image.Image:
    wall, panel = rng.choice(
        [
            ((206, 222, 214), (180, 200, 190)),
            ((236, 222, 196), (216, 196, 164)),
            ((214, 218, 234), (188, 194, 216)),
            ((238, 212, 202), (218, 186, 174)),
        ]
    )
    image = _fade(
        side,
        (0, wall),
        (0.55, wall),
        (0.551, panel),
        (0.74, panel),
        (0.741, (150, 112, 80)),
        (1, (128, 92, 64)),
    )
    _disc(image, 0.5, 0.87, 0.44, (196, 92, 78), squeeze=0.24)
    _disc(image, 0.5, 0.87, 0.38, (224, 178, 140), squeeze=0.24)
    return image


def _snow(rng: random.Random, side: int) -> Image.Image:
    image = _fade(side, (0, (150, 178, 206)), (0.7, (222, 232, 240)), (1, (222, 232, 240)))
    _hills(image, rng, ((236, 242, 247), (248, 250, 252)), 0.56)
    _box(image, (0, 0.86, 1, 1), (248, 250, 252))
    for _ in range(30):
        _disc(image, rng.random(), rng.uniform(0, 0.85), rng.uniform(0.004, 0.009), (252, 253, 254))
    return image


def _sky(rng: random.Random, side: int) -> Image.Image:
    image = _fade(side, (0, (92, 160, 220)), (1, (214, 236, 248)))
    for x, y in ((0.18, 0.84), (0.85, 0.2), (0.7, 0.93)):
        _cloud(image, x + rng.uniform(-0.1, 0.1), y, rng.uniform(0.07, 0.1), (248, 251, 253))
    return image


SETTINGS: Final[dict[str, Painter]] = {
    "sea": _sea,
    "deep": _deep,
    "meadow": _meadow,
    "town": _town,
    "table": _table,
    "night": _night,
    "room": _room,
    "snow": _snow,
    "sky": _sky,
}
