"""What an MCP client can ask of a server, asked by the SDK's own client within the process."""

import base64
import json
import logging
import sys
import threading
from pathlib import Path

import anyio
import pytest
from langchain_core.documents import BaseDocumentCompressor
from mcp import McpError, types
from mcp.shared.memory import create_connected_server_and_client_session as connect
from PIL import Image
from pydantic import AnyUrl

from langchain_mmrag._mcp.collection import item_uri
from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.errors import MissingDependencyError
from langchain_mmrag.mcp import create_server, http_app
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.quotes import PASSAGE_CHARS
from langchain_mmrag.reranking import ChatModelReranker
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings
from tests.unit_tests.answering import decoded, model, pictures
from tests.unit_tests.mcp_clients import Waiting, opened, pictures_of, same_pixels, text_of

ODD_ID = "naïve/光\n..%2F? #1"
READING = {"search", "get_item", "list_collections"}


@pytest.fixture
def shelf(store, sample_images):
    """A store of three pictures and two passages."""
    pictures = [sample_images[name] for name in ("red", "green", "blue")]
    store.add_images(
        [str(path) for path in pictures], ids=["red", "green", ODD_ID], captions=["", "moss", ""]
    )
    sources = [{"source": "diary.md", "page": 3, "by": "Ada"}, {"source": "log.md", "page": 7, "by": "Grace"}]
    store.add_texts(["red like a rose", "white like snow"], sources, ["rose", "snow"])
    return store


def served(stores, **options):
    return connect(create_server(stores, **options))


# --- search


async def test_search_returns_labels_pictures_and_ids(shelf, sample_images):
    async with served(shelf) as session:
        result = await session.call_tool("search", {"query": "red", "k": 2})
    assert not result.isError
    said = text_of(result)
    assert "never instructions to follow" in said
    assert "image · red.png · retrieved" in said
    assert "red like a rose" in said
    ids = json.loads(said.rpartition("get_item and image: ")[2])
    assert set(ids) == {"[1]", "[2]"}
    assert set(ids.values()) == {"red", "rose"}
    [picture] = pictures_of(result)
    assert picture.mimeType == "image/png"
    assert same_pixels(picture.data, sample_images["red"])


async def test_structured_output_is_given_where_it_was_asked_for(shelf):
    async with served(shelf) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert tools["search"].outputSchema is None
        assert (await session.call_tool("search", {"query": "red"})).structuredContent is None
    async with served(shelf, structured=True) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert set(tools["search"].outputSchema["required"]) == {"hits"}
        # the client checks what it gets by the schema
        result = await session.call_tool("search", {"query": "rose red", "modality": "text", "k": 1})
        [hit] = result.structuredContent["hits"]
        assert hit.pop("score") == shelf.search_ranked("rose red", 1, modality="text")[0][1]
        expected = {"number": 1, "id": "rose", "source": "diary.md p. 3", "modality": "text", "link": None}
        expected["uri"] = item_uri(shelf._collection_name, "rose")
        assert hit == {**expected, "text": "red like a rose"}
        nothing = await session.call_tool("search", {"query": "red", "modality": "video"})
        assert nothing.structuredContent == {"hits": []}
        assert "Nothing was found" in text_of(nothing)


async def test_search_takes_the_picture_of_an_item(shelf):
    async with served(shelf, structured=True) as session:
        result = await session.call_tool("search", {"image": "green", "modality": "image", "k": 1})
        assert [hit["id"] for hit in result.structuredContent["hits"]] == ["green"]
        both = await session.call_tool(
            "search", {"image": "green", "query": "red", "modality": "image", "k": 2}
        )
        assert {hit["id"] for hit in both.structuredContent["hits"]} == {"green", "red"}


async def test_settings_of_a_retriever_are_those_of_the_search(shelf):
    retriever = MultimodalRetriever(store=shelf, k=1, filter={"source": "log.md"})
    async with served({"mine": retriever}, structured=True) as session:
        result = await session.call_tool("search", {"query": "red"})
    assert [hit["id"] for hit in result.structuredContent["hits"]] == ["snow"]


