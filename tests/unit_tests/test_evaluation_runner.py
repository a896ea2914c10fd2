"""Retrievers asked, scores by what is asked with and asked for, reports, thresholds."""

import json
from math import log2

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from PIL import Image

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation import (
    EvalDocument,
    EvalQuery,
    Report,
    RetrievalDataset,
    evaluate,
    held_out,
    measure_thresholds,
)
from langchain_mmrag.evaluation.report import Published
from langchain_mmrag.evaluation.stores import collection_of, documents_of, retrievers_of
from langchain_mmrag.queries import Query
from tests.conftest import CountingEmbeddings


@pytest.fixture
def colours(sample_images) -> RetrievalDataset:
    """Pictures i1 to i3 and passages t1 to t3 of three colours; a red picture asks, and two colours in words."""
    names = ("red", "green", "blue")
    documents = [EvalDocument(id=f"t{n}", text=name) for n, name in enumerate(names, 1)]
    documents += [EvalDocument(id=f"i{n}", image=str(sample_images[name])) for n, name in enumerate(names, 1)]
    queries = [
        EvalQuery(id="words:red", text="red"),
        EvalQuery(id="words:blue", text="blue"),
        EvalQuery(id="picture:red", image=str(sample_images["red"]), exclude=("i1",)),
        EvalQuery(id="copper", text="copper", unrelated=True),
    ]
    relevance = {
        "words:red": {"t1": 1, "i1": 1},
        "words:blue": {"t3": 1, "i3": 1},
        "picture:red": {"t1": 1, "t2": 0},
    }
    return RetrievalDataset("colours", queries, documents, relevance)


ANSWERS = {"red": ["t1", "t2", "i1"], "blue": ["i3", "t1", "t2", "t3"]}


def ranked(query):
    """Ids as from a search engine of its own, worked out by hand."""
    return ANSWERS[query] if isinstance(query, str) else ["i1", "i2", "t2", "t1"]


def test_scores_are_those_worked_out_by_hand(colours):
    report = evaluate(colours, ranked, k=3, measures=["recall@3", "success@1", "ndcg@3"])
    # red: t1 and i1 of 2 found; blue: i3 of 2; the picture, i1 left out: i2, t2, t1
    assert report.score("retriever", "recall@3").mean == pytest.approx((1 + 0.5 + 1) / 3)
    assert report.score("retriever", "success@1").mean == pytest.approx(2 / 3)
    best = 1 + 1 / log2(3)
    assert report.score("retriever", "ndcg@3").mean == pytest.approx(((1 + 0.5) / best + 1 / best + 0.5) / 3)
    assert report.queries == 3  # what nothing answers is no part of it


def test_cells_count_only_targets_of_their_modality(colours):
    report = evaluate(colours, ranked, k=3, measures=["recall@3", "mrr@3"])
    cells = {cell.name: cell for cell in report.runs["retriever"].cells}
    assert list(cells) == ["all", "image → text", "text → image", "text → text"]
    assert {name: cell.queries for name, cell in cells.items()} == {
        "all": 3,
        "image → text": 1,
        "text → image": 2,
        "text → text": 2,
    }
    assert cells["text → image"].scores["recall@3"].mean == 1
    # i1 is behind t1, which answers too and so does not stand in its way, and t2, which does
    assert cells["text → image"].scores["mrr@3"].mean == pytest.approx((1 / 2 + 1) / 2)
    assert cells["text → text"].scores["recall@3"].mean == 0.5
    assert cells["image → text"].scores["mrr@3"].mean == pytest.approx(1 / 3)


def test_the_mix_is_told_by_what_is_asked_with(colours):
    mix = evaluate(colours, ranked, k=2).runs["retriever"].mix
    assert mix["text"] == {"image": 0.25, "text": 0.75}
    assert mix["image"] == {"image": 0.5, "text": 0.5}
    assert mix["all"] == {"image": pytest.approx(2 / 6), "text": pytest.approx(4 / 6)}


def test_a_picture_with_words_has_a_row_of_its_own(colours, sample_images):
    both = EvalQuery(id="both", text="at night", image=str(sample_images["red"]))
    mixed = RetrievalDataset("both", [both], colours.documents, {"both": {"i2": 1}})
    report = evaluate(mixed, lambda query: [query.text, "i2"], k=2, measures=["mrr@2"])
    assert [cell.name for cell in report.runs["retriever"].cells] == ["all", "text+image → image"]
    assert report.score("retriever", "mrr@2").mean == 0.5
    assert report.to_markdown().count("| retriever") == 1  # one row says it all


