"""`create_agent` with the search tool, through LangChain's own clients: search, see, answer with citations."""

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_mmrag.middleware import ToolImagesMiddleware
from langchain_mmrag.tools import cited_documents, create_search_tool
from tests.integration_tests.providers.loopback import Answer, Call
from tests.unit_tests.answering import ShelfRetriever, note, picture, picture_file

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"  # inside Google's client
)

TOOL = "search_pictures_and_text"
PLACES = {
    "openai chat": ["system", "user", "assistant", "tool", "user"],  # a tool's message takes text alone
    "openai responses": ["system", "user", "assistant", "tool"],
    "anthropic": ["system", "user", "assistant", "tool"],
    "google": ["system", "user", "assistant", "tool"],
    "ollama": ["system", "user", "assistant", "tool"],
}


@pytest.fixture
def files(tmp_path):
    return [picture_file(tmp_path / f"{colour}.png", colour) for colour in ("red", "blue")]


@pytest.fixture
def search(files):
    red, blue = files
    return create_search_tool(
        ShelfRetriever(documents=[picture(red, "a red flag"), note("It was spring."), picture(blue)])
    )


def agent_of(provider, search, *answers, **options):
    middleware = options.pop("middleware", [ToolImagesMiddleware()])
    model = provider.model(*answers, **options.pop("model", {}))
    prompt = "Search before you answer."
    return create_agent(model, tools=[search], system_prompt=prompt, middleware=middleware, **options)


def asks(**arguments):
    return Answer(calls=(Call(TOOL, arguments or {"query": "flags"}),))


def question(text="Which flags are there?"):
    return {"messages": [("user", text)]}


def said(state):
    return state["messages"][-1].text


@pytest.fixture(params=["invoke", "ainvoke", "stream"])
def run(request):
    async def running(agent):
        if request.param == "invoke":
            return agent.invoke(question())
        if request.param == "ainvoke":
            return await agent.ainvoke(question())
        states, words = [], []
        async for mode, part in agent.astream(question(), stream_mode=["values", "messages"]):
            (states if mode == "values" else words).append(part)
        assert len([m for m, _ in words if m.type == "AIMessageChunk" and m.text]) > 3
        return states[-1]

    return running


async def test_an_agent_searches_sees_and_answers(provider, search, files, run):
    answer = "A red flag and a blue one, hoisted in spring."
    state = await run(agent_of(provider, search, asks(), answer))
    assert said(state) == answer
    server = provider.server
    assert len(server.requests) == 2
    assert [turn.role for turn in server.turns] == PLACES[provider.name]
    assert server.pictures == [path.read_bytes() for path in files]
    with_pictures = [turn.role for turn in server.turns if turn.pictures]
    assert with_pictures == [PLACES[provider.name][-1]]
    assert "It was spring." in server.text
    assert "red.png" in server.text


async def test_citations_of_an_agent_lead_to_the_documents(provider, search, files):
    state = agent_of(provider, search, asks(), "Nothing yet.").invoke(question())
    told = next(m for m in state["messages"] if isinstance(m, ToolMessage)).text
    name = told.split("[1] id ")[1].split(" ")[0]
    provider.server.says(asks(), f"A red flag [{name}], and more [zzzz9].")
    state = agent_of(provider, search).invoke(question())
    checked = cited_documents(state["messages"])
    assert [document.metadata["source"] for document in checked.cited.values()] == [str(files[0])]
    assert list(checked.cited) == [name]
    assert checked.unknown == ["zzzz9"]


def test_two_searches_at_once(provider, search):
    both = Answer(calls=(Call(TOOL, {"query": "red"}), Call(TOOL, {"query": "blue"}, "call_2")))
    state = agent_of(provider, search, both, "Two flags.").invoke(question())
    assert said(state) == "Two flags."
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == 2
    assert len(provider.server.pictures) == 4


def test_a_wrong_argument_is_told_to_the_model_which_tries_again(provider, search):
    agent = agent_of(provider, search, asks(query="flags", k="many"), asks(query="flags"), "Two flags.")
    state = agent.invoke(question())
    results = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    assert "k" in results[0].text
    assert "wrong" in results[0].text
    assert said(state) == "Two flags."


def test_a_model_without_pictures_gets_captions(provider, search):
    agent = agent_of(provider, search, asks(), "A red flag.", model={"profile": {"image_inputs": False}})
    assert said(agent.invoke(question())) == "A red flag."
    assert provider.server.pictures == []
    assert "a red flag" in provider.server.text


def test_a_conversation_goes_on_with_the_pictures_of_before(provider, search, files):
    agent = agent_of(provider, search, asks(), "Two flags.", checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    agent.invoke(question(), thread)
    provider.server.says("As I said, two.")
    state = agent.invoke(question("Are you sure?"), thread)
    assert said(state) == "As I said, two."
    assert "Are you sure?" in provider.server.turns[-1].text
    assert provider.server.pictures == [path.read_bytes() for path in files]


def test_ten_pictures_leave_a_small_state(provider, tmp_path):
    documents = [picture(picture_file(tmp_path / f"{n}.jpg", (n * 20, 80, 9), (900, 700))) for n in range(10)]
    search = create_search_tool(ShelfRetriever(documents=documents, k=10))
    agent = agent_of(provider, search, asks(), "Ten flags.", checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    agent.invoke(question(), thread)
    kind, data = JsonPlusSerializer().dumps_typed(agent.get_state(thread).values)
    assert kind == "msgpack"
    assert len(data) < 100_000
    assert provider.server.pictures


@pytest.mark.parametrize("provider", ["openai chat", "openai responses"], indirect=True)
@pytest.mark.parametrize("written", ['{"query": "fl', "flags"])
def test_a_call_that_is_no_json_ends_without_a_search(provider, search, written):
    agent = agent_of(provider, search, Answer(calls=(Call(TOOL, written),)))
    *_, state = agent.stream(question(), stream_mode="values")
    assert not any(isinstance(message, ToolMessage) for message in state["messages"])
    assert isinstance(state["messages"][-1], AIMessage)
    assert len(provider.server.requests) == 1
