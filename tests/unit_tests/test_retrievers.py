import json
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers import BaseTracer
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from langchain_mmrag.vectorstores import MultimodalChroma


@pytest.fixture
def store(counting_embeddings, sample_images):
    store = MultimodalChroma(f"retriever-{uuid4()}", counting_embeddings)
    for name in ("red", "green", "blue"):
        store.add_images([sample_images[name]], [{"name": name}], ids=[f"{name} picture"])
        store.add_texts([f"{name} words"], [{"name": name}], ids=[f"{name} text"])
    yield store
    store.delete_collection()


@pytest.fixture
def retriever(store):
    return MultimodalRetriever(store=store, k=2)


def ids(documents):
    return {document.id for document in documents}


def test_text_finds_its_passage_and_its_picture(retriever):
    assert ids(retriever.invoke("red")) == {"red text", "red picture"}


@pytest.mark.parametrize("form", ["Query", "mapping"])
def test_a_picture_finds_its_look_alike_and_its_passage(retriever, sample_images, form):
    parts = {"image": sample_images["blue"].read_bytes()}
    query = Query(**parts) if form == "Query" else parts
    assert ids(retriever.invoke(query)) == {"blue text", "blue picture"}


def test_text_and_picture_together(retriever, sample_images):
    query = {"text": "green", "image": str(sample_images["red"]), "modality": "image"}
    assert ids(retriever.invoke(query, k=1)) == {"green picture"}


def test_settings_hold_until_a_call_has_its_own(store):
    retriever = MultimodalRetriever(store=store, k=1, modality="image", filter={"name": "red"}, rank="raw")
    assert ids(retriever.invoke("blue")) == {"red picture"}
    assert ids(retriever.invoke("blue", filter={"name": "blue"})) == {"blue picture"}
    assert ids(retriever.invoke("blue", modality="text")) == {"red text"}
    assert ids(retriever.invoke(Query(text="blue", modality="text"))) == {"red text"}
    every = retriever.invoke("blue green red", k=9, filter={"name": {"$ne": "nobody"}}, rank="calibrated")
    assert ids(every) == {"red picture", "green picture", "blue picture"}


async def test_it_works_without_blocking(retriever, sample_images):
    assert ids(await retriever.ainvoke("red")) == {"red text", "red picture"}
    assert len(await retriever.ainvoke(Query(image=sample_images["red"]), k=5)) == 5


def test_it_is_a_part_of_a_chain(retriever):
    chain = {"context": retriever, "question": RunnablePassthrough()} | RunnableLambda(
        lambda state: (state["question"], ids(state["context"]))
    )
    assert chain.invoke("red") == ("red", {"red text", "red picture"})
    assert chain.batch(["red", "blue"])[1] == ("blue", {"blue text", "blue picture"})
    assert ids((RunnableLambda(lambda _: Query(text="red")) | retriever).invoke(None)) == {
        "red text",
        "red picture",
    }


@pytest.mark.parametrize("k", [0, -1, "many"])
def test_a_k_that_is_no_number_of_documents_is_refused(store, retriever, k):
    with pytest.raises(ValidationError):
        MultimodalRetriever(store=store, k=k)
    with pytest.raises(ValueError, match="k must be a whole number"):
        retriever.invoke("red", k=k)


@pytest.mark.parametrize("setting", [{"modality": "smell"}, {"rank": "best"}])
def test_settings_nobody_knows_are_refused(store, retriever, setting):
    with pytest.raises(ValidationError):
        MultimodalRetriever(store=store, **setting)
    with pytest.raises(ValueError, match=next(iter(setting.values()))):
        retriever.invoke("red", **setting)


def test_a_store_that_cannot_rank_is_refused_with_what_to_do(counting_embeddings):
    with pytest.raises(ValidationError, match=r"InMemoryVectorStore has no search_ranked.*as_retriever"):
        MultimodalRetriever(store=InMemoryVectorStore(counting_embeddings))


