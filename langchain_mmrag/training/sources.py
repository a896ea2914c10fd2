"""What the embedded model is trained on: openly licensed drawings and their English names.

Every package below is fetched from the npm registry with `npm pack` at a pinned version and checked against
a pinned digest. Drawings become *glyphs*: RGBA tiles of 96 x 96 pixels, one bank a style.

- `@iconify-json/noto`: Noto emoji images, Apache-2.0. Training, and the pictures of the demo.
- `@iconify-json/noto-v1`: Noto emoji images, first edition, Apache-2.0. Training.
- `@iconify-json/fluent-emoji`: Fluent emoji with gradients, MIT. Training.
- `@iconify-json/fluent-emoji-flat`: Fluent emoji, flat, MIT. Training.
- `@iconify-json/fluent-emoji-high-contrast`: Fluent emoji in one colour, MIT. Training.
- `@fontsource/noto-emoji`: Noto Emoji, a monochrome font, OFL-1.1. Training.
- `@iconify-json/openmoji`: OpenMoji, CC BY-SA 4.0. Measuring only, never trained on.
- `@iconify-json/twemoji`: Twemoji, CC BY 4.0. Measuring only, never trained on.
- `cldr-annotations-full`: names and keywords of CLDR 48, Unicode-3.0. Captions.
- `emojibase-data`: groups of the Unicode emoji list, MIT. The choice of concepts.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from langchain_mmrag._extras import require
from langchain_mmrag.errors import LoadError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

GLYPH_SIDE = 96
"""Side of a glyph tile in pixels."""

TRAINED_STYLES = ("noto", "noto-v1", "fluent", "fluent-flat", "fluent-contrast", "mono-light", "mono-bold")
DEVELOPMENT_STYLE = "openmoji"
HELD_OUT_STYLE = "twemoji"
"""Looked at once, for the published figure."""

GROUPS = frozenset({"animals-nature", "food-drink", "travel-places", "activities", "objects"})
LONGER_NAMES = frozenset(
    """fishing pole, spiral shell, tropical fish, four leaf clover, maple leaf, circus tent, evergreen tree,
    deciduous tree, fire engine, ferris wheel, cheese wedge, red apple, honey pot, birthday cake, ice cream,
    hot beverage, full moon, crescent moon, cloud with lightning, framed picture, old key, world map,
    film projector, hourglass done, alarm clock, christmas tree""".replace("\n    ", " ").split(", ")
)
"""Concepts taken although their name has more than one word."""

_VISIBLE_ALPHA = 8

PACKAGES = {
    "@iconify-json/noto": ("1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "@iconify-json/noto-v1": ("1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "@iconify-json/fluent-emoji": (
        "1.2.7",
        "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
    ),
    "@iconify-json/fluent-emoji-flat": (
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "@iconify-json/fluent-emoji-high-contrast": (
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
    "@fontsource/noto-emoji": ("5.3.2", "1fe49bb2cf7c2d78f93c0a69b6a431dcfd0d585b7831eba87fae6888ccf8d373"),
    "@iconify-json/openmoji": ("1.2.29", "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5"),
    "@iconify-json/twemoji": ("1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    "cldr-annotations-full": ("48.2.0", "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1"),
    "emojibase-data": ("17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
}

_SVG_STYLES = {
    "noto": "@iconify-json/noto",
    "noto-v1": "@iconify-json/noto-v1",
    "fluent": "@iconify-json/fluent-emoji",
    "fluent-flat": "@iconify-json/fluent-emoji-flat",
    "fluent-contrast": "@iconify-json/fluent-emoji-high-contrast",
    "openmoji": "@iconify-json/openmoji",
    "twemoji": "@iconify-json/twemoji",
}
_SAME_NAMES = {"noto-v1": "noto", "fluent": "fluent-flat"}
"""Sets published without a table of code points: their icons are named like those of a sibling."""
_FONT_STYLES = {"mono-light": 300, "mono-bold": 700}


@dataclass(frozen=True)
class Concept:
    """A thing that can be drawn and named: one emoji code point.

    Attributes:
        code: Code point in hexadecimal, lower case.
        name: English short name of CLDR, lower case.
        keywords: English keywords of CLDR that are not the name.
        group: Group of the Unicode emoji list, such as `animals-nature`.
        styles: Styles that draw it.
    """

    code: str
    name: str
    keywords: tuple[str, ...]
    group: str
    styles: tuple[str, ...]


def fetch(folder: Path) -> dict[str, Path]:
    """Fetch every package into `folder` and unpack it; what is there already is kept.

    Returns:
        The unpacked folder of each package, by the package's name.

    Raises:
        MissingDependencyError: If `npm` is not installed.
        LoadError: If a package cannot be fetched or differs from the pinned digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _fetch_one(folder, name, *pin) for name, pin in PACKAGES.items()}


