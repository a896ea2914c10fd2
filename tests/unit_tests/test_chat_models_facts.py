"""What is known of a chat model without calling it, through every wrapper that LangChain has."""

import pytest
from langchain.chat_models import init_chat_model
from langchain_anthropic import ChatAnthropic
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_ollama import ChatOllama
from langchain_openai import AzureChatOpenAI, ChatOpenAI

from langchain_mmrag._chat_models import (
    chat_model_of,
    family_of,
    input_limit_of,
    provider_of,
    takes_images,
)
from tests.unit_tests.answering import model

AZURE = {"azure_endpoint": "http://localhost", "api_version": "2025-01-01", "api_key": "none"}


@tool
def look(place: str) -> str:
    """Look there."""
    return place


def openai(name="gpt-4o", **fields):
    return ChatOpenAI(model=name, api_key="none", **fields)


def claude(name="claude-sonnet-4-5"):
    return ChatAnthropic(model=name, api_key="none")


def gemini(name="gemini-2.5-flash"):
    return ChatGoogleGenerativeAI(model=name, google_api_key="none")


@pytest.mark.parametrize(
    ("make", "family"),
    [
        (lambda: openai("gpt-4o"), "openai"),
        (lambda: openai("gpt-4o-mini"), "openai"),
        (lambda: openai("gpt-4.1"), "openai"),
        (lambda: openai("gpt-5"), "openai"),
        (lambda: openai("o3"), "openai"),
        (lambda: openai("gpt-4.1-mini"), "openai-patches"),
        (lambda: openai("gpt-4.1-nano-2025-04-14"), "openai-patches"),
        (lambda: openai("gpt-5-mini"), "openai-patches"),
        (lambda: openai("gpt-5.4"), "openai-patches"),
        (lambda: openai("gpt-6"), "openai-patches"),
        (lambda: openai("o4-mini"), "openai-patches"),
        (lambda: AzureChatOpenAI(azure_deployment="d", model="o4-mini", **AZURE), "openai-patches"),
        (lambda: AzureChatOpenAI(azure_deployment="d", model="gpt-4o", **AZURE), "openai"),
        (claude, "anthropic"),
        (lambda: openai("anthropic/claude-sonnet-4.5", base_url="http://localhost/v1"), "anthropic"),
        (gemini, "google"),
        (lambda: gemini("gemini-3-pro-preview"), "google-fixed"),
        (lambda: openai("google/gemini-3.5-flash", base_url="http://localhost/v1"), "google-fixed"),
        (lambda: ChatOllama(model="llava"), "other"),
        (lambda: ChatOllama(model="qwen2.5vl:7b"), "other"),
        (lambda: model("yes"), "other"),
        (lambda: None, "other"),
        (lambda: RunnableLambda(str), "other"),
    ],
)
def test_the_family_is_told_by_provider_and_name(make, family):
    assert family_of(make()) == family


WRAPPED = {
    "bare": lambda llm: llm,
    "bind": lambda llm: llm.bind(stop=["."]),
    "bind_tools": lambda llm: llm.bind_tools([look]),
    "with_retry": lambda llm: llm.with_retry(),
    "with_fallbacks": lambda llm: llm.with_fallbacks([model("no")]),
    "with_config": lambda llm: llm.with_config(tags=["a"]),
    "sequence": lambda llm: llm | StrOutputParser(),
    "prompt first": lambda llm: ChatPromptTemplate.from_messages([("human", "{q}")]) | llm,
    "function first": lambda llm: RunnableLambda(str) | llm | StrOutputParser(),
    "alternatives": lambda llm: llm.configurable_alternatives(ConfigurableField(id="llm"), other=model("no")),
    "configurable": lambda llm: llm.configurable_fields(temperature=ConfigurableField(id="t")),
    "structured": lambda llm: llm.with_structured_output({"title": "A", "type": "object", "properties": {}}),
    "all at once": lambda llm: (
        llm.bind_tools([look]).with_retry().with_fallbacks([model("no")]).with_config(tags=["a"])
    ),
}


@pytest.mark.parametrize("make", [openai, claude, gemini], ids=["openai", "anthropic", "google"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_the_model_is_found_inside_of_wrappers(wrap, make):
    llm = make()
    found = wrap(llm)
    assert type(chat_model_of(found)) is type(llm)
    assert family_of(found) == family_of(llm)
    assert provider_of(found) == provider_of(llm) != ""
    assert takes_images(found) is True
    assert input_limit_of(found) == llm.profile["max_input_tokens"]


def test_a_model_without_a_profile_is_unknown():
    for llm in (
        ChatOllama(model="llava"),
        model("yes"),
        openai("mine", base_url="http://localhost/v1"),
        None,
    ):
        assert takes_images(llm) is None
        assert input_limit_of(llm) is None


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_is_none_is_not_taken_for_one(limit):
    assert input_limit_of(model("yes", profile={"max_input_tokens": limit})) is None


def test_a_model_that_is_chosen_at_each_call_is_known_by_its_default():
    asked = init_chat_model("openai:gpt-5-mini", configurable_fields=("temperature",), api_key="none")
    assert family_of(asked) == "openai-patches"
    assert takes_images(asked) is True
    assert family_of(init_chat_model(configurable_fields=("model",))) == "other"


def test_a_profile_may_say_no():
    assert takes_images(model("yes", profile={"image_inputs": False})) is False
    assert takes_images(model("yes", profile={"image_outputs": True})) is None


def test_a_chain_that_holds_itself_ends():
    class Loop:
        bound = None

    loop = Loop()
    loop.bound = loop
    assert chat_model_of(loop) is None
