"""From a question to an answer that cites what was found: `create_rag_chain`, LCEL through and through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough

from langchain_mmrag._chat_models import family_of, takes_images
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy, read_media
from langchain_mmrag.prompts import (
    NOTHING_FOUND,
    SYSTEM_PROMPT,
    documents_to_text,
    evidence_message,
    quote_evidence,
    text_if_no_pictures,
)
from langchain_mmrag.queries import Query

CONTEXT = "context"
CONTEXT_MESSAGES = "context_messages"

DEFAULT_PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", SYSTEM_PROMPT),
        MessagesPlaceholder(CONTEXT_MESSAGES),
        ("human", "Question: {input}"),
    ]
)

_PICTURE_ALONE = "The question is the picture supplied by the user: say what the evidence tells about it."
_INPUT_HELP = (
    'a question is a str, a Query, or a dict whose "input" is a str, a Query or {"text": ..., "image": ...},'
    ' with "image" beside it for a picture'
)
_BESIDE = ("image", "not_text", "not_image", "weights", "modality")


class _PictureRules(NamedTuple):
    """How pictures enter a prompt."""

    images: bool
    budget: PromptBudget
    media_policy: Callable[[], MediaPolicy]  # asked at each run: a store's own may change while it fills


def create_rag_chain(
    retriever: Runnable[Any, list[Document]],
    llm: Runnable[LanguageModelInput, BaseMessage] | None = None,
    *,
    prompt: ChatPromptTemplate | None = None,
    images: bool | None = None,
    budget: PromptBudget | None = None,
    media_policy: MediaPolicy | None = None,
) -> Runnable[Any, dict[str, Any]]:
    """A chain that finds pictures and passages for a question and answers from them with citations.

    It takes a `str`, a `Query`, or a dict whose `input` is one of these or `{"text": ..., "image": ...}`; all
    but the text may also stand beside it, as in `{"input": "...", "image": ..., "not_text": "..."}`. It gives
    that dict back with `context` (the documents, where `[n]` in the answer is `context[n - 1]`) and `answer`
    (a `str`) added. Streaming gives the context as soon as it is found, then the answer token by token.

    ```python
    chain = create_rag_chain(MultimodalRetriever(store=store), init_chat_model("openai:<model>"))
    chain.invoke({"input": "Where did we see the red lighthouse?"})["answer"]
    ```

    Without `llm` the answer quotes the evidence. If nothing is found the answer says so and no model is
    called. A `prompt` of your own may use:

    - `MessagesPlaceholder("context_messages")`: the evidence with its pictures (and the picture of the
      question) as one human message. Human messages that touch are sent as one, since many models
      insist that roles alternate.
    - `{context}`: the evidence as text only.
    - `{input}`: the text of the question.
    - every other key of the input dict, `chat_history` for instance.

    Args:
        retriever: Gets a `str` for a question of text alone, else a `Query`; also any other runnable from a
            question to documents.
        llm: Any chat model, also one wrapped by `.with_retry()`, `.bind()` and the like.
        prompt: Replaces `DEFAULT_PROMPT`.
        images: Whether the model is shown pictures. `None`: what `llm.profile` says, and pictures are shown
            to a model without a profile: one that takes none fails loudly and `images=False` mends it,
            while pictures withheld from a model that sees would go unnoticed.
        budget: What the evidence may take in the prompt; `None`: the default `PromptBudget`.
        media_policy: What may be opened for the prompt. `None`: the policy of the retriever's store.

    Raises:
        TypeError: If `retriever` or `llm` is of another kind, such as a store or a model's name.
        ValueError: If `prompt` has a place for neither `context_messages` nor `context`.
    """
    if not _can_run(retriever):
        raise not_a_retriever(retriever)
    if llm is not None and not _can_run(llm):
        msg = f'llm is a {type(llm).__name__}, not a chat model: use init_chat_model("<provider>:<model>")'
        raise TypeError(msg)
    prompt = prompt or DEFAULT_PROMPT
    if not {CONTEXT, CONTEXT_MESSAGES} & _variables(prompt):
        msg = (
            f"the prompt has no place for the evidence, only {sorted(prompt.input_variables)}: add"
            f' MessagesPlaceholder("{CONTEXT_MESSAGES}") or, for text alone, {{{CONTEXT}}}'
        )
        raise ValueError(msg)
    shown = takes_images(llm) is not False if images is None else images
    budget = budget or PromptBudget()
    budget = replace(budget, family=budget.family or family_of(llm))
    rules = _PictureRules(shown, budget, lambda: media_policy or media_policy_of(retriever))

    def retriever_input(state: Mapping[str, Any]) -> Any:
        query = question_of(state)
        return query.text if query.text and query == Query(text=query.text) else query

    retrieve = (RunnableLambda(retriever_input) | retriever).with_config(run_name="retrieve_documents")
    return (
        RunnableLambda(lambda value: _as_state(value, rules.media_policy()))
        .pipe(RunnablePassthrough.assign(context=retrieve))
        .pipe(RunnablePassthrough.assign(answer=_answer(llm, prompt, rules)))
        .with_config(run_name="multimodal_rag_chain")
    )


def question_of(state: Mapping[str, Any]) -> Query:
    """The question in a chain's input, whichever of its spellings was used.

    Raises:
        ValueError: If there is no question in it, parts of it stand in two places, or it is no good `Query`.
        TypeError: If `input` is of a kind that is no question.
    """
    value = state.get("input")
    beside = {name: state[name] for name in _BESIDE if state.get(name) is not None}
    if isinstance(value, str) and not value.strip():
        value = None
    if value is None and "image" not in beside:
        msg = f"no question in a dict with the keys {sorted(state)}: {_INPUT_HELP}"
        raise ValueError(msg)
    if value is None or isinstance(value, str):
        return Query(text=value, **beside)
    if not isinstance(value, Query | Mapping):
        msg = f'"input" is a {type(value).__name__}: {_INPUT_HELP}'
        raise TypeError(msg)
    if beside:
        names = ", ".join(f'"{name}"' for name in beside)
        msg = f'{names} may stand beside "input" only if that is a str: put all of it into the query itself'
        raise ValueError(msg)
    return Query.of(value)


def media_policy_of(retriever: object) -> MediaPolicy:
    """The media policy of a retriever's store, whose root folders hold for prompts too; else the default."""
    policy = getattr(getattr(retriever, "store", None), "media_policy", None)
    return policy if isinstance(policy, MediaPolicy) else DEFAULT_POLICY


