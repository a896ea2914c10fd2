"""What came out, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from langchain_mmrag.evaluation.statistics import Difference, Score

ALL: Final = ("all", "all")
"""Query and target of the row over everything."""


@dataclass(frozen=True)
class Cell:
    """Scores of the queries of one modality, as far as documents of one modality answer them.

    Attributes:
        query: Modality of the queries, or `all`.
        target: Modality of the relevant documents, or `all`.
        queries: How many queries.
        scores: By name of the measure.
    """

    query: str
    target: str
    queries: int
    scores: Mapping[str, Score]

    @property
    def name(self) -> str:
        """Such as `text → image`."""
        return "all" if (self.query, self.target) == ALL else f"{self.query} → {self.target}"


@dataclass(frozen=True)
class Latency:
    """Milliseconds a query took: half of them less than `p50`, nine in ten less than `p90`."""

    p50: float
    p90: float


@dataclass(frozen=True)
class Run:
    """What one retriever reached.

    Attributes:
        cells: Over all queries first, then by query modality and target modality.
        mix: For `all` queries and for those of each modality, the share of each modality in the first k.
        latency: Of its queries.
    """

    cells: Sequence[Cell]
    mix: Mapping[str, Mapping[str, float]]
    latency: Latency

    @property
    def shown(self) -> Sequence[Cell]:
        """The cells without that over everything, if another says the same."""
        repeats = len(self.cells) == 2 and self.cells[0].queries == self.cells[1].queries  # noqa: PLR2004
        return self.cells[1:] if repeats else self.cells


@dataclass(frozen=True)
class Comparison:
    """One measure of two runs in one cell.

    Each p stands for itself: of twenty comparisons of equal runs, one is expected below 0.05.
    """

    run: str
    baseline: str
    query: str
    target: str
    measure: str
    difference: Difference


@dataclass(frozen=True)
class Published:
    """Figures someone else has published on the same questions.

    Attributes:
        name: Model and set.
        source: Where they stand.
        query: Modality of the queries.
        target: Modality of the documents.
        scores: By name of the measure.
    """

    name: str
    source: str
    query: str
    target: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """Everything measured in one go.

    Attributes:
        dataset: Its name.
        queries: How many were asked.
        measures: The measures, the most important first.
        runs: By name of the retriever; the first is what the others are compared with.
        comparisons: Of the others with the first.
        settings: `k`, seeds, and the number of documents of each modality.
        published: Figures to stand beside.
    """

    dataset: str
    queries: int
    measures: Sequence[str]
    runs: Mapping[str, Run]
    comparisons: Sequence[Comparison]
    settings: Mapping[str, Any]
    published: Sequence[Published] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The report in plain types, ready for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def score(self, run: str, measure: str, query: str = "all", target: str = "all") -> Score:
        """One score.

        Raises:
            KeyError: If there is none such.
        """
        for cell in self.runs[run].cells:
            if (cell.query, cell.target) == (query, target):
                return cell.scores[measure]
        raise KeyError((query, target))

    def to_markdown(self) -> str:
        """The scores as one table, and under it, of several runs, how they compare."""
        return "\n\n".join(part for part in (self._heading(), self._scores(), self._compared()) if part)

    def plot(self, path: Any) -> None:
        """Write a picture of the first measure and of the modality mix; the ending says the format.

        Raises:
            MissingDependencyError: If matplotlib is not installed.
            OSError: If the file cannot be written.
        """
        from langchain_mmrag.evaluation.plot import plot_report

        plot_report(self, path)

    def _heading(self) -> str:
        documents = ", ".join(f"{count} {kind}" for kind, count in self.settings["documents"].items())
        return f"{self.dataset}: {self.queries} queries, documents: {documents}"

    def _scores(self) -> str:
        first, *others = self.measures
        kinds = [*self.settings["documents"]]
        kinds = [kind for kind in kinds if kind != "text"] if len(kinds) > 1 else []  # texts are the rest
        mix = [f"{kind} in top {self.settings['k']}" for kind in kinds]
        header = ["run", "query → target", "queries", f"{first} [95 %]", *others, *mix, "p50 ms", "p90 ms"]
        rows = []
        for name, run in self.runs.items():
            for place, cell in enumerate(run.shown):
                figures = [scored(cell.scores[first]), *(f"{cell.scores[m].mean:.3f}" for m in others)]
                shown = [f"{run.mix[cell.query].get(kind, 0):.0%}" for kind in kinds]
                times = ["", ""] if place else [f"{run.latency.p50:.1f}", f"{run.latency.p90:.1f}"]
                rows.append([name, cell.name, str(cell.queries), *figures, *shown, *times])
        for each in self.published:
            figures = [f"{each.scores[m]:.3f}" if m in each.scores else "" for m in self.measures]
            name = f"{each.query} → {each.target}"
            rows.append([each.name, name, each.source, *figures, *("" for _ in (*mix, "p50", "p90"))])
        return table(header, rows)

    def _compared(self) -> str:
        cells = {(cell.query, cell.target) for run in self.runs.values() for cell in run.shown}
        first = self.measures[0]
        shown = [e for e in self.comparisons if e.measure == first and (e.query, e.target) in cells]
        if not shown:
            return ""
        header = ["compared", "query → target", f"difference in {first} [95 %]", "p"]
        rows = []
        for each in shown:
            d = each.difference
            cell = Cell(each.query, each.target, 0, {})
            apart = scored(Score(d.mean, d.low, d.high), sign="+")
            rows.append([f"{each.run} - {each.baseline}", cell.name, apart, _p(d.p)])
        return table(header, rows)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"  # noqa: PLR2004 - the digits shown


def scored(value: Score, sign: str = "") -> str:
    """A mean with its interval."""
    shown = f"{value.mean:{sign}.3f}"
    return shown if value.low is None else f"{shown} [{value.low:{sign}.3f}, {value.high:{sign}.3f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown that also lines up when it is printed."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in escaped) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in escaped
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
