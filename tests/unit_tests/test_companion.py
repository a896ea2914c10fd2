"""The second vectors of passages: made, found, kept in step, and never standing for another text."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chromadb.api.shared_system_client import SharedSystemClient
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings

from langchain_mmrag._store import companion as companion_module
from langchain_mmrag._store import ledger_rows
from langchain_mmrag.errors import EmbeddingMismatchError, StoreError
from langchain_mmrag.queries import Query
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings

REPOSITORY = Path(__file__).parents[2]


class WordEmbeddings(Embeddings):
    """For text only: each word its own direction; tells what it embedded, and refuses blanks as services do."""

    def __init__(self, model="words:v1", numbers=32):
        self.model = model
        self.numbers = numbers
        self.embedded = []

    def embed_documents(self, texts):
        self.embedded += texts
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        if not text.strip():
            raise ValueError("the input is blank")
        vector = np.zeros(self.numbers)
        for word in text.lower().split():
            vector[int(hashlib.md5(word.encode()).hexdigest(), 16) % self.numbers] += 1
        return vector.tolist()


def open_at(folder, words=None, name="passages"):
    """A store as the next process finds it."""
    SharedSystemClient.clear_system_cache()
    return MultimodalChroma(
        name, CountingEmbeddings(show_progress=False), persist_directory=folder, text_embedding=words
    )


def near(store, text, k):
    """Ids and cosines of the nearest texts, as searches find them."""
    return store._companion.catch_up().near(store._companion.query(text), k)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def assert_in_step(store, words):
    """There is a vector for each passage, and it is its text's."""
    rows = store._collection.get(include=["documents", "metadatas"])
    texts = {
        id_: ledger_rows.text_of_row(text, metadata or {})
        for id_, text, metadata in zip(rows["ids"], rows["documents"], rows["metadatas"], strict=True)
    }
    texts = {id_: text for id_, text in texts.items() if text.strip()}
    vectors = store._companion.vectors([*rows["ids"], "nobody"])
    assert set(vectors) == set(texts)
    assert store._companion._existing() is None or store._companion._existing().count() == len(texts)
    for id_, vector in vectors.items():
        np.testing.assert_allclose(vector, unit(words.embed_query(texts[id_])), atol=1e-6)


@pytest.fixture
def words():
    return WordEmbeddings()


@pytest.fixture
def both(open_store, counting_embeddings, words):
    return open_store(counting_embeddings, text_embedding=words)


def test_passages_get_a_second_vector_and_bare_pictures_and_blanks_do_not(both, words, sample_images):
    both.add_texts(["a red boat", "a blue sea", " "], ids=["a", "b", "blank"])
    both.add_images([sample_images["red"]], ids=["p"])
    assert words.embedded == ["a red boat", "a blue sea"]
    assert_in_step(both, words)
    found = near(both, "red boat", 5)
    assert [id_ for id_, _ in found] == ["a", "b"]
    assert found[0][1] == pytest.approx(2 / np.sqrt(6), abs=1e-5)
    assert near(both, "blue sea", 1)[0][0] == "b"
    assert both._companion.query("sea").dtype == np.float32
    assert words.embedded == ["a red boat", "a blue sea"]


def test_every_way_to_write_keeps_them_in_step(both, words):
    both.add_texts(["one", "two", "three", "four"], [{"n": n} for n in range(4)], ids=[*"abcd"])
    both.add_texts(["two again", "five"], ids=["b", "e"])
    assert_in_step(both, words)
    both.update_documents(["c"], [both.get_by_ids(["a"])[0]])
    assert_in_step(both, words)
    both.add_texts([""], ids=["a"])
    assert_in_step(both, words)
    both.delete(where={"n": 3})
    both.delete(["e"])
    assert_in_step(both, words)
    assert {id_ for id_, _ in near(both, "one", 9)} == {"b", "c"}
    both.delete()
    assert near(both, "one", 9) == []
    assert both._companion.sample("text").shape[0] == 0


