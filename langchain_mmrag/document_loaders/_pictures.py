"""The pictures of a page: found where the page may point to, read, and told apart from decorations."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from PIL import Image

from langchain_mmrag.document_loaders._blocks import Picture
from langchain_mmrag.document_loaders._ids import file_document_id, source_of
from langchain_mmrag.document_loaders.base import SourceFile
from langchain_mmrag.errors import (
    LoadError,
    OutsideRootsError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy, describe_source, image_facts, is_url, read_media
from langchain_mmrag.types import HEIGHT, MIME_TYPE, PARENT_ID, PATH, SHA256, WIDTH

SMALLEST_SIDE: Final = 32
"""Pixels; what is narrower or lower is a bullet, an icon, a rule or a spacer."""

_FILE_NAME = re.compile(r"\S+\.(png|jpe?g|gif|webp|svg|bmp|tiff?|avif|emf|wmf)", re.IGNORECASE)
_NAMED: Final = 3
_KINDS: Final = {
    "missing": "that cannot be found",
    "remote": "at addresses that are not fetched (see fetch_images)",
    "outside": "outside the folder of the page, which are left alone",
    "format": "of formats that are not read (such as EMF and WMF)",
    "broken": "that are broken",
    "refused": "that the media policy refuses",
}


class PagePictures:
    """Reads what a page shows, each picture once; what cannot be read is told at the end in few lines.

    A page comes from anywhere: what it points to is read only inside `folder` and the policy's roots.

    Args:
        file: The page.
        folder: Which folder pictures that are files of their own must lie in; the page's own by default.
        fetch: Whether pictures at `http(s)` addresses are fetched; else they are left alone.
        kept: Pictures already taken out of the file, by what stands as their `src`.
    """

    def __init__(
        self,
        file: SourceFile,
        *,
        folder: Path | None = None,
        fetch: bool = False,
        kept: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.file = file
        self.home = file.path.parent
        self.folder = folder or self.home
        self.policy = policy_inside(file.policy, self.folder)
        self.fetch = fetch
        self.kept = {} if kept is None else kept  # may still be filled
        self._seen = set[str]()
        self._number = 0
        self._problems: dict[str, list[str]] = defaultdict(list)

    def read(self, picture: Picture) -> dict[str, Any] | None:
        """Metadata of a picture's document; `None` for what is no picture worth one.

        That is a decoration, a repeat, at an address that is left alone, or cannot be read.
        """
        if not picture.src or 0 < picture.width < SMALLEST_SIDE or 0 < picture.height < SMALLEST_SIDE:
            return None
        try:
            facts = self._facts(picture.src)
        except LoadError as error:
            self.refuse(describe_source(picture.src), error)
            return None
        if facts is None or min(facts[WIDTH], facts[HEIGHT]) < SMALLEST_SIDE:
            return None
        return dict(facts)

    def keep(self, picture: bytes | Image.Image) -> dict[str, Any] | None:
        """Keep a picture that is inside the file; `None` if it is a repeat or a decoration.

        Args:
            picture: Encoded, or the pixels of what the file shows of it.

        Raises:
            LoadError: If it cannot be read.
        """
        data = picture.tobytes() if isinstance(picture, Image.Image) else picture
        if self._is_repeat(hashlib.sha256(data).hexdigest()):
            return None
        self._number += 1
        facts = self.file.keep_picture(picture, f"picture-{self._number}")
        if min(facts[WIDTH], facts[HEIGHT]) < SMALLEST_SIDE:
            Path(facts[PATH]).unlink(missing_ok=True)
            return None
        return facts

    def refuse(self, name: str, error: LoadError) -> None:
        """Count a picture that cannot be read."""
        if isinstance(error, SourceNotFoundError):
            kind = "missing"
        elif isinstance(error, UnsupportedFormatError):
            kind = "format"
        elif isinstance(error, UnsafeSourceError):
            kind = "outside" if isinstance(error, OutsideRootsError) else "refused"
        else:
            kind = "broken"
        self._problems[kind].append(name)

    def report(self) -> None:
        """Tell the file's problems what could not be read, a line for each reason."""
        for kind, names in self._problems.items():
            shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
            self.file.problem(f"pictures {_KINDS[kind]}: {len(names)} ({shown})")
        self._problems.clear()

    def _facts(self, src: str) -> Mapping[str, Any] | None:
        if src in self.kept:
            return self.kept[src]
        if src[:5].lower() == "data:":
            return self.keep(read_media(src, self.file.policy))
        if is_url(src) or src.startswith("//"):
            if self._is_repeat(src):
                return None
            if not self.fetch:
                self._problems["remote"].append(describe_source(src))
                return None
            address = f"https:{src}" if src.startswith("//") else src
            return self.keep(read_media(address, self.file.policy))
        return self._own_file(src)

    def _own_file(self, src: str) -> dict[str, Any] | None:
        path = self._path_of(src)
        self.file.shows |= {path} if path else set()
        if path is None or self._is_repeat(path):
            return None
        return own_picture(path, self.policy)

    def _path_of(self, src: str) -> str | None:
        """Where a relative path, or a `file:` address, leads; `None` for addresses of other kinds."""
        try:
            parts = urlsplit(src)
        except ValueError:
            return None
        if parts.scheme not in {"", "file"} and len(parts.scheme) > 1:  # one letter: a drive
            return None
        path = unquote(parts.path) or "."
        found = [self.home / path]
        if parts.scheme == "":  # a name may hold marks of addresses, a path may begin at the site's root
            found += [self.home / unquote(src), self.folder / path.lstrip("/")]
        paths = [os.path.normpath(one) for one in found]
        there = next(filter(os.path.isfile, paths), None)
        self.file.shows |= set() if there else set(paths)
        return there or paths[0]

    def _is_repeat(self, mark: str) -> bool:
        if mark in self._seen:
            return True
        self._seen.add(mark)
        return False


def own_picture(path: str, policy: MediaPolicy) -> dict[str, Any]:
    """Metadata of a picture that is a file of its own: it and that file's own document count as one.

    Raises:
        LoadError: If it cannot be read.
    """
    facts = image_facts(path, policy)
    return {
        PATH: path,
        MIME_TYPE: facts.mime_type,
        WIDTH: facts.width,
        HEIGHT: facts.height,
        SHA256: facts.sha256,
        PARENT_ID: file_document_id(source_of(path), facts.sha256),
    }


def policy_inside(policy: MediaPolicy, folder: Path) -> MediaPolicy:
    """The policy with roots no wider than `folder`: what comes from anywhere points to anything."""
    real = PurePath(os.path.realpath(folder))
    if policy.roots is None:
        return replace(policy, roots=(Path(real),))
    roots = [PurePath(os.path.realpath(root)) for root in policy.roots]
    if any(real.is_relative_to(root) for root in roots):
        return replace(policy, roots=(Path(real),))
    return replace(policy, roots=tuple(Path(root) for root in roots if root.is_relative_to(real)))


def caption_from(words: str) -> str:
    """What is said about a picture; programs that know nothing to say put the name of its file there."""
    return "" if _FILE_NAME.fullmatch(words.strip()) else words.strip()
