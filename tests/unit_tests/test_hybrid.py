"""Words and second vectors beside the vectors all rows have: the formulas, and what they do to searches."""

import json
import re
from dataclasses import astuple, dataclass
from math import log, sqrt
from statistics import NormalDist
from uuid import uuid4
from zlib import crc32

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import OpenCLIPEmbeddings, Query, cli
from langchain_mmrag.demo.worded import (
    COMMON_WORDS,
    DATE,
    DESCRIPTION,
    FILE_NAME,
    IDENTIFIER,
    IDENTIFIER_IN_WORDS,
    MISSPELT,
    NAME,
    NAME_AND_THING,
    QUESTION,
    TOPIC,
    labelled_papers,
)
from langchain_mmrag.fusion import Chance, fused, joined
from langchain_mmrag.vectorstores import MultimodalChroma

# --- the formulas -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Words:
    score: float
    coverage: float = 1.0
    id: str = ""


@dataclass(frozen=True)
class Found:
    """What a collection's words say, worked out from all scores."""

    matches: list[Words]
    mean: dict[str, float]
    std: dict[str, float]
    worded: dict[str, int]


def chance(scores, images=(), coverage=1.0):
    """Of rows with these scores; 0 for rows with other words."""
    sides = {"text": np.array(scores, float), "image": np.array(images, float)}
    return Chance.of(
        Found(
            [Words(score, coverage) for each in sides.values() for score in each if score],
            {side: float(each.mean()) if len(each) else 0.0 for side, each in sides.items()},
            {side: float(each.std()) if len(each) else 0.0 for side, each in sides.items()},
            {side: len(each) for side, each in sides.items()},
        )
    )


SCORES = {"text": np.array([3.0, 2.0, 1.0, 0.0]), "image": np.array([2.5, 0.5])}
RELEVANCE = {"text": np.array([0.9, 0.6, 0.2, 0.1]), "image": np.array([0.8, 0.15])}
NOTHING = [None, None]
RARE = chance([9.0] + 99 * [0.0])


def plain(values):
    return {side: each.tolist() for side, each in values.items()}


@pytest.mark.parametrize("matching", [1, 3, 10, 50])
def test_a_match_says_the_more_the_fewer_documents_have_it(matching):
    of = chance(matching * [4.0] + (99 - matching) * [0.0])
    # Of 99 and one that never matches; for equal scores the bound is the share itself.
    assert of.relevance(Words(4.0)) == pytest.approx(1 - log(matching) / log(100))
    assert of.standing(Words(4.0)) == pytest.approx(max(NormalDist().inv_cdf(1 - matching / 100), 0))


def test_the_documents_of_both_sides_are_one_population():
    apart, together = chance([4.0, 0.0], [0.0, 4.0, 4.0]), chance([4.0, 4.0, 4.0, 0.0, 0.0])
    assert astuple(apart) == pytest.approx(astuple(together))


def test_a_word_that_every_document_has_says_nothing():
    of = chance(99 * [4.0])
    assert of.standing(Words(4.0)) == 0
    assert of.relevance(Words(4.0)) < 0.01


def test_the_only_document_with_words_answers_by_them():
    assert chance([4.0]).relevance(Words(4.0)) == pytest.approx(1)


def test_words_nobody_has_take_nothing_from_those_that_are_found():
    of = chance([9.0] + 98 * [0.0], coverage=0.2)
    assert of.relevance(Words(9.0, 0.2)) == pytest.approx(1)
    assert of.relevance(Words(9.0, 0.1)) == pytest.approx(0.5)


def test_no_words_at_all_change_nothing():
    scores, relevance = fused(SCORES, RELEVANCE, {"text": [None] * 4, "image": NOTHING}, RARE)
    assert (plain(scores), plain(relevance)) == (plain(SCORES), plain(RELEVANCE))


def test_common_words_change_the_order_within_a_side_and_nothing_across():
    of = chance(12 * [4.0] + 87 * [0.0])  # each says 1.17
    said = [None, None, Words(4.0), None]
    scores, relevance = fused(SCORES, RELEVANCE, {"text": said, "image": NOTHING}, of)
    # 1 + 1.17 is more than 2 and less than 3
    assert plain(scores) == {"text": [3, 1, 2, 0], "image": [2.5, 0.5]}
    assert relevance["image"].tolist() == [0.8, 0.15]
    assert relevance["text"].tolist() == [0.9, 0.2, 0.6, 0.1]


