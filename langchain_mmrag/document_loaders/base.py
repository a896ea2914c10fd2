"""What loaders of files have in common: a file is opened once, its parts become documents one by one.

A format's loader writes one method, `parts`, which yields a `Part` for each page, row, figure or moment. Ids,
the digest of the file, the pictures taken out of it and what could not be read are the base's business.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag._cache import default_media_directory
from langchain_mmrag.document_loaders._ids import file_document_id, source_of
from langchain_mmrag.errors import CorruptMediaError, LoadError, MissingDependencyError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, image_facts, open_local, read_media
from langchain_mmrag.types import (
    FILE_SHA256,
    HEIGHT,
    LOADER,
    MIME_TYPE,
    MODALITY,
    NEAR_ID,
    PARENT_ID,
    PART,
    PARTS,
    PATH,
    SHA256,
    SOURCE,
    WIDTH,
    Modality,
)

logger = logging.getLogger(__name__)

_CHUNK: Final = 2**20
_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_STEM: Final = 40
_STAMPED: Final = frozenset((SOURCE, FILE_SHA256, PART, PARTS, LOADER, MODALITY))
"""What a loader says of its documents: nothing that a file holds takes the place of it."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One document of a file, before it is told where it is from.

    Attributes:
        text: What a model can read: passage, row, transcript, caption, or `""`.
        modality: Of the document.
        metadata: What is particular to it: `page`, `start_s`, `bbox` and so on; scalars and lists of them.
            What every document has (`source`, `modality`, `part` and so on) is not for it to say.
        key: Tells it from the other parts of the file, the same in every run; its number by default. One
            that comes again gets a number after it.
        parent: Key of the part that this one repeats in part: in results both count as one.
        near: Key of the part whose text stands nearest to it: of a figure, the page or passage around it.
    """

    text: str = ""
    modality: Modality = "text"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    parent: str | None = None
    near: str | None = None


class SourceFile:
    """A file that is being loaded, opened under a policy.

    Attributes:
        source: Absolute path, as it goes into `metadata["source"]`.
        sha256: Of the file's bytes.
        policy: What may be opened.
        problems: What could not be read of it, though the rest could.
        shows: Paths of other files that it shows or would show, were they there: when one of them changes,
            an index reads the file anew.
    """

    def __init__(self, source: str, policy: MediaPolicy, pictures: Path) -> None:
        self.source = source
        self.policy = policy
        self.problems: list[LoadError] = []
        self.shows: set[str] = set()
        with open_local(source, policy) as file:
            self.sha256 = file_sha256(file)
            if not file.tell():
                msg = f"{source} is empty: there is nothing to index"
                raise CorruptMediaError(msg)
        self.pictures = pictures_folder(pictures, source, self.sha256)

    @property
    def path(self) -> Path:
        """Where it lies. To read it, prefer `open` or `read`, which keep to the policy."""
        return Path(self.source)

    def open(self) -> BinaryIO:
        """The file, open to be read a piece at a time, whatever its size; unbuffered.

        Raises:
            LoadError: If it cannot be read any more.
        """
        return open_local(self.source, self.policy)

    def read(self) -> bytes:
        """All of its bytes, up to `policy.max_bytes`.

        Raises:
            UnsafeSourceError: If it is larger.
        """
        return read_media(self.source, self.policy)

    def problem(self, message: str) -> None:
        """Report what cannot be read of the file while the rest of it can.

        Args:
            message: What and why, such as `page 7 cannot be read: ...`; the file's name is put before it.
        """
        error = CorruptMediaError(f"{self.source}: {message}")
        logger.warning("%s", error)
        self.problems.append(error)

    def keep_picture(self, picture: Image.Image | bytes, name: str) -> dict[str, Any]:
        """Keep a picture that was taken out of the file, as a file of its own.

        Args:
            picture: Encoded bytes in a format that `open_image` reads (kept as they are), or pixels (kept as
                PNG, or JPEG where that is a third smaller).
            name: Tells it from the other pictures of the file, such as `page-3-figure-1`.

        Returns:
            Metadata that says what it is: `path`, `mime_type`, `width`, `height` and its own `sha256`.

        Raises:
            LoadError: If the bytes are no picture that can be read.
        """
        data = _encoded(picture) if isinstance(picture, Image.Image) else picture
        facts = image_facts(data, self.policy)
        suffix = facts.mime_type.rpartition("/")[2].removesuffix("+xml").replace("jpeg", "jpg")
        path = self.pictures / f"{_UNSAFE.sub('-', name)}.{suffix}"
        self.pictures.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{id(data)}")  # whole files only
        partial.write_bytes(data)
        partial.replace(path)
        return {
            PATH: str(path),
            MIME_TYPE: facts.mime_type,
            WIDTH: facts.width,
            HEIGHT: facts.height,
            SHA256: facts.sha256,
        }


class FileLoader(BaseLoader):
    """Base of the loaders of one local file.

    Every document has `source` and, if the file has several, `part` (from 0) and the file's `file_sha256`;
    the last one also `parts`, their number, by which a later run sees that all of them are there.

    What is broken in the middle of a file does not cost the rest: it is told in `problems`.

    Args:
        path: The file.
        media_policy: What may be opened.
        media_directory: Where pictures taken out of the file go; see `default_media_directory`.

    Attributes:
        problems: What could not be read of the file in the last run, though the rest could.
        shows: Paths of other files that it showed in the last run, or would have, were they there.
    """

    name: ClassVar[str]
    """Of the format and the version of what is made of it, such as `pdf` or `pdf2`; part of `fingerprint`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        media_policy: MediaPolicy | None = None,
        media_directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self.source = source_of(path)
        self.media_policy = media_policy or DEFAULT_POLICY
        self.media_directory = Path(media_directory) if media_directory else default_media_directory()
        self.problems: list[LoadError] = []
        self.shows: set[str] = set()

    @property
    def fingerprint(self) -> str:
        """What the documents depend on besides the file: a loader with another one reads the file anew.

        A loader adds those of its options that change what comes out and that it was given.
        """
        return self.name

    @abstractmethod
    def parts(self, file: SourceFile) -> Iterator[Part]:
        """Yield the documents of the file in its order, without keeping more of it than it must.

        An error raised before the first part means that the file cannot be read. Later ones are reported
        with the documents so far kept; better, report them by `file.problem` and go on.

        Raises:
            LoadError: If the file cannot be read.
        """

    def open_source(self) -> SourceFile:
        """The file to read.

        Raises:
            LoadError: If it cannot be read at all, is empty, or the policy refuses it.
        """
        return SourceFile(self.source, self.media_policy, self.media_directory)

    def lazy_load(self) -> Iterator[Document]:
        """Yield the documents in the order of the file.

        Raises:
            LoadError: If the file cannot be read at all, is empty, or the policy refuses it.
        """
        file = self.open_source()
        fingerprint = self.fingerprint
        file.pictures = pictures_folder(self.media_directory, file.source, file.sha256, fingerprint)
        file.shows = self.shows = set()
        self.problems = file.problems
        waiting: Document | None = None
        number = 0
        keys = _Keys()
        for number, part in enumerate(_until_broken(self.parts(file), file)):
            if waiting is not None:
                yield waiting
            key = keys.unique(str(number) if part.key is None else part.key)
            waiting = _document(part, key, file)
            waiting.metadata |= {PART: number, **({LOADER: fingerprint} if fingerprint else {})}
        if waiting is None:
            if file.problems:
                raise file.problems[0]
            msg = f"{self.source} holds nothing that can be indexed"
            raise CorruptMediaError(msg)
        if number == 0:  # a file of one document says so by having no parts
            del waiting.metadata[PART]
        else:
            waiting.metadata[PARTS] = number + 1
        yield waiting


