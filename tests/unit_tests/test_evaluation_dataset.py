"""Datasets: what fits together, what does not, and JSON lines in and out."""

import json
import shutil

import pytest

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation import EvalDocument, EvalQuery, RetrievalDataset, load_dataset, save_dataset
from langchain_mmrag.queries import Query

PASSAGE = EvalDocument(id="d1", text="a red ferry")


def dataset(queries=None, documents=(PASSAGE,), relevance=None) -> RetrievalDataset:
    asked = [EvalQuery(id="q1", text="ferry")] if queries is None else queries
    return RetrievalDataset("boats", asked, documents, {"q1": {"d1": 1}} if relevance is None else relevance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"documents": []}, "boats: there are no documents"),
        ({"queries": []}, "boats: there are no queries"),
        ({"documents": [PASSAGE, PASSAGE]}, "document 'd1' is there twice"),
        ({"queries": [EvalQuery(id="q1", text="a")] * 2}, "query 'q1' is there twice"),
        ({"relevance": {"q1": {"d2": 1}}}, "relevant is 'd2', but no document has this id"),
        ({"relevance": {}}, "query 'q1': no document answers it"),
        ({"relevance": {"q1": {"d1": 0}}}, "query 'q1': no document answers it"),
        ({"relevance": {"q1": {"d1": -1}}}, "grade -1: use whole numbers"),
        ({"relevance": {"q1": {"d1": 0.5}}}, "grade 0.5: use whole numbers"),
        (
            {"queries": [EvalQuery(id="q1", text="a", unrelated=True)]},
            "marked unrelated, but documents answer it",
        ),
        ({"queries": [EvalQuery(id="q1", text=" ")]}, "there is nothing to ask"),
        ({"documents": [EvalDocument(id="d1", text=" ")]}, "document 'd1' is empty"),
        (
            {"documents": [EvalDocument(id="d1", image="/nowhere/x.png")]},
            "there is no picture /nowhere/x.png",
        ),
        ({"queries": [EvalQuery(id="q1", image="/nowhere/y.png")]}, "there is no picture /nowhere/y.png"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    with pytest.raises(DatasetError) as caught:
        dataset(**options)
    assert message in str(caught.value)


def test_queries_ask_as_retrievers_expect(sample_images):
    picture = str(sample_images["red"])
    assert EvalQuery(id="q", text="red").ask() == "red"
    assert EvalQuery(id="q", image=picture).ask() == Query(image=picture)
    both = EvalQuery(id="q", image=picture, text="at night")
    assert both.ask() == Query(image=picture, text="at night")
    assert [query.kind for query in (EvalQuery(id="q", text="a"), both)] == ["text", "text+image"]
    assert EvalQuery(id="q", text="a", modality="question").kind == "question"


def test_documents_become_those_a_store_takes(sample_images):
    picture = str(sample_images["red"])
    found = EvalDocument(id="d", image=picture, text="a flag", metadata={"year": 1901}).to_document()
    assert (found.id, found.page_content) == ("d", "a flag")
    assert found.metadata == {"year": 1901, "modality": "image", "source": picture}
    assert PASSAGE.to_document().metadata == {}
    assert EvalDocument(id="t", text="| a |", metadata={"modality": "table"}).modality == "table"


def test_a_limit_draws_queries_and_keeps_documents():
    many = [EvalQuery(id=f"q{k}", text="ferry") for k in range(20)]
    whole = dataset(many, relevance={query.id: {"d1": 1} for query in many})
    few = whole.limited(5, seed=1)
    assert len(few.queries) == 5
    assert few.documents == whole.documents
    assert few.queries == whole.limited(5, seed=1).queries
    assert few.queries != whole.limited(5, seed=2).queries
    assert whole.limited(None) is whole
    assert whole.limited(99) is whole


# JSON lines


def write(path, *rows):
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8"
    )
    return path


def test_a_file_says_everything(tmp_path, sample_images):
    file = write(
        tmp_path / "boats.jsonl",
        {"query": "q1", "text": "ferry", "relevant": {"d1": 2, "d2": 1}},
        "",
        {"document": "d1", "text": "a red ferry", "metadata": {"page": 3}},
        {"document": "d2", "image": "images/red.png"},
        {
            "query": "q2",
            "image": "images/blue.png",
            "relevant": ["d2"],
            "exclude": ["d1"],
            "modality": "photo",
        },
        {"query": 3, "text": "copper", "unrelated": True},
    )
    found = load_dataset(file)
    assert found.name == "boats"
    assert found.relevance == {"q1": {"d1": 2, "d2": 1}, "q2": {"d2": 1}, "3": {}}
    assert found.documents[1].image == str(sample_images["red"])
    assert found.documents[0].metadata == {"page": 3}
    assert (found.queries[1].exclude, found.queries[1].kind) == (("d1",), "photo")
    assert [query.id for query in found.unrelated] == ["3"]


def test_written_and_read_again_it_is_the_same_also_elsewhere(tmp_path, sample_images):
    picture = str(sample_images["red"])
    original = RetrievalDataset(
        "set",
        [
            EvalQuery(id="q", text="ä", image=picture, exclude=("d1",)),
            EvalQuery(id="u", text="x", unrelated=True),
        ],
        [PASSAGE, EvalDocument(id="d2", image=picture, metadata={"year": 1901})],
        {"q": {"d2": 3}},
    )
    save_dataset(original, tmp_path / "set.jsonl")
    again = load_dataset(tmp_path / "set.jsonl")
    assert (again.queries, again.documents) == (original.queries, original.documents)
    assert again.relevance == {"q": {"d2": 3}, "u": {}}
    # the folder may move
    shutil.copytree(tmp_path, tmp_path / "moved")
    moved = load_dataset(tmp_path / "moved" / "set.jsonl")
    assert moved.documents[1].image == str(tmp_path / "moved" / "images" / "red.png")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{'document': 1}", ":2: this is no JSON"),
        ("[1]", ":2: this is no JSON object"),
        ({"text": "a"}, ":2: a line has either 'document' or 'query'"),
        ({"document": "d2", "txet": "a"}, ":2: unknown key 'txet': use document, text, image, metadata"),
        ({"document": "d2", "text": 5}, ":2: text must be text, not 5"),
        ({"document": None, "text": "a"}, ":2: an id is text or a whole number"),
        ({"document": "d2", "text": "a", "metadata": [1]}, ":2: metadata must be an object"),
        ({"document": "d2", "image": "gone.png"}, ":2: document 'd2': there is no picture"),
        ({"document": "d1", "text": "again"}, ":2: document 'd1' is there twice"),
        (
            {"query": "q2", "text": "a", "relevant": "d1"},
            ':2: name documents as {"id": grade} or ["id", ...]',
        ),
        ({"query": "q2", "text": "a", "relevant": ["d9"]}, ":2: query 'q2': relevant is 'd9'"),
        ({"query": "q2", "text": "a"}, ":2: query 'q2': no document answers it: name some as relevant"),
    ],
)
def test_an_error_names_the_file_the_line_and_what_to_do(tmp_path, row, message):
    file = write(
        tmp_path / "boats.jsonl",
        {"document": "d1", "text": "a ferry"},
        row,
        {"query": "q1", "text": "a", "relevant": ["d1"]},
    )
    with pytest.raises(DatasetError) as caught:
        load_dataset(file)
    assert str(caught.value).startswith(f"{file}{message}")


def test_an_empty_file_has_nothing_to_measure_on(tmp_path):
    with pytest.raises(DatasetError, match=r"empty.jsonl: there are no documents"):
        load_dataset(write(tmp_path / "empty.jsonl"))
