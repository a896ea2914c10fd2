"""A second vector for each text, by an embedding for text alone.

Passages, windows of long ones, tables or their summaries, and captions of pictures have one. A picture
without a caption has no vector here, rather than one of nothing. What is missing is told by the numbers of
rows: a search embeds a few by the way, and refuses to go by a collection that lacks many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from langchain_mmrag._store.ledger_rows import text_of_row
from langchain_mmrag._store.second_vectors import TEXTS, SecondVectors, StoredVectors, Vector
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import Side

_FEW: Final = 256  # texts that a search embeds by the way, as those a crash has left behind


class Companion(SecondVectors):
    """The text vectors of a store; see `SecondVectors` for what they have in common with others."""

    suffix: ClassVar[str] = TEXTS
    option: ClassVar[str] = "text_embedding"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._never_equal: tuple[int, int] | None = None

    def content(self, text: str, metadata: Mapping[str, Any]) -> str:
        """The text, caption or summary of a row."""
        return text_of_row(text, metadata)

    def embedded(self, contents: list[str]) -> Sequence[Vector]:
        """The vector [d] of each text."""
        return [*self._used.texts(contents)]

    def rows(self) -> Iterator[list[str]]:
        """The ids of the rows that have a text, a page at a time."""
        return self._ledger.text_ids()

    def sample(self, side: Side, there: StoredVectors | None = None) -> Vector:
        """The unit vectors [n, d] of a side in the ledger's sample; the same array until that changes."""
        state, ids = self._ledger.sampled_texts(side)
        kept = self._samples.get(side)
        if kept is None or kept[0] != state:
            vectors = list((there or self._there()).of(ids).values())
            kept = (state, np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32))
            self._samples[side] = kept
        return kept[1]

    def catch_up(self, count: int | None = None) -> StoredVectors:
        """Embed texts that have no vector, if they are but a few, as a crash leaves them behind.

        Args:
            count: The collection's number of rows, if it was just asked for.

        Returns:
            The vectors there are now.

        Raises:
            StoreError: If there are more than a few.
        """
        self._ledger.current(count)
        there = self._there()
        return there if self._is_complete(there) else self._caught_up()

    def _caught_up(self) -> StoredVectors:
        with self._lock:
            # A writer may have been between taking out and putting in, or the count was of a while ago.
            self._ledger.current()
            there = self._there()
            if self._is_complete(there):
                return there
            total = self._ledger.texts()
            if total - there.count > _FEW:
                msg = (
                    f"{total - there.count} of {total} texts have no vector of the text_embedding yet: call"
                    " rebuild_index(), which embeds them, or open the store without text_embedding"
                )
                raise StoreError(msg)
            if there.count > total:
                self._take_out_gone()
            undisturbed = True
            for ids in self.rows():
                known = self._digests(ids)
                undisturbed &= self._embed_rows([id_ for id_ in ids if id_ not in known])
            there = self._there()
            if undisturbed:
                self._never_equal = (there.count, self._ledger.texts())
            return there

    def _is_complete(self, there: StoredVectors) -> bool:
        counts = (there.count, self._ledger.texts())
        # Should the two never agree, every search would list the collection.
        return counts[0] == counts[1] or counts == self._never_equal

    def rebuild(self) -> None:
        """Take out vectors of texts that are gone or have changed, and embed texts that have none."""
        self._never_equal = None
        super().rebuild()
