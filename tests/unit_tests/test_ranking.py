"""Ranking against formulas worked out anew here, and on vectors with the geometry of CLIP's."""

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
import pytest
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_mmrag.ranking import (
    Background,
    Candidates,
    Part,
    Ranker,
    feedback,
    hubness,
    levelled,
    mmr_order,
    plain_scores,
    relevance,
    reordered,
    unit,
)
from tests.unit_tests.clip_geometry import Clip


def rows(*vectors):
    return np.array(vectors, dtype=float)


def collection(documents, sample=256, priors=None):
    """Backgrounds of whole collections, and every document as a candidate."""
    backgrounds, candidates = {}, {}
    for side, vectors in documents.items():
        chosen = np.random.default_rng(0).permutation(len(vectors))[:sample]
        places = np.full(len(vectors), -1)
        places[chosen] = np.arange(len(chosen))
        backgrounds[side] = Background(len(vectors), unit(vectors)[chosen], (priors or {}).get(side))
        candidates[side] = Candidates(vectors, places)
    return backgrounds, candidates


def ranker(query, documents, rank="calibrated", *, side="text", **options):
    """A `Ranker` of a query of one part over all sides, and the candidates."""
    backgrounds, candidates = collection(documents, **options)
    parts = query if isinstance(query, list) else [Part(side, query)]
    return Ranker(parts, backgrounds, tuple(documents), rank), candidates


def scores_of(query, documents, rank="calibrated", **options):
    ranks, candidates = ranker(query, documents, rank, **options)
    return ranks.scores(candidates)


def place_of(target, scores):
    """Rank of one document over all sides, 1 for the best."""
    side, index = target
    return 1 + sum(int((of_side > scores[side][index]).sum()) for of_side in scores.values())


def two_sides(texts, images, d=8, seed=0):
    """Vectors of two sides around means of their own."""
    rng = np.random.default_rng(seed)
    return {
        "text": unit(rng.normal(size=(texts, d)) + 1.5 * np.eye(d)[0]),
        "image": unit(rng.normal(size=(images, d)) * np.linspace(1, 2, d) - 1.5 * np.eye(d)[0]),
    }


# --- the formulas -------------------------------------------------------------------------------------------


class ByTheBook:
    """The formulas at the head of `ranking`, for samples that are the whole collection, one document at a time."""

    def __init__(self, documents, bank):
        self.documents = {side: unit(vectors) for side, vectors in documents.items()}
        self.mean = {side: vectors.mean(axis=0) for side, vectors in self.documents.items()}
        self.white = {side: self._whitening(side) for side in documents}
        self.placed = {side: self.place(side, vectors) for side, vectors in self.documents.items()}
        self.bank_side, self.bank = bank, self.placed[bank][:256]

    def _whitening(self, side):
        centred = unit(self.documents[side] - self.mean[side])
        covariance = sum(np.outer(row, row) for row in centred)
        d = len(covariance)
        covariance = covariance * d / np.trace(covariance)
        values, vectors = np.linalg.eigh((covariance + np.eye(d)) / 2)
        return sum(
            value ** (-1 / 16) * np.outer(vector, vector)
            for value, vector in zip(values, vectors.T, strict=True)
        )

    def place(self, side, vectors):
        return unit((unit(vectors) - self.mean[side]) @ self.white[side])

    def hubness(self, side, index):
        cosines = [
            self.bank[other] @ self.placed[side][index]
            for other in range(len(self.bank))
            if (side, index) != (self.bank_side, other)
        ]
        # Ten, or all others where there are fewer: as many for those that are among them as for those that are not.
        return 0.3 * np.mean(sorted(cosines)[-min(10, len(self.bank) - 1) :])

    def z(self, side, query):
        """Of every document of a side."""
        n = len(self.placed[side])
        scores = np.array([self.placed[side][i] @ query - self.hubness(side, i) for i in range(n)])
        found = []
        for i in range(n):
            others = np.delete(scores, i) if n > 1 else scores
            # A prior of two documents: of mean 0, and of deviation 0.1.
            share = len(others) / (len(others) + 2)
            deviation = sqrt(share * others.var() + (1 - share) * 0.1**2)
            found.append((scores[i] - share * others.mean()) / deviation)
        return np.array(found)

    def moved(self, query, scores):
        """The query after feedback."""
        found = sorted(
            (
                (z, tuple(vector))
                for side in scores
                for z, vector in zip(scores[side], self.placed[side], strict=True)
            ),
            reverse=True,
        )[:5]
        shares = np.array([np.exp(2 * (z - found[0][0])) for z, _ in found])
        mean = sum(s * np.array(vector) for s, (_, vector) in zip(shares / shares.sum(), found, strict=True))
        n = sum(len(vectors) for vectors in self.documents.values())
        moved = query + 0.4 * n / (n + 200) * mean
        return moved / np.linalg.norm(moved)


