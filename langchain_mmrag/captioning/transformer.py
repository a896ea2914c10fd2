"""`CaptionTransformer`: documents with pictures get captions beside them, each picture asked about once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from threading import Lock
from typing import Any, ClassVar, Final, NamedTuple

from langchain_core.documents import BaseDocumentTransformer, Document
from PIL.Image import Image, Resampling

from langchain_mmrag.captioning._giving_up import Streak, told
from langchain_mmrag.captioning._pictures import context_of, known_digest, picture_of
from langchain_mmrag.captioning.base import EachCaptioner, ImageCaptioner, digest_of
from langchain_mmrag.captioning.cache import CaptionCache, default_cache
from langchain_mmrag.embeddings._inputs import chunks
from langchain_mmrag.errors import LoadError, MissingDependencyError, ModelUnavailableError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, describe_source, open_image, read_media
from langchain_mmrag.types import CAPTION, SOURCE, Modality

logger = logging.getLogger(__name__)

_BATCH: Final = 16
_OPEN_SIDE: Final = 2048
"""Pictures wait in memory no larger than this, which no captioner sees the whole of."""


class CaptionFailure(NamedTuple):
    """A picture that got no caption, and why."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CaptionReport:
    """What a transformer did since it was made or `reset`.

    Attributes:
        captioned: Documents that got a caption.
        kept: Documents that had one.
        wordless: Documents whose picture the captioner refused, or had nothing to say about.
        cached: Pictures whose caption was remembered.
        sent: Pictures that were sent to the captioner.
        left_out: Pictures that were not, for `max_images` or because asking was given up.
        failed: Pictures that could not be opened or captioned; `CaptionTransformer.failures` says why.
        stopped: Why asking was given up; `""` if it was not.
    """

    captioned: int = 0
    kept: int = 0
    wordless: int = 0
    cached: int = 0
    sent: int = 0
    left_out: int = 0
    failed: int = 0
    stopped: str = ""


class _Key(NamedTuple):
    """One question to the captioner: a picture, and what is told about it."""

    sha256: str
    context: str


