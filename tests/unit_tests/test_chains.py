"""The answer chain over real documents and files; the chat model is LangChain's scripted one, recorded."""

import base64
import io

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from PIL import Image

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.errors import LoadError
from langchain_mmrag.media import DEFAULT_POLICY, MediaPolicy
from langchain_mmrag.prompts import NO_MODEL_HINT, NOTHING_FOUND, SYSTEM_PROMPT, cite
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever, media_policy_of
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


@pytest.fixture
def shelf(tmp_path):
    lighthouse = picture_file(tmp_path / "beach" / "lighthouse.png", size=(30, 60))
    return ShelfRetriever(
        documents=[note("The red lighthouse stands at Cape Ann."), picture(lighthouse, "a lighthouse")]
    )


# --- what goes in and what comes out ---------------------------------------------------------------------


def test_a_question_becomes_input_context_and_answer(shelf):
    result = create_rag_chain(shelf, model("At Cape Ann [1].")).invoke({"input": QUESTION})
    assert result == {
        "input": QUESTION,
        "context": shelf.documents,
        "answer": "At Cape Ann [1].",
        "citations": [{"number": 1, "source": "notes.md", "link": None, "id": None}],
        "removed_citations": [],
    }


def test_the_model_reads_rules_then_evidence_then_the_question(shelf):
    llm = model("yes")
    create_rag_chain(shelf, llm).invoke({"input": QUESTION})
    system, human = llm.calls[0]
    assert system == SystemMessage(SYSTEM_PROMPT)
    assert isinstance(human, HumanMessage)
    assert texts(human.content) == [
        "Evidence found in the collection, best first:",
        '[1] text · notes.md\n<passage n="1">\nThe red lighthouse stands at Cape Ann.\n</passage>',
        (
            "[2] image · lighthouse.png · retrieved, not supplied by the user\n"
            '<caption n="2">\na lighthouse\n</caption>'
        ),
        f"Question: {QUESTION}",
    ]
    assert [decoded(block).size for block in pictures(human.content)] == [(30, 60)]


@pytest.mark.parametrize(
    "asked",
    [QUESTION, Query(text=QUESTION), {"input": Query(text=QUESTION)}, {"input": {"text": QUESTION}}],
    ids=["str", "Query", "input Query", "input mapping"],
)
def test_a_question_of_text_alone_reaches_the_retriever_as_str(shelf, asked):
    llm = model("yes")
    result = create_rag_chain(shelf, llm).invoke(asked)
    assert shelf.asked == [QUESTION]
    assert result["input"] == (asked["input"] if isinstance(asked, dict) else asked)
    assert texts(llm.calls[0][-1].content)[-1] == f"Question: {QUESTION}"


def test_a_question_for_one_modality_reaches_the_retriever_as_query(shelf):
    query = Query(text=QUESTION, modality="image")
    create_rag_chain(shelf).invoke({"input": query})
    assert shelf.asked == [query]


@pytest.mark.parametrize("spelling", ["beside", "within", "query"])
def test_a_question_may_come_with_a_picture(shelf, tmp_path, spelling):
    mine = str(picture_file(tmp_path / "mine.png", "blue", (70, 10)))
    asked = {
        "beside": {"input": "Which is this?", "image": mine},
        "within": {"input": {"text": "Which is this?", "image": mine}},
        "query": {"input": Query(text="Which is this?", image=mine)},
    }[spelling]
    llm = model("yes")
    result = create_rag_chain(shelf, llm).invoke(asked)
    assert shelf.asked == [Query(text="Which is this?", image=mine)]
    content = llm.calls[0][-1].content
    assert [decoded(block).size for block in pictures(content)] == [(30, 60), (70, 10)]
    assert texts(content)[-2:] == [
        "Picture supplied by the user, part of the question:",
        "Question: Which is this?",
    ]
    assert {key: result[key] for key in asked} == asked


COMPOSED = {"image": "a.png", "not_text": "fog", "not_image": "b.png", "weights": {"text": 0.5}}


@pytest.mark.parametrize(
    "asked",
    [
        {"input": "ships", **COMPOSED, "modality": "image"},
        {"input": {"text": "ships", **COMPOSED, "modality": "image"}},
        {"input": Query(text="ships", **COMPOSED, modality="image")},
    ],
    ids=["beside", "within", "query"],
)
def test_a_question_may_say_everything_a_query_can(shelf, asked):
    create_rag_chain(shelf).invoke(asked)
    assert shelf.asked == [Query(text="ships", **COMPOSED, modality="image")]


