"""The search as a tool for agents: `create_search_tool`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import PrivateAttr

from langchain_mmrag._chat_models import ModelFamily
from langchain_mmrag._store.chroma import where
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.errors import BudgetError, EmbeddingError, LoadError, StoreError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import kind_of
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever, media_policy_of, not_a_retriever
from langchain_mmrag.tools.arguments import MAX_RESULTS, arguments_of, explain_arguments
from langchain_mmrag.tools.asked_images import AskedImages
from langchain_mmrag.tools.filters import MetadataKey, keys_seen, keys_told, sampled_metadata, to_where
from langchain_mmrag.tools.results import PREVIEW_BYTES, as_content, documents_of, has_lost_payload, slim
from langchain_mmrag.tools.stored import Stored, chroma_of
from langchain_mmrag.tools.telling import told_error

DEFAULT_DESCRIPTION = (
    "Search the user's collection of pictures, charts, notes and tables. Returns the best matching pictures"
    " and passages, each with an id and its source. Use it before answering questions about the user's own"
    " material, and cite results by their ids in square brackets, like [k3fq7]."
)

_Output: TypeAlias = tuple[str | list[str | dict[str, Any]], list[Document]]
_EXPECTED = (EmbeddingError, LoadError, StoreError)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class SearchTool(StructuredTool):
    """What `create_search_tool` makes: a tool that can show what it found at full size once more."""

    _search: _Search = PrivateAttr()

    def with_pictures(
        self,
        message: ToolMessage,
        *,
        images: bool = True,
        max_images: int | None = None,
        family: ModelFamily | None = None,
    ) -> ToolMessage:
        """A message of this tool as a model should see it: pictures at full size, read anew.

        What is opened is what the collection has under the ids in the message's artifact, and nothing the
        artifact says otherwise: where clients post messages, it may be anybody's. What is no longer in the
        collection, and a picture that can no longer be opened, become a line that says so. Over a retriever
        of which nobody knows where its documents are kept, a message stays as it is, unless the tool was made
        with a `media_policy` that has `roots`.

        Args:
            message: From an agent's state; it is left as it is.
            images: Whether there are to be pictures at all; if not, captions stand for them.
            max_images: So many at most, besides the tool's own budget.
            family: Whose rules count a picture's tokens, if the budget does not say.
        """
        return self._search.at_full_size(message, images, max_images, family)


def create_search_tool(
    retriever: BaseRetriever,
    name: str = "search_pictures_and_text",
    description: str = DEFAULT_DESCRIPTION,
    *,
    images: bool = True,
    budget: PromptBudget | None = None,
    preview_bytes: int | None = PREVIEW_BYTES,
    media_policy: MediaPolicy | None = None,
    filter_keys: Mapping[str, type] | None = None,
    image_roots: Sequence[str | os.PathLike[str]] | None = None,
    allow_urls: bool = False,
) -> BaseTool:
    """A tool by which an agent searches a collection and sees the pictures it finds.

    The message a model gets has labels, passages and pictures as standard content blocks (one string if there
    is no picture among them). Beside its number each result has a short id such as `k3fq7`, which is the same
    in every search: a model cites by it, `cited_documents` looks it up, and `image` takes it. The artifact
    is the list of documents: where they lie, never their bytes.

    Agents write both into checkpoints, so the pictures in a message are small. `ToolImagesMiddleware` shows
    them at full size when a model is called, and to models that see none in a tool's message.

    What a model can get wrong, and what a collection or an embedding refuses, is told to the model as the
    tool's output; anything else raises.

    ```python
    agent = create_agent(
        "openai:<model>",
        tools=[create_search_tool(retriever)],
        middleware=[ToolImagesMiddleware()],
    )
    ```

    The arguments a model is offered follow from the retriever when the tool is made: make it again once
    documents with other metadata have come in.

    - `query`, `k`, and `modality` unless the retriever has one of its own.
    - `not_text` if the search takes it.
    - `image` if the retriever is a `MultimodalRetriever` whose embedding takes pictures: the id of a picture
      found before, a path below `image_roots`, an address if `allow_urls`. Nothing else is opened, and a
      refusal does not tell what there is.
    - `filter` if the search takes it and the keys are known. It narrows the retriever's own filter, and
      never replaces it.

    Args:
        retriever: One whose search takes `modality=` finds as many of that modality as asked for; the results
            of any other are sifted.
        name: The tool's name, for the model: letters, digits, `_` and `-`, 64 at most.
        description: What the tool is for, for the model. Say here what the collection holds.
        images: Whether pictures go into the message, or captions instead.
        budget: What one message may hold as a model sees it; `None`: four pictures at most.
        preview_bytes: What the pictures of one message may take together (base64), since they are kept with
            the conversation. `None` for full size, 0 for none; those left out are shown by
            `ToolImagesMiddleware` alone, as far as it can look them up (see `SearchTool.with_pictures`).
        media_policy: What may be opened. `None`: the policy of the retriever's store.
        filter_keys: Metadata keys a model may filter by, with the type of their values. `None`: those of a
            sample of the collection, with its few values told to the model where a key has but few.
        image_roots: Folders whose pictures a model may ask with by path. `None`: the roots of the media
            policy, if it has any; `()` for none.
        allow_urls: Whether a model may ask with the address of a picture.

    Raises:
        TypeError: If `retriever` is none, such as a store, `image_roots` is a single path, or `filter_keys`
            is no mapping.
        ValueError: If `preview_bytes` is negative, `filter_keys` names a type no metadata has, one of
            `image_roots` is no folder, or providers would refuse `name`.
    """
    given: Any = retriever
    if not isinstance(given, BaseRetriever):
        raise not_a_retriever(given)
    if not _NAME.fullmatch(name):
        msg = f"name is {name!r}: providers take letters, digits, _ and -, 64 at most, and no digit first"
        raise ValueError(msg)
    if preview_bytes is not None and preview_bytes < 0:
        msg = f"preview_bytes is {preview_bytes}: use 0 or more, or None for pictures at full size"
        raise ValueError(msg)
    search = _Search(given, images, budget or PromptBudget(max_images=4), media_policy)
    search.preview_bytes = preview_bytes
    search.offer(filter_keys, image_roots, allow_urls)
    tool = SearchTool.from_function(
        func=search.run,
        coroutine=search.arun,
        name=name,
        description=description,
        args_schema=search.arguments,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=explain_arguments(search.keys),
    )
    tool._search = search  # noqa: SLF001
    return tool


class _Search:
    """One search and its presentation, in a blocking and an async form."""

    preview_bytes: int | None = PREVIEW_BYTES

    def __init__(
        self, retriever: BaseRetriever, images: bool, budget: PromptBudget, media_policy: MediaPolicy | None
    ) -> None:
        self._retriever = retriever
        self._images = images
        self._budget = budget
        self._media_policy = media_policy
        self._options = _options_of(retriever)
        self._async_options = _options_of(retriever, retriever._aget_relevant_documents)  # noqa: SLF001
        self._own_filter = _own_filter(retriever)
        self._stored = Stored.of(retriever, self._own_filter)

    def offer(
        self,
        filter_keys: Mapping[str, type] | None,
        image_roots: Sequence[str | os.PathLike[str]] | None,
        allow_urls: bool,
    ) -> None:
        """Settle what a model may ask for."""
        store = chroma_of(self._retriever)
        self.keys: dict[str, MetadataKey] = {}
        if filter_keys is not None:
            self.keys = keys_told(filter_keys)
        elif store is not None and "filter" in self._options:
            self.keys = keys_seen(sampled_metadata(store, where(self._own_filter)))
        self._asked_images: AskedImages | None = None
        if store is not None and isinstance(self._retriever, MultimodalRetriever) and _takes_images(store):
            self._asked_images = AskedImages(
                store, self._own_filter, self._policy, roots=image_roots, allow_urls=allow_urls
            )
        offered = self._options | {"modality"}
        if getattr(self._retriever, "modality", None) is not None:
            offered -= {"modality"}
        self.arguments = arguments_of(offered, self._asked_images, self.keys)

    # Neither hands a config on: LangChain keeps the one of the tool's run, callbacks included, in a context
    # variable, and the retriever takes it from there.

    def run(self, **arguments: Any) -> _Output:
        asked: Any = self.arguments(**arguments)
        query, options = self._request(asked)
        try:
            found = self._retriever.invoke(query, **options)
        except _EXPECTED as error:
            raise _told(error) from error
        return self._present(found, asked)

    async def arun(self, **arguments: Any) -> _Output:
        asked: Any = self.arguments(**arguments)
        query, options = await run_in_executor(None, self._request, asked)
        try:
            if options.keys() <= self._async_options:
                found = await self._retriever.ainvoke(query, **options)
            else:  # its async form is the one of BaseRetriever, which takes no options
                found = await run_in_executor(None, self._retriever.invoke, query, **options)
        except _EXPECTED as error:
            raise _told(error) from error
        return await run_in_executor(None, self._present, found, asked)

    def _request(self, asked: Any) -> tuple[Any, dict[str, Any]]:
        """What to search for, and the options asked for that the retriever takes."""
        image = (getattr(asked, "image", None) or "").strip()  # models fill in what they could leave out
        if not asked.query.strip() and not image:
            msg = "The query is empty: say in a few words what to look for."
            raise ToolException(msg)
        options = asked.model_dump(include=self._options - {"filter"}, exclude_none=True)
        if not options.get("not_text", "").strip():
            options.pop("not_text", None)
        elif asked.query.strip():
            _check_not_text(asked.query, options["not_text"])
        if conditions := to_where(getattr(asked, "filter", None), self.keys):
            options["filter"] = where(self._own_filter, *conditions)
        if not image or self._asked_images is None:
            return asked.query, options
        text = asked.query if asked.query.strip() else None
        return Query(text=text, image=self._asked_images.read(image)), options

    def _present(self, found: Sequence[Document], asked: Any) -> _Output:
        modality = getattr(asked, "modality", None)
        sift = modality is not None and "modality" not in self._options
        hits = [document for document in found if not sift or kind_of(document) == modality][: asked.k]
        if not hits:
            return self._nothing(asked), []
        if self._asked_images is not None:
            self._asked_images.remember(hits)
        return self._content(hits), [slim(document) for document in hits]

    def _content(self, hits: list[Document]) -> str | list[str | dict[str, Any]]:
        """The message; if labels alone are too much for the budget only the best stay in `hits`."""
        while True:
            try:
                return as_content(
                    hits,
                    images=self._images,
                    budget=self._budget,
                    media_policy=self._policy(),
                    preview_bytes=self.preview_bytes,
                )
            except BudgetError:
                if len(hits) == 1:
                    raise
                del hits[len(hits) // 2 :]

    def _nothing(self, asked: Any) -> str:
        sought = repr(asked.query) if asked.query.strip() else "this picture"
        if getattr(asked, "filter", None):
            return f"Nothing was found for {sought} under this filter. Other words or no filter may help."
        return f"Nothing was found for {sought}. Other words may help."

    def at_full_size(
        self, message: ToolMessage, images: bool, max_images: int | None, family: ModelFamily | None
    ) -> ToolMessage:
        try:
            documents = documents_of(message)
        except ValueError:  # no artifact of this tool's
            return message
        policy: MediaPolicy | None = self._policy()
        documents = documents and documents[:MAX_RESULTS]
        if documents and self._stored is not None:
            documents = self._stored.anew(documents) if all(each.id for each in documents) else None
        elif documents and images:
            policy = None if has_lost_payload(documents) else _fenced(self._media_policy)
        if not documents or policy is None:
            return message
        budget = replace(self._budget, family=self._budget.family or family)
        if max_images is not None:
            budget = replace(budget, max_images=min(budget.max_images, max_images))
        try:
            content = as_content(
                documents, images=images and self._images, budget=budget, media_policy=policy
            )
        except BudgetError:  # the rules of this model's family leave no room for all that fitted before
            return message
        return message.model_copy(update={"content": content})

    def _policy(self) -> MediaPolicy:
        return self._media_policy or media_policy_of(self._retriever)


def _fenced(policy: MediaPolicy | None) -> MediaPolicy | None:
    """The rules for places that nobody vouches for: those of folders named on purpose, else none."""
    return None if policy is None or policy.roots is None else replace(policy, allow_urls=False)


def _options_of(retriever: BaseRetriever, search: Callable[..., Any] | None = None) -> set[str]:
    """Which of the tool's options a retriever's search takes; `**kwargs` are LangChain's way to take `k`."""
    parameters = inspect.signature(search or retriever._get_relevant_documents).parameters  # noqa: SLF001
    options = {name for name in ("k", "modality", "not_text", "filter") if name in parameters}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        options |= {"k", "filter"} if isinstance(retriever, VectorStoreRetriever) else {"k"}
    return options


def _own_filter(retriever: BaseRetriever) -> Mapping[str, Any] | None:
    """The condition a retriever was set up with, which what a model asks for must not replace."""
    own = getattr(retriever, "filter", None)
    if own is None and isinstance(retriever, VectorStoreRetriever):
        own = retriever.search_kwargs.get("filter")
    return own if isinstance(own, Mapping) else None


def _takes_images(store: Any) -> bool:
    return callable(getattr(getattr(store, "embeddings", None), "embed_image", None))


def _check_not_text(query: str, not_text: str) -> None:
    try:
        Query(text=query, not_text=not_text)
    except ValueError as error:
        msg = f"The arguments of the search are wrong: {error}"
        raise ToolException(msg) from error


def _told(error: Exception) -> ToolException:
    return ToolException(f"The search failed: {told_error(error)}")