def in_order(documents):
    """Backgrounds whose samples are whole collections in their own order."""
    backgrounds = {side: Background(len(vectors), unit(vectors)) for side, vectors in documents.items()}
    candidates = {side: Candidates(vectors, np.arange(len(vectors))) for side, vectors in documents.items()}
    return backgrounds, candidates


# Fewer vectors than dimensions, more of them, one alone, and more than the neighbours are looked for among.
@pytest.mark.parametrize(("texts", "images"), [(40, 30), (30, 6), (12, 60), (290, 40), (40, 270)])
@pytest.mark.parametrize("side", ["text", "image"])
def test_standing_is_by_the_formula(texts, images, side):
    documents = two_sides(texts, images, d=16)
    query = unit(np.random.default_rng(5).normal(size=16) + documents[side][0])
    backgrounds, candidates = in_order(documents)
    ranks = Ranker([Part(side, query)], backgrounds, ("text", "image"))
    book = ByTheBook(documents, side)
    asked = book.place(side, query)
    assert ranks.placed == pytest.approx(asked, abs=1e-6)
    for name, found in ranks.standing(candidates).items():
        assert found == pytest.approx(book.z(name, asked), abs=1e-5)


@pytest.mark.parametrize("n", [5, 16, 40])
def test_whitening_is_by_the_formula_for_few_vectors_and_for_many(n):
    vectors = unit(np.random.default_rng(0).normal(size=(n, 16)) * np.linspace(0.2, 3, 16))
    background = Background(n, vectors)
    book = ByTheBook({"text": vectors}, "text")
    assert background.whitening == pytest.approx(book.white["text"])
    assert background.placed == pytest.approx(book.placed["text"], abs=1e-6)


def test_whitening_evens_out_what_vectors_vary_in_a_little():
    background = Background(
        500, unit(np.random.default_rng(0).normal(size=(500, 8)) * np.linspace(0.2, 3, 8))
    )
    before = unit(background.sample - background.mean).std(axis=0)
    after = background.placed.std(axis=0)
    assert 1 < after.max() / after.min() < before.max() / before.min()


def test_scores_are_those_of_the_query_in_the_order_that_feedback_gives():
    documents = two_sides(120, 90, d=16)
    query = unit(np.random.default_rng(5).normal(size=16) + documents["text"][0])
    backgrounds, candidates = in_order(documents)
    scores = Ranker([Part("text", query)], backgrounds, ("text", "image")).scores(candidates)
    book = ByTheBook(documents, "text")
    asked = book.place("text", query)
    own = {side: book.z(side, asked) for side in documents}
    moved = book.moved(asked, own)
    after = np.concatenate([book.z(side, moved) for side in documents])
    expected = np.empty_like(after)
    expected[np.argsort(-after)] = sorted(np.concatenate([*own.values()]), reverse=True)
    assert np.concatenate([scores[side] for side in documents]) == pytest.approx(expected, abs=1e-5)
    assert np.argsort(-after).tolist() != np.argsort(-np.concatenate([*own.values()])).tolist()


@pytest.mark.parametrize("own", [None, [0, 1, 2, -1, 30]])
def test_hubness_is_the_mean_of_ten_neighbours_without_oneself(own):
    rng = np.random.default_rng(0)
    bank = unit(rng.normal(size=(30, 6)))
    placed = np.concatenate([bank[:3], unit(rng.normal(size=(2, 6)))])
    found = hubness(placed, bank, None if own is None else np.array(own))
    for index, document in enumerate(placed):
        others = np.delete(bank, index, axis=0) if own is not None and index < 3 else bank
        assert found[index] == pytest.approx(0.3 * np.sort(others @ document)[-10:].mean())


