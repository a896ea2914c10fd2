"""What a model may ask the search tool for: pictures it was shown, conditions on metadata, and nothing hostile."""

import json
import operator
import os
from pathlib import Path

import pytest
from langchain_anthropic.chat_models import convert_to_anthropic_tool
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_google_genai._function_utils import convert_to_genai_function_declarations

from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import create_search_tool
from langchain_mmrag.tools.filters import MAX_CONDITIONS, MAX_VALUES, keys_seen, listed
from langchain_mmrag.tools.results import name_of
from tests.unit_tests.answering import ShelfRetriever, note, picture_file
from tests.unit_tests.media_server import OPEN, Server

COMPARISONS = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
KEYS = ["place", "year", "draft", "source", "mime_type", "width", "height"]
REFUSED = "There is no such picture to search with"


@pytest.fixture
def store(open_store, counting_embeddings, tmp_path):
    store = open_store(counting_embeddings)
    for year, colour in enumerate(["red", "green", "blue"], 2019):
        path = picture_file(tmp_path / "shown" / f"{colour}.png", colour)
        store.add_images([str(path)], [{"year": year, "place": "Ann Arbor", "draft": year == 2019}])
    store.add_texts(["red sea", "blue sky"], [{"year": 2021.5, "place": "Rome"}, {"place": "Oslo"}])
    return store


@pytest.fixture
def tool(store):
    return create_search_tool(MultimodalRetriever(store=store, k=5))


def call(tool, **arguments):
    return tool.invoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": arguments})


def found(message):
    assert message.status == "success", message.content
    return [d.page_content or Path(d.metadata["source"]).name for d in message.artifact]


def shown(tool, query="red", **arguments):
    """The ids of the pictures of a search, by file name."""
    message = call(tool, query=query, modality="image", k=5, **arguments)
    return {Path(d.metadata["source"]).name: name_of(d) for d in message.artifact}


# --- a picture a model was shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["{}", "[{}]", " {} ", "`{}`"])
def test_a_model_asks_with_a_picture_by_its_id(tool, written):
    blue = shown(tool)["blue.png"]
    message = call(tool, image=written.format(blue), modality="image", k=1)
    assert found(message) == ["blue.png"]
    assert found(call(tool, image=blue.upper(), query="red", modality="image"))[0] in {"red.png", "blue.png"}


def test_an_id_is_known_to_a_tool_that_has_shown_nothing_yet(tool, store):
    anew = create_search_tool(MultimodalRetriever(store=store))
    assert found(call(anew, image=shown(tool)["green.png"], modality="image", k=1)) == ["green.png"]


def test_passages_and_ids_of_nothing_are_no_pictures(tool):
    passage = next(name_of(d) for d in call(tool, query="red", modality="text").artifact)
    for name in (passage, "zzzz9", "1", "[2]"):
        assert call(tool, image=name).content.startswith(REFUSED)


def test_a_picture_out_of_the_retrievers_reach_cannot_be_asked_with(tool, store):
    fenced = create_search_tool(MultimodalRetriever(store=store, filter={"year": 2019}))
    names = shown(tool)
    assert found(call(fenced, image=names["red.png"], k=1)) == ["red.png"]
    assert call(fenced, image=names["blue.png"]).content.startswith(REFUSED)


def test_a_picture_whose_file_is_gone_is_told_by_its_id(tool, tmp_path):
    name = shown(tool)["red.png"]
    (tmp_path / "shown" / "red.png").unlink()
    message = call(tool, image=name)
    assert message.status == "error"
    assert message.content.startswith(f"The picture {name} can no longer be opened")
    assert str(tmp_path) not in message.content


async def test_the_same_without_blocking(tool):
    name = shown(tool)["green.png"]
    arguments = {"image": name, "modality": "image", "k": 1}
    message = await tool.ainvoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": arguments})
    assert found(message) == ["green.png"]


def test_neither_words_nor_picture_is_told(tool):
    for arguments in ({}, {"query": " "}, {"image": ""}, {"query": "", "image": " "}):
        assert call(tool, **arguments).content.startswith("The query is empty")


def test_image_is_offered_only_where_pictures_can_be_asked_with(tool, open_store):
    from langchain_core.embeddings import DeterministicFakeEmbedding

    assert "image" in tool.args
    words_alone = open_store(DeterministicFakeEmbedding(size=8))
    assert "image" not in create_search_tool(MultimodalRetriever(store=words_alone)).args
    assert "image" not in create_search_tool(words_alone.as_retriever()).args
    assert "image" not in create_search_tool(ShelfRetriever(documents=[])).args


