"""What the search tells a model: results under names that stay, pictures small enough to be kept.

A message of a tool is kept: agents write it into a checkpoint at every step. So the pictures in it are small,
and the artifact has what it takes to show them at full size at the moment a model is called
(`middleware.ToolImagesMiddleware`).
"""

from __future__ import annotations

import json
import math
import re
from base64 import b32encode, b64decode, b64encode
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final, NamedTuple

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from PIL import Image

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.media import MediaPolicy, describe_source, encode_image, open_image
from langchain_mmrag.prompts import documents_to_content_blocks, text_if_no_pictures
from langchain_mmrag.quotes import PASSAGE_CHARS, excerpt_of
from langchain_mmrag.tools.telling import DATA_NOTE
from langchain_mmrag.types import CHUNK, CHUNK_START

PREVIEW_BYTES: Final = 64_000
PREVIEW_SIDE: Final = 512

_LEFT_OUT: Final = "\n(not in this message: pictures of it)"
_LEAST_PREVIEW: Final = 1_400  # base64 of the least an encoder is asked for
_PIXELS_PER_BYTE: Final = 6  # of a JPEG of a photograph that is still looked at with pleasure
_NAME: Final = re.compile(r"[a-z2-7]{4}[0-9]")
_BRACKETS: Final = re.compile(r"[\[【［]\s*\^?([^\[\]【】［］\n]{1,200})[\]】］](\(?)")  # noqa: RUF001 (full-width)
_BETWEEN: Final = re.compile(r"[\s,;&]+|\b(?:and|ids?)\b")
_RANGE: Final = re.compile(r"\b(\d{1,2})\s*[-–—]\s*(\d{1,2})\b")  # noqa: RUF001 (dashes)
_NUMBERS: Final = re.compile(r"[1-9]\d?(?:-[1-9]\d?)?")
_ID: Final = re.compile(r"[a-z0-9]{5}")
_NUMBER: Final = re.compile(r"\A\[(\d+)\] ")


# --- names -------------------------------------------------------------------------------------------------


def name_of(document: Document | str) -> str:
    """The short id a model knows a document by, such as `k3fq7`: always the same for the same document.

    Numbers would start anew with each search of a conversation, and `[1]` mean two things; a store's own ids
    are long, or of any form.

    Args:
        document: Or its id.
    """
    key = document if isinstance(document, str) else document.id
    if not key and isinstance(document, Document):
        content = [document.page_content, document.metadata]
        key = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    digest = sha256(str(key).encode(errors="surrogatepass")).digest()
    # with a digit at the end it is no word, so that an answer's other brackets are not taken for citations
    return f"{b32encode(digest[:5]).decode('ascii')[:4].lower()}{digest[5] % 10}"


def as_name(given: str) -> str | None:
    """A name as a model may write it, with brackets for instance; `None` if it is none."""
    name = given[:20].strip().strip("[]\"'` ").lower()
    return name if _NAME.fullmatch(name) else None


class CitedDocuments(NamedTuple):
    """What an agent's answer rests on.

    Attributes:
        cited: The documents it cites, by the ids (or numbers) in its text, in the order they come up.
        unknown: Ids in its text that no search has found, and numbers that mean no result, or could mean
            one of several.
    """

    cited: dict[str, Document]
    unknown: list[str]