class Library(BaseRetriever):
    """A LangChain retriever that is none of ours."""

    def _get_relevant_documents(self, query, *, run_manager):
        return [Document(page_content="", metadata={"isbn": isbn}) for isbn in ("t2", "t1", "t2", "t1", "i1")]


def test_any_langchain_retriever_is_measured_and_ids_may_lie_in_the_metadata(colours):
    words = RetrievalDataset("words", colours.queries[:1], colours.documents, colours.relevance)
    report = evaluate(
        words, Library(), k=3, measures=["precision@3", "mrr@3"], id_of=lambda d: d.metadata["isbn"]
    )
    # each id counts where it stands first: t2, t1, i1
    assert report.score("retriever", "precision@3").mean == pytest.approx(2 / 3)
    assert report.score("retriever", "mrr@3").mean == 0.5
    with pytest.raises(DatasetError, match=r"has no id .* say with id_of"):
        evaluate(words, Library(), k=3)


def test_scored_documents_and_queries_arrive_as_they_are(colours):
    asked = []

    def scored(query):
        asked.append(query)
        return [(Document(id="t1", page_content="red"), 0.9)]

    report = evaluate(colours, scored, k=1)
    assert report.score("retriever", "success@1").mean == pytest.approx(2 / 3)
    assert asked[:3] == ["red", "red", "blue"]  # the first once more, as it may load a model
    assert asked[3] == Query(image=colours.queries[2].image)


def test_two_runs_are_compared_query_by_query(colours):
    report = evaluate(colours, {"first": ranked, "nothing": lambda _: []}, k=3, measures=["recall@3"])
    whole = report.comparisons[0]
    assert (whole.run, whole.baseline, whole.measure) == ("nothing", "first", "recall@3")
    assert whole.difference.mean == pytest.approx(-2.5 / 3)
    assert whole.difference.p == 0.25  # three queries cannot say more
    assert {(each.query, each.target) for each in report.comparisons} == {
        ("all", "all"),
        ("image", "text"),
        ("text", "image"),
        ("text", "text"),
    }


def test_latency_is_measured(colours, monkeypatch):
    ticks = iter([0, 0.010, 1, 1.020, 2, 2.030])
    monkeypatch.setattr("langchain_mmrag.evaluation.runner.perf_counter", lambda: next(ticks))
    latency = evaluate(colours, ranked, k=3).runs["retriever"].latency
    assert (latency.p50, latency.p90) == (pytest.approx(20), pytest.approx(28))


def test_progress_counts_every_query_of_every_run(colours):
    told = []
    evaluate(colours, {"a": ranked, "b": ranked}, k=3, on_progress=lambda *step: told.append(step))
    assert told == [(1, 6, "a"), (2, 6, "a"), (3, 6, "a"), (4, 6, "b"), (5, 6, "b"), (6, 6, "b")]


def test_what_cannot_be_measured_is_refused(colours):
    with pytest.raises(DatasetError, match="k is 7, but colours has only 6 documents: lower k"):
        evaluate(colours, ranked, k=7)
    with pytest.raises(ValueError, match="k must be at least 1"):
        evaluate(colours, ranked, k=0)
    with pytest.raises(ValueError, match="recall@5 looks beyond the k of 3"):
        evaluate(colours, ranked, k=3, measures=["recall@5"])
    with pytest.raises(ValueError, match="there is no retriever"):
        evaluate(colours, {}, k=3)
    only = RetrievalDataset("none", colours.unrelated, colours.documents, {})
    with pytest.raises(DatasetError, match="none: every query is unrelated"):
        evaluate(only, ranked, k=3)


# reports


