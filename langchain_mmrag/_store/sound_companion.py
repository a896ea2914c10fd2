"""A second vector for the sound of recordings and films, by an embedding of sounds and text in one space.

Rows of modality `audio` and `video` have one if there is any sound between their `start_s` and `end_s`. What
is silent, or cannot be heard, has none: how it sounds counts for nothing, rather than against it. No search
opens a file: what a crash left without a vector stays without until `rebuild`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import nsmallest
from itertools import count as counter
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from langchain_mmrag._store.chroma import reading
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_content import listed_ids
from langchain_mmrag._store.ledger_rows import PAGE, draw_of, modality_of_row, pages
from langchain_mmrag._store.second_vectors import SOUNDS, SecondVectors, StoredVectors, Vector
from langchain_mmrag.errors import LoadError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.media.sounds import SILENT, sound_between
from langchain_mmrag.ranking import SAMPLE_SIZE, Side, unit
from langchain_mmrag.types import END_S, FILE_SHA256, MODALITY, PATH, SOURCE, START_S, WINDOW

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api import ClientAPI

logger = logging.getLogger(__name__)

_MODALITIES: Final = ("audio", "video")
_BATCH: Final = 16  # sounds in memory at once: half a minute of each
_SHORTEST_S: Final = 0.05


class SoundCompanion(SecondVectors):
    """The sound vectors of a store; see `SecondVectors` for what they have in common with others.

    Args:
        client: Of the store's collection.
        collection: Gives the store's collection.
        ledger: Knows the side of each row.
        embedding: With `embed_query`, `embed_audio` and `sampling_rate`; `None` for none.
        policy: Gives what files may be opened.
    """

    suffix: ClassVar[str] = SOUNDS
    option: ClassVar[str] = "audio_embedding"

    def __init__(
        self,
        client: ClientAPI,
        collection: Callable[[], Collection],
        ledger: Ledger,
        embedding: Any | None,
        *,
        policy: Callable[[], MediaPolicy],
    ) -> None:
        super().__init__(client, collection, ledger, embedding)
        self._policy = policy
        self._changes = 0

    def content(self, text: str, metadata: Mapping[str, Any]) -> str:  # noqa: ARG002 - its words are no sound
        """Which file is heard, from when to when; with its digest, as a file may change."""
        source = next((metadata[key] for key in (SOURCE, PATH, "uri") if metadata.get(key)), None)
        if modality_of_row(metadata) not in _MODALITIES or metadata.get(WINDOW) is True or source is None:
            return ""
        times = [_seconds(metadata.get(key)) for key in (START_S, END_S)]
        return json.dumps([str(source), *times, metadata.get(FILE_SHA256)])

    def embedded(self, contents: list[str]) -> Sequence[Vector | None]:
        """The unit vector [d] of each sound."""
        vectors: list[Vector | None] = [None] * len(contents)
        for places in pages(range(len(contents)), _BATCH):
            sounds = {place: self._heard(contents[place]) for place in places}
            heard = {place: sound for place, sound in sounds.items() if sound is not None}
            if heard:
                found = unit(self._used.sounds(list(heard.values()))).astype(np.float32)
                for place, vector in zip(heard, found, strict=True):
                    vectors[place] = vector
        return vectors

    def _heard(self, content: str) -> Vector | None:
        source, start, end, _ = json.loads(content)
        rate = self._used.sampling_rate
        try:
            samples = sound_between(source, start, end, rate=rate, policy=self._policy())
        except UnsupportedFormatError as error:  # a film without sound
            logger.debug("nothing is heard: %s", error)
            return None
        except LoadError as error:
            logger.warning("a document is not found by how it sounds: %s", error)
            return None
        is_silent = len(samples) < _SHORTEST_S * rate or float(np.abs(samples).max()) < SILENT
        return None if is_silent else samples

    def rows(self) -> Iterator[list[str]]:
        """The ids of recordings and films, a page at a time."""
        collection = self._main()
        condition: Any = {MODALITY: {"$in": [*_MODALITIES]}}
        for start in counter(0, PAGE):
            with reading(collection.name):
                ids = collection.get(where=condition, limit=PAGE, offset=start, include=[])["ids"]
            if ids:
                yield ids
            if len(ids) < PAGE:
                return

    def sample(self, side: Side, there: StoredVectors | None = None) -> Vector:
        """The unit vectors [n, d] of some sounds of a side; the same array until any sound changes."""
        there = there or self._there()
        if there.collection is None:
            return np.empty((0, 0), dtype=np.float32)
        state = there.collection.id, there.count, self._changes
        kept = self._samples.get(side)
        if kept is None or kept[0] != state:
            listed = listed_ids(there.collection, self._ledger.listed_page)
            ids = (id_ for _, page in listed for id_ in page)
            drawn = nsmallest(SAMPLE_SIZE, ids, key=draw_of)
            known = self._ledger.entries(drawn)
            vectors = there.of([id_ for id_ in drawn if id_ in known and known[id_].side == side])
            stacked = np.stack([*vectors.values()]) if vectors else np.empty((0, 0), dtype=np.float32)
            kept = self._samples[side] = state, stacked
        return kept[1]

    def catch_up(self, count: int | None = None) -> StoredVectors:
        """The vectors there are.

        Args:
            count: The collection's number of rows, if it was just asked for.
        """
        self._ledger.current(count)
        return self._there()

    @contextmanager
    def replacing(self, ids: Sequence[str], vectors: Mapping[str, tuple[str, Vector]]) -> Iterator[None]:
        """Around a change of rows; see `SecondVectors.replacing`."""
        with super().replacing(ids, vectors):
            yield
        self._changes += 1


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
