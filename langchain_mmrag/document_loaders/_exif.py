"""What a picture says of itself: when, where and with what it was taken, and what someone wrote about it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite
from typing import Any, Final, cast

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile

from langchain_mmrag.media.quiet import quiet_pillow
from langchain_mmrag.types import CAPTION, TITLE

TAKEN: Final = "taken"
TAKEN_TS: Final = "taken_ts"
LATITUDE: Final = "latitude"
LONGITUDE: Final = "longitude"
CAMERA: Final = "camera"
KEYWORDS: Final = "keywords"

_LONGEST_TEXT: Final = 8000
_LONGEST_XMP: Final = 2**18
_MOST_KEYWORDS: Final = 100
_XP_ENCODING: Final = "utf-16-le"
_NO_CAPTIONS: Final = {"olympus digital camera", "default", "untitled", "screenshot", "sony dsc"}
"""What cameras write where a caption belongs."""


def facts_of(image: Image.Image) -> dict[str, Any]:
    """What EXIF, XMP and IPTC of a picture say, each fact only if it is there and makes sense.

    Args:
        image: As its decoder gives it, with `info` and EXIF.

    Returns:
        `taken` (ISO 8601, local time, with its offset if that is known), `taken_ts` (seconds since 1970;
        without an offset the local time counts as UTC), `latitude` and `longitude` (decimal degrees, south
        and west negative), `camera`, `caption`, `title`, `keywords`. Words come from XMP, then IPTC, then
        EXIF.
    """
    with quiet_pillow():
        exif = _quietly(image.getexif, Image.Exif())
        inner = _quietly(lambda: dict(exif.get_ifd(ExifTags.IFD.Exif)), {})
        place = _quietly(lambda: dict(exif.get_ifd(ExifTags.IFD.GPSInfo)), {})
        iptc = _quietly(lambda: _iptc(image), {})
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    written = xmp_facts(xmp if isinstance(xmp, bytes) else str(xmp).encode())
    return {
        **_quietly(lambda: _place(place), {}),
        **_quietly(lambda: _time(exif, inner), {}),
        **_quietly(lambda: _camera(exif), {}),
        **_quietly(lambda: _exif_words(exif, inner), {}),
        **iptc,
        **written,
    }


def xmp_facts(data: bytes) -> dict[str, Any]:
    """`caption`, `title`, `keywords`, time and place of an XMP packet, those that it has.

    Read by pattern: packets come with wrappers, padding and namespaces of every sort, and an XML parser
    would follow what they declare.
    """
    text = data[:_LONGEST_XMP].decode("utf-8", "replace")
    facts: dict[str, Any] = {}
    for key, tag in ((CAPTION, "dc:description"), (TITLE, "dc:title")):
        said = next(iter(_xmp_items(text, tag)), "")
        facts |= words(key, said)
    facts |= keywords(_xmp_items(text, "dc:subject"))
    made = _xmp_value(text, "exif:DateTimeOriginal") or _xmp_value(text, "photoshop:DateCreated")
    with suppress(ValueError):
        facts |= moment(datetime.fromisoformat(made))
    latitude, longitude = (
        _xmp_degrees(_xmp_value(text, f"exif:GPS{axis}")) for axis in ("Latitude", "Longitude")
    )
    return facts | position(latitude, longitude)


def words(key: str, text: object) -> dict[str, Any]:
    """A caption or title, cleaned; nothing if there is none."""
    said = str(text or "").replace("\x00", " ").strip()[:_LONGEST_TEXT].strip()
    return {key: said} if said and said.lower() not in _NO_CAPTIONS else {}


def keywords(found: Iterable[object]) -> dict[str, Any]:
    """Keywords, each once; nothing if there are none."""
    said = dict.fromkeys(" ".join(str(word).replace("\x00", " ").split()) for word in found)
    kept = [word for word in said if word][:_MOST_KEYWORDS]
    return {KEYWORDS: kept} if kept else {}


def moment(when: datetime) -> dict[str, Any]:
    """When a picture was taken, for people and for filters."""
    known = when if when.tzinfo else when.replace(tzinfo=UTC)
    return {TAKEN: when.replace(microsecond=0).isoformat(), TAKEN_TS: known.timestamp()}


def position(latitude: float | None, longitude: float | None) -> dict[str, Any]:
    """Where it was taken; nothing if that is nowhere on Earth, or the point where unset places lie."""
    if latitude is None or longitude is None or not (isfinite(latitude) and isfinite(longitude)):
        return {}
    if abs(latitude) > 90 or abs(longitude) > 180 or latitude == longitude == 0:  # noqa: PLR2004
        return {}
    return {LATITUDE: round(latitude, 6), LONGITUDE: round(longitude, 6)}


def _quietly(read: Callable[[], Any], otherwise: Any) -> Any:
    """A picture with broken EXIF is still a picture: Pillow raises nearly every kind of error over it."""
    try:
        return read()
    except Exception:  # noqa: BLE001
        return otherwise


def _time(exif: Mapping[int, Any], inner: Mapping[int, Any]) -> dict[str, Any]:
    tags = ExifTags.Base
    for value, offset in (
        (inner.get(tags.DateTimeOriginal), inner.get(tags.OffsetTimeOriginal)),
        (inner.get(tags.DateTimeDigitized), inner.get(tags.OffsetTimeDigitized)),
        (exif.get(tags.DateTime), inner.get(tags.OffsetTime)),
    ):
        with suppress(ValueError):
            when = datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007  cameras know no zone
            return moment(when.replace(tzinfo=_zone(_text(offset))))
    return {}


def _zone(offset: str) -> timezone | None:
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", offset)
    if match is None:
        return None
    ahead = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-ahead if match[1] == "-" else ahead)


def _place(gps: Mapping[int, Any]) -> dict[str, Any]:
    tags = ExifTags.GPS
    latitude = _degrees(gps.get(tags.GPSLatitude), _text(gps.get(tags.GPSLatitudeRef)))
    longitude = _degrees(gps.get(tags.GPSLongitude), _text(gps.get(tags.GPSLongitudeRef)))
    return position(latitude, longitude)


def _degrees(parts: Any, side: str) -> float | None:
    """Degrees, minutes and seconds as one signed number."""
    if not parts:
        return None
    value: float = sum(float(part) / 60.0**power for power, part in enumerate(parts))
    return -value if side.upper().startswith(("S", "W")) else value


def _camera(exif: Mapping[int, Any]) -> dict[str, Any]:
    """Make and model, the make once: `NIKON CORPORATION`, `NIKON D90` is a NIKON D90."""
    make, model = (
        " ".join(_text(exif.get(tag)).split()) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
    )
    if make and model and make.split()[0].lower() not in model.lower().split():
        return {CAMERA: f"{make} {model}"}
    return {CAMERA: model or make} if model or make else {}


def _exif_words(exif: Mapping[int, Any], inner: Mapping[int, Any]) -> dict[str, Any]:
    tags = ExifTags.Base
    comment = inner.get(tags.UserComment)
    captions = (exif.get(tags.ImageDescription), _xp(exif.get(tags.XPComment)), _comment(comment))
    title = words(TITLE, _xp(exif.get(tags.XPTitle)))
    tagged = keywords(_xp(exif.get(tags.XPKeywords)).split(";"))
    caption = next((found for text in captions if (found := words(CAPTION, _text(text)))), {})
    return {**caption, **title, **tagged}


def _xp(value: Any) -> str:
    data = bytes(value) if isinstance(value, bytes | tuple | list) else b""
    return data.decode(_XP_ENCODING, "replace").rstrip("\x00")


def _comment(value: Any) -> str:
    if not isinstance(value, bytes):
        return _text(value)
    code, rest = value[:8], value[8:]
    if code.startswith(b"ASCII"):
        return rest.decode("ascii", "replace").strip("\x00 ")
    return rest.decode(_XP_ENCODING, "replace").strip("\x00 ") if code.startswith(b"UNICODE") else ""


def _text(value: Any) -> str:
    """Text of a tag; Pillow gives Latin-1, most programs write UTF-8."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value or "")
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return text.replace("\x00", " ").strip()