def test_of_one_alone_nothing_is_a_hub():
    one = unit(rows([1, 2]))
    assert hubness(rows([1, 0], [0, 1]), one).tolist() == [0, 0]
    assert hubness(one, one, np.array([0])).tolist() == [0]
    # Of two, the other one.
    assert hubness(rows([1, 0]), rows([1, 0], [0.6, 0.8]), np.array([0])) == pytest.approx([0.3 * 0.6])


def test_a_hub_comes_after_what_is_as_near_to_the_query_alone():
    rng = np.random.default_rng(0)
    documents = two_sides(200, 200, d=32)
    query = documents["text"][0]
    ranks, candidates = ranker(query, documents)
    asked = ranks.placed
    # One more picture like many texts, and one more like none, both as like to the query.
    texts = ranks.backgrounds["text"].placed
    many = texts.mean(axis=0) - texts.mean(axis=0) @ asked * asked
    odd = rng.normal(size=32)
    odd -= odd @ asked * asked + odd @ unit(many) * unit(many)
    mean, white = ranks.backgrounds["image"].mean, np.linalg.inv(ranks.backgrounds["image"].whitening)
    added = []
    for away in (many, odd):
        wanted = 0.3 * asked + sqrt(1 - 0.09) * unit(away)
        direction = unit(wanted @ white)
        # The vector of norm 1 that lies in this direction from the mean.
        along = mean @ direction
        added.append(mean + (-along + sqrt(along**2 + 1 - mean @ mean)) * direction)
    found = Candidates(np.array(added), np.array([-1, -1]))
    placed = ranks.backgrounds["image"].place(found.vectors)
    assert placed @ asked == pytest.approx([0.3, 0.3])
    hub, alone = ranks.standing({"image": found, "text": candidates["text"]})["image"]
    assert hub < alone


def test_feedback_moves_the_query_towards_the_best_five():
    rng = np.random.default_rng(0)
    query, vectors = unit(rng.normal(size=4)), unit(rng.normal(size=(7, 4)))
    scores = np.array([1.0, 3.0, 2.5, 0.0, 2.0, 2.9, -1.0])
    shares = np.exp(2 * (scores - 3))
    shares[[3, 6]] = 0  # the sixth and seventh
    expected = query + 0.3 * shares @ vectors / shares.sum()
    assert feedback(query, scores, vectors, 0.3) == pytest.approx(expected / np.linalg.norm(expected))
    assert feedback(query, scores, vectors, 0.0) == pytest.approx(query)


def test_reordered_gives_the_same_scores_in_another_order():
    scores = {"text": np.array([1.0, 5.0, 3.0]), "image": np.array([4.0, 2.0])}
    better = {"text": np.array([0.1, 0.2, 0.9]), "image": np.array([0.3, 0.8])}
    given = reordered(scores, better)
    # From the best: text 2, image 1, image 0, text 1, text 0.
    assert {side: values.tolist() for side, values in given.items()} == {"text": [1, 2, 5], "image": [3, 4]}


def test_reordered_takes_sides_by_name_and_may_have_none_of_one():
    scores = {"image": np.array([4.0, 2.0]), "text": np.empty(0)}
    given = reordered(scores, {"text": np.empty(0), "image": np.array([0.0, 1.0])})
    assert given["image"].tolist() == [2, 4]
    assert given["text"].tolist() == []


def normal(z):
    return (1 + erf(z / sqrt(2))) / 2


@pytest.mark.parametrize(("count", "n"), [(5000, 5000), (40, 100)])
def test_relevance_is_by_the_formula(count, n):
    found = relevance([-1.0, 2.0, 3.5, 5.0], count)
    assert found == pytest.approx([normal(z) ** n for z in (-1, 2, 3.5, 5)])


def test_relevance_is_from_0_to_1_and_rises_with_the_score():
    for count in (1, 1000, 10**7):
        found = relevance(np.linspace(-40, 40, 161), count)
        assert found[0] == pytest.approx(0)
        assert found[-1] == pytest.approx(1)
        assert (np.diff(found) >= 0).all()


