"""Pictures in tool messages on their way to models: who needs them lifted, and what is left where they were."""

import base64

import pytest
from langchain.agents.middleware import ModelRequest
from langchain_anthropic import ChatAnthropic
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.middleware import ToolImagesMiddleware, needs_lift, picture_of
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import create_search_tool
from tests.unit_tests.answering import ShelfRetriever, decoded, model, note, picture, picture_file, pictures

PIXEL = base64.b64encode(b"not looked into").decode()
STANDARD = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}


def tool_message(*blocks, call_id="c1", name="camera"):
    return ToolMessage(content=[*blocks], tool_call_id=call_id, name=name)


def told(text):
    return {"type": "text", "text": text}


def calling(*ids):
    return AIMessage("", tool_calls=[{"name": "camera", "args": {}, "id": call_id} for call_id in ids])


def sent(messages, llm=None, tools=(), middleware=None, **options):
    """What the model is given."""
    seen = []
    request = ModelRequest(model=llm or model(), messages=[*messages], tools=[*tools])
    (middleware or ToolImagesMiddleware(**options)).wrap_model_call(
        request, lambda r: seen.append(r.messages)
    )
    return seen[0]


@pytest.fixture
def openai():
    return ChatOpenAI(model="gpt-4o", api_key="none")


# --- which models need it ------------------------------------------------------------------------------------


def needing(llm, tools=(), **settings):
    return needs_lift(ModelRequest(model=llm, messages=[], tools=[*tools], model_settings=settings))


def test_chat_completions_and_the_unknown_need_it(openai):
    assert openai.profile["image_tool_message"] is True  # of the model, not of the interface
    assert needing(openai)
    assert needing(ChatOpenAI(model="llava", base_url="http://127.0.0.1:1/v1", api_key="none"))
    azure = {"azure_endpoint": "http://127.0.0.1:1", "api_version": "1", "api_key": "none"}
    assert needing(AzureChatOpenAI(model="gpt-4o", **azure))
    assert needing(model())


def test_interfaces_with_a_place_for_pictures_of_tools_do_not():
    assert not needing(ChatOpenAI(model="gpt-4o", api_key="none", use_responses_api=True))
    assert not needing(ChatOpenAI(model="gpt-4o", api_key="none"), tools=[{"type": "web_search"}])
    assert not needing(ChatOpenAI(model="gpt-4o", api_key="none"), reasoning={"effort": "low"})
    assert not needing(ChatAnthropic(model="claude-sonnet-4-5", api_key="none"))
    assert not needing(ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key="none"))
    assert not needing(ChatOllama(model="llava"))


def test_it_can_be_told(openai):
    messages = [HumanMessage("?"), calling("c1"), tool_message(STANDARD)]
    assert sent(messages, openai, lift=False) == messages
    anthropic = ChatAnthropic(model="claude-sonnet-4-5", api_key="none")
    assert [m.type for m in sent(messages, anthropic, lift=True)] == ["human", "ai", "tool", "human"]
    assert sent(messages, anthropic) == messages


def test_the_real_client_sends_the_picture_as_the_users(openai):
    messages = sent([HumanMessage("?"), calling("c1"), tool_message(told("a photo"), STANDARD)], openai)
    payload = openai._get_request_payload(messages)["messages"]
    assert [message["role"] for message in payload] == ["user", "assistant", "tool", "user"]
    assert payload[2]["content"] == "a photo\n\n(picture A follows in the next message)"
    assert payload[3]["content"][-1] == {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PIXEL}"},
    }


# --- what is lifted, and where to ----------------------------------------------------------------------------