# --- a path, an address ------------------------------------------------------------------------------------------


@pytest.fixture
def roots(tmp_path):
    """A folder a model may name pictures in, and things around it that it may not have."""
    picture_file(tmp_path / "outside.png", "red")
    root = tmp_path / "allowed"
    picture_file(root / "deep" / "red.png", "red")
    (root / "notes.txt").write_text("secret")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    return root


@pytest.fixture
def with_roots(store, roots):
    return create_search_tool(MultimodalRetriever(store=store), image_roots=[roots])


def test_a_picture_below_a_root_is_found_by_its_path(with_roots, roots):
    for path in ("deep/red.png", str(roots / "deep" / "red.png"), "./deep//red.png"):
        assert found(call(with_roots, image=path, modality="image"))[0] == "red.png"


def hostile(root):
    return [
        "../outside.png",
        "deep/../../outside.png",
        str(root.parent / "outside.png"),
        "link.png",
        "away/outside.png",
        f"file://{root}/deep/red.png",
        f"file://localhost{root}/deep/red.png",
        "//server/share/red.png",
        r"\\server\share\red.png",
        r"..\outside.png",
        r"C:\Windows\red.png",
        "deep/red.png\x00.txt",
        "deep/red\n.png",
        "x" * 100_000,
        "deep/" * 200 + "red.png",
        "~/red.png",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/environ",
        "/etc/passwd",
        "pipe.png",
        "deep",
        ".",
        "notes.txt",
        "missing.png",
        "/no/such/file.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "http://127.0.0.1:1/red.png",
        "https://example.org/red.png",
        "ftp://example.org/red.png",
        "javascript:alert(1)",
        "\ud800.png",
    ]


def test_no_hostile_path_is_opened_and_none_tells_what_there_is(with_roots, roots):
    told = {call(with_roots, image=path).content for path in hostile(roots)}
    assert len(told) == 1
    (content,) = told
    assert content.startswith(REFUSED)
    assert str(roots) not in content


@pytest.mark.parametrize("given", ["{}", b"x", Path("/")], ids=["str", "bytes", "path"])
def test_a_single_path_is_not_taken_for_many_roots(store, roots, given):
    given = given.format(roots) if isinstance(given, str) else given
    with pytest.raises(TypeError, match=r"image_roots must be a list of folders: write image_roots=\["):
        create_search_tool(MultimodalRetriever(store=store), image_roots=given)


def test_roots_are_folders_that_exist(store, roots):
    for wrong in (roots / "missing", roots / "notes.txt", ""):
        with pytest.raises(ValueError, match=r"image_roots names .*, which is no folder"):
            create_search_tool(MultimodalRetriever(store=store), image_roots=[roots, wrong])
    with pytest.raises(TypeError, match="image_roots has a int in it"):
        create_search_tool(MultimodalRetriever(store=store), image_roots=[3])


def test_without_roots_there_are_no_paths(tool, roots):
    assert "path" not in tool.args["image"]["description"]
    for path in (*hostile(roots), str(roots / "deep" / "red.png")):
        assert call(tool, image=path).content.startswith(REFUSED)


def test_the_roots_of_the_stores_policy_hold(open_store, counting_embeddings, roots):
    store = open_store(counting_embeddings, media_policy=MediaPolicy(roots=(roots,)))
    store.add_images([str(roots / "deep" / "red.png")])
    retriever = MultimodalRetriever(store=store)
    assert found(call(create_search_tool(retriever), image="deep/red.png")) == ["red.png"]
    none = create_search_tool(retriever, image_roots=())
    assert call(none, image="deep/red.png").content.startswith(REFUSED)


def test_addresses_are_fetched_only_if_told(open_store, counting_embeddings, sample_images):
    server = Server()
    server.start()
    try:
        _fetches_only_if_told(open_store(counting_embeddings, media_policy=OPEN), server, sample_images)
    finally:
        server.stop()


def _fetches_only_if_told(store, server, sample_images):
    store.add_images([str(sample_images["red"])])
    retriever = MultimodalRetriever(store=store)
    closed = create_search_tool(retriever)
    assert call(closed, image=server.url).content.startswith(REFUSED)
    assert server.connections == 0
    opened = create_search_tool(retriever, allow_urls=True)
    assert found(call(opened, image=server.url)) == ["red.png"]
    assert server.connections == 1
    for wrong in (f"http://127.0.0.1:{server.port}/\x00", "http://" + "a" * 1000, "http://[::1", "ftp://x/y"):
        assert call(opened, image=wrong).content.startswith(REFUSED)


# --- conditions on metadata --------------------------------------------------------------------------------------