def test_parts_that_are_none_are_not_there(shelf):
    create_rag_chain(shelf).invoke({"input": QUESTION, **dict.fromkeys(COMPOSED)})
    assert shelf.asked == [QUESTION]


def test_the_model_is_told_what_is_not_wanted(shelf):
    llm = model("yes")
    create_rag_chain(shelf, llm).invoke({"input": QUESTION, "not_text": "fog"})
    assert texts(llm.calls[0][-1].content)[-2:] == [
        "The user asked to leave out: fog",
        f"Question: {QUESTION}",
    ]


def test_open_files_beside_the_question_are_read_once(shelf, tmp_path):
    mine = picture_file(tmp_path / "mine.png", "blue").read_bytes()
    other = picture_file(tmp_path / "other.png", "green").read_bytes()
    asked = {"image": io.BytesIO(mine), "not_image": io.BytesIO(other), "weights": {"not_image": 0.2}}
    create_rag_chain(shelf, model("yes")).invoke({"input": "Which?", **asked})
    assert shelf.asked == [Query(text="Which?", image=mine, not_image=other, weights={"not_image": 0.2})]


@pytest.mark.parametrize("spelling", ["beside", "within", "query"])
def test_an_open_file_can_be_asked_with_again(shelf, tmp_path, spelling):
    data = picture_file(tmp_path / "mine.png", "blue").read_bytes()
    file = io.BytesIO(data)
    asked = {
        "beside": {"input": "Which?", "image": file},
        "within": {"input": {"text": "Which?", "image": file}},
        "query": {"input": Query(text="Which?", image=file)},
    }[spelling]
    chain = create_rag_chain(shelf)
    result = chain.invoke(asked)
    assert result.keys() >= asked.keys()
    assert shelf.asked == [Query(text="Which?", image=data)]
    chain.batch([asked] * 8)
    assert shelf.asked == [Query(text="Which?", image=data)] * 9


def test_a_picture_alone_is_a_question(shelf):
    llm = model("yes")
    create_rag_chain(shelf, llm).invoke({"image": Image.new("RGB", (70, 10), "blue")})
    assert len(pictures(llm.calls[0][-1].content)) == 2
    assert "say what the evidence tells about it" in texts(llm.calls[0][-1].content)[-1]


def test_an_open_file_as_picture_serves_search_and_prompt(shelf, tmp_path):
    llm = model("yes")

    class Reading(ShelfRetriever):
        def _get_relevant_documents(self, query, *, run_manager, k=None):
            image = query.image
            self.asked.append(image.read() if hasattr(image, "read") else image)
            return self.documents

    data = picture_file(tmp_path / "mine.png", "blue", (70, 10)).read_bytes()
    chain = create_rag_chain(Reading(documents=shelf.documents), llm)
    chain.invoke({"input": "Which is this?", "image": io.BytesIO(data)})
    assert base64.b64decode(pictures(llm.calls[0][-1].content)[-1]["base64"]) == data


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({}, ValueError, "no question in a dict"),
        ({"input": ""}, ValueError, "the question is empty"),
        ({"input": " \n"}, ValueError, "the question is empty"),
        ({"input": Query(text=" ")}, ValueError, "the question is empty"),
        ({"input": {"words": "x"}}, ValueError, "unknown key words"),
        ({"question": "x"}, ValueError, "keys \\['question'\\]"),
        ({"input": 7}, TypeError, '"input" is a int'),
        ({"input": Query(text="x"), "image": "a.png"}, ValueError, "into the query itself"),
        (
            {"input": {"text": "x"}, "not_text": "y", "weights": {"text": 1}},
            ValueError,
            '"not_text", "weights"',
        ),
        ({"not_text": "x"}, ValueError, "no question in a dict"),
        ({"input": "x", "not_text": "x"}, ValueError, "wanted and not wanted"),
        ({"input": "x", "weights": {"image": 1}}, ValueError, "a weight but nothing for image"),
        ({"input": "x", "images": ["a.png"]}, ValueError, 'one picture as "image"'),
        ({"input": "x", "text": "y"}, ValueError, '"text" beside "input" would go unnoticed'),
    ],
)
def test_what_is_no_question_is_refused_before_any_search(shelf, asked, error, words):
    with pytest.raises(error, match=words):
        create_rag_chain(shelf, model("yes")).invoke(asked)
    assert shelf.asked == []


def test_the_users_own_picture_that_cannot_be_opened_is_an_error(shelf, tmp_path):
    with pytest.raises(LoadError, match=r"gone\.png"):
        create_rag_chain(shelf, model("yes")).invoke({"input": "this?", "image": str(tmp_path / "gone.png")})


