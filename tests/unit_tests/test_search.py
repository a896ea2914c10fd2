"""Search in real collections: which documents are found, in which order, with which scores."""

import threading
from functools import partial
from threading import Event

import chromadb
import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from langchain_mmrag import MultimodalChroma, MultimodalRetriever, Query
from langchain_mmrag._record import EmbeddingRecord
from langchain_mmrag._store import nearby, row_count
from langchain_mmrag._store import search as search_module
from langchain_mmrag._store.backgrounds import Sampled
from langchain_mmrag.errors import EmbeddingError, EmbeddingMismatchError
from langchain_mmrag.ranking import Background, Candidates, Part, Ranker, unit
from tests.unit_tests.clip_geometry import SIZE, Clip

RANKS = ("calibrated", "raw", "rrf", "centered")
MODES = ("vector", "hybrid", "keyword")


class Lookup(Embeddings):
    """Knows the vectors of some texts; of others it makes something up."""

    def __init__(self, vectors):
        self.vectors = vectors
        self.model_name = "lookup"

    def embed_query(self, text):
        if text not in self.vectors:
            self.vectors[text] = np.random.default_rng(sum(text.encode())).normal(size=SIZE)
        return np.asarray(self.vectors[text]).tolist()

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


def put(store, side, vectors, start=0, **metadata):
    """Rows of one side as another program writes them; picture n and passage n are of one item."""
    ids = [f"{side} {start + n}" for n in range(len(vectors))]
    modality = {"modality": "image", "source": "x.png"} if side == "image" else {}
    store._collection.add(
        ids=ids,
        embeddings=vectors.astype(np.float32).tolist(),
        documents=["" if side == "image" else f"passage {id_}" for id_ in ids],
        metadatas=[{"n": start + n, **modality, **metadata} for n in range(len(vectors))],
    )


@pytest.fixture(scope="module")
def world():
    return Clip(1000)


@pytest.fixture(scope="module")
def filled(world):
    """Collections of so many passages and pictures, of different items; not to be changed."""
    made = {}

    def fill(texts, images):
        if (texts, images) not in made:
            questions = {f"question {n}": vector for n, vector in enumerate(world.questions)}
            store = made[texts, images] = MultimodalChroma(f"filled-{texts}-{images}", Lookup(questions))
            put(store, "text", world.captions[:texts])
            put(store, "image", world.images[-images:], 1000 - images)
        return made[texts, images]

    yield fill
    for store in made.values():
        store.delete_collection()


@pytest.fixture
def queries(monkeypatch):
    """What is asked of Chroma's index from now on."""
    asked = []
    query = chromadb.Collection.query

    def told(self, *args, **kwargs):
        asked.append(kwargs)
        return query(self, *args, **kwargs)

    monkeypatch.setattr(chromadb.Collection, "query", told)
    return asked


@pytest.fixture
def tilting(monkeypatch):
    """Collections of any size are searched as large ones are: without filters, by the index."""
    monkeypatch.setattr(nearby, "FILTERED_BELOW", 0)
    monkeypatch.setattr(Sampled, "is_whole", False)


def listed(found):
    return [(document.id, score) for document, score in found]


def ids(found):
    return [document.id for document in found]


def of_all(store, query, rank, k=10):
    """The best by ranking every document of a collection, without an index."""
    rows = store._collection.get(include=["embeddings", "metadatas"])
    sides = ["image" if metadata.get("modality") == "image" else "text" for metadata in rows["metadatas"]]
    samples = store._ledger.statistics()
    backgrounds, candidates, names = {}, {}, {}
    for side, sample in samples.items():
        backgrounds[side] = Background(sample.count, unit(sample.vectors))
        places = {id_: place for place, id_ in enumerate(sample.ids)}
        chosen = [n for n, of in enumerate(sides) if of == side]
        names[side] = [rows["ids"][n] for n in chosen]
        candidates[side] = Candidates(
            unit(np.array(rows["embeddings"])[chosen]), np.array([places.get(id_, -1) for id_ in names[side]])
        )
    scores = Ranker([Part("text", query)], backgrounds, tuple(backgrounds), rank).scores(candidates)
    pairs = [pair for side in scores for pair in zip(names[side], scores[side].tolist(), strict=True)]
    return sorted(pairs, key=lambda pair: -pair[1])[:k]


def missing(found, expected):
    """How many documents are not found: Chroma's index may lose one. Where none is, scores agree, and the best."""
    lost = {id_ for id_, _ in expected} - {id_ for id_, _ in found}
    if not lost:
        # Of those farther down one that is lost moves the others up, as scores are given out by place.
        assert found[0] == (expected[0][0], pytest.approx(expected[0][1], abs=1e-3))
    return len(lost)


# --- which are found ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(200, 200), (950, 50)])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("way", ["tilted", "filtered", "exact"])
def test_the_best_of_all_documents_are_found(filled, world, sizes, rank, way, monkeypatch):  # noqa: PLR0917
    monkeypatch.setattr(nearby, "FILTERED_BELOW", 0 if way == "tilted" else 10**9)
    monkeypatch.setattr(Sampled, "is_whole", Sampled.is_whole if way == "exact" else False)
    store = filled(*sizes)
    lost = [
        missing(
            listed(store.search_ranked(f"question {item}", 10, rank=rank)),
            of_all(store, world.questions[item], rank),
        )
        for item in (3, 150, 960)
    ]
    assert sum(lost) <= 2