def test_the_sample_is_that_of_the_ledger_and_kept_until_it_changes(both, words, monkeypatch):
    monkeypatch.setattr(ledger_rows, "SAMPLE_SIZE", 5)
    both.add_texts([f"word{n} text" for n in range(20)] + [" "], ids=[f"r{n}" for n in range(20)] + ["blank"])
    ids = both._ledger.statistics()["text"].ids
    sample = both._companion.sample("text")
    texts = [document.page_content for document in both.get_by_ids([id_ for id_ in ids if id_ != "blank"])]
    expected = {tuple(np.round(unit(words.embed_query(text)), 5)) for text in texts}
    assert {tuple(np.round(row, 5).tolist()) for row in sample.astype(float)} == expected
    assert both._companion.sample("text") is sample
    both.add_texts(["other"], ids=[ids[0] if ids[0] != "blank" else ids[1]])
    assert both._companion.sample("text") is not sample


def test_another_embedding_is_refused_before_anything_is_written(tmp_path, words):
    open_at(tmp_path, words).add_texts(["one"], ids=["a"])
    other = open_at(tmp_path, WordEmbeddings("words:v2"))
    with pytest.raises(EmbeddingMismatchError, match=r"words:v1.*words:v2.*rebuild_index"):
        near(other, "one", 1)
    with pytest.raises(EmbeddingMismatchError, match=r"passages\.text"):
        other.add_texts(["two"], ids=["b"])
    assert other.get()["ids"] == ["a"]
    with pytest.raises(EmbeddingMismatchError):
        other.rebuild_index()


def test_a_failing_embedding_leaves_the_store_as_it_was(both, words, monkeypatch):
    both.add_texts(["one"], ids=["a"])

    def fail(texts):
        raise RuntimeError("no credit left")

    with monkeypatch.context() as patch:
        patch.setattr(words, "embed_documents", fail)
        with pytest.raises(RuntimeError, match="no credit"):
            both.add_texts(["two", "three"], ids=["a", "b"])
    assert both.get_by_ids(["a", "b"])[0].page_content == "one"
    assert_in_step(both, words)


def test_a_collection_filled_without_says_what_to_do_and_does_it_when_told(tmp_path, words, monkeypatch):
    open_at(tmp_path).add_texts([f"text {n}" for n in range(6)])
    monkeypatch.setattr(companion_module, "_FEW", 5)
    store = open_at(tmp_path, words)
    with pytest.raises(StoreError, match=r"6 of 6 texts.*rebuild_index"):
        near(store, "text", 3)
    assert words.embedded == []
    store.rebuild_index()
    assert len(words.embedded) == 6
    assert_in_step(store, words)
    assert len(near(store, "text", 3)) == 3
    store.rebuild_index()
    assert len(words.embedded) == 6


def test_a_few_missing_ones_are_made_by_the_way(tmp_path, words):
    open_at(tmp_path).add_texts(["one", "two"], ids=["a", "b"])
    store = open_at(tmp_path, words)
    assert near(store, "two", 1)[0][0] == "b"
    assert_in_step(store, words)


def test_a_store_opened_without_the_embedding_leaves_no_vector_of_an_old_text(tmp_path, words):
    open_at(tmp_path, words).add_texts(["one", "two", "three"], ids=[*"abc"])
    without = open_at(tmp_path)
    without.add_texts(["one anew", "four"], ids=["a", "d"])
    without.delete(["b"])
    assert set(without._companion.vectors([*"abcd"])) == {"c"}
    with pytest.raises(StoreError, match="needs a text_embedding"):
        without._companion.query("one")
    store = open_at(tmp_path, words)
    assert [id_ for id_, _ in near(store, "anew", 1)] == ["a"]
    assert_in_step(store, words)


def test_a_search_in_the_middle_of_a_write_leaves_no_vector_of_an_old_text(open_store, words, monkeypatch):
    embedding = CountingEmbeddings(show_progress=False)
    store = open_store(embedding, text_embedding=words)
    without = MultimodalChroma(store._collection_name, embedding)
    store.add_texts(["one", "two"], ids=["a", "b"])
    writing = without._upsert

    def searched_meanwhile(rows):
        near(store, "one", 1)
        writing(rows)

    monkeypatch.setattr(without, "_upsert", searched_meanwhile)
    without.add_texts(["one anew"], ids=["a"])
    assert_in_step(near(store, "anew", 1) and store, words)


