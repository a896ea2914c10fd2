"""Patterns of retrieval and refusal: how the chain asks its retriever, and what of the finds the model gets."""

from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from PIL import Image
from pydantic import Field

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.document_loaders import ImageLoader
from langchain_mmrag.document_loaders.ocr import OcrLine
from langchain_mmrag.prompts import NOTHING_FOUND
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import create_search_tool
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.answering import (
    ShelfRetriever,
    decoded,
    model,
    note,
    picture,
    picture_file,
    pictures,
    texts,
)

QUESTION = "Where is the red lighthouse?"


class SearchingRetriever(BaseRetriever):
    """A retriever whose search can be told how; it notes how it was."""

    documents: list[Any]
    asked: list[Any] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: Any, *, run_manager: Any, search: str | None = None, score_threshold: float | None = None
    ) -> list[Any]:
        self.asked.append((query, search, score_threshold))
        return self.documents


@pytest.fixture
def documents(tmp_path):
    lighthouse = picture_file(tmp_path / "lighthouse.png", size=(30, 60))
    return [note("It stands at Cape Ann."), picture(lighthouse, "a lighthouse")]


@pytest.mark.parametrize(
    ("pattern", "search", "shown"), [("clip", None, 1), ("caption", "text", 0), ("multi-vector", "text", 1)]
)
async def test_a_pattern_says_what_is_compared_and_what_the_model_gets(documents, pattern, search, shown):
    retriever, llm = SearchingRetriever(documents=documents), model("one", "two")
    chain = create_rag_chain(retriever, llm, pattern=pattern)
    assert chain.invoke(QUESTION)["context"] == documents
    assert (await chain.ainvoke(QUESTION))["answer"] == "two"
    assert retriever.asked == [(QUESTION, search, None)] * 2
    content = llm.calls[0][-1].content
    assert len(pictures([] if isinstance(content, str) else content)) == shown
    assert "a lighthouse" in str(content)


@pytest.mark.parametrize("pattern", ["caption", "multi-vector"])
def test_by_text_a_question_with_a_picture_is_searched_for_by_its_words(documents, pattern, tmp_path):
    retriever = SearchingRetriever(documents=documents)
    chain = create_rag_chain(retriever, model("one", "two", "three"), pattern=pattern)
    mine = str(picture_file(tmp_path / "mine.png"))
    chain.invoke({"input": QUESTION, "image": mine, "weights": {"text": 0.9, "image": 0.1}})
    chain.invoke({"input": QUESTION, "not_text": "fog", "not_image": mine, "modality": "image"})
    chain.invoke({"image": mine})
    assert retriever.asked == [
        (Query(text=QUESTION, weights={"text": 0.9}), "text", None),
        (Query(text=QUESTION, not_text="fog", modality="image"), "text", None),
        (Query(image=mine), None, None),
    ]


def test_the_picture_of_a_question_is_shown_by_multi_vector_and_not_by_caption(documents):
    asked = {"input": QUESTION, "image": Image.new("RGB", (9, 9))}
    seen = {}
    for pattern in ("caption", "multi-vector"):
        llm = model("yes")
        create_rag_chain(SearchingRetriever(documents=documents), llm, pattern=pattern).invoke(asked)
        content = llm.calls[0][-1].content
        seen[pattern] = 0 if isinstance(content, str) else len(pictures(content))
    assert seen == {"caption": 0, "multi-vector": 2}


@pytest.mark.parametrize(
    "wrap", [lambda r: r, lambda r: RunnableLambda(r.invoke)], ids=["retriever", "runnable"]
)
def test_a_retriever_that_cannot_be_told_how_is_taken_as_it_is(documents, wrap):
    shelf = ShelfRetriever(documents=documents)
    create_rag_chain(wrap(shelf), model("yes"), pattern="multi-vector").invoke(QUESTION)
    assert shelf.asked == [QUESTION]


def test_a_retriever_is_told_how_through_a_binding(documents):
    retriever = SearchingRetriever(documents=documents)
    bound = retriever.with_config(tags=["mine"])
    create_rag_chain(bound, model("yes"), pattern="caption", score_threshold=0.5).invoke(QUESTION)
    assert retriever.asked == [(QUESTION, "text", 0.5)]


def test_a_pattern_nobody_knows_and_one_that_contradicts_itself_are_refused(documents):
    retriever = SearchingRetriever(documents=documents)
    with pytest.raises(ValueError, match="unknown pattern 'summary': use one of clip, caption, multi-vector"):
        create_rag_chain(retriever, model("x"), pattern="summary")
    with pytest.raises(ValueError, match="images=True contradicts it"):
        create_rag_chain(retriever, model("x"), pattern="caption", images=True)