def test_a_picture_deleted_since_does_not_break_the_answer(shelf, tmp_path):
    (tmp_path / "beach" / "lighthouse.png").unlink()
    llm = model("At Cape Ann [1].")
    assert create_rag_chain(shelf, llm).invoke(QUESTION)["answer"] == "At Cape Ann [1]."
    assert "its file can no longer be opened" in llm.calls[0][-1].content


# --- prompts of the user's own ---------------------------------------------------------------------------


def test_a_prompt_of_ones_own_gets_evidence_question_and_every_other_key(shelf):
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "You are a {role}."),
            MessagesPlaceholder("chat_history"),
            MessagesPlaceholder("context_messages"),
            ("human", "In {language}: {input}"),
        ]
    )
    llm = model("Where is it?", "oui")
    asked = {
        "input": QUESTION,
        "role": "guide",
        "language": "French",
        "chat_history": [HumanMessage("Hello."), AIMessage("Hi.")],
    }
    result = create_rag_chain(shelf, llm, prompt=prompt).invoke(asked)
    messages = llm.calls[1]
    assert messages[:3] == [SystemMessage("You are a guide."), HumanMessage("Hello."), AIMessage("Hi.")]
    assert len(messages) == 4
    assert texts(messages[3].content)[-1] == f"In French: {QUESTION}"
    assert len(pictures(messages[3].content)) == 1
    assert {key: result[key] for key in asked} == asked


def test_a_prompt_may_take_the_evidence_as_text(shelf):
    llm = model("yes")
    prompt = ChatPromptTemplate.from_template("Use {context} for {input}")
    create_rag_chain(shelf, llm, prompt=prompt).invoke(QUESTION)
    (message,) = llm.calls[0]
    assert message.content.startswith("Use [1] text · notes.md\n<passage")
    assert '<caption n="2">\na lighthouse\n</caption>' in message.content
    assert message.content.endswith(f"for {QUESTION}")


def test_a_prompt_of_text_tells_of_the_picture_of_the_question(shelf, tmp_path):
    mine = str(picture_file(tmp_path / "mine.png", "blue"))
    llm = model("yes")
    prompt = ChatPromptTemplate.from_template("Use {context} for {input}")
    create_rag_chain(shelf, llm, prompt=prompt).invoke({"input": "this?", "image": mine, "not_text": "fog"})
    assert llm.calls[0][0].content.endswith(
        "\n\nThe user asked to leave out: fog\n\nPicture supplied by the user, part of the question"
        " (not shown: this prompt holds no pictures) for this?"
    )


def test_a_prompt_without_a_place_for_evidence_is_refused(shelf):
    with pytest.raises(ValueError, match=r"no place for the evidence, only \['input'\].*context_messages"):
        create_rag_chain(shelf, model("yes"), prompt=ChatPromptTemplate.from_template("{input}"))


def test_a_prompt_without_a_place_for_the_question_is_refused(shelf):
    with pytest.raises(ValueError, match="no place for the question"):
        create_rag_chain(shelf, model("yes"), prompt=ChatPromptTemplate.from_template("{context}"))
    llm = model("yes")
    own = ChatPromptTemplate.from_template("{context} {text}")
    create_rag_chain(shelf, llm, prompt=own).invoke({"input": QUESTION, "text": "my words"})
    assert llm.calls[0][0].content.endswith("my words")


@pytest.mark.parametrize("name", ["prompt", "images", "budget", "media_policy", "format_documents"])
def test_arguments_of_another_kind_are_refused_at_once(shelf, name):
    given = {"budget": {"max_images": 2}, "media_policy": {}}.get(name, "text")
    with pytest.raises(TypeError, match=f"{name} is a (str|dict): give"):
        create_rag_chain(shelf, model("yes"), **{name: given})


def test_an_optional_place_for_evidence_is_a_place(shelf):
    llm = model("yes")
    messages = [MessagesPlaceholder("context_messages", optional=True), ("human", "{input}")]
    create_rag_chain(shelf, llm, prompt=ChatPromptTemplate.from_messages(messages)).invoke(QUESTION)
    assert len(pictures(llm.calls[0][-1].content)) == 1


def test_braces_in_evidence_and_question_are_not_template_variables():
    llm = model("yes")
    create_rag_chain(ShelfRetriever(documents=[note("a {b} {{c}}")]), llm).invoke("what is {b}?")
    assert "a {b} {{c}}" in llm.calls[0][-1].content
    assert "what is {b}?" in llm.calls[0][-1].content