def cited_documents(messages: Sequence[BaseMessage] | Mapping[str, Any]) -> CitedDocuments:
    """Look up the citations of the last answer in a conversation among everything its searches have found.

    An id such as `[k3fq7]` is the same in every search. A number such as `[2]` counts if there was one search
    since the user last spoke, or, if there was none, for the last one before. Several may share brackets:
    `[k3fq7, b2cd4]`, `[k3fq7 and b2cd4]`, `[1-3]`; `【k3fq7】` and `[^k3fq7]` are read too.

    What is in brackets and looks like an id (five letters and digits) but is none is told as unknown, as
    are numbers of one or two digits; `[2024]`, `[b2b]` and `[see below]` are taken for no citations.

    ```python
    state = agent.invoke({"messages": [("user", "Where is the lighthouse?")]})
    found = cited_documents(state)
    ```

    Args:
        messages: The `messages` of an agent's state, or the state, also as they come from a checkpoint.

    Raises:
        TypeError: If these are no messages.
    """
    by_name: dict[str, Document] = {}
    in_turn: list[list[Document]] = []
    last: list[list[Document]] = []
    answer: AIMessage | None = None
    for message in _messages_of(messages):
        if isinstance(message, HumanMessage):
            last, in_turn = in_turn or last, []
        elif isinstance(message, AIMessage):
            answer = message
        elif isinstance(message, ToolMessage) and (documents := documents_of(message)):
            by_name |= {name_of(document): document for document in documents}
            in_turn.append(documents)
    searches = in_turn or last[-1:]
    markers = list(dict.fromkeys(_markers(answer.text, by_name))) if answer else []
    found = {marker: _cited(marker, by_name, searches) for marker in markers}
    cited = {marker: document for marker, document in found.items() if document is not None}
    return CitedDocuments(cited, [marker for marker in markers if marker not in cited])


def _messages_of(given: object) -> Sequence[BaseMessage]:
    messages = given.get("messages") if isinstance(given, Mapping) else given
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        kind = "dict without messages" if isinstance(given, Mapping) else type(given).__name__
        msg = f'cited_documents got a {kind}: give the messages of an agent, as in state["messages"]'
        raise TypeError(msg)
    for message in messages:
        if not isinstance(message, BaseMessage):
            msg = f"cited_documents got a {type(message).__name__} among the messages: give LangChain's"
            raise TypeError(msg)
    return messages


def _cited(
    marker: str, by_name: Mapping[str, Document], searches: Sequence[Sequence[Document]]
) -> Document | None:
    if marker in by_name or not marker.isdigit():
        return by_name.get(marker)
    number = int(marker)
    return searches[0][number - 1] if len(searches) == 1 and 0 < number <= len(searches[0]) else None


def _markers(text: str, known: Container[str]) -> Iterator[str]:
    """Ids and numbers in brackets: known ids wherever they stand, all else only among its like."""
    for brackets in _BRACKETS.finditer(text):
        inside = brackets[1].lower().partition("†")[0]
        parts = [part for part in _BETWEEN.split(_RANGE.sub(r"\1-\2", inside)) if part]
        all_alike = all(_looks_like_one(part) for part in parts)
        for part in parts:
            if part in known:
                yield part
            elif all_alike and not brackets[2]:  # else it is a link
                yield from _numbers(part) if _NUMBERS.fullmatch(part) else [part]


def _looks_like_one(part: str) -> bool:
    is_mixed = _ID.fullmatch(part) and not part.isalpha() and not part.isdigit()
    return bool(is_mixed or _NUMBERS.fullmatch(part))


def _numbers(part: str) -> Iterator[str]:
    first, _, last = part.partition("-")
    for number in range(int(first), max(int(first), int(last or first)) + 1):
        yield str(number)


# --- the artifact ------------------------------------------------------------------------------------------


def slim(document: Document) -> Document:
    """A document as an artifact keeps it: JSON, no payload, of a long text the part that was found."""
    metadata = {str(key): _plain(value) for key, value in document.metadata.items()}
    text = document.page_content
    if text[:5].lower() == "data:":
        text = describe_source(text)
    elif len(text) > PASSAGE_CHARS:
        text = excerpt_of(document).marked
        if text != document.page_content:  # these say where in the whole text it is
            metadata.pop(CHUNK, None)
            metadata.pop(CHUNK_START, None)
    return Document(id=document.id, page_content=text, metadata=metadata)


def _plain(value: Any) -> Any:  # noqa: PLR0911
    if isinstance(value, str):
        return describe_source(value) if value[:5].lower() == "data:" else value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    if hasattr(value, "item") and hasattr(value, "dtype") and getattr(value, "size", 0) == 1:
        return _plain(value.item())  # a scalar of NumPy
    has_payload = isinstance(value, bytes | bytearray | memoryview | Image.Image) or hasattr(value, "read")
    return describe_source(value) if has_payload else str(value)