# --- refusal ---------------------------------------------------------------------------------------------


def test_a_threshold_is_handed_to_the_retriever(documents):
    retriever = SearchingRetriever(documents=documents)
    create_rag_chain(retriever, model("yes"), score_threshold=0.4).invoke(QUESTION)
    assert retriever.asked == [(QUESTION, None, 0.4)]


def test_a_threshold_for_a_retriever_that_takes_none_is_refused_at_once(documents):
    for retriever in (ShelfRetriever(documents=documents), lambda question: documents):
        with pytest.raises(
            ValueError, match=r"takes no score_threshold: use a retriever .* MultimodalRetriever"
        ):
            create_rag_chain(retriever, score_threshold=0.4)


@pytest.mark.parametrize(
    ("threshold", "error"), [(-0.1, ValueError), (1.5, ValueError), (True, TypeError), ("0.5", TypeError)]
)
def test_a_threshold_that_is_none_is_refused(documents, threshold, error):
    with pytest.raises(error, match=r"score_threshold is .*: give a .* from 0 to 1"):
        create_rag_chain(SearchingRetriever(documents=documents), score_threshold=threshold)


class SettingsRetriever(ShelfRetriever):
    """A retriever that takes a filter and a threshold for a single call."""

    def _get_relevant_documents(
        self,
        query: Any,
        *,
        run_manager: Any,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - as searches call it
        score_threshold: float | None = None,
    ) -> list[Any]:
        self.asked.append((query, k, filter, score_threshold))
        return self.documents[: k or self.k]


async def test_filter_and_k_beside_a_question_reach_the_search(documents):
    retriever = SettingsRetriever(documents=documents)
    asked = {"input": QUESTION, "filter": {"user": "ann"}, "k": 1}
    chain = create_rag_chain(retriever)
    result = chain.invoke(asked)
    assert result["context"] == documents[:1]
    assert {key: result[key] for key in asked} == asked
    assert (await chain.ainvoke(asked))["context"] == documents[:1]
    assert retriever.asked == [(QUESTION, 1, {"user": "ann"}, None)] * 2


@pytest.mark.parametrize("name", ["filter", "k"])
def test_a_filter_no_retriever_heeds_is_refused(documents, name):
    for retriever in (SearchingRetriever(documents=documents), lambda question: documents):
        with pytest.raises(ValueError, match=f'"{name}" beside "input": .* takes no {name}'):
            create_rag_chain(retriever).invoke(
                {"input": QUESTION, name: {"user": "ann"} if name == "filter" else 1}
            )


def test_a_threshold_reaches_a_retriever_with_configurable_settings(documents):
    retriever = SettingsRetriever(documents=documents)
    configurable = retriever.configurable_fields(k=ConfigurableField(id="k"))
    create_rag_chain(configurable, score_threshold=0.4).invoke(QUESTION)
    assert retriever.asked == [(QUESTION, None, None, 0.4)]


@pytest.mark.parametrize("found", [None, "text", ["text"], 5])
def test_a_retriever_that_gives_no_documents_is_named(found):
    with pytest.raises(TypeError, match=r"the retriever gave a .*: it must give a list of Documents"):
        create_rag_chain(lambda question: found).invoke(QUESTION)


def test_documents_may_come_as_a_tuple(documents):
    assert create_rag_chain(lambda question: tuple(documents)).invoke(QUESTION)["context"] == documents


