"""Search by texts alone, and the three patterns of multimodal RAG held against each other."""

import json

import numpy as np
import pytest
from langchain_core.documents import Document
from typer.testing import CliRunner

from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings, cli
from langchain_mmrag.captioning import CaptionTransformer
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.demo.captions import DrawingCaptioner, caption_of, captioned
from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.document_loaders import ImageLoader
from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation import (
    EvalDocument,
    EvalQuery,
    RetrievalDataset,
    compare_patterns,
    load_dataset,
    save_dataset,
)
from langchain_mmrag.evaluation.answered import Answered, answer_scores, contains, f1, normalised
from langchain_mmrag.evaluation.sent import weighed
from langchain_mmrag.queries import Query
from langchain_mmrag.retrievers import MultimodalRetriever
from tests.unit_tests.answering import model, pictures, texts

TABLE = "| pier | tons |\n|---|---|\n| north | 412 |\n| south | 97 |"
SUMMARY = "How much fish each landing place took in last year"


@pytest.fixture(scope="module")
def clip():
    return OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    paths = {
        name: folder / f"{number}.png" for number, name in enumerate(("cat", "sailboat", "pizza", "owl"))
    }
    for name, path in paths.items():
        draw_thing(name, side=64).save(path)
    return {name: str(path) for name, path in paths.items()}


def fill(store, drawings):
    """Pictures whose captions say what cannot be seen in them, passages, and a table with a summary."""
    store.add_images(
        [drawings["cat"], drawings["sailboat"], drawings["pizza"]],
        [{"year": 1901}, {"year": 1902}, {"year": 1902}],
        ids=["cat", "boat", "bare"],
        captions=["Aunt Ida on the telephone", "a mountain with snow", ""],
    )
    store.add_texts(
        ["The key hangs behind the door of the bakery.", "The tram stops at the castle.", TABLE],
        [{"year": 1901}, {"year": 1902}, {"year": 1902, "modality": "table", "summary": SUMMARY}],
        ids=["key", "tram", "table"],
    )
    return store


def ids(found):
    return [document.id for document in found]


@pytest.fixture
def store(open_store, clip, drawings):
    return fill(open_store(clip, text_embedding=clip, search="text"), drawings)


# --- search by texts ----------------------------------------------------------------------------------------


def test_a_picture_is_found_by_its_caption_and_not_by_what_it_shows(store):
    assert ids(store.similarity_search("a snowy mountain", k=1)) == ["boat"]
    assert "boat" not in ids(store.similarity_search("a snowy mountain", k=2, search="vector", rank="raw"))
    found = ids(store.similarity_search("a pizza", k=9))
    assert "bare" not in found  # it has neither words nor a caption
    assert ids(store.similarity_search("a pizza", k=1, modality="image", search="vector")) == ["bare"]


def test_a_table_is_found_by_its_summary_and_comes_whole(store):
    for asked in ("landing place", "the amount of fish at each harbor"):
        best = store.similarity_search(asked, k=1)[0]
        assert (best.id, best.page_content) == ("table", TABLE)
    assert ids(store.similarity_search("landing place", k=1, search="keyword")) == ["table"]
    assert ids(store.similarity_search("412", k=1)) == ["table"]  # its own words still find it


