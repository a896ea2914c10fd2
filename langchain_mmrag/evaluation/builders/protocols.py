"""From captioned pictures to datasets: which enter the collection, and who asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation.builders.captions import CaptionedImage
from langchain_mmrag.evaluation.dataset import EvalDocument, EvalQuery, RetrievalDataset

Protocol: TypeAlias = Literal["mixed", "text-to-image", "image-to-text"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


def build(
    name: str,
    items: Sequence[CaptionedImage],
    protocol: Protocol = "mixed",
    *,
    share: float = 0.5,
    limit: int | None = None,
    seed: int = 0,
) -> RetrievalDataset:
    """A dataset of captioned pictures by one of the protocols.

    Args:
        name: What it is called.
        items: The pictures and captions.
        protocol: Which of the functions of this module.
        share: Of pictures in a mixed collection.
        limit: At most so many items, drawn at random.
        seed: Of all that is drawn.

    Raises:
        DatasetError: If ids are there twice, or there are too few items.
        ValueError: If there is no such protocol, or `share` is not between 0 and 1.
    """
    if limit is not None and limit < len(items):
        drawn = np.random.default_rng([seed, 1]).choice(len(items), limit, replace=False)
        items = [items[place] for place in sorted(drawn.tolist())]
    if protocol == "mixed":
        return mixed(name, items, share=share, seed=seed)
    plain: Mapping[str, Callable[[str, Sequence[CaptionedImage]], RetrievalDataset]] = {
        "text-to-image": text_to_image,
        "image-to-text": image_to_text,
    }
    if protocol not in plain:
        msg = f"unknown protocol {protocol!r}: use {', '.join(PROTOCOLS)}"
        raise ValueError(msg)
    return plain[protocol](name, items)


def text_to_image(name: str, items: Sequence[CaptionedImage]) -> RetrievalDataset:
    """Every caption asks for its picture, among pictures alone."""
    queries = [_caption_query(item, number) for item in items for number in range(len(item.captions))]
    relevance = {
        query.id: {_picture_id(item): 1}
        for item in items
        for query in (_caption_query(item, number) for number in range(len(item.captions)))
    }
    return RetrievalDataset(f"{name}, text-to-image", queries, [_picture(item) for item in items], relevance)


def image_to_text(name: str, items: Sequence[CaptionedImage]) -> RetrievalDataset:
    """Every picture asks for its captions, among captions alone; any of its captions answers it."""
    documents = [_caption(item, number) for item in items for number in range(len(item.captions))]
    queries = [_picture_query(item) for item in items]
    relevance = {
        _picture_query(item).id: {_caption_id(item, number): 1 for number in range(len(item.captions))}
        for item in items
    }
    return RetrievalDataset(f"{name}, image-to-text", queries, documents, relevance)


def mixed(
    name: str, items: Sequence[CaptionedImage], *, share: float = 0.5, seed: int = 0
) -> RetrievalDataset:
    """Each item enters one collection as its picture or as one of its captions.

    A caption asks for each item: another one than that in the collection, so items of a single caption that
    entered as it are not asked for in words. The pictures of those that entered as captions ask as well. So
    there are questions from text to image, from text to text (where there are two captions), and from image
    to text, in one collection.

    Args:
        name: What it is called.
        items: The pictures and captions.
        share: Of pictures in the collection; at least one item is of either kind.
        seed: Of what enters as what, and of which captions are taken.

    Raises:
        DatasetError: If there are less than two items.
        ValueError: If `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        msg = (
            f"the share of pictures must be between 0 and 1, not {share}: for one kind take a plain protocol"
        )
        raise ValueError(msg)
    if len(items) < 2:  # noqa: PLR2004 - one of each kind
        msg = f"{name}: a mixed collection needs two captioned pictures or more, there are {len(items)}"
        raise DatasetError(msg)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(items)).tolist()
    pictured = order[: min(len(items) - 1, max(1, round(share * len(items))))]
    documents: list[EvalDocument] = []
    queries: list[EvalQuery] = []
    relevance: dict[str, dict[str, int]] = {}

    def ask(query: EvalQuery, document: str) -> None:
        queries.append(query)
        relevance[query.id] = {document: 1}

    for place in sorted(pictured):
        item = items[place]
        documents.append(_picture(item))
        ask(_caption_query(item, int(rng.integers(len(item.captions)))), _picture_id(item))
    for place in sorted(order[len(pictured) :]):
        item = items[place]
        stored, *others = rng.permutation(len(item.captions)).tolist()
        documents.append(_caption(item, stored))
        ask(_picture_query(item), _caption_id(item, stored))
        if others:
            ask(_caption_query(item, others[0]), _caption_id(item, stored))
    kinds = f"{len(pictured)} pictures, {len(items) - len(pictured)} captions"
    return RetrievalDataset(f"{name}, mixed ({kinds}, seed {seed})", queries, documents, relevance)


def _picture_id(item: CaptionedImage) -> str:
    return f"{item.id}:image"


def _caption_id(item: CaptionedImage, number: int) -> str:
    return f"{item.id}:caption:{number}"


def _picture(item: CaptionedImage) -> EvalDocument:
    return EvalDocument(id=_picture_id(item), image=item.path)


def _caption(item: CaptionedImage, number: int) -> EvalDocument:
    return EvalDocument(id=_caption_id(item, number), text=item.captions[number])


def _picture_query(item: CaptionedImage) -> EvalQuery:
    return EvalQuery(id=_picture_id(item), image=item.path)


def _caption_query(item: CaptionedImage, number: int) -> EvalQuery:
    return EvalQuery(id=_caption_id(item, number), text=item.captions[number])
