"""Columns of numbers as pictures: bars for a few rows, a line for many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.document_loaders._columns import Column
from langchain_mmrag.document_loaders.base import Part, SourceFile
from langchain_mmrag.types import CAPTION

MAX_CHARTS: Final = 4
"""Charts of a table: of its first columns of numbers."""
MAX_POINTS: Final = 500
"""Rows of a chart; of longer tables the first ones."""

_MOST_BARS: Final = 30
_LONGEST_LABEL: Final = 24


class ColumnCharts:
    """Takes note of the numbers as the rows go by.

    Args:
        columns: Of the table, typed. The first of dates, else of text, labels the points.
        name: What the table is called.
    """

    def __init__(self, columns: Sequence[Column], name: str) -> None:
        self._numbers = [column for column in columns if column.kind in {"int", "float"}][:MAX_CHARTS]
        dates = [column for column in columns if column.kind == "date"]
        texts = [column for column in columns if column.kind == "text"]
        self._label = next(iter([*dates, *texts]), None)
        self._name = name
        self._points: list[tuple[str, list[float | None]]] = []

    def see(self, number: int, metadata: Mapping[str, Any]) -> None:
        """Take note of a row, given with its number and typed metadata."""
        if len(self._points) < MAX_POINTS:
            label = metadata.get(self._label.key) if self._label else None
            values = [metadata.get(column.key) for column in self._numbers]
            self._points.append((str(label or number)[:_LONGEST_LABEL], values))

    def parts(
        self, file: SourceFile, key: str, near: str | None, metadata: Mapping[str, Any]
    ) -> Iterator[Part]:
        """Draw a chart for each column of two numbers or more.

        Args:
            file: Beside which the pictures are kept.
            key: Begins the key of each chart.
            near: Key of the table's summary, if there is one.
            metadata: Of every chart.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
        """
        for place, column in enumerate(self._numbers):
            drawn = [(label, values[place]) for label, values in self._points]
            points = [(label, value) for label, value in drawn if value is not None]
            if len(points) < 2:  # noqa: PLR2004
                continue
            by = f" by {self._label.name}" if self._label else ""
            caption = f"Chart of {column.name}{by}, {self._name}"
            picture = file.keep_picture(_drawn(points, column.name, caption), f"{key}chart-{place}")
            yield Part(
                text=caption,
                modality="image",
                metadata={**metadata, CAPTION: caption, **picture},
                key=f"{key}chart-{place}",
                near=near,
            )


def _drawn(points: Sequence[tuple[str, float]], name: str, caption: str) -> bytes:
    figures = require("matplotlib.figure", extra="eval")
    figure = figures.Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")  # pixels: 640 x 480
    axes = figure.add_subplot()
    places, values = range(len(points)), [value for _, value in points]
    if len(points) <= _MOST_BARS:
        axes.bar(places, values)
    else:
        axes.plot(places, values)
    step = max(1, len(points) // _MOST_BARS)
    labels = [_plain(label) for label, _ in points[::step]]
    axes.set_xticks(places[::step], labels, rotation=90 if len(labels) > 6 else 0)  # noqa: PLR2004
    axes.set_ylabel(_plain(name))
    axes.set_title(_plain(caption)[:80], fontsize="medium")
    data = BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _plain(text: str) -> str:
    """Text that is not taken for a formula."""
    return text.replace("$", r"\$")
