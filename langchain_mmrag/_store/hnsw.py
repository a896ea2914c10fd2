"""Settings of the vector index (HNSW) of a collection that this package makes.

They were chosen by `benchmarks/hnsw.py`; `docs/decisions/0013-index-settings.md` has its tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

EF_CONSTRUCTION: Final = 200
"""Candidates looked at for the neighbours of a new row. Twice Chroma's own: queries that lean towards one
side find four to ten of a thousand rows more. A wider graph (`max_neighbors`) adds little to that."""

EF_SEARCH: Final = 150
"""Candidates looked at for an answer. Chroma's own 100 loses one in a hundred; 300 finds little more."""

SYNC_THRESHOLD: Final = 200
"""Rows after which a call that writes also writes the index to disk; until then they are in the log alone.

Nothing is lost either way. But each process that opens the collection reads the rows in the log anew, so a
few hundred beside a small collection would make up most of its start. Chroma writes the index at most once
a call: what is added in thousands is not written more often for it.
"""

_ANY: Final[Mapping[str, Any]] = {"space": "cosine", "ef_search": EF_SEARCH}
_HNSW: Final[Mapping[str, Any]] = {
    **_ANY,
    "ef_construction": EF_CONSTRUCTION,
    "sync_threshold": SYNC_THRESHOLD,
}


def in_cosine_space(configuration: Any, metadata: Mapping[str, Any] | None) -> Any:
    """`configuration` for a new collection, with our settings where the caller has none of their own.

    Collections that exist keep theirs: Chroma heeds this when it makes one.

    Args:
        configuration: As Chroma takes it, or `None`; it stays as it is.
        metadata: Of the collection. Who sets the space there, in Chroma's old way, sets the index up alone:
            Chroma takes settings in one of the two ways, not in both.
    """
    if "hnsw:space" in (metadata or {}):
        return configuration
    given = dict(configuration or {})
    index, ours = ("spann", _ANY) if given.get("spann") else ("hnsw", _HNSW)
    return {**given, index: {**ours, **(given.get(index) or {})}}
