"""Agents over a real collection: a scripted model that searches, sees pictures, and answers from them."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from PIL import Image
from pydantic import Field

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.middleware import ToolImagesMiddleware
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import cited_documents, create_search_tool
from langchain_mmrag.tools.results import name_of
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.answering import RecordedModel, decoded, picture_file, pictures

TEN = PromptBudget(max_images=10)
COLOURS = ["red", "green", "blue", "yellow", "black", "orange", "purple", "brown", "pink", "gray"]


def photo(path, seed, size=(900, 700)):
    """As hard to compress as a photograph: soft shapes and grain."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = random.normal(0, 8, (size[1], size[0], 3))
    Image.fromarray(np.clip(np.asarray(soft) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("agents")


@pytest.fixture(scope="module")
def embedding():
    return OpenCLIPEmbeddings("mmrag-tiny")


@pytest.fixture(scope="module")
def store(folder, embedding):
    """Ten photographs and ten plain squares."""
    store = MultimodalChroma("agents", embedding, persist_directory=str(folder / "store"))
    photos = [photo(folder / f"photo-{place}.jpg", place) for place in range(10)]
    squares = [picture_file(folder / f"{colour}.png", colour, (64, 64)) for colour in COLOURS]
    store.add_images(
        [str(path) for path in [*photos, *squares]],
        [{"album": "walk", "year": 2010 + place} for place in range(10)] + [{"album": "cards"}] * 10,
        captions=[""] * 10 + [f"a {colour} square" for colour in COLOURS],
    )
    store.add_texts(["The lighthouse stands at Cape Ann."], [{"source": "diary.md"}])
    return store


@pytest.fixture
def tool(store):
    return create_search_tool(MultimodalRetriever(store=store, k=2, filter={"album": "cards"}))


@pytest.fixture
def photos(store):
    """A tool that finds all ten photographs."""
    return create_search_tool(MultimodalRetriever(store=store, k=10, filter={"album": "walk"}), budget=TEN)


class ActingModel(RecordedModel):
    """Answers by what it is shown: each step of its script makes a message of the messages."""

    script: list[Any] = Field(default_factory=list)
    messages: Any = iter(())

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.calls.append(messages)
        step = self.script.pop(0)
        message = step(messages) if callable(step) else step
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        (generation,) = self._generate(messages).generations
        message: Any = generation.message
        calls = [
            {"name": each["name"], "args": json.dumps(each["args"]), "id": each["id"], "index": place}
            for place, each in enumerate(message.tool_calls)
        ]
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=calls))
        for part in message.text.split(" ") if message.text else ():
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{part} "))


def acting(*script):
    return ActingModel(script=[AIMessage(step) if isinstance(step, str) else step for step in script])


def call(**arguments):
    return {"name": "search_pictures_and_text", "args": arguments, "id": f"c{json.dumps(arguments)}"}


def searching(*calls):
    return AIMessage("", tool_calls=list(calls))


def ids_in(message):
    """The ids a model reads in the labels of a tool's message."""
    parts = message.content if isinstance(message.content, list) else [{"text": message.content}]
    told = "\n".join(part.get("text", "") for part in parts)
    return [
        line.split(" id ")[1].split()[0] for line in told.splitlines() if line[:1] == "[" and " id " in line
    ]


def citing_first(messages):
    tool_message = next(m for m in reversed(messages) if isinstance(m, ToolMessage))
    return AIMessage(f"It is red [{ids_in(tool_message)[0]}].")


def asked(text="What is red?"):
    return {"messages": [("user", text)]}


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


# --- the loop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["sync", "async"])
async def test_an_agent_searches_sees_the_very_pictures_and_cites_them(tool, folder, run):
    llm = acting(searching(call(query="a red square", modality="image")), citing_first)
    agent = create_agent(llm, tools=[tool])
    state = agent.invoke(asked()) if run == "sync" else await agent.ainvoke(asked())
    seen = llm.calls[1][-1]
    assert isinstance(seen, ToolMessage)
    sources = [document.metadata["source"] for document in seen.artifact]
    assert sources[0] == str(folder / "red.png")
    for block, source in zip(pictures(seen.content), sources, strict=True):
        np.testing.assert_array_equal(pixels(decoded(block)), pixels(Image.open(source)))
    checked = cited_documents(state["messages"])
    assert [document.metadata["source"] for document in checked.cited.values()] == sources[:1]
    assert checked.unknown == []