class CaptionTransformer(BaseDocumentTransformer):
    """Gives documents with a picture a caption in words.

    ```python
    captions = CaptionTransformer(ChatModelCaptioner(llm), max_images=500)
    documents = captions.transform_documents(DirectoryLoader("photos").load())
    captions.report
    ```

    A picture, and a moment of film with its frame, gets `metadata["caption"]`, and the caption as its text if
    it has none. Its vector stays that of the picture. Of other documents nothing is changed.

    Captions are remembered by the picture's SHA-256 and the captioner's fingerprint, each as soon as it is
    there: a run that is interrupted goes on where it stopped, and the same picture is paid for once. Refusals
    are remembered too. A picture that fails is left without a caption and the next one asked about, unless
    several in a row are refused for a key or a quota, or very many for any reason.

    Args:
        captioner: What looks at the pictures.
        cache: File of the captions, which several processes may share; by default in the user's cache folder.
            `":memory:"` forgets them with this object.
        overwrite: Replace captions that documents have.
        max_images: Send no more pictures than this to the captioner, over all calls until `reset`;
            remembered captions are free.
        media_policy: What may be opened.
        on_progress: Called after each picture that was asked about, with their number, how many there are in
            this call, and the picture.

    Raises:
        ValueError: If `max_images` is negative.
    """

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "video")
    """Of the documents that are changed."""

    def __init__(
        self,
        captioner: ImageCaptioner,
        *,
        cache: str | PathLike[str] | None = None,
        overwrite: bool = False,
        max_images: int | None = None,
        media_policy: MediaPolicy | None = None,
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        if max_images is not None and max_images < 0:
            msg = f"max_images is {max_images}: use 0 or more, or None for as many as there are"
            raise ValueError(msg)
        self.captioner = captioner
        self.overwrite = overwrite
        self.max_images = max_images
        self.media_policy = media_policy or DEFAULT_POLICY
        self.on_progress = on_progress
        self._cache = CaptionCache(default_cache() if cache is None else cache)
        self._lock = Lock()
        self.reset()

    def reset(self) -> None:
        """Begin a new count of what is sent and reported; captions stay remembered."""
        self.failures: list[CaptionFailure] = []
        self._unfinished: dict[str, set[str]] = {}  # by source, the documents
        self._unopened: set[_Key] = set()
        self._counts: Counter[str] = Counter()
        self._streak = Streak()

    @property
    def fingerprint(self) -> str:
        """What captions depend on besides the pictures: an index with another one reads its files anew."""
        return f"captions:{self.captioner.fingerprint}{':overwrite' if self.overwrite else ''}"

    @property
    def unfinished(self) -> set[str]:
        """`source` of the documents whose picture was left out, or failed though it opens.

        Another run may caption them; those that it did are no longer here.
        """
        return {source for source, documents in self._unfinished.items() if documents}

    @property
    def report(self) -> CaptionReport:
        """What was done so far."""
        return CaptionReport(**self._counts, failed=len(self.failures), stopped=self._streak.reason)

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:
        """The documents in their order, copies where there is a caption to add.

        Args:
            documents: Of any kind.
            **kwargs: None are known; LangChain's signature has them.

        Raises:
            MMRAGError: If the captioner's model cannot be had, or the cache is broken.
        """
        if kwargs:
            msg = f"transform_documents takes no {', '.join(kwargs)}: options go to CaptionTransformer"
            raise TypeError(msg)
        given = list(documents)
        with (
            self._lock
        ):  # one at a time: the same picture must not be asked about twice, nor too many be sent
            wanted, sources = self._wanted(given)
            captions = self._captions(sources)
            self._note_unfinished(given, wanted, captions)
            return [
                self._captioned(document, captions.get(wanted[place])) if place in wanted else document
                for place, document in enumerate(given)
            ]

    # --- what is to be asked --------------------------------------------------------------------------------

    def _wanted(self, documents: Sequence[Document]) -> tuple[dict[int, _Key], dict[_Key, str]]:
        """By a document's place what to ask for it, and where the picture of each question lies."""
        near = {str(document.id): document for document in documents} if self._uses_context else {}
        wanted: dict[int, _Key] = {}
        sources: dict[_Key, str] = {}
        for place, document in enumerate(documents):
            source = picture_of(document.metadata)
            if source is None:
                continue
            if document.metadata.get(CAPTION) and not self.overwrite:
                self._counts["kept"] += 1
                continue
            try:
                digest = known_digest(document.metadata) or self._read(source)[0]
            except LoadError as error:
                self._failed(source, error)
                continue
            key = _Key(digest, context_of(document, near) if self._uses_context else "")
            wanted[place] = key
            sources.setdefault(key, source)
        return wanted, sources

    @property
    def _uses_context(self) -> bool:
        return isinstance(self.captioner, EachCaptioner) and self.captioner.uses_context

    def _captions(self, sources: Mapping[_Key, str]) -> dict[_Key, str]:
        """The captions that are remembered, and those that can be had."""
        known = self._cache.get(self._cache_key(key) for key in sources)
        captions = {key: known[self._cache_key(key)] for key in sources if self._cache_key(key) in known}
        self._counts["cached"] += len(captions)
        missing = [key for key in sources if key not in captions]
        room = len(missing) if self.max_images is None else max(0, self.max_images - self._counts["sent"])
        asked = [] if self._streak.reason else missing[:room]
        done = 0
        for places in chunks(range(len(asked)), getattr(self.captioner, "batch_size", _BATCH)):
            if self._streak.reason:
                break
            for key, caption in self._ask({asked[place]: sources[asked[place]] for place in places}):
                done += 1
                if caption is not None:
                    captions[key] = caption
                if self.on_progress is not None:
                    self.on_progress(done, len(asked), describe_source(sources[key]))
        self._leave_out(len(missing) - done)
        return captions

    def _leave_out(self, count: int) -> None:
        if count:
            self._counts["left_out"] += count
            why = self._streak.reason or f"max_images={self.max_images} is reached"
            logger.warning("%d pictures are left without a caption: %s", count, why)

    def _cache_key(self, key: _Key) -> tuple[str, str]:
        about = f":about-{digest_of(key.context)}" if key.context else ""
        return key.sha256, f"{self.captioner.fingerprint}{about}"

    # --- asking ---------------------------------------------------------------------------------------------

    def _ask(self, sources: Mapping[_Key, str]) -> Iterator[tuple[_Key, str | None]]:
        """Each picture's caption, as it is made and remembered; `None` for one that failed."""
        images: dict[_Key, Image] = {}
        digests: dict[_Key, str] = {}
        for key, source in sources.items():
            try:
                digests[key], data = self._read(source)
                images[key] = _bounded(open_image(data, self.media_policy))
            except LoadError as error:
                self._failed(source, error)
                self._unopened.add(key)
                yield key, None
        keys = [*images]
        for place, outcome in self._told([*images.values()], [key.context for key in keys]):
            key = keys[place]
            self._counts["sent"] += 1
            if isinstance(outcome, Exception):
                self._streak.failed(outcome)
                self._failed(sources[key], outcome)
                yield key, None
                if self._streak.reason:
                    return  # which cancels what has not been sent
                continue
            self._streak.succeeded()
            # under the digest of what was sent: the file may have changed since its document was made
            self._cache.put(*self._cache_key(key._replace(sha256=digests[key])), outcome)
            yield key, outcome

    def _told(self, images: list[Image], contexts: list[str]) -> Iterator[tuple[int, str | Exception]]:
        """Captions or errors by place; an error that is the model's, not a picture's, is raised."""
        if isinstance(self.captioner, EachCaptioner):
            outcomes = self.captioner.caption_each(images, contexts)
        else:
            outcomes = _one_by_one_if_need_be(self.captioner, images)
        for place, outcome in outcomes:
            if isinstance(outcome, ModelUnavailableError | MissingDependencyError):
                raise outcome
            yield place, outcome

    def _read(self, source: str) -> tuple[str, bytes]:
        """SHA-256 and bytes of a picture."""
        data = read_media(source, self.media_policy)
        return sha256(data).hexdigest(), data

    def _failed(self, source: str, error: Exception) -> None:
        failure = CaptionFailure(describe_source(source), told(error))
        logger.warning("no caption for %s: %s", *failure)
        self.failures.append(failure)

    # --- what comes of it -----------------------------------------------------------------------------------

    def _note_unfinished(
        self, documents: Sequence[Document], wanted: Mapping[int, _Key], captions: Mapping[_Key, str]
    ) -> None:
        for place, key in wanted.items():
            document = documents[place]
            waiting = self._unfinished.setdefault(str(document.metadata.get(SOURCE)), set())
            is_done = key in captions or key in self._unopened
            (waiting.discard if is_done else waiting.add)(document.id or key.sha256)

    def _captioned(self, document: Document, caption: str | None) -> Document:
        if not caption:
            self._counts["wordless"] += caption is not None
            return document
        self._counts["captioned"] += 1
        text = document.page_content
        is_caption = not text.strip() or text == document.metadata.get(CAPTION)
        metadata = {**document.metadata, CAPTION: caption}
        return document.model_copy(
            update={"page_content": caption if is_caption else text, "metadata": metadata}
        )


def _bounded(image: Image) -> Image:
    image.thumbnail((_OPEN_SIDE, _OPEN_SIDE), Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _one_by_one_if_need_be(
    captioner: ImageCaptioner, images: list[Image]
) -> Iterator[tuple[int, str | Exception]]:
    """Captions of a batch; if it fails, of its pictures one at a time, so that one cannot cost the others."""
    try:
        captions = captioner.caption(images)
    except Exception as error:  # noqa: BLE001 - a captioner may be anybody's: its error becomes this picture's
        if len(images) == 1 or isinstance(error, ModelUnavailableError | MissingDependencyError):
            yield 0, error
            return
        for place, image in enumerate(images):
            for _, outcome in _one_by_one_if_need_be(captioner, [image]):
                yield place, outcome
        return
    if len(captions) != len(images):
        msg = f"{type(captioner).__name__} gave {len(captions)} captions for {len(images)} pictures"
        raise ValueError(msg)
    yield from enumerate(captions)
