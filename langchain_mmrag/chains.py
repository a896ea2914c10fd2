"""From a question to an answer that cites what was found: `create_rag_chain`, LCEL through and through.

    question ────► rephrase ────► retrieve ─────────► prompt, model ────────────► check
    _chain.question  history      _chain.retrieving   _chain.answering, few_shot  _chain.checking, citations

`_tracing` keeps pictures out of what callbacks hear of it.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import BasePromptTemplate, ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnablePassthrough,
)
from langchain_core.runnables.base import coerce_to_runnable

from langchain_mmrag._chain.answering import CONTEXT_MESSAGES, EXAMPLES, PromptRules, join_human_messages
from langchain_mmrag._chain.checking import acheck, aquote, check, quote
from langchain_mmrag._chain.question import CONTEXT, INPUT, ToolInput, is_follow_up, question_of, state_of
from langchain_mmrag._chain.refusals import PicturesNoted
from langchain_mmrag._chain.retrieving import RagPattern, check_pattern, retrieval
from langchain_mmrag._chat_models import takes_images
from langchain_mmrag._tracing import Redacting, discreet
from langchain_mmrag.budget import PromptBudget, budget_for
from langchain_mmrag.few_shot import Example, Examples, check_examples
from langchain_mmrag.history import CHAT_HISTORY, STANDALONE_QUESTION, rephraser
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import NOTHING_FOUND, SYSTEM_PROMPT, FormatDocuments
from langchain_mmrag.quotes import PASSAGE_CHARS
from langchain_mmrag.retrievers import media_policy_of, not_a_retriever

__all__ = [
    "DEFAULT_PROMPT",
    "Example",
    "RagPattern",
    "create_rag_chain",
    "question_of",
]

_WHOLE_CHARS = 20_000
"""Up to this long a table or passage behind a summary is given whole."""

DEFAULT_PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", SYSTEM_PROMPT),
        MessagesPlaceholder(EXAMPLES, optional=True),
        MessagesPlaceholder(CHAT_HISTORY, optional=True),
        MessagesPlaceholder(CONTEXT_MESSAGES),
        ("human", "Question: {input}"),
    ]
)


_OURS = {CONTEXT, CONTEXT_MESSAGES, CHAT_HISTORY, EXAMPLES}


def create_rag_chain(
    retriever: Runnable[Any, list[Document]],
    llm: Runnable[LanguageModelInput, BaseMessage] | None = None,
    *,
    prompt: ChatPromptTemplate | None = None,
    pattern: RagPattern = "clip",
    images: bool | None = None,
    budget: PromptBudget | None = None,
    media_policy: MediaPolicy | None = None,
    format_documents: FormatDocuments | None = None,
    examples: Examples | None = None,
    rephrase: Runnable[LanguageModelInput, BaseMessage] | bool = True,
    score_threshold: float | None = None,
) -> Runnable[Any, dict[str, Any]]:
    """A chain that finds pictures and passages for a question and answers from them with citations.

    ```python
    chain = create_rag_chain(MultimodalRetriever(store=store), init_chat_model("openai:<model>"))
    result = chain.invoke({"input": "Where did we see the red lighthouse?"})
    result["answer"]  # "At Cape Ann [1]."
    result["citations"]  # [{"number": 1, "source": "notes.md", "link": ..., "id": ...}]
    ```

    **In** goes a `str`, a `Query`, or a dict whose `input` is one of these or `{"text": ..., "image": ...}`;
    all but the text may also stand beside it, as in `{"input": "...", "image": ..., "not_text": "..."}`.
    So may `filter` and `k` for the search: for this question they replace the retriever's own.
    `chat_history` beside it (LangChain messages, or pairs such as `("human", "...")`) makes it a follow-up:
    the model is shown the conversation, and first says the question so that it stands alone, for the search.

    **Out** comes that dict, with these added:

    - `context`: the documents found, best first.
    - `answer`: a `str`, where `[n]` is `context[n - 1]`.
    - `citations`: the documents the answer cites, each once, in order of number (see `citations.Citation`).
    - `removed_citations`: what the model cited that is not there, such as `"[9]"`; taken out of the answer.
    - `standalone_question`: what was searched for, where a follow-up was said again.

    Streaming gives the context as soon as it is found, then the answer as the model writes it, then the
    citations; only what may become a citation is held back for some letters. An error of the model's in the
    middle comes after all it wrote. If nothing is found, or nothing as relevant as `score_threshold`, the
    answer says so and no model is called. Without `llm` the answer quotes the evidence.

    **Patterns** of multimodal retrieval, after the three options of LangChain's cookbook "Multi-modal RAG":

    | `pattern` | compared with the question | what of it the model gets |
    |---|---|---|
    | `"clip"` (option 1) | text and pictures, in CLIP's space | passages, and the pictures themselves |
    | `"caption"` (option 2) | text: passages, captions, summaries of tables | that text; any model will do |
    | `"multi-vector"` (option 3) | text, as in option 2 | the picture or whole table behind it |

    The last two suit pictures that stand for what is written in them, such as charts and slides, and need
    captions to find them by. A question with a picture is then searched for by its words; one that is a
    picture alone is searched for in the retriever's own way. They ask the retriever for `search="text"`; one
    that takes no `search`, such as a `MultiVectorRetriever`, is taken as it is.

    **A prompt of your own** may use:

    - `MessagesPlaceholder("context_messages")`: the evidence with its pictures (and the picture of the
      question) as one human message. Human messages that touch are sent as one, since many models insist
      that roles alternate.
    - `{context}`: the evidence as text only.
    - `{input}`: the text of the question; `{standalone_question}`: how it was searched for.
    - `MessagesPlaceholder("chat_history", optional=True)`, and likewise `"examples"`.
    - every other key of the input dict.

    Callbacks, tracers and event streams hear of a picture as `<image/jpeg, 48 kB>`, never its bytes. Runs
    around the chain are not its own: a chain it is part of, and `chain.with_retry()` or
    `chain.with_fallbacks()`, tell their handlers of what they are given: a `Query` tells no bytes. A stream
    falls back only on what fails before its first chunk, which is the context: use `llm.with_fallbacks()`.

    As a tool of an agent, `chain.pick("answer").as_tool(name=..., description=...)` gives the answer alone:
    the whole result names files.

    Args:
        retriever: Gets a `str` for a question of text alone, else a `Query`; also any other runnable from a
            question to documents.
        llm: Any chat model, also one wrapped by `.with_retry()`, `.bind()` and the like.
        prompt: Replaces `DEFAULT_PROMPT`.
        pattern: What is compared with the question, and what of it the model gets; see above.
        images: Whether the model is shown pictures. `None`: what `llm.profile` says, and pictures are shown
            to a model without a profile: one that takes none fails loudly and `images=False` mends it,
            while pictures withheld from a model that sees would go unnoticed.
        budget: What the evidence may take in the prompt; `None`: the default `PromptBudget`. What it leaves
            open is filled in from the model's profile (see `budget.budget_for`).
        media_policy: What may be opened for the prompt. `None`: the policy of the retriever's store.
        format_documents: Replaces the layout of the evidence: from documents to text or content blocks.
        examples: Answered questions, with or without a picture, to show before the question: a list of
            `few_shot.Example`, or a selector that chooses some for each question, such as
            `few_shot.SimilarExamples`.
        rephrase: Whether follow-ups are said again for the search, or by which other, say cheaper, model. It
            is shown the text of the conversation only.
        score_threshold: The relevance, from 0 to 1, that a document must have to count as found.

    Raises:
        TypeError: If an argument is of another kind, such as a store or a model's name.
        ValueError: If `prompt` has no place for the question, the evidence or the `examples`, an example is
            incomplete, `pattern` is unknown or contradicts `images`, or the retriever takes no
            `score_threshold`.
    """
    _check_runnables(retriever, llm, rephrase)
    _check_kinds(
        prompt=(
            prompt,
            BasePromptTemplate,
            "a ChatPromptTemplate, such as ChatPromptTemplate.from_messages(...)",
        ),
        images=(images, bool, "True, False or None"),
        budget=(budget, PromptBudget, "a PromptBudget(max_images=..., ...)"),
        media_policy=(media_policy, MediaPolicy, "a MediaPolicy(roots=..., ...)"),
    )
    given: Any = format_documents
    if given is not None and not callable(given):
        msg = f"format_documents is a {type(given).__name__}: give a function from documents to text"
        raise TypeError(msg)
    prompt = prompt or DEFAULT_PROMPT
    check_pattern(pattern, images=images)
    shown = takes_images(llm) is not False if images is None else images
    rules = PromptRules(
        wanted=_places(prompt, examples),
        images=shown and pattern != "caption",
        budget=budget_for(llm, budget),
        passage_chars=_WHOLE_CHARS if pattern == "multi-vector" else PASSAGE_CHARS,
        media_policy=lambda: media_policy or media_policy_of(retriever),
        format_documents=format_documents,
        examples=examples or (),
    )
    retrieve = retrieval(retriever, pattern, score_threshold).with_config(run_name="retrieve_documents")
    found: Runnable[Any, dict[str, Any]] = (
        RunnableLambda(
            lambda value: state_of(value, rules.media_policy(), rules.wanted), name="read_question"
        )
        .pipe(_standing_alone(llm if rephrase is True else rephrase or None))
        .pipe(RunnablePassthrough.assign(context=retrieve))
    )
    return Redacting(
        bound=found.pipe(_answered(llm, prompt, rules)),
        config={"run_name": "multimodal_rag_chain"},
        custom_input_type=ToolInput,
    )


def _can_run(given: object) -> bool:
    return isinstance(given, Runnable) or callable(given)


def _check_runnables(retriever: object, llm: object, rephrase: object) -> None:
    if not _can_run(retriever):
        raise not_a_retriever(retriever)
    for name, given in {"llm": llm, "rephrase": None if isinstance(rephrase, bool) else rephrase}.items():
        if given is not None and not _can_run(given):
            kind = type(given).__name__
            msg = f'{name} is a {kind}, not a chat model: use init_chat_model("<provider>:<model>")'
            raise TypeError(msg)


def _check_kinds(**given: tuple[Any, type, str]) -> None:
    """Refuse arguments of another kind now, not when the first question comes."""
    for name, (value, kind, right) in given.items():
        if value is not None and not isinstance(value, kind):
            msg = f"{name} is a {type(value).__name__}: give {right}"
            raise TypeError(msg)


def _places(prompt: ChatPromptTemplate, examples: Examples | None) -> frozenset[str]:
    """The variables of a prompt; an error if it lacks one that is needed."""
    places = frozenset((*prompt.input_variables, *prompt.optional_variables))
    if not {CONTEXT, CONTEXT_MESSAGES} & places:
        msg = (
            f"the prompt has no place for the evidence, only {sorted(prompt.input_variables)}: add"
            f' MessagesPlaceholder("{CONTEXT_MESSAGES}") or, for text alone, {{{CONTEXT}}}'
        )
        raise ValueError(msg)
    if not ({INPUT, STANDALONE_QUESTION} & places or places - _OURS):
        msg = f"the prompt has no place for the question, only {sorted(places)}: add {{{INPUT}}}"
        raise ValueError(msg)
    if examples is not None:
        check_examples(examples)
    if examples is not None and EXAMPLES not in places:
        msg = (
            f'the prompt has no place for the examples: add MessagesPlaceholder("{EXAMPLES}", optional=True)'
        )
        raise ValueError(msg)
    return places


def _standing_alone(llm: Runnable[LanguageModelInput, BaseMessage] | None) -> Runnable[Any, dict[str, Any]]:
    """A step that adds `standalone_question` to a follow-up, and passes on all else as it is."""
    if llm is None:
        return RunnablePassthrough()

    def spoken(state: dict[str, Any]) -> dict[str, Any]:
        return {INPUT: question_of(state).text, CHAT_HISTORY: state[CHAT_HISTORY]}

    said_again = (RunnableLambda(spoken) | rephraser(llm)).with_config(run_name="rephrase_question")
    follow_up = RunnablePassthrough.assign(standalone_question=said_again)
    return RunnableBranch((is_follow_up, follow_up), RunnablePassthrough())


def _answered(
    llm: Runnable[LanguageModelInput, BaseMessage] | None, prompt: ChatPromptTemplate, rules: PromptRules
) -> Runnable[dict[str, Any], dict[str, Any]]:
    """Steps that add the answer and its citations."""
    if llm is None:
        return RunnableGenerator(quote, aquote, name="quote_evidence")
    model = discreet(coerce_to_runnable(llm))
    if rules.images:
        model = PicturesNoted(bound=model)
    chosen = RunnableLambda(rules.choose, rules.achoose, name="choose_examples")
    filled = chosen | RunnableLambda(rules.variables, name="build_prompt") | prompt
    joined = filled | RunnableLambda(join_human_messages, name="join_messages")
    nothing = RunnableLambda(_say_nothing_found, name="say_nothing_found")
    answer = RunnableBranch((itemgetter(CONTEXT), joined | model | StrOutputParser()), nothing)
    checking = RunnableGenerator(check, acheck, name="check_citations")
    return RunnablePassthrough.assign(answer=answer).pipe(checking)


def _say_nothing_found(_: dict[str, Any]) -> str:
    return NOTHING_FOUND