def _document(part: Part, key: str, file: SourceFile) -> Document:
    def id_of(key: str) -> str:
        return file_document_id(file.source, file.sha256, key)

    own = {name: _whole(value) for name, value in part.metadata.items() if name not in _STAMPED}
    metadata = {SOURCE: file.source, **own, FILE_SHA256: file.sha256}
    if part.modality != "text":
        metadata = {MODALITY: part.modality, **metadata}
    if part.parent is not None:
        metadata[PARENT_ID] = id_of(part.parent)
    if part.near is not None:
        metadata[NEAR_ID] = id_of(part.near)
    return Document(id=id_of(key), page_content=_whole(part.text), metadata=metadata)


def _whole(value: Any) -> Any:
    """Text without halves of characters (lone surrogates), which no store keeps; anything else as it is."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class _Keys:
    """The keys of a file's parts; of each one eight bytes are kept, as there may be millions."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeated: dict[str, int] = {}

    def unique(self, key: str) -> str:
        """The key, with a number after it if there was one like it: no document may replace another."""
        given = key
        while (digest := _eight_bytes(key)) in self._seen:
            self._repeated[given] = self._repeated.get(given, 1) + 1
            key = f"{given}~{self._repeated[given]}"
        self._seen.add(digest)
        return key


def _eight_bytes(key: str) -> int:
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _until_broken(parts: Iterator[Part], file: SourceFile) -> Iterator[Part]:
    """The parts before an error; the error is raised only if there are none, or something is to install."""
    some = False
    try:
        for part in parts:
            some = True
            yield part
    except MissingDependencyError:
        raise
    except Exception as error:  # of whatever a parser did not expect: what came before it is as good as ever
        if not some:
            raise
        told = str(error) if isinstance(error, LoadError) else f"{type(error).__name__}: {error}"
        file.problem(f"the rest cannot be read: {told}")


def file_sha256(file: BinaryIO) -> str:
    """Digest of an open file, read a piece at a time."""
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def pictures_folder(media_directory: Path, source: str, sha256: str, fingerprint: str = "") -> Path:
    """The folder in `media_directory` for the pictures of one file as it is; it goes when the file goes.

    Each loader's pictures, by its `fingerprint`, lie apart: other options overwrite none that are in use.
    """
    stem = _UNSAFE.sub("-", Path(source).stem)[:_LONGEST_STEM]
    return media_directory / f"{stem}-{file_document_id(source, sha256, f'pictures{fingerprint}')[-16:]}"


def _encoded(picture: Image.Image) -> bytes:
    rgb = picture.convert("RGB")
    lossless, lossy = BytesIO(), BytesIO()
    rgb.save(lossless, "PNG")
    rgb.save(lossy, "JPEG", quality=90)
    is_photo = lossy.tell() * 1.5 < lossless.tell()
    return (lossy if is_photo else lossless).getvalue()