@pytest.mark.parametrize("side", ["text", "image"])
def test_what_hardly_any_document_has_comes_first_and_is_the_most_relevant(side):
    words = {"text": [None] * 4, "image": NOTHING}
    words[side] = [*words[side][:-1], Words(9.0)]
    scores, relevance = fused(SCORES, RELEVANCE, words, RARE)
    everything = np.concatenate([scores["text"], scores["image"]])
    assert scores[side][-1] == everything.max() > 3
    assert (np.delete(everything, 3 if side == "text" else 5) <= 3).all()
    assert relevance[side][-1] == max(each.max() for each in relevance.values()) == pytest.approx(1)


def test_of_each_side_three_documents_at_most_pass_the_other_by_their_words():
    given = {"text": np.arange(6.0), "image": np.array([7.0])}
    sure = {side: each / 10 for side, each in given.items()}
    of = chance(6 * [9.0] + 93 * [0.0])
    words = [Words(9.0 - 0.01 * place, 1.0) for place in range(6)]
    scores, _ = fused(given, sure, {"text": words, "image": [None]}, of)
    assert (scores["text"] > 7).tolist() == [True, True, True, False, False, False]
    assert scores["text"][0] == scores["text"].max()
    # The three have taken the best scores of their side along: the others stand no higher than before.
    assert sorted(scores["text"])[:3] == [0, 1, 2]


def test_the_windows_of_a_text_share_its_words_and_its_place_and_the_nearest_is_first():
    shared = Words(9.0)
    scores, _ = fused(SCORES, RELEVANCE, {"text": [shared] * 4, "image": NOTHING}, RARE)
    assert scores["text"].min() > 3
    assert np.argsort(-scores["text"]).tolist() == [0, 1, 2, 3]


def test_of_two_answers_the_better_one_is_the_first():
    said = [None, None, Words(8.0), Words(9.0)]
    of = chance([8.0, 9.0] + 97 * [0.0])
    scores, relevance = fused(SCORES, RELEVANCE, {"text": said, "image": NOTHING}, of)
    assert scores["text"][3] > scores["text"][2] > 3
    assert relevance["text"][3] >= relevance["text"][2] >= 0.9


def test_two_vectors_count_alike_and_a_missing_one_not_at_all():
    passages, none = np.array([-3.0, np.nan, 3.0, 2.9]), np.full(2, np.nan)
    scores, relevance = joined(SCORES, RELEVANCE, {"text": passages, "image": none})
    # (3 - 3) / √2 = 0, 2, (1 + 3) / √2 = 2.83, (0 + 2.9) / √2 = 2.05
    assert 2.9 / sqrt(2) > 2
    assert plain(scores) == {"text": [0, 1, 3, 2], "image": [2.5, 0.5]}
    assert plain(relevance) == {"text": [0.1, 0.2, 0.9, 0.6], "image": [0.8, 0.15]}


def test_a_caption_moves_its_picture_among_pictures_and_no_passage():
    captions = np.array([np.nan, 5.0])
    scores, relevance = joined(SCORES, RELEVANCE, {"text": np.full(4, np.nan), "image": captions})
    # 2.5 without a caption, (0.5 + 5 / 2) / √1.25 = 2.68 with one
    assert plain(scores) == {"text": [3, 2, 1, 0], "image": [0.5, 2.5]}
    assert plain(relevance) == {"text": plain(RELEVANCE)["text"], "image": [0.15, 0.8]}


# --- papers with numbers, names and pictures ----------------------------------------------------------------


@pytest.fixture(scope="module")
def clip():
    return OpenCLIPEmbeddings("mmrag-tiny")


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    # not the seed that settings were chosen on
    return labelled_papers(tmp_path_factory.mktemp("papers"), seed=7)