def condition(key, op="eq", *values):
    return {"key": key, "op": op, "values": [*values]}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([condition("year", "eq", "2020")], {"green.png"}),
        ([condition("year", "eq", "2019", "2020")], {"red.png", "green.png"}),
        ([condition("year", "gte", "2021")], {"blue.png", "red sea"}),
        ([condition("year", "gt", "2021")], {"red sea"}),
        ([condition("year", "lt", "2019.5")], {"red.png"}),
        (
            [condition("year", "gte", "2020"), condition("place", "eq", "Ann Arbor")],
            {"green.png", "blue.png"},
        ),
        ([condition("place", "ne", "Ann Arbor", "Rome")], {"blue sky"}),
        ([condition("draft", "eq", "true")], {"red.png"}),
        ([{"key": "year", "values": 2020}], {"green.png"}),
        ([{"key": "draft", "values": [False]}], {"green.png", "blue.png"}),
        ({"key": "year", "values": ["2020"]}, {"green.png"}),
        (json.dumps([condition("place", "eq", "Oslo")]), {"blue sky"}),
        ([], {"red.png", "green.png", "blue.png", "red sea", "blue sky"}),
        (None, {"red.png", "green.png", "blue.png", "red sea", "blue sky"}),
    ],
)
def test_conditions_narrow_a_search(tool, conditions, expected):
    assert set(found(call(tool, query="red", filter=conditions))) == expected


def test_numbers_compare_as_numbers_do_whether_whole_or_not(open_store, counting_embeddings):
    kept = [-3, -2, 0, 2, 3, -2.5, 2.5, -2.25, 2.75]
    store = open_store(counting_embeddings)
    store.add_texts([f"red {value}" for value in kept], [{"height": value} for value in kept])
    tool = create_search_tool(MultimodalRetriever(store=store, k=20))
    for name, compare in COMPARISONS.items():
        for number in (2, -2, 2.5, -2.5, 2.6, 0.5, -0.5):
            message = call(tool, query="red", filter=[{"key": "height", "op": name, "values": [number]}])
            expected = {f"red {value}" for value in kept if compare(value, number)}
            assert {document.page_content for document in message.artifact} == expected, (name, number)


HOSTILE_FILTERS = [
    [condition("password", "eq", "x")],
    [condition("$or", "eq", "x")],
    [condition("year", "$gt", "1")],
    [condition("year", "gt", "1", "2")],
    [condition("year", "gt", "many")],
    [condition("year", "eq", "nan")],
    [condition("year", "eq", "1e999")],
    [condition("place", "gt", "A")],
    [condition("draft", "eq", "perhaps")],
    [{"key": "year", "values": {"$gt": 1}}],
    [{"key": "year", "values": [{"$gt": 1}]}],
    [{"key": "year", "values": [["2020"]]}],
    [{"key": "year", "values": []}],
    [{"key": "year", "values": None}],
    [{"key": "year", "values": ["2020"], "$or": []}],
    [{"key": {"a": 1}, "values": ["2020"]}],
    [condition("year", "eq", *map(str, range(MAX_VALUES + 1)))],
    [condition("place", "eq", "x" * 100_000)],
    [condition("year", "eq", "2020")] * (MAX_CONDITIONS + 1),
    {"year": 2020},
    {"$and": [{"year": 2020}]},
    {"$where": "sleep(1000)"},
    "year = 2020",
    "[" * 100_000,
    7,
]


@pytest.mark.parametrize("conditions", HOSTILE_FILTERS, ids=[str(n) for n in range(len(HOSTILE_FILTERS))])
def test_a_wrong_filter_is_told_with_the_keys_there_are(tool, conditions):
    message = call(tool, query="red", filter=conditions)
    assert message.status == "error"
    assert "known keys: place" in message.content.lower() or "is no value for" in message.content
    assert len(message.content) < 1_000


def test_a_filter_never_widens_the_retrievers_own(store):
    for retriever in (
        MultimodalRetriever(store=store, filter={"place": "Rome"}),
        store.as_retriever(search_kwargs={"filter": {"place": "Rome"}}),
    ):
        tool = create_search_tool(retriever)
        assert found(call(tool, query="red")) == ["red sea"]
        assert found(call(tool, query="red", filter=[condition("year", "gt", "1")])) == ["red sea"]
        message = call(tool, query="red", filter=[condition("place", "ne", "Rome")])
        assert message.artifact == []
        assert "under this filter" in message.content
        described = json.dumps(convert_to_openai_tool(tool))
        assert "Rome" in described
        assert "Oslo" not in described  # what cannot be found is not told of either


