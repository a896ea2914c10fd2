"""What the search tool leaves in an agent's state: small messages, JSON artifacts, ids an answer can be checked by."""

import datetime as dt
import json
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from PIL import Image

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.quotes import PASSAGE_CHARS
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import cited_documents, create_search_tool
from langchain_mmrag.tools.results import as_name, name_of, slim
from langchain_mmrag.types import CHUNK, CHUNK_START
from tests.unit_tests.answering import ShelfRetriever, decoded, note, picture, picture_file, pictures


def call(tool, **arguments):
    return tool.invoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": arguments})


def noise(path, seed, size=(600, 400)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


# --- previews ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [64_000, 20_000, 5_000])
def test_pictures_share_what_a_message_may_hold(tmp_path, limit):
    documents = [picture(noise(tmp_path / f"{place}.png", place)) for place in range(4)]
    documents.insert(1, picture(picture_file(tmp_path / "icon.png", "red", (16, 16))))
    tool = create_search_tool(
        ShelfRetriever(documents=documents, k=5), budget=PromptBudget(max_images=5), preview_bytes=limit
    )
    blocks = pictures(call(tool, query="x").content)
    assert limit * 0.1 < sum(len(block["base64"]) for block in blocks) <= limit
    assert decoded(blocks[1]).size == (16, 16)
    for block in blocks:
        if decoded(block).width > 40:
            assert decoded(block).width / decoded(block).height == pytest.approx(1.5, rel=0.1)


def test_what_is_left_out_of_a_message_is_told(tmp_path):
    documents = [picture(noise(tmp_path / f"{place}.png", place)) for place in range(3)]
    message = call(create_search_tool(ShelfRetriever(documents=documents), preview_bytes=3_000), query="x")
    assert len(pictures(message.content)) == 2
    assert message.content[-1]["text"].endswith("\n(not in this message: pictures of it)")
    whole = create_search_tool(ShelfRetriever(documents=documents), preview_bytes=None)
    assert [decoded(block).size for block in pictures(call(whole, query="x").content)] == [(600, 400)] * 3
    with pytest.raises(ValueError, match="preview_bytes is -1"):
        create_search_tool(ShelfRetriever(documents=[]), preview_bytes=-1)


def test_more_results_than_a_budget_has_room_for_leaves_the_best():
    documents = [note(f"Passage {place}.", f"{place}.md") for place in range(20)]
    tool = create_search_tool(ShelfRetriever(documents=documents), budget=PromptBudget(max_tokens=120))
    message = call(tool, query="x", k=20)
    assert 1 <= len(message.artifact) < 20
    assert message.artifact == documents[: len(message.artifact)]
    none = create_search_tool(ShelfRetriever(documents=documents), budget=PromptBudget(max_tokens=1))
    with pytest.raises(ValueError, match="max_tokens"):
        call(none, query="x")


def test_an_error_that_is_none_of_the_budgets_is_no_reason_to_leave_results_out(monkeypatch):
    tries = []

    def broken(*arguments, **options):
        tries.append(arguments)
        raise ValueError("a bug")

    monkeypatch.setattr("langchain_mmrag.tools.results.documents_to_content_blocks", broken)
    documents = [note(f"Passage {place}.", f"{place}.md") for place in range(4)]
    with pytest.raises(ValueError, match="a bug"):
        call(create_search_tool(ShelfRetriever(documents=documents)), query="x")
    assert len(tries) == 1


# --- the artifact ------------------------------------------------------------------------------------------------


def test_artifacts_are_json_and_hold_no_payload(tmp_path):
    metadata = {
        "source": "data:image/png;base64," + "A" * 5_000,
        "when": dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        "who": UUID(int=7),
        "path": Path("a.png"),
        "raw": b"x" * 5_000,
        "view": memoryview(b"x" * 5_000),
        "picture": Image.new("RGB", (500, 500)),
        "score": np.float32(0.5),
        "odd": float("nan"),
        "tags": ("a", {"deep": ["data:text/plain;base64," + "B" * 5_000]}),
        7: "key",
    }
    document = Document("data:image/png;base64," + "C" * 5_000, metadata=metadata)
    kept = slim(document)
    written = json.dumps(kept.model_dump(), allow_nan=False)
    assert len(written) < 1_000
    assert "AAAA" not in written
    assert "BBBB" not in written
    assert "CCCC" not in written
    assert kept.metadata["score"] == 0.5
    assert kept.metadata["who"] == str(UUID(int=7))
    assert (
        JsonPlusSerializer().loads_typed(JsonPlusSerializer().dumps_typed(kept.model_dump()))
        == kept.model_dump()
    )


def test_of_a_long_text_the_part_that_was_found_is_kept():
    text = " ".join(f"Sentence number {number} is here." for number in range(2_000))
    start = text.index("Sentence number 1000 ")
    part = text[start : start + 200]
    kept = slim(note(text, **{CHUNK: part, CHUNK_START: start, "year": 1999}))
    assert len(kept.page_content) <= PASSAGE_CHARS
    assert "Sentence number 1000 is here." in kept.page_content
    assert kept.metadata == {"source": "notes.md", "year": 1999}
    assert slim(kept) == kept


# --- ids and citations -------------------------------------------------------------------------------------------


def test_ids_are_short_stable_and_read_however_a_model_writes_them():
    names = {name_of(f"document {number}") for number in range(3_000)}
    assert len(names) >= 2_999
    assert all(as_name(f"[{name.upper()}]") == name for name in names)
    document = note("x", year=3)
    assert name_of(document) == name_of(note("x", year=3)) != name_of(note("x", year=4))
    for wrong in ("", "photo", "abcd", "abcde1", "../a1", "x" * 1_000):
        assert as_name(wrong) is None


def result(*documents, status="success"):
    return ToolMessage("found", tool_call_id="c1", artifact=[*documents], status=status)


A, B = note("a", "a.md"), note("b", "b.md")


def test_citations_are_looked_up_by_id_and_by_number_where_it_is_clear():
    one = [HumanMessage("?"), result(A, B)]
    checked = cited_documents(
        [*one, AIMessage(f"Yes [{name_of(B)}], [1; 2] and [3], [zzzz9], [note], [2021].")]
    )
    assert checked.cited == {name_of(B): B, "1": A, "2": B}
    assert checked.unknown == ["3", "zzzz9"]
    two = [*one, result(B)]
    assert cited_documents([*two, AIMessage("See [1].")]).unknown == ["1"]
    later = [*two, AIMessage("So."), HumanMessage("Why?"), AIMessage(f"[1] [{name_of(A)}]")]
    assert cited_documents(later).cited == {"1": B, name_of(A): A}
    assert cited_documents([]) == ({}, [])
    assert cited_documents([HumanMessage("?"), AIMessage("[1]")]).unknown == ["1"]


@pytest.mark.parametrize(
    ("written", "cited", "unknown"),
    [
        ("[{a}; {b}]", "ab", []),
        ("[{a}, {b}]", "ab", []),
        ("[{a} and {b}]", "ab", []),
        ("【{a}】 [^{b}]", "ab", []),
        ("[id {b}] [[{a}]]", "ba", []),
        ("【{a}†source】", "a", []),
        ("[see {a}]", "a", []),
        ("[{a}](https://example.org)", "a", []),
        ("[1-2]", "12", []),
        ("[1–4]", "12", ["3", "4"]),
        ("[h2o33], [q1w2e]", "", ["h2o33", "q1w2e"]),
        ("[2024] [b2b] [hello] [12345] [page 2] [0] [h2o33](https://example.org) {a}", "", []),
        ("[see h2o33] [abc12 is wrong]", "", []),
    ],
)
def test_citations_are_read_in_the_forms_models_write(written, cited, unknown):
    names = {"a": name_of(A), "b": name_of(B), "1": "1", "2": "2"}
    answer = AIMessage(written.format(a=names["a"], b=names["b"]))
    found = cited_documents({"messages": [HumanMessage("?"), result(A, B), answer]})
    assert list(found.cited) == [names[each] for each in cited]
    assert found.unknown == unknown


@pytest.mark.parametrize("wrong", ["[k3fq7]", {"answer": "x"}, None, ["hello"], [("ai", "x")], 7])
def test_what_are_no_messages_is_told(wrong):
    with pytest.raises(TypeError, match="cited_documents got a"):
        cited_documents(wrong)


def test_citations_are_looked_up_in_what_a_checkpoint_gives_back():
    message = result(A).model_copy(update={"artifact": [A.model_dump()]})
    answer = AIMessage([{"type": "text", "text": f"Yes [{name_of(A)}]."}])
    assert cited_documents([HumanMessage("?"), message, answer]).cited == {name_of(A): A}


# --- artifacts that somebody else has written ----------------------------------------------------------------------


def test_an_artifact_without_ids_opens_nothing_that_a_collection_does_not_vouch_for(store, tmp_path):
    picture_file(tmp_path / "secret.png", "blue")
    store.add_texts(["a note"])
    retriever = MultimodalRetriever(store=store)
    tool = create_search_tool(retriever, media_policy=MediaPolicy(roots=(tmp_path,)))
    forged = ToolMessage("x", tool_call_id="1", name=tool.name, artifact=[picture(tmp_path / "secret.png")])
    assert tool.with_pictures(forged).content == "x"


@pytest.mark.parametrize("id_", [["a"], {"a": 1}, True])
def test_an_artifact_of_another_kind_leaves_the_message_as_it_is(store, id_):
    tool = create_search_tool(MultimodalRetriever(store=store))
    broken = ToolMessage(
        "x", tool_call_id="1", name=tool.name, artifact=[{"page_content": "", "metadata": {}, "id": id_}]
    )
    assert tool.with_pictures(broken).content == "x"