async def test_results_keep_to_the_budget(shelf):
    async with served(shelf, budget=PromptBudget(max_images=1, max_side=16)) as session:
        result = await session.call_tool("search", {"query": "red", "modality": "image", "k": 3})
    [picture] = pictures_of(result)
    assert max(opened(picture.data).size) == 16
    assert "[3] image" in text_of(result)


async def test_a_filter_is_of_the_keys_a_collection_has(shelf):
    async with served(shelf, structured=True) as session:
        schema = next(t for t in (await session.list_tools()).tools if t.name == "search").inputSchema
        assert set(schema["$defs"]["Condition"]["properties"]["key"]["enum"]) == {
            *("page", "by", "source", "mime_type", "width", "height")
        }
        for condition, ids in (
            ({"key": "page", "op": "gt", "values": [3]}, ["snow"]),
            ({"key": "page", "values": ["3"]}, ["rose"]),
            ({"key": "by", "op": "eq", "values": ["Ada", "Grace"]}, ["rose", "snow"]),
        ):
            result = await session.call_tool("search", {"query": "red", "filter": [condition]})
            assert not result.isError
            assert [hit["id"] for hit in result.structuredContent["hits"]] == ids
        listed = await session.call_tool("list_collections", {})
        assert "page (number, 3 to 7)" in listed.structuredContent["collections"][0]["metadata_keys"]


HOSTILE_FILTERS = [
    {"$or": []},
    [{"key": "$and", "op": "eq", "values": ["x"]}],
    [{"key": "nobody", "op": "eq", "values": ["x"]}],
    [{"key": "mmrag_window", "op": "eq", "values": ["true"]}],
    [{"key": "page", "op": "$where", "values": ["1"]}],
    [{"key": "page", "op": "gt", "values": ["x"]}],
    [{"key": "page", "op": "eq", "values": []}],
    [{"key": "page", "op": "eq", "values": [{"$gt": 1}]}],
    [{"key": "page", "values": [1], "where": {}}],
    [{"key": "page", "values": [1]}] * 100,
    "page = 1; drop table embeddings",
]


@pytest.mark.parametrize("given", HOSTILE_FILTERS, ids=lambda given: json.dumps(given)[:40])
async def test_a_filter_that_makes_no_sense_is_told_so(shelf, given):
    async with served(shelf) as session:
        result = await session.call_tool("search", {"query": "red", "filter": given})
        assert result.isError
        assert "filter" in text_of(result)
        assert not (await session.call_tool("search", {"query": "red"})).isError


async def test_what_a_retriever_leaves_out_is_not_there_for_a_client(shelf):
    retriever = MultimodalRetriever(store=shelf, filter={"source": "log.md"}, modality="text")
    async with served({"mine": retriever}, structured=True, writable=True) as session:
        everything = [{"key": "page", "op": "gte", "values": [0]}]
        result = await session.call_tool("search", {"query": "red", "filter": everything})
        assert [hit["id"] for hit in result.structuredContent["hits"]] == ["snow"]
        assert (await session.call_tool("search", {"query": "red", "modality": "image"})).isError
        assert not (await session.call_tool("get_item", {"id": "snow"})).isError
        for tool, arguments in (("get_item", {"id": "rose"}), ("delete", {"ids": ["snow", "rose"]})):
            assert (await session.call_tool(tool, arguments)).isError
        with pytest.raises(McpError):
            await session.read_resource(AnyUrl(item_uri("mine", "red")))
        [row] = (await session.call_tool("list_collections", {})).structuredContent["collections"]
        assert row["modalities"] == {"text": 1}
    assert len(shelf.get()["ids"]) == 5


class Reversing(BaseDocumentCompressor):
    """Turns the order around."""

    def compress_documents(self, documents, query, callbacks=None):
        return [
            found.model_copy(update={"metadata": {**found.metadata, "relevance_score": float(place)}})
            for place, found in reversed([*enumerate(documents)])
        ]


