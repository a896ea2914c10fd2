"""LangChain's standard suites for tools, over the search tool."""

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_mmrag.tools import create_search_tool
from tests.unit_tests.answering import ShelfRetriever, note, picture, picture_file


@pytest.fixture(scope="session")
def lighthouse(tmp_path_factory):
    return picture_file(tmp_path_factory.mktemp("pictures") / "lighthouse.png")


class SearchTool:
    """What both suites are told about the tool."""

    @pytest.fixture(autouse=True)
    def _picture(self, lighthouse) -> None:
        self.lighthouse = lighthouse

    @property
    def tool_constructor(self) -> BaseTool:
        documents = [note("The lighthouse stands at Cape Ann."), picture(self.lighthouse)]
        return create_search_tool(ShelfRetriever(documents=documents))

    @property
    def tool_invoke_params_example(self) -> dict:
        return {"query": "lighthouse", "k": 2}


class TestSearchToolUnit(SearchTool, ToolsUnitTests):
    pass


class TestSearchToolIntegration(SearchTool, ToolsIntegrationTests):
    pass
