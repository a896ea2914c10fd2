"""LangChain's own clients, pointed at the servers on loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel

from tests.integration_tests.providers.anthropic import AnthropicServer
from tests.integration_tests.providers.google import GoogleServer
from tests.integration_tests.providers.loopback import ProviderServer
from tests.integration_tests.providers.ollama import OllamaServer
from tests.integration_tests.providers.openai import ChatCompletionsServer, ResponsesServer

KEY = "no-key-is-needed-on-loopback"


def openai_chat(url: str, **options: Any) -> BaseChatModel:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5-mini", base_url=f"{url}/v1", api_key=KEY, max_retries=0, **options)


def openai_responses(url: str, **options: Any) -> BaseChatModel:
    return openai_chat(url, use_responses_api=True, **options)


def anthropic(url: str, **options: Any) -> BaseChatModel:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-sonnet-5-5", base_url=url, api_key=KEY, max_retries=0, **options)


def google(url: str, **options: Any) -> BaseChatModel:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", base_url=url, google_api_key=KEY, max_retries=1, **options
    )


def ollama(url: str, **options: Any) -> BaseChatModel:
    from langchain_ollama import ChatOllama

    return ChatOllama(model="llava", base_url=url, **options)


PROVIDERS: dict[str, tuple[type[ProviderServer], Callable[..., BaseChatModel]]] = {
    "openai chat": (ChatCompletionsServer, openai_chat),
    "openai responses": (ResponsesServer, openai_responses),
    "anthropic": (AnthropicServer, anthropic),
    "google": (GoogleServer, google),
    "ollama": (OllamaServer, ollama),
}