class LetterPieces(Embeddings):
    """Words as bags of three letters in a row: misspelt ones stay near."""

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        vector = np.full(512, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            for start in range(len(word)):
                vector[crc32(f" {word} "[start : start + 3].encode()) % 512] += 1
        return np.sqrt(vector).tolist()


@pytest.fixture(scope="module")
def store(papers, clip):
    """With a text embedding: its companion is asked only where the store itself is."""
    store = MultimodalChroma(f"papers-{uuid4()}", clip, text_embedding=LetterPieces())
    documents = [document.to_document() for document in papers.documents]
    store.add_documents(documents, ids=[document.id for document in papers.documents])
    yield store
    store.delete_collection()


@pytest.fixture(scope="module")
def bare(store, clip):
    """The same collection opened without a text embedding."""
    return MultimodalChroma(store._collection_name, clip, client=store._client)


def asked(papers, *kinds, at_most=12):
    return [query for query in papers.related if query.kind in kinds][:at_most]


def recall(papers, store, query, search, *, pictures=False):
    answers = {id_ for id_ in papers.relevance[query.id] if not pictures or id_.startswith("picture")}
    found = {document.id for document in store.similarity_search(query.text, k=10, search=search)}
    return len(answers & found) / len(answers) if answers else None


def mean_recall(papers, store, queries, search, **options):
    recalls = [recall(papers, store, query, search, **options) for query in queries]
    return float(np.mean([each for each in recalls if each is not None]))


@pytest.mark.parametrize("kind", [IDENTIFIER, IDENTIFIER_IN_WORDS, FILE_NAME, NAME_AND_THING])
def test_what_is_named_by_rare_words_comes_first(papers, bare, kind):
    firsts = [
        bare.similarity_search(query.text, k=1, search="hybrid")[0].id in papers.relevance[query.id]
        for query in asked(papers, kind)
    ]
    assert np.mean(firsts) >= 0.9


@pytest.mark.parametrize("kind", [NAME, DATE])
def test_what_several_documents_are_named_is_found_of_both_sides(papers, bare, kind):
    assert mean_recall(papers, bare, asked(papers, kind), "hybrid") == 1


@pytest.mark.parametrize("kind", [DESCRIPTION, COMMON_WORDS, QUESTION])
def test_pictures_are_found_as_well_as_by_vectors_alone(papers, bare, kind):
    queries = asked(papers, kind)
    by_vector = mean_recall(papers, bare, queries, "vector", pictures=True)
    assert by_vector > 0.6
    assert mean_recall(papers, bare, queries, "hybrid", pictures=True) >= by_vector
    assert mean_recall(papers, bare, queries, "keyword", pictures=True) < by_vector


def test_an_exact_match_is_relevant_whatever_words_stand_around_it(papers, bare):
    for query in asked(papers, IDENTIFIER, IDENTIFIER_IN_WORDS, at_most=30):
        (answer,) = papers.relevance[query.id]
        for search in ("hybrid", "keyword"):
            found = bare.search_ranked(query.text, k=5, search=search, score_threshold=0.5)
            assert answer in [document.id for document, _ in found], (query.text, search)


def test_words_that_many_documents_have_make_none_of_them_relevant(papers, bare):
    for query in papers.unrelated[:10]:  # "the old gorilla of the harbor"
        by_vector = bare.search_ranked(query.text, k=10, score_threshold=0.5)
        hybrid = bare.search_ranked(query.text, k=10, score_threshold=0.5, search="hybrid")
        assert len(hybrid) <= len(by_vector)
        assert bare.search_ranked(query.text, k=10, search="keyword")
        assert bare.search_ranked(query.text, k=10, score_threshold=0.5, search="keyword") == []


def test_relevance_does_not_rise_down_the_list_of_answers(papers, bare):
    for query in asked(papers, IDENTIFIER, NAME, DATE, at_most=30):
        found = bare.similarity_search_with_relevance_scores(query.text, k=10, search="hybrid")
        assert found[0][1] == max(relevance for _, relevance in found)


def test_stop_words_alone_find_what_the_vectors_find(bare):
    words = "the of and"
    ids = [[d.id for d in bare.similarity_search(words, k=10, search=s)] for s in ("vector", "hybrid")]
    assert set(ids[0][:3]) & set(ids[1])


def test_conditions_hold_for_what_words_find(papers, bare):
    (query, *_) = [q for q in asked(papers, NAME, at_most=50) if len(papers.relevance[q.id]) > 2]
    options = {"k": 10, "search": "hybrid"}
    pictures = bare.similarity_search(query.text, modality="image", **options)
    assert pictures
    assert all(document.metadata["modality"] == "image" for document in pictures)
    assert pictures[0].id in papers.relevance[query.id]
    named = bare.similarity_search(query.text, where_document={"$contains": "took part"}, **options)
    assert named
    assert all("took part" in document.page_content for document in named)


# --- a text embedding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["vector", "hybrid"])
def test_a_text_embedding_finds_passages_whose_words_the_others_do_not_know(papers, store, bare, search):
    queries = asked(papers, MISSPELT)
    with_it = mean_recall(papers, store, queries, search)
    assert with_it > mean_recall(papers, bare, queries, search) + 0.2


@pytest.mark.parametrize("search", ["vector", "hybrid"])
@pytest.mark.parametrize("kind", [DESCRIPTION, COMMON_WORDS])
def test_a_text_embedding_takes_no_picture_away(papers, store, bare, kind, search):
    queries = asked(papers, kind)
    by_vector = mean_recall(papers, bare, queries, "vector", pictures=True)
    assert mean_recall(papers, store, queries, search, pictures=True) >= by_vector


def test_conditions_hold_for_what_a_text_embedding_finds(papers, store):
    (query, *_) = asked(papers, MISSPELT)
    found = store.similarity_search(query.text, k=5, where_document={"$contains": "Invoice"})
    assert found
    assert all("Invoice" in document.page_content for document in found)
    assert {
        d.metadata.get("modality") for d in store.similarity_search(query.text, k=5, modality="image")
    } == {"image"}
    ids = [document.id for document in papers.documents[-3:]]
    assert {document.id for document in store.similarity_search(query.text, k=5, ids=ids)} == set(ids)


def test_raw_ranking_and_questions_without_words_do_without_a_text_embedding(papers, store, bare):
    (query, *_) = asked(papers, TOPIC)
    picture = Image.open(next(d.image for d in papers.documents if d.image))
    for question, options in ((query.text, {"rank": "raw"}), (Query(image=picture), {})):
        found = [
            [(d.id, score) for d, score in each.search_ranked(question, k=10, **options)]
            for each in (store, bare)
        ]
        assert found[0] == found[1]


def test_what_is_not_wanted_counts_for_a_text_embedding_too(papers, store):
    (query, *_) = asked(papers, TOPIC)
    first, second = (query.text.split()[place] for place in (2, 4))

    def share(asked):
        found = store.similarity_search(asked, k=10, modality="text")
        return sum(second in document.page_content for document in found)

    assert share(Query(text=f"{first} {second}", not_text=second)) < share(f"{first} {second}")


# --- the data themselves ------------------------------------------------------------------------------------


def test_another_seed_makes_other_papers_and_the_other_half_shares_nothing_with_them(papers, tmp_path):
    again = labelled_papers(tmp_path, seed=7)
    assert [query.text for query in again.queries] == [query.text for query in papers.queries]
    assert [document.text for document in again.documents] == [d.text for d in papers.documents]
    other = labelled_papers(tmp_path / "other", seed=8)
    kinds = (NAME, DESCRIPTION, FILE_NAME, IDENTIFIER)
    texts = [{q.text for q in asked(each, *kinds, at_most=1000)} for each in (papers, other)]
    assert not texts[0] & texts[1]


def test_the_command_measures_searches_on_papers_of_a_seed():
    arguments = ["eval", "words", "--compare", "calibrated", "--seed", "7"]
    done = CliRunner().invoke(cli.app, [*arguments, "--limit", "40", "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["dataset"] == "words 7"
    scores = {name: run["cells"][0]["scores"]["ndcg@10"]["mean"] for name, run in told["runs"].items()}
    assert scores["calibrated, hybrid"] > scores["calibrated, vector"] + 0.2
