"""Ranking against known answers, and on vectors with the geometry of CLIP's."""

import numpy as np
import pytest
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_mmrag.ranking import Background, Candidates, Ranker, mmr_order, plain_scores, unit

SIZE = 256


def rows(*vectors):
    return np.array(vectors, dtype=float)


def ranker(parts, documents, searched=None, sample=256):
    """A `Ranker` over whole collections, and the candidates of each side."""
    backgrounds, candidates = {}, {}
    for side, vectors in documents.items():
        chosen = np.random.default_rng(0).permutation(len(vectors))[:sample]
        places = np.full(len(vectors), -1)
        places[chosen] = np.arange(len(chosen))
        backgrounds[side] = Background(len(vectors), unit(vectors)[chosen])
        candidates[side] = Candidates(vectors, places)
    return Ranker(parts, backgrounds, searched or tuple(documents)), candidates


def place_of(target, scores):
    """Rank of one document over all sides, 1 for the best."""
    side, index = target
    return 1 + sum(int((of_side > scores[side][index]).sum()) for of_side in scores.values())


class Clip:
    """Vectors with the means, spreads and cosines measured on CLIP ViT-B-32: items with an image, two captions."""

    def __init__(self, items, seed=0):
        rng = np.random.default_rng(seed)
        basis = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
        text_mean, image_mean = np.eye(SIZE)[0], np.zeros(SIZE)
        image_mean[:2] = 0.332, np.sqrt(1 - 0.332**2)

        def content(power, shift):
            drawn = np.zeros((items, SIZE))
            spectrum = np.roll(np.arange(1, SIZE - 1.0) ** -power, shift)
            drawn[:, 2:] = rng.normal(size=(items, SIZE - 2)) * spectrum
            return unit(drawn)

        shared, of_text, of_image = content(0.62, 0), content(0.55, 40), content(0.55, 80)

        def caption():
            said = np.sqrt(0.319) * shared + np.sqrt(0.231) * of_text + np.sqrt(0.45) * content(0.55, 40)
            return unit(0.71 * text_mean + np.sqrt(1 - 0.71**2) * unit(said)) @ basis

        shown = unit(np.sqrt(0.319) * shared + np.sqrt(0.681) * of_image)
        self.images = unit(0.748 * image_mean + np.sqrt(1 - 0.748**2) * shown) @ basis
        self.captions, self.questions = caption(), caption()


@pytest.fixture(scope="module")
def world():
    return Clip(600)


def recall_at_10(world, texts, images, score):
    """Share of captions that find their image, and of questions that find their caption, in a mixed index."""
    rng = np.random.default_rng(1)
    order = rng.permutation(600)
    in_images, in_texts = order[:images], order[images : images + texts]
    documents = {"text": world.captions[in_texts], "image": world.images[in_images]}
    hits = {"image": [], "text": []}
    for _ in range(100):
        index = int(rng.integers(images))
        scores = score(world.captions[in_images[index]], documents)
        hits["image"].append(place_of(("image", index), scores) <= 10)
        index = int(rng.integers(texts))
        scores = score(world.questions[in_texts[index]], documents)
        hits["text"].append(place_of(("text", index), scores) <= 10)
    return {side: float(np.mean(found)) for side, found in hits.items()}


def calibrated(query, documents):
    ranks, candidates = ranker({"text": query}, documents)
    return {side: ranks.scores(side, found) for side, found in candidates.items()}


def raw(query, documents):
    return {side: vectors @ query for side, vectors in documents.items()}


def query_centred(query, documents):
    centred = unit(query - documents["text"].mean(axis=0))
    return {side: vectors @ centred for side, vectors in documents.items()}


def interleaved(query, documents):
    return {side: -np.argsort(np.argsort(-(vectors @ query))) for side, vectors in documents.items()}


def test_plain_cosine_never_finds_a_picture_among_captions(world):
    found = recall_at_10(world, 250, 250, raw)
    assert found["image"] == 0.0
    assert found["text"] > 0.9