@pytest.mark.parametrize("sizes", [(200, 200), (950, 50)])
@pytest.mark.parametrize("modality", [None, "image", "text"])
def test_without_filters_the_answers_are_the_same(filled, sizes, modality, monkeypatch, queries):
    store = filled(*sizes)
    monkeypatch.setattr(Sampled, "is_whole", False)
    lost = 0
    for item in range(940, 980, 8):
        answers = {}
        for way, most in (("filtered", 10**9), ("tilted", 0)):
            monkeypatch.setattr(nearby, "FILTERED_BELOW", most)
            queries.clear()
            answers[way] = listed(store.search_ranked(f"question {item}", 10, modality=modality))
            assert len(queries) > 0
            assert [query["where"] is None for query in queries] == [way == "tilted"] * len(queries)
        lost += missing(answers["tilted"], answers["filtered"])
    assert lost <= 2


@pytest.fixture(scope="module")
def mixed(world):
    """Passages, some tables and a few recordings on the side of texts, and pictures; not to be changed."""
    questions = {f"question {n}": vector for n, vector in enumerate(world.questions)}
    store = MultimodalChroma("mixed", Lookup(questions))
    put(store, "text", world.captions[:500])
    put(store, "text", world.captions[500:700], 500, modality="table")
    put(store, "text", world.captions[700:706], 700, modality="audio")
    put(store, "image", world.images[706:], 706)
    yield store
    store.delete_collection()


@pytest.mark.parametrize("modality", ["text", "table", "audio"])
@pytest.mark.parametrize("scanned", [0, 5000])
def test_a_modality_that_shares_a_side_needs_no_filter(mixed, modality, scanned, monkeypatch, queries):
    monkeypatch.setattr(Sampled, "is_whole", False)
    monkeypatch.setattr(nearby, "_SCANNED", scanned)
    monkeypatch.setattr(nearby, "_SCANNED_AT_MOST", scanned)
    lost = 0
    for item in (3, 480, 510, 690, 703, 900):
        answers = {}
        for way, most in (("filtered", 10**9), ("free", 0)):
            monkeypatch.setattr(nearby, "FILTERED_BELOW", most)
            queries.clear()
            found = mixed.search_ranked(f"question {item}", 10, modality=modality)
            answers[way] = listed(found)
            # Among the nearest texts there are not always enough of the six recordings.
            is_free = way == "free" and not (modality == "audio" and scanned == 0)
            assert not is_free or all(query["where"] is None for query in queries)
            assert {document.metadata.get("modality", "text") for document, _ in found} == {modality}
        lost += missing(answers["free"], answers["filtered"])
    assert lost <= 2


@pytest.mark.usefixtures("tilting")
@pytest.mark.parametrize(("modality", "is_free"), [("text", False), ("table", True)])
def test_the_index_is_not_asked_for_very_many_rows(mixed, modality, is_free, monkeypatch, queries):
    monkeypatch.setattr(nearby, "_DEEPEST", 40)
    monkeypatch.setattr(nearby, "_SCANNED", 0)
    assert len(mixed.similarity_search("question 3", 10, modality=modality)) == 10
    # All tables are compared instead; texts the ledger does not list.
    assert [query["where"] is None for query in queries] == ([] if is_free else [False])


@pytest.mark.usefixtures("tilting")
def test_a_modality_with_another_condition_is_filtered(mixed, queries):
    found = mixed.similarity_search("question 510", 10, modality="table", filter={"n": {"$lt": 505}})
    assert sorted(ids(found)) == [f"text {n}" for n in range(500, 505)]
    assert all(query["where"] is not None for query in queries)
    assert len(mixed.similarity_search("question 510", 4, modality="table", ids=["text 510", "text 3"])) == 1


@pytest.mark.usefixtures("tilting")
def test_sides_that_do_not_lie_apart_are_told_by_a_filter(open_store, queries):
    rng = np.random.default_rng(0)
    store = open_store(Lookup({"asked": rng.normal(size=SIZE)}))
    put(store, "text", rng.normal(size=(60, SIZE)))
    put(store, "image", rng.normal(size=(60, SIZE)))
    assert len(store.search_ranked("asked", 10)) == 10
    assert [query["where"] is None for query in queries] == [False, False]


def test_pictures_and_passages_are_found_among_each_other(filled):
    store = filled(200, 200)
    for item in range(3):
        assert "text " + str(item) in ids(store.similarity_search(f"question {item}", 5))
        assert f"image {900 + item}" in ids(store.similarity_search(f"question {900 + item}", 5))
        assert {
            id_[:4] for id_ in ids(store.similarity_search(f"question {900 + item}", 10, rank="raw"))
        } == {"text"}


