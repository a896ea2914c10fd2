"""One test for each defect of `langchain_chroma.Chroma` 1.1.0 that must not show through `MultimodalChroma`."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_mmrag.errors import (
    EmbeddingMismatchError,
    StoreError,
    UnsafeSourceError,
    UnsupportedModalityError,
)
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.vectorstores import MultimodalChroma


class Vectors(Embeddings):
    """Embeds the text "0.6 0.8" as the unit vector of these numbers; `embed_query` likewise."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        vector = np.array([float(number) for number in text.split()])
        return (vector / np.linalg.norm(vector)).tolist()


class ArrayVectors(Vectors):
    def embed_documents(self, texts):
        return np.array(super().embed_documents(texts))


def test_01_search_by_image_with_relevance_score_gives_scores(store, sample_images):
    store.add_images([sample_images["red"], sample_images["blue"]], ids=["red", "blue"])
    found = store.similarity_search_by_image_with_relevance_score(str(sample_images["red"]), k=2)
    # The vectors are (1, 0, 0, -.5) and (0, 0, 1, -.5), of length 1.118: pictures in general are as near as blue.
    assert [(document.id, round(score, 4)) for document, score in found] == [("red", 1.0), ("blue", 0.0)]


def test_02_mmr_keeps_the_order_in_which_documents_were_picked(open_store):
    vectors = np.random.default_rng(4).normal(size=(16, 8)) + 1.0
    texts = [" ".join(map(str, vector)) for vector in vectors]
    store = open_store(Vectors())
    store.add_texts(texts, ids=[str(place) for place in range(16)])
    query = vectors[3] + 0.5 * vectors[7]
    picked = maximal_marginal_relevance(query, list(vectors), lambda_mult=0.3, k=6)
    by_cosine = sorted(picked, key=lambda place: -(vectors[place] @ query / np.linalg.norm(vectors[place])))
    assert picked != by_cosine, "the example does not tell the two orders apart"
    expected = [str(place) for place in picked]
    by_vector = store.max_marginal_relevance_search_by_vector(
        query.tolist(), k=6, fetch_k=16, lambda_mult=0.3
    )
    by_query = store.max_marginal_relevance_search(
        " ".join(map(str, query)), k=6, fetch_k=16, lambda_mult=0.3
    )
    assert [document.id for document in by_vector] == expected
    assert [document.id for document in by_query] == expected


def test_02_mmr_does_not_mistake_documents_when_one_has_no_text(open_store):
    store = open_store(Vectors())
    store.add_texts(["1 0", "0 1"], ids=["right", "up"])
    store._collection.upsert(ids=["no text"], embeddings=[[0.9, 0.1]])
    found = store.max_marginal_relevance_search_by_vector([1.0, 0.0], k=3, lambda_mult=1.0)
    assert [document.id for document in found] == ["right", "no text", "up"]


def test_02_mmr_passes_its_options_on(store):
    store.add_texts(["red one", "red two"], [{"n": 1}, {"n": 2}])
    found = store.max_marginal_relevance_search("red", where_document={"$contains": "two"})
    assert [document.page_content for document in found] == ["red two"]
    assert store.max_marginal_relevance_search("red", modality="image") == []


def test_03_get_by_ids_takes_documents_without_metadata(store):
    store.add_texts(["red"], ids=["1"])
    assert store.get_by_ids(["1"]) == [Document(id="1", page_content="red", metadata={})]


def test_04_no_ids_are_no_error_and_none_means_all(store):
    store.add_texts(["red", "blue", "green"], ids=["1", "2", "3"])
    assert store.get_by_ids([]) == []
    store.delete([])
    assert store._collection.count() == 3
    store.delete(where={"never": "there"})
    assert store._collection.count() == 3
    store.delete(["3", "nobody"])
    assert store._collection.count() == 2
    store.delete()
    assert store._collection.count() == 0


def test_05_a_replaced_document_keeps_nothing_of_its_old_metadata(store, sample_images):
    store.add_images([sample_images["red"]], [{"album": "summer"}], ids=["1"])
    store.add_texts(["red"], [{"page": 3}], ids=["1"])
    assert store.get_by_ids(["1"]) == [Document(id="1", page_content="red", metadata={"page": 3})]
    store.add_texts(["red"], ids=["1"])
    assert store.get_by_ids(["1"]) == [Document(id="1", page_content="red", metadata={})]


