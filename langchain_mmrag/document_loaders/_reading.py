"""Read one file of a folder: find its loader, yield its documents, and say how it ended, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from langchain_mmrag.document_loaders._ahead import Results
from langchain_mmrag.document_loaders._own import OwnLoader
from langchain_mmrag.document_loaders._sidecars import is_sidecar
from langchain_mmrag.document_loaders._subtitles import is_sidecar as is_subtitle
from langchain_mmrag.document_loaders.base import FileLoader
from langchain_mmrag.document_loaders.kinds import LoaderOptions, MakeLoader, kind_of, unsupported
from langchain_mmrag.errors import CorruptMediaError, LoadError, MissingDependencyError, MMRAGError

logger = logging.getLogger(__name__)

Status: TypeAlias = Literal["read", "unchanged", "ignored", "sidecar", "failed"]


@dataclass(frozen=True)
class Outcome:
    """How the reading of a file ended.

    Attributes:
        status: `ignored` if no loader reads such files, `sidecar` if it is read with a file beside it.
        error: Why it failed.
        problems: What could not be read of it, though the rest could.
        shows: Paths of other files that it shows, whether they are there or not.
    """

    status: Status
    error: MMRAGError | None = None
    problems: tuple[LoadError, ...] = ()
    shows: frozenset[str] = frozenset()


def read_file(
    path: Path,
    options: LoaderOptions,
    *,
    root: Path | None = None,
    is_named: bool = False,
    is_unchanged: Callable[[BaseLoader], bool] = lambda _loader: False,
) -> Results[Document | Outcome]:
    """Yield the documents of a file one by one, and last of all an `Outcome`. Raises nothing.

    Args:
        path: The file.
        options: What its loader is told.
        root: Folder that is being read: what lies in it may be shown by the file.
        is_named: Whether somebody asked for this very file: then it is an error if no loader reads it.
        is_unchanged: Whether what this loader would make of the file is known.
    """
    try:
        if not is_named and any(is_one(path, options.policy) for is_one in (is_sidecar, is_subtitle)):
            yield Outcome("sidecar")
            return
        loader = loader_for(path, options, root)
        if loader is None:
            yield Outcome("failed", unsupported(path)) if is_named else Outcome("ignored")
        elif is_unchanged(loader):
            yield Outcome("unchanged")
        else:
            yield from loader.lazy_load()
            problems, shows = getattr(loader, "problems", ()), getattr(loader, "shows", ())
            yield Outcome("read", problems=tuple(problems), shows=frozenset(shows))
    except (LoadError, MissingDependencyError) as error:
        yield Outcome("failed", error)
    except Exception as error:
        # parsers of whatever lies in a folder: what one of them did not expect must not cost the other files
        logger.debug("unexpected error in %s", path, exc_info=True)
        told = CorruptMediaError(f"{path} cannot be read: {type(error).__name__}: {error}")
        told.__cause__ = error
        yield Outcome("failed", told)


def loader_for(path: Path, options: LoaderOptions, root: Path | None = None) -> BaseLoader | None:
    """The loader of a file; `None` if there is none for its kind.

    Raises:
        LoadError: If it cannot be opened, or its kind is refused.
        MissingDependencyError: If what reads it is not installed.
    """
    if make := options.loaders.get(path.suffix.lower()):
        return _own(path, make, options)
    kind = kind_of(path, options.policy)
    return None if kind is None else kind.loader(path, options, root)


def _own(path: Path, given: MakeLoader, options: LoaderOptions) -> BaseLoader:
    make: Any = given
    if isinstance(make, type) and issubclass(make, FileLoader):
        found: BaseLoader = make(path, **options.common)
        return found
    loader: BaseLoader = make(path)
    return loader if isinstance(loader, FileLoader) else OwnLoader(path, loader, options)
