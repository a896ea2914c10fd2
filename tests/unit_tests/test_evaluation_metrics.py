"""Measures and statistics, against figures worked out by hand and against SciPy."""

import sys
from math import log2

import numpy as np
import pytest

from langchain_mmrag.errors import MissingDependencyError
from langchain_mmrag.evaluation.metrics import cutoff, default_measures, per_query
from langchain_mmrag.evaluation.statistics import difference, score


def test_measures_of_one_ranking_worked_out_by_hand():
    # x (grade 2) and y (grade 1) are relevant; found are y, another, x
    found = per_query(
        [["y", "other", "x"]],
        [{"x": 2, "y": 1, "bad": 0}],
        ["success@1", "recall@1", "recall@3", "precision@3", "mrr@3", "ndcg@3", "ndcg@1", "map@3", "map@1"],
    )
    assert {name: value.item() for name, value in found.items()} == {
        "success@1": 1,
        "recall@1": 0.5,
        "recall@3": 1,
        "precision@3": pytest.approx(2 / 3),
        "mrr@3": 1,
        "ndcg@3": pytest.approx((1 / log2(2) + 2 / log2(4)) / (2 / log2(2) + 1 / log2(3))),
        "ndcg@1": 0.5,
        "map@3": pytest.approx((1 / 1 + 2 / 3) / 2),
        "map@1": 0.5,
    }


def test_a_relevant_document_below_k_does_not_count():
    found = per_query([["a", "b", "x"]], [{"x": 1}], ["mrr@2", "mrr@3", "success@2", "success@3"])
    assert [value.item() for value in found.values()] == [0, pytest.approx(1 / 3), 0, 1]


def test_precision_divides_by_k_even_if_less_was_found():
    assert per_query([["x"]], [{"x": 1}], ["precision@4"])["precision@4"].item() == 0.25


def test_queries_keep_their_places_and_one_that_finds_nothing_scores_0():
    relevance = [{"x": 1}] * 12
    rankings = [["x"] if place % 3 == 0 else [] if place % 3 == 1 else ["a", "x"] for place in range(12)]
    assert per_query(rankings, relevance, ["mrr@10"])["mrr@10"].tolist() == [1, 0, 0.5] * 4
    assert per_query([[], []], relevance[:2], ["ndcg@10", "mrr@10"])["ndcg@10"].tolist() == [0, 0]


def test_equal_places_are_never_reordered_by_id():
    # trec_eval orders ties by id, from the last to the first
    assert per_query([["a", "z"]], [{"a": 1}], ["success@1"])["success@1"].item() == 1
    assert per_query([["z", "a"]], [{"z": 1}], ["success@1"])["success@1"].item() == 1


@pytest.mark.parametrize("name", ["recall", "recall@0", "hits@3", "recall@-1", "ndcg@x"])
def test_unknown_measures_are_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"unknown measure .*success@k, recall@k, precision@k"):
        cutoff(name)


def test_default_measures_are_no_deeper_than_k():
    assert max(cutoff(name) for name in default_measures(3)) == 3
    assert default_measures(10)[0] == "ndcg@10"
    assert len(default_measures(1)) == len(set(default_measures(1)))


def test_without_the_extra_the_error_is_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "langchain-mmrag\[eval\]"'):
        per_query([["x"]], [{"x": 1}], ["mrr@1"])


# intervals and comparisons


def test_the_interval_agrees_with_scipys_bootstrap():
    from scipy.stats import bootstrap

    values = np.random.default_rng(3).beta(0.5, 0.5, 200)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", batch=500, rng=np.random.default_rng(1)
    )
    ours = score(values, resamples=20_000)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.002)


def test_p_agrees_with_scipys_permutation_test():
    from scipy.stats import permutation_test

    rng = np.random.default_rng(5)
    a = rng.random(60)
    b = np.clip(a + rng.normal(0.04, 0.2, 60), 0, 1)
    theirs = permutation_test(
        (b - a,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        batch=500,
        rng=np.random.default_rng(1),
    )
    ours = difference(a, b, resamples=20_000)
    assert 0.01 < ours.p < 0.9
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.01)
    assert ours.low < ours.mean < ours.high
    assert ours.mean == pytest.approx((b - a).mean())


def test_few_queries_are_compared_exactly():
    # of the 8 ways to give three equal gains a sign, 2 are as far from 0 as what was seen
    assert difference(np.zeros(3), np.full(3, 0.2)).p == 0.25
    # queries on which the two agree change nothing
    assert difference(np.array([0, 0, 0, 1.0]), np.array([0.2, 0.2, 0.2, 1.0])).p == 0.25


def test_equal_runs_do_not_differ():
    same = np.array([0.0, 1.0, 0.5])
    assert difference(same, same) == difference(same, same.copy())
    assert (difference(same, same).mean, difference(same, same).p) == (0, 1)


def test_a_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(0).random(50)
    assert score(values, seed=1) == score(values, seed=1)
    assert score(values, seed=1) != score(values, seed=2)


def test_one_query_has_no_interval():
    assert (score(np.array([0.5])).low, score(np.array([0.5])).high) == (None, None)
    assert score(np.ones(5)).low == 1


def test_a_large_comparison_is_quick_and_never_certain():
    rng = np.random.default_rng(0)
    a = rng.random(25_000)
    found = difference(a, a + 0.1)
    assert found.p == pytest.approx(1 / 1001)
    assert found.low == pytest.approx(0.1)
