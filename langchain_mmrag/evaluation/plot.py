"""A picture of a report: how well each run does, and what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langchain_mmrag._extras import require
from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.metrics import EXTRA
from langchain_mmrag.evaluation.report import ALL

if TYPE_CHECKING:
    from langchain_mmrag.evaluation.report import Report

# Okabe and Ito's colours, which colour-blind readers tell apart
_COLORS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_DPI: Final = 150
_MIX: Final = 4.5
_BREAK: Final = "\n→ "
_GREYS: Final = ("#4D5963", "#C3CAD0", "#8C9AA5", "#E3E7EA", "#2B3238")
_BARS: Final = 0.8


def plot_report(report: Report, path: Any) -> None:
    """Write bars of the first measure with their intervals, and the modality mix of the first k.

    Args:
        report: What to show.
        path: Where; the ending says the format, such as `.png` or `.svg`.

    Raises:
        DatasetError: If matplotlib does not write the format.
        MissingDependencyError: If matplotlib is not installed.
        OSError: If the file cannot be written.
    """
    figures = require("matplotlib.figure", extra=EXTRA)
    first = next(iter(report.runs.values()))
    width = max(6.0, 1.2 + len(first.shown) * max(0.9, 0.4 * len(report.runs)))
    height = max(4.2, 1.4 + 0.28 * len(first.mix) * len(report.runs))
    figure = figures.Figure(figsize=(width + _MIX, height), layout="constrained")
    scores, mix = figure.subplots(1, 2, width_ratios=(width, _MIX))
    _draw_scores(scores, report)
    _draw_mix(mix, report)
    figure.suptitle(f"{report.dataset}, {report.queries} queries", fontsize=11)
    try:
        figure.savefig(path, dpi=_DPI)
    except ValueError as error:
        msg = f"cannot write {path}: {error}"
        raise DatasetError(msg) from error


def _draw_scores(axes: Any, report: Report) -> None:
    measure = report.measures[0]
    bar = _BARS / len(report.runs)
    for place, (name, run) in enumerate(report.runs.items()):
        found = [cell.scores[measure] for cell in run.shown]
        across = [column + (place - (len(report.runs) - 1) / 2) * bar for column in range(len(found))]
        below = [0.0 if s.low is None else max(0.0, s.mean - s.low) for s in found]
        above = [0.0 if s.high is None else max(0.0, s.high - s.mean) for s in found]
        bars = axes.bar(
            across,
            [s.mean for s in found],
            bar * 0.92,
            label=name,
            color=_COLORS[place % len(_COLORS)],
            yerr=[below, above],
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
        )
        axes.bar_label(bars, [f"{s.mean:.2f}" for s in found], padding=2, fontsize=7)
    cells = next(iter(report.runs.values())).shown
    names = [f"{cell.name.replace(' → ', _BREAK)}\n({cell.queries})" for cell in cells]
    axes.set_xticks(range(len(cells)), names, fontsize=8)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(f"{measure}, 95 % interval")
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=min(4, len(report.runs)), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_mix(axes: Any, report: Report) -> None:
    counts = report.settings["documents"]
    total = sum(counts.values())
    rows = {
        f"{name}, {kind} query": mix
        for name, run in report.runs.items()
        for kind, mix in run.mix.items()
        if kind != ALL[0]
    }
    rows["collection"] = {kind: count / total for kind, count in counts.items()}
    kinds = sorted({kind for mix in rows.values() for kind in mix})
    left = [0.0] * len(rows)
    for place, kind in enumerate(kinds):
        shares = [mix.get(kind, 0.0) for mix in rows.values()]
        axes.barh(range(len(rows)), shares, 0.7, left=left, label=kind, color=_GREYS[place % len(_GREYS)])
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of the first {report.settings['k']}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
