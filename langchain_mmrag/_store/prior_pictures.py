"""Pictures of many kinds, drawn the same every time, to learn what a model makes of pictures in general."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from langchain_mmrag._store.prior_texts import TEXTS

RNG: TypeAlias = np.random.Generator
RGB: TypeAlias = tuple[int, int, int]
Shares: TypeAlias = NDArray[np.float32]

SIDE: Final = 224
_GLYPHS: Final = Path(__file__).parents[1] / "demo" / "glyphs"
_SEED: Final = 20
_OCTAVES: Final = (4, 8, 16, 32, 64)
_WHITE: Final = (255, 255, 255)


def pictures(count: int) -> Iterator[Image.Image]:
    """The first `count` pictures, RGB and 224 pixels square; each kind in turn."""
    kinds = (_view, _glyph, _thing, _chart, _texture, _page, _room, _shapes)
    for number in range(count):
        yield kinds[number % len(kinds)](np.random.default_rng((_SEED, number)), number // len(kinds))


def _color(rng: RNG, low: int = 20, high: int = 235) -> RGB:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _scaled(color: RGB, by: float) -> RGB:
    red, green, blue = (int(value * by) for value in color)
    return red, green, blue


def _clouds(rng: RNG, roughness: float = 0.6) -> Shares:
    """Noise whose large forms are stronger than its small ones, from 0 to 1 [side, side]."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for place, cells in enumerate(_OCTAVES):
        grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        total += roughness**place * np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    result: Shares = (total - total.min()) / (np.ptp(total) + 1e-6)
    return result


