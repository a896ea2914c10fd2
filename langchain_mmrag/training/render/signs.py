"""Signs: one word on a coloured card.

The letters are those of Pillow's own font, Aileron Regular (CC0), drawn at several sizes, plain or thickened
by a stroke of their own colour.
"""

from __future__ import annotations

import random
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from langchain_mmrag.training.render.palette import shade, shrink, with_article

WORDS = tuple(
    """
    stop open exit sale help push pull danger free new hot cold yes no hello welcome thanks love
    peace music coffee pizza hotel taxi bus school police hospital parking north south east west
    monday friday summer winter spring autumn red blue green black white cat dog fish bird apple
    lemon bread milk water fire earth moon sun star rain snow king queen jazz rock news sport game
    code data cloud python search menu home back next start
    """.split()  # noqa: SIM905  words read better as words
)
_DARK = ("black", "brown", "purple", "blue", "red", "green")
_LIGHT = ("white", "yellow", "cyan", "pink", "orange")


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        msg = "Pillow was built without FreeType: install Pillow from a wheel"
        raise TypeError(msg)
    return font


def draw_sign(
    rng: random.Random, word: str, side: int, *, text: str = "", ground: str = ""
) -> tuple[Image.Image, str]:
    """A sign as an RGB picture of `side` pixels, and a caption of it.

    Colours are chosen to be read: dark letters on a light card or the other way round.
    """
    large = side * 2
    inks, cards = (_DARK, _LIGHT) if rng.random() < 0.5 else (_LIGHT, _DARK)
    text, ground = text or rng.choice(inks), ground or rng.choice(cards)
    image = Image.new("RGB", (large, large), shade(rng, ground))
    draw = ImageDraw.Draw(image)
    letters = word.upper() if rng.random() < 0.6 else rng.choice([word, word.title()])
    size, stroke = max(8, int(large * rng.uniform(0.2, 0.45))), rng.choice([0, 0, 1, 2, 3])
    while True:
        x0, y0, x1, y1 = draw.textbbox((0, 0), letters, font=_font(size), stroke_width=stroke)
        if x1 - x0 < large * 0.94 or size <= 8:
            break
        size -= min(4, size - 8)
    x = (large - (x1 - x0)) / 2 - x0 + rng.uniform(-0.02, 0.02) * large
    y = (large - (y1 - y0)) / 2 - y0 + rng.uniform(-0.12, 0.12) * large
    ink = shade(rng, text)
    draw.text((x, y), letters, font=_font(size), fill=ink, stroke_width=stroke, stroke_fill=ink)
    if rng.random() < 0.3:
        draw.rectangle((6, 6, large - 6, large - 6), outline=ink, width=4)
    corner = image.getpixel((2, 2))
    image = image.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR, fillcolor=corner)
    forms = (
        "a sign that says {w}",
        "a sign that says {w}",
        "the word {w}",
        "{w} sign",
        "a {b} sign that says {w}",
        '"{w}" written in {f}',
    )
    caption = rng.choice(forms).format(w=word, f=text, b=ground).replace("a orange", with_article("orange"))
    return shrink(image, side), caption


def sample(rng: random.Random, side: int) -> tuple[Image.Image, str]:
    """A training sign and its caption."""
    return draw_sign(rng, rng.choice(WORDS), side)
