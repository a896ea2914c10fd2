"""What a caller can get wrong is refused at the call, by name, and leaves the collection as it was."""

import re
from uuid import uuid4

import pytest
from chromadb import Collection
from chromadb.errors import InternalError
from langchain_core.documents import Document

from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.errors import EmbeddingMismatchError, StoreError
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.tools import create_search_tool
from langchain_mmrag.vectorstores import MultimodalChroma
from langchain_mmrag.zero_shot import ZeroShotClassifier

NAN = float("nan")


@pytest.fixture
def store(counting_embeddings):
    store = MultimodalChroma(f"inputs-{uuid4()}", counting_embeddings)
    store.add_texts(["red", "blue"], [{"colour": "red"}, {"colour": "blue"}], ["r", "b"])
    yield store
    store.delete_collection()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.add_images([None]), TypeError, "image 0 is None"),
        (lambda s: s.add_images(blobs=["red.png", None]), TypeError, "image 1 is None"),
        (lambda s: s.add_texts(["x"], ids="a"), TypeError, "list of ids, not one str"),
        (lambda s: s.add_texts(["x"], {"a": 1}), TypeError, "list of metadatas, not one dict"),
        (lambda s: s.add_texts(["x"], ["a"]), TypeError, "document 0: its metadata is a str"),
        (lambda s: s.add_images(["x.png"], captions="c"), TypeError, "list of captions, not one str"),
        (lambda s: s.add_documents(["a"]), TypeError, "document 0 is a str: a list of Document"),
        (lambda s: s.add_documents(Document("a")), TypeError, "list of Document, not one Document"),
        (lambda s: s.add_documents(None), TypeError, "list of Document, not None"),
        (lambda s: s.update_documents("r", [Document("a")]), TypeError, "list of ids, not one str"),
        (lambda s: s.get_by_ids("rb"), TypeError, "list of ids, not one str"),
        (lambda s: s.delete("rb"), TypeError, "list of ids, not one str"),
        (lambda s: s.add_texts(["x"], [{"a": NAN}]), ValueError, "document 0: metadata['a'] is nan"),
        (lambda s: s.add_texts(["x"], [{"a": [1.0, -NAN]}]), ValueError, "document 0: metadata['a'] is nan"),
        (lambda s: s.add_texts(["x"], [{"a": float("inf")}]), ValueError, "metadata['a'] is inf"),
        (lambda s: s.add_texts(["x"], [{"a": 2**63}]), ValueError, "metadata['a'] is 9223372036854775808"),
        (lambda s: s.add_texts(["x"], [{"a": "\ud83d"}]), ValueError, "metadata['a'] has a lone surrogate"),
        (lambda s: s.add_texts(["x"], [{"\ud83d": 1}]), ValueError, "metadata['\\ud83d'] has a lone surr"),
        (lambda s: s.add_texts(["x", "y\ud83d"]), ValueError, "document 1: its text has a lone surrogate"),
        (lambda s: s.similarity_search("x", filter="a"), TypeError, "filter is a str"),
        (lambda s: s.similarity_search("x", modalty="image"), TypeError, "takes no modalty: use k, filter"),
        (lambda s: s.similarity_search_by_vector([1.0], kk=1), TypeError, "takes no kk: use k, filter"),
        (lambda s: s.similarity_search(""), ValueError, "the query is empty, ''"),
        (lambda s: s.similarity_search_with_score(" \n"), ValueError, "the query is empty, ' \\n'"),
        (lambda s: s.search_ranked(Query(text="")), ValueError, "the query is empty, ''"),
        (lambda _: Query(image=""), ValueError, "the image of a Query is an empty str"),
        (lambda s: s.similarity_search_by_vector([NAN]), ValueError, "shape (1,), with NaN or infinity"),
        (lambda s: s.similarity_search_by_vector([[1.0]]), ValueError, "shape (1, 1), which is no vector"),
        (lambda s: s.similarity_search_by_vector([1.0]), EmbeddingMismatchError, "1 numbers"),
        (lambda s: s.max_marginal_relevance_search("x", lambda_mult=2), ValueError, "lambda_mult must be"),
        (
            lambda s: s.max_marginal_relevance_search_by_vector([1.0], lambda_mult=NAN),
            ValueError,
            "lambda_mult must be from 0 (variety alone) to 1 (relevance alone), not nan",
        ),
        (lambda s: MultimodalRetriever(store=s, kk=3), ValueError, "kk"),
        (create_rag_chain, TypeError, "use store.as_retriever() or MultimodalRetriever(store=store)"),
        (create_search_tool, TypeError, "use store.as_retriever() or MultimodalRetriever(store=store)"),
        (lambda s: create_rag_chain(s.as_retriever(), "gpt"), TypeError, "use init_chat_model("),
        (lambda s: ZeroShotClassifier(s.embeddings, None), TypeError, "labels is None: give a list of str"),
        (lambda s: ZeroShotClassifier(s.embeddings, ["a", 1]), TypeError, "labels[1] is 1: give a list"),
    ],
)
def test_a_mistake_is_refused_by_name_and_changes_nothing(store, call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(store)
    assert sorted(store.get()["ids"]) == ["b", "r"]


@pytest.mark.parametrize("method", ["similarity_search", "max_marginal_relevance_search"])
def test_more_documents_than_any_number_chroma_knows_are_all_there_are(store, method):
    assert {found.id for found in getattr(store, method)("red", k=10**30)} == {"r", "b"}
    vector = store.embeddings.embed_query("red")
    assert {found.id for found in getattr(store, f"{method}_by_vector")(vector, k=10**30)} == {"r", "b"}


def test_what_chroma_takes_by_keyword_and_the_ends_of_its_numbers_still_pass(store):
    assert [f.id for f in store.similarity_search("x", where_document={"$contains": "blue"})] == ["b"]
    store.add_texts(["x"], [{"low": -(2**63), "high": 2**63 - 1}], ["x"])
    assert store.get_by_ids(["x"])[0].metadata == {"low": -(2**63), "high": 2**63 - 1}


def test_an_empty_text_beside_a_picture_is_a_question_of_the_picture_alone(store, sample_images):
    store.add_images([sample_images["red"], sample_images["blue"]])
    asked = Query(image=sample_images["blue"], text=" ")
    assert store.search_ranked(asked) == store.search_ranked(Query(image=sample_images["blue"]))


@pytest.mark.parametrize(
    ("broken", "call"),
    [
        ("query", lambda s: s.similarity_search("red", filter={"source": {"$ne": "elsewhere"}})),
        ("query", lambda s: s.similarity_search_with_score("red")),
        ("get", lambda s: s.similarity_search("red")),
        ("get", lambda s: s.get_by_ids(["r"])),
        ("get", lambda s: s.get()),
    ],
)
def test_a_collection_another_process_has_changed_says_so(store, monkeypatch, broken, call):
    store.similarity_search_with_score("red")  # so that the record of the embedding has been read

    def fail(*_, **__):
        msg = "Error executing plan: Internal error: Error finding id"
        raise InternalError(msg)

    monkeypatch.setattr(Collection, broken, fail)
    with pytest.raises(StoreError, match=r"Error finding id\): most likely another process has changed it"):
        call(store)
