"""The search as a tool for agents.

What a model asks stands in `arguments`, `filters` and `asked_images`, what it gets in `results`; `search` is
both together.
"""

from __future__ import annotations

from langchain_mmrag.tools.arguments import MAX_RESULTS
from langchain_mmrag.tools.results import CitedDocuments, cited_documents
from langchain_mmrag.tools.search import DEFAULT_DESCRIPTION, SearchTool, create_search_tool

__all__ = [
    "DEFAULT_DESCRIPTION",
    "MAX_RESULTS",
    "CitedDocuments",
    "SearchTool",
    "cited_documents",
    "create_search_tool",
]
