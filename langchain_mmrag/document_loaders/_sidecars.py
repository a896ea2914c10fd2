"""Captions and facts that lie in a file of their own beside a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PICTURE_SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".svg"),
)
_SIDECAR_SUFFIXES: Final = (".txt", ".json", ".xmp")  # in the order in which they are asked
_TAKEOUT: Final = ".supplemental-metadata"  # `photo.jpg.supplemental-metadata.json`
_LARGEST_TEXT: Final = 4096
"""A longer text beside a picture is no caption but a document of its own."""
_LARGEST: Final = 2**20
_KEYS: Final = frozenset(("caption", "description", "title", "alt", "keywords", "geoData", "photoTakenTime"))


def sidecars_of(picture: Path) -> Iterator[Path]:
    """Sidecars beside a picture that are there, the first to be believed first."""
    for suffix in _SIDECAR_SUFFIXES:
        names = [f"{picture.name}{suffix}", f"{picture.stem}{suffix}"]
        if suffix == ".json":
            names.insert(0, f"{picture.name}{_TAKEOUT}{suffix}")
        for name in names:
            path = picture.with_name(name)
            if path.is_file() and _is_about_a_picture(path):
                yield path


def is_sidecar(path: Path) -> bool:
    """Whether a file is the caption of a picture beside it, and so no document of its own.

    `photo.txt`, `photo.jpg.txt`, and the same with `.json` and `.xmp`, beside `photo.jpg`. A text of more
    than 4096 bytes is none, nor is JSON that is no object with a caption, description, title, alt,
    keywords, geoData or photoTakenTime in it: those are documents, whatever lies beside them.
    """
    suffix = path.suffix.lower()
    if suffix not in _SIDECAR_SUFFIXES:
        return False
    stem = path.stem.removesuffix(_TAKEOUT)
    beside = path.with_name(stem)
    is_there = (beside.suffix.lower() in PICTURE_SUFFIXES and beside.is_file()) or any(
        path.with_name(stem + ending).is_file()
        for lower in PICTURE_SUFFIXES
        for ending in (lower, lower.upper())
    )
    return is_there and _is_about_a_picture(path)


def _is_about_a_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    try:
        if path.stat().st_size > (_LARGEST_TEXT if suffix == ".txt" else _LARGEST):
            return False
        return suffix != ".json" or bool(_KEYS & json_object(path.read_bytes()).keys())
    except OSError:
        return False


def json_object(data: bytes) -> dict[str, Any]:
    """The object that a JSON file holds; empty if it holds none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