def test_turns_are_taken(filled):
    found = ids(filled(950, 50).similarity_search("question 5", 20, rank="rrf"))
    assert [len({id_[:4] for id_ in found[start : start + 2]}) for start in range(0, 20, 2)] == [2] * 10


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_side_comes_in_the_order_of_the_cosines(filled, world, rank, modality):
    store = filled(200, 200)
    found = listed(store.search_ranked("question 7", 15, rank=rank, modality=modality))
    vectors = world.captions[:200] if modality == "text" else world.images[800:]
    cosines = vectors @ world.questions[7]
    best = np.argsort(-cosines)[:15]
    assert [id_ for id_, _ in found] == [
        f"{modality} {n + (800 if modality == 'image' else 0)}" for n in best
    ]
    if rank == "raw":
        assert [score for _, score in found] == pytest.approx(cosines[best], abs=1e-4)
    assert (np.diff([score for _, score in found]) <= 0).all()


# --- conditions ---------------------------------------------------------------------------------------------

CONDITIONS = {
    "filter": ({"filter": {"n": {"$gte": 100, "$lt": 900}}}, lambda side, n: 100 <= n < 900),
    "text": (
        {"where_document": {"$contains": "t 3"}},
        lambda side, n: side == "text" and str(n).startswith("3"),
    ),
    "ids": (
        {"ids": ["text 3", "image 990", "nobody"]},
        lambda side, n: (side, n) in {("text", 3), ("image", 990)},
    ),
    "modality": ({"modality": "text"}, lambda side, n: side == "text"),
    "both": (
        {"modality": "image", "filter": {"n": {"$in": [5, 850, 860]}}},
        lambda side, n: side == "image" and n in {850, 860},
    ),
    "query": (
        {"filter": {"$or": [{"n": 3}, {"modality": "image", "n": 801}]}},
        lambda side, n: n in {3, 801},
    ),
}


@pytest.mark.usefixtures("tilting")
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("rank", RANKS)
def test_only_what_meets_the_conditions_is_found_and_all_of_it(filled, condition, rank):
    store = filled(200, 200)
    options, is_met = CONDITIONS[condition]
    found = ids(store.similarity_search("question 3", 400, rank=rank, **options))
    documents = [("text", n) for n in range(200)] + [("image", n) for n in range(800, 1000)]
    assert sorted(found) == sorted(f"{side} {n}" for side, n in documents if is_met(side, n))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rank", RANKS)
def test_conditions_that_nothing_meets_find_nothing(filled, mode, rank):
    find = partial(filled(200, 200).similarity_search, "passage text 3", rank=rank, search=mode)
    assert find(filter={"n": -1}) == []
    assert find(where_document={"$contains": "nowhere"}) == []
    assert find(ids=["nobody"]) == []
    assert find(modality="table") == []


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("k", [400, 401, 10**6])
def test_all_documents_are_found_once_if_that_many_are_asked_for(filled, rank, k):
    found = filled(200, 200).search_ranked("question 3", k, rank=rank)
    assert len(found) == len({document.id for document, _ in found})
    assert 398 <= len(found) <= 400  # an index may lose one
    scores = [score for _, score in found]
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
def test_an_empty_collection_finds_nothing(store, counting_embeddings, rank, mode):
    assert store.search_ranked("red", rank=rank, search=mode, score_threshold=0.0) == []
    assert store.max_marginal_relevance_search("red", rank=rank, search=mode) == []
    assert store.similarity_search_with_relevance_scores("red") == []
    store.add_texts(["red"], ids=["1"])
    store.delete(["1"])
    assert store.search_ranked("red", rank=rank, search=mode) == []
    assert counting_embeddings.text_batches == [1]  # of the one text that was added


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("there", ["text", "image"])
def test_a_modality_that_is_not_there_is_not_found(store, sample_images, rank, mode, there):
    if there == "text":
        store.add_texts(["red", "blue", "green"])
    else:
        store.add_images([sample_images[name] for name in ("red", "blue", "green")])
    find = partial(store.similarity_search, "red", rank=rank, search=mode)
    assert find(modality="image" if there == "text" else "text") == []
    assert find(k=1)[0].metadata.get("source", "red").endswith("red" if there == "text" else "red.png")


# --- vectors of all sorts -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("tilting")
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("texts", "images"), [(60, 60), (60, 0), (3, 60), (1, 1)])
@pytest.mark.parametrize("query", [np.eye(SIZE)[0], np.eye(SIZE)[3] - np.eye(SIZE)[0]])
def test_documents_that_are_all_the_same_are_found(open_store, rank, texts, images, query):
    store = open_store(Lookup({"asked": query}))
    same = np.tile(np.eye(SIZE)[0], (60, 1))
    put(store, "text", same[:texts])
    if images:
        put(store, "image", same[:images])
    found = store.search_ranked("asked", 8, rank=rank)
    assert len(found) == min(8, texts + images)
    assert np.isfinite([score for _, score in found]).all()
    relevances = [score for _, score in store.similarity_search_with_relevance_scores("asked", 8)]
    assert all(0 <= score <= 1 for score in relevances)


def test_a_query_vector_that_is_no_vector_is_refused(filled):
    store = filled(200, 200)
    vectors = store.embeddings.vectors
    vectors["nan"], vectors["infinite"] = np.full(SIZE, np.nan), np.full(SIZE, np.inf)
    vectors["nested"] = np.ones((2, SIZE))
    for text in ("nan", "infinite", "nested"):
        for find in (store.similarity_search, store.similarity_search_with_score):
            with pytest.raises(EmbeddingError, match="Lookup gave an array of shape"):
                find(text)
    for given in (vectors["nan"], vectors["nested"], np.empty(0)):
        with pytest.raises(ValueError, match="one vector of finite numbers"):
            store.similarity_search_by_vector(given)


