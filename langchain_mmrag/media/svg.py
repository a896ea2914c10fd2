"""SVG drawings to pixels, in a process of their own.

A drawing is a program: it can name other files, nest without end, or ask for filters that take for ever. So
everything that points out of it is taken out, and what is left is drawn by a process that has little memory
and little time and cannot take this one with it.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from io import BytesIO
from typing import Final
from xml.etree import ElementTree as ET

from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.errors import (
    CorruptMediaError,
    MissingDependencyError,
    UnsafeSourceError,
    UnsupportedFormatError,
)

SVG_SIDE: Final = 1024
"""Longer side of the picture a drawing becomes, in pixels."""
_TIMEOUT_S: Final = 5.0
_LARGEST_FLATNESS: Final = 64.0
_DECLARED = re.compile(r"<!(ENTITY|ELEMENT|ATTLIST|NOTATION)|<!DOCTYPE[^<>\[]*\[", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!DOCTYPE[^<>]*>", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_INSIDE = re.compile(r"#|data:image/(png|jpe?g|gif|webp);", re.IGNORECASE)
_NUMBER = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*+(?!%)[a-z]*+\s*+$", re.IGNORECASE)
_DRAW: Final = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
import resvg_py
fonts = {}
if sys.platform.startswith("linux"):  # where the fonts that drawings name are seldom installed
    fonts = {kind + "_family": "DejaVu Sans" for kind in ("font", "sans_serif", "cursive", "fantasy")}
    fonts |= {"serif_family": "DejaVu Serif", "monospace_family": "DejaVu Sans Mono"}
svg = sys.stdin.buffer.read().decode()
width, height = map(int, sys.argv[1:])
png = resvg_py.svg_to_bytes(
    svg_string=svg, width=width, height=height, skip_system_fonts="text" not in svg, **fonts
)
sys.stdout.buffer.write(bytes(png))
"""


def render_svg(data: bytes, name: str) -> Image.Image:
    """Draw an SVG drawing, called `name` in messages, with a longer side of `SVG_SIDE` pixels.

    Pictures inside it are drawn, files and addresses it names are not opened.

    Returns:
        RGBA, or another mode with transparency.

    Raises:
        UnsupportedFormatError: If the `images` extra is not installed, or the drawing says no size.
        UnsafeSourceError: If it declares entities, is nested too deep, or takes too long.
        CorruptMediaError: If it cannot be drawn.
    """
    try:
        require("resvg_py", extra="images")
    except MissingDependencyError as error:  # one drawing in a folder does not stop the rest of it
        msg = f"{name} is an SVG drawing: {error}"
        raise UnsupportedFormatError(msg) from error
    root = _parse(data, name)
    width, height = _size(root, name)
    for element in root.iter():
        for attribute in [key for key in element.attrib if key.rpartition("}")[2] == "href"]:
            if not _INSIDE.match(element.attrib[attribute].strip()):
                del element.attrib[attribute]
    try:
        cleaned = ET.tostring(root, encoding="utf-8")
    except RecursionError as error:
        msg = f"{name} is an SVG drawing that is nested too deep"
        raise UnsafeSourceError(msg) from error
    try:
        image = Image.open(BytesIO(_draw(cleaned, (width, height), name)), formats=["PNG"])
        image.load()
    except OSError as error:
        msg = f"{name} is an SVG drawing that cannot be drawn ({error})"
        raise CorruptMediaError(msg) from error
    return image


def svg_words(data: bytes) -> dict[str, str]:
    """What a drawing says of itself: its own `title` and `description`, those that it has."""
    root = _parse(data, "the drawing")
    found = {"title": "title", "desc": "description"}
    words: dict[str, str] = {}
    for element in root:
        key = found.get(str(element.tag).rpartition("}")[2])
        text = " ".join("".join(element.itertext()).split())
        if key and text:
            words.setdefault(key, text)
    return words


def _parse(data: bytes, name: str) -> ET.Element:
    try:
        text = _DECLARATION.sub("", data.decode("utf-8-sig"))
        if _DECLARED.search(text):
            msg = f"{name} is an SVG drawing that declares entities: save it without them (as plain SVG)"
            raise UnsafeSourceError(msg)
        return ET.fromstring(_DOCTYPE.sub("", text))  # noqa: S314  no entities are left in it
    except (UnicodeDecodeError, ET.ParseError) as error:
        msg = f"{name} is a broken or cut-off SVG drawing ({error})"
        raise CorruptMediaError(msg) from error


def _size(root: ET.Element, name: str) -> tuple[int, int]:
    """Pixels across and down: the drawing's own proportions, as large as every other drawing."""
    sides = [_NUMBER.match(root.get(side, "")) for side in ("width", "height")]
    view = re.findall(r"[^\s,]+", root.get("viewBox", ""))[2:4]
    try:
        width, height = (float(side[1]) for side in sides if side) if all(sides) else map(float, view)
    except ValueError:
        width = height = 0.0
    if not (0 < width < math.inf and 0 < height < math.inf):
        msg = f"{name} is an SVG drawing without a size: give it a viewBox, or width and height"
        raise UnsupportedFormatError(msg)
    if max(width, height) > _LARGEST_FLATNESS * min(width, height):
        msg = f"{name} is an SVG drawing of {width:g} by {height:g}, which is no picture but a line"
        raise UnsafeSourceError(msg)
    scale = SVG_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draw(svg: bytes, size: tuple[int, int], name: str) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603  this Python, and two numbers
            [sys.executable, "-I", "-c", _DRAW, *map(str, size)],
            input=svg,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{name} is an SVG drawing that takes longer than {_TIMEOUT_S:g} s to draw"
        raise UnsafeSourceError(msg) from error
    if done.returncode < 0:
        msg = f"{name} is an SVG drawing that takes more memory or time to draw than it is given"
        raise UnsafeSourceError(msg)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        msg = f"{name} is an SVG drawing that cannot be drawn ({reason})"
        raise CorruptMediaError(msg)
    return done.stdout