def test_06_update_documents_replaces_metadata_and_embeds_pictures(store, sample_images):
    store.add_texts(["red", "green"], [{"a": 1, "b": 2}, {"a": 1}], ids=["1", "2"])
    picture = {"modality": "image", "source": str(sample_images["blue"])}
    documents = [Document("", metadata=picture), Document("green words")]
    store.update_documents(["1", "2"], documents)
    first, second = store.get_by_ids(["1", "2"])
    assert first.metadata.items() >= picture.items()
    assert not {"a", "b"} & first.metadata.keys()
    assert second == Document(id="2", page_content="green words", metadata={})
    assert store.similarity_search_by_image(sample_images["blue"], k=1, modality="image")[0].id == "1"
    store.update_document("2", Document("changed", metadata={"c": 1}))
    assert store.get_by_ids(["2"]) == [Document(id="2", page_content="changed", metadata={"c": 1})]


def test_07_texts_and_documents_may_come_from_a_generator(store):
    assert len(store.add_texts(text for text in ("red", "green"))) == 2
    assert len(store.add_documents(Document(text) for text in ("blue", "white"))) == 2
    assert {d.page_content for d in store.similarity_search("red", k=9)} == {"red", "green", "blue", "white"}


def test_08_adding_nothing_adds_nothing(store):
    assert store.add_texts([]) == []
    assert store.add_documents([]) == []
    assert store.add_images([]) == []
    assert store.update_documents([], []) is None
    assert store._collection.count() == 0


@pytest.mark.parametrize("extra", [0, 1])
def test_09_more_documents_than_chroma_takes_at_once_are_added(store, extra):
    most = store._client.get_max_batch_size()
    ids = store.add_texts([f"red {number}" for number in range(most + extra)])
    assert len(set(ids)) == store._collection.count() == most + extra
    assert len(store.get_by_ids(ids)) == most + extra
    store.delete(ids)
    assert store._collection.count() == 0


def test_10_of_documents_with_one_id_the_last_wins(store):
    documents = ["red", "green", "blue"]
    assert store.add_texts(documents, [{"n": 1}, {"n": 2}, {"n": 3}], ids=["a", "b", "a"]) == ["a", "b", "a"]
    assert store.get_by_ids(["a", "b"]) == [
        Document(id="a", page_content="blue", metadata={"n": 3}),
        Document(id="b", page_content="green", metadata={"n": 2}),
    ]


@pytest.mark.parametrize("columns", [{"metadatas": [{}, {}]}, {"metadatas": []}, {"ids": ["1", "2"]}])
def test_11_columns_of_different_lengths_are_refused(store, columns):
    with pytest.raises(ValueError, match="for 1 documents"):
        store.add_texts(["red"], **columns)


def test_12_numpy_vectors_go_with_metadata_on_some_documents_only(open_store):
    store = open_store(ArrayVectors())
    store.add_texts(["1 0", "0 1"], [{}, {"page": 1}], ids=["1", "2"])
    assert [document.metadata for document in store.get_by_ids(["1", "2"])] == [{}, {"page": 1}]


def test_13_rows_without_text_are_found(store):
    store._collection.upsert(ids=["bare"], embeddings=[[1.0] + [0.0] * 15])
    assert store.similarity_search("red") == [Document(id="bare", page_content="", metadata={})]
    assert store.get_by_ids(["bare"]) == [Document(id="bare", page_content="", metadata={})]


def test_13_what_this_store_writes_always_has_a_text(store, sample_images):
    store.add_images([sample_images["red"]])
    assert store._collection.get()["documents"] == [""]


def test_14_without_an_embedding_nothing_is_made_up():
    with pytest.raises(ValueError, match="needs an embedding_function"):
        MultimodalChroma("anything")


def test_14_an_embedding_of_text_refuses_a_picture_and_nothing_is_written(open_store, sample_images):
    store = open_store(DeterministicFakeEmbedding(size=6))
    with pytest.raises(UnsupportedModalityError, match=r"DeterministicFakeEmbedding .*red\.png"):
        store.add_images([sample_images["red"]])
    assert store._collection.count() == 0
    store.add_texts(["words"])
    with pytest.raises(UnsupportedModalityError, match="text only"):
        store.similarity_search_by_image(sample_images["red"])


