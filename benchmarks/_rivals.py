"""Other vector stores over the same vectors: each takes row numbers for ids and gives the nearest rows.

Graphs get the settings that this package's collections have, so that they do the same work.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

WIDTH, BUILDING, SEARCHING = 16, 100, 150  # neighbors of a node, effort at making and at asking
LANCE_INDEX_FROM = 10_000
QDRANT_UP_TO = 100_000  # its local mode compares with every row, in Python
BATCH = 5000


class Rival(Protocol):
    """A store that is filled. Rows below `pictured` are pictures."""

    def nearest(self, vector: np.ndarray, k: int) -> list[int]: ...

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        """The nearest pictures; raises NotImplementedError if it has no filter."""


class Hnswlib:
    def __init__(self, vectors: np.ndarray, pictured: int, folder: Path) -> None:  # noqa: ARG002
        import hnswlib

        self.index = hnswlib.Index("cosine", vectors.shape[1])
        self.index.init_index(len(vectors), ef_construction=BUILDING, M=WIDTH)
        self.index.add_items(vectors, np.arange(len(vectors)))
        self.index.set_ef(SEARCHING)
        self.pictured = pictured

    def nearest(self, vector: np.ndarray, k: int) -> list[int]:
        return self.index.knn_query(vector, k)[0][0].tolist()

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        return self.index.knn_query(vector, k, num_threads=1, filter=self._is_picture)[0][0].tolist()

    def _is_picture(self, row: int) -> bool:
        return row < self.pictured


class Usearch:
    def __init__(self, vectors: np.ndarray, pictured: int, folder: Path) -> None:  # noqa: ARG002
        from usearch.index import Index

        self.index = Index(
            ndim=vectors.shape[1],
            metric="cos",
            dtype="f32",
            connectivity=WIDTH,
            expansion_add=BUILDING,
            expansion_search=SEARCHING,
        )
        self.index.add(np.arange(len(vectors)), vectors)

    def nearest(self, vector: np.ndarray, k: int) -> list[int]:
        return self.index.search(vector, k).keys.tolist()

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        raise NotImplementedError


class FaissFlat:
    """Exact: a comparison with every row."""

    def __init__(self, vectors: np.ndarray, pictured: int, folder: Path) -> None:  # noqa: ARG002
        import faiss

        chosen = faiss.IDSelectorRange(0, pictured)
        self.index, self.settings, self.filtering = self.made(faiss, vectors.shape[1], chosen)
        self.chosen = chosen  # the settings hold a bare pointer to it
        self.index.add(np.ascontiguousarray(vectors))

    def made(self, faiss: Any, d: int, chosen: Any) -> tuple[Any, Any, Any]:
        return faiss.IndexFlatIP(d), None, faiss.SearchParameters(sel=chosen)

    def nearest(self, vector: np.ndarray, k: int) -> list[int]:
        return self.index.search(vector[None], k, params=self.settings)[1][0].tolist()

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        return self.index.search(vector[None], k, params=self.filtering)[1][0].tolist()


class FaissHnsw(FaissFlat):
    def made(self, faiss: Any, d: int, chosen: Any) -> tuple[Any, Any, Any]:
        index = faiss.IndexHNSWFlat(d, WIDTH, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILDING
        return (
            index,
            faiss.SearchParametersHNSW(efSearch=SEARCHING),
            faiss.SearchParametersHNSW(efSearch=SEARCHING, sel=chosen),
        )


class LanceDb:
    """On disk; a graph over quantised vectors from ten thousand rows, a comparison with every row below."""

    def __init__(self, vectors: np.ndarray, pictured: int, folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        def rows(start: int) -> Any:
            part = np.ascontiguousarray(vectors[start : start + BATCH])
            numbers = np.arange(start, start + len(part))
            return pa.table(
                {
                    "row": numbers,
                    "modality": np.where(numbers < pictured, "image", "text"),
                    "vector": pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), part.shape[1]),
                }
            )

        self.table = lancedb.connect(folder / "lance").create_table("rows", rows(0))
        for start in range(BATCH, len(vectors), BATCH):
            self.table.add(rows(start))
        self.table.optimize()
        if len(vectors) >= LANCE_INDEX_FROM:
            self.table.create_index("cosine", index_type="IVF_HNSW_SQ", vector_column_name="vector")

    def nearest(self, vector: np.ndarray, k: int) -> list[int]:
        return self._rows(self.table.search(vector).distance_type("cosine").limit(k))

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        asked = self.table.search(vector).distance_type("cosine").limit(k)
        return self._rows(asked.where("modality = 'image'", prefilter=True))

    def _rows(self, asked: Any) -> list[int]:
        return asked.select(["row", "_distance"]).to_arrow()["row"].to_pylist()


class QdrantLocal:
    """Qdrant's client without a server, which compares with every row."""

    def __init__(self, vectors: np.ndarray, pictured: int, folder: Path) -> None:  # noqa: ARG002
        if len(vectors) > QDRANT_UP_TO:
            msg = f"left out above {QDRANT_UP_TO:,} rows"
            raise ValueError(msg)
        from qdrant_client import QdrantClient, models

        self.client = QdrantClient(":memory:")
        self.client.create_collection(
            "rows", vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
        )
        payload = [{"modality": "image" if row < pictured else "text"} for row in range(len(vectors))]
        self.client.upload_collection("rows", np.asarray(vectors), payload, ids=range(len(vectors)))
        match = models.MatchValue(value="image")
        self.filter = models.Filter(must=[models.FieldCondition(key="modality", match=match)])

    def nearest(self, vector: np.ndarray, k: int) -> list[int]:
        return [point.id for point in self.client.query_points("rows", vector.tolist(), limit=k).points]

    def pictures(self, vector: np.ndarray, k: int) -> list[int]:
        found = self.client.query_points("rows", vector.tolist(), limit=k, query_filter=self.filter)
        return [point.id for point in found.points]


RIVALS: dict[str, Callable[[np.ndarray, int, Path], Rival]] = {
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "faiss flat": FaissFlat,
    "faiss HNSW": FaissHnsw,
    "LanceDB": LanceDb,
    "Qdrant local": QdrantLocal,
}
