"""What open_clip says of its models, read without importing it: its import takes seconds."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from langchain_mmrag._cache import kept

_SETTLED_S: Final = 2.0
_SHAPES: Final = ("embed_dim", "vision_cfg", "text_cfg")
_PREPROCESS: Final[dict[str, Any]] = {
    "size": 224,
    "mode": "RGB",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def is_installed(name: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return find_spec(name) is not None
    except (ImportError, OSError, RuntimeError, ValueError):
        return False


def open_clip_folder() -> Path | None:
    """Where open_clip lies; None if it cannot be found."""
    try:
        spec = find_spec("open_clip")
    except (ImportError, OSError, RuntimeError, ValueError):
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def model_config(name: str) -> dict[str, Any] | None:
    """Shape of the towers of a model of open_clip; None if open_clip itself has to be asked.

    Once it is imported it is: models may have been added to it.
    """
    folder = None if "open_clip" in sys.modules or Path(name).name != name else open_clip_folder()
    if folder is None:
        return None
    try:
        config = json.loads((folder / "model_configs" / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and all(key in config for key in _SHAPES) else None


def tag_settings(name: str, tag: str, ask: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Where the weights of a tag are and how images are prepared for them; empty for no such tag.

    They stand in open_clip's code, so they are asked for once for each version of it and then kept in the
    user's cache.

    Args:
        name: A model of open_clip.
        tag: Of its weights.
        ask: Asks open_clip, which imports it.
    """
    folder = None if "open_clip" in sys.modules else open_clip_folder()
    if folder is None:
        return dict(ask())
    try:
        state = _state(folder / "pretrained.py")
    except OSError:
        return dict(ask())
    return kept("open_clip_tags", f"{name}\n{tag}", state, lambda: dict(ask()))


def preprocess_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """How an image becomes pixels: open_clip's defaults with what is given in their place."""
    return _PREPROCESS | {key: given[key] for key in _PREPROCESS if given.get(key) is not None}


def content_digest(path: Path) -> str:
    """A short digest of a file.

    Kept in the user's cache under the file's path, size, times and number, since reading half a gigabyte at
    every start takes longer than an answer. A file changed just now is read again the next time: two changes
    within one step of a file system's clock look like one.
    """
    state = _state(path)
    settled = abs(time.time() - path.stat().st_mtime) > _SETTLED_S
    return kept("digests", str(path.resolve()), state, lambda: _read_digest(path), keep=settled)


def _read_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _state(path: Path) -> list[Any]:
    """Changes when the file does, also if its time is set back."""
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
