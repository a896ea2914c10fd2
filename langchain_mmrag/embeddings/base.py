"""An embedding that also takes images: the one idea this package adds to LangChain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from numpy.typing import ArrayLike, NDArray

from langchain_mmrag.embeddings._inputs import (
    checked_images,
    checked_texts,
    chunks,
    excerpt,
    is_one_image,
    opened,
    picture_of,
    text_of,
)
from langchain_mmrag.embeddings._reading_ahead import default_threads, reading_ahead
from langchain_mmrag.errors import EmbeddingError, LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, describe_source
from langchain_mmrag.types import ImageInput

if TYPE_CHECKING:
    from PIL.Image import Image
    from tqdm import tqdm

_QUIET_S = 1.0  # work shorter than this shows no progress bar unless asked to


class TruncatedTextWarning(UserWarning):
    """A text is longer than the model reads; its end did not enter the vector."""


@dataclass(frozen=True)
class ImageFailure:
    """An image that was skipped: its place in the list, its source as shown in messages, and why."""

    index: int
    source: str
    error: LoadError


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Vectors of the images that could be read.

    Attributes:
        vectors: Unit rows [m, d], m <= number of images asked for.
        kept: For each row, the image's place in the list that was passed.
        failures: The images left out; empty with `on_error="raise"`.
    """

    vectors: NDArray[np.float32]
    kept: tuple[int, ...]
    failures: tuple[ImageFailure, ...] = ()