# --- models that see and models that do not --------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "images", "shown"),
    [
        (None, None, True),
        ({"image_inputs": True}, None, True),
        ({"image_inputs": False}, None, False),
        ({"max_input_tokens": 8000}, None, True),
        ({"image_inputs": False}, True, True),
        (None, False, False),
    ],
)
def test_pictures_are_shown_by_profile_or_by_order(shelf, profile, images, shown):
    llm = model("yes", profile=profile)
    create_rag_chain(shelf, llm, images=images).invoke(QUESTION)
    assert isinstance(llm.calls[0][-1].content, list) is shown


def test_the_profile_is_seen_through_a_binding(shelf):
    llm = model("yes", profile={"image_inputs": False})
    create_rag_chain(shelf, llm.bind(stop=["x"])).invoke(QUESTION)
    assert isinstance(llm.calls[0][-1].content, str)


def test_a_model_without_image_input_gets_one_plain_string_with_captions(shelf):
    llm = model("yes")
    create_rag_chain(shelf, llm, images=False).invoke({"input": QUESTION, "image": Image.new("RGB", (9, 9))})
    content = llm.calls[0][-1].content
    assert isinstance(content, str)
    assert '<caption n="2">\na lighthouse\n</caption>' in content
    assert "Picture supplied by the user, part of the question (not shown" in content
    assert content.endswith(f"\n\nQuestion: {QUESTION}")


def test_max_images_bounds_the_pictures(tmp_path):
    shelf = ShelfRetriever(
        documents=[picture(picture_file(tmp_path / f"{i}.png", size=(9, 9 + i))) for i in range(4)]
    )
    llm = model("yes")
    create_rag_chain(shelf, llm, budget=PromptBudget(max_images=3)).invoke(QUESTION)
    assert len(pictures(llm.calls[0][-1].content)) == 3


def test_the_media_policy_holds_for_the_prompt(shelf, tmp_path):
    llm = model("yes")
    create_rag_chain(shelf, llm, media_policy=MediaPolicy(roots=(tmp_path / "notes",))).invoke(QUESTION)
    assert "the media policy forbids opening it" in llm.calls[0][-1].content


def test_the_policy_of_the_retrievers_store_is_the_default(shelf, tmp_path):
    class Store:
        media_policy = MediaPolicy(roots=(tmp_path / "notes",))

    class StoreRetriever(ShelfRetriever):
        store: object = Store()

    assert media_policy_of(StoreRetriever(documents=[])) is Store.media_policy
    assert media_policy_of(ShelfRetriever(documents=[])) is DEFAULT_POLICY
    llm = model("yes")
    create_rag_chain(StoreRetriever(documents=shelf.documents), llm).invoke(QUESTION)
    assert "the media policy forbids opening it" in llm.calls[0][-1].content


# --- without a model, without a find ---------------------------------------------------------------------


def test_without_a_model_the_evidence_is_quoted_with_citations(shelf):
    result = create_rag_chain(shelf).invoke({"input": QUESTION})
    assert result["context"] == shelf.documents
    assert result["answer"].splitlines()[:3] == [
        "Found in the collection:",
        "- “The red lighthouse stands at Cape Ann.” [1]",
        "- Picture: lighthouse.png, “a lighthouse” [2]",
    ]
    assert result["answer"].endswith(NO_MODEL_HINT)


@pytest.mark.parametrize("with_model", [True, False])
def test_nothing_found_is_said_without_calling_the_model(with_model):
    llm = model("made up") if with_model else None
    result = create_rag_chain(ShelfRetriever(documents=[]), llm).invoke(QUESTION)
    found = {"context": [], "answer": NOTHING_FOUND, "citations": [], "removed_citations": []}
    assert result == {"input": QUESTION, **found}
    assert llm is None or llm.calls == []


# --- over a real collection ------------------------------------------------------------------------------


def test_the_whole_way_from_a_collection_to_an_answer(clip, tmp_path):
    store = MultimodalChroma("answers", clip, persist_directory=str(tmp_path / "store"))
    store.add_documents([note("The red lighthouse stands at Cape Ann.")])
    store.add_documents([picture(picture_file(tmp_path / "red.png", size=(30, 60)), "a lighthouse")])
    llm = model("At Cape Ann.", "This one.")
    chain = create_rag_chain(MultimodalRetriever(store=store, k=4), llm)
    result = chain.invoke({"input": QUESTION})
    assert result["answer"] == "At Cape Ann."
    assert {cite(document) for document in result["context"]} == {"notes.md", "red.png"}
    assert [decoded(block).size for block in pictures(llm.calls[0][-1].content)] == [(30, 60)]
    asked = {"input": "Which?", "image": Image.new("RGB", (70, 10), "blue")}
    assert chain.invoke(asked)["answer"] == "This one."
    assert [decoded(block).size for block in pictures(llm.calls[1][-1].content)] == [(30, 60), (70, 10)]
    only_pictures = create_rag_chain(MultimodalRetriever(store=store)).invoke(
        Query(text=QUESTION, modality="image")
    )
    assert "- Picture: red.png, “a lighthouse” [1]" in only_pictures["answer"]
    assert len(only_pictures["context"]) == 1