def test_calibrated_scores_find_pictures_and_captions(world):
    found = recall_at_10(world, 250, 250, calibrated)
    assert found["image"] > 0.9
    assert found["text"] > 0.9


@pytest.mark.parametrize(("texts", "images"), [(250, 250), (400, 40), (100, 10), (20, 20), (8, 8), (60, 4)])
def test_calibration_finds_at_least_what_centring_the_query_alone_finds(world, texts, images):
    ours = recall_at_10(world, texts, images, calibrated)
    fallback = recall_at_10(world, texts, images, query_centred)
    assert sum(ours.values()) >= sum(fallback.values())


def test_a_rare_modality_is_not_given_half_of_the_places(world):
    ours = recall_at_10(world, 12, 500, calibrated)
    forced = recall_at_10(world, 12, 500, interleaved)
    assert ours["image"] > forced["image"]
    assert ours["text"] > 0.9


def test_a_rare_modality_is_not_drowned(world):
    found = recall_at_10(world, 500, 8, calibrated)
    assert found["image"] > 0.8
    assert found["text"] > 0.8


def test_a_score_is_the_distance_from_the_background_in_standard_deviations():
    rng = np.random.default_rng(0)
    sample = unit(rng.normal(size=(200, 8)))
    query, documents = unit(rng.normal(size=8)), unit(rng.normal(size=(5, 8)))
    backgrounds = {"text": Background(200, sample), "image": Background(200, unit(sample + 1))}
    scores = Ranker({"text": query}, backgrounds, ("text", "image")).scores(
        "text", Candidates(documents, np.full(5, -1))
    )
    mean = sample.mean(axis=0)
    asked = unit(query - mean)
    chance = unit(sample - mean) @ asked
    expected = (unit(documents - mean) @ asked - chance.mean()) / chance.std()
    # The prior of two items in 202 moves mean and deviation a little.
    assert scores == pytest.approx(expected, abs=0.03)


def test_a_document_of_the_sample_is_left_out_of_its_own_background():
    rng = np.random.default_rng(0)
    sample = unit(rng.normal(size=(12, 8)))
    backgrounds = {"text": Background(200, unit(rng.normal(size=(200, 8)))), "image": Background(12, sample)}
    ranks = Ranker({"text": rng.normal(size=8)}, backgrounds, ("text", "image"))
    within = ranks.scores("image", Candidates(sample, np.arange(12)))
    chance = unit(sample - sample.mean(axis=0)) @ ranks.centred
    for place in range(12):
        others = np.delete(sample, place, axis=0)
        score = unit(sample[place] - others.mean(axis=0)) @ ranks.centred
        by_chance = np.delete(chance, place)
        # Eleven others and a prior of two items with mean 0 and deviation 0.1.
        mean = by_chance.mean() * 11 / 13
        deviation = np.sqrt(by_chance.var() * 11 / 13 + 0.1**2 * 2 / 13)
        assert within[place] == pytest.approx((score - mean) / deviation)
    as_strangers = ranks.scores("image", Candidates(sample, np.full(12, -1)))
    assert np.abs(within).max() > np.abs(as_strangers).max()


def test_of_one_picture_and_one_passage_the_right_one_comes_first(world):
    for item, other in ((item, item + 1) for item in range(40)):
        documents = {"text": world.captions[[other]], "image": world.images[[item]]}
        scores = calibrated(world.questions[item], documents)
        assert scores["image"][0] > scores["text"][0]


def test_one_side_is_ranked_by_plain_cosine():
    rng = np.random.default_rng(0)
    documents = rng.normal(size=(40, 8)) + 2
    query = rng.normal(size=8) + 2
    ranks, candidates = ranker({"text": query}, {"text": documents})
    assert ranks.search_vector == pytest.approx(unit(query))
    assert np.argsort(ranks.scores("text", candidates["text"])).tolist() == (
        np.argsort(unit(documents) @ unit(query)).tolist()
    )


