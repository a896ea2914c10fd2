"""Captions and facts that lie in a file of their own beside a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from langchain_mmrag.document_loaders._beside import stays_beside, suffixes_of
from langchain_mmrag.document_loaders._exif import KEYWORDS, keywords, moment, position, words, xmp_facts
from langchain_mmrag.document_loaders._suffixes import PICTURE_SUFFIXES
from langchain_mmrag.document_loaders.text import decode_text
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, open_local, read_media
from langchain_mmrag.types import CAPTION, TITLE

_SIDECAR_SUFFIXES: Final = (".txt", ".json", ".xmp")  # in the order in which they are asked
_TAKEOUT: Final = ".supplemental-metadata"  # `photo.jpg.supplemental-metadata.json`
_LARGEST_TEXT: Final = 4096
"""A longer text beside a picture is no caption but a document of its own."""
_LARGEST: Final = 2**20
_KEYS: Final = frozenset(("caption", "description", "title", "alt", "keywords", "geoData", "photoTakenTime"))


def sidecars_of(picture: Path, policy: MediaPolicy = DEFAULT_POLICY) -> Iterator[Path]:
    """Sidecars beside a picture that are there and may be read, the first to be believed first."""
    for suffix in _SIDECAR_SUFFIXES:
        names = [f"{picture.name}{suffix}", f"{picture.stem}{suffix}"]
        if suffix == ".json":
            names.insert(0, f"{picture.name}{_TAKEOUT}{suffix}")
        for name in names:
            path = picture.with_name(name)
            if _is_file(path) and _is_about_a_picture(path, policy):
                yield path


def is_sidecar(path: Path, policy: MediaPolicy = DEFAULT_POLICY) -> bool:
    """Whether a file is the caption of a picture beside it, and so no document of its own.

    `photo.txt`, `photo.jpg.txt`, and the same with `.json` and `.xmp`, beside `photo.jpg`. A text of more
    than 4096 bytes is none, nor is JSON that is no object with a caption, description, title, alt,
    keywords, geoData or photoTakenTime in it: those are documents, whatever lies beside them. Nor is a
    link to a file in another folder, unless the policy has roots and that file lies in them.
    """
    if path.suffix.lower() not in _SIDECAR_SUFFIXES:
        return False
    stem = path.stem.removesuffix(_TAKEOUT)
    beside = path.with_name(stem)
    if beside.suffix.lower() in PICTURE_SUFFIXES and _is_file(beside):
        return _is_about_a_picture(path, policy)
    is_there = any(
        suffix.lower() in PICTURE_SUFFIXES and _is_file(path.with_name(stem + suffix))
        for suffix in suffixes_of(path.parent, stem)
    )
    return is_there and _is_about_a_picture(path, policy)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that no file can have: it is longer than names may be
        return False


def _is_about_a_picture(path: Path, policy: MediaPolicy) -> bool:
    if not stays_beside(path, policy):
        return False
    suffix = path.suffix.lower()
    try:
        with open_local(str(path), policy) as file:
            if os.fstat(file.fileno()).st_size > (_LARGEST_TEXT if suffix == ".txt" else _LARGEST):
                return False
        return suffix != ".json" or bool(_KEYS & json_object(read_media(str(path), policy)).keys())
    except (LoadError, OSError):
        return False


def json_object(data: bytes) -> dict[str, Any]:
    """The object that a JSON file holds; empty if it holds none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_sidecars(picture: Path, policy: MediaPolicy) -> tuple[dict[str, Any], str]:
    """What the files beside a picture say of it, and eight hexadecimal digits that change when they do.

    Each fact is taken from the first file that has it: `.txt`, then `.json`, then `.xmp`, and of each kind
    the one with the picture's whole name before the one with its stem.

    Returns:
        Facts named as in `facts_of`, and the digits; both empty if there are no such files. One that the
        policy forbids or that cannot be read counts as absent.
    """
    facts: dict[str, Any] = {}
    digest = sha256()
    some = False
    for path in sidecars_of(picture, policy):
        try:
            data = read_media(str(path), policy)
        except LoadError:
            continue
        some = True
        digest.update(path.name.encode("utf-8", "replace") + b"\0" + sha256(data).digest())
        facts = {**_facts_in(path, data, picture), **facts}
    return facts, digest.hexdigest()[:8] if some else ""


def _facts_in(path: Path, data: bytes, picture: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".xmp":
        return xmp_facts(data)
    if suffix == ".json":
        return _json_facts(json_object(data), picture)
    with suppress(LoadError):
        return words(CAPTION, decode_text(data, str(path)))
    return {}


def _json_facts(told: dict[str, Any], picture: Path) -> dict[str, Any]:
    """Of a plain object, or of Google Takeout's, whose title is the picture's file name."""
    said = {key: value for key, value in told.items() if isinstance(value, str) and value.strip()}
    if said.get("title") in {picture.name, picture.stem}:
        del said["title"]
    caption = next((said[key] for key in ("caption", "description", "alt", "title") if key in said), "")
    tags = told.get(KEYWORDS)
    return {
        **words(CAPTION, caption),
        **words(TITLE, said.get("title")),
        **keywords(tags if isinstance(tags, list) else str(tags or "").split(",")),
        **_taken(told.get("photoTakenTime")),
        **_position(told.get("geoData")),
    }


def _taken(time: object) -> dict[str, Any]:
    with suppress(KeyError, TypeError, ValueError, OverflowError, OSError):
        return moment(datetime.fromtimestamp(int(time["timestamp"]), UTC))  # type: ignore[index]
    return {}


def _position(place: object) -> dict[str, Any]:
    with suppress(KeyError, TypeError, ValueError):
        return position(float(place["latitude"]), float(place["longitude"]))  # type: ignore[index]
    return {}