def _iptc(image: Image.Image) -> dict[str, Any]:
    """Title (2:05), keywords (2:25) and caption (2:120) of IPTC-IIM."""
    info: Mapping[Any, Any] = IptcImagePlugin.getiptcinfo(cast("ImageFile", image)) or {}

    def values(number: int) -> Iterator[str]:
        value = info.get((2, number)) or []
        yield from (_text(one) for one in (value if isinstance(value, list) else [value]))

    title, caption = (next(values(number), "") for number in (5, 120))
    return {**words(TITLE, title), **keywords(values(25)), **words(CAPTION, caption)}


def _xmp_items(text: str, tag: str) -> list[str]:
    """Items of a list of an XMP packet, or the text or attribute that stands in its place."""
    start, end = text.find(f"<{tag}"), text.find(f"</{tag}>")
    if not 0 <= start < end:
        value = _xmp_value(text, tag)
        return [value] if value else []
    inner = text[start:end].partition(">")[2]
    items = [item.partition(">")[2].partition("</rdf:li>")[0] for item in inner.split("<rdf:li")[1:]]
    return [_unescaped(item) for item in items or [inner] if "<" not in item]


def _xmp_value(text: str, name: str) -> str:
    match = re.search(rf"""\b{name}\s*=\s*(?:"([^"<]*)"|'([^'<]*)')|<{name}>([^<]*)</""", text)
    return _unescaped(next((group for group in match.groups() if group), "")) if match else ""


def _unescaped(text: str) -> str:
    return html.unescape(text).strip()


def _xmp_degrees(text: str) -> float | None:
    """`51,30.5N` or `51,30,30N`, degrees and minutes, with or without seconds."""
    match = re.fullmatch(r"(\d+),([\d.]+)(?:,([\d.]+))?([NSEW])", text)
    if match is None:
        return None
    with suppress(ValueError):
        return _degrees([part for part in match.groups()[:3] if part], match[4])
    return None
