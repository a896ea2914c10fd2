"""Providers on loopback, each with LangChain's own client for it."""

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from tests.integration_tests.providers.clients import PROVIDERS
from tests.integration_tests.providers.loopback import Answer, ProviderServer


@dataclass
class Provider:
    """A server on loopback and the way to its clients."""

    name: str
    server: ProviderServer

    def model(self, *answers: Answer | str, **options: Any) -> BaseChatModel:
        """The real client, after scripting what the server answers."""
        if answers:
            self.server.says(*answers)
        return PROVIDERS[self.name][1](self.server.url, **options)


@pytest.fixture(params=PROVIDERS)
def provider(request):
    """Each provider in turn; a request that it would not have taken fails the test."""
    with PROVIDERS[request.param][0]() as server:
        yield Provider(request.param, server)
        assert server.refusals == []