def test_a_report_is_a_table_json_and_a_picture(colours, tmp_path):
    report = evaluate(
        colours, {"mine": ranked, "a|b": lambda _: ["t1"]}, k=3, measures=["ndcg@3", "success@1"]
    )
    table = report.to_markdown()
    lines = table.splitlines()
    assert lines[0] == "colours: 3 queries, documents: 3 text, 3 image"
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "run",
        "query → target",
        "queries",
        "ndcg@3 [95 %]",
        "success@1",
        "image in top 3",
        "p50 ms",
        "p90 ms",
    ]
    assert "a\\|b - mine" in table
    assert len({len(line) for line in lines[2:12]}) == 1  # it lines up
    row = json.loads(report.to_json())
    assert row["runs"]["mine"]["cells"][0]["scores"]["success@1"]["mean"] == pytest.approx(2 / 3)
    assert row["settings"]["documents"] == {"text": 3, "image": 3}
    report.plot(tmp_path / "report.png")
    with Image.open(tmp_path / "report.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    with pytest.raises(DatasetError, match=r"cannot write .*report.xyz"):
        report.plot(tmp_path / "report.xyz")
    with pytest.raises(KeyError):
        report.score("mine", "ndcg@3", "audio", "text")


def test_published_figures_stand_in_the_table(colours):
    report = evaluate(colours, ranked, k=3, measures=["success@1", "mrr@3"])
    beside = Published("ViT", "published: 1000 pictures", "text", "image", {"success@1": 0.668})
    shown = Report(**{**vars(report), "published": (beside,)}).to_markdown().splitlines()
    row = next(line for line in shown if line.startswith("| ViT"))
    assert [cell.strip() for cell in row.strip("|").split("|")][:5] == [
        "ViT",
        "text → image",
        "published: 1000 pictures",
        "0.668",
        "",
    ]
    assert len(row) == len(shown[2])


# stores


def test_a_collection_is_made_asked_and_gone(colours):
    with collection_of(colours, CountingEmbeddings(show_progress=False)) as store:
        found = retrievers_of(store, colours, k=3, ranks=["raw", "calibrated"])
        report = evaluate(colours, found, k=3)
        client, name = store._client, store._collection_name
        assert found["raw"].k == 4  # one more, as the picture leaves itself out
    assert list(report.runs) == ["raw", "calibrated"]
    assert report.score("raw", "success@1").mean == 1
    assert report.score("raw", "recall@3", "text", "text").mean == 1
    assert name not in [collection.name for collection in client.list_collections()]


def test_a_collection_tells_its_documents_and_sources(store, sample_images):
    store.add_texts(
        ["one", "two", "three"], [{"source": "a.md"}, {"source": "a.md"}, None], ids=["1", "2", "3"]
    )
    store.add_images([str(sample_images["red"])], ids=["4"])
    held = documents_of(store)
    assert {each.id: each.modality for each in held["ids"]} == {
        "1": "text",
        "2": "text",
        "3": "text",
        "4": "image",
    }
    assert {each.id: each.modality for each in held["sources"]} == {
        "a.md": "text",
        str(sample_images["red"]): "image",
    }


# thresholds


def relevances(query):
    """Documents with relevance: what nothing answers still finds something, but less of it."""
    known = {"red": [("t1", 0.9), ("i1", 0.6)], "blue": [("t2", 0.8), ("i3", 0.5)], "copper": [("t1", 0.55)]}
    scores = known[query] if isinstance(query, str) else [("i1", 1.0), ("t1", 0.3)]
    return [(Document(id=id_, page_content=""), score) for id_, score in scores]


def test_thresholds_cost_and_save_what_was_worked_out_by_hand(colours):
    found = measure_thresholds(colours, relevances, [0.9, 0.0, 0.55, 0.6, 1.0])
    assert (found.related, found.unrelated) == (3, 1)
    rows = {row.threshold: row for row in found.rows}
    assert list(rows) == [0.0, 0.55, 0.6, 0.9, 1.0]
    assert [row.false_positive_rate for row in rows.values()] == [1, 1, 0, 0, 0]
    # at .55 blue loses i3 and the picture t1 (i1 it asks with itself)
    assert [row.miss_rate for row in rows.values()] == [
        0,
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        1,
    ]
    assert rows[0.0].documents == pytest.approx(5 / 3)
    assert rows[0.0].precision == pytest.approx(4 / 5)
    assert rows[0.9].precision == 1
    assert rows[1.0].precision is None
    table = found.to_markdown()
    assert "3 related queries, 1 that nothing answers" in table
    assert "| 0.55      | 1.000           | 0.667  |" in table


def test_thresholds_need_both_kinds_of_query_and_lie_between_0_and_1(colours):
    with pytest.raises(ValueError, match=r"a threshold is a relevance from 0 to 1, not 1\.5"):
        measure_thresholds(colours, relevances, [1.5])
    related = RetrievalDataset("related", colours.related, colours.documents, colours.relevance)
    with pytest.raises(DatasetError, match="there are no unrelated queries: mark some"):
        measure_thresholds(related, relevances)


def test_answers_held_out_make_queries_unrelated(colours):
    found = held_out(colours, share=0.34, seed=0)
    gone = {document.id for document in colours.documents} - {document.id for document in found.documents}
    assert gone
    for query in found.queries:
        kept = [id_ for id_, grade in found.relevance[query.id].items() if grade > 0]
        assert query.unrelated == (not kept)
        assert not gone & set(kept)
    assert found.related
    assert len(found.unrelated) > len(colours.unrelated)
    with pytest.raises(DatasetError, match="leaves nothing to ask for"):
        held_out(colours, share=1.0)
