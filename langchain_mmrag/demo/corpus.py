"""The pictures and notes of Port Merrow, a harbor town that does not exist.

The pictures are drawn on the user's machine, the same every time: things in places (Noto's emoji images,
Apache-2.0, see `glyphs/NOTICE`), signal cards, charts and shop signs. The notes about them lie in `notes/`.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

from langchain_mmrag.demo.settings import paint
from langchain_mmrag.training.render.charts import TRENDS, draw_chart
from langchain_mmrag.training.render.shapes import ShapeCard, draw_card
from langchain_mmrag.training.render.signs import draw_sign

GLYPHS: Final = Path(__file__).with_name("glyphs")
NOTES: Final = Path(__file__).with_name("notes")
SIDE: Final = 288
"""Pixels of a picture's side."""

_PLACES: Final = """
sea: sailboat, ferry, anchor, ship, fishing pole, canoe, speedboat, duck, penguin
deep: crab, octopus, whale, squid, turtle, spiral shell, fish, tropical fish, shrimp, dolphin, shark
meadow: rooster, cat, dog, goat, fox, honeybee, cow, horse, rabbit, dove, butterfly, snail, mushroom
meadow: tulip, sunflower, rose, four leaf clover, maple leaf, camping, tractor, circus tent, bicycle
meadow: evergreen tree, deciduous tree
town: tram, bus, locomotive, fire engine, ambulance, castle, church, fountain, postbox, ferris wheel, bell
table: bread, croissant, cheese wedge, red apple, pear, strawberry, cherries, lemon, honey pot, carrot
table: cookie, pizza, birthday cake, doughnut, ice cream, hot beverage, popcorn
night: owl, full moon, crescent moon, fireworks, telescope, candle, cloud with lightning, bat
room: cactus, framed picture, violin, trumpet, drum, saxophone, guitar, camera, old key, microscope, world map
room: film projector, hourglass done, books, radio, telephone, alarm clock, umbrella, trophy
room: crown
snow: snowflake, snowman, skis, christmas tree
sky: rainbow, balloon, helicopter, airplane, eagle
"""
_ON_GROUND: Final = frozenset({"meadow", "table", "room", "town", "snow"})

THINGS: Final = {
    name: place
    for place, names in (line.split(": ") for line in _PLACES.split("\n") if line)
    for name in names.split(", ")
}
"""Every thing that is shown, and where."""

SCENES: Final = (
    ("sailboat", "rainbow", "sea"),
    ("cat", "fish", "room"),
    ("owl", "full moon", "night"),
    ("castle", "fireworks", "night"),
    ("dog", "balloon", "meadow"),
    ("honeybee", "sunflower", "meadow"),
    ("hot beverage", "birthday cake", "table"),
    ("snowman", "skis", "snow"),
    ("bicycle", "tulip", "meadow"),
    ("violin", "candle", "room"),
)
"""Two things in one picture."""

CARDS: Final = (
    *(ShapeCard("red", "star", count) for count in (1, 2, 3, 5)),
    *(ShapeCard("blue", "circle", count) for count in (1, 2, 4)),
    *(ShapeCard("yellow", "triangle", count) for count in (1, 2, 3)),
    *(ShapeCard("green", "arrow", count) for count in (1, 3)),
    *(ShapeCard("purple", "square", count) for count in (1, 2, 4)),
    *(ShapeCard("pink", "heart", count) for count in (1, 2)),
    *(ShapeCard("orange", "diamond", count) for count in (1, 3, 5)),
    ShapeCard("blue", "star", 3),
    ShapeCard("red", "circle"),
    ShapeCard("green", "triangle", 2),
    ShapeCard("black", "cross"),
    ShapeCard("cyan", "ring", 2),
    ShapeCard("brown", "hexagon"),
)
"""The signal cards."""

CHARTS: Final = tuple(
    (kind, color, trend)
    for kind, colors in (
        ("bar chart", "blue red green purple"),
        ("line chart", "red blue orange green"),
        ("pie chart", "orange blue green red"),
        ("scatter plot", "purple green blue red"),
        ("area chart", "cyan purple green"),
        ("heatmap", "red blue green"),
    )
    for color, trend in zip(colors.split(), TRENDS, strict=False)
)
"""Kind, main colour and course of the charts."""

SIGNS: Final = ("pizza", "hotel", "coffee", "police", "taxi", "school", "sale", "exit")


def draw_thing(name: str, *, place: str = "", seed: str = "", side: int = SIDE) -> Image.Image:
    """One thing in a place.

    Args:
        name: One of `THINGS`.
        place: Where; its usual place when empty.
        seed: Another seed draws it anew: other ground, size and turn.
        side: Side of the picture in pixels.
    """
    rng = _seeded(f"{name}|{seed}")
    place = place or THINGS[name]
    image = paint(place, rng, side)
    turn = rng.uniform(-8, 8) if seed else 0.0
    at, share = (0.5 + rng.uniform(-0.04, 0.04), 0.51), rng.uniform(0.76, 0.84)
    _put(image, name, at, share, turn=turn, shadow=place in _ON_GROUND)
    return image


def draw_scene(first: str, second: str, place: str, *, side: int = SIDE) -> Image.Image:
    """Two things side by side in a place."""
    rng = _seeded(f"{first}|{second}")
    image = paint(place, rng, side)
    _put(image, first, (0.27, 0.58), 0.5)
    _put(image, second, (0.74, 0.46), 0.5)
    return image


def render_corpus(folder: Path) -> int:
    """Write the pictures and notes into `folder`, the same files every time.

    Returns:
        The number of files.
    """
    pictures = {f"things/{_file_name(name)}": draw_thing(name) for name in THINGS}
    for first, second, place in SCENES:
        pictures[f"scenes/{_file_name(first)}_and_{_file_name(second)}"] = draw_scene(first, second, place)
    for card in CARDS:
        pictures[f"cards/{_file_name(card.text)}"] = draw_card(_seeded(card.text), card, SIDE)
    for kind, color, trend in CHARTS:
        image, _ = draw_chart(_seeded(f"{kind}|{color}"), kind, SIDE, color=color, trend=trend)
        pictures[f"charts/{color}_{_file_name(kind)}"] = image
    for word in SIGNS:
        pictures[f"signs/{word}"], _ = draw_sign(_seeded(word), word, SIDE)
    for name, image in pictures.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    shutil.copytree(NOTES, folder / "notes", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__*"))
    return len(pictures) + len(list(NOTES.glob("*.md")))


def _put(
    image: Image.Image,
    name: str,
    at: tuple[float, float],
    share: float,
    *,
    turn: float = 0.0,
    shadow: bool = False,
) -> None:
    """Put a thing into a picture, where there is ground with a soft shadow under it."""
    side = round(image.width * share)
    with Image.open(GLYPHS / f"{_file_name(name)}.png") as file:
        glyph = file.convert("RGBA")
    glyph = glyph.rotate(turn, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.LANCZOS)
    left, top = (round(share * image.width - side / 2) for share in at)
    if shadow:
        mask = Image.new("L", image.size)
        x, y, wide, high = left + side / 2, top + side * 0.97, side * 0.36, side * 0.05
        ImageDraw.Draw(mask).ellipse((x - wide, y - high, x + wide, y + high), fill=90)
        image.paste((40, 40, 40), mask=mask.filter(ImageFilter.GaussianBlur(side * 0.03)))
    image.paste(glyph, (left, top), glyph)


def _seeded(key: str) -> random.Random:
    return random.Random(key)  # noqa: S311  the same picture every time is what is wanted


def _file_name(words: str) -> str:
    return words.replace(" ", "_")
