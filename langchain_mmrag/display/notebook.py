"""`show`: hits, answers and queries as the output of a notebook's cell.

A table whose layout is in its attributes, as code hosts strip styles from the notebooks they show; the styles
beside them only make it prettier, and take their colours from the page around, light or dark. No scripts, no
classes, nothing from outside. Files are not linked: a browser would not follow, and a notebook that is passed
on would tell of the folders of one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from html import escape
from typing import Any, Final, TypeAlias

from langchain_core.documents import Document

from langchain_mmrag._chain.question import question_of
from langchain_mmrag.citations import pieces_of
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
    shortened,
    thumbnail,
)
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, is_url
from langchain_mmrag.prompts import cite, cite_link, kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.types import ImageInput

Found: TypeAlias = "Iterable[Hit] | Document | Mapping[str, Any] | Query"
"""Hits, one of them, the result of a chain, or a query alone."""

_SIDE: Final = 150
_IMAGE_BYTES: Final = 14_000
_PASSAGE_CHARS: Final = 260
_LINE_CHARS: Final = 96
_CAPTION_CHARS: Final = 90
_ROWS, _COLUMNS, _CELL_CHARS = 6, 5, 24

_LINE: Final = "1px solid rgba(128,128,128,.35)"
_TABLE: Final = "border-collapse:separate;border-spacing:6px;border:none;width:100%;max-width:960px;margin:0"
_ROW: Final = "background:none"
_CELL: Final = (
    f"text-align:left;vertical-align:top;padding:10px;border:{_LINE};border-radius:8px;"
    "background:rgba(128,128,128,.07);overflow-wrap:anywhere;font-size:13px;line-height:1.4;white-space:normal"
)
_CITED: Final = "border-color:#0072B2;border-width:2px"
_PLAIN: Final = "text-align:left;vertical-align:middle;border:none;background:none;font-size:15px"
_IMAGE: Final = "border-radius:4px;max-width:100%;height:auto;margin:0 0 6px"


@dataclass(frozen=True, repr=False)
class Shown:
    """What `show` returns: HTML in a notebook, plain text in a terminal.

    Attributes:
        hits: Documents with their scores or `None`, best first.
        query: What was asked, if that is known.
        answer: An answer whose `[n]` refer to the hits.
        cited: Numbers of the hits the answer cites.
        removed: Citations taken out of the answer as they pointed at nothing.
        columns: Cards in a row.
        media_policy: Which pictures may be opened.
    """

    hits: Sequence[tuple[Document, float | None]] | None
    query: str | Query | None = None
    answer: str = ""
    cited: frozenset[int] = frozenset()
    removed: Sequence[str] = ()
    columns: int = 4
    media_policy: MediaPolicy = field(default=DEFAULT_POLICY)

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        return self._html

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/html": self._html, "text/plain": repr(self)}

    # --- plain text -----------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[str]:
        if self.query is not None:
            yield query_words(self.query)
            if unwanted := not_wanted(self.query):
                yield unwanted
        if self.answer:
            yield from ("", self.answer, "")
        if self.removed:
            yield self._removed
        for number, (document, score) in enumerate(self.hits or (), start=1):
            shown = "" if score is None else f"{score:6.2f}  "
            title, text = passage_of(document, _PASSAGE_CHARS)
            words = " ".join(f"{title} {text}".split())
            line = f"{number:3}  {shown}{KINDS[kind_of(document)]:8} {cite(document)}  {words}"
            yield shortened(line.rstrip(), _LINE_CHARS)
        if self.hits is not None and not self.hits:
            yield "Nothing was found."

    @property
    def _removed(self) -> str:
        return f"Taken out of the answer, as they point at nothing: {', '.join(self.removed)}"

    # --- HTML -----------------------------------------------------------------------------------------------

    @cached_property
    def _html(self) -> str:
        cards = [self._card(number, *hit) for number, hit in enumerate(self.hits or (), start=1)]
        # Of the content alone: the same output every time, and links stay within their own output.
        content = encodable("".join([*cards, self.answer]))
        name = f"mmrag-{sha256(content.encode()).hexdigest()[:10]}"
        parts = [self._asked(), self._answered(name), self._grid(cards, name)]
        return encodable("\n".join(part for part in parts if part))

    def _asked(self) -> str:
        query = self.query
        if query is None:
            return ""
        image = None if isinstance(query, str) else query.image
        is_words = isinstance(query, str) or query.text
        words = f"<b>{escape(query_words(query))}</b>" if is_words else "<b>Like this picture</b>"
        notes = [not_wanted(query), *(_weights(query) if isinstance(query, Query) else ())]
        small = "".join(f"<br><small>{escape(note)}</small>" for note in notes if note)
        cells = [f'<td style="{_PLAIN}"><div align="left">{words}{small}</div></td>']
        if image is not None:
            picture = self._image(image, "the picture asked with", side=80)
            cells.insert(0, f'<td width="90" align="left" style="{_PLAIN}">{picture}</td>')
        row = "".join(cells)
        return f'<table style="border:none;margin:0"><tr style="{_ROW}">{row}</tr></table>'

    def _answered(self, name: str) -> str:
        if not self.answer and not self.removed:
            return ""
        # Where styles are stripped lines would run into one another.
        text = linked(self.answer, name, len(self.hits or ())).replace("\n", "<br>\n")
        removed = f"<br><br><small>{escape(self._removed)}</small>" if self.removed else ""
        style = "border-left:4px solid #0072B2;padding:6px 12px;max-width:900px;margin:6px"
        return f'<blockquote style="{style}">{text}{removed}</blockquote>'

    def _grid(self, cards: Sequence[str], name: str) -> str:
        if self.hits is None:
            return ""
        if not cards:
            return "<p><i>Nothing was found.</i></p>"
        width = f"{100 // self.columns}%"
        styles = [f"{_CELL};{_CITED}" if n in self.cited else _CELL for n in range(1, len(cards) + 1)]
        cells = [
            f'<td id="{name}-{number}" width="{width}" valign="top" style="{style}">'
            f'<div align="left">{card}</div></td>'
            for number, (card, style) in enumerate(zip(cards, styles, strict=True), start=1)
        ]
        # A last row that is short keeps the width of the others.
        cells += [f'<td width="{width}" style="{_PLAIN}"></td>'] * (-len(cells) % self.columns)
        rows = "\n".join(
            f'<tr style="{_ROW}">{"".join(cells[start : start + self.columns])}</tr>'
            for start in range(0, len(cells), self.columns)
        )
        return f'<table width="100%" style="{_TABLE}">\n{rows}\n</table>'

    def _card(self, number: int, document: Document, score: float | None) -> str:
        kind = KINDS[kind_of(document)]
        figure = "" if score is None else f" · {score:.2f}"
        label = escape(cite(document))
        link = cite_link(document)
        if link and is_url(link):
            label = f'<a href="{escape(link)}">{label}</a>'
        parts = [f"<b>{number}</b> · {kind}{figure}", f"<small>{label}</small>"]
        title, text = passage_of(document, _PASSAGE_CHARS)
        if picture := picture_of(document):
            parts.insert(0, self._image(picture, shortened(text, _CAPTION_CHARS) or cite(document)))
        if title:
            parts.append(f"<b>{escape(title)}</b>")
        above, rows = rows_of(document, _ROWS, _COLUMNS, _CELL_CHARS)
        if rows:
            if above and not title:
                parts.append(f"<b>{escape(shortened(above, _PASSAGE_CHARS))}</b>")
            return "<br>".join(parts) + _small_table(rows)
        if text:
            parts.append(escape(text).replace("\n", "<br>"))
        return "<br>".join(parts)

    def _image(self, source: ImageInput, alt: str, side: int = _SIDE) -> str:
        made = thumbnail(source, self.media_policy, side=side, max_bytes=_IMAGE_BYTES)
        if isinstance(made, str):
            return f"<i>{escape(made)}</i>"
        size = f'width="{made.width}" height="{made.height}"'
        return f'<img src="{made.uri}" {size} alt="{escape(alt)}" style="{_IMAGE}">'


def show(
    found: Found,
    *,
    query: str | Query | None = None,
    answer: str = "",
    columns: int = 4,
    media_policy: MediaPolicy | None = None,
) -> Shown:
    """Hits as cards with thumbnails, in a notebook or as text.

    ```python
    show(store.search_ranked("lighthouse"))
    show(chain.invoke({"input": "Where is the red lighthouse?"}), media_policy=store.media_policy)
    show(Query(image="postcard.jpg", text="at night"))
    ```

    Args:
        found: Documents, alone or with scores, best first, or a single one; the result of a chain, that is a
            mapping with `context` and, as far as there are any, `input`, `answer`, `citations` and
            `removed_citations`; or a `Query` alone.
        query: What was asked, shown above the hits; that of a chain's result is known.
        answer: An answer whose `[n]` refer to the hits; likewise.
        columns: Cards in a row.
        media_policy: Which pictures may be opened for the thumbnails, for instance the store's own
            `media_policy`; by default `DEFAULT_POLICY`. Of a picture that may not, or cannot, the reason is
            told instead.

    Raises:
        TypeError: If `found` is none of these.
        ValueError: If `columns` is less than 1, or a chain's result has no `context`.
    """
    if columns < 1:
        msg = f"columns is {columns}: use 1 or more"
        raise ValueError(msg)
    policy = media_policy or DEFAULT_POLICY
    if isinstance(found, Query):
        return Shown(None, found, columns=columns, media_policy=policy)
    if isinstance(found, Mapping):
        return _of_result(found, query, answer, columns, policy)
    hits = _hits(found)
    return Shown(hits, query, answer, _cited(answer, len(hits)), columns=columns, media_policy=policy)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext langchain_mmrag.display`: from then on a cell that ends in a `Query` shows it."""
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type(Query, lambda query: show(query)._repr_html_())


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext langchain_mmrag.display`."""
    shell.display_formatter.formatters["text/html"].pop(Query, None)


def _of_result(
    result: Mapping[str, Any],
    query: str | Query | None,
    answer: str,
    columns: int,
    media_policy: MediaPolicy,
) -> Shown:
    if "context" not in result:
        msg = f"a chain's result has its hits under 'context'; this mapping has {sorted(map(str, result))}"
        raise ValueError(msg)
    answer = answer or str(result.get("answer") or "")
    hits, citations = _hits(result["context"]), result.get("citations")
    numbers = _cited(answer, len(hits)) if citations is None else (each["number"] for each in citations)
    cited = frozenset(map(int, numbers))
    return Shown(
        hits,
        query if query is not None else _asked_of(result),
        answer,
        cited,
        tuple(map(str, result.get("removed_citations") or ())),
        columns,
        media_policy,
    )


def _asked_of(result: Mapping[str, Any]) -> Query | None:
    """The question in a chain's result, if one is there."""
    try:
        return question_of(result)
    except (ValueError, TypeError):
        return None


def _hits(found: Any) -> tuple[tuple[Document, float | None], ...]:
    hits = [found] if isinstance(found, Document) else found
    if isinstance(hits, str | bytes) or not isinstance(hits, Iterable):
        msg = (
            f"show takes documents, a chain's result or a Query, not {type(found).__name__}:"
            " try show(store.search_ranked(...))"
        )
        raise TypeError(msg)
    hits = [*hits]
    for place, hit in enumerate(hits):
        if not isinstance(hit[0] if isinstance(hit, tuple) and len(hit) == 2 else hit, Document):  # noqa: PLR2004
            msg = f"hit {place} is a {type(hit).__name__}: give documents, or pairs of one and its score"
            raise TypeError(msg)
    return tuple(map(scored, hits))


def _cited(answer: str, count: int) -> frozenset[int]:
    return frozenset(number for piece in pieces_of(answer, count) for number in piece.numbers or ())


def _small_table(rows: Sequence[Sequence[str]]) -> str:
    style = f"text-align:left;padding:1px 5px;border:{_LINE};background:none;font-size:11px"
    made = "".join(
        f'<tr style="{_ROW}">'
        + "".join(f'<td align="left" style="{style}"><small>{escape(cell)}</small></td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse;margin:4px 0">{made}</table>'


def _weights(query: Query) -> Iterator[str]:
    if query.modality is not None:
        yield f"Only of modality {query.modality}"
    if query.weights:
        yield "Weights: " + ", ".join(f"{name} {weight:g}" for name, weight in query.weights.items())
