"""Grounds to put a picture on: kinds trained on, and kinds kept for measuring.

A kind is a function of a generator and a side in pixels to an RGB picture and, where the ground may be named
in a caption, the name of its colour.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from langchain_mmrag.training.render.palette import COLORS, RGB, any_color, shade

Ground = tuple[Image.Image, str | None]


@lru_cache
def _grid(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return y, x


def _mix(mask: NDArray[np.float32], first: RGB, second: RGB) -> Image.Image:
    """`first` where the mask is 0, `second` where it is 1, a blend between."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    return Image.fromarray((a + mask[..., None] * (b - a)).astype(np.uint8))


def _two(rng: random.Random) -> tuple[RGB, RGB]:
    """Two colours for a pattern: far apart, or close together, as wallpaper is."""
    first = any_color(rng)
    if rng.random() < 0.4:
        return first, any_color(rng)
    red, green, blue = (max(0, min(255, v + rng.randint(-80, 80))) for v in first)
    return first, (red, green, blue)


def _turned(rng: random.Random, side: int) -> NDArray[np.float32]:
    """A coordinate that grows along a random direction, in pixels."""
    y, x = _grid(side)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    along: NDArray[np.float32] = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    return along


def white(rng: random.Random, side: int) -> Ground:  # noqa: ARG001  every kind has one signature
    """Plain white."""
    return Image.new("RGB", (side, side), "white"), "white"


def named(rng: random.Random, side: int) -> Ground:
    """A shade of a named colour."""
    color = rng.choice(list(COLORS))
    return Image.new("RGB", (side, side), shade(rng, color)), color


def plain(rng: random.Random, side: int) -> Ground:
    """Any colour."""
    return Image.new("RGB", (side, side), any_color(rng)), None


def linear_gradient(rng: random.Random, side: int) -> Ground:
    """From one colour to another along a direction."""
    ramp = _turned(rng, side)
    ramp = (ramp - ramp.min()) / max(1e-6, float(np.ptp(ramp)))
    return _mix(ramp, any_color(rng), any_color(rng)), None


def mosaic(rng: random.Random, side: int) -> Ground:
    """A few random colours blown up softly: blurred rooms and gardens, roughly."""
    n = rng.choice([3, 5, 9])
    cells = np.frombuffer(rng.randbytes(n * n * 3), np.uint8).reshape(n, n, 3)
    if rng.random() < 0.6:
        cells = (cells // 3 + 150).astype(np.uint8)
    return Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC), None


def stripes(rng: random.Random, side: int) -> Ground:
    """Stripes of equal width at any angle."""
    width = rng.uniform(3, 16)
    return _mix(((_turned(rng, side) // width) % 2).astype(np.float32), *_two(rng)), None


def dots(rng: random.Random, side: int) -> Ground:
    """A grid of dots."""
    y, x = _grid(side)
    pitch = rng.uniform(5, 16)
    radius = pitch * rng.uniform(0.15, 0.42)
    away = np.hypot(
        (x + rng.uniform(0, pitch)) % pitch - pitch / 2, (y + rng.uniform(0, pitch)) % pitch - pitch / 2
    )
    return _mix(np.clip(radius - away + 0.5, 0, 1), *_two(rng)), None


def hatching(rng: random.Random, side: int) -> Ground:
    """Thin lines, single or crossed."""
    pitch, width = rng.uniform(4, 10), rng.uniform(0.8, 1.8)
    lines = _turned(rng, side) % pitch < width
    if rng.random() < 0.5:
        lines |= _turned(rng, side) % pitch < width
    return _mix(lines.astype(np.float32), *_two(rng)), None


def noise(rng: random.Random, side: int) -> Ground:
    """Grain of one scale around a colour."""
    n = rng.choice([side, side // 2, side // 4])
    grain = np.frombuffer(rng.randbytes(n * n * 3), np.uint8).reshape(n, n, 3).astype(np.float32) - 128
    if rng.random() < 0.5:
        grain = grain.mean(-1, keepdims=True).repeat(3, -1)
    base = np.array(any_color(rng), np.float32) + grain * rng.uniform(0.1, 0.6)
    image = Image.fromarray(base.clip(0, 255).astype(np.uint8))
    return image if n == side else image.resize((side, side), Image.Resampling.BILINEAR), None


def blotches(rng: random.Random, side: int) -> Ground:
    """A handful of soft round patches."""
    y, x = _grid(side)
    field = np.zeros((side, side), np.float32)
    for _ in range(rng.randint(3, 9)):
        away = np.hypot(x - rng.uniform(0, side), y - rng.uniform(0, side))
        field = np.maximum(field, np.clip((rng.uniform(0.08, 0.3) * side - away) / rng.uniform(1, 6), 0, 1))
    return _mix(field, *_two(rng)), None


def checkerboard(rng: random.Random, side: int) -> Ground:
    """Squares of two colours."""
    y, x = _grid(side)
    cell = rng.uniform(5, 14)
    return _mix(((x // cell + y // cell) % 2).astype(np.float32), *_two(rng)), None


def radial_gradient(rng: random.Random, side: int) -> Ground:
    """From one colour to another outwards from a point."""
    y, x = _grid(side)
    away = np.hypot(x - side * rng.uniform(0.3, 0.7), y - side * rng.uniform(0.3, 0.7))
    return _mix(np.clip(away / (0.7 * side), 0, 1), any_color(rng), any_color(rng)), None


def bricks(rng: random.Random, side: int) -> Ground:
    """A wall: rows of bricks, every second one shifted by half."""
    y, x = _grid(side)
    high = rng.uniform(5, 11)
    long = high * rng.uniform(1.6, 2.4)
    row = y // high
    joint = (y % high < 1.2) | ((x + (row % 2) * long / 2) % long < 1.2)
    return _mix(joint.astype(np.float32), *_two(rng)), None


def waves(rng: random.Random, side: int) -> Ground:
    """Wavy bands."""
    y, x = _grid(side)
    height, length, width = rng.uniform(2, 5), rng.uniform(10, 24), rng.uniform(4, 10)
    bend = y + height * np.sin(2 * np.pi * x / length)
    return _mix(((bend // width) % 2).astype(np.float32), *_two(rng)), None


Kind = Callable[[random.Random, int], Ground]

TRAINED: dict[Kind, float] = {
    white: 0.26,
    named: 0.14,
    plain: 0.12,
    linear_gradient: 0.12,
    mosaic: 0.09,
    stripes: 0.06,
    dots: 0.06,
    hatching: 0.05,
    noise: 0.05,
    blotches: 0.05,
}
"""Kinds of ground used in training, and how often."""

HELD_OUT: tuple[Kind, ...] = (checkerboard, radial_gradient, bricks, waves)
"""Kinds never trained on."""


def draw(rng: random.Random, side: int) -> Ground:
    """A ground of a kind trained on."""
    kind = rng.choices(list(TRAINED), list(TRAINED.values()))[0]
    return kind(rng, side)
