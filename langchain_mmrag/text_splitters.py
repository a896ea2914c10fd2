"""Long texts as windows that a text tower reads whole, cut where people would cut."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

from langchain_core.documents import Document
from langchain_text_splitters import TextSplitter

from langchain_mmrag._pieces import Boundary, Piece, finer, pieces
from langchain_mmrag.embeddings.base import MultimodalEmbeddings
from langchain_mmrag.types import modality_of

Span: TypeAlias = tuple[int, int]

_WORDS_REPEATED: Final = 0.15
_SENTENCES_REPEATED: Final = 1 / 3
_SMALLEST_ROOM: Final = 4  # tokens: what one character may take
_FINER: Final = (4, 1, 0)  # characters of the parts of a piece that has too many tokens
_MOST_KNOWN: Final = 50_000  # pieces whose tokens are remembered


class CLIPTextSplitter(TextSplitter):
    """Split texts into windows of no more tokens than an embedding reads, counted by its own tokenizer.

    CLIP reads 77 tokens and leaves out the rest. A window ends with a paragraph, if that fills half of it, or
    with a sentence, a clause, a word, in this order; inside a word only where the word is longer than a
    window. No sentence that fits into a window is cut. Within a paragraph a window repeats the last short
    sentences of the one before, after a cut inside a sentence the last words; it never begins with the rest
    of a sentence that was whole, as the first words of a window count most in its vector.

    Windows come in the order of the text and leave out nothing but white space between them; a blank text has
    none. Scripts without spaces are cut at their own marks, then between characters; accents stay with their
    letter and joined emoji together. Time grows with the length of the text, whatever is in it.

    Args:
        embedding: Counts the tokens, and says how many it reads.
        chunk_size: Tokens of a window, special ones counted; by default all that the embedding reads.
        chunk_overlap: At most so many tokens are repeated in the next window; by default those of whole
            sentences in a third of a window, or of words in 15 %.
        length_function: Counts tokens in place of an embedding; goes with `chunk_size`.
        add_start_index: Put each window's place in the text into `metadata["start_index"]`.

    Raises:
        ValueError: If the embedding cannot count, or the sizes make no sense.

    Example:
        ```python
        splitter = CLIPTextSplitter(OpenCLIPEmbeddings())
        windows = splitter.split_documents(documents)
        ```
    """

    def __init__(
        self,
        embedding: MultimodalEmbeddings | None = None,
        *,
        chunk_size: int | None = None,
        chunk_overlap: int | None = None,
        length_function: Callable[[str], int] | None = None,
        add_start_index: bool = False,
    ) -> None:
        if (embedding is None) == (length_function is None):
            msg = "CLIPTextSplitter takes an embedding or a length_function: exactly one of them"
            raise ValueError(msg)
        self._embedding = embedding
        self._count = length_function or _counter(embedding)
        size = _checked_size(chunk_size, embedding)
        specials = self._count("")
        self._room = size - specials
        if self._room < _SMALLEST_ROOM:
            msg = f"chunk_size={size} leaves no room for text: use at least {specials + _SMALLEST_ROOM}"
            raise ValueError(msg)
        given = chunk_overlap is not None
        overlap = round(_WORDS_REPEATED * self._room) if chunk_overlap is None else chunk_overlap
        if overlap > self._room // 2:
            msg = f"chunk_overlap={overlap} is more than half of a window: use at most {self._room // 2}"
            raise ValueError(msg)
        super().__init__(
            chunk_size=size,
            chunk_overlap=overlap,
            length_function=self._count,
            add_start_index=add_start_index,
        )
        self._repeat = overlap if given else round(_SENTENCES_REPEATED * self._room)
        self._specials = specials
        self._known: dict[str, int] = {}

    def spans(self, text: str) -> list[Span]:
        """Where the windows lie: `text[start:end]` is one, without white space at its ends."""
        if not isinstance(text, str):
            msg = f"expected a text, not {type(text).__name__}"  # type: ignore[unreachable]
            raise TypeError(msg)
        sizes = _Sizes(self._room, self._repeat, self._chunk_overlap)
        return list(_Plan(text, self._measured(text), sizes, self._too_many).spans())

    def split_text(self, text: str) -> list[str]:
        """The windows of a text, in its order."""
        return [text[start:end] for start, end in self.spans(text)]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """A document for each window of each text, with the text's metadata."""
        documents = []
        for text, metadata in zip(texts, metadatas or [{}] * len(texts), strict=True):
            for start, end in self.spans(text):
                own = copy.deepcopy(metadata)
                if self._add_start_index:
                    own["start_index"] = start
                documents.append(Document(page_content=text[start:end], metadata=own))
        return documents

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """A document for each window of each document; pictures stay as they are, caption and all."""
        split: list[Document] = []
        for document in documents:
            if modality_of(document.metadata) == "image":
                split.append(document)
            else:
                split += self.create_documents([document.page_content], [document.metadata])
        return split

    def _too_many(self, window: str) -> int:
        """By how many tokens a window is too long; below 1 if it fits."""
        return self._count(window) - self._specials - self._room

    def _measured(self, text: str) -> list[tuple[Piece, int]]:
        """Pieces of at most half a window, with their tokens, as far as they can be cut."""
        measured = self._with_tokens(text, list(pieces(text)))
        for size in _FINER:
            most = self._room // 2 if size else self._room
            if all(tokens <= most for _, tokens in measured):
                break
            heavy = [part for piece, n in measured if n > most for part in finer(text, piece, size)]
            parts = iter(self._with_tokens(text, heavy))
            cut: list[tuple[Piece, int]] = []
            for piece, tokens in measured:
                if tokens <= most:
                    cut.append((piece, tokens))
                    continue
                while True:
                    part = next(parts)
                    cut.append(part)
                    if part[0].end == piece.end:
                        break
            measured = cut
        return measured

    def _with_tokens(self, text: str, parts: Sequence[Piece]) -> list[tuple[Piece, int]]:
        words = [text[part.start : part.end] for part in parts]
        known = self._known
        unknown = [word for word in dict.fromkeys(words) if word not in known]
        if len(known) + len(unknown) > _MOST_KNOWN:
            known = {word: known[word] for word in set(words) if word in known}  # others may read the old one
        # At least one each, as a window of pieces that count for nothing would have no end.
        counts = (max(1, count - self._specials) for count in self._counts(unknown))
        known.update(zip(unknown, counts, strict=True))
        self._known = known
        return [(part, known[word]) for part, word in zip(parts, words, strict=True)]

    def _counts(self, words: list[str]) -> list[int]:
        if self._embedding is None:
            return [self._count(word) for word in words]
        return self._embedding.token_counts(words) if words else []