def _fetch_one(folder: Path, name: str, version: str, digest: str) -> Path:
    home = folder / f"{name.replace('@', '').replace('/', '-')}-{version}"
    if home.is_dir():
        return home / "package"
    archive = home.with_name(home.name + ".tgz")
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            msg = "npm is not installed: it fetches the drawings the model is trained on"
            raise MissingDependencyError(msg)
        done = subprocess.run(  # noqa: S603  fixed arguments, no shell
            [npm, "pack", f"{name}@{version}", "--pack-destination", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            msg = f"npm could not fetch {name}@{version}: {done.stderr.strip()[-300:]}"
            raise LoadError(msg)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != digest:
        msg = f"{archive.name} has digest {found}, expected {digest}: delete it and fetch again"
        raise LoadError(msg)
    with tarfile.open(archive) as tar:
        tar.extractall(home, filter="data")
    return home / "package"


def concepts(packages: dict[str, Path]) -> list[Concept]:
    """Choose the concepts: everyday things that every trained style draws.

    Taken are the groups of animals, food, places, activities and objects, single code points whose name is
    one word, and a few longer names. Faces, people, symbols and flags differ by details a small picture does
    not hold; longer names are mostly variants (six kinds of mailbox, nine moons). Of several code points with
    one name the first is taken.
    """
    annotations = _json(packages["cldr-annotations-full"] / "annotations/en/annotations.json")
    words = annotations["annotations"]["annotations"]
    tables = {style: _icon_names(packages, style) for style in _SVG_STYLES}
    fonts = set(_font_files(packages, 400))
    chosen: dict[str, Concept] = {}
    for code, group in _listed(packages["emojibase-data"]):
        entry = words.get(chr(int(code, 16)), {})
        if "tts" not in entry:
            continue
        name = _plain(entry["tts"][0])
        styles = tuple(style for style, table in tables.items() if code in table)
        if int(code, 16) in fonts:
            styles += tuple(_FONT_STYLES)
        everyday = " " not in name or name in LONGER_NAMES
        if name in chosen or not everyday or not set(TRAINED_STYLES) <= set(styles):
            continue
        keywords = tuple(k for k in dict.fromkeys(map(_plain, entry.get("default", []))) if k != name)
        chosen[name] = Concept(code, name, keywords, group, styles)
    return list(chosen.values())


def _listed(emojibase: Path) -> Iterator[tuple[str, str]]:
    """Code point and group of every single-code-point emoji that may become a concept."""
    groups = {item["order"]: item["key"] for item in _json(emojibase / "en/messages.json")["groups"]}
    for item in sorted(_json(emojibase / "en/data.json"), key=lambda item: item.get("order", 1e9)):
        code, group = item["hexcode"].removesuffix("-FE0F").lower(), groups.get(item.get("group"), "")
        if "-" not in code and group in GROUPS and not 0x1F550 <= int(code, 16) <= 0x1F567:  # no clock faces
            yield code, group


def _plain(text: str) -> str:
    return text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def glyph_bank(packages: dict[str, Path], chosen: list[Concept], style: str) -> NDArray[np.uint8]:
    """Draw every concept in one style.

    Returns:
        RGBA tiles `[n, 96, 96, 4]`; a concept the style does not draw is fully transparent.
    """
    draw = _font_drawer(packages, style) if style in _FONT_STYLES else _svg_drawer(packages, style)
    bank = np.zeros((len(chosen), GLYPH_SIDE, GLYPH_SIDE, 4), np.uint8)
    for tile, concept in zip(bank, chosen, strict=True):
        if style in concept.styles:
            tile[:] = _fit(draw(concept))
    return bank


def _fit(image: Image.Image) -> NDArray[np.uint8]:
    """Cut to what is visible, scale the longer side to the tile, centre."""
    box = image.getchannel("A").point(lambda value: 255 * (value > _VISIBLE_ALPHA)).getbbox()
    tile = Image.new("RGBA", (GLYPH_SIDE, GLYPH_SIDE))
    if box:
        image = image.crop(box)
        scale = GLYPH_SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        tile.paste(image, ((GLYPH_SIDE - image.width) // 2, (GLYPH_SIDE - image.height) // 2))
    return np.asarray(tile)


def draw_icon(icons: Any, name: str, side: int) -> Image.Image:
    """Draw one icon of an icon set as an RGBA picture of `side` pixels.

    Args:
        icons: The set, as its `icons.json` holds it.
        name: Name of the icon, or an alias of it.
        side: Side of the picture in pixels.
    """
    resvg = require("resvg_py", extra="training")
    icon = icons["icons"].get(name) or icons["icons"][icons["aliases"][name]["parent"]]
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    body = icon["body"].replace("currentColor", "#202020")
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{body}</svg>'
    png = resvg.svg_to_bytes(svg_string=svg, width=side, height=side)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _svg_drawer(packages: dict[str, Path], style: str) -> Any:
    icons = _json(packages[_SVG_STYLES[style]] / "icons.json")
    names = _icon_names(packages, style)

    def draw(concept: Concept) -> Image.Image:
        return draw_icon(icons, names[concept.code], 2 * GLYPH_SIDE)

    return draw


def _icon_names(packages: dict[str, Path], style: str) -> dict[str, str]:
    """Name of the icon of each code point, of those the style draws."""
    table = _json(packages[_SVG_STYLES[_SAME_NAMES.get(style, style)]] / "chars.json")
    icons = _json(packages[_SVG_STYLES[style]] / "icons.json")
    drawn = {*icons["icons"], *icons.get("aliases", {})}
    return {code: name for code, name in table.items() if name in drawn}


def _font_files(packages: dict[str, Path], weight: int) -> dict[int, Path]:
    """Which of the font's subset files draws a code point."""
    ttlib = require("fontTools.ttLib", extra="training")
    files: dict[int, Path] = {}
    for path in sorted((packages["@fontsource/noto-emoji"] / "files").glob(f"*-{weight}-normal.woff")):
        for code in ttlib.TTFont(path).getBestCmap():
            files.setdefault(code, path)
    return files


def _font_drawer(packages: dict[str, Path], style: str) -> Any:
    ttlib = require("fontTools.ttLib", extra="training")
    files = _font_files(packages, _FONT_STYLES[style])
    fonts: dict[Path, ImageFont.FreeTypeFont] = {}

    def draw(concept: Concept) -> Image.Image:
        code = int(concept.code, 16)
        path = files[code]
        if path not in fonts:
            plain = io.BytesIO()
            font = ttlib.TTFont(path)
            font.flavor = None  # FreeType reads the unpacked font on every platform
            font.save(plain)
            plain.seek(0)
            fonts[path] = ImageFont.truetype(plain, 160)
        image = Image.new("RGBA", (320, 320))
        ImageDraw.Draw(image).text((40, 40), chr(code), font=fonts[path], fill=(32, 32, 32, 255))
        return image

    return draw


def prepare(folder: Path) -> tuple[list[Concept], dict[str, NDArray[np.uint8]]]:
    """Fetch, choose and draw everything; drawn banks are kept in `folder` and read again.

    Returns:
        The concepts and, for each style, its RGBA tiles `[n, 96, 96, 4]`.
    """
    packages = fetch(folder / "packages")
    chosen = concepts(packages)
    banks = {}
    for style in (*TRAINED_STYLES, DEVELOPMENT_STYLE, HELD_OUT_STYLE):
        path = folder / f"glyphs-{style}.npz"
        if not path.exists():
            np.savez_compressed(path, glyphs=glyph_bank(packages, chosen, style))
        banks[style] = np.load(path)["glyphs"]
        if len(banks[style]) != len(chosen):
            msg = f"{path} holds {len(banks[style])} glyphs for {len(chosen)} concepts: delete it"
            raise LoadError(msg)
    return chosen, banks