def test_relevance_stands_against_what_documents_of_the_query_s_side_score(world):
    """Not against what this query scores: one about nothing in the collection scores low with all of it."""
    documents = {"text": world.captions[:200], "image": world.images[200:400]}
    backgrounds, candidates = collection(documents)
    ranks = Ranker([Part("text", world.questions[0])], backgrounds, ("text", "image"))
    text, image = backgrounds["text"], backgrounds["image"]
    bank = text.placed[:256]
    for side, background in backgrounds.items():
        own = np.arange(200) if side == "text" else None
        hubs = hubness(background.placed, bank, own)
        pairs = bank @ background.placed.T - hubs
        if side == "text":
            pairs = pairs[~np.eye(200, dtype=bool)]
        z = (background.placed @ text.place(world.questions[0]) - hubs - pairs.mean()) / pairs.std()
        expected = np.array([normal(each) ** 400 for each in z])[candidates[side].places]
        assert ranks.relevances(candidates)[side] == pytest.approx(expected, abs=1e-3)
    assert image.chance_of(text)[1] != pytest.approx(text.chance_of(text)[1])


def test_what_is_asked_with_is_certain():
    vectors = np.random.default_rng(0).normal(size=(40, 6))
    for documents in ({"image": vectors}, {"image": vectors, "text": -vectors}):
        backgrounds, candidates = collection(documents)
        ranks = Ranker([Part("image", vectors[7])], backgrounds, tuple(documents))
        found = ranks.relevances(candidates)["image"]
        assert found[7] == 1.0
        assert np.delete(found, 7).max() < 1.0


def test_of_a_query_without_an_answer_the_best_is_as_relevant_as_chance_has_it():
    rng = np.random.default_rng(0)
    best = [relevance(z, 1000).max() for z in rng.normal(size=(300, 1000))]
    # Evenly from 0 to 1.
    assert 0.45 < np.mean(best) < 0.55
    assert 0.15 < np.mean(np.array(best) > 0.8) < 0.25


# --- the ways to rank ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    return Clip(600)


@dataclass
class Mixed:
    """Some items' captions and other items' images in one collection."""

    world: Clip
    texts: int
    images: int

    def __post_init__(self):
        order = np.random.default_rng(1).permutation(600)
        self.in_images, self.in_texts = order[: self.images], order[self.images : self.images + self.texts]
        self.documents = {
            "text": self.world.captions[self.in_texts],
            "image": self.world.images[self.in_images],
        }
        self.backgrounds, self.candidates = collection(self.documents)

    def ranked(self, rank):
        def scores(query):
            ranks = Ranker([Part("text", query)], self.backgrounds, ("text", "image"), rank)
            return ranks.scores(self.candidates)

        return scores

    def within(self, places, scores, queries=100):
        """Share of captions that find their image, and of questions that find their caption, so far up."""
        rng = np.random.default_rng(1)
        hits = {"image": [], "text": []}
        for _ in range(queries):
            index = int(rng.integers(self.images))
            asked = self.world.captions[self.in_images[index]]
            hits["image"].append(place_of(("image", index), scores(asked)) <= places)
            index = int(rng.integers(self.texts))
            asked = self.world.questions[self.in_texts[index]]
            hits["text"].append(place_of(("text", index), scores(asked)) <= places)
        return {side: float(np.mean(found)) for side, found in hits.items()}


@pytest.fixture(scope="module")
def mixed(world):
    made = {}
    return lambda texts, images: made.setdefault((texts, images), Mixed(world, texts, images))


def test_plain_cosine_never_finds_a_picture_among_captions(mixed):
    found = mixed(250, 250).within(10, mixed(250, 250).ranked("raw"))
    assert found["image"] == 0.0
    assert found["text"] > 0.9


def test_calibrated_scores_find_pictures_and_captions(mixed):
    found = mixed(250, 250).within(10, mixed(250, 250).ranked("calibrated"))
    assert found["image"] > 0.9
    assert found["text"] > 0.9


@pytest.mark.parametrize(("texts", "images"), [(250, 250), (400, 40), (100, 10), (20, 20), (8, 8), (60, 4)])
def test_calibration_finds_at_least_what_centring_the_query_alone_finds(mixed, texts, images):
    case = mixed(texts, images)
    mean = case.documents["text"].mean(axis=0)

    def query_centred(query):
        return {side: vectors @ unit(query - mean) for side, vectors in case.documents.items()}

    ours = case.within(10, case.ranked("calibrated"), 50)
    fallback = case.within(10, query_centred, 50)
    assert sum(ours.values()) >= sum(fallback.values())