def test_plain_scores_have_mean_0_and_deviation_1_over_a_large_background():
    rng = np.random.default_rng(0)
    sample = unit(rng.normal(size=(256, 8)))
    scores = plain_scores(
        unit(rng.normal(size=8)), Candidates(sample, np.arange(256)), Background(9999, sample)
    )
    assert scores.mean() == pytest.approx(0, abs=1e-9)
    assert scores.std() == pytest.approx(1, abs=0.05)


def test_two_documents_of_two_modalities_are_told_apart_by_content():
    gap = np.array([0, 0, 2.0])
    texts, images = unit(rows([1, 0, 0], [0, 1, 0]) + gap), unit(rows([1, 0, 0], [0, 1, 0]) - gap)
    query = unit(np.array([1, 0.1, 2.0]))
    scores = calibrated(query, {"text": texts, "image": images})
    assert scores["text"][0] > scores["text"][1]
    assert scores["image"][0] > scores["image"][1]
    assert min(scores["text"][0], scores["image"][0]) > max(scores["text"][1], scores["image"][1])


@pytest.mark.parametrize(("texts", "images"), [(1, 1), (1, 9), (9, 1), (3, 40), (40, 3), (30, 30)])
@pytest.mark.parametrize("kind", ["equal", "zero", "random"])
def test_scores_are_finite_whatever_the_vectors(texts, images, kind):
    fill = {"equal": np.ones, "zero": np.zeros, "random": np.random.default_rng(0).normal}[kind]
    make = (lambda n: fill(size=(n, 4))) if kind == "random" else (lambda n: fill((n, 4)))
    for query in (np.ones(4), np.zeros(4)):
        scores = calibrated(query, {"text": make(texts), "image": make(images)})
        assert all(np.isfinite(of_side).all() for of_side in scores.values())
        single, candidates = ranker({"image": query}, {"image": make(images)})
        assert np.isfinite(single.scores("image", candidates["image"])).all()


def test_more_candidates_than_were_counted_are_ranked_too():
    rng = np.random.default_rng(0)
    background = Background(2, unit(rng.normal(size=(2, 4))))
    ranks = Ranker({"text": rng.normal(size=4)}, {"text": background, "image": background}, ("text", "image"))
    scores = ranks.scores("image", Candidates(rng.normal(size=(9, 4)), np.full(9, -1)))
    assert len(set(scores.tolist())) == 9


def test_text_and_image_add_up_centred_with_the_text_at_seven_tenths():
    rng = np.random.default_rng(0)
    documents = {"text": unit(rng.normal(size=(30, 8)) + 3), "image": unit(rng.normal(size=(30, 8)) - 3)}
    parts = {"text": rng.normal(size=8) + 3, "image": rng.normal(size=8) - 3}
    ranks, _ = ranker(parts, documents)
    content = {side: unit(unit(parts[side]) - documents[side].mean(axis=0)) for side in parts}
    expected = unit(0.7 * content["text"] + 0.3 * content["image"])
    assert ranks.search_vector == pytest.approx(expected)
    of_one_side, _ = ranker(parts, documents, searched=("image",))
    assert of_one_side.search_vector == pytest.approx(expected)


def test_a_part_of_a_side_without_documents_stays_as_it_is():
    documents = {"text": unit(np.random.default_rng(0).normal(size=(30, 8)))}
    parts = {"text": np.eye(8)[0], "image": np.eye(8)[1]}
    ranks, _ = ranker(parts, documents)
    centred = unit(parts["text"] - documents["text"].mean(axis=0))
    assert ranks.search_vector == pytest.approx(unit(0.7 * centred + 0.3 * parts["image"]))


def test_a_query_equal_to_the_only_document_of_its_side_still_finds_pictures():
    query = unit(rows([1, 2, 3, 4]))[0]
    documents = {"text": query[None], "image": unit(rows([1, 2, 3, 0], [-1, 0, 0, 1]))}
    ranks, candidates = ranker({"text": query}, documents)
    assert ranks.centred == pytest.approx(query)
    scores = ranks.scores("image", candidates["image"])
    assert scores[0] > scores[1]


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


def test_unit_leaves_zeros_alone():
    assert unit(rows([0, 0], [3, 4])).tolist() == [[0, 0], [0.6, 0.8]]