def test_the_schema_tells_keys_types_and_few_values(tool):
    described = tool.args["filter"]["description"]
    assert 'place (text: "Ann Arbor", "Oslo", "Rome")' in described
    assert "year (number, 2019 to 2021.5)" in described
    assert "draft (true or false)" in described
    assert described.endswith(
        'source (text, the name of a file or its address: "blue.png", "green.png", "red.png"); mime_type (text:'
        ' "image/png"); width (number, 40 to 40); height (number, 20 to 20)'
    )
    for hidden in ("sha256", "modality", "chunk"):
        assert hidden not in described


def test_the_schema_stays_small_and_plain_whatever_the_metadata():
    many = [{f"key {number}": "x" * 30 + str(number % 7) for number in range(100)}] * 3
    many += [{"bad\nname": "x", "a" * 100: 1, "$or": 1, "mmrag_x": 1, "list": ["a"], "quote": 'say "hi"\n'}]
    keys = keys_seen(many)
    assert len(keys) == 101  # of the others only the quote is a plain name
    assert all(key.isprintable() and len(key) <= 40 for key in keys)
    assert len(listed(keys)) == 40
    varied = [{f"{'key' * 11} {number}": f"{'x' * 25}{row}" for number in range(50)} for row in range(8)]
    retriever = FilteringRetriever(documents=[])
    tool = create_search_tool(retriever, filter_keys=dict.fromkeys(varied[0], str))
    assert len(tool.args["filter"]["description"]) < 1_500
    assert "more" in tool.args["filter"]["description"]
    assert sum(len(key.told) for key in keys_seen(varied).values()) > 1_500


def test_columns_come_before_what_loaders_tell_and_are_accepted_though_not_listed():
    files = [
        {"source": "a.png", "width": 3, "height": 2, "ocr_confidence": 0.9, "page": 1, "duration_s": 3.5}
    ]
    rows = [{"berth": 4, "length_m": 9.5}, {"time_ts": 1714543200.0}, {f"column {n}": n for n in range(60)}]
    keys = keys_seen([*files * 20, *rows])
    assert [*keys][:3] == ["berth", "length_m", "time_ts"]
    assert {"page", "source", "ocr_confidence"} < {*listed(keys)}
    assert "column 59" not in listed(keys)
    tool = create_search_tool(FilteringRetriever(documents=[note("a")]), filter_keys=dict.fromkeys(keys, int))
    assert keys["time_ts"].told == "time_ts (number, 1714543200 to 1714543200)"
    schema = json.dumps(tool.args)
    assert "column 59" not in schema
    assert "enum" not in json.dumps(
        tool.args_schema.model_json_schema()["$defs"]["Condition"]["properties"]["key"]
    )
    assert call(tool, query="a", filter=[condition("column 59", "lt", "60")]).status == "success"


def test_a_wrong_filter_is_told_with_an_example_of_a_comparison(tool):
    message = call(tool, query="red", filter={"year": {"$lt": 2020}})
    assert '[{"key": "year", "op": "gte", "values": ["2019"]}]' in message.content


def test_lists_and_paths_of_this_machine_are_no_keys():
    keys = keys_seen([{"file": "/home/me/a.png", "tags": ["x"], "page": 3}, {"file": "b.png", "page": 4}])
    assert set(keys) == {"page"}
    assert keys_seen([{"at": "https://me:secret@example.org"}, {"at": "https://example.org"}]) == {}
    assert set(keys_seen([{"at": "https://example.org/a?b=1"}])) == {"at"}
    assert keys_seen([{"source": "data:image/png;base64,AAAA"}]) == {}


def test_a_source_is_told_and_asked_for_by_name(open_store, counting_embeddings, tmp_path):
    paths = [str(picture_file(tmp_path / folder / "red.png")) for folder in "ab"]
    paths.append(str(picture_file(tmp_path / "a" / "blue.png", "blue")))
    store = open_store(counting_embeddings)
    store.add_images(paths)
    store.add_texts(["red"], [{"source": "trip/notes.md", "chunk": 0, "chunks": 3}])
    tool = create_search_tool(MultimodalRetriever(store=store, k=9))
    described = json.dumps(tool.args)
    assert str(tmp_path) not in described
    assert "chunk" not in described
    for names, count in ((["red.png"], 2), (["trip/notes.md", "blue.png"], 2), (["elsewhere.png"], 0)):
        message = call(tool, query="red", filter=[condition("source", "eq", *names)])
        assert len(message.artifact) == count
    message = call(tool, query="red", filter=[condition("source", "ne", "red.png")])
    assert sorted(Path(each.metadata["source"]).name for each in message.artifact) == ["blue.png", "notes.md"]
    wide = call(tool, query="red", filter=[condition("width", "gte", "41")])
    assert wide.artifact == []


