"""Draws the maps of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from langchain_mmrag._extras import require
from langchain_mmrag.display.figures import (
    EXTRA,
    IMAGE_COLOR,
    QUERY_COLOR,
    QUERY_FILL,
    SOFT,
    TEXT_COLOR,
    new_figure,
    pixels_of,
)
from langchain_mmrag.display.planes import Method, Panel, Points, gap, mixing, on_plane
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.ranking import SIDES, FloatArray, Side

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL: Final = 5.1  # inches
_MARGINS: Final = (0.42, 0.42, 0.82, 0.9)  # left, between, above, below
_THUMBNAIL: Final = 0.4
_RADII: Final = (0.38, 0.46, 0.55, 0.65, 0.8, 1.0, 1.25, 1.5)
_ANGLES: Final = 16
_COLORS: Final[dict[Side, str]] = {"text": TEXT_COLOR, "image": IMAGE_COLOR}
_MARKERS: Final[dict[Side, str]] = {"text": "o", "image": "s"}
_NAMES: Final[dict[Side, str]] = {"text": "texts", "image": "pictures"}


@dataclass(frozen=True)
class Drawing:
    """Draws maps of the same documents side by side."""

    points: Points
    method: Method
    thumbnails: int
    policy: MediaPolicy

    def drawn(self, panels: Sequence[Panel]) -> Figure:
        """The figure of some maps, in their order."""
        left, between, above, below = _MARGINS
        width = left + len(panels) * (_PANEL + between)
        height = above + _PANEL + below
        figure = new_figure(width, height)
        for place, panel in enumerate(panels):
            corner = (left + place * (_PANEL + between)) / width
            axes = figure.add_axes((corner, below / height, _PANEL / width, _PANEL / height))
            self._draw(axes, panel)
        figure.legend(
            handles=[*self._handles(panels)],
            loc="lower center",
            bbox_to_anchor=(0.5, 0.02),
            ncols=4 if len(panels) > 1 else 2,
            frameon=False,
            fontsize=10,
        )
        return figure

    def _draw(self, axes: Any, panel: Panel) -> None:
        flat, asked, names = on_plane(panel, self.method, gap(self.points))
        _set_limits(axes, flat if asked is None else np.vstack([flat, asked]))
        axes.set_xlabel(names[0], fontsize=9, color=SOFT)
        axes.set_ylabel(names[1], fontsize=9, color=SOFT)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#C9CDD2")
        for side in SIDES:
            where = self.points.of(side)
            style = {"s": 16, "marker": _MARKERS[side], "linewidths": 0, "alpha": 0.75}
            axes.scatter(*flat[where].T, color=_COLORS[side], zorder=2, **style)
        is_hit = np.isin(self.points.ids, panel.hits)
        self._draw_thumbnails(axes, flat, is_hit, asked)
        ring = {"s": 80, "linewidths": 1.8, "facecolors": "none", "edgecolors": QUERY_COLOR}
        axes.scatter(*flat[is_hit].T, zorder=6, **ring)
        if asked is not None:
            star = {
                "s": 260,
                "marker": "*",
                "color": QUERY_FILL,
                "edgecolors": QUERY_COLOR,
                "linewidths": 1.4,
            }
            axes.scatter(*asked, zorder=7, **star)
        _entitle(axes, panel, self.points.is_image)

    def _draw_thumbnails(self, axes: Any, flat: FloatArray, is_hit: Any, asked: FloatArray | None) -> None:
        """Put pictures where there is room: those found beside their points, of the others as many as fit."""
        corner = np.array([axes.get_xlim()[0], axes.get_ylim()[0]])
        scale = _PANEL / np.ptp(axes.get_xlim())
        inches = (flat - corner) * scale
        room = _Room([*inches[is_hit], *([] if asked is None else [(asked - corner) * scale])])
        for place in self._pictures(is_hit):
            if len(room.taken) >= self.thumbnails:
                return
            spot = room.beside(inches[place]) if is_hit[place] else room.over(inches[place])
            if spot is None:
                continue
            picture = pixels_of(
                str(self.points.sources[place]), self.policy, round(_THUMBNAIL * axes.figure.dpi)
            )
            if picture is not None:
                room.taken.append(spot)
                _put(axes, picture, flat[place], spot / scale + corner, is_hit=bool(is_hit[place]))

    def _pictures(self, is_hit: Any) -> Iterator[int]:
        """Places of the pictures, those found first."""
        order = np.random.default_rng(0).permutation(np.flatnonzero(self.points.is_image))
        yield from (int(place) for place in order if is_hit[place])
        yield from (int(place) for place in order if not is_hit[place])

    def _handles(self, panels: Sequence[Panel]) -> Iterator[Any]:
        lines = require("matplotlib.lines", extra=EXTRA)
        for side in SIDES:
            count, total = int(self.points.of(side).sum()), self.points.totals[side]
            if count:
                told = f"{count:,}" if count == total else f"{count:,} of {total:,}"
                style = {"marker": _MARKERS[side], "color": _COLORS[side], "linestyle": "none"}
                yield lines.Line2D([], [], label=f"{_NAMES[side]} ({told})", markersize=7, **style)
        if any(panel.query is not None for panel in panels):
            style = {"marker": "*", "color": QUERY_FILL, "markeredgecolor": QUERY_COLOR, "linestyle": "none"}
            yield lines.Line2D([], [], label="query", markersize=14, **style)
        if any(panel.hits for panel in panels):
            style = {"marker": "o", "color": "none", "markeredgecolor": QUERY_COLOR, "linestyle": "none"}
            label = f"the {max(len(panel.hits) for panel in panels)} best found"
            yield lines.Line2D([], [], label=label, markersize=10, markeredgewidth=1.8, **style)


@dataclass(frozen=True)
class _Room:
    """Where thumbnails are on a map, in inches.

    Attributes:
        marks: Points nothing may cover [2].
        taken: Middles of the thumbnails there are [2].
    """

    marks: Sequence[FloatArray]
    taken: list[FloatArray] = field(default_factory=list)

    def over(self, point: FloatArray) -> FloatArray | None:
        """The point itself, if there is room for a thumbnail on it."""
        is_free = (
            _apart(point, self.taken) > _THUMBNAIL * 1.15 and _apart(point, self.marks) > _THUMBNAIL * 0.75
        )
        return point if is_free else None

    def beside(self, point: FloatArray) -> FloatArray | None:
        """The nearest place to a point where a thumbnail covers no mark and no other thumbnail."""
        for radius in _RADII:
            for angle in np.arange(_ANGLES) * 2 * np.pi / _ANGLES:
                spot = point + radius * np.array([np.cos(angle), np.sin(angle)])
                is_inside = bool((np.abs(spot - _PANEL / 2) < (_PANEL - _THUMBNAIL) / 2 - 0.05).all())
                if is_inside and self.over(spot) is not None:
                    return spot
        return None


def _apart(point: FloatArray, others: Sequence[FloatArray]) -> float:
    """How far the nearest of some points is, along the axis on which it is farther."""
    return float(np.abs(np.array(others) - point).max(axis=1).min()) if len(others) else np.inf


def _put(axes: Any, picture: FloatArray, point: FloatArray, spot: FloatArray, *, is_hit: bool) -> None:
    """A thumbnail at a spot, tied to its point if that is elsewhere."""
    offsetbox = require("matplotlib.offsetbox", extra=EXTRA)
    image = offsetbox.OffsetImage(picture, zoom=72 / axes.figure.dpi, dpi_cor=True)
    color, line = (QUERY_COLOR, 1.8) if is_hit else (IMAGE_COLOR, 1.2)
    frame = {"edgecolor": color, "linewidth": line, "boxstyle": "square,pad=0.08"}
    tie = {"arrowstyle": "-", "color": color, "linewidth": 0.9} if is_hit else None
    box = offsetbox.AnnotationBbox(image, point, xybox=spot, pad=0, bboxprops=frame, arrowprops=tie)
    box.set_zorder(5 if is_hit else 4)
    axes.add_artist(box)


def _set_limits(axes: Any, flat: FloatArray) -> None:
    """The same scale both ways, with room for thumbnails at the edges."""
    middle = (flat.min(axis=0) + flat.max(axis=0)) / 2
    reach = max(float(np.ptp(flat, axis=0).max()) / 2 * 1.12, 1e-3)
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)


def _entitle(axes: Any, panel: Panel, is_image: Any) -> None:
    mixed = mixing(panel.vectors, is_image)
    if mixed is None:
        note = f"only {_NAMES['image' if is_image.all() else 'text']}: there is no gap to see"
    else:
        note = (
            f"{mixed[0]:.0%} of the ten nearest neighbours are of the other kind\n"
            f"({mixed[1]:.0%} if kinds did not matter)"
        )
    axes.text(0, 1.095, panel.name, transform=axes.transAxes, fontsize=13, weight="bold", va="bottom")
    axes.text(0, 1.085, note, transform=axes.transAxes, fontsize=10, color=SOFT, va="top", linespacing=1.3)
