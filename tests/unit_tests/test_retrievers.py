import json
import random
from uuid import uuid4

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers import BaseTracer
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from langchain_mmrag import OpenCLIPEmbeddings
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever, media_policy_of
from langchain_mmrag.training.render.palette import COLORS
from langchain_mmrag.training.render.shapes import ShapeCard, draw_card
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


FORMS = ("circle", "star", "heart", "ring")
ASKED = tuple(COLORS)[::3]


@pytest.fixture(scope="module")
def cards():
    """A retriever of cards with a shape in each of the colours, and of what is written on their backs."""
    store = MultimodalChroma(f"cards-{uuid4()}", OpenCLIPEmbeddings("mmrag-tiny", show_progress=False))
    rng = random.Random("cards")
    for form in FORMS:
        drawn = [ShapeCard(color, form, ground=ground_for(color)) for color in COLORS]
        facts = [{"form": form, "color": card.color} for card in drawn]
        store.add_images(blobs=[draw_card(rng, card, 128) for card in drawn], metadatas=facts)
        store.add_texts([card.text for card in drawn], facts)
    yield MultimodalRetriever(store=store, k=2 * len(FORMS) * len(COLORS))
    store.delete_collection()


def ground_for(color):
    return "black" if color == "white" else "white"


def place(documents, **wanted):
    """Where the first document with this metadata stands, as a share of all of them: 0 first, 1 last."""
    fits = [all(document.metadata[key] == wanted[key] for key in wanted) for document in documents]
    return fits.index(True) / (len(documents) - 1)


@pytest.mark.parametrize("modality", ["image", "text", None])
def test_what_is_not_wanted_moves_down_and_what_is_wanted_stays_up(cards, modality):
    before, after, kept = [], [], []
    for form in FORMS:
        for color in ASKED:
            of_form = {"modality": modality, "filter": {"form": form}}
            before.append(place(cards.invoke(form, **of_form), color=color))
            after.append(place(cards.invoke(form, not_text=color, **of_form), color=color))
            best = cards.invoke(form, not_text=color, modality=modality, k=5)
            kept += [found.metadata["form"] == form for found in best]
    assert np.mean(after) > np.mean(before) + 0.2
    assert np.mean(kept) > 0.7


def test_a_picture_of_what_is_not_wanted_moves_its_likes_down(cards):
    rng = random.Random("another hand")
    before, after = [], []
    for form in FORMS:
        for color in ASKED:
            unwanted = draw_card(rng, ShapeCard(color, form, ground=ground_for(color)), 128)
            before.append(place(cards.invoke(form, modality="image"), form=form, color=color))
            query = Query(text=form, not_image=unwanted, modality="image")
            after.append(place(cards.invoke(query), form=form, color=color))
    assert np.mean(after) > np.mean(before) + 0.25


def test_a_greater_weight_moves_what_is_not_wanted_further_down(cards):
    def mean_place(weight):
        weights = {"not_text": weight}
        queries = [Query(text="star", not_text=color, weights=weights) for color in ASKED]
        found = [place(cards.invoke(query), form="star", color=query.not_text) for query in queries]
        return np.mean(found)

    assert mean_place(0.1) < mean_place(0.5) < mean_place(1)


def test_a_picture_and_how_it_should_differ(cards):
    rng = random.Random("a third hand")
    both, words, look = [], [], []
    for color in ASKED:
        for form in FORMS:
            other = "red" if color != "red" else "blue"
            picture = draw_card(rng, ShapeCard(other, form), 128)
            asked = {"text": color, "image": picture, "modality": "image"}
            wanted = {"color": color, "form": form}
            both.append(place(cards.invoke(asked), **wanted))
            words.append(place(cards.invoke({**asked, "image": None}), **wanted))
            look.append(place(cards.invoke({**asked, "text": None}), **wanted))
    assert np.mean(both) < np.mean(words)
    assert np.mean(both) < np.mean(look)


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
def test_settings_of_the_search_nobody_knows_are_refused(store, retriever, setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        MultimodalRetriever(store=store, **setting)
    with pytest.raises(ValueError, match=next(iter(setting))):
        retriever.invoke("red", **setting)


def test_settings_of_the_search_hold_in_a_collection(store):
    retriever = MultimodalRetriever(store=store, k=6, score_threshold=0.5)
    assert ids(retriever.invoke("red words")) == {"red text", "red picture"}
    assert len(retriever.invoke("red words", score_threshold=0.0)) == 6
    worded = retriever.invoke("words", search="keyword", score_threshold=0.0)
    assert ids(worded) == {"red text", "green text", "blue text"}


@pytest.mark.parametrize("name", ["weights", "image", "top_k"])
async def test_settings_of_a_call_nobody_knows_are_answered_with_those_there_are(retriever, name):
    says = f"knows no {name} for a call: use k, modality, filter, rank, search, collapse, score_threshold, not_text"
    with pytest.raises(ValueError, match=says) as refused:
        retriever.invoke("red", **{name: {"text": 1}})
    assert ("image, not_image, weights belong into a Query" in str(refused.value)) == (name != "top_k")
    with pytest.raises(ValueError, match=says):
        await retriever.ainvoke("red", **{name: {"text": 1}})


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
    options = {"k": 6, "score_threshold": 0.5}
    strict = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options)
    assert ids(strict.invoke("red words")) == {"red text", "red picture"}
    assert ids(await strict.ainvoke("red words")) == {"red text", "red picture"}


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


def test_the_policy_of_a_store_is_found_behind_every_retriever_over_it(
    open_store, counting_embeddings, tmp_path
):
    policy = MediaPolicy(roots=(tmp_path,))
    store = open_store(counting_embeddings, media_policy=policy)
    multimodal = MultimodalRetriever(store=store)
    wrapped = ContextualCompressionRetriever(base_compressor=Nothing(), base_retriever=multimodal)
    for retriever in (multimodal, store.as_retriever(), wrapped):
        assert media_policy_of(retriever) == store.media_policy
    assert media_policy_of(None) == MediaPolicy()


class Nothing(BaseDocumentCompressor):
    """Leaves nothing."""

    def compress_documents(self, documents, query, callbacks=None):
        return []