@pytest.mark.parametrize("rank", RANKS)
def test_a_query_vector_of_another_length_is_refused(open_store, rank):
    embedding = Lookup({"a text": np.ones(5), "asked": np.ones(5), "longer": np.ones(6)})
    store = open_store(embedding)
    store.add_texts(["a text"])
    assert len(store.similarity_search("asked", rank=rank)) == 1
    for query in ("longer", Query(text="asked", not_text="longer")):
        with pytest.raises((EmbeddingMismatchError, EmbeddingError), match="6 numbers"):
            store.similarity_search(query, rank=rank)
    with pytest.raises(EmbeddingMismatchError, match="6 numbers"):
        store.similarity_search_with_score("longer")


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_a_collection_of_another_embedding_is_refused(open_store, counting_embeddings, mode):
    first = open_store(counting_embeddings)
    first.add_texts(["red"])
    other = MultimodalChroma(first._collection_name, Lookup({}), client=first._client)
    with pytest.raises(EmbeddingMismatchError, match="counting:v1"):
        other.similarity_search("red", search=mode)


def test_a_query_of_zeros_is_no_trouble(filled):
    store = filled(200, 200)
    store.embeddings.vectors["nothing"] = np.zeros(SIZE)
    for rank in RANKS:
        found = store.search_ranked("nothing", 5, rank=rank)
        assert np.isfinite([score for _, score in found]).all()


# --- queries of several parts -------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_what_is_not_wanted_goes_down(filled, world, rank, mode):
    store = filled(200, 200)
    plain = ids(store.similarity_search("question 7", 8, rank=rank, search=mode, modality="text"))
    unwanted = next(id_ for id_ in plain if id_ != "text 7")
    store.embeddings.vectors["unwanted"] = world.captions[int(unwanted.split()[1])]
    without = ids(
        store.similarity_search(
            Query(text="question 7", not_text="unwanted"), 400, rank=rank, search=mode, modality="text"
        )
    )
    assert without.index(unwanted) > plain.index(unwanted)
    assert without[0] == "text 7"


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("modality", [None, "image", "text"])
def test_a_query_that_takes_away_all_it_asks_for_is_refused(filled, world, rank, modality):
    store = filled(200, 200)
    store.embeddings.vectors["the same"] = world.questions[7]
    query = Query(text="question 7", not_text="the same", weights={"not_text": 1})
    with pytest.raises(ValueError, match="takes away all that it asks for"):
        store.similarity_search(query, rank=rank, modality=modality)


def test_raw_scores_of_several_parts_are_cosines_with_what_they_say_together(store, sample_images):
    store.add_texts(["red", "green", "blue"] * 10, [{"n": n} for n in range(30)])
    store.add_images([sample_images[name] for name in ("red", "green", "blue")])
    query = Query(text="red", image=sample_images["blue"], weights={"text": 0.5, "image": 0.5})
    found = store.search_ranked(query, 40, rank="raw", collapse="none")
    assert len(found) == 33
    assert all(-1 <= score <= 1 for _, score in found)
    assert {document.page_content for document, _ in found[-5:]} == {"green"}


# --- words --------------------------------------------------------------------------------------------------

ANIMALS = ("ant", "bee", "cow", "dog")
NOTES = [f"the {animal} number {n} is in field {n % 4}" for n, animal in enumerate(ANIMALS * 16)]


@pytest.fixture(scope="module")
def worded(world):
    """Passages, of which one has a name none of the others has, and pictures, of which one has a caption."""
    texts = [*NOTES, "order INV-2024-0815 was shipped"]
    questions = {f"question {n}": vector for n, vector in enumerate(world.questions)}
    vectors = {**questions, **dict(zip(texts, world.captions, strict=False))}
    vectors["INV-2024-0815"] = world.questions[3]  # which is like the note 3
    vectors["dog"] = vectors["the of and"] = world.questions[5]
    store = MultimodalChroma("worded", Lookup(vectors))
    store.add_texts(texts, ids=[f"note {n}" for n in range(len(texts))])
    put(store, "image", world.images[100:159], 100)
    put(store, "image", world.images[159:160], 159, caption="a zebra")
    yield store
    store.delete_collection()


def test_words_alone_find_what_has_them(worded):
    found = worded.search_ranked("dog", 20, search="keyword")
    assert sorted(ids(document for document, _ in found)) == sorted(f"note {n}" for n in range(3, 64, 4))
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert ids(worded.similarity_search("zebra", search="keyword")) == ["image 159"]
    assert worded.similarity_search("zebra", search="keyword", modality="text") == []
    assert ids(worded.similarity_search("inv-2024-0815", search="keyword")) == ["note 64"]


def test_words_alone_keep_to_the_conditions(worded):
    find = partial(worded.similarity_search, "dog", 20, search="keyword")
    assert sorted(ids(find(ids=["note 3", "note 4", "note 7"]))) == ["note 3", "note 7"]
    assert ids(find(where_document={"$contains": "number 19 "})) == ["note 19"]
    assert len(find(modality="text")) == 16
    assert find(modality="image") == []


