"""Import an optional dependency, or say which line installs it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from langchain_mmrag.errors import MissingDependencyError


def require(module: str, *, extra: str) -> Any:
    """Import and return `module`.

    Raises:
        MissingDependencyError: If it is not installed; the message is the pip line of the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".", maxsplit=1)[0]:
            raise  # the package is there, something it needs is not: hiding that would mislead
        msg = f'{module} is not installed. Run: pip install "langchain-mmrag[{extra}]"'
        raise MissingDependencyError(msg, name=module) from error
