"""Hits as one HTML page that needs nothing else: thumbnails inside, no scripts, no outside address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from langchain_core.documents import Document

from langchain_mmrag.display.parts import (
    KINDS,
    Hit,
    encodable,
    linked,
    not_wanted,
    passage_of,
    picture_of,
    query_words,
    rows_of,
    scored,
    thumbnail,
)
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.prompts import cite, cite_link, kind_of
from langchain_mmrag.types import ImageInput

if TYPE_CHECKING:
    from langchain_mmrag.queries import Query

_THUMBNAIL_SIDE: Final = 320
"""Pixels of the longer side."""
_PASSAGE_CHARS: Final = 700
_ROWS, _COLUMNS, _CELL_CHARS = 12, 12, 80

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
.table { overflow-x: auto; white-space: normal; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .15rem .45rem; text-align: left; vertical-align: top; }
th { background: var(--mat); }
.hit footer { margin-top: auto; padding: .65rem 1rem .75rem; font-size: .84rem; color: var(--soft); }
.hit footer b { color: var(--ink); }
.hit footer div { overflow-wrap: anywhere; }
.score { float: right; font-variant-numeric: tabular-nums; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
"""


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
    media_policy: MediaPolicy | None = None,
) -> str:
    """An HTML page of the hits of one query.

    Args:
        query: What was asked.
        hits: Documents, alone or with scores as `search_ranked` gives them, best first.
        answer: An answer whose `[n]` refer to the hits.
        media_policy: Which pictures may be opened for the thumbnails, for instance the store's own
            `media_policy`; by default `DEFAULT_POLICY`. Of one that may not, the reason is told instead.

    Returns:
        A whole page: write it to a file and open that, in a notebook with `IPython.display.IFrame`.
    """
    heading = query_words(query)
    image = None if isinstance(query, str) else query.image
    section = Section(heading=heading, hits=hits, query_image=image, note=not_wanted(query), answer=answer)
    return page_html(heading, [section], media_policy=media_policy)


def page_html(
    title: str,
    sections: Sequence[Section],
    *,
    intro: str = "",
    media_policy: MediaPolicy | None = None,
) -> str:
    """An HTML page of several queries with their hits.

    Args:
        title: Title of the page.
        sections: The queries, in the order shown.
        intro: Text under the title.
        media_policy: Which pictures may be opened for the thumbnails; by default `DEFAULT_POLICY`.
    """
    policy = media_policy or DEFAULT_POLICY
    has_header = bool(intro) or len(sections) != 1
    header = f"<header><h1>{escape(title)}</h1><p>{escape(intro)}</p></header>" if has_header else ""
    body = "\n".join(_section(number, section, policy) for number, section in enumerate(sections, start=1))
    page = f"""<!doctype html>
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
    return encodable(page)


def _section(number: int, section: Section, policy: MediaPolicy) -> str:
    image = ""
    if section.query_image is not None:
        image = _image(section.query_image, "the picture asked with", policy)
    note = f"<p>{escape(section.note)}</p>" if section.note else ""
    answer = linked(section.answer, f"s{number}", len(section.hits))
    answer = f'<div class="answer">{answer}</div>' if answer else ""
    cards = "\n".join(
        _card(number, rank, *scored(hit), policy) for rank, hit in enumerate(section.hits, start=1)
    )
    hits = f'<ol class="hits">\n{cards}\n</ol>' if cards else '<p class="empty">Nothing was found.</p>'
    query = f'<div class="query">{image}<div><h2>{escape(section.heading)}</h2>{note}</div></div>'
    return f"<section>\n{query}\n{answer}\n{hits}\n</section>"


def _card(section: int, rank: int, document: Document, score: float | None, policy: MediaPolicy) -> str:
    picture = picture_of(document)
    label = escape(cite(document))
    href = cite_link(document)
    where = f'<a href="{escape(href)}">{label}</a>' if href else label
    shown = "" if score is None else f'<span class="score">{score:.2f}</span>'
    body = "".join(_body(document, picture, policy))
    footer = f"<footer>{shown}<b>{rank}</b> · {KINDS[kind_of(document)]}<div>{where}</div></footer>"
    return f'<li class="hit" id="s{section}-{rank}">{body}{footer}</li>'


def _body(document: Document, picture: str | None, policy: MediaPolicy) -> Iterator[str]:
    title, text = passage_of(document, _PASSAGE_CHARS)
    if picture:
        alt = document.page_content.strip() or cite(document)
        yield f'<div class="picture">{_image(picture, alt, policy)}</div>'
    above, rows = rows_of(document, _ROWS, _COLUMNS, _CELL_CHARS)
    if rows:
        yield f'<div class="passage table">{_table(above, rows)}</div>'
    elif title or text:
        heading = f"<strong>{escape(title)}</strong>" if title else ""
        yield f'<div class="passage">{heading}{escape(text)}</div>'


def _table(above: str, rows: Sequence[Sequence[str]]) -> str:
    header, *others = rows
    heading = f"<strong>{escape(above)}</strong>" if above else ""
    lines = [_row(header, "th"), *(_row(row, "td") for row in others)]
    return f"{heading}<table>{''.join(lines)}</table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _image(source: ImageInput, alt: str, policy: MediaPolicy) -> str:
    """An `img` with the picture inside, or the reason why there is none."""
    made = thumbnail(source, policy, side=_THUMBNAIL_SIDE)
    if isinstance(made, str):
        return f"<span>{escape(made)}</span>"
    return f'<img src="{made.uri}" alt="{escape(alt)}">'