@pytest.mark.parametrize("run", ["sync", "async"])
async def test_with_the_middleware_the_pictures_follow_in_a_human_message(tool, folder, run):
    llm = acting(searching(call(query="a red square", modality="image")), citing_first)
    agent = create_agent(llm, tools=[tool], middleware=[ToolImagesMiddleware()])
    state = agent.invoke(asked()) if run == "sync" else await agent.ainvoke(asked())
    *_, result, shown = llm.calls[1]
    assert isinstance(result, ToolMessage)
    assert isinstance(result.content, str)
    assert "(picture A follows in the next message)" in result.content
    assert isinstance(shown, HumanMessage)
    first = pictures(shown.content)[0]
    np.testing.assert_array_equal(pixels(decoded(first)), pixels(Image.open(folder / "red.png")))
    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert pictures(state["messages"][2].content)
    assert len(cited_documents(state["messages"]).cited) == 1


def test_full_size_reaches_the_model_though_the_state_has_small_pictures(photos, folder):
    llm = acting(searching(call(query="a walk")), "Done.")
    agent = create_agent(llm, tools=[photos], middleware=[ToolImagesMiddleware(lift=False, max_images=10)])
    state = agent.invoke(asked("Show me the walk"))
    kept, seen = state["messages"][2], llm.calls[1][-1]
    assert len(pictures(kept.content)) == len(pictures(seen.content)) == 10
    for small, whole, document in zip(
        pictures(kept.content), pictures(seen.content), seen.artifact, strict=True
    ):
        assert max(decoded(small).size) >= 128
        np.testing.assert_array_equal(pixels(decoded(whole)), pixels(Image.open(document.metadata["source"])))


def checkpoint_sizes(agent, saver, config):
    serializer = JsonPlusSerializer()
    return [len(serializer.dumps_typed(each.checkpoint)[1]) for each in saver.list(config)]