def test_what_is_written_while_a_search_embeds_keeps_its_own_vector(open_store, words, monkeypatch):
    embedding = CountingEmbeddings(show_progress=False)
    store = open_store(embedding, text_embedding=words)
    without = MultimodalChroma(store._collection_name, embedding)
    without.add_texts(["one", "two"], ids=["a", "b"])
    embedding_texts = words.embed_documents

    def written_meanwhile(texts):
        monkeypatch.setattr(words, "embed_documents", embedding_texts)
        without.add_texts(["one anew"], ids=["a"])
        return embedding_texts(texts)

    monkeypatch.setattr(words, "embed_documents", written_meanwhile)
    near(store, "two", 1)
    assert_in_step(near(store, "anew", 1) and store, words)


@pytest.mark.parametrize("search", ["vector", "hybrid", "text"])
def test_a_search_looks_for_what_is_missing_once(both, monkeypatch, search):
    both.add_texts(["a red boat", "a blue sea"], ids=["a", "b"])
    asked = Query(text="red", not_text="sea") if search == "text" else "red"
    assert both.search_ranked(asked, 1, search=search)[0][0].id == "a"
    calls = []
    for owner, name in ((both._companion, "catch_up"), (both._client, "get_collection")):
        call = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _c=call, _n=name, **k: calls.append(_n) or _c(*a, **k))
    assert both.search_ranked(asked, 1, search=search)[0][0].id == "a"
    assert calls == ["catch_up", "get_collection"]


def test_a_count_of_a_while_ago_costs_no_vector_of_another_store(open_store, words):
    embedding = CountingEmbeddings(show_progress=False)
    store = open_store(embedding, text_embedding=words)
    other = MultimodalChroma(store._collection_name, embedding, text_embedding=words)
    store.add_texts(["one", "two"], ids=["a", "b"])
    near(store, "one", 1)
    other.add_texts(["three"], ids=["c"])
    embedded = len(words.embedded)
    assert store._companion.catch_up(2).count == 3
    assert_in_step(store, words)
    assert len(words.embedded) == embedded


def test_what_another_program_did_is_made_good(tmp_path, words):
    store = open_at(tmp_path, words)
    store.add_texts(["one", "two", "three"], ids=[*"abc"])
    other = Chroma("passages", CountingEmbeddings(show_progress=False), str(tmp_path))
    other.delete(["b"])
    assert {id_ for id_, _ in near(store, "one", 9)} == {"a", "c"}
    other.add_texts(["changed", "four"], ids=["a", "d"])
    store.rebuild_index()
    assert_in_step(store, words)
    assert words.embedded == ["one", "two", "three", "changed", "four"]


def test_it_is_deleted_and_reset_with_its_collection(tmp_path, words):
    store = open_at(tmp_path, words)
    store.add_texts(["one"], ids=["a"])
    names = {collection.name for collection in store._client.list_collections()}
    assert names == {"passages", "passages.text"}
    store.reset_collection()
    assert {collection.name for collection in store._client.list_collections()} == {"passages"}
    store.add_texts(["two"], ids=["b"])
    assert_in_step(store, words)
    open_at(tmp_path).delete_collection()
    assert store._client.list_collections() == []


def test_without_a_text_embedding_there_is_no_second_collection(store):
    store.add_texts(["one"], ids=["a"])
    store.delete(["a"])
    assert not store._companion.is_used
    assert store._companion._existing() is None


CRASH = """
import os, signal, sys
from tests.unit_tests.test_companion import WordEmbeddings, open_at
store = open_at(sys.argv[1], WordEmbeddings())
if sys.argv[2] == "before":
    store._upsert = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
else:
    store._companion._put = lambda vectors: os.kill(os.getpid(), signal.SIGKILL)
store.add_texts(["two anew", "four"], ids=["b", "d"])
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_between_the_two_collections_leaves_no_wrong_vector(tmp_path, words, moment):
    open_at(tmp_path, words).add_texts(["one", "two", "three"], ids=[*"abc"])
    done = subprocess.run([sys.executable, "-c", CRASH, tmp_path, moment], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    store = open_at(tmp_path, words)
    assert set(store._companion.vectors([*"abcd"])) == {"a", "c"}
    assert near(store, "two", 1)[0][0] == "b"
    assert_in_step(store, words)
    assert set(store.get()["ids"]) == ({*"abc"} if moment == "before" else {*"abcd"})
