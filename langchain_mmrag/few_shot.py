"""Few-shot examples of pictures, questions and answers, shown to a model before the question.

Interleaving pictures with text and answers lets a model take up a task from a few examples, without training:
Alayrac et al., "Flamingo: a Visual Language Model for Few-Shot Learning", 2022 (arXiv:2204.14198). Choosing
the examples that are like the question, the best last, is that paper's retrieval-based selection (RICES),
after Yang et al., 2021 (arXiv:2109.05014).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from os import PathLike, fsdecode
from typing import Any, NotRequired, TypeAlias, TypedDict

from langchain_core.documents import Document
from langchain_core.example_selectors import BaseExampleSelector
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables.config import run_in_executor

from langchain_mmrag._prompt.blocks import text_block
from langchain_mmrag.budget import DEFAULT_BUDGET, PromptBudget
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, describe_source
from langchain_mmrag.prompts import image_block
from langchain_mmrag.queries import Query
from langchain_mmrag.types import CAPTION, MODALITY, SOURCE, ImageInput, image_source

logger = logging.getLogger(__name__)

QUESTION = "question"
ANSWER = "answer"
IMAGE = "image"


class Example(TypedDict):
    """A question that was answered well, with the picture it is about, if there is one.

    Attributes:
        question: What was asked.
        answer: What a good answer is.
        image: The picture asked about.
        caption: The picture in words, for models that take no pictures; without it these are not shown the
            example.
    """

    question: str
    answer: str
    image: NotRequired[ImageInput]
    caption: NotRequired[str]


Examples: TypeAlias = Sequence[Example] | BaseExampleSelector
"""Fixed examples, or what chooses some for each question."""


class SimilarExamples(BaseExampleSelector):
    """Chooses the examples that are most like a question, by its words and by its picture.

    ```python
    examples = SimilarExamples(MultimodalChroma("examples", clip), k=2)
    examples.add_example({"image": "a.jpg", "question": "What is broken?", "answer": "The left lamp."})
    chain = create_rag_chain(retriever, llm, examples=examples)
    ```

    Args:
        store: A `MultimodalChroma` of its own for the examples. One with a picture is kept as a picture that
            is found by its looks and by its question, one of text alone as text.
        k: How many to choose.

    Raises:
        ValueError: If `k` is less than 1.
        TypeError: If `store` is no `MultimodalChroma`.
    """

    def __init__(self, store: Any, k: int = 2) -> None:
        if k < 1:
            msg = f"k of SimilarExamples is {k}: use 1 or more"
            raise ValueError(msg)
        if not callable(getattr(store, "search_ranked", None)):
            msg = f"examples are kept in a MultimodalChroma, not in a {type(store).__name__}"
            raise TypeError(msg)
        self.store = store
        self.k = k

    def add_example(self, example: Mapping[str, Any]) -> str:
        """Keep an example; the same one again changes nothing.

        Args:
            example: An `Example`. Its picture is a path or URL: a collection keeps no bytes.

        Returns:
            The id it is kept by.

        Raises:
            ValueError: If its question or answer is missing.
            TypeError: If its picture is no path or URL.
        """
        document = _kept(example)
        ids: list[str] = self.store.add_documents([document], ids=[document.id])
        return ids[0]

    async def aadd_example(self, example: Mapping[str, Any]) -> str:
        """`add_example` in a worker thread."""
        return await run_in_executor(None, self.add_example, example)

    def select_examples(self, input_variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The examples most like a question, the best last: next to the question itself.

        Args:
            input_variables: `question` (text), `image`, or both.

        Raises:
            ValueError: If there is neither.
        """
        query = Query(text=input_variables.get(QUESTION) or None, image=input_variables.get(IMAGE))
        found = [document for document, _ in self.store.search_ranked(query, self.k)]
        return [_example_of(document) for document in reversed(found) if ANSWER in document.metadata]

    async def aselect_examples(self, input_variables: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`select_examples` in a worker thread."""
        return await run_in_executor(None, self.select_examples, input_variables)


def selection_input(query: Query) -> dict[str, Any]:
    """What an example selector is asked with: the words of a question, and its picture if it has one."""
    picture = {} if query.image is None else {IMAGE: query.image}
    return {QUESTION: query.text or "", **picture}


def example_messages(
    examples: Sequence[Mapping[str, Any]],
    *,
    images: bool = True,
    budget: PromptBudget = DEFAULT_BUDGET,
    media_policy: MediaPolicy = DEFAULT_POLICY,
) -> list[BaseMessage]:
    """Examples as a conversation: picture and question by a human, answer by the model, and so on.

    An example whose picture cannot be opened is left out, with a warning in the log.
    A model without image input is not shown the examples that rest on a picture, unless a `caption` tells it.
    Pictures of examples come on top of the budget's `max_images`, which is for evidence: their number is the
    caller's choice, as are the examples. They are shrunk like all others.

    Args:
        examples: In the order to be shown.
        images: Whether the model is shown pictures.
        budget: How large a picture may be (`max_side`).
        media_policy: What may be opened.

    Raises:
        ValueError: If an example lacks its question or answer.
        TypeError: If an example is no mapping.
    """
    messages: list[BaseMessage] = []
    for example in examples:
        _check(example)
        question = f"Question: {example[QUESTION]}"
        if (image := example.get(IMAGE)) is None:
            content: Any = question
        elif images:
            try:
                picture = image_block(image, max_side=budget.max_side, media_policy=media_policy)
            except LoadError as error:  # one lost file must not cost every answer
                logger.warning("an example is left out of the prompt: %s", error)
                continue
            content = [text_block(f"{_LABEL}:"), picture, text_block(question)]
        elif caption := example.get(CAPTION):
            content = f"{_LABEL}, in words: {caption}\n\n{question}"
        else:
            continue
        messages += [HumanMessage(content=content), AIMessage(str(example[ANSWER]))]
    return messages


_LABEL = "Picture of an example, no evidence"


def check_examples(examples: Any) -> None:
    """Refuse what are no examples, before any question is asked.

    Raises:
        TypeError: If it is neither a list of examples nor a selector.
        ValueError: If an example lacks its question or answer.
    """
    if isinstance(examples, BaseExampleSelector):
        return
    if isinstance(examples, str | Mapping) or not isinstance(examples, Sequence):
        msg = f"examples are a {type(examples).__name__}: {_EXAMPLES_HELP}"
        raise TypeError(msg)
    for example in examples:
        _check(example)


_EXAMPLES_HELP = 'give a list of {"question": ..., "answer": ...}, or a selector such as SimilarExamples'


def _check(example: Any) -> None:
    if not isinstance(example, Mapping):
        msg = f"an example is a {type(example).__name__}: {_EXAMPLES_HELP}"
        raise TypeError(msg)
    for key in (QUESTION, ANSWER):
        if not str(example.get(key) or "").strip():
            msg = (
                f'an example has no "{key}", only {", ".join(map(str, example))}: give "question", "answer"'
                ' and, for a picture, "image"'
            )
            raise ValueError(msg)


def _kept(example: Mapping[str, Any]) -> Document:
    """An example as a document; by its id the same one is known again."""
    _check(example)
    question, answer = str(example[QUESTION]), str(example[ANSWER])
    metadata: dict[str, Any] = {QUESTION: question, ANSWER: answer}
    if caption := example.get(CAPTION):
        metadata[CAPTION] = caption
    if (image := example.get(IMAGE)) is not None:
        metadata |= {MODALITY: "image", SOURCE: _address(image)}
    told = "\0".join((metadata.get(SOURCE, ""), question, answer))
    return Document(id=hashlib.sha256(told.encode()).hexdigest(), page_content=question, metadata=metadata)


def _address(image: ImageInput) -> str:
    if isinstance(image, PathLike):
        return fsdecode(image)
    if isinstance(image, str) and image[:5].lower() != "data:":
        return image
    msg = f"the picture of an example is {describe_source(image)}: a store keeps only paths, so give one"
    raise TypeError(msg)


def _example_of(document: Document) -> dict[str, Any]:
    metadata = document.metadata
    example = Example(question=metadata[QUESTION], answer=metadata[ANSWER])
    if metadata.get(MODALITY) == "image":
        example["image"] = str(image_source(metadata))
    if CAPTION in metadata:
        example["caption"] = metadata[CAPTION]
    return {**example}