def test_any_store_that_can_rank_will_do():
    class Store:
        def search_ranked(self, query, k, condition, *, modality, rank):
            return [(Document(f"{query.text} {k} {condition} {modality} {rank}"), 1.0)]

    (found,) = MultimodalRetriever(store=Store()).invoke("red")
    assert found.page_content == "red 4 None None None"


class ListeningStore:
    """A store that can rank and keeps what it was asked."""

    def search_ranked(self, query, k, condition, **options):
        self.query, self.options = query, options
        return []


def test_settings_of_the_search_are_passed_on_where_they_are_set():
    store = ListeningStore()
    retriever = MultimodalRetriever(store=store, search="hybrid", score_threshold=0.5)
    retriever.invoke("red")
    plain = {"modality": None, "rank": None}
    assert store.options == {**plain, "search": "hybrid", "score_threshold": 0.5}
    retriever.invoke("red", search="keyword", collapse="none", score_threshold=0.0, rank="rrf")
    assert store.options == {
        **plain,
        "rank": "rrf",
        "search": "keyword",
        "collapse": "none",
        "score_threshold": 0.0,
    }


def test_a_call_may_say_what_is_not_wanted():
    store = ListeningStore()
    retriever = MultimodalRetriever(store=store)
    retriever.invoke("red", not_text="big")
    assert store.query == Query(text="red", not_text="big")
    retriever.bind(not_text="big").invoke({"text": "red", "weights": {"text": 2}, "modality": "image"})
    assert store.query == Query(text="red", not_text="big", weights={"text": 2}, modality="image")
    with pytest.raises(ValueError, match="wanted and not wanted"):
        retriever.invoke("red", not_text="red")


@pytest.mark.parametrize(
    "setting", [{"search": "deep"}, {"collapse": "all"}, {"score_threshold": 1.5}, {"score_threshold": -1}]
)
def test_settings_of_the_search_nobody_knows_are_refused(store, setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        MultimodalRetriever(store=store, **setting)


@pytest.mark.parametrize("name", ["search_type", "search_kwargs"])
async def test_settings_of_langchains_own_retriever_are_explained(store, retriever, name):
    says = f"takes no {name}: give k, .*store.as_retriever"
    with pytest.raises(ValueError, match=says):
        MultimodalRetriever(store=store, **{name: {"k": 2}})
    with pytest.raises(ValueError, match=says):
        retriever.invoke("red", **{name: {"k": 2}})
    with pytest.raises(ValueError, match=says):
        await retriever.ainvoke("red", **{name: {"k": 2}})


async def test_langchains_own_retriever_takes_a_threshold(store):
    options = {"k": 6, "score_threshold": 0.9}
    strict = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options)
    assert ids(strict.invoke("red words")) == {"red text"}
    assert ids(await strict.ainvoke("red words")) == {"red text"}


class Recorder(BaseTracer):
    """Keeps what a tracer would send away."""

    run_inline = True

    def _persist_run(self, run):
        self.run = run


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_traces_are_told_of_a_picture_but_not_sent_it(retriever, sample_images, asynchronous):
    data = sample_images["noise"].read_bytes()
    recorder, query = Recorder(), Query(text="red", image=data)
    config = {"callbacks": [recorder]}
    if asynchronous:
        await retriever.ainvoke(query, config)
    else:
        retriever.invoke(query, config)
    told = recorder.run.inputs["query"]
    assert told == f"Query(text='red', image=<bytes ({len(data)})>)"
    assert json.dumps(told) == json.dumps(str(told))
    metadata = recorder.run.extra["metadata"]
    assert metadata["ls_vector_store_provider"] == "MultimodalChroma"
    assert metadata["ls_embedding_provider"] == "CountingEmbeddings"
    retriever.invoke(Query(text="red", modality="text"), config)
    assert recorder.run.inputs["query"] == "red"
    retriever.invoke(Query(text="red", not_text="big"), config)
    assert recorder.run.inputs["query"] == "Query(text='red', not_text='big')"
