"""How `glyphs/` was made: `python -m langchain_mmrag.demo.draw_glyphs` draws it again from Noto's images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from langchain_mmrag.demo.corpus import GLYPHS, THINGS
from langchain_mmrag.training.sources import draw_icon, fetch

_SIDE = 160


def main(
    work: Annotated[Path, typer.Option(help="Folder the sources are fetched into.")] = Path("runs"),
) -> None:
    """Draw every thing of the demo corpus as a PNG of 160 pixels with a transparent ground."""
    folder = fetch(work / "packages")["@iconify-json/noto"]
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    for name in THINGS:
        image = draw_icon(icons, name.replace(" ", "-"), _SIDE)
        small = image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        small.save(GLYPHS / f"{name.replace(' ', '_')}.png", optimize=True)


if __name__ == "__main__":
    typer.run(main)
