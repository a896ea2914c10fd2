"""A second look at what was found: rerankers that understand pictures.

    store.search ──► 20 candidates ──► reranker ──► the best 4

Vectors of CLIP are made before the question is known, so they are a first stage: quick, and blind to how a
picture and a question relate in detail. A reranker reads both together, and only the few candidates.

All are LangChain document compressors: for `MultimodalRetriever(reranker=)`, for a
`ContextualCompressionRetriever`, or called by themselves.
"""

from langchain_mmrag.reranking.base import MultimodalReranker
from langchain_mmrag.reranking.blip import BlipReranker
from langchain_mmrag.reranking.chat_model import ChatModelReranker
from langchain_mmrag.reranking.cross_encoder import CrossEncoderReranker

__all__ = ["BlipReranker", "ChatModelReranker", "CrossEncoderReranker", "MultimodalReranker"]