@pytest.mark.parametrize(("texts", "images"), [(400, 40), (40, 400), (12, 500), (500, 8)])
def test_calibrated_scores_find_more_than_turns_and_than_centring_where_one_side_is_rare(
    mixed, texts, images
):
    case = mixed(texts, images)
    first = {
        rank: sum(case.within(1, case.ranked(rank)).values()) for rank in ("calibrated", "rrf", "centered")
    }
    assert first["calibrated"] > first["rrf"] + 0.05
    if texts > images:  # the other way round centring prefers passages, which are the rare ones
        assert first["calibrated"] > first["centered"] + 0.05


@pytest.mark.parametrize(("texts", "images"), [(12, 500), (500, 8)])
def test_a_rare_modality_is_not_drowned(mixed, texts, images):
    found = mixed(texts, images).within(10, mixed(texts, images).ranked("calibrated"))
    assert min(found.values()) > 0.9


def test_centred_scores_are_cosines_without_the_means():
    documents = two_sides(60, 50)
    query = documents["text"][3] + 0.3
    found = scores_of(query, documents, "centered")
    asked = unit(unit(query) - documents["text"].mean(axis=0))
    for side, vectors in documents.items():
        assert found[side] == pytest.approx(unit(vectors - vectors.mean(axis=0)) @ asked)


def test_raw_scores_are_cosines():
    documents = two_sides(60, 50)
    query = np.arange(8.0)
    found = scores_of(query, documents, "raw")
    for side, vectors in documents.items():
        assert found[side] == pytest.approx(unit(vectors) @ unit(query))


def test_turns_are_taken_by_place_in_the_order_of_each_side(world):
    documents = {"text": world.captions[:40], "image": world.images[100:125]}
    query = world.questions[3]
    found = scores_of(query, documents, "rrf")
    ranked = sorted(((score, side, i) for side in found for i, score in enumerate(found[side])), reverse=True)
    best = {side: np.argsort(-(vectors @ query)).tolist() for side, vectors in documents.items()}
    for place in range(25):
        taken = {side: index for _, side, index in ranked[2 * place : 2 * place + 2]}
        assert taken == {side: best[side][place] for side in documents}
    for side, values in found.items():
        assert values[best[side]] == pytest.approx(1 / (60 + np.arange(1, len(values) + 1)), abs=1e-9)


@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_one_side_is_ranked_by_plain_cosine(rank):
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(40, 8)) + 2
    query = rng.normal(size=8) + 2
    ranks, candidates = ranker(query, {"text": documents}, rank)
    cosines = unit(documents) @ unit(query)
    assert ranks.search_vector("text") == pytest.approx(unit(query))
    assert np.argsort(ranks.scores(candidates)["text"]).tolist() == np.argsort(cosines).tolist()
    assert ranks.vectors("text", candidates["text"]) == pytest.approx(unit(documents))


def test_of_two_sides_the_one_that_is_asked_for_is_ranked_by_plain_cosine():
    documents = two_sides(40, 30)
    query = np.random.default_rng(1).normal(size=8)
    backgrounds, candidates = collection(documents)
    ranks = Ranker([Part("text", query)], backgrounds, ("image",))
    found = ranks.scores({"image": candidates["image"]})
    assert list(found) == ["image"]
    cosines = documents["image"] @ unit(query)
    assert np.argsort(found["image"]).tolist() == np.argsort(cosines).tolist()
    share = 30 / 32
    deviation = sqrt(share * cosines.var() + (1 - share) * 0.1**2)
    assert found["image"] == pytest.approx((cosines - cosines.mean()) / deviation)


def test_plain_scores_have_mean_0_and_deviation_1_over_a_large_background():
    rng = np.random.default_rng(0)
    sample = unit(rng.normal(size=(256, 8)))
    background = Background(9999, sample)
    scores = plain_scores(unit(rng.normal(size=8)), Candidates(sample, np.arange(256)), background)
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    assert scores.std() == pytest.approx(1, abs=0.05)


