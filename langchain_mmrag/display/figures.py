"""Figures: their common look, and the heat map of similarities."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from langchain_mmrag._extras import require
from langchain_mmrag.embeddings.base import MultimodalEmbeddings
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, open_image
from langchain_mmrag.ranking import FloatArray, unit
from langchain_mmrag.types import ImageInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXTRA: Final = "notebooks"

# Of Okabe and Ito's colours, which colour-blind readers tell apart; in grey print the pictures are lighter.
TEXT_COLOR: Final = "#0072B2"
IMAGE_COLOR: Final = "#E69F00"
QUERY_COLOR: Final = "#000000"
QUERY_FILL: Final = "#F0E442"
SOFT: Final = "#5A5F66"

_DPI: Final = 110
_CELL: Final = (0.78, 0.5)  # inches, wide and high
_LABEL_CHARS: Final = 26
_LABEL_LINES: Final = 2
_TOP: Final = 0.62
_BAR: Final = 1.05
_DARK_BELOW: Final = 0.179  # of relative luminance: where white and black have the same contrast (WCAG 2)


@cache
def _figure_class() -> Any:
    figures = require("matplotlib.figure", extra=EXTRA)

    class NotebookFigure(figures.Figure):  # type: ignore[misc, name-defined]
        """A figure that a notebook shows by itself, without pyplot, and that nothing keeps alive."""

        def _repr_png_(self) -> bytes:
            data = BytesIO()
            # Without the version of matplotlib in it, so that the same figure has the same bytes.
            self.savefig(data, format="png", metadata={"Software": None})
            return data.getvalue()

    return NotebookFigure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        MissingDependencyError: If matplotlib is not installed.
    """
    figure: Figure = _figure_class()(figsize=(width, height), dpi=_DPI, facecolor="white")
    return figure


def pixels_of(source: ImageInput, policy: MediaPolicy, side: int) -> FloatArray | None:
    """A picture's pixels [h, w, 3] from 0 to 1, `side` on the longer side; `None` if it cannot be shown."""
    try:
        image = open_image(source, policy)
    except LoadError:
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    pixels: FloatArray = np.asarray(image, dtype=np.float64) / 255
    return pixels


def similarity_heatmap(
    embeddings: MultimodalEmbeddings,
    texts: Sequence[str],
    images: Sequence[ImageInput],
    *,
    centered: bool = False,
    media_policy: MediaPolicy | None = None,
) -> Figure:
    """How alike each text and each picture are: texts as rows, pictures as columns.

    The best text for each picture is framed.

    Args:
        embeddings: Embeds both.
        texts: At least one; long ones are shortened on the figure.
        images: At least one.
        centered: Take the mean of the texts off each text, and the mean of the pictures off each picture, as
            searches do with the means of a collection: what is common to all of a kind says nothing.
        media_policy: Which pictures may be opened for the thumbnails; by default `DEFAULT_POLICY`.

    Raises:
        LoadError: If a picture cannot be read.
        MissingDependencyError: If matplotlib is not installed.
        ValueError: If there is no text or no picture, or only one of a kind is to be centred.
    """
    texts, images = _listed("texts", texts, centered), _listed("images", images, centered)
    words: FloatArray = embeddings.embed_texts_array(texts)
    pictures: FloatArray = embeddings.embed_images_array(images).vectors
    if centered:
        words, pictures = (unit(side - side.mean(axis=0)) for side in (words, pictures))
    policy = media_policy or DEFAULT_POLICY
    return _drawn(words @ pictures.T, texts, [pixels_of(i, policy, 110) for i in images], centered)


def _listed(name: str, values: Sequence[Any], centered: bool) -> list[Any]:
    if isinstance(values, str | bytes):
        msg = f"{name} is one {type(values).__name__}: give a list"
        raise TypeError(msg)
    least = 2 if centered else 1
    if len(values) < least:
        msg = f"{len(values)} {name}: give at least {least}" + (" to take off their mean" if centered else "")
        raise ValueError(msg)
    return [*values]


