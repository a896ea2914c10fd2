"""Shapes by colour, form, number, size and place."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from langchain_mmrag.training.render.palette import (
    COLORS,
    NUMBERS,
    RGB,
    ground_color,
    held_out,
    plural,
    shade,
    shrink,
    with_article,
)

FORMS = (
    "circle",
    "square",
    "triangle",
    "star",
    "pentagon",
    "hexagon",
    "heart",
    "diamond",
    "cross",
    "ring",
    "crescent",
    "arrow",
)
_SUPERSAMPLING = 2
_LAYOUTS = {
    2: [(0.27, 0.5), (0.73, 0.5)],
    3: [(0.5, 0.26), (0.26, 0.72), (0.74, 0.72)],
    4: [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)],
    5: [(0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)],
}
_RADIUS = {2: 0.18, 3: 0.18, 4: 0.18, 5: 0.14}


@dataclass(frozen=True)
class ShapeCard:
    """What a card of shapes shows: `count` pieces of one colour and form on a plain ground."""

    color: str
    form: str
    count: int = 1
    size: str = ""
    ground: str = "white"

    @property
    def text(self) -> str:
        """The card in words, such as "three red stars"."""
        noun = f"{self.size} {self.color} {self.form}".strip()
        return with_article(noun) if self.count == 1 else f"{NUMBERS[self.count - 1]} {plural(noun)}"

    @property
    def held_out(self) -> bool:
        """Whether the card is kept out of training."""
        return combination_held_out(self.color, self.form) or (
            self.count > 1 and held_out("form-count", self.form, self.count)
        )


def combination_held_out(color: str, form: str) -> bool:
    """Whether a colour and form are never trained on together; a heart's colours are emoji, so never held."""
    return form != "heart" and held_out("color-form", color, form)


def _regular(  # noqa: PLR0917  the plain geometry of a polygon
    x: float, y: float, radius: float, corners: int, turn: float, inner: float = 0.0
) -> list[tuple[float, float]]:
    """Corners of a regular polygon, or of a star when `inner` is the share of its inner radius."""
    steps = corners * (2 if inner else 1)
    points = []
    for k in range(steps):
        reach = radius * (inner if inner and k % 2 else 1)
        angle = turn - math.pi / 2 + 2 * math.pi * k / steps
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return points


def _heart(x: float, y: float, r: float) -> list[tuple[float, float]]:
    points = []
    for k in range(40):
        t = 2 * math.pi * k / 40
        dip = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x + r * math.sin(t) ** 3, y - r * dip / 15))
    return points


_POLYGONS = {
    "triangle": (3, 1.1, 0.0),
    "star": (5, 1.15, 0.42),
    "pentagon": (5, 1.05, 0.0),
    "hexagon": (6, 1.05, 0.0),
}


def draw_form(  # noqa: PLR0917  the arguments of a brush stroke
    draw: ImageDraw.ImageDraw,
    form: str,
    at: tuple[float, float],
    r: float,
    fill: RGB,
    ground: RGB,
    turn: float,
) -> None:
    """Draw one form of radius `r` around `at`; polygons are turned by `turn` radians."""
    x, y = at
    box = (x - r, y - r, x + r, y + r)
    if form in _POLYGONS:
        corners, scale, inner = _POLYGONS[form]
        draw.polygon(_regular(x, y, r * scale, corners, turn, inner), fill=fill)
    elif form == "square":
        draw.polygon(_regular(x, y, r * 1.15, 4, math.pi / 4 + turn * 0.4), fill=fill)
    elif form == "diamond":
        draw.polygon([(x, y - r * 1.2), (x + r * 0.75, y), (x, y + r * 1.2), (x - r * 0.75, y)], fill=fill)
    elif form == "heart":
        draw.polygon(_heart(x, y, r), fill=fill)
    elif form == "circle":
        draw.ellipse(box, fill=fill)
    elif form == "ring":
        draw.ellipse(box, outline=fill, width=max(2, int(r * 0.4)))
    elif form == "crescent":
        draw.ellipse(box, fill=fill)
        draw.ellipse((x - r * 0.45, y - r * 0.95, x + r * 1.2, y + r * 0.75), fill=ground)
    elif form == "cross":
        w = r * 0.36
        draw.rectangle((x - w, y - r, x + w, y + r), fill=fill)
        draw.rectangle((x - r, y - w, x + r, y + w), fill=fill)
    else:
        w = r * 0.28
        draw.rectangle((x - r, y - w, x + r * 0.25, y + w), fill=fill)
        draw.polygon([(x + r * 0.1, y - r * 0.75), (x + r, y), (x + r * 0.1, y + r * 0.75)], fill=fill)


def draw_card(rng: random.Random, card: ShapeCard, side: int) -> Image.Image:
    """A card as an RGB picture of `side` pixels; places and turns vary with the generator."""
    large = side * _SUPERSAMPLING
    fill, ground = shade(rng, card.color), shade(rng, card.ground)
    image = Image.new("RGB", (large, large), ground)
    draw = ImageDraw.Draw(image)
    for x, y, radius in _pieces(rng, card):
        draw_form(
            draw, card.form, (x * large, y * large), radius * large, fill, ground, rng.uniform(-0.25, 0.25)
        )
    return shrink(image, side)


def _pieces(rng: random.Random, card: ShapeCard) -> list[tuple[float, float, float]]:
    """Centre and radius of every piece, as shares of the side."""
    if card.count == 1:
        radius = {"small": 0.13, "big": 0.42}.get(card.size, rng.uniform(0.18, 0.36))
        drift = 0.14 if radius < 0.3 else 0.05
        return [(0.5 + rng.uniform(-drift, drift), 0.5 + rng.uniform(-drift, drift), radius)]
    layout, radius = _LAYOUTS[card.count], _RADIUS[card.count]
    if rng.random() < 0.5:
        layout = [(y, x) for x, y in layout]
    if rng.random() < 0.35:
        layout = [((k + 0.5) / card.count, 0.5 + rng.uniform(-0.15, 0.15)) for k in range(card.count)]
        radius = 0.42 / card.count
    return [
        (x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03), radius * rng.uniform(0.8, 1.05))
        for x, y in layout
    ]


def sample(rng: random.Random, side: int) -> tuple[Image.Image, str]:
    """A training card and its caption; held-out combinations are never drawn."""
    while True:
        color, form, count = rng.choice(list(COLORS)), rng.choice(FORMS), rng.choice([1, 1, 1, 1, 2, 3, 4, 5])
        size = rng.choice(["small", "big"]) if count == 1 and rng.random() < 0.25 else ""
        card = ShapeCard(color, form, count, size, ground_color(rng, {color}))
        if not card.held_out:
            break
    text = card.text
    if rng.random() < 0.3:
        text += f" on {with_article(card.ground)} background"
    if rng.random() < 0.25:
        text = rng.choice(["a picture of ", "a drawing of ", "an image of "]) + text
    return draw_card(rng, card, side), text