def test_candidates_are_looked_for_by_the_cosine_they_are_compared_by():
    documents = two_sides(60, 50)
    query = np.random.default_rng(1).normal(size=8)
    ranks, _ = ranker(query, documents)
    for side, vectors in documents.items():
        background = ranks.backgrounds[side]
        # What is the same for every document, and their lengths once they are moved, aside.
        compared = (unit(vectors) - background.mean) @ background.whitening @ ranks.placed
        looked_for = unit(vectors) @ ranks.search_vector(side)
        assert np.corrcoef(compared, looked_for)[0, 1] == pytest.approx(1)
    assert ranker(query, documents, "rrf")[0].search_vector("image") == pytest.approx(unit(query))
    centred, _ = ranker(query, documents, "centered")
    assert centred.search_vector("image") == pytest.approx(unit(unit(query) - documents["text"].mean(axis=0)))


# --- few documents ------------------------------------------------------------------------------------------


def test_of_one_picture_and_one_passage_the_right_one_comes_first(world):
    for item, other in ((item, item + 1) for item in range(40)):
        documents = {"text": world.captions[[other]], "image": world.images[[item]]}
        scores = scores_of(world.questions[item], documents)
        assert scores["image"][0] > scores["text"][0]


def test_two_documents_of_two_modalities_are_told_apart_by_content():
    gap = np.array([0, 0, 2.0])
    texts, images = unit(rows([1, 0, 0], [0, 1, 0]) + gap), unit(rows([1, 0, 0], [0, 1, 0]) - gap)
    scores = scores_of(unit(np.array([1, 0.1, 2.0])), {"text": texts, "image": images})
    assert scores["text"][0] > scores["text"][1]
    assert scores["image"][0] > scores["image"][1]
    assert min(scores["text"][0], scores["image"][0]) > max(scores["text"][1], scores["image"][1])


@pytest.mark.parametrize(
    ("texts", "images", "by_rank"), [(10, 10, True), (11, 10, False), (300, 4, True), (300, 5, False)]
)
def test_a_small_collection_without_a_prior_is_merged_by_rank(texts, images, by_rank):
    documents = two_sides(texts, images)
    query = np.ones(8)
    ranks, candidates = ranker(query, documents)
    assert ranks.by_rank is by_rank
    assert not ranker(query, documents, priors={"image": documents["image"]})[0].by_rank
    if by_rank:
        scores = ranks.scores(candidates)
        best = {side: vectors @ unit(query) for side, vectors in documents.items()}
        for side, cosines in best.items():
            assert np.argsort(-scores[side]).tolist() == np.argsort(-cosines).tolist()
        # The best of the one is as good as the best of the other.
        assert scores["text"].max() == pytest.approx(scores["image"].max(), abs=1e-5)
        relevance = ranks.relevances(candidates)
        assert relevance["text"] == pytest.approx(np.clip(best["text"], 0, 1))


def test_a_prior_stands_in_for_documents_that_are_not_there_yet():
    documents, elsewhere = two_sides(2, 3), two_sides(80, 90, seed=1)
    backgrounds, _ = collection(documents, priors=elsewhere)
    background = backgrounds["image"]
    # The fewer of fifty documents there are, the more of it counts; in the mean no more than one document.
    share = 47 / 50
    expected = (documents["image"].sum(axis=0) + share * elsewhere["image"].mean(axis=0)) / (3 + share)
    assert background.mean == pytest.approx(expected)
    assert background.vectors == pytest.approx(np.concatenate([background.sample, elsewhere["image"][:85]]))
    enough, _ = collection(two_sides(50, 50), priors=elsewhere)
    assert enough["image"].mean == pytest.approx(two_sides(50, 50)["image"].mean(axis=0))
    assert len(enough["image"].vectors) == 50
    nothing = Background(0, np.empty((0, 8)), elsewhere["image"])
    assert nothing.mean == pytest.approx(elsewhere["image"].mean(axis=0))


