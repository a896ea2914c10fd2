"""Stores for the tests of the store."""

from uuid import uuid4

import pytest

from langchain_mmrag.vectorstores import MultimodalChroma


@pytest.fixture
def open_store():
    """Makes stores in memory, and deletes them after the test."""
    stores = []

    def make(embedding, **options):
        stores.append(MultimodalChroma(f"store-{uuid4()}", embedding, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.delete_collection()


@pytest.fixture
def store(open_store, counting_embeddings):
    """An empty store in memory."""
    return open_store(counting_embeddings)
