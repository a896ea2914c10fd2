"""The settings of the vector index: made with a collection, never changed afterwards."""

import sqlite3

import numpy as np
import pytest
from chromadb import PersistentClient
from langchain_core.embeddings import Embeddings

from langchain_mmrag._store.hnsw import (
    EF_CONSTRUCTION,
    EF_SEARCH,
    SYNC_THRESHOLD,
    in_cosine_space,
)
from langchain_mmrag.vectorstores import MultimodalChroma

OURS = {
    "space": "cosine",
    "ef_construction": EF_CONSTRUCTION,
    "ef_search": EF_SEARCH,
    "sync_threshold": SYNC_THRESHOLD,
}


class Vectors(Embeddings):
    """Texts are the seeds of their vectors."""

    def embed_query(self, text):
        return np.random.default_rng(int(text)).normal(size=16).tolist()

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


def settings_of(store):
    return store._collection.configuration_json["hnsw"]


def rows_in_the_log(folder):
    with sqlite3.connect(folder / "chroma.sqlite3") as database:
        return database.execute("SELECT count(*) FROM embeddings_queue").fetchone()[0]


def test_a_new_collection_has_the_settings_that_were_measured(tmp_path):
    store = MultimodalChroma("new", Vectors(), persist_directory=tmp_path)
    assert OURS.items() <= settings_of(store).items()


def test_what_the_caller_sets_wins_and_the_rest_is_ours(tmp_path):
    own = {"ef_construction": 40, "sync_threshold": 50}
    store = MultimodalChroma(
        "own", Vectors(), persist_directory=tmp_path, collection_configuration={"hnsw": own}
    )
    assert (OURS | own).items() <= settings_of(store).items()


def test_a_collection_that_exists_keeps_its_settings(tmp_path):
    client = PersistentClient(tmp_path)
    before = client.create_collection(
        "old", configuration={"hnsw": {"space": "l2", "ef_search": 77}}, embedding_function=None
    )
    settings = dict(before.configuration_json["hnsw"])
    store = MultimodalChroma("old", Vectors(), client=client)
    store.add_texts(["1"])
    assert settings_of(store) == settings


def test_a_collection_made_anew_has_the_settings_again(tmp_path):
    store = MultimodalChroma("again", Vectors(), persist_directory=tmp_path)
    store.reset_collection()
    assert OURS.items() <= settings_of(store).items()


def test_who_sets_the_space_in_the_old_way_sets_the_index_up_alone():
    assert in_cosine_space(None, {"hnsw:space": "l2"}) is None


@pytest.mark.parametrize("given", [None, {}, {"hnsw": None}, {"hnsw": {}}])
def test_nothing_given_means_all_of_ours(given):
    assert in_cosine_space(given, None)["hnsw"] == OURS


def test_an_index_in_the_cloud_gets_only_what_it_knows():
    made = in_cosine_space({"spann": {"search_nprobe": 9}}, None)
    assert made == {"spann": {"space": "cosine", "ef_search": EF_SEARCH, "search_nprobe": 9}}


def test_what_is_written_in_large_parts_is_no_work_for_the_next_process(tmp_path):
    store = MultimodalChroma("log", Vectors(), persist_directory=tmp_path)
    store.add_texts([str(n) for n in range(SYNC_THRESHOLD + 50)])
    assert rows_in_the_log(tmp_path) <= 1


def test_of_what_is_written_one_by_one_the_next_process_reads_a_bounded_part(tmp_path):
    store = MultimodalChroma("log", Vectors(), persist_directory=tmp_path)
    store.add_texts([str(n) for n in range(SYNC_THRESHOLD - 3)])
    waiting = []
    for n in range(SYNC_THRESHOLD, SYNC_THRESHOLD + 6):
        store.add_texts([str(n)])
        waiting.append(rows_in_the_log(tmp_path))
    assert max(waiting) < SYNC_THRESHOLD
    assert min(waiting) <= 1
