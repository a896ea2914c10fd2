"""From ranked rows to documents: parts are gathered under their parent, copies under the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.documents import Document

from langchain_mmrag._store.chroma import Hit, document, reading
from langchain_mmrag._store.ledger_rows import modality_of_row
from langchain_mmrag.keyword import best_text
from langchain_mmrag.ranking import Collapse, FloatArray
from langchain_mmrag.types import CHUNK, CHUNK_END, CHUNK_START, COLLAPSED_IDS, PARENT_ID, SHA256, WINDOW

if TYPE_CHECKING:
    from chromadb import Collection

_ALIKE = 0.96  # cosine of stored vectors: pictures scaled, cropped a little or saved anew have more


class Found(NamedTuple):
    """A row that may answer a query.

    Attributes:
        id: Of the row.
        parent: Of the row it is a window of.
        number: See `Entry`.
        score: Higher is better.
        relevance: From 0 to 1.
        vector: As it looks where it was ranked, comparable across sides [d].
        stored: Unit vector as it was embedded [d].
        cosine: Of `vector` with the query, if one side was searched: of several it would favour one.
    """

    id: str
    parent: str | None
    number: int
    score: float
    relevance: float
    vector: FloatArray
    stored: FloatArray
    cosine: float | None = None


@dataclass
class Answer:
    """A document that answers a query, with what `Found` says of its best part.

    Attributes:
        document: As it is given to the caller.
        found: The row that was found.
        copies: Ids of documents gathered under this one.
    """

    document: Document
    found: Found
    copies: list[str] = field(default_factory=list)

    def told(self) -> Document:
        """The document, with the copies among its metadata."""
        if self.copies:
            self.document.metadata[COLLAPSED_IDS] = self.copies
        return self.document


def in_order(pool: Iterable[Found]) -> list[Found]:
    """Best first; of rows that score the same the one added first."""
    return sorted(pool, key=lambda row: (-row.score, row.number))


def gathered(collection: Collection, pool: Sequence[Found], k: int, collapse: Collapse) -> list[Answer]:
    """The best `k` documents of a ranked pool.

    Args:
        collection: Has the documents.
        pool: Best first.
        k: How many.
        collapse: `"parent"` leaves one document for the parts of each parent, the best of them; windows of a
            long text always stand for the whole text. `"near-duplicate"` also leaves one for pictures or
            passages that are the same or nearly so.
    """
    answers: list[Answer] = []
    by_key: dict[str, Answer] = {}
    whole: dict[str, Document] = {}
    for found, row, text in _rows(collection, pool, k):
        key = _key(text, collapse)
        known = by_key.get(key) or _alike(answers, found, row, collapse)
        if known is None:
            by_key[key] = Answer(row, found)
            whole[found.id] = text
            answers.append(by_key[key])
            if len(answers) == k:
                break
            continue
        by_key[key] = known  # where further parts of a copy belong
        id_ = found.parent or found.id
        if id_ not in {known.found.parent or known.found.id, *known.copies}:
            known.copies.append(id_)
    for answer in answers:
        answer.document = _marked(answer.document, whole[answer.found.id])
    return answers


def _rows(
    collection: Collection, pool: Sequence[Found], k: int
) -> Iterator[tuple[Found, Document, Document]]:
    """The pool with its rows, and the documents they are rows of; rows gone meanwhile are left out.

    They are fetched a page at a time.
    """
    for start in range(0, len(pool), k):
        page = pool[start : start + k]
        rows = _documents(collection, [id_ for found in page for id_ in (found.id, found.parent) if id_])
        for found in page:
            if row := rows.get(found.id):
                yield found, row, rows.get(found.parent or found.id, row)


def _documents(collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
    with reading(collection.name):
        rows: Any = collection.get(ids=list(dict.fromkeys(ids)), include=["documents", "metadatas"])
    columns = zip(rows["ids"], rows["documents"] or (), rows["metadatas"] or (), strict=True)
    return {id_: document(id_, text, metadata) for id_, text, metadata in columns}


def _key(text: Document, collapse: Collapse) -> str:
    """What a document counts as: a window is but a part of its text, which may be a part itself."""
    is_part = collapse != "none" or text.metadata.get(WINDOW) is True  # of a text deleted meanwhile
    parent = text.metadata.get(PARENT_ID) if is_part else None
    return str(text.id if parent is None else parent)


def _alike(answers: Sequence[Answer], found: Found, row: Document, collapse: Collapse) -> Answer | None:
    """The answer that a document is a copy of."""
    if collapse != "near-duplicate":
        return None
    digest = _digest_of(row)
    for answer in answers:
        same_file = digest is not None and digest == _digest_of(answer.document)
        if same_file or float(answer.found.stored @ found.stored) >= _ALIKE:
            return answer
    return None


def _digest_of(row: Document) -> Any:
    """Of a picture's file. Passages of one file may have its digest, and are no copies of each other."""
    return row.metadata.get(SHA256) if modality_of_row(row.metadata) == "image" else None


def _marked(part: Document, whole: Document) -> Document:
    """The whole text in the place of its window, told which part of it was found."""
    if part.metadata.get(WINDOW) is True and whole is not part:
        text, start = part.page_content, part.metadata.get(CHUNK_START, 0)
    elif isinstance(end := part.metadata.get(CHUNK_END), int):
        text, start = part.page_content[:end], 0
    else:
        return part
    kept = {key: value for key, value in whole.metadata.items() if key != CHUNK_END}
    return Document(
        id=whole.id, page_content=whole.page_content, metadata={**kept, CHUNK: text, CHUNK_START: start}
    )


def nearest_parts(collection: Collection, hits: Sequence[Hit]) -> list[Hit]:
    """Hits as documents: of the windows of a long text only the nearest, which stands for the whole."""
    best: dict[str, Hit] = {}
    for hit in hits:
        metadata = hit.document.metadata
        best.setdefault(str(metadata[PARENT_ID]) if metadata.get(WINDOW) is True else hit.id, hit)
    parents = [key for key, hit in best.items() if key != hit.id]
    whole = _documents(collection, parents) if parents else {}
    return [
        replace(hit, document=_marked(hit.document, whole.get(key, hit.document)))
        for key, hit in best.items()
    ]


def tell_best_window(collection: Collection, answer: Answer, ids: Sequence[str], query: str) -> None:
    """Say of a long text that the window with the words of a query was found, if any window has some.

    Args:
        collection: Has the windows.
        answer: The long text.
        ids: Of its windows but the first.
        query: What a user typed.
    """
    rows = _documents(collection, [str(answer.document.id), *ids])
    starts, texts = [], []
    for row in rows.values():
        end = row.metadata.get(CHUNK_END) if row.id == answer.document.id else None
        starts.append(int(row.metadata.get(CHUNK_START, 0)) if end is None else 0)
        texts.append(row.page_content[:end])
    best = best_text(texts, query)
    if best is not None:
        answer.document.metadata |= {CHUNK: texts[best], CHUNK_START: starts[best]}
