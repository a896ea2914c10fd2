"""How `glyphs/` was made: `python -m langchain_mmrag.demo.draw_glyphs` draws it again from Noto's images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.demo.corpus import GLYPHS, THINGS
from langchain_mmrag.training.sources import fetch

_SIDE = 160


def main(
    work: Annotated[Path, typer.Option(help="Folder the sources are fetched into.")] = Path("runs"),
) -> None:
    """Draw every thing of the demo corpus as a PNG of 160 pixels with a transparent ground."""
    resvg = require("resvg_py", extra="training")
    folder = fetch(work / "packages")["@iconify-json/noto"]
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    for name in THINGS:
        key = name.replace(" ", "-")
        icon = icons["icons"].get(key) or icons["icons"][icons["aliases"][key]["parent"]]
        width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        png = resvg.svg_to_bytes(svg_string=svg, width=_SIDE, height=_SIDE)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
        small = image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        small.save(GLYPHS / f"{name.replace(' ', '_')}.png", optimize=True)


if __name__ == "__main__":
    typer.run(main)
