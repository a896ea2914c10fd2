"""The keyword index: what a row's words are, what a query means, and scores that are BM25's."""

import math
import random
import sqlite3

import numpy as np
import pytest

from langchain_mmrag import keyword
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag.keyword import KeywordIndex, Term, Words, terms_of, words_of


def index_of(*texts, **columns) -> KeywordIndex:
    """An index of texts, numbered 0, 2, 4, ..."""
    connection = sqlite3.connect(":memory:")
    index = KeywordIndex(connection)
    index.create()
    index.put(
        (2 * place, words_of(text, columns)) for place, text in enumerate(texts) if words_of(text, columns)
    )
    return index


def found(query, *texts) -> list[int]:
    """Places of the texts that a query finds, best first."""
    scored = index_of(*texts).search(query, len(texts))
    return [int(scored.numbers[place]) // 2 for place in np.argsort(-scored.scores, kind="stable")]


def bm25(query: list[str], texts: list[str]) -> list[float]:
    """The formula as the module states it, over words told apart by spaces."""
    rows = [text.split() for text in texts]
    mean_length = sum(map(len, rows)) / len(rows)
    scores = []
    for row in rows:
        score = 0.0
        for word in query:
            n = sum(word in other for other in rows)
            idf = math.log(1 + (len(rows) - n + 0.5) / (n + 0.5))
            tf = row.count(word)
            score += idf * tf * 2.2 / (tf + 1.2 * (1 - 0.75 + 0.75 * len(row) / mean_length))
        scores.append(score)
    return scores


# --- scores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [10_000, 5])
def test_scores_are_those_of_bm25_for_every_row_that_is_found(monkeypatch, budget):
    monkeypatch.setattr(keyword, "_BUDGET", budget)
    monkeypatch.setattr(keyword, "_FEW", 3)
    chance = random.Random(1)
    vocabulary = [f"w{n}" for n in range(30)]
    texts = [
        " ".join(chance.choices(vocabulary, [1 / (n + 1) for n in range(30)], k=chance.randrange(3, 20)))
        for _ in range(60)
    ]
    index = index_of(*texts)
    for _ in range(50):
        query = chance.sample(vocabulary, chance.randrange(1, 5))
        expected = bm25(query, texts)
        scored = index.search(" ".join(query), len(texts))
        for number, score in zip(scored.numbers.tolist(), scored.scores.tolist(), strict=True):
            assert score == pytest.approx(expected[number // 2], rel=1e-5)
        if budget > 60:
            common = [word for word in query if sum(word in text.split() for text in texts) > 30]
            if not common:
                assert set(scored.numbers.tolist()) == {2 * n for n, score in enumerate(expected) if score}


def test_coverage_is_the_share_of_what_the_query_says():
    texts = ["red lighthouse", "red house", "blue sea"]
    scored = index_of(*texts).search("red lighthouse submarine", 3)
    red, lighthouse, submarine = (math.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (2, 1, 0))
    whole = red + lighthouse + submarine
    assert scored.numbers.tolist() == [0, 2]
    assert scored.coverage.tolist() == pytest.approx([(red + lighthouse) / whole, red / whole])
    assert index_of(*texts).search("red lighthouse", 3).coverage[0] == pytest.approx(1)


def test_a_word_that_every_row_of_a_small_collection_has_finds_them_all():
    assert sorted(found("lighthouse", "lighthouse one", "lighthouse two", "the lighthouse")) == [0, 1, 2]


def test_a_word_in_most_rows_finds_nothing_on_its_own_beside_a_rarer_one(monkeypatch):
    monkeypatch.setattr(keyword, "_FEW", 3)
    texts = [f"photo {n}" for n in range(9)] + ["photo lighthouse"]
    assert found("photo lighthouse", *texts) == [9]
    assert len(found("photo", *texts)) == 10


def test_of_a_word_beyond_all_measure_some_rows_stand_for_the_others(monkeypatch):
    monkeypatch.setattr(keyword, "_MOST_ROWS", 5)
    scored = index_of(*["same words"] * 20).search("words", 20)
    assert scored.numbers.tolist() == [0, 2, 4, 6, 8]
    assert scored.each == 4
    assert (scored.coverage == 1).all()


def test_a_title_counts_more_than_a_text_and_a_file_name_less():
    connection = sqlite3.connect(":memory:")
    index = KeywordIndex(connection)
    index.create()
    columns = [
        Words("", "x", "", "light"),
        Words("", "x", "light", ""),
        Words("", "light", "x", ""),
        Words("light", "x", "", ""),
    ]
    index.put((2 * place, words) for place, words in enumerate(columns))
    assert np.argsort(index.search("light", 4).scores).tolist() == [0, 1, 2, 3]


def test_what_is_removed_or_cleared_is_found_no_more():
    index = index_of("red one", "red two")
    index.remove([0])
    assert index.search("red", 1).numbers.tolist() == [2]
    index.put([(0, Words("", "red again", "", ""))])
    assert index.search("red", 2).numbers.tolist() == [0, 2]
    index.clear()
    assert index.search("red", 0).numbers.tolist() == []


# --- the words of a row ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("", {}),
        ("  \n ... 🏖 —", {}),
        ("", {"source": "data:image/png;base64,iVBORw0KGgo"}),
        ("", {"source": "/media/" + "0a1b2c3d" * 8 + ".png"}),
        ("", {"source": "123E4567-e89b-12d3-a456-426614174000.jpg"}),
        ("", {"source": 17, "caption": 3.5, "ocr_text": ["x"], "title": True}),
        ("", {"source": "///"}),
    ],
)
def test_a_row_without_words_is_not_in_the_index(text, metadata):
    assert words_of(text, metadata) is None


@pytest.mark.parametrize(
    ("source", "query"),
    [
        ("/photos/IMG_2041.jpg", "IMG_2041"),
        ("/photos/IMG_2041.jpg", "img_2041.JPG"),
        ("/photos/IMG_2041.jpg", "2041"),
        ("IMG2041.jpg", "2041"),
        ("IMG2041.jpg", "img2041"),
        ("RedLighthouse.png", "lighthouse"),
        (r"C:\photos\red-lighthouse.png", "lighthouse"),
        ("https://example.org/a/Caf%C3%A9%20du%20Port.jpg?width=3#top", "cafe port"),
        ("file:///photos/Straße.jpg", "strasse"),
        ("http://[broken/lighthouse.jpg", "lighthouse"),
        ("https://example.org/album/", "album"),
    ],
)
def test_a_picture_is_found_by_the_name_of_its_file(source, query):
    index = KeywordIndex(sqlite3.connect(":memory:"))
    index.create()
    index.put([(1, words_of("", {"source": source}))])
    assert index.search(query, 1).numbers.tolist() == [1]


@pytest.mark.parametrize("query", ["photos", "example", "width", "holiday"])
def test_folders_and_hosts_are_no_words(query):
    index = KeywordIndex(sqlite3.connect(":memory:"))
    index.create()
    index.put([(1, words_of("", {"source": "https://example.org/holiday/photos/red.jpg?width=3"}))])
    assert index.search(query, 1).numbers.tolist() == []


def test_caption_and_text_in_the_picture_are_words_and_a_caption_counts_once():
    words = words_of(
        "the red one", {"caption": "the red one", "ocr_text": "EXIT 4", "title": "Harbour", "path": "a.jpg"}
    )
    assert words == Words("Harbour", "the red one", "EXIT 4", "a.jpg")
    assert words_of("", {"caption": "red"}).text.split() == ["red"]


# --- the words of a query ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("Red lighthouse", [("red",), ("lighthouse",)]),
        ("red RED réd", [("red",)]),
        ("invoice INV-2024-0815", [("invoice",), ("inv", "2024", "0815")]),
        ("AB/12.3", [("ab", "12", "3")]),
        ('"as it was" then', [("as", "it", "was")]),
        ('the "lighthouse keeper" of the island', [("lighthouse", "keeper"), ("island",)]),
        ("“lighthouse keeper”", [("lighthouse", "keeper")]),
        ("«phare rouge»", [("phare", "rouge")]),
        ('half "open', [("half",), ("open",)]),
        ("the who", [("the",), ("who",)]),
        ("don't", [("don", "t")]),
        ("灯塔", [("灯", "塔")]),
        ("塔", [("塔",)]),
        ("红色灯塔", [("红", "色"), ("色", "灯"), ("灯", "塔")]),
        ('"红色灯塔"', [("红", "色", "灯", "塔")]),
        ("東京tower", [("東", "京"), ("tower",)]),
        ("ｌｉｇｈｔ", [("light",)]),
        ("", []),
        ("🏖 ... !!! — *", []),
        ('""', []),
    ],
)
def test_what_a_query_looks_for(query, terms):
    assert [term.words for term in terms_of(query)] == terms
    assert not any(term.is_prefix for term in terms_of(query))


