"""A picture that a model asks with: one it was shown, or a file in an allowed folder, nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Final

from langchain_core.documents import Document
from langchain_core.tools import ToolException

from langchain_mmrag._store.chroma import of_modality, where
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import MediaPolicy, is_url, open_image, read_media
from langchain_mmrag.tools.results import as_name, name_of
from langchain_mmrag.tools.telling import folders_of
from langchain_mmrag.types import image_source, modality_of

_LONGEST_PATH: Final = 500
_MOST_REMEMBERED: Final = 10_000
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class AskedImages:
    """The argument `image` of a search over one store.

    A refusal says what may be given and nothing of what there is: whether a path exists, is a folder, or is
    a file of another kind cannot be told from it.

    Args:
        store: A `MultimodalChroma`.
        condition: What a document must meet to be found, in Chroma's form: others cannot be asked with.
        media_policy: Asked at each use, as a store's own may change while it fills.
        roots: Folders whose pictures may be named by path; none: no paths.
        allow_urls: Whether addresses are fetched.

    Raises:
        TypeError: If `roots` is no sequence of paths.
        ValueError: If one of `roots` is no folder.
    """

    def __init__(
        self,
        store: Any,
        condition: Mapping[str, Any] | None,
        media_policy: Callable[[], MediaPolicy],
        *,
        roots: Sequence[str | os.PathLike[str]] | None = None,
        allow_urls: bool = False,
    ) -> None:
        self._store = store
        self._condition = condition
        self._media_policy = media_policy
        self._roots = None if roots is None else folders_of(roots, "image_roots")
        self._allow_urls = allow_urls
        self._ids: dict[str, str] = {}
        self._lock = Lock()

    @property
    def description(self) -> str:
        """For the model."""
        return (
            f"A picture to look for more of: {self._allowed}. With query, the query says how the results"
            " should differ from it or what matters in it. Leave it out to search by words alone."
        )

    def remember(self, documents: Sequence[Document]) -> None:
        """Keep the names of pictures a model is shown, so that it may ask with them."""
        pictures = {name_of(each): each.id for each in documents if each.id and _is_picture(each)}
        with self._lock:
            for name, id_ in pictures.items():
                self._ids.pop(name, None)  # so that it counts as new
                self._ids[name] = id_
            while len(self._ids) > _MOST_REMEMBERED:
                self._ids.pop(next(iter(self._ids)))

    def read(self, given: str) -> bytes:
        """The bytes of the picture a model named.

        Raises:
            ToolException: If it may not be opened or cannot; the message is for the model.
        """
        name = as_name(given)
        if name is not None and (document := self._shown(name)) is not None:
            return self._of_document(document, name)
        for source, policy in self._places(given):
            try:
                return _picture(source, policy)
            except LoadError:
                continue
        msg = f"There is no such picture to search with: give {self._allowed}."
        raise ToolException(msg)

    @property
    def _allowed(self) -> str:
        allowed = ["the id of a picture found by an earlier search, without brackets"]
        if self._given_roots():
            allowed.append("the path of a picture in the allowed folders")
        if self._allow_urls:
            allowed.append("the http(s) address of a picture")
        return " or ".join(allowed)

    def _given_roots(self) -> tuple[Path, ...]:
        return self._roots if self._roots is not None else self._media_policy().roots or ()

    def _shown(self, name: str) -> Document | None:
        with self._lock:
            id_ = self._ids.get(name)
        # not among those remembered after a restart, or if another process has shown it
        ids = [id_] if id_ is not None else [each for each in self._all_ids() if name_of(each) == name]
        found: list[Document] = self._store.get_by_ids(ids) if len(ids) == 1 else []
        return found[0] if found else None

    def _all_ids(self) -> list[str]:
        condition = where(self._condition, of_modality("image"))
        return list(self._store.get(where=condition, include=[])["ids"])

    def _of_document(self, document: Document, name: str) -> bytes:
        source = image_source(document.metadata)
        try:
            return _picture(source or "", self._media_policy())
        except LoadError as error:
            msg = f"The picture {name} can no longer be opened: search with words, or with another picture."
            raise ToolException(msg) from error

    def _places(self, given: str) -> Iterator[tuple[str, MediaPolicy]]:
        """Where the picture may be, each with the rules it is opened under."""
        policy = self._media_policy()
        if is_url(given):
            if self._allow_urls and _is_sane(given):
                yield given, replace(policy, allow_urls=True, allow_local=False)
            return
        if not _is_plain_path(given):
            return
        for root in self._given_roots():
            allowed = replace(policy, roots=(root,), allow_local=True, allow_urls=False)
            yield os.path.join(root, given), allowed  # noqa: PTH118 - of an absolute path nothing is changed


def _is_picture(document: Document) -> bool:
    try:
        return modality_of(document.metadata) == "image"
    except ValueError:
        return False


def _is_sane(given: str) -> bool:
    return len(given) <= _LONGEST_PATH and given.isprintable() and bool(given.strip())


def _is_plain_path(given: str) -> bool:
    """Whether text is a path and no more: no scheme, drive, share, home folder or way up."""
    is_other = _SCHEME.match(given) or given.startswith(("~", "//", "\\"))
    return _is_sane(given) and not is_other and ".." not in re.split(r"[/\\]", given)


def _picture(source: str, policy: MediaPolicy) -> bytes:
    """Bytes that are known to be a picture.

    Raises:
        LoadError: If they cannot be read, or are none.
    """
    data = read_media(source, policy)
    open_image(data, policy)
    return data
