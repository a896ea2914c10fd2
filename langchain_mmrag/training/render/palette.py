"""Named colours, and the few rules of English the captions need."""

from __future__ import annotations

import random
from collections.abc import Collection
from zlib import crc32

from PIL import Image

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 30),
    "yellow": (250, 215, 40),
    "green": (45, 160, 65),
    "blue": (40, 90, 215),
    "purple": (130, 55, 175),
    "pink": (250, 130, 180),
    "brown": (125, 75, 40),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
    "gray": (130, 130, 130),
    "cyan": (60, 205, 215),
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")


def shade(rng: random.Random, color: str, spread: int = 18) -> RGB:
    """A shade of a named colour: each channel off by at most `spread`."""
    red, green, blue = (max(0, min(255, v + rng.randint(-spread, spread))) for v in COLORS[color])
    return red, green, blue


def any_color(rng: random.Random, low: int = 0, high: int = 255) -> RGB:
    """Any colour with channels in `low..high`."""
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def ground_color(rng: random.Random, avoid: Collection[str]) -> str:
    """A named colour for a plain ground that is none of `avoid`; often white."""
    if "white" not in avoid and rng.random() < 0.4:
        return "white"
    return rng.choice([name for name in COLORS if name not in avoid])


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Reduce a picture drawn large to its final side, averaging: smooth edges at little cost."""
    return image.resize((side, side), Image.Resampling.BOX)


def with_article(noun: str) -> str:
    """`noun` with "a" or "an"; a plural stays bare."""
    last = noun.rsplit(maxsplit=1)[-1]
    if last.endswith("s") and not last.endswith(("ss", "us", "is")):
        return noun
    vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "eu", "one"))
    return f"{'an' if vowel or noun.startswith('hour') else 'a'} {noun}"


def plural(noun: str) -> str:
    """Plural of a noun, by the regular rules."""
    if noun.endswith("s") and not noun.endswith("ss"):
        return noun
    if noun.endswith(("ss", "sh", "ch", "x")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in set("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def held_out(*key: object, percent: int = 20) -> bool:
    """Whether a combination is kept out of training: by a hash of its names, so every process agrees."""
    return crc32("|".join(map(str, key)).encode()) % 100 < percent
