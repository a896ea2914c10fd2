"""What may be read, from where, and how much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from langchain_mmrag.errors import UnsafeSourceError


@dataclass(frozen=True, kw_only=True)
class MediaPolicy:
    """Limits every source is held to before its bytes are decoded.

    Attributes:
        roots: Folders local files must lie in, symbolic links resolved; `None` allows any folder.
        allow_local: Whether paths and `file://` URLs are read.
        allow_urls: Whether `http(s)://` URLs are fetched. Turn it off where a model supplies the address.
        allow_private_addresses: Whether URLs may lead to loopback, private, link-local and other
            addresses that are not on the public internet.
        max_bytes: Largest file, download or decoded data-URI, in bytes.
        max_pixels: Largest picture, width times height.
        timeout_s: Seconds a whole download may take, name look-up and redirects included.
        max_redirects: Redirects followed; each one is checked like the first address.
    """

    roots: tuple[Path, ...] | None = None
    allow_local: bool = True
    allow_urls: bool = True
    allow_private_addresses: bool = False
    max_bytes: int = 64 * 2**20
    max_pixels: int = 128_000_000
    timeout_s: float = 10.0
    max_redirects: int = 5

    def __post_init__(self) -> None:
        roots: Any = self.roots
        if isinstance(roots, str | Path):
            msg = f"roots must be a tuple of folders: write roots=({str(roots)!r},)"
            raise TypeError(msg)
        if roots is not None:
            # Made absolute once, so that a later change of the working folder does not move the fence.
            object.__setattr__(self, "roots", tuple(Path(root).absolute() for root in roots))
        for name in ("max_bytes", "max_pixels", "timeout_s"):
            if not 0 < getattr(self, name) < inf:
                msg = f"{name} must be above 0 and finite, not {getattr(self, name)!r}"
                raise ValueError(msg)
        if self.max_redirects < 0:
            msg = f"max_redirects must be 0 or more, not {self.max_redirects!r}"
            raise ValueError(msg)


DEFAULT_POLICY = MediaPolicy()

_CHUNK = 2**20


def check_size(size: int, name: str, policy: MediaPolicy) -> None:
    """Refuse `size` bytes above the policy's limit.

    Raises:
        UnsafeSourceError: If `size` is above `policy.max_bytes`.
    """
    if size > policy.max_bytes:
        allowed = f"{policy.max_bytes} bytes allowed"
        msg = f"{name} has more than the {allowed}: shrink it, or raise MediaPolicy.max_bytes"
        raise UnsafeSourceError(msg)


def read_bounded(read: Callable[[int], Any], name: str, policy: MediaPolicy, chunk: int = _CHUNK) -> bytes:
    """Call `read(n)` until it gives no more, and never take more than one byte above the policy's limit.

    Raises:
        UnsafeSourceError: If there are more than `policy.max_bytes`.
        TypeError: If `read` gives anything but bytes.
    """
    parts: list[bytes] = []
    size = 0
    while part := read(min(chunk, policy.max_bytes + 1 - size)):
        if not isinstance(part, bytes):
            msg = f"{name} gives {type(part).__name__}, not bytes: open it in binary mode"
            raise TypeError(msg)
        parts.append(part)
        size += len(part)
        check_size(size, name, policy)
    return b"".join(parts)