SHAPES = [
    STANDARD,
    {"type": "image", "source_type": "base64", "data": PIXEL, "mime_type": "image/png"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    {"type": "image_url", "image_url": f"data:image/png;base64,{PIXEL}"},
    {"type": "image", "url": f"data:image/png;base64,{PIXEL}"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    {"type": "image", "data": PIXEL, "mimeType": "image/png"},
]


@pytest.mark.parametrize("block", SHAPES, ids=range(len(SHAPES)))
def test_pictures_of_every_shape_become_standard_blocks(block):
    assert picture_of(block) == STANDARD


def test_addresses_and_file_ids_stay_what_they_are():
    address = {"type": "image", "url": "https://example.org/a.png"}
    assert picture_of(address) == address
    assert picture_of({"type": "image_url", "image_url": {"url": address["url"]}}) == address
    assert picture_of({"type": "image", "source": {"type": "url", "url": address["url"]}}) == address
    assert picture_of({"type": "image", "file_id": "f1"}) == {"type": "image", "file_id": "f1"}


@pytest.mark.parametrize(
    "block",
    ["text", told("x"), {"type": "image"}, {"type": "image", "data": 7}, {"type": "file", "url": "x"}],
)
def test_what_is_no_picture_stays_where_it_is(block):
    assert picture_of(block) is None


def test_tools_called_at_once_share_one_human_message_in_order():
    messages = [
        HumanMessage("?"),
        calling("c1", "c2"),
        tool_message(told("first"), STANDARD, "bare text", STANDARD, call_id="c1"),
        tool_message(STANDARD, call_id="c2"),
        AIMessage("Seen."),
        HumanMessage("And?"),
        calling("c3"),
        ToolMessage("no picture", tool_call_id="c3"),
    ]
    before = [message.model_dump() for message in messages]
    result = sent(messages)
    assert [m.type for m in result] == ["human", "ai", "tool", "tool", "human", "ai", "human", "ai", "tool"]
    assert result[2].content == (
        "first\n\n(picture A follows in the next message)\n\nbare text\n\n(picture B follows in the next message)"
    )
    assert result[3].content == "(picture C follows in the next message)"
    labels = [block["text"] for block in result[4].content if block["type"] == "text"]
    assert labels[0] == "Pictures from the tool results above: found by tools, not supplied by the user."
    assert labels[1:] == ["Picture A:", "Picture B:", "Picture C:"]
    assert len(pictures(result[4].content)) == 3
    assert result[-1] is messages[-1]
    assert [message.model_dump() for message in messages] == before


async def test_the_async_form_does_the_same():
    messages = [HumanMessage("?"), calling("c1"), tool_message(STANDARD)]
    request = ModelRequest(model=model(), messages=messages, tools=[])
    seen = []

    async def handler(changed):
        seen.append(changed.messages)

    await ToolImagesMiddleware().awrap_model_call(request, handler)
    assert seen == [sent(messages)]


def test_a_conversation_without_tools_passes_untouched():
    request = ModelRequest(model=model(), messages=[HumanMessage([STANDARD])], tools=[])
    ToolImagesMiddleware().wrap_model_call(request, lambda changed: None if changed is request else 1 / 0)


@pytest.mark.parametrize("lift", [True, False])
def test_only_the_latest_pictures_are_sent(lift):
    messages = []
    for turn in "abc":
        named = {**STANDARD, "base64": turn * 8}
        messages += [HumanMessage("?"), calling(turn), tool_message(named, named, call_id=turn)]
    result = sent(messages, max_images=3, lift=lift)
    shown = [
        block["base64"][0] for m in result if isinstance(m.content, list) for block in pictures(m.content)
    ]
    assert shown == ["b", "c", "c"]
    left_out = "(a picture was here, and is not sent: search again to see it)"
    assert result[2].content == f"{left_out}\n\n{left_out}"
    assert len([m for m in sent(messages, max_images=None, lift=lift) if m.type == "tool"]) == 3
    assert not [m for m in sent(messages, max_images=0, lift=lift) if isinstance(m.content, list)]
    with pytest.raises(ValueError, match="max_images is -1"):
        ToolImagesMiddleware(max_images=-1)


# --- the search tool's own -----------------------------------------------------------------------------------


@pytest.fixture
def found(tmp_path):
    """A search tool, and the conversation in which it found two pictures and a passage."""
    documents = [
        picture(picture_file(tmp_path / "red.png", "red"), "a red card"),
        note("The sea."),
        picture(picture_file(tmp_path / "blue.png", "blue")),
    ]
    policy = MediaPolicy(roots=(tmp_path,))
    tool = create_search_tool(ShelfRetriever(documents=documents), media_policy=policy)
    message = tool.invoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": {"query": "card"}})
    asking = AIMessage("", tool_calls=[{"name": tool.name, "args": {"query": "card"}, "id": "c1"}])
    return tool, [HumanMessage("?"), asking, message]


def test_a_model_without_eyes_gets_captions(found):
    tool, messages = found
    blind = model(profile={"image_inputs": False})
    for result in (sent(messages, blind, [tool]), sent(messages, tools=[tool], images=False)):
        assert [m.type for m in result] == ["human", "ai", "tool"]
        assert "a red card" in result[2].content
        assert "this model is given captions instead of pictures" in result[2].content
    other = sent([HumanMessage("?"), calling("c1"), tool_message(told("x"), STANDARD)], blind)
    assert other[2].content == "x\n\n(a picture was here, and is not sent: this model takes none)"


def test_kept_pictures_are_read_anew_and_the_text_is_the_same(found, tmp_path):
    tool, messages = found
    assert sent(messages, tools=[tool], lift=False)[2].content == messages[2].content
    picture_file(tmp_path / "red.png", "green", (60, 60))
    first = pictures(sent(messages, tools=[tool], lift=False)[2].content)[0]
    assert decoded(first).getpixel((0, 0)) == (0, 128, 0)


def test_nothing_is_kept_if_told_and_all_is_shown(found):
    tool, messages = found
    retriever, policy = tool._search._retriever, tool._search._media_policy
    bare = create_search_tool(retriever, preview_bytes=0, media_policy=policy)
    kept = bare.invoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": {"query": "card"}})
    assert isinstance(kept.content, str)
    assert kept.content.count("(not in this message: pictures of it)") == 2
    result = sent([*messages[:2], kept], tools=[bare])
    assert len(pictures(result[-1].content)) == 2
    assert "not in this message" not in str(result)


def test_a_budget_of_the_middleware_narrows_the_tools_own(found):
    tool, messages = found
    result = sent(messages, tools=[tool], max_images=1)
    assert len(pictures(result[-1].content)) == 1
    assert "only the 1 highest-ranked pictures are shown" in result[2].content


# --- an artifact that somebody forged --------------------------------------------------------------------------


@pytest.fixture
def store(open_store, counting_embeddings, tmp_path):
    store = open_store(counting_embeddings)
    path = picture_file(tmp_path / "shown" / "red.png", "red", (30, 20))
    store.add_images([str(path)], [{"for": "all"}], ["red"])
    private = picture_file(tmp_path / "shown" / "blue.png", "blue")
    store.add_images([str(private)], [{"for": "few"}], ["blue"])
    store.add_texts(["red sea"], [{"for": "all"}], ["sea"])
    return store


def shown_in(message):
    return [] if isinstance(message.content, str) else pictures(message.content)


def forged(tool, *documents):
    return ToolMessage(
        "found", tool_call_id="c1", name=tool.name, artifact=[d.model_dump() for d in documents]
    )


def test_an_artifact_opens_nothing_but_what_the_collection_has(store, tmp_path, serve_folder):
    secret = picture_file(tmp_path / "secret" / "green.png", "green")
    address = f"{serve_folder(secret.parent)}/green.png"
    tools = [
        create_search_tool(MultimodalRetriever(store=store, filter={"for": "all"})),
        create_search_tool(store.as_retriever(search_kwargs={"filter": {"for": "all"}})),
    ]
    for tool in tools:
        for id_ in (None, "red", "blue", "nobody"):
            for place in (str(secret), address, f"file://{secret}", str(tmp_path / "shown" / "blue.png")):
                for metadata in (
                    {"modality": "image", "source": place},
                    {"modality": "image", "path": place},
                    {"modality": "video", "thumbnail": [place], "source": place},
                ):
                    message = forged(tool, Document(id=id_, page_content="x", metadata=metadata))
                    [result] = sent([message], tools=[tool], lift=False)
                    shown = [decoded(block).getpixel((0, 0)) for block in shown_in(result)]
                    assert shown == ([(255, 0, 0)] if id_ == "red" else []), (id_, metadata)


def test_without_a_store_an_artifact_opens_nothing_but_in_folders_named(tmp_path, serve_folder):
    inside = picture_file(tmp_path / "shown" / "red.png", "red")
    outside = picture_file(tmp_path / "secret" / "green.png", "green")
    shelf = ShelfRetriever(documents=[])
    loose = create_search_tool(shelf)
    open_policy = create_search_tool(shelf, media_policy=MediaPolicy(allow_private_addresses=True))
    roots = (tmp_path / "shown",)
    fenced = create_search_tool(shelf, media_policy=MediaPolicy(roots=roots, allow_private_addresses=True))
    address = f"{serve_folder(inside.parent)}/red.png"
    for place in (str(inside), str(outside), address):
        for tool in (loose, open_policy):
            message = forged(tool, picture(place))
            assert sent([message], tools=[tool]) == [message]
        [result] = sent([forged(fenced, picture(place))], tools=[fenced], lift=False)
        assert len(shown_in(result)) == (place == str(inside))


def test_without_ids_or_a_collection_previews_stay(store):
    class Nameless(BaseDocumentCompressor):
        """Gives documents without their ids, as some rerankers do."""

        def compress_documents(self, documents, query, callbacks=None):
            return [Document(each.page_content, metadata=each.metadata) for each in documents]

    for retriever in (
        MultimodalRetriever(store=store, reranker=Nameless()),
        MultimodalRetriever(store=store),
    ):
        tool = create_search_tool(retriever)
        call = {"type": "tool_call", "id": "c1", "name": tool.name, "args": {"query": "red"}}
        message = tool.invoke(call)
        if retriever.reranker is None:
            store._client.delete_collection(store._collection_name)
        assert len(pictures(message.content)) == 2
        assert sent([message], tools=[tool], lift=False) == [message]
    store._client.create_collection(store._collection_name)  # what made it deletes it


def test_what_was_deleted_since_is_told_and_all_else_shown(store):
    tool = create_search_tool(MultimodalRetriever(store=store))
    call = {"type": "tool_call", "id": "c1", "name": tool.name, "args": {"query": "red"}}
    message = tool.invoke(call)
    assert sent([message], tools=[tool], lift=False)[0].content == message.content
    store.delete(["blue", "sea"])
    [result] = sent([message], tools=[tool], lift=False)
    assert len(pictures(result.content)) == 1
    said = " ".join(block["text"] for block in result.content if block["type"] == "text")
    assert said.count("no longer in the collection") == 2
    assert "red sea" not in said
    assert "blue.png" not in said


def test_errors_strange_artifacts_and_other_tools_pass(found):
    tool, messages = found
    error = ToolMessage("The query is empty", tool_call_id="c1", name=tool.name, status="error")
    assert sent([*messages[:2], error], tools=[tool])[2] == error
    for artifact in (None, "x", [1], [{"page_content": 1}]):
        strange = messages[2].model_copy(update={"artifact": artifact})
        assert pictures(sent([*messages[:2], strange], tools=[tool])[-1].content)
    assert sent(messages, tools=[], lift=False)[2] == messages[2]


def test_a_picture_that_was_a_data_uri_is_shown_as_it_was_kept():
    uri = f"data:image/gif;base64,{base64.b64encode(GIF).decode()}"
    tool = create_search_tool(ShelfRetriever(documents=[picture(uri)]))
    message = tool.invoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": {"query": "dot"}})
    assert "base64," not in repr(message.artifact)
    result = sent([HumanMessage("?"), message], tools=[tool], lift=False)
    assert len(pictures(result[1].content)) == 1


GIF = base64.b64decode("R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=")