async def test_what_a_reranker_makes_of_the_hits_is_what_a_client_gets(shelf):
    retriever = MultimodalRetriever(store=shelf, k=2, reranker=Reversing(), fetch_k=5)
    async with served({"mine": retriever}, structured=True) as session:
        result = await session.call_tool("search", {"query": "red"})
    plain = [hit.id for hit, _ in shelf.search_ranked("red", 5)]
    hits = result.structuredContent["hits"]
    assert [(hit["id"], hit["score"]) for hit in hits] == [(plain[4], 4.0), (plain[3], 3.0)]


BAD_SEARCHES = {
    "nothing": ({}, "query is empty"),
    "blank": ({"query": " \n"}, "query is empty"),
    "no k": ({"query": "red", "k": 0}, "k: "),
    "huge k": ({"query": "red", "k": 10**12}, "k: "),
    "k in words": ({"query": "red", "k": "many"}, "k: "),
    "modality": ({"query": "red", "modality": "smell"}, "modality: "),
    "unknown argument": ({"query": "red", "where": {}}, "where: "),
    "query of another type": ({"query": ["red"]}, "query: "),
    "long query": ({"query": "r" * 20_000}, "query: "),
    "lone surrogate": ({"query": "\ud83d"}, "query: "),
    "collection": ({"query": "red", "collection": "nobody's"}, "There is no collection"),
    "path for an image": ({"image": "/etc/passwd"}, "There is no item '/etc/passwd'"),
    "address for an image": ({"image": "http://127.0.0.1/x.png"}, "There is no item"),
    "image of a text": ({"image": "rose"}, "has no picture"),
    "the same wanted and not": ({"query": "red", "not_text": "Red"}, "cannot be wanted and not wanted"),
}


@pytest.mark.parametrize(("arguments", "told"), BAD_SEARCHES.values(), ids=BAD_SEARCHES)
async def test_a_search_that_makes_no_sense_is_told_so(shelf, arguments, told):
    tool = create_server(shelf).request_handlers[types.CallToolRequest]
    # by the handler: the client of the SDK cannot send all of these
    params = types.CallToolRequestParams(name="search", arguments=arguments)
    result = (await tool(types.CallToolRequest(params=params))).root
    assert result.isError
    assert told in text_of(result)
    assert len(text_of(result)) < 500


# --- items


