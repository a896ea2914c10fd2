"""Documents on a plane: what a map shows, before it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from langchain_mmrag._extras import require
from langchain_mmrag.display.figures import EXTRA
from langchain_mmrag.errors import MissingDependencyError
from langchain_mmrag.ranking import FloatArray, Side, unit

Method: TypeAlias = Literal["pca", "gap", "umap"]

_NEIGHBOURS: Final = 10


@dataclass(frozen=True)
class Points:
    """Documents of a collection.

    Attributes:
        ids: Their ids [n].
        is_image: Which are pictures [n].
        vectors: As they were embedded, of norm 1 [n, d].
        sources: Where the pictures lie.
        totals: How many there are of each side in the collection.
    """

    ids: Sequence[str]
    is_image: Any
    vectors: FloatArray
    sources: Sequence[str | None]
    totals: Mapping[Side, int]

    def of(self, side: Side) -> Any:
        """Which are of a side [n]."""
        return self.is_image if side == "image" else ~self.is_image


@dataclass(frozen=True)
class Panel:
    """One of the two maps.

    Attributes:
        name: Which it is.
        vectors: The documents in its space [n, d].
        query: The query in its space [d].
        hits: Ids of the best documents found for it.
    """

    name: str
    vectors: FloatArray
    query: FloatArray | None
    hits: Sequence[str] = field(default=())


def mixing(vectors: FloatArray, is_image: Any) -> tuple[float, float] | None:
    """Share of the ten nearest that are of the other kind, and the share by chance."""
    n, pictures = len(vectors), int(is_image.sum())
    if not 0 < pictures < n:
        return None
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    count = min(_NEIGHBOURS, n - 1)
    nearest = np.argpartition(-near, count - 1, axis=1)[:, :count]
    found = float((is_image[nearest] != is_image[:, None]).mean())
    return found, 2 * pictures * (n - pictures) / (n * (n - 1))


def on_plane(
    panel: Panel, method: Method, gap: FloatArray | None
) -> tuple[FloatArray, FloatArray | None, tuple[str, str]]:
    """Documents [n, 2] and the query [2] on a plane, and what its axes are."""
    if method == "umap":
        return _by_umap(panel)
    mean = panel.vectors.mean(axis=0)
    centred = panel.vectors - mean
    if method == "gap" and gap is not None:
        rest = centred - np.outer(centred @ gap, gap)
        directions = np.stack([gap, _components(rest)[0]])
        names = ("from the mean of the pictures to that of the texts", "main component of the rest")
    else:
        directions = _components(centred)
        names = ("component 1", "component 2")
    flat = centred @ directions.T
    total = float((centred**2).sum())
    shares = (flat**2).sum(axis=0) / total if total > 0 else np.zeros(2)
    across, up = (f"{name}: {share:.0%} of the variance" for name, share in zip(names, shares, strict=True))
    asked = None if panel.query is None else directions @ (panel.query - mean)
    return flat, asked, (across, up)


def _components(centred: FloatArray) -> FloatArray:
    """The first two principal directions [2, d], of zeros where there is none."""
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    directions = np.pad(directions, ((0, 2 - len(directions)), (0, 0)))
    # The sign of a direction is chance: the same one every time.
    largest = directions[[0, 1], np.abs(directions).argmax(axis=1)]
    signed: FloatArray = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    return signed


def gap(points: Points) -> FloatArray | None:
    """The direction from the pictures' mean to the texts' [d]."""
    if not 0 < int(points.is_image.sum()) < len(points.ids):
        return None
    apart: FloatArray = points.vectors[~points.is_image].mean(axis=0)
    return unit(apart - points.vectors[points.is_image].mean(axis=0))


def _by_umap(panel: Panel) -> tuple[FloatArray, FloatArray | None, tuple[str, str]]:
    try:
        umap = require("umap", extra=EXTRA)
    except MissingDependencyError as error:
        msg = 'method="umap" needs umap-learn. Run: pip install umap-learn, or use method="pca"'
        raise MissingDependencyError(msg, name="umap") from error
    neighbours = min(15, len(panel.vectors) - 1)
    model = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=0).fit(panel.vectors)
    asked = None if panel.query is None else model.transform(panel.query[None])[0]
    return np.asarray(model.embedding_), asked, ("UMAP 1, not to scale", "UMAP 2, not to scale")
