"""Glyphs: how a drawing of a concept is altered, placed and captioned."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageStat

from langchain_mmrag.training.render import backgrounds
from langchain_mmrag.training.render.palette import COLORS, NUMBERS, plural, shade, with_article
from langchain_mmrag.training.sources import Concept

STYLE_WEIGHTS = {
    "noto": 0.24,
    "noto-v1": 0.14,
    "fluent": 0.14,
    "fluent-flat": 0.16,
    "fluent-contrast": 0.11,
    "mono-light": 0.08,
    "mono-bold": 0.13,
}
"""How often a style is drawn, among those that draw the concept."""

INK_STYLES = frozenset({"fluent-contrast", "mono-light", "mono-bold"})
"""Styles of one colour: the ink is recoloured to stand out from the ground."""


@dataclass(frozen=True)
class GlyphSet:
    """Concepts and their drawings.

    Attributes:
        concepts: The `n` concepts.
        banks: RGBA tiles `[n, 96, 96, 4]` by style; all transparent where a style lacks a concept.
        bodies: For ink styles, the area inside the outer line `[n, 96, 96]`, 0 or 255.
    """

    concepts: list[Concept]
    banks: dict[str, NDArray[np.uint8]]
    bodies: dict[str, NDArray[np.uint8]]

    @classmethod
    def of(cls, concepts: list[Concept], banks: dict[str, NDArray[np.uint8]]) -> GlyphSet:
        """Wrap banks and find the bodies of the ink styles."""
        return cls(concepts, banks, {style: body_of(banks[style]) for style in INK_STYLES & set(banks)})

    def pick_style(self, rng: random.Random, concept: int) -> str:
        """A trained style that draws the concept."""
        styles = [style for style in self.concepts[concept].styles if style in STYLE_WEIGHTS]
        return rng.choices(styles, [STYLE_WEIGHTS[style] for style in styles])[0]


def body_of(bank: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the outer line of each tile encloses, ink included: 255 inside, 0 outside.

    Floods every tile from its border at once.
    """
    free = bank[..., 3] < 96
    outside = np.zeros_like(free)
    outside[:, [0, -1], :] = free[:, [0, -1], :]
    outside[:, :, [0, -1]] = free[:, :, [0, -1]]
    while True:
        grown = outside.copy()
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown[:, :, 1:] |= outside[:, :, :-1]
        grown[:, :, :-1] |= outside[:, :, 1:]
        grown &= free
        if (grown == outside).all():
            return np.where(outside, 0, 255).astype(np.uint8)
        outside = grown


def tile(
    rng: random.Random, glyphs: GlyphSet, concept: int, style: str, ground: Image.Image, *, alter: bool
) -> Image.Image:
    """One drawing as an RGBA tile of 96 x 96, altered for training when `alter` is set."""
    image = Image.fromarray(glyphs.banks[style][concept])
    if style in INK_STYLES:
        image = _inked(rng, image, glyphs.bodies[style][concept], ground)
    elif alter:
        image = _recolored(rng, image)
    if alter:
        if rng.random() < 0.15:
            image = _outlined(rng, image)
        if rng.random() < 0.10:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.0)))
        image = _bent(rng, image)
    return image