@pytest.mark.parametrize("query", ["?!", "...", "\U0001f40d", "-- * \" ' ( )"])
def test_no_words_find_nothing_by_words_and_all_by_vectors_too(worded, query):
    assert worded.similarity_search(query, search="keyword") == []
    by_vector = listed(worded.search_ranked(query, 5))
    assert listed(worded.search_ranked(query, 5, search="hybrid")) == by_vector
    assert len(by_vector) == 5


def test_stop_words_alone_are_looked_for(worded):
    found = worded.search_ranked("the of and", 100, search="keyword")
    assert {document.id for document, _ in found} == {f"note {n}" for n in range(64)}
    hybrid = worded.search_ranked("the of and", 10, search="hybrid")
    assert len(hybrid) == 10
    assert np.isfinite([score for _, score in hybrid]).all()


def test_words_and_vectors_together_find_a_name_and_keep_pictures(worded):
    plain = ids(worded.similarity_search("INV-2024-0815", 10))
    assert plain[0] != "note 64"
    both = ids(worded.similarity_search("INV-2024-0815", 10, search="hybrid"))
    assert both[0] == "note 64"
    assert [id_ for id_ in both if id_.startswith("image")] == [
        id_ for id_ in plain if id_.startswith("image")
    ]


def test_words_change_the_order_within_a_side_only(worded):
    plain = worded.search_ranked("dog", 20)
    both = worded.search_ranked("dog", 20, search="hybrid")
    sides = [[document.id.split()[0] for document, _ in found] for found in (plain, both)]
    assert sides[0] == sides[1]
    assert [s for d, s in both if d.id.startswith("image")] == [
        s for d, s in plain if d.id.startswith("image")
    ]
    dogs = [sum("dog" in d.page_content for d, _ in found[:10]) for found in (plain, both)]
    assert dogs[1] > dogs[0]


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
def test_a_picture_has_no_words(open_store, counting_embeddings, sample_images, mode):
    store = open_store(counting_embeddings, search=mode)
    store.add_texts(["red", "blue", "green"])
    store.add_images([sample_images[name] for name in ("red", "blue", "green")])
    query = Query(image=sample_images["red"])
    if mode == "keyword":
        for find in (store.similarity_search, store.max_marginal_relevance_search):
            with pytest.raises(ValueError, match=r"needs text in the query.*use search='vector'"):
                find(query)
        return
    # So pictures go by their vectors in a store that searches by words too.
    for one in (query, Query(image=sample_images["red"], not_text="green")):
        by_vector = listed(store.search_ranked(one, 6, search="vector"))
        assert listed(store.search_ranked(one, 6)) == by_vector
    assert by_vector[0][0] == ids(store.similarity_search_by_image(sample_images["red"], 1))[0]
    assert store.similarity_search_by_image_with_relevance_score(sample_images["red"])


def test_a_query_with_words_and_a_picture_goes_by_both(store, sample_images):
    store.add_texts([f"{word} {n}" for word in ("red", "blue") for n in range(10)] + ["blue ZX-81"])
    store.add_images([sample_images[name] for name in ("red", "blue", "green")])
    query = Query(text="ZX-81", image=sample_images["red"])
    assert store.similarity_search(query, 4, search="hybrid")[0].page_content == "blue ZX-81"
    assert store.similarity_search(query, 4)[0].page_content != "blue ZX-81"


# --- how sure one can be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("modality", [None, "text", "image"])
def test_relevances_are_from_0_to_1_and_fall(worded, rank, mode, modality):
    for query in ("dog", "question 130", "INV-2024-0815", "zebra"):
        options = {"rank": rank, "search": mode, "modality": modality}
        found = worded.similarity_search_with_relevance_scores(query, 30, **options)
        relevances = [score for _, score in found]
        assert all(0 <= score <= 1 for score in relevances)
        if rank == "raw":  # made of the distance
            continue
        # Those of words are their share, which is not what the best have the most of.
        if mode != "keyword":
            assert relevances == sorted(relevances, reverse=True)
        assert [d.id for d, _ in found] == ids(worded.similarity_search(query, 30, **options))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