@pytest.fixture(scope="module")
def store(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("patterns")
    store = MultimodalChroma("patterns", clip, persist_directory=str(folder / "store"))
    store.add_documents([note("The ferry leaves at nine.")])
    store.add_documents([picture(picture_file(folder / "red.png", size=(64, 64)), "a red square")])
    return store


@pytest.mark.parametrize("pattern", ["clip", "caption", "multi-vector"])
def test_patterns_search_a_real_collection(store, pattern):
    llm = model("It is red [1].")
    chain = create_rag_chain(MultimodalRetriever(store=store, k=1), llm, pattern=pattern)
    result = chain.invoke("a red square")
    assert [document.page_content for document in result["context"]] == ["a red square"]
    assert result["citations"][0]["source"] == "red.png"
    assert isinstance(llm.calls[0][-1].content, str) is (pattern == "caption")


def test_nothing_relevant_is_said_without_calling_the_model(store):
    llm = model("made up")
    chain = create_rag_chain(MultimodalRetriever(store=store), llm, score_threshold=1.0)
    result = chain.invoke("submarine volcanoes of the deep sea")
    assert (result["context"], result["answer"]) == ([], NOTHING_FOUND)
    assert (result["citations"], result["removed_citations"]) == ([], [])
    assert llm.calls == []


def test_of_an_empty_collection_that_is_said_too(clip, tmp_path):
    empty = MultimodalChroma("empty", clip, persist_directory=str(tmp_path / "store"))
    for options in ({}, {"pattern": "caption"}, {"score_threshold": 0.5}):
        llm = model("made up")
        result = create_rag_chain(MultimodalRetriever(store=empty), llm, **options).invoke(QUESTION)
        assert (result["answer"], result["citations"], llm.calls) == (NOTHING_FOUND, [], [])


def test_filter_and_k_reach_the_store_by_either_retriever(store):
    for retriever in (MultimodalRetriever(store=store), store.as_retriever()):
        asked = {"input": "What?", "k": 1, "filter": {"modality": "image"}}
        (found,) = create_rag_chain(retriever).invoke(asked)["context"]
        assert found.page_content == "a red square"


def test_a_long_table_behind_a_summary_comes_whole_and_elsewhere_by_the_part_that_was_found():
    rows = [f"| row {n} | {n * n} |" for n in range(400)]
    text, found = "\n".join(rows), rows[200]
    table = note(text, "table.csv", modality="table", chunk=found, chunk_start=text.index(found))
    for pattern, whole in (("multi-vector", True), ("clip", False)):
        llm = model("It is 40000 [1].")
        create_rag_chain(ShelfRetriever(documents=[table]), llm, pattern=pattern).invoke("row 200?")
        sent = str(llm.calls[0][-1].content)
        assert found in sent
        assert (rows[0] in sent and rows[-1] in sent) is whole


# --- words read in a picture -----------------------------------------------------------------------------


class Reader:
    """Reads the same in every picture."""

    fingerprint = "same"

    def read(self, image):
        return [OcrLine("three barrels tarred", (0.25, 0.5, 0.75, 0.6), 0.9)]


@pytest.fixture
def scans(tmp_path):
    """A scan of one page, red, and one of two, green and blue: each page with the words read in it."""
    picture_file(tmp_path / "one.png", "red", (90, 60))
    pages = [Image.new("RGB", (90, 60), colour) for colour in ("green", "blue")]
    pages[0].save(tmp_path / "two.tiff", save_all=True, append_images=pages[1:])
    read = [
        ImageLoader(tmp_path / name, media_directory=tmp_path, ocr=Reader())
        for name in ("one.png", "two.tiff")
    ]
    return [document for loader in read for document in loader.load()]


@pytest.mark.parametrize(("pattern", "shown"), [("clip", 3), ("multi-vector", 3), ("caption", 0)])
def test_words_read_in_a_picture_bring_the_picture(scans, pattern, shown):
    llm, words = model("three"), [each for each in scans if "modality" not in each.metadata]
    create_rag_chain(SearchingRetriever(documents=words), llm, pattern=pattern).invoke(QUESTION)
    content = llm.calls[0][-1].content
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    assert [decoded(block).getpixel((5, 5)) for block in pictures(blocks)] == [
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
    ][:shown]
    told = "\n".join(texts(blocks))
    assert '<passage n="3">\nthree barrels tarred\n</passage>' in told
    beside = " · retrieved, not supplied by the user · with the picture it was read in" if shown else ""
    assert f"[1] text · one.png (text at 25%, 50%){beside}\n" in told
    assert f"[3] text · two.tiff p. 2{beside}\n" in told


def test_a_picture_found_beside_words_read_in_it_is_sent_once_and_counts_once(scans):
    blocks = (
        create_search_tool(ShelfRetriever(documents=scans[1::-1]))
        .invoke({"type": "tool_call", "id": "c1", "name": "search", "args": {"query": "barrels"}})
        .content
    )
    assert len(pictures(blocks)) == 1
    assert "not shown: same picture as [1]" in "\n".join(texts(blocks))
    lost = [scans[0], scans[1].model_copy(update={"metadata": {**scans[1].metadata, "source": "/gone.png"}})]
    llm = model("three")
    create_rag_chain(ShelfRetriever(documents=lost), llm, budget=PromptBudget(max_images=2)).invoke(QUESTION)
    assert "its picture is not shown: its file can no longer be opened\n<passage" in str(
        texts(llm.calls[0][-1].content)
    ).replace("\\n", "\n")