async def test_an_item_comes_whole_with_its_metadata_and_picture(shelf, sample_images):
    text = " ".join(f"Sentence {number} of a long story." for number in range(PASSAGE_CHARS // 10))
    shelf.add_texts([text], [{"source": "story.md", "author": "Ada"}], ["story"])
    async with served(shelf) as session:
        story = text_of(await session.call_tool("get_item", {"id": "story"}))
        assert text in story
        assert '"author": "Ada"' in story
        picture = await session.call_tool("get_item", {"id": ODD_ID})
    assert not picture.isError
    assert json.dumps(ODD_ID, ensure_ascii=False) in text_of(picture)
    assert same_pixels(pictures_of(picture)[0].data, sample_images["blue"])


@pytest.mark.parametrize("id_", ["nobody", "\n", "..", "光" * 5000, "red\0", "red "])
async def test_unknown_ids_are_told(shelf, id_):
    async with served(shelf) as session:
        result = await session.call_tool("get_item", {"id": id_})
    assert result.isError
    assert "There is no item" in text_of(result)
    assert len(text_of(result)) < 250


async def test_resources_are_the_collections_and_their_items(shelf, sample_images):
    name = shelf._collection_name
    async with served(shelf) as session:
        [resource] = (await session.list_resources()).resources
        listed = (await session.read_resource(resource.uri)).contents[0]
        assert listed.mimeType == "application/json"
        assert json.loads(listed.text)[0]["name"] == name
        [template] = (await session.list_resource_templates()).resourceTemplates
        assert template.uriTemplate == "mmrag://{collection}/items/{id}"
        text = (await session.read_resource(AnyUrl(item_uri(name, "rose")))).contents[0]
        assert (text.text, text.mimeType) == ("red like a rose", "text/plain")
        blob = (await session.read_resource(AnyUrl(item_uri(name, ODD_ID)))).contents[0]
        assert blob.mimeType == "image/png"
        assert base64.b64decode(blob.blob) == sample_images["blue"].read_bytes()


@pytest.mark.parametrize("end", ["/items/nobody", "/items/", "/items/..", "/items/red/rose", "", "s"])
async def test_resources_that_are_not_there_are_an_error(shelf, end):
    async with served(shelf) as session:
        with pytest.raises(McpError, match="There is no") as failed:
            await session.read_resource(AnyUrl(f"mmrag://{shelf._collection_name}{end}"))
        assert failed.value.error.code == -32002


async def test_a_picture_that_was_deleted_is_told_without_its_path(shelf, sample_images, tmp_path):
    sample_images["red"].unlink()
    async with served(shelf) as session:
        found = await session.call_tool("search", {"query": "red", "modality": "image", "k": 1})
        assert not found.isError
        item = await session.call_tool("get_item", {"id": "red"})
        asked = await session.call_tool("search", {"image": "red"})
        for result in (found, item, asked):
            assert "can no longer be opened" in text_of(result)
            assert not pictures_of(result)
        assert item.isError
        assert asked.isError
        assert str(tmp_path) not in text_of(asked)
        with pytest.raises(McpError, match="can no longer be opened"):
            await session.read_resource(AnyUrl(item_uri(shelf._collection_name, "red")))


async def test_no_path_of_this_machine_and_no_credential_leaves_it(shelf, tmp_path, counting_embeddings):
    address = "https://me:secret1@example.org/a.md?id=7"
    shelf.add_texts(
        ["red page", "red file", "red text"],
        [
            {"source": f"{address}&token=secret2", "home": "https://me:secret1@example.org/x?id=7"},
            {"source": str(tmp_path / "note.md"), "page": 2, "file_path": str(tmp_path / "note.md")},
            {"source": "data:text/plain;base64,QUJD", "name": "a/b.md"},
        ],
        ["web", "local", "inline"],
    )
    said = []
    async with served(shelf, structured=True, writable=True, roots=[tmp_path]) as session:
        result = await session.call_tool("search", {"query": "red", "k": 8})
        hits = {hit["id"]: hit for hit in result.structuredContent["hits"]}
        assert hits["web"]["link"] == "https://example.org/a.md"
        assert hits["local"]["link"] is None
        assert hits["red"]["link"] is None
        assert hits["local"]["source"] == "note.md p. 2"
        said += [text_of(result), json.dumps(result.structuredContent)]
        for id_ in hits:
            said.append(text_of(await session.call_tool("get_item", {"id": id_})))
        assert '"file_path": "note.md"' in said[2 + list(hits).index("local")]
        assert '"home": "https://example.org/x?id=7"' in said[2 + list(hits).index("web")]
        assert '"name": "a/b.md"' in said[2 + list(hits).index("inline")]
        for tool, arguments in (
            ("list_collections", {}),
            ("add_image", {"path": str(tmp_path / "none.png")}),
        ):
            result = await session.call_tool(tool, arguments)
            said += [text_of(result).replace(str(arguments.get("path")), "")]
    everything = " ".join(said)
    assert str(tmp_path) not in everything
    assert "secret" not in everything
    assert "QUJD" not in everything


async def test_a_picture_leaves_without_what_a_camera_wrote_beside_it(store, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / "a.jpg", exif=exif)
    store.add_images([str(tmp_path / "a.jpg")], ids=["a"])
    assert b"taken at home" in (tmp_path / "a.jpg").read_bytes()
    async with served(store) as session:
        blob = (await session.read_resource(AnyUrl(item_uri(store._collection_name, "a")))).contents[0]
        item = await session.call_tool("get_item", {"id": "a"})
    for data in (blob.blob, pictures_of(item)[0].data):
        assert b"taken at home" not in base64.b64decode(data)
        assert same_pixels(data, tmp_path / "a.jpg")


async def test_a_text_comes_as_the_part_that_was_found(shelf):
    words = " ".join(f"word{number}" for number in range(20_000))
    shelf.add_texts([words], [{"relevance_score": "very", "source": "long.md"}], ["long"])
    async with served(shelf, structured=True) as session:
        result = await session.call_tool(
            "search", {"query": "word1", "filter": [{"key": "source", "values": ["long.md"]}]}
        )
    [hit] = result.structuredContent["hits"]
    assert len(hit["text"]) <= PASSAGE_CHARS + 10  # and marks of what is left out
    assert isinstance(hit["score"], float)


async def test_pictures_outside_the_roots_are_not_shown(shelf, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    async with served(shelf, roots=[tmp_path / "elsewhere"]) as session:
        assert (await session.call_tool("get_item", {"id": "red"})).isError
    async with served(shelf, roots=[tmp_path]) as session:
        assert pictures_of(await session.call_tool("get_item", {"id": "red"}))


async def test_nothing_is_fetched_for_a_client(open_store, counting_embeddings, serve_folder, sample_images):
    store = open_store(counting_embeddings, media_policy=MediaPolicy(allow_private_addresses=True))
    store.add_images([f"{serve_folder(sample_images['red'].parent)}/red.png"], ids=["web"])
    async with served(store) as session:
        result = await session.call_tool("get_item", {"id": "web"})
    assert result.isError
    assert not pictures_of(result)


# --- collections


async def test_collections_are_listed_with_what_is_in_them_now(shelf):
    async with served({"holiday": shelf}) as session:
        [row] = (await session.call_tool("list_collections", {})).structuredContent["collections"]
        assert row["name"] == "holiday"
        assert row["documents"] == 5
        assert row["modalities"] == {"image": 3, "text": 2}
        assert row["embedding"] == "counting:v1"
        shelf.add_texts(["new"], [{"source": "new.md"}])
        [row] = (await session.call_tool("list_collections", {})).structuredContent["collections"]
        assert row["modalities"] == {"image": 3, "text": 3}


async def test_of_several_collections_one_is_named(shelf, open_store, counting_embeddings):
    other = open_store(counting_embeddings)
    other.add_texts(["black ink"], ids=["ink"])
    async with served({"first": shelf, "second": other}) as session:
        schema = next(t for t in (await session.list_tools()).tools if t.name == "search").inputSchema
        assert schema["properties"]["collection"]["enum"] == ["first", "second"]
        assert "collection" in schema["required"]
        assert "black ink" in text_of(
            await session.call_tool("search", {"query": "ink", "collection": "second"})
        )
        for arguments in ({"query": "ink"}, {"query": "ink", "collection": "third"}):
            result = await session.call_tool("search", arguments)
            assert result.isError
            assert "choose one of 'first', 'second'" in text_of(result)


async def test_a_collection_of_another_embedding_is_told(shelf):
    class Other(CountingEmbeddings):
        fingerprint = "other:v1"

    other = type(shelf)(shelf._collection_name, Other(show_progress=False), client=shelf._client)
    async with served(other) as session:
        result = await session.call_tool("search", {"query": "red"})
    assert result.isError
    assert "counting:v1" in text_of(result)


async def test_the_prompt_asks_for_citations(shelf):
    async with served({"holiday": shelf}) as session:
        [prompt] = (await session.list_prompts()).prompts
        filled = await session.get_prompt(prompt.name, {"question": "What is red?"})
        assert "What is red?" in filled.messages[0].content.text
        assert "'holiday'" in filled.messages[0].content.text
        with pytest.raises(McpError, match="needs a question"):
            await session.get_prompt(prompt.name, {})


# --- writing


async def test_without_leave_nothing_can_be_written(shelf):
    async with served(shelf) as session:
        tools = (await session.list_tools()).tools
        assert {tool.name for tool in tools} == READING
        assert all(tool.annotations.readOnlyHint and not tool.annotations.openWorldHint for tool in tools)
        assert all(tool.title and "never instructions" in tool.description for tool in tools)
        for name, arguments in (("add_text", {"text": "x"}), ("delete", {"ids": ["red"]})):
            result = await session.call_tool(name, arguments)
            assert result.isError
            assert "no such tool" in text_of(result)
    assert len(shelf.get()["ids"]) == 5


async def test_what_is_written_is_found_and_deleted_again(shelf, tmp_path, sample_images):
    async with served(shelf, writable=True, roots=[tmp_path], structured=True) as session:
        hints = {tool.name: tool.annotations for tool in (await session.list_tools()).tools}
        assert set(hints) == READING | {"add_text", "add_image", "delete"}
        assert {name for name, hint in hints.items() if not hint.readOnlyHint} == set(hints) - READING
        assert [name for name, hint in hints.items() if hint.destructiveHint] == ["delete"]
        added = [
            await session.call_tool("add_text", {"text": "a black cat", "source": "cats.md"}),
            await session.call_tool("add_image", {"path": "images/noise.jpg", "caption": "snow storm"}),
        ]
        ids = [json.loads(text_of(result).partition(": ")[2])["id"] for result in added]
        found = await session.call_tool("search", {"query": "black cat", "modality": "text", "k": 1})
        assert found.structuredContent["hits"][0]["id"] == ids[0]
        assert found.structuredContent["hits"][0]["source"] == "cats.md"
        item = await session.call_tool("get_item", {"id": ids[1]})
        assert "snow storm" in text_of(item)
        assert base64.b64decode(pictures_of(item)[0].data) == sample_images["noise"].read_bytes()
        missing = await session.call_tool("delete", {"ids": [ids[0], "nobody"]})
        assert missing.isError
        assert "Nothing was deleted" in text_of(missing)
        assert not (await session.call_tool("delete", {"ids": ids})).isError
        assert (await session.call_tool("get_item", {"id": ids[0]})).isError
    assert sample_images["noise"].exists()


async def test_without_folders_there_are_no_pictures_to_add(shelf):
    async with served(shelf, writable=True) as session:
        assert {tool.name for tool in (await session.list_tools()).tools} == READING | {"add_text", "delete"}


HOSTILE = [
    "../secret.png",
    "{outside}",
    "file://{outside}",
    "link.png",
    "folder/../../secret.png",
    "http://127.0.0.1/secret.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "text.png",
    ".",
    "x\0.png",
    "n" * 4000,
    "~/secret.png",
]


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path[:20].replace("\0", "0"))
async def test_only_pictures_in_the_folders_allowed_can_be_added(store, tmp_path, path):
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "text.png").write_text("no picture")
    async with served(store, writable=True, roots=[root]) as session:
        given = path.format(outside=tmp_path / "secret.png")
        result = await session.call_tool("add_image", {"path": given})
    assert result.isError
    assert "cannot be added" in text_of(result)
    assert str(root) not in text_of(result)
    assert store.get()["ids"] == []


async def test_of_several_folders_the_one_that_has_the_picture_is_found(store, tmp_path):
    roots = [tmp_path / name for name in ("first", "second", "third")]
    for root in roots:
        root.mkdir()
    Image.new("RGB", (8, 8)).save(roots[1] / "a.png")
    (roots[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (roots[2] / "up.png").symlink_to(roots[1] / "a.png")
    async with served(store, writable=True, roots=roots) as session:
        for path in ("a.png", str(roots[1] / "a.png"), "up.png"):
            result = await session.call_tool("add_image", {"path": path})
            assert not result.isError, text_of(result)
        broken = await session.call_tool("add_image", {"path": "broken.png"})
        assert "its file is damaged" in text_of(broken)
        missing = await session.call_tool("add_image", {"path": "missing.png"})
        assert "there is no such file" in text_of(missing)
    assert store.get()["metadatas"][0]["source"] == str(roots[1] / "a.png")
    assert len(store.get()["ids"]) == 1


async def test_what_is_there_is_not_added_over(store, tmp_path):
    place = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(place)
    [id_] = store.add_images([place], [{"album": "old", "caption": "first"}])
    async with served(store, writable=True, roots=[tmp_path]) as session:
        forged = await session.call_tool("add_image", {"path": "a.png", "caption": "forged"})
        assert forged.isError
        assert "there already" in text_of(forged)
        again = await session.call_tool("add_image", {"path": "a.png"})
        assert id_ in text_of(again)
    assert store.get(id_)["metadatas"][0]["album"] == "old"


async def test_nothing_is_added_to_a_part_of_a_collection(store, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    part = MultimodalRetriever(store=store, filter={"tenant": "a"})
    async with served({"part": part}, writable=True, roots=[tmp_path]) as session:
        for tool, given in (("add_text", {"text": "new"}), ("add_image", {"path": "a.png"})):
            refused = await session.call_tool(tool, given)
            assert refused.isError
            assert "A part of this collection is served" in text_of(refused)
    assert store.get()["ids"] == []


async def test_where_files_lie_outside_of_the_folders_is_not_told(store, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    async with served(store, writable=True, roots=[root]) as session:
        told = [
            text_of(await session.call_tool("add_image", {"path": str(tmp_path / name)})).replace(name, "")
            for name in ("secret.png", "nothing.png")
        ]
    assert told[0] == told[1]


async def test_a_reranker_opens_what_the_server_may_open(store, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8), "red").save(root / "a.png")
    Image.new("RGB", (64, 48), "blue").save(tmp_path / "secret.png")
    store.add_images([root / "a.png", tmp_path / "secret.png"])
    judge = model("[1] > [2]")
    retriever = MultimodalRetriever(store=store, k=2, reranker=ChatModelReranker(llm=judge))
    async with served({"all": retriever}, roots=[root]) as session:
        assert not (await session.call_tool("search", {"query": "red"})).isError
    (sent,) = pictures(judge.calls[0][-1].content)
    assert decoded(sent).size == (8, 8)


async def test_a_picture_that_is_swapped_while_it_is_added_is_not_read(store, tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8), "red").save(root / "a.png")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "secret.png")
    add_images = type(store).add_images

    def swapped(self, *arguments, **options):
        (root / "a.png").unlink()
        (root / "a.png").symlink_to(tmp_path / "secret.png")
        return add_images(self, *arguments, **options)

    monkeypatch.setattr(type(store), "add_images", swapped)
    async with served(store, writable=True, roots=[root]) as session:
        result = await session.call_tool("add_image", {"path": "a.png"})
    assert result.isError
    assert str(tmp_path) not in text_of(result)
    assert store.get()["ids"] == []


async def test_the_folders_of_a_collections_own_policy_hold_too(open_store, counting_embeddings, tmp_path):
    (tmp_path / "own").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    store = open_store(counting_embeddings, media_policy=MediaPolicy(roots=(tmp_path / "own",)))
    async with served(store, writable=True, roots=[tmp_path]) as session:
        result = await session.call_tool("add_image", {"path": "a.png"})
    assert result.isError
    assert "cannot be added" in text_of(result)


# --- what goes wrong


async def test_a_bug_is_logged_and_told_without_details(shelf, monkeypatch, caplog):
    def broken(*_arguments, **_options):
        return {}["/home/secret"]

    async with served(shelf) as session:
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(type(shelf), "search_ranked", broken)
            patch.setattr(type(shelf), "get_by_ids", broken)
            result = await session.call_tool("search", {"query": "red"})
            with pytest.raises(McpError) as failed:
                await session.read_resource(AnyUrl(item_uri(shelf._collection_name, "red")))
        assert result.isError
        for said in (text_of(result), str(failed.value)):
            assert "failed" in said
            assert "secret" not in said
            assert "Traceback" not in said
        assert "KeyError: '/home/secret'" in caplog.text
        assert not (await session.call_tool("search", {"query": "red"})).isError


async def test_a_collection_that_is_taken_away_is_told(counting_embeddings):
    store = MultimodalChroma("taken-away", counting_embeddings)
    store.add_texts(["red"])
    async with served(store) as session:
        store._client.delete_collection(store._collection_name)
        result = await session.call_tool("get_item", {"id": "red"})
        assert result.isError
        assert "cannot be read now" in text_of(result)


@pytest.fixture
def slow(open_store):
    """A store whose search for "wait" takes until it is let go on."""
    embedding = Waiting()
    store = open_store(embedding)
    store.add_texts(["red", "green"])
    yield store, embedding
    embedding.go_on.set()


async def until(event):
    assert await anyio.to_thread.run_sync(event.wait, 10)


async def test_a_search_that_takes_long_holds_up_nobody_and_can_be_cancelled(slow):
    store, embedding = slow
    async with served(store) as session, anyio.create_task_group() as tasks:
        answered = anyio.Event()

        async def ask():
            with pytest.raises(McpError, match="cancelled"):
                await session.call_tool("search", {"query": "wait"})
            answered.set()

        number = session._request_id
        tasks.start_soon(ask)
        await until(embedding.waiting)
        assert len((await session.list_tools()).tools) == 3
        assert not (await session.call_tool("search", {"query": "red"})).isError
        params = types.CancelledNotificationParams(requestId=number)
        cancelled = types.CancelledNotification(params=params)
        await session.send_notification(types.ClientNotification(cancelled))
        with anyio.fail_after(5):
            await answered.wait()
        embedding.go_on.set()
        assert not (await session.call_tool("search", {"query": "wait"})).isError


async def test_a_client_that_goes_away_in_the_middle_leaves_the_server_serving(slow):
    store, embedding = slow
    server = create_server(store)

    async def ask_and_leave():
        async with connect(server) as session, anyio.create_task_group() as tasks:
            tasks.start_soon(session.call_tool, "search", {"query": "wait"})
            await until(embedding.waiting)
            threading.Timer(0.1, embedding.go_on.set).start()
            tasks.cancel_scope.cancel()

    await ask_and_leave()
    async with connect(server) as session:
        assert not (await session.call_tool("search", {"query": "red"})).isError


async def test_searches_at_once_find_what_they_find_alone(shelf):
    queries = ["red", "green", "blue", "white", "rose", "snow", "red snow", "moss"] * 2
    found = {}
    async with served(shelf, structured=True) as session, anyio.create_task_group() as tasks:

        async def ask(number, query):
            result = await session.call_tool("search", {"query": query, "k": 5})
            found[number] = [(hit["id"], hit["score"]) for hit in result.structuredContent["hits"]]

        for number, query in enumerate(queries):
            tasks.start_soon(ask, number, query)
    for number, query in enumerate(queries):
        alone = [(hit.id, score) for hit, score in shelf.search_ranked(query, 5)]
        assert [id_ for id_, _ in found[number]] == [id_ for id_, _ in alone]
        assert [score for _, score in found[number]] == pytest.approx([score for _, score in alone])


# --- making one


def test_a_server_needs_collections_it_can_search(store):
    with pytest.raises(ValueError, match="needs a collection"):
        create_server({})
    with pytest.raises(ValueError, match="each with a name"):
        create_server({"": store})
    with pytest.raises(TypeError, match="'mine' is a str: serve a MultimodalChroma"):
        create_server({"mine": "mm_store"})
    with pytest.raises(TypeError, match="is a str: serve a MultimodalChroma"):
        create_server("mm_store")


def test_roots_are_a_list_of_folders_that_exist(store, tmp_path):
    for wrong in (str(tmp_path), tmp_path):
        with pytest.raises(TypeError, match=r"roots must be a list of folders: write roots=\["):
            create_server(store, roots=wrong)
    with pytest.raises(ValueError, match="which is no folder"):
        create_server(store, roots=[tmp_path / "missing"])


def test_a_token_is_a_text_that_is_not_empty(store):
    for wrong in ("", " "):
        with pytest.raises(ValueError, match="token is empty"):
            http_app(create_server(store), token=wrong)
    with pytest.raises(TypeError, match="token is a bytes"):
        http_app(create_server(store), token=b"opensesame")


def test_without_the_sdk_the_line_that_installs_it_is_told(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingDependencyError, match=r"langchain-mmrag\[mcp\]"):
        create_server(store)


def test_the_page_of_the_documentation_names_every_tool_and_option():
    page = (Path(__file__).parents[2] / "docs/mcp.md").read_text(encoding="utf-8")
    for name in (*READING, "add_text", "add_image", "delete", "--allow-writes", "--root", "--http", "--port"):
        assert name in page