def test_with_a_prior_few_documents_are_calibrated(world):
    priors = {"text": world.captions[300:400], "image": world.images[400:500]}
    right = 0
    for item in range(40):
        documents = {"text": world.captions[item + 1 : item + 4], "image": world.images[[item]]}
        backgrounds, candidates = collection(documents, priors=priors)
        ranks = Ranker([Part("text", world.questions[item])], backgrounds, ("text", "image"))
        right += place_of(("image", 0), ranks.scores(candidates)) == 1
    assert right >= 36


@pytest.mark.parametrize(("texts", "images"), [(1, 1), (1, 9), (9, 1), (3, 40), (40, 3), (30, 30)])
@pytest.mark.parametrize("kind", ["equal", "zero", "random"])
@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_scores_are_finite_whatever_the_vectors(texts, images, kind, rank):
    fill = {"equal": np.ones, "zero": np.zeros, "random": np.random.default_rng(0).normal}[kind]
    make = (lambda n: fill(size=(n, 4))) if kind == "random" else (lambda n: fill((n, 4)))
    documents = {"text": make(texts), "image": make(images)}
    for query in (np.ones(4), np.arange(4.0)):
        for case in (documents, {"text": documents["text"]}):
            ranks, candidates = ranker(query, case, rank)
            standing = ranks.standing(candidates)
            for found in (standing, ranks.scores(candidates), ranks.relevances(candidates)):
                assert all(np.isfinite(of_side).all() for of_side in found.values())


def test_equal_documents_have_equal_scores():
    scores = scores_of(np.arange(4.0), {"text": np.ones((30, 4)), "image": np.ones((30, 4))})
    assert scores["text"] == pytest.approx(np.full(30, scores["text"][0]))


def test_more_candidates_than_were_counted_are_ranked_too():
    rng = np.random.default_rng(0)
    background = Background(2, unit(rng.normal(size=(2, 4))))
    ranks = Ranker(
        [Part("text", rng.normal(size=4))], {"text": background, "image": background}, ("text", "image")
    )
    scores = ranks.scores({"image": Candidates(rng.normal(size=(9, 4)), np.full(9, -1))})
    assert len(set(scores["image"].tolist())) == 9


def test_no_candidates_have_no_scores():
    backgrounds, _ = collection(two_sides(30, 30))
    ranks = Ranker([Part("text", np.ones(8))], backgrounds, ("text", "image"))
    nothing = {side: Candidates(np.empty((0, 8)), np.empty(0, dtype=np.int64)) for side in backgrounds}
    assert {side: len(found) for side, found in ranks.scores(nothing).items()} == {"text": 0, "image": 0}


def test_a_document_of_a_small_sample_stands_out_further_without_itself():
    documents = two_sides(200, 12)
    backgrounds, candidates = in_order(documents)
    ranks = Ranker([Part("text", np.ones(8))], backgrounds, ("text", "image"))
    within = ranks.standing(candidates)["image"]
    strangers = {**candidates, "image": Candidates(documents["image"], np.full(12, -1))}
    best = int(np.argmax(within))
    assert within[best] > ranks.standing(strangers)["image"][best]


# --- queries of several parts -------------------------------------------------------------------------------


def test_parts_add_up_once_they_are_centred():
    documents = two_sides(30, 40)
    backgrounds, candidates = collection(documents)
    rng = np.random.default_rng(1)
    text, image, unwanted = rng.normal(size=8), rng.normal(size=8), rng.normal(size=8)
    parts = [Part("text", text, 0.7), Part("image", image, 0.3), Part("text", unwanted, -0.5)]
    mean = {side: vectors.mean(axis=0) for side, vectors in documents.items()}
    centred = (
        0.7 * unit(unit(text) - mean["text"])
        + 0.3 * unit(unit(image) - mean["image"])
        - 0.5 * unit(unit(unwanted) - mean["text"])
    )
    for searched in (("text", "image"), ("image",)):
        ranks = Ranker(parts, backgrounds, searched)
        assert ranks.centred == pytest.approx(unit(centred))
        assert ranks.plain == pytest.approx(unit(centred))
    book = ByTheBook(documents, "text")
    placed = (
        0.7 * book.place("text", text) + 0.3 * book.place("image", image) - 0.5 * book.place("text", unwanted)
    )
    assert Ranker(parts, backgrounds, ("text", "image")).placed == pytest.approx(unit(placed), abs=1e-6)
    one = Ranker(parts, backgrounds, ("image",))
    assert one.search_vector("image") == pytest.approx(unit(centred))
    order = np.argsort(one.scores({"image": candidates["image"]})["image"]).tolist()
    assert order == np.argsort(documents["image"] @ unit(centred)).tolist()