def test_a_star_at_the_end_asks_for_beginnings():
    assert terms_of("light* on") == [Term(("light",), is_prefix=True)]
    assert terms_of("INV-20*") == [Term(("inv", "20"), is_prefix=True)]
    assert terms_of("*light") == [Term(("light",))]
    assert sorted(found("light*", "a lighthouse", "no light", "enlighten")) == [0, 1]
    assert found("inv-20*", "INV-2024", "INV-1999", "2024") == [0]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("cafe", "Café"),
        ("CAFÉ", "cafe\u0301"),
        ("strasse", "Straße"),
        ("елка", "Ёлка"),
        ("ΣΑΣ", "σας"),
        ("fine", "ﬁne"),
        ("Viet", "Việt"),
        ("हिन्दी", "यह हिन्दी है"),
        ("灯塔", "海边的红色灯塔很高"),
        ("红色的灯塔在哪里", "海边的灯塔"),
        ("ライト", "ﾗｲﾄハウス"),
        ("등대", "빨간 등대가 있다"),
        ("ประภาคาร", "นี่คือประภาคารสีแดง"),
        ("がく", "か\u3099く"),
        ("INV-2024-0815", "see INV-2024-0815."),
        ("inv 2024 0815", "see INV-2024-0815."),
        ("O'Brien", "o’brien was here"),
        ("C++", "written in C++"),
        ("x", "a\x00x\x00b"),
    ],
)
def test_spellings_that_are_read_as_the_same_find_each_other(query, text):
    assert found(query, "nothing like it", text) == [1]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("INV-2024-0815", "INV-2024-0816 and 0815"),
        ('"lighthouse keeper"', "keeper of the lighthouse"),
        ("light", "lighthouse"),
        ("塔灯", "灯塔"),
    ],
)
def test_what_is_not_said_is_not_found(query, text):
    assert found(query, text) == []


