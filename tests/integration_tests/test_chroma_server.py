"""`MultimodalChroma` against a real Chroma server over HTTP on the loopback address."""

import gc
import sys
import warnings
from pathlib import Path
from uuid import uuid4

import chromadb
import pytest
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langchain_mmrag.errors import EmbeddingMismatchError, StoreError
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings
from tests.integration_tests.servers import HOST, free_port, running, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:chromadb")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Port of a server that lives as long as this module's tests."""
    free = free_port()
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log"
    command = [Path(sys.executable).with_name("chroma"), "run", "--host", HOST, "--port", str(free)]
    with running([*command, "--path", folder / "db"], log, cwd=folder) as server:
        try:
            wait_for(server, log, lambda: is_alive(free))
            yield free
        finally:
            # Chroma's clients do not close their connections: they shall go here, not in the midst of other tests.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


def is_alive(port):
    try:
        chromadb.HttpClient(HOST, port).heartbeat()
    except ValueError:
        return False
    return True


@pytest.fixture
def open_store(port):
    def make(embedding, name=None, **options):
        return MultimodalChroma(name or f"server-{uuid4()}", embedding, host=HOST, port=port, **options)

    return make


class TestOverHttp(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, open_store):
        return open_store(self.get_embeddings())


def test_pictures_and_passages_are_found_over_http(open_store, counting_embeddings, sample_images):
    store = open_store(counting_embeddings)
    for name in ("red", "green", "blue"):
        store.add_images([sample_images[name]], ids=[f"{name} picture"])
        store.add_texts([f"{name} words"], ids=[f"{name} text"])
    found = MultimodalRetriever(store=store, k=2).invoke("red")
    assert {document.id for document in found} == {"red text", "red picture"}
    found = store.similarity_search(Query(image=sample_images["blue"], text="green"), k=1, modality="image")
    assert [document.id for document in found] == ["green picture"]
    assert store.similarity_search_with_relevance_scores("red words", k=1)[0][1] == pytest.approx(1, abs=1e-5)
    store.update_documents(["red text"], [found[0]])
    assert store.get_by_ids(["red text"])[0].metadata["source"] == str(sample_images["green"])
    store.delete(["red text"])
    assert store._collection.count() == 5


def test_a_server_keeps_what_made_a_collection(open_store, counting_embeddings):
    name = f"server-{uuid4()}"
    open_store(counting_embeddings, name).add_texts(["red"])

    class Other(CountingEmbeddings):
        fingerprint = "other:v1"

    with pytest.raises(EmbeddingMismatchError, match=r"counting:v1.*other:v1"):
        open_store(Other(), name).similarity_search("red")
    assert len(open_store(CountingEmbeddings(), name).similarity_search("red")) == 1


def test_a_server_has_no_place_for_pictures_given_as_bytes(
    open_store, counting_embeddings, sample_images, tmp_path
):
    data = sample_images["red"].read_bytes()
    store = open_store(counting_embeddings)
    with pytest.raises(StoreError, match="media_directory"):
        store.add_images(blobs=[data])
    assert store._collection.count() == 0
    store = open_store(counting_embeddings, media_directory=tmp_path / "kept")
    store.add_images(blobs=[data])
    (document,) = store.similarity_search("red")
    assert Path(document.metadata["source"]).read_bytes() == data


def test_more_documents_than_the_server_takes_at_once_are_added(open_store, counting_embeddings):
    store = open_store(counting_embeddings)
    most = store._client.get_max_batch_size()
    assert len(store.add_texts(["red"] * (most + 1), ids=[str(n) for n in range(most + 1)])) == most + 1
    assert store._collection.count() == most + 1
