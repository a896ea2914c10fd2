"""`create_rag_chain` with LangChain's own clients: what providers receive, and what comes back."""

import io
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from PIL import Image

from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.answering import ShelfRetriever, note, picture, picture_file

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"  # inside Google's client
)

ANSWER = "A red square [1], and a long bridge [2]."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small flat PNG, a large noisy JPEG, and the picture of a question."""
    path = tmp_path_factory.mktemp("pictures")
    picture_file(path / "square.png", "red")
    waves = np.add.outer(np.sin(np.arange(750) / 40), np.cos(np.arange(1500) / 55)) * 60 + 128
    pixels = np.stack([waves, waves.T.reshape(waves.shape), 255 - waves], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path / "bridge.jpg", quality=92)
    picture_file(path / "asked.png", "blue", (30, 30))
    return path


@pytest.fixture
def shelf(folder) -> ShelfRetriever:
    return ShelfRetriever(
        documents=[
            picture(folder / "square.png", "a red square", id="square"),
            picture(folder / "bridge.jpg", "a long bridge"),
            note("The square was painted in spring."),
        ]
    )


def opened(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=float)


def in_order(text, *parts):
    places = [text.find(part) for part in parts]
    assert -1 not in places, (parts, text)
    return places == sorted(places)


@pytest.fixture(params=["invoke", "ainvoke", "stream", "astream"])
def ask(request):
    """Ask a chain in each of four ways; gives its answer, and the pieces it came in."""

    async def run(chain, question):
        if request.param == "invoke":
            return chain.invoke(question), None
        if request.param == "ainvoke":
            return await chain.ainvoke(question), None
        if request.param == "stream":
            chunks = list(chain.stream(question))
        else:
            chunks = [chunk async for chunk in chain.astream(question)]
        result = {key: [c[key] for c in chunks if key in c] for chunk in chunks for key in chunk}
        return {key: "".join(v) if key == "answer" else v[-1] for key, v in result.items()}, chunks

    return run


async def test_pictures_labels_and_answer_make_the_whole_way(provider, shelf, folder, ask):
    chain = create_rag_chain(shelf, provider.model(ANSWER))
    result, chunks = await ask(chain, {"input": "What is it?", "image": folder / "asked.png"})
    assert result["answer"] == ANSWER
    assert [c["number"] for c in result["citations"]] == [1, 2]
    assert result["citations"][0]["source"] == "square.png"
    assert result["citations"][0]["link"] == (folder / "square.png").as_uri()
    server = provider.server
    assert len(server.requests) == 1
    assert [turn.role for turn in server.turns] == ["system", "user"]
    square, bridge, asked = server.pictures
    assert square == (folder / "square.png").read_bytes()
    assert asked == (folder / "asked.png").read_bytes()
    assert opened(bridge).shape == (512, 1024, 3)
    with Image.open(folder / "bridge.jpg") as source:
        expected = np.asarray(source.resize((1024, 512), Image.Resampling.LANCZOS), dtype=float)
    assert np.abs(opened(bridge) - expected).mean() < 3
    labels = (
        "[1] image · square.png",
        "[2] image · bridge.jpg",
        "[3] text · notes.md",
        "supplied by the user, part",
    )
    assert in_order(server.turns[-1].text, *labels, "Question: What is it?")
    if chunks is not None:
        words = [chunk["answer"] for chunk in chunks if "answer" in chunk]
        assert len([word for word in words if word]) >= 5
        kinds = [key for chunk in chunks for key in chunk]
        assert kinds.index("context") < kinds.index("answer")


async def test_a_citation_of_nothing_is_taken_out(provider, shelf, ask):
    chain = create_rag_chain(shelf, provider.model("Red [1], surely [9], and large [2]."))
    result, _ = await ask(chain, "What is it?")
    assert "[9]" not in result["answer"]
    assert in_order(result["answer"], "Red [1]", "surely", "large [2]")
    assert result["removed_citations"] == ["[9]"]
    assert [c["number"] for c in result["citations"]] == [1, 2]


def test_text_alone_goes_to_a_model_that_is_said_to_see_nothing(provider, shelf, folder):
    for llm, options in (
        (provider.model(ANSWER, profile={"image_inputs": False}), {}),
        (provider.model(ANSWER), {"images": False}),
    ):
        result = create_rag_chain(shelf, llm, **options).invoke({"input": "?", "image": folder / "asked.png"})
        assert result["answer"] == ANSWER
        assert provider.server.pictures == []
        assert "a long bridge" in provider.server.text
        assert isinstance(provider.server.turns[-1].text, str)


def test_a_prompt_of_ones_own_with_a_conversation(provider, shelf):
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Answer like a {role}."),
            MessagesPlaceholder("chat_history"),
            MessagesPlaceholder("context_messages"),
            ("human", "{input}"),
        ]
    )
    history = [HumanMessage("Good morning."), AIMessage("Good morning to you.")]
    chain = create_rag_chain(shelf, provider.model(ANSWER), prompt=prompt)
    result = chain.invoke({"input": "What is it?", "role": "pirate", "chat_history": history})
    assert result["answer"] == ANSWER
    assert len(provider.server.requests) == 2  # the question is said again for the search, then answered
    turns = provider.server.turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0].text == "Answer like a pirate."
    assert [len(turn.pictures) for turn in turns] == [0, 0, 0, 2]


@pytest.mark.parametrize("pillow_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_every_kind_of_picture_arrives_as_one_the_provider_takes(provider, tmp_path, pillow_format):
    path = picture_file(tmp_path / f"flag.{pillow_format.lower()}", (200, 40, 40), format=pillow_format)
    chain = create_rag_chain(ShelfRetriever(documents=[picture(path)]), provider.model("Red [1]."))
    assert chain.invoke("What is it?")["answer"] == "Red [1]."
    assert np.abs(opened(provider.server.pictures[0]) - (200, 40, 40)).max() < 6


def test_a_deleted_picture_costs_itself_alone(provider, shelf, folder):
    shelf.documents[1:1] = [picture(folder / "gone.png", "a lost picture")]
    result = create_rag_chain(shelf, provider.model("Red [1].")).invoke("What is it?")
    assert result["answer"] == "Red [1]."
    assert len(provider.server.pictures) == 2
    assert in_order(provider.server.text, "[2] image · gone.png", "can no longer be opened", "a lost picture")


def test_nothing_found_calls_no_model(provider):
    result = create_rag_chain(ShelfRetriever(documents=[]), provider.model("Unheard")).invoke("What is it?")
    assert provider.server.requests == []
    assert "Nothing was found" in result["answer"]


def test_a_large_collection_of_pictures_stays_within_the_budget(provider, folder):
    documents: list[Document] = []
    for number in range(12):
        path = picture_file(folder / "many" / f"{number}.png", (number * 20, 90, 10))
        documents.append(picture(path, f"picture number {number}"))
    create_rag_chain(ShelfRetriever(documents=documents, k=12), provider.model(ANSWER)).invoke("What is it?")
    reds = [opened(data)[0, 0, 0] for data in provider.server.pictures]
    assert reds == [number * 20 for number in range(8)]
    assert "picture number 11" in provider.server.text


def test_examples_stand_as_a_conversation_before_the_question(provider, shelf, folder):
    examples = [
        {"image": folder / "asked.png", "question": "What colour?", "answer": "Blue."},
        {"question": "And the sky?", "answer": "Blue as well."},
    ]
    chain = create_rag_chain(shelf, provider.model(ANSWER), examples=examples)
    assert chain.invoke("What is it?")["answer"] == ANSWER
    turns = provider.server.turns
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * 2, "user"]
    assert [len(turn.pictures) for turn in turns] == [0, 1, 0, 0, 0, 2]
    assert turns[1].pictures == [(folder / "asked.png").read_bytes()]
    assert "Blue as well." in turns[4].text


def test_captions_alone_go_out_by_the_caption_pattern(provider, shelf):
    chain = create_rag_chain(shelf, provider.model(ANSWER), pattern="caption")
    assert chain.invoke("What is it?")["answer"] == ANSWER
    assert provider.server.pictures == []
    assert "a long bridge" in provider.server.text


def test_a_collection_is_asked_with_a_threshold(provider, counting_embeddings, folder):
    store = MultimodalChroma(f"threshold-{uuid4()}", counting_embeddings)
    store.add_images([str(folder / "square.png")])
    chain = create_rag_chain(
        MultimodalRetriever(store=store), provider.model("Red [1]."), score_threshold=0.0
    )
    result = chain.invoke("a red square")
    assert result["answer"] == "Red [1]."
    assert result["citations"][0]["id"] == result["context"][0].id
    assert provider.server.pictures == [(folder / "square.png").read_bytes()]
    store.delete_collection()