def test_the_row_that_has_the_whole_is_better_than_one_that_has_parts():
    assert found("红色灯塔", "色的灯", "一座红色灯塔", "灯塔")[0] == 1
    assert found("red lighthouse", "red red red house", "a red lighthouse", "lighthouse")[0] == 1


@pytest.mark.parametrize(
    "query",
    [
        "AND", "red AND", "NOT red", "red NEAR blue", "NEAR(red blue, 3)", "^red", "text:red", "text : red",
        "- red", "{text name}: red", "red + blue", '"', '""', '"red', 'red"', "'", "''; DROP TABLE words; --",
        "(", ")", "(red", "red)", "*", "**", "red**", "re*d", "a*b*", "\x00", "red\x00blue", "\ud800", "red\udfff",
        "%", "_", "\\", "red\n\t\rblue", "🏖", "🏖️👩‍👩‍👧", "\u200b", "\ufeff", "\u0301", "\U000e0001", "\U0010ffff",
        "\U00030000", "½", "x²", "İ", "ß", "ﷺ", "a" * 10_000, "a-" * 5_000, "灯" * 10_000, '"' + "a b " * 3_000 + '"',
        " ".join(f"w{n}" for n in range(3000)), "red " * 3_000, "a*" * 3_000, "NOT " * 400,
    ],
)  # fmt: skip
def test_no_query_is_an_error(query):
    scored = index_of("a red house", "灯塔", "and or not near").search(query, 3)
    assert np.isfinite(scored.scores).all()
    assert (scored.scores > 0).all()
    assert ((scored.coverage > 0) & (scored.coverage <= 1)).all()


def test_random_queries_are_no_errors():
    chance = random.Random(0)
    alphabet = [
        *"ab*\"'():^-+{}.,\\/%_ \n\x00éßЁ灯등क्ष🏖\ud83d\u0301\u3099\ufe0f",
        " AND ",
        " NOT ",
        " NEAR(",
        "red",
    ]
    index = index_of("a red house", "灯 등 क्ष", "b ab ba")
    for _ in range(1500):
        query = "".join(chance.choices(alphabet, k=chance.randrange(30)))
        scored = index.search(query, 3)
        assert np.isfinite(scored.scores).all(), query


# --- through the ledger ------------------------------------------------------------------------------------------


def test_matches_tell_ids_sides_and_what_scores_are_like(store, sample_images):
    store.add_texts(["red lighthouse", "blue sea", "red red house"], ids=["t1", "t2", "t3"])
    store.add_images(
        [sample_images["red"], sample_images["green"]],
        captions=["red lighthouse at night", ""],
        ids=["p1", "p2"],
    )
    ledger: Ledger = store._ledger
    found = ledger.matches("lighthouse red", 10)
    assert {match.id for match in found.matches[:2]} == {"t1", "p1"}
    assert {match.id: match.side for match in found.matches} == {"t1": "text", "p1": "image", "t3": "text"}
    assert found.worded == {"text": 3, "image": 2}
    for side in ("text", "image"):
        scores = [match.score for match in found.matches if match.side == side]
        scores += [0.0] * (found.worded[side] - len(scores))
        assert found.mean[side] == pytest.approx(np.mean(scores))
        assert found.std[side] == pytest.approx(np.std(scores))
    assert found.matches == sorted(found.matches, key=lambda match: -match.score)
    assert ledger.matches("lighthouse red", None) == found
    assert ledger.matches("lighthouse red", 1).matches == found.matches[:1]
    only = ledger.matches("lighthouse red", 10, side="image")
    assert [match.id for match in only.matches] == ["p1"]
    assert only.mean == found.mean
    assert [match.id for match in ledger.matches("green.png", 10).matches] == ["p2"]


def test_a_query_without_words_matches_nothing_and_still_tells_how_many_rows_have_words(store):
    store.add_texts(["red", "!!!"], [{}, {}])
    for query in ("", "...", "🏖"):
        found = store._ledger.matches(query, 5)
        assert found.matches == []
        assert found.worded == {"text": 1, "image": 0}
        assert found.mean == found.std == {"text": 0.0, "image": 0.0}


def test_a_replaced_or_deleted_row_is_found_by_its_new_words_only(store):
    store.add_texts(["red", "blue"], ids=["a", "b"])
    store.add_texts(["green"], ids=["a"])
    store.delete(["b"])
    assert store._ledger.matches("red", 5).matches == []
    assert store._ledger.matches("blue", 5).matches == []
    assert [match.id for match in store._ledger.matches("green", 5).matches] == ["a"]