def test_the_second_vector_is_that_of_the_caption_summary_or_text(store, clip):
    vectors = store._companion.vectors(["cat", "boat", "bare", "key", "table"])
    assert set(vectors) == {"cat", "boat", "key", "table"}
    said = {"cat": "Aunt Ida on the telephone", "key": "The key hangs behind the door of the bakery."}
    for id_, text in {**said, "table": SUMMARY}.items():
        expected = np.asarray(clip.embed_documents([text])[0])
        np.testing.assert_allclose(vectors[id_], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_caption_in_the_metadata_counts_before_the_text(open_store, clip, drawings):
    store = open_store(clip, text_embedding=clip)
    metadata = {"modality": "image", "source": drawings["owl"], "caption": "a fire engine"}
    store.add_documents([Document(id="owl", page_content="IMG_17", metadata=metadata)])
    expected = np.asarray(clip.embed_documents(["a fire engine"])[0])
    found = store._companion.vectors(["owl"])["owl"]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_windows_of_a_long_text_keep_vectors_of_their_own(open_store, clip):
    store = open_store(clip, text_embedding=clip, search="text")
    long = " ".join(f"Line {n} tells of the weather at sea." for n in range(40)) + " A violin was stolen."
    store.add_texts(
        [long, "The tram stops at the castle."], [{"summary": "the log of a ship"}, {}], ["log", "tram"]
    )
    rows = store._collection.get(include=[])["ids"]
    vectors = store._companion.vectors(rows)
    assert set(vectors) == set(rows)
    assert len(np.unique(np.round(np.stack(list(vectors.values())), 4), axis=0)) == len(rows)
    found = store.similarity_search("the stolen violin", k=1)[0]
    assert (found.id, found.page_content) == ("log", long)
    assert "violin" in found.metadata["chunk"]


def test_conditions_hold(store):
    assert set(ids(store.similarity_search("snow", k=9, modality="image"))) == {"boat", "cat"}
    assert set(ids(store.similarity_search("snow", k=9, filter={"year": 1901}))) == {"cat", "key"}
    assert ids(store.similarity_search("a mountain", k=9, filter={"year": 1901}, modality="text")) == ["key"]
    assert ids(store.similarity_search("telephone", k=9, ids=["cat", "bare"])) == ["cat"]
    query = Query(text="snow", modality="image")
    assert set(ids(store.similarity_search(query, k=9))) == {"boat", "cat"}


def test_a_condition_that_most_rows_meet_goes_by_the_index(store, monkeypatch):
    from langchain_mmrag._store import by_text

    few = ids(store.similarity_search("a mountain", k=3, filter={"year": 1902}))
    monkeypatch.setattr(by_text, "_FEW", 0)
    assert ids(store.similarity_search("a mountain", k=3, filter={"year": 1902})) == few == ["boat", *few[1:]]


def test_relevances_go_from_0_to_1_in_the_order_of_the_scores(store):
    ranked = store.search_ranked("Aunt Ida on the telephone", k=9)
    told = store.similarity_search_with_relevance_scores("Aunt Ida on the telephone", k=9)
    assert ids(document for document, _ in ranked) == ids(document for document, _ in told)
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    sure = [each for _, each in told]
    assert sure == sorted(sure, reverse=True)
    assert 0 <= sure[-1] <= sure[0] <= 1
    kept = store.similarity_search("Aunt Ida on the telephone", k=9, score_threshold=0.5)
    assert ids(kept) == [document.id for document, each in told if each >= 0.5]
    assert ids(kept)[0] == "cat"


@pytest.mark.parametrize(("wanted", "unwanted"), [("castle", "violin"), ("violin", "castle")])
def test_what_is_not_wanted_moves_down(open_store, clip, wanted, unwanted):
    store = open_store(clip, text_embedding=clip, search="text")
    store.add_texts(["a castle", "a violin", "the tram", "a pear"], ids=["castle", "violin", "tram", "pear"])
    query = Query(text="a castle and a violin", not_text=f"a {unwanted}")
    found = ids(store.similarity_search(query, k=4))
    assert found[0] == wanted
    assert ids(store.without_text_embedding().similarity_search(query, k=4, search="text")) == [wanted]


def test_queries_without_words_are_refused_and_the_picture_beside_words_does_not_count(store, drawings):
    with pytest.raises(ValueError, match=r"search by text needs text in the query.*search='vector'"):
        store.similarity_search(Query(image=drawings["cat"]))
    with pytest.raises(ValueError, match=r"search by text knows no not_image.*'hybrid'"):
        store.similarity_search(Query(text="snow", not_image=drawings["cat"]))
    with_picture = Query(text="a snowy mountain", image=drawings["pizza"])
    assert ids(store.similarity_search(with_picture, k=2)) == ids(
        store.similarity_search("a snowy mountain", k=2)
    )


def test_the_embedding_of_pictures_is_not_asked(open_store, counting_embeddings, clip):
    store = open_store(counting_embeddings, text_embedding=clip, search="text")
    store.add_texts(["the tram", "a pear"], ids=["tram", "pear"])
    asked = dict(vars(counting_embeddings))
    assert ids(store.similarity_search("a pear", k=1)) == ["pear"]
    assert dict(vars(counting_embeddings)) == asked


def test_without_a_text_embedding_it_is_the_search_by_words(open_store, clip, drawings):
    store = fill(open_store(clip), drawings)
    assert store.search_ranked("the telephone of Ida", search="text") == store.search_ranked(
        "the telephone of Ida", search="keyword"
    )
    assert store.without_text_embedding() is store


def test_updates_and_deletions_take_the_text_along(store, drawings):
    changed = Document(
        page_content=TABLE, metadata={"modality": "table", "summary": "opening hours of the museum"}
    )
    store.update_documents(["table"], [changed])
    assert ids(store.similarity_search("museum", k=1)) == ["table"]
    assert "table" not in ids(store.similarity_search("landing place", k=9, search="keyword"))
    store.add_images([drawings["sailboat"]], ids=["boat"], captions=[""])
    assert set(store._companion.vectors(["boat", "table"])) == {"table"}
    store.delete(["cat"])
    assert set(ids(store.similarity_search("Ida on the telephone", k=9))) == {"key", "tram", "table"}


def test_a_collection_filled_without_is_filled_in(tmp_path, clip, drawings):
    fill(MultimodalChroma("later", clip, persist_directory=tmp_path), drawings)
    later = MultimodalChroma("later", clip, persist_directory=tmp_path, text_embedding=clip, search="text")
    later.rebuild_index()
    assert set(later._companion.vectors(["cat", "boat", "bare", "key", "tram", "table"])) == {
        "cat", "boat", "key", "tram", "table",
    }  # fmt: skip
    assert ids(later.similarity_search("the amount of fish at each harbor", k=1)) == ["table"]


def test_in_hybrid_search_a_caption_helps_its_picture_and_none_is_no_fault(store):
    assert ids(store.similarity_search("a pizza", k=1, modality="image", search="hybrid")) == ["bare"]
    assert ids(store.similarity_search("Aunt Ida", k=1, search="hybrid")) == ["cat"]


@pytest.mark.parametrize(("pattern", "shown"), [("caption", 0), ("multi-vector", 1)])
def test_what_was_found_by_its_text_goes_to_the_model_as_the_pattern_says(store, pattern, shown):
    llm = model("It is Ida [1].", "412 tons [1].")
    chain = create_rag_chain(
        MultimodalRetriever(store=store, k=1), llm, pattern=pattern, images=bool(shown) or None
    )
    assert chain.invoke({"input": "Aunt Ida on the telephone"})["citations"][0]["id"] == "cat"
    assert len(pictures(_blocks(llm.calls[0]))) == shown
    result = chain.invoke({"input": "fish at each landing place"})
    assert ids(result["context"]) == ["table"]
    assert TABLE in "\n".join(texts(_blocks(llm.calls[1])))


def _blocks(messages):
    parts = [
        [message.content] if isinstance(message.content, str) else message.content for message in messages
    ]
    return [
        {"type": "text", "text": part} if isinstance(part, str) else part for each in parts for part in each
    ]


# --- answers, by hand ---------------------------------------------------------------------------------------


def test_answers_are_compared_without_case_articles_punctuation_and_citations():
    assert normalised("The «Ferry», [1, 2] at the  PIER's end!") == "ferry at piers end"
    assert normalised("Three [1-3] boats【2】 in [Source 4] 2024 [9]") == "three boats in 2024"
    said = Answered(
        answer="It sails at noon [1], from the north pier.", references=("North Pier", "the quay")
    )
    assert contains(said) == 1
    assert contains(Answered(answer="the northern pier", references=("north pier",))) == 0
    assert contains(Answered(answer="unknown", references=("no",))) == 0
    assert contains(Answered(answer="anything")) is None
    # it, sails, at, noon, from, north, pier: two of seven, of both words of the reference
    assert f1(said) == pytest.approx(2 * 2 / (7 + 2))
    assert f1(Answered(answer="pier pier", references=("pier",))) == pytest.approx(2 / 3)


def test_citations_and_refusals_are_counted_by_hand():
    answered = [
        # cites a and x; a and b of the documents at hand are relevant
        Answered(answer="1", cited=frozenset("ax"), relevant=frozenset("ab")),
        Answered(answer="2", cited=frozenset("a"), relevant=frozenset("a")),
        Answered(answer="3", cited=frozenset(), relevant=frozenset("abc")),
        # the search brought nothing relevant: no recall to speak of
        Answered(answer="4", cited=frozenset("x"), relevant=frozenset()),
        Answered(answer="5", is_answerable=False),
        Answered(answer="6", cited=frozenset("y"), is_answerable=False),
    ]
    found = answer_scores(answered)
    means = {name: each and each.mean for name, each in found.scores.items()}
    assert means["citation_precision"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert means["citation_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert means["refused"] == pytest.approx(1 / 2)
    assert means["wrongly_refused"] == pytest.approx(1 / 4)
    assert means["contains"] is means["f1"] is None
    assert found.counts == {
        "contains": 0, "f1": 0, "citation_precision": 3, "citation_recall": 3, "refused": 2, "wrongly_refused": 4,
    }  # fmt: skip


# --- patterns compared --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(drawings):
    documents = [
        EvalDocument(id="cat", image=drawings["cat"], text="Aunt Ida on the telephone"),
        EvalDocument(id="pizza", image=drawings["pizza"]),
        EvalDocument(id="key", text="The key hangs behind the door of the bakery."),
        EvalDocument(id="table", text=TABLE, metadata={"modality": "table", "summary": SUMMARY}),
    ]
    queries = [
        EvalQuery(id="q1", text="Aunt Ida on the telephone", answers=("her aunt", "Ida")),
        EvalQuery(id="q2", text="where does the key of the bakery hang", answers=("behind the door",)),
        EvalQuery(id="q3", text="a volcano in the desert", unrelated=True),
        EvalQuery(id="q4", image=drawings["owl"]),
    ]
    relevance = {"q1": {"cat": 1}, "q2": {"key": 1}, "q4": {"cat": 1}}
    return RetrievalDataset("asked", queries, documents, relevance)


@pytest.fixture
def filled(open_store, clip, asked):
    store = open_store(clip, text_embedding=clip)
    store.add_documents(
        [each.to_document() for each in asked.documents], ids=[each.id for each in asked.documents]
    )
    return store


def test_patterns_are_compared_by_what_they_find_send_and_answer(asked, filled):
    said = ["Ida [1].", "In the bakery [1].", "The evidence does not say."]
    llm = model(*said, *said, "Ida [1].", "Behind the door [1].", "A volcano [1].")
    report = compare_patterns(asked, filled, ("clip", "caption", "multi-vector"), llm=llm, k=2)
    assert len(llm.calls) == 9
    assert report.retrieval.dataset == "asked, without 1 queries that are pictures alone"
    assert list(report.retrieval.runs) == ["clip", "caption, multi-vector"]
    assert report.retrieval.score("caption, multi-vector", "success@1").mean == 1
    sent = report.sent
    assert sent["caption"].pictures == 0
    assert sent["clip"].pictures >= 1
    assert sent["multi-vector"].pictures == pytest.approx(
        sum(len(pictures(_blocks(call))) for call in llm.calls[6:]) / 3
    )
    assert sent["multi-vector"].bytes > sent["caption"].bytes > 500
    answers = report.answers
    assert answers["caption"].scores["contains"].mean == pytest.approx(1 / 2)
    assert answers["multi-vector"].scores["contains"].mean == 1
    assert answers["caption"].scores["refused"].mean == 1
    assert answers["multi-vector"].scores["refused"].mean == 0
    assert answers["multi-vector"].scores["citation_precision"].mean == 1
    assert answers["multi-vector"].counts["citation_precision"] == 2
    assert {"retrieval", "sent", "answers"} == set(json.loads(report.to_json()))
    tables = report.to_markdown()
    assert "| caption, multi-vector - clip" in tables
    assert "citation precision [95 %]" in tables


def test_captions_made_at_index_time_serve_every_way_of_searching(open_store, clip, drawings, tmp_path):
    captions = CaptionTransformer(DrawingCaptioner(clip), cache=tmp_path / "captions.sqlite3")
    documents = [document for path in drawings.values() for document in ImageLoader(path).load()]
    captioned = captions.transform_documents(documents)
    for document, thing in zip(captioned, ("a cat", "a sailboat", "a pizza", "an owl"), strict=True):
        assert document.page_content.startswith(f"a picture of {thing}")
    store = open_store(clip, text_embedding=clip)
    store.add_documents(captioned, ids=[*drawings])
    bare = open_store(clip, text_embedding=clip)
    bare.add_documents(documents, ids=[*drawings])
    for name in drawings:
        for search in ("vector", "keyword", "text", "hybrid"):
            assert ids(store.similarity_search(f"a {name}", k=1, search=search)) == [name]
        assert ids(bare.similarity_search(f"a {name}", k=1, search="vector")) == [name]
    assert bare.similarity_search("a pizza", k=4, search="text") == []
    same = (np.asarray(each.get(include=["embeddings"])["embeddings"]) for each in (store, bare))
    np.testing.assert_array_equal(*same)  # the vector stays that of the picture


def test_the_fused_pattern_finds_by_what_is_seen_and_by_what_is_said(asked, filled):
    report = compare_patterns(asked, filled, ("clip", "caption", "fused"), k=2)
    assert list(report.retrieval.runs) == ["clip", "caption", "fused"]
    assert report.retrieval.score("fused", "success@1").mean == 1
    assert report.sent["fused"].pictures >= 1
    assert report.sent["caption"].pictures == 0
    both = MultimodalRetriever(store=filled, k=1, search="hybrid")
    assert ids(both.invoke("a pizza")) == ["pizza"]  # which has no caption
    assert ids(both.invoke("Aunt Ida on the telephone")) == ["cat"]  # which shows neither


def test_without_a_model_what_it_would_be_sent_is_measured(asked, filled):
    report = compare_patterns(asked, filled, ["caption"], k=2)
    assert report.answers == {}
    assert report.sent["caption"].tokens > 100
    assert "sent for a question" in report.to_markdown()
    with pytest.raises(
        ValueError, match="unknown pattern 'captions': use some of clip, caption, multi-vector, fused"
    ):
        compare_patterns(asked, filled, ["captions"])


def test_messages_are_weighed_as_they_are(drawings):
    import base64
    from pathlib import Path

    from langchain_core.messages import HumanMessage

    data = base64.b64encode(Path(drawings["cat"]).read_bytes()).decode()
    block = {"type": "image", "base64": data, "mime_type": "image/png"}
    found = weighed([HumanMessage([{"type": "text", "text": "what is it?"}, block])], "anthropic")
    # 11 letters are 3 tokens, 64 x 64 / 750 pixels 6
    assert (found.pictures, found.tokens, found.bytes) == (1, 3 + 6, 11 + len(data))
    uri = f"data:image/png;base64,{data}"
    spelled = [{"type": "image", "url": uri}, {"type": "image_url", "image_url": {"url": uri}}]
    for block in spelled:
        assert weighed([HumanMessage([block])], "anthropic").tokens == 6
    away = {"type": "image", "url": "https://x.test/cat.png"}
    found = weighed([HumanMessage("what is it?"), HumanMessage([away])])
    assert (found.pictures, found.tokens, found.bytes) == (1, 3, 11 + len(away["url"]))


def test_a_caption_names_the_second_thing_only_if_it_may_be_there():
    assert caption_of({"a cat": 0.5, "a fish": 0.4, "an owl": 0.1}) == "a picture of a cat and a fish"
    assert caption_of({"a cat": 0.9, "a fish": 0.1}) == "a picture of a cat"


def test_the_demo_captioner_names_drawings_and_keeps_captions(asked, clip):
    said = {each.id: each.text for each in captioned(asked, clip).documents}
    assert said["pizza"] == "a picture of a pizza"
    assert said["cat"] == "Aunt Ida on the telephone"
    assert said["key"] == "The key hangs behind the door of the bakery."


# --- the command --------------------------------------------------------------------------------------------


def run(*arguments):
    result = CliRunner().invoke(cli.app, ["eval", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_compares_patterns_of_a_dataset(asked, tmp_path, monkeypatch):
    path = tmp_path / "asked.jsonl"
    save_dataset(asked, path)
    assert [query.answers for query in load_dataset(path).queries] == [
        query.answers for query in asked.queries
    ]
    monkeypatch.setattr(
        "langchain.chat_models.init_chat_model", lambda _: model("Ida [1].", "At home [1].", "No.")
    )
    told = json.loads(
        run(
            path,
            "--pattern",
            "multi-vector",
            "--llm",
            "some:model",
            "-k",
            2,
            "--model",
            "mmrag-tiny",
            "--json",
        ).stdout
    )
    assert told["runs"]["multi-vector"]["cells"][0]["scores"]["success@1"]["mean"] == 1
    assert told["sent"]["multi-vector"]["pictures"] > 0
    assert told["answers"]["multi-vector"]["scores"]["contains"]["mean"] == 0.5
    assert told["answers"]["multi-vector"]["scores"]["refused"]["mean"] == 1


def test_the_command_says_what_does_not_go_together(asked, tmp_path):
    assert "--pattern" in run("demo", "--llm", "some:model").output
    assert "none of clip, caption" in run("demo", "--pattern", "raptor").output
    assert "--thresholds" in run("demo", "--pattern", "clip", "--thresholds").output
    assert "cannot be written" in run("demo", "--plot", tmp_path / "missing" / "report.png").output
    np.save(tmp_path / "v.npy", np.eye(4))
    with pytest.raises(DatasetError, match="ready vectors have no texts"):
        run(tmp_path / "v.npy", "--pattern", "clip", "--model", "mmrag-tiny")
    save_dataset(asked, tmp_path / "d.jsonl")
    bad = (tmp_path / "d.jsonl").read_text().replace('["her aunt", "Ida"]', "[3]")
    (tmp_path / "bad.jsonl").write_text(bad)
    with pytest.raises(DatasetError, match=r"bad\.jsonl:5: answers are texts"):
        load_dataset(tmp_path / "bad.jsonl")


# --- what is no embedding -----------------------------------------------------------------------------------


def test_what_is_no_embedding_or_no_share_is_told_at_once(clip, store):
    with pytest.raises(TypeError, match="embedding_function is a str, not an embedding"):
        MultimodalChroma("things", "ViT-B-32")
    with pytest.raises(TypeError, match="text_embedding is a str, not an embedding"):
        MultimodalChroma("things", clip, text_embedding="words")
    with pytest.raises(ValueError, match=r"lambda_mult must be from 0 .* not 'a'"):
        store.max_marginal_relevance_search("snow", lambda_mult="a")