def _drawn(
    values: FloatArray, texts: Sequence[str], pictures: Sequence[FloatArray | None], centered: bool
) -> Figure:
    labels = [_label(text) for text in texts]
    left = 0.3 + max(_width(line) for label in labels for line in label.split("\n"))
    rows, columns = values.shape
    # Of few columns the title is the widest thing.
    wide, high = columns * _CELL[0], rows * _CELL[1]
    width = max(left + wide + _BAR, 6.6)
    height = _TOP + _CELL[0] + high + 0.18
    figure = new_figure(width, height)

    def placed(x: float, y: float, across: float, down: float) -> Any:
        """Axes at inches from the left and the top."""
        return figure.add_axes((x / width, 1 - (y + down) / height, across / width, down / height))

    _draw_pictures(placed, left, pictures)
    axes = placed(left, _TOP + _CELL[0], wide, high)
    mesh = _draw_values(axes, values, centered)
    axes.set_yticks(range(rows), labels, fontsize=10)
    bar = figure.colorbar(mesh, cax=placed(left + wide + 0.18, _TOP + _CELL[0], 0.14, high))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    title = "With the mean of each kind taken off" if centered else "As embedded"
    figure.text(0.12 / width, 1 - 0.1 / height, title, fontsize=12, weight="bold", va="top")
    low, top = _figure(values.min()), _figure(values.max())
    note = f"cosines from {low} to {top}; framed: the best text for each picture"
    figure.text(0.12 / width, 1 - 0.34 / height, note, fontsize=9, color=SOFT, va="top")
    return figure


def _width(line: str) -> float:
    """Inches of a line of 10 points."""
    paths = require("matplotlib.textpath", extra=EXTRA)
    return float(paths.TextPath((0, 0), line, size=10).get_extents().x1) / 72


def _label(text: str) -> str:
    # a dollar sign would start a formula
    plain = " ".join(text.split()).replace("$", r"\$")
    lines = textwrap.wrap(plain, _LABEL_CHARS, max_lines=_LABEL_LINES, placeholder=" …") or ["(no text)"]
    return "\n".join(lines)


def _draw_pictures(placed: Any, left: float, pictures: Sequence[FloatArray | None]) -> None:
    cell, edge = _CELL[0], 0.04
    for place, pixels in enumerate(pictures):
        axes = placed(left + place * cell + edge, _TOP + edge, cell - 2 * edge, cell - 2 * edge)
        axes.axis("off")
        if pixels is None:
            axes.text(0.5, 0.5, "not\nshown", ha="center", va="center", fontsize=8, color=SOFT)
        else:
            axes.imshow(pixels)
            axes.set_anchor("S")


def _draw_values(axes: Any, values: FloatArray, centered: bool) -> Any:
    reach = max(float(np.abs(values).max()), 1e-6)
    limits = {"vmin": -reach, "vmax": reach} if centered else {}
    mesh = axes.imshow(values, cmap="PuOr" if centered else "cividis", aspect="auto", **limits)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    best = values.argmax(axis=0)
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if _luminance(mesh.cmap(mesh.norm(value))) < _DARK_BELOW else "black"
        is_best = best[column] == row
        weight = "bold" if is_best else "normal"
        told = _figure(value)
        axes.text(column, row, told, ha="center", va="center", color=ink, fontsize=9, weight=weight)
        if is_best:
            corner, size = (column - 0.46, row - 0.44), (0.92, 0.88)
            axes.add_patch(_frame(corner, size, ink))
    return mesh


def _luminance(color: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour, from 0 to 1."""
    red, green, blue = (((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in color[:3])  # noqa: PLR2004
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _figure(value: Any) -> str:
    """A number, with a minus as long as a plus, as on the axes."""
    # adding zero makes minus zero zero
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # noqa: RUF001


def _frame(corner: tuple[float, float], size: tuple[float, float], color: str) -> Any:
    patches = require("matplotlib.patches", extra=EXTRA)
    return patches.Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=1.6)
