"""Pictures on their way into a store: read once, under its policy."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from langchain_mmrag.media import (
    DEFAULT_POLICY,
    ImageFacts,
    MediaPolicy,
    describe_source,
    image_facts,
    is_url,
    open_image,
    open_with_facts,
    read_media,
)
from langchain_mmrag.types import HEIGHT, MIME_TYPE, MODALITY, SHA256, SOURCE, WIDTH, ImageInput

_FACTS = (MIME_TYPE, WIDTH, HEIGHT, SHA256)
_LOCATIONS = ("path", "uri", SOURCE)  # where `image_source` looks, in its order
_SUFFIXES = {"image/jpeg": ".jpg"}


class Picture:
    """One picture: a binary file that opens its source only when it is read, and is told of it.

    An embedding reads pictures batch by batch, so a thousand of them are never in memory together, and what
    it reads has passed the store's policy, whatever its own allows.

    Attributes:
        source: An absolute path or a URL, or the bytes of a picture that has no address.
        facts: Format, size and digest, once it was read; `None` if they were not wanted.
        decoded: What a loader has made of it already, under the same policy; `None` if it is to be read.
    """

    def __init__(
        self, source: ImageInput, policy: MediaPolicy = DEFAULT_POLICY, *, wants_facts: bool = True
    ) -> None:
        self.name = describe_source(source)
        self._given = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        self.source = _address_or_bytes(source, policy)
        self.facts: ImageFacts | None = None
        self.decoded: Image.Image | None = None
        self._policy = policy
        self._wants_facts = wants_facts or isinstance(self.source, bytes)  # its file is named by its digest
        self._file: BytesIO | None = None

    @property
    def is_local(self) -> bool:
        """Whether `source` is a path."""
        return isinstance(self.source, str) and "://" not in self.source

    @property
    def has_address(self) -> bool:
        """Whether `source` is a path or a URL."""
        return isinstance(self.source, str)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as of any binary file; the end lets go of them.

        Raises:
            LoadError: If the source cannot be read, or is no picture where facts are wanted.
        """
        if self._file is None:
            self._file = self._open()
        part = self._file.read(size)
        if not part:
            self._file = None
        return part

    def read_all(self) -> bytes:
        """All bytes.

        Raises:
            LoadError: As `read`.
        """
        data = self.read()
        self._file = None
        return data

    def opened(self, policy: MediaPolicy, min_side: int | None) -> Image.Image:
        """The picture, upright and RGB; its facts come from the same decode.

        Args:
            policy: Limits its size beside the policy it was given.
            min_side: As for `open_image`.

        Raises:
            LoadError: As `open_image`.
        """
        if self.decoded is not None:
            return self.decoded
        own = self._policy
        most_bytes = min(own.max_bytes, policy.max_bytes)
        strict = replace(own, max_bytes=most_bytes, max_pixels=min(own.max_pixels, policy.max_pixels))
        file = self._named()
        if not self._wants_facts:
            return open_image(file, strict, min_side=min_side)
        image, self.facts = open_with_facts(file, strict, min_side=min_side)
        return image

    def _named(self) -> BytesIO:
        file = BytesIO(read_media(self.source, self._policy))
        file.name = self.name  # what errors call it
        return file

    def _open(self) -> BytesIO:
        file = self._named()
        if self._wants_facts:
            self.facts = image_facts(file, self._policy)
            file.seek(0)
        return file

    def described(self, metadata: dict[str, Any], folder: Path | None) -> dict[str, Any]:
        """`metadata` with what is known of the picture, and its address where `image_source` finds it.

        Args:
            metadata: As given. Facts in it stay as they are, and so does a `source` that is not where the
                picture was opened from.
            folder: Where the file of a picture without an address lies.
        """
        known = asdict(self.facts) if self.facts else {}
        key = next((key for key in _LOCATIONS if metadata.get(key)), None)
        if key is None:
            key = SOURCE
        elif str(metadata[key]) != self._given:
            key = _LOCATIONS[0]
        return {**known, **metadata, MODALITY: "image", key: self.address(folder)}

    def address(self, folder: Path | None) -> str:
        """The path or URL it can be opened by again."""
        if isinstance(self.source, str):
            return self.source
        if folder is None or self.facts is None:
            msg = "a picture of bytes has an address only in a folder and once it was read"
            raise ValueError(msg)
        return str(folder / f"{self.facts.sha256}{self.suffix}")

    @property
    def suffix(self) -> str:
        """The ending of a file name that fits what the bytes are."""
        mime_type = self.facts.mime_type if self.facts else ""
        return _SUFFIXES.get(mime_type, f".{mime_type.rpartition('/')[2]}")


def has_facts(metadata: dict[str, Any]) -> bool:
    """Whether a loader has put all facts into `metadata` already."""
    return all(key in metadata for key in _FACTS)


def save(picture: Picture, folder: Path) -> None:
    """Keep the bytes of a picture without an address as the file its `address` names."""
    path = Path(picture.address(folder))
    if path.exists() or not isinstance(picture.source, bytes):
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Another thread may be saving the same picture: whole files only, whoever is first.
    partial = path.with_name(f".{path.name}.{os.getpid()}.{id(picture)}")
    partial.write_bytes(picture.source)
    partial.replace(path)


def _address_or_bytes(source: ImageInput, policy: MediaPolicy) -> str | bytes:
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    if isinstance(source, Image.Image):
        encoded = BytesIO()
        open_image(source, policy).save(encoded, "PNG")
        return encoded.getvalue()
    if isinstance(source, str) and source[:5].lower() != "data:":
        is_address = is_url(source) or "://" in source
        # Absolute, so that the picture is found again from another working folder; loaders do the same.
        return source if is_address else os.path.abspath(source)  # noqa: PTH100 - Path keeps ".."
    return read_media(source, policy)
