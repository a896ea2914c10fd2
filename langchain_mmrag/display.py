"""Hits as one HTML page that needs nothing else: thumbnails inside, no scripts, no outside address."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from langchain_core.documents import Document

from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import (
    DEFAULT_POLICY,
    MediaPolicy,
    describe_source,
    encode_image,
    is_url,
    open_image,
)
from langchain_mmrag.prompts import cite
from langchain_mmrag.quotes import excerpt_of
from langchain_mmrag.types import SOURCE, ImageInput, image_source, modality_of

if TYPE_CHECKING:
    from langchain_mmrag.queries import Query

_THUMBNAIL_SIDE: Final = 320
"""Pixels of the longer side."""
_PASSAGE_CHARS: Final = 700
_MARK: Final = {"image": "picture", "text": "passage", "table": "table", "video": "video", "audio": "audio"}

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #f6f4ef; --card: #fff; --ink: #23211c; --soft: #6d685c;
  --line: #e3ded2; --mat: #efece4; --accent: #0b6b78; }
@media (prefers-color-scheme: dark) { :root { --paper: #191a1c; --card: #232528; --ink: #ecebe6;
  --soft: #a09c92; --line: #35383c; --mat: #2c2f33; --accent: #6cc5d1; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
header p { margin: 0; color: var(--soft); max-width: 44rem; white-space: pre-line; }
section { margin-top: 2.75rem; }
.query { display: flex; gap: 1rem; align-items: center; margin-bottom: 1rem; }
.query img { width: 72px; height: 72px; object-fit: contain; background: var(--mat);
  border: 1px solid var(--line); border-radius: 10px; }
.query h2 { font-size: 1.2rem; margin: 0; overflow-wrap: anywhere; }
.query p, .empty { margin: .1rem 0 0; color: var(--soft); font-size: .92rem; }
.answer { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--accent);
  border-radius: 10px; padding: .9rem 1.1rem; margin: 0 0 1rem; white-space: pre-line;
  overflow-wrap: anywhere; }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: 1rem;
  list-style: none; margin: 0; padding: 0; }
.hit { background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
  display: flex; flex-direction: column; }
.hit:target { outline: 3px solid var(--accent); }
.picture { background: var(--mat); height: 12rem; display: grid; place-items: center; padding: .75rem; }
.picture img { max-width: 100%; max-height: 10.5rem; object-fit: contain; border-radius: 4px; }
.picture span { color: var(--soft); font-size: .85rem; text-align: center; overflow-wrap: anywhere; }
.passage { padding: .9rem 1rem .2rem; white-space: pre-line; overflow-wrap: anywhere; }
.passage strong { display: block; margin-bottom: .3rem; }
.hit footer { margin-top: auto; padding: .65rem 1rem .75rem; font-size: .84rem; color: var(--soft); }
.hit footer b { color: var(--ink); }
.hit footer div { overflow-wrap: anywhere; }
.score { float: right; font-variant-numeric: tabular-nums; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
"""


Hit: TypeAlias = Document | tuple[Document, float | None]
"""A document found, alone or with its score."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One query and what it found.

    Attributes:
        heading: The query in words.
        hits: Documents, best first, each with its score or `None`.
        query_image: The picture that was asked with.
        note: A line under the heading.
        answer: An answer whose `[n]` refer to the hits.
    """

    heading: str
    hits: Sequence[Hit]
    query_image: ImageInput | None = None
    note: str = ""
    answer: str = ""


def hits_html(
    query: str | Query,
    hits: Sequence[Hit],
    *,
    answer: str = "",
    media_policy: MediaPolicy = DEFAULT_POLICY,
) -> str:
    """An HTML page of the hits of one query.

    Args:
        query: What was asked.
        hits: Documents, alone or with scores as `search_ranked` gives them, best first.
        answer: An answer whose `[n]` refer to the hits.
        media_policy: Which pictures may be opened for the thumbnails, for instance the store's own
            `media_policy`; one that may not is named instead.

    Returns:
        A whole page: write it to a file and open that, in a notebook with `IPython.display.IFrame`.
    """
    text = query if isinstance(query, str) else query.text or ""
    image = None if isinstance(query, str) else query.image
    heading = text or (describe_source(image) if image is not None else "")
    section = Section(heading=heading, hits=hits, query_image=image, note=_not_wanted(query), answer=answer)
    return page_html(heading, [section], media_policy=media_policy)


