"""A few pictures among very many passages, and the other way round, are all found."""

import numpy as np
import pytest

from langchain_mmrag import MultimodalChroma, MultimodalRetriever
from langchain_mmrag._store import nearby
from langchain_mmrag._store.backgrounds import Sampled
from langchain_mmrag.ranking import Background, Candidates, Part, Ranker, unit
from tests.unit_tests.test_search import Lookup, ids, put, queries  # noqa: F401 - a fixture

_SIZE, _TEXTS, _IMAGES = 48, 3000, 40


def _rows(rng, topics, n, side):
    """Vectors about topics of a collection with a theme, offset by a gap as CLIP's are [n, d]."""
    content = topics[np.arange(n) % len(topics)] + 0.8 * rng.normal(size=(n, _SIZE)) / _SIZE**0.5
    content[:, 0] = 0
    vectors = 0.9 * unit(content)
    vectors[:, 0] = (0.43 if side == "image" else -0.43) + 0.03 * rng.normal(size=n)
    return unit(vectors)


@pytest.fixture(scope="module")
def lopsided():
    """A store, the vectors of its sides and of its questions; not to be changed."""
    rng = np.random.default_rng(0)
    topics = 0.9 * rng.normal(size=_SIZE) / _SIZE**0.5 + rng.normal(size=(50, _SIZE)) / _SIZE**0.5
    sides = {"text": _rows(rng, topics, _TEXTS, "text"), "image": _rows(rng, topics, _IMAGES, "image")}
    questions = _rows(rng, topics, 6, "text")
    lookup = Lookup({f"question {n}": vector for n, vector in enumerate(questions)})
    store = MultimodalChroma("lopsided", lookup)
    for start in range(0, _TEXTS, 1000):
        put(store, "text", sides["text"][start : start + 1000], start)
    put(store, "image", sides["image"])
    yield store, sides, questions
    store.delete_collection()


@pytest.mark.parametrize("way", ["by the sample", "by the index"])
def test_a_small_side_is_found_whole_and_in_order(lopsided, way, monkeypatch):
    store, sides, questions = lopsided
    if way == "by the index":
        monkeypatch.setattr(Sampled, "is_whole", False)
    for n, question in enumerate(questions):
        nearest = [f"image {place}" for place in np.argsort(-(sides["image"] @ question)).tolist()]
        for k in (1, 2, 5, 10, 20, 39, 40, 60):
            if way == "by the index" and 3 * k < _IMAGES:
                continue  # then it is approximate
            assert ids(store.similarity_search(f"question {n}", k, modality="image")) == nearest[:k]


def test_a_small_side_is_found_without_the_index(lopsided, queries):  # noqa: F811
    store, _, _ = lopsided
    store.similarity_search("question 1", 10, modality="image")
    assert queries == []


def test_the_index_alone_would_not_reach_them(lopsided, monkeypatch):
    store, _, _ = lopsided
    monkeypatch.setattr(Sampled, "is_whole", False)
    monkeypatch.setattr(nearby, "of_one_side", lambda *args, **kwargs: [])
    counts = [len(store.similarity_search(f"question {n}", 40, modality="image")) for n in range(6)]
    assert min(counts) < _IMAGES


@pytest.mark.parametrize("rank", ["calibrated", "rrf", "raw"])
def test_all_rows_come_if_all_are_asked_for(lopsided, rank):
    store, _, _ = lopsided
    found = ids(store.similarity_search("question 2", _TEXTS + _IMAGES, rank=rank))
    assert len(set(found)) == len(found) == _TEXTS + _IMAGES


def test_raw_cosines_reach_the_few_pictures(lopsided):
    store, sides, _ = lopsided
    lookup = store.embeddings
    for n in range(6):
        lookup.vectors[f"picture {n}"] = sides["image"][n]
        cosines = {side: vectors @ sides["image"][n] for side, vectors in sides.items()}
        pairs = [(cosine, f"{side} {m}") for side in cosines for m, cosine in enumerate(cosines[side])]
        pictures = [id_ for _, id_ in sorted(pairs, reverse=True)[:20] if id_.startswith("image")]
        found = ids(store.similarity_search(f"picture {n}", 20, rank="raw"))
        assert [id_ for id_ in found if id_.startswith("image")][: len(pictures)] == pictures


def test_the_few_take_their_places_among_the_many(lopsided):
    store, sides, questions = lopsided
    samples = store._ledger.statistics()
    backgrounds = {side: Background(each.count, unit(each.vectors)) for side, each in samples.items()}
    for n, question in enumerate(questions):
        found = {}
        for side, vectors in sides.items():
            places = {id_: place for place, id_ in enumerate(samples[side].ids)}
            rows = np.array([places.get(f"{side} {m}", -1) for m in range(len(vectors))])
            found[side] = Candidates(vectors, rows)
        ranker = Ranker([Part("text", question)], backgrounds, tuple(backgrounds))
        standing = ranker.standing(found)
        best = f"image {int(np.argmax(standing['image']))}"
        pictures = [each for each in ids(store.similarity_search(f"question {n}", 2000)) if "image" in each]
        assert best in pictures[:3]


@pytest.mark.parametrize("condition", [{"modality": "image"}, {"modality": {"$eq": "image"}}])
def test_a_filter_that_is_but_a_modality_is_that_modality(lopsided, condition):
    store, _, _ = lopsided
    for search in ("vector", "hybrid"):
        asked = store.search_ranked("question 3", 20, modality="image", search=search)
        assert store.search_ranked("question 3", 20, condition, search=search) == asked
    found = MultimodalRetriever(store=store, k=20, filter=condition).invoke("question 3")
    assert ids(found) == ids(store.similarity_search("question 3", 20, modality="image"))
    as_langchain = store.as_retriever(search_kwargs={"k": 20, "filter": condition})
    assert ids(as_langchain.invoke("question 3")) == ids(found)


def test_other_filters_stay_as_they_are(lopsided):
    store, _, _ = lopsided
    assert store.similarity_search("question 3", 5, {"modality": "image"}, modality="text") == []
    assert store.similarity_search("question 3", 5, {"modality": "sculpture"}) == []
    found = store.similarity_search("question 3", 5, {"modality": "image", "n": {"$lt": 3}})
    assert {document.metadata["n"] for document in found} == {0, 1, 2}