class _Sizes(NamedTuple):
    """In tokens: of a window, of whole sentences that may be repeated, of words that may be."""

    room: int
    sentences: int
    words: int


class _Plan:
    """Where to cut one text.

    Args:
        text: The text.
        measured: Its pieces and their tokens, which add up but for little.
        sizes: Of windows and of what is repeated.
        too_many: By how many tokens a window really is too long.
    """

    def __init__(
        self,
        text: str,
        measured: Sequence[tuple[Piece, int]],
        sizes: _Sizes,
        too_many: Callable[[str], int],
    ) -> None:
        self.text = text
        self.pieces = [piece for piece, _ in measured]
        self.sums = [0, *accumulate(tokens for _, tokens in measured)]
        self.sizes = sizes
        self.room = sizes.room
        self.too_many = too_many

    def spans(self) -> Iterator[Span]:
        """The windows: each ends after the one before it."""
        first = done = 0
        while done < len(self.pieces):
            first, done = self._window(first, done)
            yield self._span(first, done)
            first = self._next_start(first, done)

    def _window(self, first: int, done: int) -> tuple[int, int]:
        """First and last (exclusive) piece of a window that takes in more than the first `done` pieces."""
        room = self.room
        while True:
            last = self._cut(first, done, room)
            start, end = self._span(first, last)
            excess = self.too_many(self.text[start:end])
            if excess <= 0 or last == first + 1:
                return first, last
            if last == done + 1:
                first, room = done, self.room  # what is repeated leaves no room for anything new
            else:
                room = min(room, self.sums[last] - self.sums[first]) - excess

    def _cut(self, first: int, done: int, room: int) -> int:
        """Where to end a window that begins with piece `first`: the piece before which it is cut."""
        limit = self.sums[first] + room
        last = max(bisect_right(self.sums, limit) - 1, done + 1)
        if last >= len(self.pieces):
            return len(self.pieces)
        half = min(max(bisect_left(self.sums, self.sums[first] + room / 2), done + 1), last)
        if paragraph := self._last(Boundary.PARAGRAPH, half, last):
            return paragraph
        for level in (Boundary.SENTENCE, Boundary.CLAUSE, Boundary.WORD):
            cut = self._last(level, done + 1, last)
            # A short window is worth it only if what follows is then whole.
            if cut and (cut >= half or (level != Boundary.CLAUSE and self._fits(level, cut))):
                return cut
        return last

    def _last(self, level: Boundary, low: int, high: int) -> int:
        """The last place from `low` to `high` with such a boundary or a better one; 0 if there is none."""
        return next((at for at in range(high, low - 1, -1) if self.pieces[at - 1].after >= level), 0)

    def _end(self, level: Boundary, start: int) -> int:
        """Where the sentence or word that begins with a piece ends, looking no further than a window."""
        stop = min(bisect_right(self.sums, self.sums[start] + self.room), len(self.pieces))
        return next((at for at in range(start + 1, stop + 1) if self.pieces[at - 1].after >= level), stop)

    def _fits(self, level: Boundary, start: int) -> bool:
        return self.sums[self._end(level, start)] - self.sums[start] <= self.room

    def _next_start(self, first: int, last: int) -> int:
        """The piece the next window begins with: some way back, unless a paragraph ended."""
        cut_at = self.pieces[last - 1].after
        if cut_at == Boundary.PARAGRAPH:
            return last
        whole = cut_at == Boundary.SENTENCE
        ahead = self.sums[self._end(Boundary.SENTENCE, last)] - self.sums[last]
        spare = self.room - ahead if ahead <= self.room else self.room
        repeated = min(self.sizes.sentences if whole else self.sizes.words, spare)
        earliest = max(bisect_left(self.sums, self.sums[last] - repeated), first + 1)
        for level in (Boundary.SENTENCE,) if whole else (Boundary.SENTENCE, Boundary.CLAUSE, Boundary.WORD):
            for at in range(earliest, last):
                if self.pieces[at - 1].after >= level:
                    return at
        # Inside a word: of a word that goes on, and of scripts without spaces.
        return earliest if cut_at == Boundary.INSIDE_WORD else last

    def _span(self, first: int, last: int) -> Span:
        return self.pieces[first].start, self.pieces[last - 1].end


def _counter(embedding: MultimodalEmbeddings | None) -> Callable[[str], int]:
    def count(text: str) -> int:
        return embedding.token_counts([text])[0] if embedding is not None else 0

    return count


def _checked_size(size: int | None, embedding: MultimodalEmbeddings | None) -> int:
    reads = None if embedding is None else embedding.context_length
    if embedding is not None and reads is None:
        msg = (
            f"{type(embedding).__name__} does not say how many tokens it reads: give it context_length and "
            "token_counts, or give the splitter a length_function and chunk_size"
        )
        raise ValueError(msg)
    if size is None and reads is None:
        msg = "a length_function needs a chunk_size: how many tokens a window may have"
        raise ValueError(msg)
    if size is not None and reads is not None and size > reads:
        msg = f"chunk_size={size} is more than the {reads} tokens the embedding reads: its end would be lost"
        raise ValueError(msg)
    return size if size is not None else reads or 0
