"""`collection_map`: a collection on a plane, as it was embedded and as it is ranked.

Before, texts and pictures lie in two clouds, the modality gap ("Mind the Gap", Liang et al. 2022, arXiv
2203.02053). After, each side is in the space in which searches compare documents, that of
`ranking.Background.place`: its mean taken off and a little evened out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
from langchain_core.documents import Document

from langchain_mmrag._store.ledger_rows import side_of_row
from langchain_mmrag.display.drawing import Drawing
from langchain_mmrag.display.parts import picture_of
from langchain_mmrag.display.planes import Method, Panel, Points
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.ranking import SAMPLE_SIZE, SIDES, Background, FloatArray, Part, Rank, Ranker, Side, unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HITS: Final = 6
_LEAST: Final = 60
_AT_ONCE: Final = 500


def collection_map(
    store: Any,
    *,
    query: str | Query | None = None,
    method: Method = "pca",
    calibrated: bool | None = None,
    max_points: int = 1500,
    thumbnails: int = 40,
    media_policy: MediaPolicy | None = None,
) -> Figure:
    """A collection on a plane: texts as dots, pictures as dots and some as thumbnails.

    The line above a map tells what the plane may hide: of the ten nearest neighbours of each document, in all
    dimensions, how many are of the other kind, and how many there would be if kinds did not matter.

    Args:
        store: A `MultimodalChroma`, or a `Chroma` with pictures marked in the metadata.
        query: Also show a query, and ring the six best that are found for it (by `rank="raw"` on the first
            map and `rank="calibrated"` on the second).
        method: `"pca"`, the two principal components; `"gap"`, the line through the means of texts and of
            pictures as they were embedded, which is where the gap is, and the first component of the rest;
            or `"umap"`, whose distances are not to scale. The axes of the first two say how much of the
            variance they show. A collection of one kind has no gap: `"gap"` is then `"pca"`.
        calibrated: Only the map after calibration, or only the one before; `None` for both, side by side.
        max_points: Of a larger collection a random choice is shown, the same every time.
        thumbnails: Pictures shown as such, as far as there is room.
        media_policy: Which pictures may be opened for that; `None`: the store's own policy.

    Raises:
        MissingDependencyError: If matplotlib is not installed, or umap-learn for `"umap"`.
        ValueError: If the collection is empty, `method` is none of these, or `max_points` is less than 1.
    """
    _check(method, max_points)
    asked = None if query is None else Query.of(query)
    chosen: list[Rank] = ["raw"] if calibrated is not True else []
    chosen += ["calibrated"] if calibrated is not False else []
    found = {rank: _found(store, asked, rank) for rank in chosen}
    points = _points_of(store, max_points, {id_ for ids in found.values() for id_ in ids})
    backgrounds = _backgrounds(points)
    parts = [] if asked is None else _parts(store.embeddings, asked)
    panels = [_panel(rank, points, backgrounds, parts, found[rank]) for rank in chosen]
    policy = media_policy or getattr(store, "media_policy", None) or DEFAULT_POLICY
    return Drawing(points, method, thumbnails, policy).drawn(panels)


def _check(method: str, max_points: int) -> None:
    if method not in get_args(Method):
        msg = f"method must be one of {', '.join(map(repr, get_args(Method)))}, not {method!r}"
        raise ValueError(msg)
    if max_points < 1:
        msg = f"max_points is {max_points}: use 1 or more"
        raise ValueError(msg)


def _found(store: Any, query: Query | None, rank: Rank) -> list[str]:
    if query is None:
        return []
    return [str(document.id) for document, _ in store.search_ranked(query, _HITS, rank=rank)]


def _points_of(store: Any, most: int, wanted: set[str]) -> Points:
    rows = store.get(include=["metadatas"])
    ids: list[str] = rows["ids"]
    if not ids:
        msg = "there is nothing to map: the collection is empty"
        raise ValueError(msg)
    metadatas = [metadata or {} for metadata in rows["metadatas"]]
    is_image = np.array([side_of_row(metadata) == "image" for metadata in metadatas])
    places = _chosen(is_image, most, np.array([id_ in wanted for id_ in ids]))
    chosen = [ids[place] for place in places]
    vectors = _vectors(store, chosen)
    return Points(
        chosen,
        is_image[places],
        unit(np.array([vectors[id_] for id_ in chosen])),
        [_picture_of(metadatas[place]) if is_image[place] else None for place in places],
        {"text": int((~is_image).sum()), "image": int(is_image.sum())},
    )


def _picture_of(metadata: Mapping[str, Any]) -> str | None:
    return picture_of(Document(page_content="", metadata=dict(metadata)))


def _chosen(is_image: Any, most: int, wanted: Any) -> list[int]:
    """Places of a random choice in proportion, but some of each side at least, and of the wanted."""
    rng = np.random.default_rng(0)
    total = len(is_image)
    if total <= most:
        return list(range(total))
    kept: list[int] = []
    for side in (is_image, ~is_image):
        places = np.flatnonzero(side)
        share = max(round(most * len(places) / total), min(_LEAST, most // 2))
        kept += rng.permutation(places)[:share].tolist()
    return sorted({*kept, *np.flatnonzero(wanted).tolist()})


def _vectors(store: Any, ids: Sequence[str]) -> dict[str, FloatArray]:
    vectors: dict[str, FloatArray] = {}
    for start in range(0, len(ids), _AT_ONCE):
        rows = store.get(ids[start : start + _AT_ONCE], include=["embeddings"])
        vectors |= dict(zip(rows["ids"], rows["embeddings"], strict=True))
    return vectors


def _backgrounds(points: Points) -> dict[Side, Background]:
    rng = np.random.default_rng(0)
    made: dict[Side, Background] = {}
    for side in SIDES:
        vectors = points.vectors[points.of(side)]
        if len(vectors):
            sample = rng.permutation(len(vectors))[:SAMPLE_SIZE]
            made[side] = Background(points.totals[side], vectors[np.sort(sample)])
    return made


def _parts(embeddings: Any, query: Query) -> list[Part]:
    parts = []
    for term in query.terms():
        if term.side == "text":
            vector = embeddings.embed_query(term.content)
        else:
            vector = embeddings.embed_image([term.content])[0]
        parts.append(Part(term.side, unit(vector), term.weight))
    return parts


def _panel(
    rank: Rank,
    points: Points,
    backgrounds: Mapping[Side, Background],
    parts: Sequence[Part],
    hits: Sequence[str],
) -> Panel:
    if rank == "raw":
        asked = unit(np.sum([part.weight * part.vector for part in parts], axis=0)) if parts else None
        return Panel("As embedded", points.vectors, asked, hits)
    placed = np.zeros_like(points.vectors)
    for side, background in backgrounds.items():
        placed[points.of(side)] = background.place_units(points.vectors[points.of(side)])
    # Where a query is to be put is not known if nothing of its side is in the collection.
    is_known = bool(parts) and all(part.side in backgrounds for part in parts)
    asked = Ranker(parts, backgrounds, list(backgrounds)).placed if is_known else None
    return Panel("Calibrated", placed, asked, hits)