# --- LCEL ------------------------------------------------------------------------------------------------


CITED = {
    "citations": [{"number": 1, "source": "notes.md", "link": None, "id": None}],
    "removed_citations": [],
}


def test_streaming_gives_the_context_first_then_the_answer_token_by_token_then_citations(shelf):
    chunks = list(create_rag_chain(shelf, model("At Cape Ann [1].")).stream({"input": QUESTION}))
    assert chunks[:2] == [{"input": QUESTION}, {"context": shelf.documents}]
    assert len(chunks) > 5
    assert all(list(chunk) == ["answer"] for chunk in chunks[2:-1])
    assert "".join(chunk["answer"] for chunk in chunks[2:-1]) == "At Cape Ann [1]."
    assert chunks[-1] == CITED


async def test_async_streaming_gives_the_same(shelf):
    chain = create_rag_chain(shelf, model("At Cape Ann [1]."))
    chunks = [chunk async for chunk in chain.astream({"input": QUESTION})]
    assert chunks[1] == {"context": shelf.documents}
    assert len(chunks) > 5
    assert "".join(chunk["answer"] for chunk in chunks[2:-1]) == "At Cape Ann [1]."
    assert chunks[-1] == CITED


def test_streaming_without_a_model_and_without_a_find(shelf):
    *_, quotes, cited = create_rag_chain(shelf).stream(QUESTION)
    assert quotes["answer"].endswith(NO_MODEL_HINT)
    assert [citation["number"] for citation in cited["citations"]] == [1, 2]
    empty = ShelfRetriever(documents=[])
    *_, answer, cited = create_rag_chain(empty, model("x")).stream(QUESTION)
    assert (answer, cited) == ({"answer": NOTHING_FOUND}, {"citations": [], "removed_citations": []})


def test_batch_keeps_the_order_of_questions(shelf):
    results = create_rag_chain(shelf).batch(["lighthouse?", "Cape Ann?"])
    assert [result["input"] for result in results] == ["lighthouse?", "Cape Ann?"]


async def test_ainvoke_and_abatch(shelf):
    chain = create_rag_chain(shelf, model("one", "two"))
    assert (await chain.ainvoke(QUESTION))["answer"] == "one"
    assert [result["answer"] for result in await chain.abatch([QUESTION])] == ["two"]


def test_config_reaches_the_retriever_and_the_model(shelf):
    names = []

    class Names(BaseCallbackHandler):
        def on_retriever_start(self, *args, tags=None, **kwargs):
            names.append(("retriever", "mine" in tags))

        def on_chat_model_start(self, *args, tags=None, **kwargs):
            names.append(("model", "mine" in tags))

    chain = create_rag_chain(shelf, model("yes")).with_config(tags=["mine"], callbacks=[Names()])
    chain.invoke(QUESTION)
    assert names == [("retriever", True), ("model", True)]


def test_the_chain_composes_and_draws_itself(shelf):
    chain = create_rag_chain(shelf, model("yes"))
    assert chain.pick("answer").invoke(QUESTION) == "yes"
    assert "Retriever" in chain.get_graph().draw_mermaid()
    assert chain.get_input_jsonschema() is not None
    assert chain.get_output_jsonschema() is not None


@pytest.mark.filterwarnings("ignore:This API is in beta")
def test_a_tool_made_of_the_chain_says_what_it_takes(shelf):
    tool = create_rag_chain(shelf).as_tool(name="ask", description="Answers.")
    assert list(tool.args) == ["input", "not_text", "modality"]
    assert "image" not in str(tool.args["input"])
    assert tool.invoke({"input": QUESTION, "modality": "text"})["context"] == shelf.documents
    assert shelf.asked == [Query(text=QUESTION, modality="text")]


@pytest.mark.filterwarnings("ignore:This API is in beta")
def test_a_tool_made_of_the_chain_takes_no_files_and_no_filter_of_a_model(shelf):
    tool = create_rag_chain(shelf).as_tool(name="ask", description="Answers.")
    schema = tool.args_schema.model_json_schema()
    assert schema["description"] == "A question in words."
    assert not schema.get("additionalProperties")
    tool.invoke({"input": QUESTION, "image": "/etc/passwd", "filter": {"tenant": "b"}, "k": 1})
    assert shelf.asked == [QUESTION]