class FilteringRetriever(ShelfRetriever):
    def _get_relevant_documents(self, query, *, run_manager, k=None, filter=None):  # noqa: A002
        self.asked.append(filter)
        return self.documents


def test_any_retriever_that_takes_a_filter_is_given_one_if_told_the_keys():
    retriever = FilteringRetriever(documents=[note("x")])
    assert "filter" not in create_search_tool(retriever).args
    tool = create_search_tool(retriever, filter_keys={"author": str, "year": int})
    call(tool, query="x", filter=[condition("author", "eq", "Ann"), condition("year", "lte", "1999")])
    assert retriever.asked == [{"$and": [{"author": {"$eq": "Ann"}}, {"year": {"$lte": 1999}}]}]
    with pytest.raises(ValueError, match=r"filter_keys\['when'\]"):
        create_search_tool(retriever, filter_keys={"when": list})
    for wrong in ("author", ["author"]):
        with pytest.raises(TypeError, match="filter_keys is a"):
            create_search_tool(retriever, filter_keys=wrong)


def test_no_filter_is_offered_where_there_is_nothing_to_filter_by(store, open_store, counting_embeddings):
    assert "filter" not in create_search_tool(MultimodalRetriever(store=open_store(counting_embeddings))).args
    assert "filter" not in create_search_tool(MultimodalRetriever(store=store), filter_keys={}).args


def test_a_tool_made_again_knows_new_keys(store):
    store.add_texts(["green grass"], [{"season": "spring"}])
    tool = create_search_tool(MultimodalRetriever(store=store))
    assert found(call(tool, query="red", filter=[condition("season", "eq", "spring")])) == ["green grass"]


# --- schemas -----------------------------------------------------------------------------------------------------


def test_a_retriever_of_one_modality_offers_no_choice(store):
    assert "modality" not in create_search_tool(MultimodalRetriever(store=store, modality="image")).args


def test_every_providers_converter_takes_the_schema(tool):
    names = {"query", "image", "not_text", "modality", "k", "filter"}
    openai = convert_to_openai_tool(tool)["function"]["parameters"]
    anthropic = convert_to_anthropic_tool(tool)["input_schema"]
    assert set(openai["properties"]) == set(anthropic["properties"]) == names
    for schema in (openai, anthropic):
        assert "$ref" not in json.dumps(schema)
        items = schema["properties"]["filter"]["anyOf"][0]["items"]
        assert items["properties"]["key"]["enum"] == KEYS
        assert items["properties"]["op"]["enum"] == ["eq", "ne", "gt", "gte", "lt", "lte"]
        assert items["properties"]["values"]["type"] == "array"
        assert items["properties"]["values"]["items"] == {"type": "string"}
        assert items["required"] == ["key", "values"]


def test_geminis_converter_keeps_enumerations_and_nesting(tool):
    converted = convert_to_genai_function_declarations([tool])
    declarations = getattr(converted, "function_declarations", None) or converted[0].function_declarations
    properties = declarations[0].parameters.properties
    assert set(properties) == {"query", "image", "not_text", "modality", "k", "filter"}
    assert properties["filter"].type == "ARRAY"
    items = properties["filter"].items
    assert items.type == "OBJECT"
    assert items.properties["key"].enum == KEYS
    assert items.properties["values"].type == "ARRAY"
    assert items.properties["values"].items.type == "STRING"
    assert properties["image"].nullable
    assert properties["modality"].enum == ["text", "image", "table", "video", "audio"]


# --- a retriever that reranks ------------------------------------------------------------------------------------


class Backwards(BaseDocumentCompressor):
    """Puts the last first."""

    def compress_documents(self, documents, query, callbacks=None):
        return [*reversed(documents)]


async def test_what_a_reranker_makes_of_the_results_is_what_a_model_gets(store, tool):
    reranking = create_search_tool(MultimodalRetriever(store=store, k=5, reranker=Backwards()))
    plain = found(call(tool, query="red"))
    assert found(call(reranking, query="red")) == plain[::-1]
    picture = shown(tool)["red.png"]
    by_picture = found(call(tool, image=picture, filter=[condition("year", "gte", "2020")]))
    arguments = {"image": picture, "filter": [condition("year", "gte", "2020")]}
    message = await reranking.ainvoke({"type": "tool_call", "id": "c1", "name": tool.name, "args": arguments})
    assert found(message) == by_picture[::-1]