@pytest.mark.parametrize("rank", ["raw", "rrf"])
def test_several_parts_are_centred_where_one_would_be_plain(rank):
    documents = two_sides(30, 40)
    parts = [Part("text", np.ones(8), 0.7), Part("image", np.arange(8.0), 0.3)]
    ranks, candidates = ranker(parts, documents, rank)
    found = ranks.scores(candidates)
    for side, vectors in documents.items():
        assert np.argsort(found[side]).tolist() == np.argsort(vectors @ ranks.centred).tolist()


@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_what_is_not_wanted_goes_down(world, rank):
    documents = {"text": world.captions[:100], "image": world.images[100:200]}
    for item in range(5):
        # The nearest other caption is what is not wanted.
        likeness = world.captions[:100] @ world.questions[item]
        other = next(int(i) for i in np.argsort(-likeness) if i != item)
        plain = scores_of([Part("text", world.questions[item])], documents, rank)
        parts = [Part("text", world.questions[item]), Part("text", world.captions[other], -0.5)]
        without = scores_of(parts, documents, rank)
        assert place_of(("text", other), without) > place_of(("text", other), plain)
        assert place_of(("text", other), without) > place_of(("text", item), without)


@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_a_query_that_takes_away_all_it_asks_for_is_refused(rank):
    documents = two_sides(30, 30)
    parts = [Part("text", np.ones(8), 0.5), Part("text", np.full(8, 2.0), -0.5)]
    ranks, candidates = ranker(parts, documents, rank)
    with pytest.raises(ValueError, match=r"takes away all that it asks for.*other weights"):
        ranks.scores(candidates)


def test_a_part_of_a_side_without_documents_stays_as_it_is():
    documents = {"text": two_sides(30, 1)["text"]}
    parts = [Part("text", np.eye(8)[0], 0.7), Part("image", np.eye(8)[1], 0.3)]
    ranks, _ = ranker(parts, documents)
    centred = unit(np.eye(8)[0] - documents["text"].mean(axis=0))
    assert ranks.plain == pytest.approx(unit(0.7 * centred + 0.3 * np.eye(8)[1]))


def test_a_query_equal_to_the_only_document_of_its_side_still_finds_pictures():
    query = unit(rows([1, 2, 3, 4]))[0]
    documents = {"text": query[None], "image": unit(rows([1, 2, 3, 0], [-1, 0, 0, 1]))}
    ranks, candidates = ranker(query, documents)
    assert ranks.centred == pytest.approx(query)
    scores = ranks.scores(candidates)["image"]
    assert scores[0] > scores[1]


# --- variety ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
def test_mmr_picks_what_langchain_picks_and_in_that_order(lambda_mult):
    rng = np.random.default_rng(2)
    vectors, query = rng.normal(size=(20, 6)), rng.normal(size=6)
    relevance = unit(vectors) @ unit(query)
    expected = maximal_marginal_relevance(query, list(vectors), lambda_mult=lambda_mult, k=8)
    assert mmr_order(relevance, vectors, 8, lambda_mult) == expected


def test_mmr_picks_no_more_than_there_are():
    assert mmr_order(np.array([0.1, 0.9]), np.eye(2), 5, 0.5) == [1, 0]
    assert mmr_order(np.empty(0), np.empty((0, 2)), 5, 0.5) == []


@pytest.mark.parametrize(
    ("scores", "level"),
    [
        ([2.0, 2.0 + 3e-6, 3.0], [2.0 + 3e-6, 2.0 + 3e-6, 3.0]),
        ([2.0, 2.0 + 1e-4, 3.0], [2.0, 2.0 + 1e-4, 3.0]),
        ([5.0], [5.0]),
        ([], []),
    ],
)
def test_scores_that_differ_by_rounding_alone_are_the_same(scores, level):
    assert levelled(np.array(scores)).tolist() == level


def test_unit_leaves_zeros_alone():
    assert unit(rows([0, 0], [3, 4])).tolist() == [[0, 0], [0.6, 0.8]]
