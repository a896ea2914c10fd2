"""What providers refuse, told by the typed request models of their own SDKs and by their documented rules."""

from __future__ import annotations

import base64
import binascii
import io
import re
from typing import Any

from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

MOST_BYTES = 20_000_000
DATA_URI = re.compile(r"data:(image/[a-z+.-]+);base64,(.*)", re.DOTALL)
OPENAI_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
ANTHROPIC_PICTURES = OPENAI_PICTURES
GOOGLE_PICTURES = frozenset({"image/jpeg", "image/png", "image/webp", "image/heic", "image/heif"})


class Refused(Exception):  # noqa: N818 - it is no error of the server's
    """A request that the provider would answer by 400."""


class TypedRequest:
    """A provider's typed request, which forbids what it does not name."""

    def __init__(self, kind: Any) -> None:
        self._adapter = TypeAdapter(kind, config=ConfigDict(extra="forbid"))

    def check(self, body: Any) -> None:
        """Raise `Refused` unless `body` is of the type, to the last item of its lists."""
        try:
            _read_to_the_end(self._adapter.validate_python(body))
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise Refused("; ".join(problems)) from error


def _read_to_the_end(value: Any) -> None:
    """Pydantic validates the items of an `Iterable` when they are taken."""
    if isinstance(value, dict):
        value = list(value.values())
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        for item in value:
            _read_to_the_end(item)


def demand(condition: object, message: str) -> None:
    """Refuse the request unless the condition holds."""
    if not condition:
        raise Refused(message)


def picture_of(data: str, media_type: str | None, allowed: frozenset[str] = OPENAI_PICTURES) -> bytes:
    """The bytes of a picture in base64 that a provider takes."""
    try:
        picture = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise Refused(f"the picture is no base64: {error}") from error
    return checked_picture(picture, media_type, allowed)


def checked_picture(picture: bytes, media_type: str | None, allowed: frozenset[str]) -> bytes:
    """A picture that a provider takes: whole, small enough, and what it is declared to be."""
    demand(len(picture) <= MOST_BYTES, "the picture is too large")
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            real = Image.MIME[image.format or ""]
    except OSError as error:
        raise Refused(f"the picture cannot be read: {error}") from error
    demand(real in allowed, f"Unsupported MIME type: {real}")
    demand(media_type in {None, real}, f"the picture is {real}, declared as {media_type}")
    return picture


def picture_of_uri(uri: str) -> bytes:
    """The same of a data URI."""
    found = DATA_URI.fullmatch(uri)
    if found is None:
        raise Refused(f"Invalid image URL: {uri[:40]}")
    return picture_of(found[2], found[1])
