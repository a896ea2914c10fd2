"""Find the files of a folder: by globs, without what ignore files name, never out of the folder."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from langchain_mmrag.errors import LoadError, MMRAGError, UnsafeSourceError

_STORE_FILE: Final = "chroma.sqlite3"
"""Marks a folder as a Chroma store: its files are not the user's."""
_IGNORE_FILES: Final = (".gitignore", ".mmragignore")  # the second may take back what the first says
_IGNORE_BYTES: Final = 2**20
EVERYTHING: Final = "**/*"
_MOST_GLOBS: Final = 1000
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_GLOB_TOKEN: Final = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])")
_GLOB_MEANING: Final = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


@dataclass(frozen=True)
class LoadFailure:
    """A file or folder that could not be read, and why.

    Attributes:
        source: Its path.
        error: The reason; a `LoadError`, or a `MissingDependencyError` if something is not installed.
        partial: Whether the rest of the file was read.
    """

    source: str
    error: MMRAGError
    partial: bool = False


OnFailure = Callable[[LoadFailure], None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which files of a folder are wanted.

    Attributes:
        globs: By their path inside the folder, any of these.
        exclude: But none of these: written and meant as the lines of a `.gitignore`.
        ignore_files: Whether `.gitignore` and `.mmragignore` hold.
        recursive: Whether folders in the folder are searched.
        skipped_folders: Absolute paths of folders to pass over: where this package itself writes.
    """

    globs: tuple[str, ...] = (EVERYTHING,)
    exclude: tuple[str, ...] = ()
    ignore_files: bool = True
    recursive: bool = True
    skipped_folders: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Rules:
    """The lines of the ignore files of one folder, by the folder's path inside the root (`""` for itself)."""

    folder: str
    spec: GitIgnoreSpec

    def verdict(self, path: str) -> bool | None:
        """Whether `path` is ignored; `None` if no line is about it. A folder's path ends with a slash."""
        inside = path.removeprefix(f"{self.folder}/") if self.folder else path
        return self.spec.check_file(inside).include


def selection(
    glob: str | Sequence[str] = EVERYTHING,
    exclude: str | Sequence[str] = (),
    *,
    ignore_files: bool = True,
    recursive: bool = True,
    skipped_folders: Sequence[Path | None] = (),
) -> Selection:
    """A `Selection`, checked.

    Raises:
        ValueError: If a glob or pattern cannot be understood.
    """
    globs = (glob,) if isinstance(glob, str) else tuple(glob)
    excluded = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    if not globs:
        msg = "glob is an empty list: leave it out to load every file"
        raise ValueError(msg)
    for each in globs:
        glob_pattern(each)
    for line in excluded:
        if _spec([line], strict=True) is None:
            msg = f"cannot exclude {line!r}: it is no pattern as .gitignore has them"
            raise ValueError(msg)
    return Selection(
        globs=globs,
        exclude=excluded,
        ignore_files=ignore_files,
        recursive=recursive,
        skipped_folders=frozenset(os.path.realpath(path) for path in skipped_folders if path),
    )


def find_files(
    root: Path,
    wanted: Selection = Selection(),
    *,
    on_failure: OnFailure,
    on_unmatched: Callable[[str], None] | None = None,
) -> Iterator[Path]:
    """Files below a folder in the order of their names, without hidden ones and Chroma stores.

    Folders that are links come last, so that a file goes by its own place.

    Args:
        root: The folder.
        wanted: Which files.
        on_failure: Told of every folder that cannot be listed and every link that leads nowhere or out.
        on_unmatched: Told of every glob that no file matched, at the end.

    Raises:
        LoadError: If `root` is not a folder.
    """
    if not root.is_dir():
        msg = f"{root} is a file, not a folder" if root.exists() else f"there is no folder {root}"
        raise LoadError(msg)
    walk = _Walk(root, wanted, on_failure)
    yield from walk.files()
    for glob in wanted.globs:
        if on_unmatched is not None and glob not in {*walk.matched, EVERYTHING}:
            on_unmatched(glob)


@dataclass
class _Walk:
    """One search of a folder."""

    root: Path
    wanted: Selection
    on_failure: OnFailure
    matched: set[str] = field(default_factory=set)
    visited: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.home = self.root.resolve()
        self.globs = {glob: glob_pattern(glob) for glob in self.wanted.globs}
        self.excluded = _Rules("", _spec(self.wanted.exclude) or GitIgnoreSpec([]))

    def files(self) -> Iterator[Path]:
        pending: list[tuple[Path, tuple[_Rules, ...]]] = [(self.root, ())]
        links: deque[tuple[Path, tuple[_Rules, ...]]] = deque()
        while pending or links:
            # a folder goes by its own name: links to folders wait until all folders are read
            is_late = not pending
            path, rules = links.popleft() if is_late else pending.pop()
            mode = self._mode(path)
            if mode is None:
                continue
            place = "" if path is self.root else path.relative_to(self.root).as_posix()
            if stat.S_ISDIR(mode):
                if place and (not self.wanted.recursive or self._is_ignored(f"{place}/", rules)):
                    continue
                if place and not is_late and path.is_symlink():
                    links.append((path, rules))
                    continue
                entries, rules = self._entries(path, place, rules)
                pending += [(entry, rules) for entry in reversed(entries)]
            elif not self._is_ignored(place, rules) and self._is_wanted(place):
                if stat.S_ISREG(mode):
                    yield path
                else:
                    msg = f"{path} is a pipe, device or socket: only regular files are read"
                    self._failed(path, UnsafeSourceError(msg))

    def _mode(self, path: Path) -> int | None:
        """What is there; `None`, and told, for a link that leads nowhere or out."""
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self._failed(path, LoadError(f"cannot reach {path}: {error.strerror or error}"))
            return None
        return None if path is not self.root and self._leads_out(path) else mode

    def _leads_out(self, path: Path) -> bool:
        """Whether it is a link out of the folder, which is told."""
        if not path.is_symlink() or path.resolve().is_relative_to(self.home):
            return False
        # what a folder is handed over with should not decide what else on the disk is read
        msg = f"{path} is a link that leads out of {self.root}: name its target to read it too"
        self._failed(path, UnsafeSourceError(msg))
        return True

    def _entries(
        self, folder: Path, place: str, rules: tuple[_Rules, ...]
    ) -> tuple[list[Path], tuple[_Rules, ...]]:
        """Visible entries by name, with the rules for them; none if visited before (a loop) or a store."""
        try:
            status = folder.stat()
            every = sorted(folder.iterdir())
        except OSError as error:
            self._failed(folder, LoadError(f"cannot list the folder {folder}: {error.strerror or error}"))
            return [], rules
        names = {entry.name for entry in every}
        identity = (status.st_dev, status.st_ino)
        is_ours = bool(place) and (
            _STORE_FILE in names or os.path.realpath(folder) in self.wanted.skipped_folders
        )
        if identity in self.visited or is_ours:
            return [], rules
        self.visited.add(identity)
        if self.wanted.ignore_files and names.intersection(_IGNORE_FILES):
            lines = [line for name in _IGNORE_FILES if name in names for line in self._lines(folder / name)]
            if spec := _spec(lines):
                rules = (*rules, _Rules(place, spec))
        return [entry for entry in every if not entry.name.startswith(".")], rules

    def _lines(self, path: Path) -> list[str]:
        try:
            if not path.is_file() or self._leads_out(path):
                return []
            with path.open("rb") as file:
                return file.read(_IGNORE_BYTES).decode("utf-8", "surrogateescape").splitlines()
        except OSError as error:
            self._failed(path, LoadError(f"cannot read {path}: {error.strerror or error}"))
            return []

    def _is_ignored(self, place: str, rules: tuple[_Rules, ...]) -> bool:
        if self.excluded.verdict(place):
            return True
        verdicts = (each.verdict(place) for each in reversed(rules))  # the nearest folder has the last word
        return next((verdict for verdict in verdicts if verdict is not None), False)

    def _is_wanted(self, place: str) -> bool:
        found = {glob for glob, pattern in self.globs.items() if pattern.fullmatch(place)}
        self.matched |= found
        return bool(found)

    def _failed(self, path: Path, error: LoadError) -> None:
        self.on_failure(LoadFailure(str(path), error))


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*`, `?`, `[a-z]`, `[!a-z]`, `**` and `{one,other}`.

    Raises:
        ValueError: If it cannot be understood, or its braces stand for too many.
    """
    try:
        return re.compile("|".join(map(_expression, _alternatives(glob))), re.DOTALL)
    except re.error as error:
        msg = f"cannot understand the glob {glob!r}: {error}"
        raise ValueError(msg) from error


def _expression(glob: str) -> str:
    return "".join(map(_meaning, _GLOB_TOKEN.split(glob)))


def _meaning(token: str) -> str:
    if token in _GLOB_MEANING:
        return _GLOB_MEANING[token]
    if token.startswith("[") and token.endswith("]") and len(token) > 2:  # noqa: PLR2004 - the brackets
        inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        inside = f"^/{inside[1:]}" if inside.startswith("!") else inside.replace("^", "\\^")
        return f"(?!/)[{inside}]"
    return re.escape(token)


def _alternatives(glob: str) -> list[str]:
    """The globs that one with braces stands for."""
    globs = [glob]
    while any(_BRACES.search(each) for each in globs):
        globs = [one for each in globs for one in _without_first_braces(each)]
        if len(globs) > _MOST_GLOBS:
            msg = f"the braces of the glob {glob[:100]!r} stand for more than {_MOST_GLOBS} globs"
            raise ValueError(msg)
    return globs


def _without_first_braces(glob: str) -> list[str]:
    if (braces := _BRACES.search(glob)) is None:
        return [glob]
    before, after = glob[: braces.start()], glob[braces.end() :]
    return ["".join(parts) for parts in product([before], braces[1].split(","), [after])]


def _spec(lines: Sequence[str], *, strict: bool = False) -> GitIgnoreSpec | None:
    """The patterns that can be understood; git, too, passes over the others."""
    understood: list[str] = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error):
            if strict:
                return None
        else:
            understood.append(line)
    spec = GitIgnoreSpec.from_lines(understood)
    return spec if spec.patterns else None
