"""Answers as they come: citations checked, layouts of one's own, and what happens when the model fails."""

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from pydantic import Field

from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.prompts import cite
from tests.unit_tests.answering import ShelfRetriever, model, note, picture, picture_file

QUESTION = "Where is the red lighthouse?"


class ProviderError(Exception):
    """What a provider's client raises."""

    def __init__(self, message: str, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code


class FailingModel(BaseChatModel):
    """Says some words, then fails as a provider does."""

    words: list[str] = Field(default_factory=list)
    status: int = 400

    @property
    def _llm_type(self) -> str:
        return "failing"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        msg = "image input is not supported"
        raise ProviderError(msg, self.status)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in self.words:
            yield ChatGenerationChunk(message=AIMessageChunk(word))
        self._generate()

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream_words():
            yield chunk
        self._generate()

    def _stream_words(self) -> list[ChatGenerationChunk]:
        return [ChatGenerationChunk(message=AIMessageChunk(word)) for word in self.words]


@pytest.fixture
def shelf(tmp_path):
    lighthouse = picture_file(tmp_path / "lighthouse.png", size=(30, 60))
    return ShelfRetriever(documents=[note("It stands at Cape Ann."), picture(lighthouse, "a lighthouse")])


# --- citations -------------------------------------------------------------------------------------------


async def test_citations_are_checked_however_the_chain_is_run(shelf):
    said = "At Cape Ann [1, 9], it is red \u30102\u3011 [7]. See `a[9]`."
    chain = create_rag_chain(shelf, model(*[said] * 6))
    results = [
        chain.invoke(QUESTION),
        await chain.ainvoke(QUESTION),
        chain.batch([QUESTION])[0],
        (await chain.abatch([QUESTION]))[0],
        summed(chain.stream(QUESTION)),
        summed([chunk async for chunk in chain.astream(QUESTION)]),
    ]
    assert results == [results[0]] * 6
    assert results[0]["answer"] == "At Cape Ann [1], it is red [2]. See `a[9]`."
    assert results[0]["removed_citations"] == ["[9]", "[7]"]
    assert results[0]["citations"] == [
        {"number": 1, "source": "notes.md", "link": None, "id": None},
        {
            "number": 2,
            "source": "lighthouse.png",
            "link": f"file://{shelf.documents[1].metadata['source']}",
            "id": None,
        },
    ]
    assert [cite(shelf.documents[c["number"] - 1]) for c in results[0]["citations"]] == [
        "notes.md",
        "lighthouse.png",
    ]


def summed(chunks):
    total = None
    for chunk in chunks:
        total = chunk if total is None else total + chunk
    return total


def test_quotes_carry_citations_too(shelf):
    result = create_rag_chain(shelf).invoke("What stands at Cape Ann?")
    assert [citation["number"] for citation in result["citations"]] == [1, 2]
    assert result["removed_citations"] == []


def test_an_empty_answer_is_an_answer(shelf):
    chain = create_rag_chain(shelf, model("", ""))
    assert chain.invoke(QUESTION)["answer"] == ""


def test_an_answer_of_nothing_but_a_wrong_citation_is_empty(shelf):
    chain = create_rag_chain(shelf, model("[9]", "[9]"))
    for result in (chain.invoke(QUESTION), summed(chain.stream(QUESTION))):
        assert (result["answer"], result["removed_citations"]) == ("", ["[9]"])


# --- layouts ---------------------------------------------------------------------------------------------


def test_the_layout_of_the_evidence_may_be_ones_own(shelf):
    llm = model("At Cape Ann [1].", "At Cape Ann [1].")

    def listed(documents):
        return "\n".join(f"({number}) {cite(document)}" for number, document in enumerate(documents, 1))

    create_rag_chain(shelf, llm, format_documents=listed).invoke(QUESTION)
    assert llm.calls[0][-1].content == f"(1) notes.md\n(2) lighthouse.png\n\nQuestion: {QUESTION}"
    prompt = ChatPromptTemplate.from_template("{context}! {input}")
    create_rag_chain(shelf, llm, prompt=prompt, format_documents=listed).invoke(QUESTION)
    assert llm.calls[1][0].content == f"(1) notes.md\n(2) lighthouse.png! {QUESTION}"


def test_a_text_prompt_takes_the_text_of_a_layout_of_blocks(shelf):
    llm = model("yes")
    blocks = [
        {"type": "text", "text": "one"},
        {"type": "image", "base64": "QUJD"},
        {"type": "text", "text": "two"},
    ]
    prompt = ChatPromptTemplate.from_template("{context}\n\n{input}")
    create_rag_chain(shelf, llm, prompt=prompt, format_documents=lambda _: blocks).invoke(QUESTION)
    assert llm.calls[0][0].content == (
        f"one\n\ntwo\n\nPictures left out of the evidence: 1. This prompt holds none.\n\n{QUESTION}"
    )
    create_rag_chain(
        shelf, text_only := model("yes"), images=False, format_documents=lambda _: blocks
    ).invoke(QUESTION)
    assert text_only.calls[0][-1].content.startswith("one\n\ntwo\n\nPictures left out")


# --- models that fail ------------------------------------------------------------------------------------


async def test_a_model_that_rejects_pictures_raises_its_own_error_with_the_remedy(shelf):
    chain = create_rag_chain(shelf, FailingModel())

    async def astreamed(asked):
        return [chunk async for chunk in chain.astream(asked)]

    for run in (chain.invoke, lambda asked: chain.batch([asked]), lambda asked: list(chain.stream(asked))):
        with pytest.raises(ProviderError, match="not supported") as raised:
            run(QUESTION)
        assert len(raised.value.__notes__) == 1
        assert "images=False" in raised.value.__notes__[0]
    for arun in (chain.ainvoke, lambda asked: chain.abatch([asked]), astreamed):
        with pytest.raises(ProviderError, match="not supported") as raised:
            await arun(QUESTION)
        assert len(raised.value.__notes__) == 1


@pytest.mark.parametrize("status", [401, 403, 429])
def test_an_error_with_another_cause_gets_no_such_note(shelf, status):
    with pytest.raises(ProviderError) as raised:
        create_rag_chain(shelf, FailingModel(status=status)).invoke(QUESTION)
    assert not hasattr(raised.value, "__notes__")


def test_without_pictures_in_the_prompt_there_is_no_such_note(shelf):
    for chain in (
        create_rag_chain(shelf, FailingModel(), images=False),
        create_rag_chain(ShelfRetriever(documents=shelf.documents[:1]), FailingModel()),
    ):
        with pytest.raises(ProviderError) as raised:
            chain.invoke(QUESTION)
        assert not hasattr(raised.value, "__notes__")


async def test_an_error_in_mid_stream_comes_after_context_and_all_that_was_said(shelf):
    chain = create_rag_chain(shelf, FailingModel(words=["At ", "Cape ", "Ann ["], status=500))
    chunks, achunks = [], []
    with pytest.raises(ProviderError):  # noqa: PT012 - what came before is looked at
        for chunk in chain.stream(QUESTION):
            chunks.append(chunk)  # noqa: PERF402 - a list would be lost with the error
    with pytest.raises(ProviderError):  # noqa: PT012
        async for chunk in chain.astream(QUESTION):
            achunks.append(chunk)  # noqa: PERF401
    assert chunks == achunks
    assert chunks[1] == {"context": shelf.documents}
    assert "".join(chunk.get("answer", "") for chunk in chunks) == "At Cape Ann ["


def test_a_model_that_is_tried_again_answers_at_last(shelf):
    class Flaky(type(model())):
        def _generate(self, messages, *args, **kwargs):
            if not self.calls:
                self.calls.append(messages)
                msg = "try again"
                raise ProviderError(msg, 503)
            return super()._generate(messages, *args, **kwargs)

    llm = Flaky(messages=iter(["At Cape Ann [1]."]))
    chain = create_rag_chain(shelf, llm.with_retry(wait_exponential_jitter=False))
    assert chain.invoke(QUESTION)["answer"] == "At Cape Ann [1]."
    assert len(llm.calls) == 2


def test_a_model_by_its_name_is_refused_for_saying_again_too(shelf):
    with pytest.raises(TypeError, match="rephrase is a str, not a chat model"):
        create_rag_chain(shelf, model("x"), rephrase="openai:any")


async def test_evidence_is_laid_out_off_the_event_loop(shelf):
    threads = []

    def listed(documents):
        threads.append(threading.current_thread())
        return "the evidence"

    chain = create_rag_chain(shelf, model("yes", "yes"), format_documents=listed)
    await chain.ainvoke(QUESTION)
    assert [chunk async for chunk in chain.astream(QUESTION)]
    assert len(threads) == 2
    assert threading.main_thread() not in threads