def test_a_threshold_keeps_the_more_relevant_ones(worded, rank, mode):
    find = partial(worded.search_ranked, "dog", 200, rank=rank, search=mode)
    counts = [len(find(score_threshold=threshold)) for threshold in (0.0, 0.01, 0.5, 0.9, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(find())
    kept = [document.id for document, _ in find(score_threshold=0.5)]
    if mode == "vector":  # the order is that of the relevances
        assert counts[0] > counts[3]
        assert kept == ids(document for document, _ in find())[: len(kept)]


def test_a_threshold_means_the_same_for_pictures_and_for_passages(filled):
    store = filled(200, 200)
    relevances = {}
    for item in (*range(0, 200, 16), *range(800, 1000, 16)):
        found = store.similarity_search_with_relevance_scores(f"question {item}", 1, score_threshold=0.5)
        relevances[item] = [document.id for document, _ in found]
    right = {item: f"{'text' if item < 200 else 'image'} {item}" for item in relevances}
    sides = [
        [relevances[item] == [right[item]] for item in part]
        for part in (range(0, 200, 16), range(800, 1000, 16))
    ]
    assert np.mean(sides[0]) > 0.6
    assert np.mean(sides[1]) > 0.4
    # What is about an item of which there is nothing is hardly ever found.
    strangers = [store.search_ranked(f"question {n}", 4, score_threshold=0.9) for n in range(300, 700, 20)]
    assert np.mean([len(found) > 0 for found in strangers]) < 0.3


def test_a_retriever_has_a_threshold(filled):
    store = filled(200, 200)
    own = MultimodalRetriever(store=store, k=50, score_threshold=0.5)
    found = ids(own.invoke("question 905"))
    assert found == ids(
        document for document, _ in store.search_ranked("question 905", 50, score_threshold=0.5)
    )
    assert 0 < len(found) < 50
    assert len(own.invoke("question 905", score_threshold=0.0)) == 50
    langchains = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5, "k": 50}
    )
    assert ids(langchains.invoke("question 905")) == found


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_none_is_refused(filled, threshold):
    with pytest.raises(ValueError, match="score_threshold must be from 0 to 1"):
        filled(200, 200).search_ranked("question 3", score_threshold=threshold)


# --- variety ------------------------------------------------------------------------------------------------


def test_mmr_of_relevance_alone_is_the_order_of_the_scores(filled):
    store = filled(200, 200)
    for modality in (None, "text", "image"):
        ranked = ids(store.similarity_search("question 5", 6, modality=modality))
        picked = store.max_marginal_relevance_search("question 5", 6, lambda_mult=1, modality=modality)
        assert ids(picked) == ranked


def test_mmr_picks_by_hand_what_it_says_it_picks(filled, world):
    store = filled(200, 200)
    picked = ids(store.max_marginal_relevance_search("question 5", 5, 12, 0.4, modality="text"))
    pool = [int(id_.split()[1]) for id_ in ids(store.similarity_search("question 5", 12, modality="text"))]
    chosen = [pool[0]]
    while len(chosen) < 5:
        gains = {
            n: 0.4 * (world.captions[n] @ world.questions[5])
            - 0.6 * max(world.captions[n] @ world.captions[m] for m in chosen)
            for n in pool
            if n not in chosen
        }
        chosen.append(max(gains, key=gains.get))
    assert picked == [f"text {n}" for n in chosen]
    assert chosen != pool[:5]


def test_mmr_without_conditions_needs_no_filter(filled, tilting, queries):
    filled(200, 200).max_marginal_relevance_search("question 5", 5)
    assert [query["where"] for query in queries] == [None]


# --- as the collection changes ------------------------------------------------------------------------------


def test_rows_another_program_deletes_between_finding_and_reading_are_left_out(
    filled, world, open_store, monkeypatch
):
    store = open_store(filled(200, 200).embeddings)
    put(store, "text", world.captions[:60])
    put(store, "image", world.images[60:120], 60)
    before = ids(store.similarity_search("question 5", 4))
    near_ids = search_module.near_ids

    def then_delete(collection, *args, **kwargs):
        found = near_ids(collection, *args, **kwargs)
        collection.delete(ids=before[:2])
        return found

    for module in (search_module, nearby):
        monkeypatch.setattr(module, "near_ids", then_delete)
    monkeypatch.setattr(Sampled, "is_whole", False)
    for rank in ("calibrated", "raw"):
        found = ids(store.similarity_search("question 5", 4, rank=rank))
        assert len(found) == 4
        assert not set(found) & set(before[:2])
    assert ids(store.similarity_search("question 5", 4))[:2] == before[2:]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
def test_search_follows_what_is_added_replaced_and_deleted(store, sample_images, rank, mode):
    find = partial(store.similarity_search, "red", 20, rank=rank, search=mode)
    store.add_texts(
        [f"{word} {n}" for word in ("red", "blue") for n in range(6)], ids=[f"t{n}" for n in range(12)]
    )
    store.add_images([sample_images["red"]], ids=["p1"], captions=["a red one"])
    first = ids(find())
    assert set(first) == (
        {f"t{n}" for n in range(6)} | {"p1"} if mode == "keyword" else {*(f"t{n}" for n in range(12)), "p1"}
    )
    store.add_texts(["nothing of the kind"], ids=["t0"])
    store.add_images([sample_images["red"]], ids=["p2"], captions=["another red one"])
    store.delete(["t1", "p1"])
    found = ids(find())
    assert "p2" in found
    assert not {"t1", "p1"} & set(found)
    if mode == "keyword":
        assert "t0" not in found
    else:
        assert found.index("t0") > found.index("t2")
    store.delete()
    assert find() == []