COSINES = ["0.25 0.9682458366", "0.35 0.9367496998", "0.8 0.6"]


@pytest.mark.parametrize("space", [None, "cosine", "l2", "ip"])
def test_15_relevance_is_the_cosine_whatever_the_space(open_store, space):
    options = {} if space is None else {"collection_configuration": {"hnsw": {"space": space}}}
    store = open_store(Vectors(), **options)
    assert store._collection.configuration_json["hnsw"]["space"] == (space or "cosine")
    store.add_texts([*COSINES, "-1 0"])
    found = store.similarity_search_with_relevance_scores("1 0", k=4)
    assert [round(score, 5) for _, score in found] == [0.8, 0.35, 0.25, 0.0]


def test_15_a_collection_that_exists_keeps_its_space_and_is_scored_by_it():
    name = f"defects-{uuid4()}"
    Chroma(name, Vectors()).add_texts(COSINES)  # l2: that is Chroma's default
    store = MultimodalChroma(name, Vectors(), collection_configuration={"hnsw": {"space": "cosine"}})
    found = store.similarity_search_with_relevance_scores("1 0", k=3)
    assert [round(score, 5) for _, score in found] == [0.8, 0.35, 0.25]
    assert store.similarity_search_with_score("1 0", k=1)[0][1] == pytest.approx(2 - 2 * 0.8, abs=1e-5)
    store.delete_collection()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"a": 1, "b": 2}, {"one"}),
        ({}, {"one", "two", "three"}),
        (None, {"one", "two", "three"}),
        ({"a": {"$gte": 1, "$lt": 3}}, {"one", "two"}),
        ({"$or": [{"a": 1, "b": 2}, {"a": 3}]}, {"one", "three"}),
        ({"$and": [{"a": 1}], "b": 2}, {"one"}),
    ],
)
def test_16_filters_may_have_several_keys_or_none(store, condition, expected):
    store.add_texts(["one", "two", "three"], [{"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 3, "b": 3}])
    searches = (
        store.similarity_search,
        store.max_marginal_relevance_search,
        lambda *args, **kwargs: [d for d, _ in store.similarity_search_with_score(*args, **kwargs)],
        lambda *args, **kwargs: [d for d, _ in store.similarity_search_with_vectors(*args, **kwargs)],
    )
    for search in searches:
        assert {document.page_content for document in search("red", filter=condition)} == expected


def test_17_metadata_is_converted_where_that_is_safe(store, tmp_path):
    metadata = {"path": tmp_path, "n": np.int64(3), "x": np.float32(0.5), "tags": ("a", "b"), "none": None}
    (id_,) = store.add_texts(["red"], [metadata])
    assert store.get_by_ids([id_])[0].metadata == {
        "path": str(tmp_path),
        "n": 3,
        "x": 0.5,
        "tags": ["a", "b"],
    }
    assert metadata["tags"] == ("a", "b")


@pytest.mark.parametrize("value", [{"deep": 1}, b"bytes", [], [1, "two"], [["nested"]], {1, 2}])
def test_17_metadata_that_cannot_be_stored_is_named_and_nothing_is_written(store, value):
    with pytest.raises(ValueError, match=r"document 1: metadata\['odd'\]"):
        store.add_texts(["red", "green"], [{}, {"odd": value}])
    assert store._collection.count() == 0


@pytest.mark.parametrize("k", [0, -1, 1.5, True, None])
def test_18_a_k_that_is_no_number_of_documents_is_refused(store, k):
    store.add_texts(["red"])
    for search in (
        store.similarity_search,
        store.similarity_search_with_score,
        store.max_marginal_relevance_search,
    ):
        with pytest.raises(ValueError, match="k must be a whole number"):
            search("red", k=k)


def test_18_a_k_above_the_number_of_documents_gives_them_all(store):
    store.add_texts(["red", "green"])
    assert len(store.similarity_search("red", k=50)) == 2


def test_18_vectors_of_another_length_are_refused_with_both_names(tmp_path):
    made_with, other = DeterministicFakeEmbedding(size=6), DeterministicFakeEmbedding(size=8)
    MultimodalChroma("lengths", made_with, persist_directory=tmp_path).add_texts(["red"])
    store = MultimodalChroma("lengths", other, persist_directory=tmp_path)
    with pytest.raises(EmbeddingMismatchError, match=r"'lengths'.*6 numbers.*8 numbers"):
        store.similarity_search("red")
    with pytest.raises(EmbeddingMismatchError, match=r"6 numbers.*8 numbers"):
        store.add_texts(["green"])
    with pytest.raises(EmbeddingMismatchError, match="7 numbers"):
        store.similarity_search_by_vector([0.0] * 7)
    assert store._collection.count() == 1


def test_19_fork_says_that_only_the_cloud_can(store):
    with pytest.raises(StoreError, match="only Chroma Cloud"):
        store.fork("copy")


def test_19_a_fork_is_a_store_of_the_same_kind(store, monkeypatch, counting_embeddings):
    name = f"defects-{uuid4()}"

    def fork(_, new_name):  # what Chroma Cloud does on its servers
        return store._client.create_collection(new_name, embedding_function=None)

    monkeypatch.setattr(chromadb.Collection, "fork", fork)
    forked = store.fork(name)
    assert type(forked) is MultimodalChroma
    assert forked.embeddings is counting_embeddings
    assert forked._collection.name == name
    forked.delete_collection()


def test_20_stores_in_memory_of_one_name_are_one_and_guarded_as_one(open_store, counting_embeddings):
    store = open_store(counting_embeddings)
    store.add_texts(["red"])
    assert open_store(counting_embeddings).similarity_search("red") == []
    same = MultimodalChroma(store._collection_name, counting_embeddings)
    assert len(same.similarity_search("red")) == 1
    with pytest.raises(EmbeddingMismatchError):
        MultimodalChroma(store._collection_name, Vectors()).similarity_search("1 0")


def test_21_many_threads_may_add_and_search_at_once(store, sample_images):
    def work(number):
        store.add_texts([f"green {number}"], [{"n": number}])
        store.add_images([sample_images["red"]], [{"n": number}], ids=[f"picture {number}"])
        return len(store.similarity_search("red", k=3))

    with ThreadPoolExecutor(8) as pool:
        assert all(found >= 2 for found in pool.map(work, range(24)))
    assert store._collection.count() == 48
    assert len(store.similarity_search("red", k=100)) == 48


def test_22_a_picture_outside_the_roots_is_neither_added_nor_asked_with(
    open_store, counting_embeddings, tmp_path, sample_images, monkeypatch
):
    inside = tmp_path / "inside"
    inside.mkdir()
    sample_images["red"].rename(inside / "red.png")
    (inside / "link.png").symlink_to(sample_images["green"])
    monkeypatch.chdir(inside)
    store = open_store(counting_embeddings, media_policy=MediaPolicy(roots=(inside,)))
    store.add_images(["red.png"])
    climbing = "../images/green.png"
    for outside in (climbing, str(sample_images["green"]), "link.png", sample_images["green"].as_uri()):
        with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
            store.add_images([outside])
        with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
            store.add_documents([Document("", metadata={"type": "image", "path": outside})])
        with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
            store.similarity_search_by_image(outside)
    assert store._collection.count() == 1


def test_23_a_document_holds_no_bytes_of_a_picture(store, sample_images):
    noise = sample_images["noise"]
    store.add_images([noise])
    store.add_images(blobs=[noise.read_bytes()])
    store.add_documents([Document("", metadata={"modality": "image", "source": str(noise)})])
    stored = store._collection.get(include=["documents", "metadatas", "uris"])
    assert set(stored["documents"]) == {""}
    assert max(len(str(metadata)) for metadata in stored["metadatas"]) < 600 < noise.stat().st_size


def test_24_where_a_picture_lies_is_in_the_metadata_that_langchain_sees(store, sample_images):
    store.add_images([sample_images["red"]])
    (document,) = store.similarity_search("red")
    assert document.metadata["source"] == str(sample_images["red"])
    assert store._collection.get(include=["uris"])["uris"] in (None, [None])


def test_25_lists_of_a_deleted_collection_do_not_come_back_on_rows_of_another(open_store, tmp_path):
    folder = str(tmp_path / "store")
    first = open_store(Vectors(), persist_directory=folder)
    first.add_texts(["1 0", "0 1"], [{"tags": ["a", "b"]}, {"tags": ["c"]}])
    first.reset_collection()
    first.add_texts(["0.6 0.8", "0.8 0.6"], [{"n": 1}, {"n": 2}])
    assert first.get()["metadatas"] == [{"n": 1}, {"n": 2}]
