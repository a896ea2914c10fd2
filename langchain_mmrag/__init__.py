"""Multimodal RAG for LangChain.

The way of the data, one module a step:

    load ──────────► embed ──────► store ─────────► retrieve ─────► prompt ────► answer
    document_loaders embeddings    vectorstores     retrievers      prompts      chains, tools

    DirectoryLoader  OpenCLIP-     MultimodalChroma Multimodal-     content      create_rag_chain,
                     Embeddings                     Retriever       blocks       create_search_tool

Importing this package is cheap: torch, open_clip and chromadb load when a name that needs them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_mmrag.chains import create_rag_chain
    from langchain_mmrag.document_loaders import DirectoryLoader
    from langchain_mmrag.embeddings import MultimodalEmbeddings, OpenCLIPEmbeddings
    from langchain_mmrag.errors import MMRAGError
    from langchain_mmrag.media import MediaPolicy, open_image
    from langchain_mmrag.middleware import ToolImagesMiddleware
    from langchain_mmrag.queries import Query
    from langchain_mmrag.retrievers import MultimodalRetriever
    from langchain_mmrag.text_splitters import CLIPTextSplitter
    from langchain_mmrag.tools import create_search_tool
    from langchain_mmrag.vectorstores import MultimodalChroma
    from langchain_mmrag.zero_shot import ZeroShotClassifier

__version__ = "0.1.0"

_HOME = {
    "CLIPTextSplitter": "text_splitters",
    "DirectoryLoader": "document_loaders",
    "MMRAGError": "errors",
    "MediaPolicy": "media",
    "MultimodalChroma": "vectorstores",
    "MultimodalEmbeddings": "embeddings",
    "MultimodalRetriever": "retrievers",
    "OpenCLIPEmbeddings": "embeddings",
    "Query": "queries",
    "ToolImagesMiddleware": "middleware",
    "ZeroShotClassifier": "zero_shot",
    "create_rag_chain": "chains",
    "create_search_tool": "tools",
    "open_image": "media",
}

__all__ = [
    "CLIPTextSplitter",
    "DirectoryLoader",
    "MMRAGError",
    "MediaPolicy",
    "MultimodalChroma",
    "MultimodalEmbeddings",
    "MultimodalRetriever",
    "OpenCLIPEmbeddings",
    "Query",
    "ToolImagesMiddleware",
    "ZeroShotClassifier",
    "__version__",
    "create_rag_chain",
    "create_search_tool",
    "open_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