def documents_of(message: ToolMessage) -> list[Document] | None:
    """The documents in a message's artifact, also as dicts, as some checkpoints give them back."""
    if not isinstance(message.artifact, list):
        return None
    documents = []
    for part in message.artifact:
        if isinstance(part, Document):
            documents.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("page_content"), str):
            metadata = part.get("metadata")
            fields = {"id": part.get("id"), "metadata": metadata if isinstance(metadata, Mapping) else {}}
            documents.append(Document(page_content=part["page_content"], **fields))
        else:
            return None
    return documents


def has_lost_payload(documents: Iterable[Document]) -> bool:
    """Whether a picture was given as a data-URI, which an artifact does not keep."""
    return any(str(value).startswith("data-URI (") for each in documents for value in each.metadata.values())


# --- the message -------------------------------------------------------------------------------------------


def as_content(
    documents: Sequence[Document],
    *,
    images: bool,
    budget: PromptBudget,
    media_policy: MediaPolicy,
    preview_bytes: int | None = None,
) -> str | list[str | dict[str, Any]]:
    """Results as a tool's message has them.

    Args:
        documents: Best first.
        images: Whether pictures are shown.
        budget: What the message may hold.
        media_policy: What may be opened.
        preview_bytes: Base64 that all pictures together may take in the message; `None`: as much as they do.
    """
    if images and preview_bytes is not None:
        budget = replace(budget, max_side=min(budget.max_side, PREVIEW_SIDE))
    blocks = documents_to_content_blocks(documents, images=images, budget=budget, media_policy=media_policy)
    if preview_bytes is not None:
        blocks = _within(blocks, preview_bytes)
    names = [name_of(slim(document)) for document in documents]
    heading = (
        f"{len(documents)} found, best first. Cite a result by its id in brackets, like [{names[0]}]: numbers"
        f" start anew with each search. {DATA_NOTE}"
    )
    told = [_with_id(block, names) if block["type"] == "text" else block for block in blocks]
    return text_if_no_pictures([{"type": "text", "text": heading}, *told])


def _with_id(block: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A block whose label, if it starts with one, tells the id behind the number."""
    label = _NUMBER.match(block["text"])
    if label is None or not 0 < int(label[1]) <= len(names):
        return block
    rest = block["text"][label.end() :]
    return {**block, "text": f"[{label[1]}] id {names[int(label[1]) - 1]} · {rest}"}


def _within(blocks: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The same blocks with `limit` bytes of base64 at most; the last pictures are left out first."""
    sizes = [len(block.get("base64", "")) for block in blocks if block["type"] == "image"]
    shares = _shares(sizes[: limit // _LEAST_PREVIEW], limit)
    kept: list[dict[str, Any]] = []
    place = label = 0
    for block in blocks:
        if block["type"] != "image":
            label = len(kept)
            kept.append(block)
            continue
        if place < len(shares):
            kept.append(block if sizes[place] <= shares[place] else _shrunk(block, shares[place]))
        else:
            kept[label] = _noted(kept[label])
        place += 1
    return kept


def _noted(label: dict[str, Any]) -> dict[str, Any]:
    text = label["text"].removesuffix(_LEFT_OUT)
    return {**label, "text": f"{text}{_LEFT_OUT}"}


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """An equal share for each; what small ones leave goes to the others."""
    shares = [0] * len(sizes)
    left = limit
    by_size = sorted(range(len(sizes)), key=lambda place: sizes[place])
    for done, place in enumerate(by_size):
        shares[place] = min(sizes[place], left // (len(sizes) - done))
        left -= shares[place]
    return shares


def _shrunk(block: dict[str, Any], most: int) -> dict[str, Any]:
    size = most // 4 * 3
    image = open_image(b64decode(block["base64"]))
    side = min(PREVIEW_SIDE, math.isqrt(size * _PIXELS_PER_BYTE))
    small = encode_image(image, max_side=side, max_bytes=size)
    return {**block, "base64": b64encode(small.data).decode("ascii"), "mime_type": small.mime_type}