def not_a_retriever(given: object) -> TypeError:
    """The error that says what to give in place of a store."""
    return TypeError(
        f"retriever is a {type(given).__name__}, not a retriever: use store.as_retriever() or"
        " MultimodalRetriever(store=store)"
    )


def _can_run(given: object) -> bool:
    return isinstance(given, Runnable) or callable(given)


def _variables(prompt: ChatPromptTemplate) -> set[str]:
    return {*prompt.input_variables, *prompt.optional_variables}


def _as_state(value: Any, media_policy: MediaPolicy) -> dict[str, Any]:
    """The chain's running dict: what was put in, kept as it is; a bare question becomes its `input`."""
    state = {**value} if isinstance(value, Mapping) else {"input": value}
    query = question_of(state)  # a wrong input fails here, before anything is searched
    images = {name: getattr(query, name) for name in ("image", "not_image")}
    # an open file reads once, but both the search and the prompt need the picture
    read: dict[str, Any] = {
        name: read_media(image, media_policy) for name, image in images.items() if hasattr(image, "read")
    }
    if read:
        state = {name: part for name, part in state.items() if name not in _BESIDE}
        state["input"] = replace(query, **read)
    return state


def _answer(
    llm: Runnable[LanguageModelInput, BaseMessage] | None, prompt: ChatPromptTemplate, rules: _PictureRules
) -> Runnable[dict[str, Any], str]:
    def quote(state: dict[str, Any]) -> str:
        return quote_evidence(question_of(state).text or "", state[CONTEXT])

    def build_prompt(state: dict[str, Any]) -> dict[str, Any]:
        return _prompt_variables(state, wanted, rules)

    def say_nothing_found(_: dict[str, Any]) -> str:
        return NOTHING_FOUND

    if llm is None:
        return RunnableLambda(quote)
    wanted = _variables(prompt)
    written = (
        RunnableLambda(build_prompt) | prompt | RunnableLambda(_join_human_messages) | llm | StrOutputParser()
    )
    return RunnableBranch((itemgetter(CONTEXT), written), say_nothing_found)


def _prompt_variables(state: Mapping[str, Any], wanted: set[str], rules: _PictureRules) -> dict[str, Any]:
    query, documents = question_of(state), state[CONTEXT]
    variables = {**state, "input": query.text or _PICTURE_ALONE}
    if CONTEXT in wanted:
        variables[CONTEXT] = documents_to_text(documents)
    if CONTEXT_MESSAGES in wanted:  # opening pictures is the dear part: only for a prompt that shows them
        variables[CONTEXT_MESSAGES] = [
            evidence_message(
                query,
                documents,
                images=rules.images,
                budget=rules.budget,
                media_policy=rules.media_policy(),
            )
        ]
    return variables


def _join_human_messages(prompt: PromptValue) -> list[BaseMessage]:
    """Make one message of human messages that touch: many models insist that roles alternate."""
    joined: list[BaseMessage] = []
    for message in prompt.to_messages():
        if joined and isinstance(message, HumanMessage) and isinstance(joined[-1], HumanMessage):
            content = text_if_no_pictures([*_blocks(joined[-1]), *_blocks(message)])
            joined[-1] = joined[-1].model_copy(update={"content": content})
        else:
            joined.append(message)
    return joined


def _blocks(message: BaseMessage) -> list[dict[str, Any]]:
    parts = [message.content] if isinstance(message.content, str) else message.content
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