@pytest.mark.parametrize("middleware", [[], [ToolImagesMiddleware()]], ids=["alone", "with middleware"])
def test_a_checkpoint_with_ten_pictures_stays_small(photos, middleware):
    llm = acting(searching(call(query="a walk")), "Ten photographs.")
    saver = InMemorySaver()
    agent = create_agent(llm, tools=[photos], middleware=middleware, checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    state = agent.invoke(asked("Show me the walk"), config)
    assert len(pictures(state["messages"][2].content)) == 10
    largest = max(checkpoint_sizes(agent, saver, config))
    assert 30_000 < largest < 100_000
    writes = [write for each in saver.list(config) for write in each.pending_writes or ()]
    assert max(len(JsonPlusSerializer().dumps_typed(write)[1]) for write in writes) < 100_000


def test_a_state_written_to_sqlite_goes_on_in_another_process(photos, store, tmp_path):
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    first = create_agent(
        acting(searching(call(query="a walk")), citing_first), tools=[photos], checkpointer=saver
    )
    first.invoke(asked("Show me the walk"), config)
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("CREATE TABLE states (kind TEXT, state BLOB)")
        kept = JsonPlusSerializer().dumps_typed(first.get_state(config).values["messages"])
        database.execute("INSERT INTO states VALUES (?, ?)", kept)
    database.close()
    database = sqlite3.connect(tmp_path / "state.db")
    (row,) = database.execute("SELECT * FROM states")
    database.close()
    messages = JsonPlusSerializer().loads_typed(row)
    assert len(cited_documents(messages).cited) == 1
    # a new tool, which has shown nothing yet, knows the pictures by their ids all the same
    anew = create_search_tool(MultimodalRetriever(store=store, k=2, filter={"album": "walk"}), budget=TEN)
    llm = acting(
        lambda seen: searching(call(image=ids_in([m for m in seen if m.type == "tool"][-1])[3])), "The same."
    )
    agent = create_agent(llm, tools=[anew], middleware=[ToolImagesMiddleware(max_images=10)])
    state = agent.invoke({"messages": [*messages, ("user", "More like the fourth?")]})
    assert (
        len([block for m in llm.calls[0] if m.type == "human" for block in m.content if "base64" in block])
        == 10
    )
    found = state["messages"][-2]
    assert found.status == "success"
    fourth = messages[2].artifact[3]
    fourth = fourth if isinstance(fourth, dict) else fourth.model_dump()
    assert found.artifact[0].metadata["source"] == fourth["metadata"]["source"]


def test_several_searches_at_once_are_told_apart_by_ids(store):
    tool = create_search_tool(MultimodalRetriever(store=store, k=2))

    def answer(messages):
        first, second = [message for message in messages if message.type == "tool"]
        return AIMessage(f"Red [{ids_in(first)[0]}], Cape Ann [{ids_in(second)[0]}], odd [1], none [zzzz9].")

    llm = acting(
        searching(call(query="a red square", modality="image"), call(query="lighthouse", modality="text")),
        answer,
    )
    state = create_agent(llm, tools=[tool], middleware=[ToolImagesMiddleware()]).invoke(asked("Which?"))
    checked = cited_documents(state["messages"])
    sources = [document.page_content for document in checked.cited.values()]
    assert sources == ["a red square", "The lighthouse stands at Cape Ann."]
    assert checked.unknown == ["1", "zzzz9"]
    assert [m.type for m in llm.calls[1]] == ["human", "ai", "tool", "tool", "human"]


# --- LangGraph by hand, streaming --------------------------------------------------------------------------------


class State(TypedDict):
    messages: Annotated[list, add_messages]


def graph(llm, tool):
    built = StateGraph(State)
    built.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    built.add_node("tools", ToolNode([tool]))
    built.add_edge(START, "model")
    built.add_conditional_edges("model", tools_condition)
    built.add_edge("tools", "model")
    return built.compile()


def test_the_tool_works_in_a_graph_of_ones_own(tool, folder):
    llm = acting(searching(call(query="a red square", modality="image")), citing_first)
    state = graph(llm, tool).invoke(asked())
    seen = llm.calls[1][-1]
    np.testing.assert_array_equal(
        pixels(decoded(pictures(seen.content)[0])), pixels(Image.open(folder / "red.png"))
    )
    assert list(cited_documents(state["messages"]).unknown) == []


async def test_streams_tell_of_tool_and_answer(tool):
    agent = create_agent(
        acting(searching(call(query="a red square")), "It is red."),
        tools=[tool],
        middleware=[ToolImagesMiddleware()],
    )
    updates = [update async for update in agent.astream(asked(), stream_mode="updates")]
    assert [next(iter(update)) for update in updates] == ["model", "tools", "model"]
    agent = create_agent(
        acting(searching(call(query="a red square")), "It is red."),
        tools=[tool],
        middleware=[ToolImagesMiddleware()],
    )
    parts = [part for part, _ in agent.stream(asked(), stream_mode="messages")]
    found = next(part for part in parts if isinstance(part, ToolMessage))
    assert found.artifact[0].page_content == "a red square"
    assert "".join(part.text for part in parts if isinstance(part, AIMessageChunk)) == "It is red. "


# --- trouble ------------------------------------------------------------------------------------------------------


def test_an_agent_is_told_what_was_wrong_and_goes_on(tool):
    wrong = call(query="red", filter=[{"key": "password", "values": ["x"]}])
    llm = acting(searching(wrong), searching(call(query="red", image="../../etc/passwd")), "I cannot.")
    state = create_agent(llm, tools=[tool], middleware=[ToolImagesMiddleware()]).invoke(asked())
    first, second = [message for message in state["messages"] if message.type == "tool"]
    assert (first.status, second.status) == ("error", "error")
    assert "known keys: album" in first.content
    assert second.content.startswith("There is no such picture to search with")


def test_a_picture_deleted_since_is_a_line_the_model_reads(embedding, tmp_path, open_store):
    store = open_store(embedding)
    path = picture_file(tmp_path / "red.png", "red", (64, 64))
    store.add_images([str(path)])
    tool = create_search_tool(MultimodalRetriever(store=store))
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    llm = acting(searching(call(query="red")), "Red.", searching(call(query="red")), "Gone.")
    agent = create_agent(llm, tools=[tool], middleware=[ToolImagesMiddleware()], checkpointer=saver)
    agent.invoke(asked(), config)
    path.unlink()
    agent.invoke(asked("And now?"), config)
    told = [message.content for message in llm.calls[-1] if message.type == "tool"]
    assert len(told) == 2
    assert all("its file can no longer be opened" in content for content in told)


def test_an_empty_collection_says_that_nothing_was_found(embedding, open_store):
    tool = create_search_tool(MultimodalRetriever(store=open_store(embedding)))
    assert "filter" not in tool.args
    llm = acting(searching(call(query="red")), "Nothing.")
    state = create_agent(llm, tools=[tool], middleware=[ToolImagesMiddleware()]).invoke(asked())
    assert state["messages"][2].content == "Nothing was found for 'red'. Other words may help."
    assert state["messages"][-1].content == "Nothing."


def test_many_threads_search_at_once_and_get_what_one_gets(tool, store, folder):
    retriever = MultimodalRetriever(store=store, k=2, filter={"album": "cards"})

    def found(colour):
        message = tool.invoke({**call(query=f"a {colour} square", modality="image"), "type": "tool_call"})
        by_picture = retriever.invoke(Query(image=str(folder / f"{colour}.png")))
        return [document.id for document in message.artifact], [document.id for document in by_picture]

    alone = [found(colour) for colour in COLOURS]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(found, COLOURS * 3)) == alone * 3


def test_names_stay_the_same(tool):
    found = [tool.invoke({**call(query="red"), "type": "tool_call"}) for _ in range(2)]
    assert ids_in(found[0]) == ids_in(found[1]) == [name_of(document) for document in found[0].artifact]
