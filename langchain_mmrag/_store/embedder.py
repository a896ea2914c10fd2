"""One face for every embedding: for text only, this package's, and any with `embed_image(uris=...)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from langchain_mmrag._store.pictures import Picture
from langchain_mmrag._store.query_cache import QueryCache
from langchain_mmrag.embeddings.base import ImageFailure, MultimodalEmbeddings
from langchain_mmrag.errors import EmbeddingError, LoadError, UnsupportedModalityError
from langchain_mmrag.text_splitters import CLIPTextSplitter, Span

Vectors: TypeAlias = NDArray[np.float32]

_MODEL_NAMES = ("model_name", "model", "checkpoint", "model_id")
_BATCH = 256
_LONG_CHARS = 2**13  # a text of more is hardly read whole: it is not worth counting it as one


class Embedder:
    """Vectors as arrays, of whatever embedding a store was given."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding
        self._splitter: CLIPTextSplitter | None = None
        self._queries = QueryCache()

    @property
    def name(self) -> str:
        """Tells embeddings apart: their `fingerprint`, else their class and the model it is told to use."""
        fingerprint = getattr(self._embedding, "fingerprint", None)
        if isinstance(fingerprint, str):
            return fingerprint
        kind = type(self._embedding)
        models = [getattr(self._embedding, name, None) for name in _MODEL_NAMES]
        return ":".join(
            [f"{kind.__module__}.{kind.__qualname__}", *(m for m in models if isinstance(m, str))]
        )

    @property
    def opens_files_itself(self) -> bool:
        """Whether it reads the paths it is given by means of its own, which nothing here holds in check."""
        return not isinstance(self._embedding, MultimodalEmbeddings)

    @property
    def shrinks(self) -> bool:
        """Whether it makes pictures small before it embeds them, so that many may wait."""
        kind = type(self._embedding)
        return isinstance(self._embedding, MultimodalEmbeddings) and (
            kind._shrink is not MultimodalEmbeddings._shrink  # noqa: SLF001 - one package
        )

    def min_side(self) -> int | None:
        """The least shorter side, in pixels, that it needs of a JPEG; `None` for the whole of it."""
        side: int | None = self._embedding._min_side()  # noqa: SLF001 - one package
        return side

    def shrunk(self, image: Image) -> Image:
        """An upright RGB picture as small as it is needed; the vector is the same. For several threads."""
        small: Image = self._embedding._shrink(image)  # noqa: SLF001
        return small

    @property
    def takes_pictures(self) -> bool:
        """Whether it embeds more than text."""
        return callable(getattr(self._embedding, "embed_image", None))

    def query(self, text: str) -> Vectors:
        """The vector [d] of a text that is asked for; those of the last texts are kept, see `QueryCache`."""
        return self._queries.get(self._embedding, text, self._query)

    def _query(self, text: str) -> Vectors:
        vector: Vectors = self._rows([self._embedding.embed_query(text)], 1)[0]
        return vector

    def texts(self, texts: list[str]) -> Vectors:
        """The vectors [n, d] of texts that are stored."""
        if isinstance(self._embedding, MultimodalEmbeddings):
            return self._embedding.embed_texts_array(texts)
        return self._rows(self._embedding.embed_documents(texts), len(texts))

    def sounds(self, sounds: Sequence[Vectors]) -> Vectors:
        """The vectors [n, d] of sounds, each of samples [m] at `sampling_rate`."""
        return self._rows(self._embedding.embed_audio(sounds), len(sounds))

    @property
    def sampling_rate(self) -> int:
        """Samples a second of the sounds that it hears."""
        return int(self._embedding.sampling_rate)

    @property
    def can_split(self) -> bool:
        """Whether it says how many tokens it reads, so that no text need be cut."""
        return (
            isinstance(self._embedding, MultimodalEmbeddings) and self._embedding.context_length is not None
        )

    def windows(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where the windows lie in each text that is longer than the model reads; none in others."""
        if self._splitter is None:
            self._splitter = CLIPTextSplitter(self._embedding)
        # The splitter counts word by word, and would find out about each short text on its own.
        few = [text for text in texts if len(text) <= _LONG_CHARS]
        cut = iter(self.truncated(few))
        is_long = [len(text) > _LONG_CHARS or next(cut) for text in texts]
        return [self._splitter.spans(text) if long else [] for text, long in zip(texts, is_long, strict=True)]

    def truncated(self, texts: list[str]) -> list[bool]:
        """Whether each text is longer than the model reads; an embedding that cannot tell says no."""
        if isinstance(self._embedding, MultimodalEmbeddings):
            return self._embedding.truncated(texts)
        return [False] * len(texts)

    def image(self, picture: Picture) -> Vectors:
        """The vector [d] of one picture.

        Raises:
            LoadError: If it cannot be read.
            UnsupportedModalityError: If the embedding takes no pictures.
        """
        vectors, failures = self._batch([picture])
        if failures:
            raise _innermost(failures[0].error)
        vector: Vectors = vectors[0]
        return vector

    def images(
        self, pictures: Sequence[Picture], on_failure: Callable[[int, LoadError], None]
    ) -> dict[int, Vectors]:
        """The vector [d] of each picture that can be read, by its place in the list.

        Args:
            pictures: Read one batch at a time.
            on_failure: Told the place and the error of the others; may raise to stop there.

        Raises:
            UnsupportedModalityError: If the embedding takes no pictures.
        """
        vectors: dict[int, Vectors] = {}
        for start in range(0, len(pictures), _BATCH):
            batch = pictures[start : start + _BATCH]
            found, failures = self._batch(batch)
            for failure in failures:
                on_failure(start + failure.index, _innermost(failure.error))
            failed = {failure.index for failure in failures}
            kept = (start + index for index in range(len(batch)) if index not in failed)
            vectors.update(zip(kept, found, strict=True))
        return vectors

    def _batch(self, pictures: Sequence[Picture]) -> tuple[Vectors, Sequence[ImageFailure]]:
        if isinstance(self._embedding, MultimodalEmbeddings):
            found = self._embedding.embed_images_array(cast("Any", pictures), on_error="skip")
            return found.vectors, found.failures
        if not callable(getattr(self._embedding, "embed_image", None)):
            msg = (
                f"{type(self._embedding).__name__} embeds text only, and {pictures[0].name} is a picture: "
                "use an embedding that takes both, such as OpenCLIPEmbeddings"
            )
            raise UnsupportedModalityError(msg)
        failures: list[ImageFailure] = []
        with ExitStack() as files:
            uris = list(_as_files(pictures, failures, files))
            vectors = self._rows(self._embedding.embed_image(uris=uris), len(uris)) if uris else _nothing()
        return vectors, failures

    def _rows(self, vectors: Any, rows: int) -> Vectors:
        try:
            array = np.asarray(vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            msg = f"{type(self._embedding).__name__} gave no array of numbers for {rows} inputs: {error}"
            raise EmbeddingError(msg) from error
        if array.ndim != 2 or len(array) != rows or not np.isfinite(array).all():  # noqa: PLR2004 - rows, columns
            msg = (
                f"{type(self._embedding).__name__} gave an array of shape {array.shape} for {rows} inputs; "
                f"[{rows}, d] finite numbers were expected"
            )
            raise EmbeddingError(msg)
        return array


def _as_files(pictures: Sequence[Picture], failures: list[ImageFailure], files: ExitStack) -> Iterator[str]:
    """A path of each readable picture; of one without a file, that of a temporary copy."""
    folder: Path | None = None
    for index, picture in enumerate(pictures):
        try:
            data = picture.read_all()
        except LoadError as error:
            failures.append(ImageFailure(index, picture.name, error))
            continue
        if picture.is_local:
            yield str(picture.source)
            continue
        folder = folder or Path(files.enter_context(TemporaryDirectory(prefix="mmrag_")))
        copy = folder / f"{index}{picture.suffix}"
        copy.write_bytes(data)
        yield str(copy)


def _nothing() -> Vectors:
    return np.empty((0, 0), dtype=np.float32)


def _innermost(error: LoadError) -> LoadError:
    """What `Picture` raised: who reads from it may have taken that for trouble with a file and said so."""
    while isinstance(error.__cause__, LoadError):
        error = error.__cause__
    return error