@pytest.mark.parametrize("mode", ["vector", "hybrid"])
def test_a_store_opened_again_gives_the_same_scores(world, tmp_path, mode):
    questions = {f"question {n}": vector for n, vector in enumerate(world.questions[:10])}
    texts = dict(zip([f"passage {n}" for n in range(80)], world.captions, strict=False))

    def opened():
        return MultimodalChroma("kept", Lookup({**questions, **texts}), persist_directory=tmp_path)

    store = opened()
    store.add_texts(list(texts), ids=list(texts))
    put(store, "image", world.images[80:140], 80)

    def told(store):
        found = [store.search_ranked(f"question {n}", 10, search=mode) for n in range(0, 10, 3)]
        # Chroma brings vectors to norm 1 itself: what is read back differs in the last digit.
        return [[(document.id, pytest.approx(score, rel=1e-5)) for document, score in each] for each in found]

    before = told(store)
    plain = [listed(opened().search_ranked(f"question {n}", 10, search=mode)) for n in range(0, 10, 3)]
    assert plain == before
    # As does one that has lost what lay beside the collection.
    store.rebuild_index()
    plain = [listed(store.search_ranked(f"question {n}", 10, search=mode)) for n in range(0, 10, 3)]
    assert plain == before
    store.delete(["passage 3"])
    after = opened().search_ranked("question 3", 10, search=mode)
    assert "passage 3" not in ids(document for document, _ in after)


@pytest.fixture
def looks(monkeypatch):
    """How often a collection was counted and its record read; `now` is what the clock says."""

    class Looks:
        now, counts, records = 100.0, 0, 0
        set_rows_a_second = staticmethod(partial(monkeypatch.setattr, row_count, "_ROWS_A_SECOND"))

        @staticmethod
        def held_up(monkeypatch):
            """Rows are counted beside as slowly as if their file was out of memory: until this is set."""
            count, may_go_on = chromadb.Collection.count, Event()

            def slow(self):
                assert threading.current_thread().name != "count rows" or may_go_on.wait(30)
                return count(self)

            monkeypatch.setattr(chromadb.Collection, "count", slow)
            return may_go_on

        @staticmethod
        def counters():
            return sum(thread.name == "count rows" for thread in threading.enumerate())

        @staticmethod
        def wait():
            for thread in threading.enumerate():
                if thread.name == "count rows":
                    thread.join()

    looks = Looks()
    count, check = chromadb.Collection.count, EmbeddingRecord.check

    def counted(self):
        looks.counts += 1
        return count(self)

    def checked(self, dimension):
        looks.records += 1
        check(self, dimension)

    monkeypatch.setattr(chromadb.Collection, "count", counted)
    monkeypatch.setattr(EmbeddingRecord, "check", checked)
    monkeypatch.setattr(search_module, "monotonic", lambda: looks.now)
    monkeypatch.setattr(row_count, "monotonic", lambda: looks.now)
    monkeypatch.setattr(row_count, "_LARGE", 50)
    return looks


@pytest.mark.parametrize(("rows_a_second", "seconds"), [(100, 1.0), (10, 10.0)])
def test_a_large_collection_is_counted_and_its_record_read_once_in_a_while(
    open_store, world, looks, rows_a_second, seconds
):
    looks.set_rows_a_second(rows_a_second)
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:50])
    put(store, "image", world.images[:50])
    store.search_ranked("question", k=4)
    looks.counts = looks.records = 0
    looks.now += seconds  # the last look was before the end of this one
    store.search_ranked("question", k=4)
    looks.wait()
    assert (looks.counts, looks.records) == (1, 1)
    put(store, "text", unit(world.questions[:1]), start=900)  # by another program
    for _ in range(3):
        looks.now += seconds / 4
        assert "text 900" not in [document.id for document, _ in store.search_ranked("question", k=4)]
    assert (looks.counts, looks.records) == (1, 1)
    looks.now += seconds / 2
    store.search_ranked("question", k=4)  # does not wait for the count
    looks.wait()
    assert store.search_ranked("question", k=4)[0][0].id == "text 900"
    assert looks.counts > 1
    assert looks.records == 2


def test_a_search_does_not_wait_for_the_rows_to_be_counted_again(open_store, world, looks, monkeypatch):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:60])
    first = store.search_ranked("question", k=4)
    may_go_on = looks.held_up(monkeypatch)
    looks.now += 1000
    for _ in range(3):  # one thread counts, however many searches there are meanwhile
        assert store.search_ranked("question", k=4) == first
    assert looks.counters() == 1
    store.add_texts(["question"], ids=["new"])
    assert store.search_ranked("question", k=1)[0][0].id == "new"
    may_go_on.set()
    looks.wait()
    assert store.search_ranked("question", k=1)[0][0].id == "new"


def test_a_large_collection_that_becomes_small_is_counted_at_each_search_again(open_store, world, looks):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:60])
    store.search_ranked("question", k=4)
    store._collection.delete(ids=[f"text {n}" for n in range(5, 60)])
    looks.now += 1000
    store.search_ranked("question", k=4)
    looks.wait()
    put(store, "text", unit(world.questions[:1]), start=900)
    assert store.search_ranked("question", k=1)[0][0].id == "text 900"


def test_searches_wait_for_an_index_that_is_made_anew(open_store, world, looks):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:60])
    first = store.search_ranked("question", k=4)
    store._ledger.forget()  # as if its file was lost
    assert store.search_ranked("question", k=4) == first


def test_rows_are_counted_where_no_thread_can_start(open_store, world, looks, monkeypatch):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:60])
    first = store.search_ranked("question", k=4)

    def refuse(_):
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    looks.now += 1000
    assert store.search_ranked("question", k=4) == first
    put(store, "text", unit(world.questions[:1]), start=900)
    assert store.search_ranked("question", k=1)[0][0].id == "text 900"


