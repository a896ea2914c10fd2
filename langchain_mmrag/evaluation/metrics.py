"""How good one ranking is: the usual measures, as `ir_measures` computes them.

| name | of one query |
|---|---|
| `success@k` | whether any relevant document is among the first k |
| `recall@k` | share of the relevant documents among the first k |
| `precision@k` | share of the first k that is relevant |
| `mrr@k` | 1 / place of the first relevant document, 0 after k |
| `ndcg@k` | sum of grade / log2(1 + place), over that of the best order (Järvelin and Kekäläinen 2002) |
| `map@k` | sum of the precision at each relevant document found by k, over the number of relevant ones |

All are those of trec_eval. The image-caption papers say "recall@k" to what is `success@k` here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from langchain_mmrag._extras import require
from langchain_mmrag.ranking import FloatArray

EXTRA: Final = "eval"

_NAMES: Final = {
    "success": "Success",
    "recall": "R",
    "precision": "P",
    "mrr": "RR",
    "ndcg": "nDCG",
    "map": "AP",
}


def default_measures(k: int) -> list[str]:
    """The measures of a report, the one that counts first."""
    names = [f"ndcg@{k}", "success@1", f"recall@{k}", f"mrr@{k}", f"precision@{k}", f"map@{k}"]
    return list(dict.fromkeys(names))


def cutoff(measure: str) -> int:
    """The k of a measure.

    Raises:
        ValueError: If there is no such measure.
    """
    match = re.fullmatch(rf"({'|'.join(_NAMES)})@([1-9]\d*)", measure)
    if match is None:
        names = ", ".join(f"{name}@k" for name in _NAMES)
        msg = f"unknown measure {measure!r}: use {names} with a number for k"
        raise ValueError(msg)
    return int(match[2])


def check_extra() -> None:
    """Whether measures can be computed, before time is spent on what they are computed of.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
    """
    require("ir_measures", extra=EXTRA)


def per_query(
    rankings: Sequence[Sequence[str]], relevance: Sequence[Mapping[str, int]], measures: Sequence[str]
) -> dict[str, FloatArray]:
    """Every measure of every query.

    Args:
        rankings: Ids of the documents found for each query, best first, each once.
        relevance: Grades of the documents that matter for each query.
        measures: Names of measures.

    Returns:
        For each measure its values [n].

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
        ValueError: If there is no such measure, or the two lists differ in length.
    """
    wanted = {_measure(name): name for name in measures}
    names = [str(place) for place in range(len(rankings))]
    # trec_eval breaks ties by id: places are turned into scores that have none.
    run = {
        name: {id_: -float(place) for place, id_ in enumerate(found)}
        for name, found in zip(names, rankings, strict=True)
    }
    grades = {name: dict(known) for name, known in zip(names, relevance, strict=True)}
    values: dict[str, FloatArray] = {name: np.zeros(len(rankings)) for name in measures}
    for found in require("ir_measures", extra=EXTRA).iter_calc(list(wanted), grades, run):
        values[wanted[found.measure]][int(found.query_id)] = found.value
    return values


def _measure(name: str) -> Any:
    k = cutoff(name)
    measure = getattr(require("ir_measures", extra=EXTRA), _NAMES[name.partition("@")[0]])
    return measure @ k
