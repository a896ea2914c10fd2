"""Conditions on numbers: integers and fractions compare as numbers do, in all that takes a condition."""

import operator
from datetime import UTC, date, datetime

import numpy as np
import pytest

from langchain_mmrag.queries import Query

COLUMNS = {
    "whole": [1, 2, 3, -2, -3, 0],
    "parts": [0.5, 2.0, 2.5, -2.5, -2.3, 9.99],
    "mixed": [2, 2.5, 3.0, -2, -2.5, 0, True, "2.5", None],
}
NUMBERS = (2, 2.0, 2.5, -2, -2.5, -2.3, 0, 0.5, -0.5, 9.99)
BY_SIZE = {"$lt": operator.lt, "$lte": operator.le, "$gt": operator.gt, "$gte": operator.ge}


def is_number(value):
    return type(value) in {int, float}


def equals(value, other):
    return is_number(value) == is_number(other) and type(value) is not bool and value == other


def meets(value, test, number):
    """What anybody would take a condition to mean."""
    if test in BY_SIZE:
        return is_number(value) and BY_SIZE[test](value, number)
    wanted = number if isinstance(number, list) else [number]
    is_among = any(equals(value, each) for each in wanted)
    return is_among == (test in {"$eq", "$in"})


@pytest.fixture
def filled(open_store, counting_embeddings):
    """Rows named by their column and place, such as `parts-2`."""
    store = open_store(counting_embeddings)
    for column, values in COLUMNS.items():
        metadatas = [{"column": column, "y": value} for value in values]
        store.add_texts(
            [f"row {column} {n}" for n in range(len(values))],
            metadatas,
            ids=[f"{column}-{n}" for n in range(len(values))],
        )
    return store


def expected(test, number, columns=tuple(COLUMNS)):
    return {
        f"{column}-{n}"
        for column in columns
        for n, value in enumerate(COLUMNS[column])
        if meets(value, test, number)
    }


@pytest.mark.parametrize("test", [*BY_SIZE, "$eq", "$ne"])
def test_a_number_compares_with_columns_of_any_numbers(filled, test):
    for number in NUMBERS:
        assert set(filled.get(where={"y": {test: number}})["ids"]) == expected(test, number), number


@pytest.mark.parametrize("test", ["$in", "$nin"])
@pytest.mark.parametrize("values", [[2], [2.5], [2, 2.5], [2.5, -2.5, 9.99], [0, -2.3, 3.0], [2.0, -3]])
def test_lists_may_mix_integers_and_fractions(filled, test, values):
    assert set(filled.get(where={"y": {test: values}})["ids"]) == expected(test, values)


def test_lists_may_mix_words_and_numbers(filled):
    found = filled.get(where={"y": {"$in": ["2.5", 3, 2.5, True]}})["ids"]
    assert set(found) == {"whole-2", "parts-2", "mixed-1", "mixed-2", "mixed-6", "mixed-7"}
    rest = filled.get(where={"y": {"$nin": ["2.5", 3, 2.5, True]}})["ids"]
    assert set(rest) == set(filled.get()["ids"]) - set(found)


def test_a_plain_value_is_the_number_itself(filled):
    assert set(filled.get(where={"y": 2.5})["ids"]) == expected("$eq", 2.5)
    assert set(filled.get(where={"y": 2.0})["ids"]) == expected("$eq", 2)
    assert set(filled.get(where={"y": np.float32(2.5)})["ids"]) == expected("$eq", 2.5)
    assert set(filled.get(where={"y": {"$gt": np.int64(2)}})["ids"]) == expected("$gt", 2)


def test_conditions_nest(filled):
    condition = {
        "$and": [
            {"$or": [{"column": "whole"}, {"column": "parts"}]},
            {"$or": [{"y": {"$lt": -2.1, "$gte": -2.5}}, {"y": {"$gt": 1.5, "$lte": 2.5}}]},
        ]
    }
    assert set(filled.get(where=condition)["ids"]) == {"whole-1", "parts-1", "parts-2", "parts-3", "parts-4"}


SEARCHES = {
    "ranked": lambda store, given: [d for d, _ in store.search_ranked("row", 30, filter=given)],
    "raw": lambda store, given: [d for d, _ in store.search_ranked("row", 30, filter=given, rank="raw")],
    "keyword": lambda store, given: store.similarity_search("row", 30, filter=given, search="keyword"),
    "hybrid": lambda store, given: store.similarity_search("row", 30, filter=given, search="hybrid"),
    "text": lambda store, given: store.similarity_search("row", 30, filter=given, search="text"),
    "query": lambda store, given: store.similarity_search(
        Query(text="row", not_text="sea"), 30, filter=given
    ),
    "distances": lambda store, given: [d for d, _ in store.similarity_search_with_score("row", 30, given)],
    "relevance": lambda store, given: [
        d for d, _ in store.similarity_search_with_relevance_scores("row", 30, filter=given)
    ],
    "vectors": lambda store, given: [d for d, _ in store.similarity_search_with_vectors("row", 30, given)],
    "vector": lambda store, given: store.similarity_search_by_vector(
        store.embeddings.embed_query("row"), 30, given
    ),
    "mmr": lambda store, given: store.max_marginal_relevance_search("row", 30, 30, filter=given),
    "mmr vector": lambda store, given: store.max_marginal_relevance_search_by_vector(
        store.embeddings.embed_query("row"), 30, 30, filter=given
    ),
    "retriever": lambda store, given: store.as_retriever(search_kwargs={"k": 30, "filter": given}).invoke(
        "row"
    ),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_takes_them_so(filled, search):
    found = {document.id for document in SEARCHES[search](filled, {"y": {"$lt": 2.5}})}
    assert found == expected("$lt", 2.5)
    assert "whole-1" in found  # the 2 that is cut off otherwise


def test_getting_and_deleting_by_a_condition_take_them_so(filled):
    assert filled.get(["whole-1", "whole-2"], where={"y": {"$lt": 2.5}})["ids"] == ["whole-1"]
    filled.delete(where={"y": {"$ne": 2.5}, "column": {"$ne": "mixed"}})
    filled.delete(["mixed-0", "mixed-1"], where={"y": {"$lt": 2.5}})
    assert set(filled.get()["ids"]) == {"parts-2", *(f"mixed-{n}" for n in range(1, 9))}


@pytest.mark.parametrize(
    ("operand", "seconds"),
    [
        ("2024-01-01", 1704067200.0),
        ("2024-01-01T01:00:00+01:00", 1704067200.0),
        (date(2024, 1, 1), 1704067200.0),
        (datetime(2024, 1, 1, tzinfo=UTC), 1704067200.0),
    ],
)
def test_a_date_that_is_compared_by_size_is_refused_with_the_column_that_has_its_seconds(
    filled, operand, seconds
):
    with pytest.raises(ValueError, match=rf"'date_ts': {{'\$gte': {seconds}}}"):
        filled.similarity_search("row", filter={"date": {"$gte": operand}})
    with pytest.raises(ValueError, match="date_ts"):
        filled.delete(where={"$or": [{"y": 1}, {"date": {"$gte": operand}}]})
    assert len(filled.get()["ids"]) == sum(map(len, COLUMNS.values()))


@pytest.mark.parametrize("operand", ["cheap", True, None, [1, 2], float("nan"), float("inf")])
def test_what_is_no_number_is_not_compared_by_size(filled, operand):
    with pytest.raises(ValueError, match=r"^filter: .*y.*number"):
        filled.get(where={"y": {"$lt": operand}})