def _inked(
    rng: random.Random, image: Image.Image, body: NDArray[np.uint8], ground: Image.Image
) -> Image.Image:
    """Dark ink on a light ground, light on dark; the body left open, or filled white or with a colour."""
    dark_ground = ImageStat.Stat(ground.convert("L")).mean[0] < 110
    ink = (245, 245, 245) if dark_ground else (24, 24, 24)
    filling = rng.random()
    if filling < 0.3 and not dark_ground:
        name = rng.choice(["red", "green", "blue", "purple", "brown", "black"])
        ink = shade(rng, name)
    out = Image.new("RGBA", image.size)
    if filling > 0.5:
        fill = (255, 255, 255) if filling > 0.75 else shade(rng, rng.choice(list(COLORS)), 40)
        if sum(fill) < 300:
            fill = (255 - fill[0] // 3, 255 - fill[1] // 3, 255 - fill[2] // 3)
        ink = (24, 24, 24)
        out.paste(Image.new("RGBA", image.size, (*fill, 255)), mask=Image.fromarray(body))
    out.alpha_composite(_solid(ink, image.getchannel("A")))
    return out


def _solid(color: tuple[int, int, int], alpha: Image.Image) -> Image.Image:
    image = Image.new("RGBA", alpha.size, (*color, 255))
    image.putalpha(alpha)
    return image


def _recolored(rng: random.Random, image: Image.Image) -> Image.Image:
    """Shift saturation, hue and contrast, posterise, or reduce to lines; half of the time nothing."""
    chance = rng.random()
    if chance < 0.28:
        return _toned(rng, image)
    if chance < 0.40:
        levels = rng.choice([2, 3, 4, 5])
        rgb = image.convert("RGB").point([v * levels // 256 * 255 // (levels - 1) for v in range(256)] * 3)
        rgb.putalpha(image.getchannel("A"))
        return rgb
    if chance < 0.50:
        return _as_lines(rng, image)
    return image


def _toned(rng: random.Random, image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    rgb = pixels[..., :3].astype(np.float32) / 255
    gray = rgb.mean(-1, keepdims=True)
    rgb = gray + (rgb - gray) * rng.uniform(0, 1.6)
    if rng.random() < 0.5:
        rgb = rgb @ _hue_rotation(rng.uniform(-0.6, 0.6))
    rgb = (rgb - 0.5) * rng.uniform(0.6, 1.4) + 0.5 + rng.uniform(-0.15, 0.15)
    return Image.fromarray(np.dstack([(rgb.clip(0, 1) * 255).astype(np.uint8), pixels[..., 3]]))


def _hue_rotation(angle: float) -> NDArray[np.float32]:
    """Rotation of RGB about the grey axis by Rodrigues' formula, transposed for row vectors."""
    cos, sin = math.cos(angle), math.sin(angle)
    third, root = (1 - cos) / 3, sin / math.sqrt(3)
    a, b, c = cos + third, third - root, third + root
    return np.array([[a, c, b], [b, a, c], [c, b, a]], np.float32)


def _as_lines(rng: random.Random, image: Image.Image) -> Image.Image:
    """Edges as dark lines, over white inside the silhouette or over nothing."""
    on_white = Image.new("RGBA", image.size, "white")
    on_white.alpha_composite(image)
    edges = on_white.convert("L").filter(ImageFilter.FIND_EDGES).point(lambda v: min(255, v * 4))
    edges = edges.filter(ImageFilter.MaxFilter(3))
    silhouette = image.getchannel("A").point(lambda v: 255 * (v > 128))
    out = Image.new("RGBA", image.size)
    if rng.random() < 0.6:
        out.paste(Image.new("RGBA", image.size, "white"), mask=silhouette)
    out.alpha_composite(_solid((20, 20, 20), edges))
    return out


def _outlined(rng: random.Random, image: Image.Image) -> Image.Image:
    """A rim of one to three pixels, black or white, as stickers and cartoons have."""
    rim = image.getchannel("A").filter(ImageFilter.MaxFilter(rng.choice([3, 5, 7])))
    out = _solid((0, 0, 0) if rng.random() < 0.7 else (255, 255, 255), rim)
    out.alpha_composite(image)
    return out


def _bent(rng: random.Random, image: Image.Image, turn: float = 12.5) -> Image.Image:
    """A random affine map: turn (standard deviation in degrees), stretch, shear."""
    angle, shear = math.radians(rng.gauss(0, turn)), rng.uniform(-0.15, 0.15)
    cos, sin = math.cos(angle), math.sin(angle)
    wide, high = 1.06 / rng.uniform(0.8, 1.0), 1.06 / rng.uniform(0.8, 1.0)
    a, b, c, d = cos * wide, (shear - sin) * high, sin * wide, cos * high
    middle = image.width / 2
    data = (a, b, middle - (a + b) * middle, c, d, middle - (c + d) * middle)
    return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def place(ground: Image.Image, glyph: Image.Image, side: int, at: tuple[int, int]) -> None:
    """Draw a tile, scaled to `side` pixels, on a ground in place."""
    method = Image.Resampling.BOX if side < 48 else Image.Resampling.BILINEAR
    small = glyph.resize((side, side), method, reducing_gap=2.0)
    ground.paste(small, at, small.getchannel("A"))


def weathered(rng: random.Random, image: Image.Image) -> Image.Image:
    """Now and then blur, grain or grey: what cameras and copies do."""
    chance = rng.random()
    if chance < 0.08:
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if chance < 0.16:
        grain = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height))
        return Image.blend(image, grain.convert("RGB"), rng.uniform(0.03, 0.12))
    if chance < 0.20:
        return image.convert("L").convert("RGB")
    return image


def single(
    rng: random.Random, glyphs: GlyphSet, concept: int, side: int, *, prose: bool = True
) -> tuple[Image.Image, str]:
    """One drawing on a ground, with its caption; now and then a sentence where `prose` is set."""
    ground, color = backgrounds.draw(rng, side)
    share = rng.uniform(0.42, 1.0)
    size = "small" if share < 0.52 else "big" if share > 0.92 else ""
    altered = rng.random() < 0.6
    drawn = tile(rng, glyphs, concept, glyphs.pick_style(rng, concept), ground, alter=altered)
    across = int(side * share)
    place(ground, drawn, across, (rng.randint(0, side - across), rng.randint(0, side - across)))
    return weathered(rng, ground), caption(rng, glyphs.concepts[concept], size, color, prose=prose)


_NAMED = (
    "{n}",
    "{n}",
    "{n}",
    "{a}",
    "a picture of {a}",
    "an icon of {a}",
    "a drawing of {a}",
    "a photo of {a}",
    "an emoji of {a}",
    "image of {n}",
)
_ABOUT = ("{k}", "{k}", "something about {k}", "a picture about {k}", "{k} picture")


def caption(rng: random.Random, concept: Concept, size: str, color: str | None, *, prose: bool) -> str:
    """A caption: the name, the name with size or ground, some keywords, name and keywords, or a sentence."""
    name, keywords = concept.name, concept.keywords
    if prose and rng.random() < 0.12:
        return _sentence(rng, name)
    chance = rng.random()
    if chance < 0.50 or not keywords:
        return rng.choice(_NAMED).format(n=name, a=with_article(name))
    if chance < 0.60:
        ground = f" on {with_article(color)} background" if color else ""
        sized = f"{size} {name}" if size else name
        return (
            rng.choice(["{a}", "{a}", "{n}", "a picture of {a}"]).format(a=with_article(sized), n=sized)
            + ground
        )
    some = rng.sample(keywords, rng.randint(1, min(len(keywords), 4)))
    if chance < 0.84:
        if len(some) == 1:
            return rng.choice(_ABOUT).format(k=some[0])
        return rng.choice([", ", " ", " and "]).join(some)
    return f"{name}{rng.choice([': ', ', ', ' '])}{', '.join(some)}"


_COMMON = tuple(
    """the the the the a a of of and and to to in in is is it for on with was at by from his her they be this
    have or had one are not but what all were when we there can an your which their said if do will each
    about how up out them then many some so these would other into has more two like him see time could
    no make than first been its who now people my made over did down only way find use may long little
    very after called just where most know where is where are when does what is why how many every day
    year old new every morning evening near under behind stands lies hangs keeps sells opens brings town
    people kept seen found""".split()  # noqa: SIM905  words read better as words
)
"""Frequent English words, to be read past."""


def _sentence(rng: random.Random, name: str) -> str:
    """A name among common words, now and then as a heading too: teaches to find the thing in a sentence."""
    words = rng.choices(_COMMON, k=rng.randint(3, 14))
    words.insert(rng.randint(0, len(words)), name)
    heading = f"{name}: " if rng.random() < 0.4 else ""
    return heading + " ".join(words)


def pair(rng: random.Random, glyphs: GlyphSet, first: int, second: int, side: int) -> tuple[Image.Image, str]:
    """Two drawings side by side or one above the other; the caption tells no order."""
    ground, _ = backgrounds.draw(rng, side)
    flat = rng.random() < 0.5
    for k, concept in enumerate(rng.sample((first, second), 2)):
        across = int(side * rng.uniform(0.42, 0.54))
        along, off = int(side * (0.25 + 0.5 * k)), int(side * (0.5 + rng.uniform(-0.12, 0.12)))
        x, y = (along, off) if flat else (off, along)
        drawn = tile(rng, glyphs, concept, glyphs.pick_style(rng, concept), ground, alter=True)
        corner = (min(max(0, x - across // 2), side - across), min(max(0, y - across // 2), side - across))
        place(ground, drawn, across, corner)
    a, b = rng.sample([glyphs.concepts[first].name, glyphs.concepts[second].name], 2)
    form = rng.choice(
        ["{a} and {b}", "{x} and {y}", "{x} next to {y}", "{a}, {b}", "a picture of {x} and {y}"]
    )
    return weathered(rng, ground), form.format(a=a, b=b, x=with_article(a), y=with_article(b))


def several(
    rng: random.Random, glyphs: GlyphSet, concept: int, count: int, side: int
) -> tuple[Image.Image, str]:
    """Two to four drawings of one concept in the cells of a grid."""
    ground, _ = backgrounds.draw(rng, side)
    style, half = glyphs.pick_style(rng, concept), side // 2
    for x, y in rng.sample([(0, 0), (half, 0), (0, half), (half, half)], count):
        across = int(half * rng.uniform(0.75, 1))
        drawn = tile(rng, glyphs, concept, style, ground, alter=True)
        place(ground, drawn, across, (x + rng.randint(0, half - across), y + rng.randint(0, half - across)))
    text = f"{NUMBERS[count - 1]} {plural(glyphs.concepts[concept].name)}"
    return weathered(rng, ground), rng.choice(["{t}", "{t}", "a picture of {t}"]).format(t=text)