def page_html(
    title: str,
    sections: Sequence[Section],
    *,
    intro: str = "",
    media_policy: MediaPolicy = DEFAULT_POLICY,
) -> str:
    """An HTML page of several queries with their hits.

    Args:
        title: Title of the page.
        sections: The queries, in the order shown.
        intro: Text under the title.
        media_policy: Which pictures may be opened for the thumbnails.
    """
    has_header = bool(intro) or len(sections) != 1
    header = f"<header><h1>{escape(title)}</h1><p>{escape(intro)}</p></header>" if has_header else ""
    body = "\n".join(
        _section(number, section, media_policy) for number, section in enumerate(sections, start=1)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{header}
{body}
</main>
</body>
</html>
"""


def _not_wanted(query: str | Query) -> str:
    if isinstance(query, str):
        return ""
    image = None if query.not_image is None else describe_source(query.not_image)
    parts = [part for part in (query.not_text, image) if part is not None]
    return f"Not like: {', '.join(parts)}" if parts else ""


def _section(number: int, section: Section, policy: MediaPolicy) -> str:
    image = ""
    if section.query_image is not None:
        image = _thumbnail(section.query_image, "the picture asked with", policy)
    note = f"<p>{escape(section.note)}</p>" if section.note else ""
    answer = f'<div class="answer">{_linked(section.answer, number)}</div>' if section.answer else ""
    pairs = [hit if isinstance(hit, tuple) else (hit, None) for hit in section.hits]
    cards = "\n".join(_card(number, rank, *pair, policy) for rank, pair in enumerate(pairs, start=1))
    hits = f'<ol class="hits">\n{cards}\n</ol>' if cards else '<p class="empty">Nothing was found.</p>'
    query = f'<div class="query">{image}<div><h2>{escape(section.heading)}</h2>{note}</div></div>'
    return f"<section>\n{query}\n{answer}\n{hits}\n</section>"


def _card(section: int, rank: int, document: Document, score: float | None, policy: MediaPolicy) -> str:
    modality = modality_of(document.metadata)
    source = image_source(document.metadata) if modality == "image" else document.metadata.get(SOURCE)
    label = escape(cite(document))
    href = _href(str(source)) if source else None
    where = f'<a href="{escape(href)}">{label}</a>' if href else label
    shown = "" if score is None else f'<span class="score">{score:.2f}</span>'
    body = "".join(_body(document, source if modality == "image" else None, policy))
    footer = f"<footer>{shown}<b>{rank}</b> · {_MARK[modality]}<div>{where}</div></footer>"
    return f'<li class="hit" id="s{section}-{rank}">{body}{footer}</li>'


def _body(document: Document, picture: str | None, policy: MediaPolicy) -> Iterator[str]:
    text = document.page_content.strip()
    if picture:
        yield f'<div class="picture">{_thumbnail(picture, text or cite(document), policy)}</div>'
    if text:
        heading = str(document.metadata.get("heading", ""))
        part = excerpt_of(document, _PASSAGE_CHARS)
        shown, title = part.marked.strip(), ""
        if heading and text.startswith(heading):
            title = f"<strong>{escape(heading)}</strong>"
            shown = shown if part.cut_before else shown[len(heading) :].strip()
        yield f'<div class="passage">{title}{escape(_shortened(shown))}</div>'


def _thumbnail(source: ImageInput, alt: str, policy: MediaPolicy) -> str:
    """An `img` with the picture inside, or the reason why there is none."""
    try:
        image = open_image(source, policy)
    except LoadError as error:
        return f"<span>{escape(str(error))}</span>"
    data, mime_type = encode_image(image, max_side=_THUMBNAIL_SIDE)
    return f'<img src="data:{mime_type};base64,{b64encode(data).decode("ascii")}" alt="{escape(alt)}">'


def _href(source: str) -> str | None:
    """An address a browser may follow: web pages and local files, never `javascript:` and the like."""
    if is_url(source):
        return source
    path = Path(source)
    return path.as_uri() if path.is_absolute() else None


def _linked(answer: str, section: int) -> str:
    return re.sub(r"\[(\d{1,3})\]", rf'<a href="#s{section}-\1">[\1]</a>', escape(answer))


def _shortened(text: str) -> str:
    return text if len(text) <= _PASSAGE_CHARS else text[:_PASSAGE_CHARS].rsplit(maxsplit=1)[0] + " …"
