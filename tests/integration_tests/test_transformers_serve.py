"""A genuine inference server, `transformers serve`, asked by the real OpenAI client through `create_rag_chain`.

The model is a LLaVA with random weights, made on the spot, so its words are nonsense. But they are its own words
for the very pictures it was sent: that the pictures arrive is what these tests show.
"""

import os
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.chat_models import ChatTransformers
from langchain_mmrag.prompts import image_block
from tests.integration_tests.servers import HOST, free_port, running, wait_for
from tests.tiny_vision_model import llava
from tests.unit_tests.answering import ShelfRetriever, note, picture, picture_file

PICTURE_TOKENS = 4
QUESTION = "What colour is it?"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The model's name and the address of a server that lives as long as this module's tests."""
    folder = tmp_path_factory.mktemp("serve")
    port, log = str(free_port()), folder / "log"
    command = [Path(sys.executable).with_name("transformers"), "serve"]  # it loads a model when asked
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    command += ["--host", HOST, "--port", port, "--device", "cpu"]
    with running(command, log, env={**os.environ, **offline, "OMP_NUM_THREADS": "1"}) as server:
        llava(folder / "model")  # while the server starts
        wait_for(server, log, lambda: is_healthy(f"http://{HOST}:{port}/health"))
        yield str(folder / "model"), f"http://{HOST}:{port}/v1"


def is_healthy(address):
    try:
        with urlopen(address, timeout=2):
            return True
    except (URLError, TimeoutError):
        return False


@pytest.fixture
def llm(served):
    name, url = served
    return ChatOpenAI(model=name, base_url=url, api_key="none", max_tokens=24, temperature=0, max_retries=0)


@pytest.fixture
def about(tmp_path):
    """A retriever that finds a passage and a picture of the colours given."""

    def find(*colours):
        paths = [picture_file(tmp_path / colour / "flag.png", colour) for colour in colours]
        return ShelfRetriever(documents=[note("Flags were hoisted."), *map(picture, paths)])

    return find


def test_the_answer_depends_on_the_picture_alone(llm, about):
    answers = [
        create_rag_chain(about(colour), llm).invoke(QUESTION)["answer"] for colour in ("red", "blue", "red")
    ]
    assert answers[0] == answers[2]
    assert answers[0] != answers[1]
    blind = [
        create_rag_chain(about(colour), llm, images=False).invoke(QUESTION)["answer"]
        for colour in ("red", "blue")
    ]
    assert blind[0] == blind[1]
    assert blind[0] not in answers


async def test_streamed_and_async_answers_are_the_same(llm, about):
    chain = create_rag_chain(about("red", "green"), llm)
    expected = chain.invoke(QUESTION)["answer"]
    assert expected
    pieces = [chunk["answer"] for chunk in chain.stream(QUESTION) if "answer" in chunk]
    assert "".join(pieces) == expected
    assert len(pieces) > 5
    assert (await chain.ainvoke(QUESTION))["answer"] == expected
    pieces = [chunk["answer"] async for chunk in chain.astream(QUESTION) if "answer" in chunk]
    assert "".join(pieces) == expected


def test_each_picture_costs_what_the_model_takes_for_one(llm, tmp_path):
    block = image_block(picture_file(tmp_path / "red.png"))
    spent = [
        llm.invoke([HumanMessage([{"type": "text", "text": QUESTION}, *([block] * number)])]).usage_metadata
        for number in (0, 1, 3)
    ]
    without = spent[0]["input_tokens"]
    assert [use["input_tokens"] - without for use in spent] == [0, PICTURE_TOKENS, 3 * PICTURE_TOKENS]


def test_the_picture_of_a_question_arrives_apart(llm, about, tmp_path):
    chain = create_rag_chain(about("red"), llm)
    answers, tokens = [], []
    for colour in ("green", "blue"):
        used = UsageMetadataCallbackHandler()
        asked = {"input": QUESTION, "image": picture_file(tmp_path / f"{colour}.png", colour)}
        answers.append(chain.invoke(asked, {"callbacks": [used]})["answer"])
        tokens += [use["input_tokens"] for use in used.usage_metadata.values()]
    assert answers[0] != answers[1]
    assert tokens[0] == tokens[1] > 0


def test_the_responses_interface_carries_pictures_too(served, about):
    name, url = served
    llm = ChatOpenAI(
        model=name, base_url=url, api_key="none", max_tokens=24, use_responses_api=True, max_retries=0
    )
    red, blue = (
        create_rag_chain(about(colour), llm).invoke(QUESTION)["answer"] for colour in ("red", "blue")
    )
    assert red
    assert red != blue


def test_the_server_says_what_its_model_says_here(llm, served, about):
    """The prompt comes through whole: pictures lost, moved or changed on the way would change the words."""
    here = ChatTransformers(model=served[0], max_new_tokens=24, temperature=0, device="cpu")
    for colours in (["red"], ["green", "blue"]):
        local, remote = (
            create_rag_chain(about(*colours), model).invoke(QUESTION)["answer"] for model in (here, llm)
        )
        assert local == remote