class MultimodalEmbeddings(Embeddings, ABC):
    """Text and images to unit vectors of one space.

    A subclass writes `_encode_texts`, `_encode_images` and `fingerprint`. This class owns batches, order,
    progress, checks, normalising, and lists of Python floats. Images are opened a batch
    ahead, in threads.

    Args:
        batch_size: Inputs per call of the two encoders.
        show_progress: A bar on stderr: always, never, or (None) only for work longer than a second.
        media_policy: What may be opened as an image, and how large it may be.
    """

    # Class-level defaults let a subclass do without calling this constructor.
    batch_size: int = 64
    show_progress: bool | None = None
    media_policy: MediaPolicy = DEFAULT_POLICY
    _dimension: int | None = None
    _reading_threads: int = default_threads()

    def __init__(
        self,
        *,
        batch_size: int = 64,
        show_progress: bool | None = None,
        media_policy: MediaPolicy = DEFAULT_POLICY,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            msg = f"batch_size must be a whole number of at least 1, not {batch_size!r}"
            raise ValueError(msg)
        self.batch_size = batch_size
        self.show_progress = show_progress
        self.media_policy = media_policy

    # --- what a subclass writes -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Names model, checkpoint and preprocessing: equal if, and only if, vectors can be compared."""

    @property
    def has_fixed_weights(self) -> bool:
        """Whether a text has the same vector for good: stores then keep those of the questions asked last.

        Optional; false where weights may change in use, as those of a model in training do.
        """
        return True

    @abstractmethod
    def _encode_texts(self, texts: list[str]) -> ArrayLike:
        """Encode one batch of texts; returns [n, d], not necessarily of unit norm."""

    @abstractmethod
    def _encode_images(self, images: list[Image]) -> ArrayLike:
        """Encode one batch of upright RGB images; returns [n, d], not necessarily of unit norm."""

    def _shrink(self, image: Image) -> Image:
        """Make a just opened image as small as the model needs, so that a batch of photographs stays small.

        Optional; must not change what `_encode_images` returns for it. It runs in several threads at once,
        beside `_encode_images`, which itself never runs twice at once for one call.
        """
        return image

    def _min_side(self) -> int | None:
        """The least shorter side, in pixels, that a JPEG may be decoded to; None to decode it in full."""
        return None

    @property
    def context_length(self) -> int | None:
        """Tokens of a text that the model reads, special ones counted; None if nobody knows.

        A subclass that says so writes `token_counts` too. Long texts are then split, not cut.
        """
        return None

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special ones counted, however long it is.

        Raises:
            NotImplementedError: If this embedding cannot tell.
        """
        checked_texts(texts)
        msg = f"{type(self).__name__} does not count tokens: write token_counts beside its context_length"
        raise NotImplementedError(msg)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Whether the model reads less than the whole of each text."""
        texts, length = checked_texts(texts), self.context_length
        if length is None or not texts:
            return [False] * len(texts)
        return [count > length for count in self.token_counts(texts)]

    # --- vectors as arrays ----------------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """Length d of every vector."""
        if self._dimension is None:
            self._dimension = len(self.embed_query("a picture"))
        return self._dimension

    def embed_texts_array(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Returns:
            Unit rows [n, d] in the order given; [0, d] for no texts.

        Raises:
            TypeError: If one of them is not a `str`.
            EmbeddingError: If the model gives no usable vector for one.
        """
        texts = checked_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        # Texts of like length share a batch, so that little padding is computed; the longest first, so that a
        # batch too large for the memory fails at the start.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = []
        with self._progress(len(texts), "text") as bar:
            for rows in chunks(order, self.batch_size):
                raw = self._encode_texts([texts[i] for i in rows])
                parts.append(self._unit_rows(raw, [f"text {i} ({excerpt(texts[i])})" for i in rows]))
                bar.update(len(rows))
        by_length = np.concatenate(parts)
        vectors = np.empty_like(by_length)
        vectors[order] = by_length
        return vectors

    def embed_images_array(
        self, images: Sequence[ImageInput], *, on_error: Literal["raise", "skip"] = "raise"
    ) -> ImageBatch:
        """Embed images; a few threads open those of the next batch while the model computes.

        In memory are two batches, as small as the model needs them, and one opened image for each thread;
        where an embedding does not make them small, one batch and those. Files are opened one by one.

        Args:
            images: Paths, URLs, data-URIs, bytes, binary files or `PIL.Image`s.
            on_error: What to do about an image that cannot be read: raise, or leave it out and report it.

        Raises:
            LoadError: With `on_error="raise"`, naming the image's place in the list and its source.
            EmbeddingError: If the model gives no usable vector for one.
        """
        if on_error not in {"raise", "skip"}:
            msg = f"on_error must be 'raise' or 'skip', not {on_error!r}"
            raise ValueError(msg)
        return self._embed_images(images, skip=on_error == "skip", place="image {}".format)

    def _embed_images(
        self, images: Sequence[ImageInput], *, skip: bool, place: Callable[[int], str]
    ) -> ImageBatch:
        images = checked_images(images)
        kept: list[int] = []
        failures: list[ImageFailure] = []
        parts = []
        with self._progress(len(images), "image") as bar, self._reading(images) as read:
            for rows in chunks(range(len(images)), self.batch_size):
                opened: dict[int, Image] = {}
                for i in rows:
                    found = next(read)
                    if not isinstance(found, LoadError):
                        opened[i] = found
                    elif skip:
                        # A traceback keeps the frames it passed, and with them half-read images, alive.
                        reason = found.with_traceback(None)
                        failures.append(ImageFailure(i, describe_source(images[i]), reason))
                    else:
                        raise _located(found, place(i), images[i]) from found
                    del found
                if opened:
                    raw = self._encode_images(list(opened.values()))
                    names = [f"{place(i)} ({describe_source(images[i])})" for i in opened]
                    parts.append(self._unit_rows(raw, names))
                kept.extend(opened)
                bar.update(len(rows))
        vectors = np.concatenate(parts) if parts else np.empty((0, self.dimension), dtype=np.float32)
        return ImageBatch(vectors, tuple(kept), tuple(failures))

    def _reading(self, images: Sequence[ImageInput]) -> AbstractContextManager[Iterator[Image | LoadError]]:
        """The images in order, opened and shrunk, or why one cannot be opened."""
        side = self._min_side() if images else None

        def read(index: int) -> Image | LoadError:
            try:
                return self._shrink(opened(images[index], self.media_policy, side))
            except LoadError as error:
                return error

        # One file or lazy picture named twice cannot be read twice at once.
        objects = [id(image) for image in images if not isinstance(image, str | bytes | PathLike)]
        threads = self._reading_threads if len(set(objects)) == len(objects) else 0
        shrinks = type(self)._shrink is not MultimodalEmbeddings._shrink  # noqa: SLF001 - its own
        ahead = max(self.batch_size, threads) if shrinks else threads
        return reading_ahead(len(images), read, threads=threads, ahead=ahead)

    def _unit_rows(self, raw: ArrayLike, names: Sequence[str]) -> NDArray[np.float32]:
        """The encoder's answer as unit rows [len(names), d], checked."""
        who = type(self).__name__
        try:
            vectors = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"{who} gave no array of numbers for {len(names)} inputs: {error}"
            raise EmbeddingError(msg) from error
        if vectors.ndim != 2 or len(vectors) != len(names):  # noqa: PLR2004 - rows and columns
            n = len(names)
            msg = f"{who} gave an array of shape {vectors.shape} for {n} inputs; [{n}, d] was expected"
            raise EmbeddingError(msg)
        if self._dimension is not None and vectors.shape[1] != self._dimension:
            msg = (
                f"{who} gave vectors of {vectors.shape[1]} numbers after vectors of {self._dimension}: "
                "its encoders do not share one space"
            )
            raise EmbeddingError(msg)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
        if bad.size:
            fault = "is zero" if norms[bad[0], 0] == 0 else "holds NaN or infinity"
            msg = (
                f"{names[bad[0]]}: the vector {who} made of it {fault}, so it cannot be compared; check the "
                "model's weights, and use precision='fp32' where it has that setting"
            )
            raise EmbeddingError(msg)
        self._dimension = vectors.shape[1]
        unit: NDArray[np.float32] = (vectors / norms).astype(np.float32)
        return unit

    def _progress(self, total: int, unit: str) -> tqdm[Any]:
        from tqdm import tqdm

        return tqdm(
            total=total,
            desc=f"embedding {unit}s",
            unit=unit,
            disable=self.show_progress is False or total <= 1,
            delay=_QUIET_S if self.show_progress is None else 0,
        )

    # --- vectors as lists of Python floats ------------------------------------------------------------------

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; one list of floats each, in the order given."""
        texts = checked_texts(texts)
        return _as_lists(self.embed_texts_array(texts)) if texts else []

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]

    @overload
    def embed_image(self, image: ImageInput) -> list[float]: ...
    @overload
    def embed_image(self, image: list[Any] | tuple[Any, ...]) -> list[list[float]]: ...
    @overload
    def embed_image(self, *, uris: Sequence[ImageInput]) -> list[list[float]]: ...
    def embed_image(
        self,
        image: ImageInput | Sequence[ImageInput] | None = None,
        *,
        uris: Sequence[ImageInput] | None = None,
    ) -> list[float] | list[list[float]]:
        """Embed one image (one vector) or several (a list of vectors).

        Args:
            image: A path, URL, data-URI, bytes, binary file or `PIL.Image`; or a list of these.
            uris: A list of images, by the keyword LangChain's vector stores use.

        Raises:
            LoadError: If an image cannot be read; the message has its place in the list and its source.
        """
        if (image is None) == (uris is None):
            msg = "embed_image takes one image, a list of images, or uris=[...]: exactly one of them"
            raise TypeError(msg)
        if uris is not None:
            return self.embed_image_list(uris)
        if is_one_image(image):
            return self.embed_image_list([image])[0]  # type: ignore[list-item]
        return self.embed_image_list(image)  # type: ignore[arg-type]

    def embed_image_list(self, images: Sequence[ImageInput]) -> list[list[float]]:
        """Embed images; one list of floats each, in the order given."""
        images = checked_images(images)
        return _as_lists(self.embed_images_array(images).vectors) if images else []

    def embed_content_blocks(self, blocks: Sequence[Mapping[str, object]]) -> list[list[float]]:
        """Embed LangChain content blocks, each as one vector: text blocks and image blocks.

        Raises:
            UnsupportedModalityError: If a block holds neither text nor a picture.
            UnsafeSourceError: If an image block's address is not `http(s)` or a data-URI.
        """
        texts: dict[int, str] = {}
        pictures: dict[int, str] = {}
        for index, block in enumerate(blocks):
            text = text_of(block, index)
            if text is None:
                pictures[index] = picture_of(block, index)
            else:
                texts[index] = text
        vectors = dict(zip(texts, self.embed_documents(list(texts.values())), strict=True))
        if pictures:
            places = [f"content block {index}" for index in pictures]
            batch = self._embed_images(list(pictures.values()), skip=False, place=places.__getitem__)
            vectors.update(zip(pictures, _as_lists(batch.vectors), strict=True))
        return [vectors[index] for index in range(len(vectors))]

    # --- the same without blocking the event loop -----------------------------------------------------------

    async def aembed_texts_array(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts in a worker thread; see `embed_texts_array`."""
        return await run_in_executor(None, self.embed_texts_array, texts)

    async def aembed_images_array(
        self, images: Sequence[ImageInput], *, on_error: Literal["raise", "skip"] = "raise"
    ) -> ImageBatch:
        """Embed images in a worker thread; see `embed_images_array`."""
        return await run_in_executor(None, self.embed_images_array, images, on_error=on_error)

    @overload
    async def aembed_image(self, image: ImageInput) -> list[float]: ...
    @overload
    async def aembed_image(self, image: list[Any] | tuple[Any, ...]) -> list[list[float]]: ...
    @overload
    async def aembed_image(self, *, uris: Sequence[ImageInput]) -> list[list[float]]: ...
    async def aembed_image(self, image: Any = None, *, uris: Any = None) -> list[float] | list[list[float]]:
        """Embed one image or several in a worker thread; see `embed_image`."""
        return await run_in_executor(None, lambda: self.embed_image(image, uris=uris))  # type: ignore[call-overload]

    async def aembed_image_list(self, images: Sequence[ImageInput]) -> list[list[float]]:
        """Embed images in a worker thread; see `embed_image_list`."""
        return await run_in_executor(None, self.embed_image_list, images)

    async def atruncated(self, texts: Sequence[str]) -> list[bool]:
        """Look for cut texts in a worker thread; see `truncated`."""
        return await run_in_executor(None, self.truncated, texts)

    async def aembed_content_blocks(self, blocks: Sequence[Mapping[str, object]]) -> list[list[float]]:
        """Embed content blocks in a worker thread; see `embed_content_blocks`."""
        return await run_in_executor(None, self.embed_content_blocks, blocks)


def _located(error: LoadError, place: str, image: ImageInput) -> LoadError:
    """The same kind of error, its message led by the image's place and its source."""
    source = describe_source(image)
    told = str(error) if source in str(error) else f"{source}: {error}"
    return type(error)(f"{place}: {told}")


def _as_lists(vectors: NDArray[np.float32]) -> list[list[float]]:
    lists: list[list[float]] = vectors.tolist()
    return lists