def _mixed(share: Shares, first: RGB, second: RGB) -> Image.Image:
    """`first` where the share is 0, `second` where it is 1."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    return Image.fromarray((a + share[..., None] * (b - a)).astype(np.uint8))


def _down() -> Shares:
    """0 at the top, 1 at the bottom [side, side]."""
    return np.repeat(np.linspace(0, 1, SIDE, dtype=np.float32)[:, None], SIDE, axis=1)


def _grained(rng: RNG, image: Image.Image) -> Image.Image:
    """As a camera gives it: soft, brighter on one side, with grain."""
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.2)))), np.float32)
    light = 0.8 + 0.35 * (_down().T if rng.random() < 0.5 else _down()[::-1])  # noqa: PLR2004
    grained = soft * light[..., None] + rng.normal(0, 6, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(grained, 0, 255).astype(np.uint8))


def _view(rng: RNG, variant: int) -> Image.Image:
    """Outdoors: a sky, and ridges or water before it."""
    sky = ((120, 170, 225), (235, 170, 120), (150, 155, 165), (30, 35, 70))[variant % 4]
    image = _mixed(_down() * 0.8 + 0.2 * _clouds(rng), sky, (235, 235, 230))
    ground = ((70, 110, 50), (150, 120, 80), (60, 100, 130), (90, 90, 90))[(variant + variant // 4) % 4]
    for depth in range(3):
        edge = SIDE * (0.45 + 0.17 * depth + 0.12 * (_clouds(rng, 0.4)[0] - 0.5))
        mask = np.arange(SIDE)[:, None] > edge[None, :]
        near = _mixed(
            _clouds(rng, 0.9), _scaled(ground, 1.25 - 0.25 * depth), _scaled(ground, 0.6 - 0.12 * depth)
        )
        image.paste(near, mask=Image.fromarray(mask.astype(np.uint8) * 255))
    return _grained(rng, image)


def _thing(rng: RNG, variant: int) -> Image.Image:
    """A lit body on a table before a blurred ground."""
    image = _mixed(_clouds(rng, 0.5), _color(rng), _color(rng)).filter(ImageFilter.GaussianBlur(8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, SIDE * 0.7, SIDE, SIDE), fill=_color(rng, 60, 200))
    body, middle, radius = _color(rng), SIDE / 2 + float(rng.uniform(-25, 25)), float(rng.uniform(45, 75))
    height = radius * (1.0, 0.6, 1.4, 0.8)[variant % 4]
    draw.ellipse((middle - radius, SIDE * 0.72, middle + radius, SIDE * 0.84), fill=(40, 36, 34))
    for step in range(20):
        share = step / 20
        color = tuple(int(value + (255 - value) * share * 0.8) for value in body)
        x, y = middle - share * radius * 0.35, SIDE * 0.78 - height - share * height * 0.35
        wide, high = radius * (1 - share), height * (1 - share)
        form = draw.rectangle if variant % 3 == 2 else draw.ellipse  # noqa: PLR2004
        form((x - wide, y - high, x + wide, y + high), fill=color)
    return _grained(rng, image)


def _room(rng: RNG, variant: int) -> Image.Image:
    """Walls, a floor, openings and boxes: indoors, or a street."""
    image = Image.new("RGB", (SIDE, SIDE), _color(rng, 120, 240))
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, SIDE), (SIDE * 0.3, 150), (SIDE * 0.7, 150), (SIDE, SIDE)], fill=_color(rng, 60, 190))
    for _ in range(5 + variant % 3):
        x, y = rng.uniform(0, SIDE * 0.8), rng.uniform(10, SIDE * 0.6)
        box = (x, y, x + rng.uniform(15, 60), y + rng.uniform(25, 100))
        draw.rectangle(box, fill=_color(rng), outline=_color(rng, 0, 90), width=int(rng.integers(1, 4)))
    return _grained(rng, image)


def _texture(rng: RNG, variant: int) -> Image.Image:
    """Something near, all over: stone, cloth, leaves, water."""
    share = _clouds(rng, (0.4, 0.95, 0.75, 0.6)[variant % 4])
    if variant % 2:
        share = np.abs(np.sin(share * float(rng.uniform(10, 30))))
    return _grained(rng, _mixed(share, _color(rng), _color(rng)))


def _glyph(rng: RNG, variant: int) -> Image.Image:
    """A drawn thing on a ground; forms where the drawings are not there."""
    files = sorted(_GLYPHS.glob("*.png"))
    if not files:
        return _shapes(rng, variant)
    ground = _mixed(
        _clouds(rng, 0.5) if variant % 2 else _down(), _color(rng, 120, 256), _color(rng, 180, 256)
    )
    with Image.open(files[int(rng.integers(len(files)))]) as opened:
        size = int(rng.integers(110, 190))
        glyph = opened.convert("RGBA").resize((size, size), Image.Resampling.BILINEAR)
    x, y = rng.integers(0, SIDE - size, 2).tolist()
    ground.paste(glyph, (x, y), glyph)
    return ground


def _shapes(rng: RNG, variant: int) -> Image.Image:
    """A drawing of plain forms, filled or in outlines."""
    image = Image.new("RGB", (SIDE, SIDE), _WHITE if variant % 2 else _color(rng, 100, 256))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 7))):
        x, y, radius = rng.uniform(40, 184), rng.uniform(40, 184), rng.uniform(15, 45)
        sides = int(rng.integers(3, 9))
        fill = None if variant % 3 == 1 else _color(rng)
        draw.regular_polygon(
            (x, y, radius), sides, int(rng.integers(360)), fill=fill, outline=_color(rng, 0, 120)
        )
    return image


def _chart(rng: RNG, variant: int) -> Image.Image:
    """Bars, a line, a pie, or points, with axes and writing."""
    image = Image.new("RGB", (SIDE, SIDE), _WHITE)
    draw = ImageDraw.Draw(image)
    draw.text((30, 6), TEXTS[variant][:30], fill=(30, 30, 30))
    if variant % 4 == 2:  # noqa: PLR2004
        angles = np.concatenate([[0], np.sort(rng.uniform(0, 360, 4)), [360]])
        for start, end in pairwise(angles.tolist()):
            draw.pieslice((40, 40, 190, 190), start, end, fill=_color(rng))
        return image
    draw.line([(30, 25), (30, 195), (215, 195)], fill=(0, 0, 0), width=2)
    tops = [(45 + 28 * place, 190 - float(rng.uniform(15, 150))) for place in range(6)]
    color = _color(rng)
    if variant % 4 == 1:
        draw.line(tops, fill=color, width=3)
    for x, y in tops:
        box = (x - 9, y, x + 9, 194) if variant % 4 == 0 else (x - 3, y - 3, x + 3, y + 3)
        draw.rectangle(box, fill=color)
        draw.text((x - 9, 200), str(int(rng.integers(10, 99))), fill=(30, 30, 30))
    return image


def _page(rng: RNG, variant: int) -> Image.Image:
    """Writing: a page, a table, a sign, a screen."""
    dark = variant % 4 == 3  # noqa: PLR2004
    paper, ink = ((25, 28, 38), (220, 225, 230)) if dark else (_color(rng, 225, 256), (25, 25, 30))
    image = Image.new("RGB", (SIDE, SIDE), _color(rng) if variant % 4 == 2 else paper)  # noqa: PLR2004
    draw = ImageDraw.Draw(image)
    if variant % 4 == 2:  # noqa: PLR2004
        draw.rectangle((20, 70, 204, 150), fill=_WHITE, outline=(0, 0, 0), width=4)
        draw.text((40, 92), TEXTS[variant].split()[-1], fill=(0, 0, 0), font=ImageFont.load_default(28))
        return image
    for row in range(14):
        draw.text((12, 10 + 15 * row), TEXTS[(variant * 14 + row) % len(TEXTS)][:36], fill=ink)
        if variant % 4 == 1:
            draw.line([(8, 8 + 15 * row), (216, 8 + 15 * row)], fill=(120, 120, 120))
    for column in (8, 80, 150, 216) if variant % 4 == 1 else ():
        draw.line([(column, 8), (column, 218)], fill=(120, 120, 120))
    return image