def test_a_count_leaves_no_file_of_a_collection_that_is_deleted_meanwhile(
    tmp_path, world, looks, monkeypatch
):
    store = MultimodalChroma("gone", Lookup({"question": world.questions[0]}), persist_directory=tmp_path)
    put(store, "text", world.captions[:60])
    store.search_ranked("question", k=4)
    may_go_on = looks.held_up(monkeypatch)
    looks.now += 1000
    store.search_ranked("question", k=4)
    store._ledger.forget()  # the first thing a deletion does; its rows are still there
    may_go_on.set()
    looks.wait()
    assert not list(tmp_path.rglob(f"{store._collection.id}.sqlite3*"))


def test_what_goes_wrong_while_rows_are_counted_is_told_by_the_next_search(
    open_store, world, looks, monkeypatch
):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:60])
    first = store.search_ranked("question", k=4)
    with monkeypatch.context() as broken:
        broken.setattr(chromadb.Collection, "count", lambda _: 1 / 0)
        looks.now += 1000
        assert store.search_ranked("question", k=4) == first
        looks.wait()
        with pytest.raises(ZeroDivisionError):
            store.search_ranked("question", k=4)
    assert store.search_ranked("question", k=4) == first


def test_what_the_package_itself_writes_is_found_between_two_looks(open_store, world, looks):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:50])
    store.search_ranked("question")
    store.add_texts(["question"], ids=["new"])
    looks.counts = 0
    assert store.search_ranked("question", k=1)[0][0].id == "new"
    assert looks.counts == 0


def test_a_small_collection_is_counted_at_each_search(open_store, world, looks):
    store = open_store(Lookup({"question": world.questions[0]}))
    put(store, "text", world.captions[:40])
    store.search_ranked("question", k=1)
    put(store, "text", unit(world.questions[:1]), start=900)
    assert store.search_ranked("question", k=1)[0][0].id == "text 900"


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("mode", MODES)
def test_the_first_search_finds_what_another_program_wrote(open_store, world, rank, mode):
    store = open_store(Lookup({"passage 3": world.questions[3]}))
    put(store, "text", world.captions[:30])
    put(store, "image", world.images[30:60], 30)
    find = partial(store.similarity_search, "passage 3", 5, rank=rank, search=mode)
    assert "text 3" in ids(find())
    put(store, "text", world.questions[3:4], 100)
    store._collection.delete(ids=["text 3"])
    store._collection.delete(ids=["text 4"])
    found = ids(find())
    assert "text 3" not in found
    if mode != "keyword":  # by words it is one of thirty
        assert found[0] == "text 100"


def test_two_stores_on_one_collection_agree(world, tmp_path):
    questions = {f"question {n}": vector for n, vector in enumerate(world.questions[:10])}
    one, two = (
        MultimodalChroma("shared", Lookup(dict(questions)), persist_directory=tmp_path) for _ in range(2)
    )
    put(one, "text", world.captions[:60])
    put(one, "image", world.images[60:120], 60)
    assert listed(one.search_ranked("question 3", 5)) == listed(two.search_ranked("question 3", 5))
    two.delete(["text 3"])
    assert "text 3" not in ids(one.similarity_search("question 3", 5))
    put(one, "text", world.captions[3:4], 3)
    assert ids(two.similarity_search("question 3", 5))[0] == "text 3"
    assert listed(one.search_ranked("question 3", 5)) == listed(two.search_ranked("question 3", 5))


# --- what is not wanted, among words ------------------------------------------------------------------------


@pytest.fixture
def named(open_store, counting_embeddings, sample_images):
    store = open_store(counting_embeddings)
    store.add_texts(
        [
            "The violin of Ada Quill, red.",
            "The violin and the candle, green.",
            *(f"blue {n}" for n in range(30)),
        ],
        ids=["violin", "both", *map(str, range(30))],
    )
    store.add_images([sample_images["red"]], ids=["picture"], captions=["a violin"])
    return store


def test_words_of_what_is_not_wanted_take_no_part(named):
    def score(**options):
        found = named.search_ranked(Query(text="violin", **options), 33, search="hybrid")
        return {document.id: score for document, score in found}

    # The words count as much for both, but for the one that has what is not wanted.
    assert score()["both"] > score()["7"] + 1
    unwanted = score(not_text="candle")
    assert unwanted["violin"] > unwanted["both"] + 1


def test_a_picture_that_is_not_wanted_is_not_first_for_its_words(named, sample_images):
    hits = named.search_ranked(Query(text="violin", not_image=sample_images["red"]), 3, search="hybrid")
    assert hits[0][0].id != "picture"


def test_a_search_by_words_leaves_out_rows_with_words_that_are_not_wanted(named, sample_images):
    hits = named.search_ranked(Query(text="violin", not_text="candle"), 5, search="keyword")
    assert {document.id for document, _ in hits} == {"violin", "picture"}
    with pytest.raises(ValueError, match="knows no not_image"):
        named.search_ranked(Query(text="violin", not_image=sample_images["red"]), search="keyword")
