"""LangChain's own suites for vector stores and retrievers, none of their tests overridden."""

from uuid import uuid4

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.vectorstores import MultimodalChroma


class TestMultimodalChroma(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        store = MultimodalChroma(f"standard-{uuid4()}", self.get_embeddings())
        yield store
        store.delete_collection()


class TestMultimodalChromaOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        return MultimodalChroma("standard", self.get_embeddings(), persist_directory=tmp_path)


class TestMultimodalChromaWithAPictureEmbedding(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, clip):
        store = MultimodalChroma(f"standard-{uuid4()}", clip)
        yield store
        store.delete_collection()


class TestMultimodalRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return MultimodalRetriever

    @property
    def retriever_constructor_params(self):
        store = MultimodalChroma(f"standard-{uuid4()}", DeterministicFakeEmbedding(size=6))
        store.add_texts(["a lighthouse", "a harbour", "a gull", "a ferry"])
        return {"store": store}

    @property
    def retriever_query_example(self):
        return "where is the lighthouse?"
