"""Texts longer than the model reads: one document, found by each of its windows, and gone without a trace."""

import random

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index

from langchain_mmrag import CLIPTextSplitter, MultimodalRetriever, OpenCLIPEmbeddings, create_rag_chain
from langchain_mmrag.display import hits_html
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.prompts import documents_to_content_blocks, documents_to_text, quote_evidence
from langchain_mmrag.quotes import Excerpt, excerpt_of
from langchain_mmrag.types import CHUNK, CHUNK_END, CHUNK_START, PARENT_ID, WINDOW
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings

FILLER = [
    "On Monday we stayed at home and read the paper.",
    "Nothing else was to be done, so we waited for the rain to stop.",
    "Later the neighbours came, and we talked until it was dark.",
    "My sister wrote a letter to her friend, which was never sent.",
    "The shop was closed, as it always is in winter.",
]
THINGS = [
    "lighthouse",
    "sailboat",
    "violin",
    "pineapple",
    "banana",
    "bicycle",
    "dog",
    "guitar",
    "airplane",
    "anchor",
    "bee",
    "camel",
    "candle",
    "castle",
    "cow",
    "crab",
    "elephant",
    "ghost",
    "hammer",
    "helicopter",
    "lobster",
    "mushroom",
    "penguin",
    "rocket",
    "snail",
    "strawberry",
    "tiger",
    "tractor",
    "umbrella",
    "whale",
]
FACT = "There was a red lighthouse."


def diary(fact=FACT, sentences=60, seed=0):
    """A text of about 20 windows with one fact in the middle."""
    said = random.Random(seed).choices(FILLER, k=sentences)
    return " ".join([*said[: sentences // 2], fact, *said[sentences // 2 :]])


@pytest.fixture(scope="module")
def tiny():
    return OpenCLIPEmbeddings("mmrag-tiny", device="cpu", show_progress=False)


@pytest.fixture
def store(open_store, tiny):
    return open_store(tiny)


def rows(store, **conditions):
    """Every row of the collection by id, windows too."""
    found = store._collection.get(include=["documents", "metadatas"], **conditions)
    columns = zip(found["documents"], found["metadatas"], strict=True)
    return dict(zip(found["ids"], columns, strict=True))


def further_windows(embedding, text):
    """The windows of a text after the first by their start, each text once."""
    distinct = {}
    for start, end in CLIPTextSplitter(embedding).spans(text):
        distinct.setdefault(text[start:end], start)
    return {start: window for window, start in [*distinct.items()][1:]}


def windows_of(store, id_):
    return {key: row for key, row in rows(store).items() if key.startswith(f"{id_}#")}


def test_a_long_text_is_one_document_and_a_row_for_each_further_window(store, tiny):
    text = diary()
    assert store.add_texts([text, "short"], [{"source": "diary.md"}, {"n": 1}], ["long", "short"]) == [
        "long",
        "short",
    ]
    _, first_end = CLIPTextSplitter(tiny).spans(text)[0]
    expected = {
        f"long#{start}": (
            window,
            {"source": "diary.md", PARENT_ID: "long", CHUNK_START: start, WINDOW: True},
        )
        for start, window in further_windows(tiny, text).items()
    }
    assert len(expected) > 10
    assert rows(store) == {
        "long": (text, {"source": "diary.md", CHUNK_END: first_end}),
        "short": ("short", {"n": 1}),
        **expected,
    }


def test_what_repeats_itself_is_one_window(store):
    paragraph = "The shop was closed, as it always is in winter, and so we went home again.\n\n"
    store.add_texts(
        [paragraph * 200 + "A lighthouse.\n\n" + paragraph.replace(" ", "\n") * 200], ids=["long"]
    )
    assert "A lighthouse." in " ".join(text for text, _ in windows_of(store, "long").values())
    assert len(rows(store)) < 10


def test_each_row_has_the_vector_of_its_own_window(store, tiny):
    text = diary()
    store.add_texts([text], ids=["long"])
    found = store._collection.get(include=["documents", "embeddings"])
    for id_, shown, vector in zip(found["ids"], found["documents"], found["embeddings"], strict=True):
        read = text[: store.get(ids=["long"])["metadatas"][0][CHUNK_END]] if id_ == "long" else shown
        assert vector == pytest.approx(tiny.embed_query(read), abs=1e-5)
    assert not any(
        tiny.truncated(found["documents"][found["ids"].index(i)] for i in found["ids"] if i != "long")
    )


def test_a_fact_in_the_middle_is_found_where_cut_texts_lose_it(store, tiny):
    """The embedded model knows names, not prose: it finds more than half, by the first window next to none."""
    facts = {f"{n}": f"We saw a {thing}." for n, thing in enumerate(THINGS)}
    texts = [diary(fact, seed=n) for n, fact in enumerate(facts.values())]
    store.add_texts(texts, ids=list(facts))
    queries = tiny.embed_texts_array([f"a {thing}" for thing in THINGS])
    held = store._collection.get(include=["embeddings"])
    best = (queries @ np.transpose(held["embeddings"])).argmax(axis=1)
    found = sum(held["ids"][row].partition("#")[0] == id_ for row, id_ in zip(best, facts, strict=True))
    ends = [metadata[CHUNK_END] for metadata in store.get(ids=list(facts))["metadatas"]]
    cut = tiny.embed_texts_array([text[:end] for text, end in zip(texts, ends, strict=True)])
    found_cut = sum((queries @ cut.T).argmax(axis=1) == range(len(THINGS)))
    assert found >= 0.5 * len(THINGS)
    assert found_cut <= 0.15 * len(THINGS)


def test_all_rows_are_embedded_in_one_go(open_store):
    class Counts(CountingEmbeddings):
        context_length = 8

        def token_counts(self, texts):
            return [2 + len(text.split()) for text in texts]

    embedding = Counts(show_progress=False, batch_size=1000)
    store = open_store(embedding)
    store.add_texts([" ".join("abcdefghijklmnop"), "red", " ".join("qrstuvwxyz")], ids=["a", "b", "c"])
    assert embedding.text_batches == [len(rows(store))]
    assert len(rows(store)) > 5
    assert embedding.truncated(["one two three four five six", "one two three four five six seven"]) == [
        False,
        True,
    ]


def test_windows_are_never_listed(store):
    store.add_texts([diary(), "short"], [{"kind": "diary"}, {"kind": "note"}], ["long", "short"])
    window = next(iter(windows_of(store, "long")))
    assert sorted(store.get()["ids"]) == ["long", "short"]
    assert store.get(where={"kind": "diary"})["ids"] == ["long"]
    assert (
        store.get(where={"$or": [{"kind": "diary"}, {"kind": "note"}]}, limit=5)["ids"] == store.get()["ids"]
    )
    assert store.get(where_document={"$contains": "lighthouse"})["ids"] == ["long"]
    pages = [store.get(limit=1, offset=offset)["ids"] for offset in range(3)]
    assert pages == [*([id_] for id_ in store.get()["ids"]), []]
    assert [found.id for found in store.get_by_ids(["short", window, "long"])] == ["short", "long"]
    assert store.get(ids=[window])["ids"] == [window]  # who knows its name may see it
    assert store.get(ids=window)["ids"] == [window]


@pytest.mark.parametrize("how", ["ids", "all", "where", "where_document", "ids and where", "not_contains"])
def test_windows_go_with_their_document(store, how):
    store.add_texts([diary(), diary("x", seed=1)], [{"kind": "diary"}, {"kind": "note"}], ["long", "other"])
    others = windows_of(store, "other")
    store.delete(
        **{
            "ids": {"ids": ["long"]},
            "all": {},
            "where": {"where": {"kind": "diary"}},
            "where_document": {"where_document": {"$contains": "lighthouse"}},
            "ids and where": {"ids": ["long", "other"], "where": {"kind": "diary"}},
            "not_contains": {"where_document": {"$not_contains": " x "}},
        }[how]
    )
    assert windows_of(store, "long") == {}
    assert windows_of(store, "other") == ({} if how == "all" else others)
    assert store.get()["ids"] == ([] if how == "all" else ["other"])


def test_a_condition_decides_on_documents_not_on_windows(store):
    store.add_texts([diary()], ids=["long"])
    before = rows(store)
    store.delete(where_document={"$not_contains": "lighthouse"})  # most windows do not contain it
    assert rows(store) == before


@pytest.mark.parametrize("successor", ["shorter", "short", "blank", "image", "other long"])
def test_a_replaced_document_leaves_no_windows(store, sample_images, successor):
    store.add_texts([diary()], [{"old": 1}], ["long"])
    if successor == "image":
        store.add_images([sample_images["red"]], ids=["long"])
    else:
        text = {"shorter": diary(sentences=8), "short": "short", "blank": " ", "other long": diary(seed=9)}[
            successor
        ]
        store.add_documents([Document(page_content=text, metadata={"new": 1})], ids=["long"])
        assert store.get(ids=["long"])["documents"] == [text]
    expected = further_windows(store.embeddings, store.get(ids=["long"])["documents"][0])
    left = windows_of(store, "long")
    assert sorted(left) == sorted(f"long#{start}" for start in expected)
    assert all("old" not in metadata and metadata["new"] == 1 for _, metadata in left.values())
    assert (CHUNK_END in store.get(ids=["long"])["metadatas"][0]) == bool(expected)


def test_update_documents_replaces_windows_and_knows_none_by_id(store, caplog):
    store.add_texts([diary()], ids=["long"])
    window = next(iter(windows_of(store, "long")))
    (found,) = store.get_by_ids(["long"])
    found.page_content = "A short one now."
    store.update_document("long", found)
    assert rows(store) == {"long": ("A short one now.", None)}
    store.add_texts([diary()], ids=["long"])
    store.update_documents([window], [Document(page_content="intruder")])
    assert window in caplog.text
    assert windows_of(store, "long")[window][0] != "intruder"


def test_documents_that_come_out_and_go_in_again_are_the_same(store):
    (id_,) = store.add_texts([diary()], [{"source": "diary.md"}])
    before = rows(store)
    assert store.add_documents([doc.model_copy(update={"id": None}) for doc in store.get_by_ids([id_])]) == [
        id_
    ]
    assert rows(store) == before


def test_langchains_index_keeps_windows_in_step(store):
    manager = InMemoryRecordManager("long text")
    manager.create_schema()

    def run(*texts):
        documents = [Document(page_content=text, metadata={"source": text[:9]}) for text in texts]
        return index(documents, manager, store, cleanup="full", source_id_key="source", key_encoder="sha256")

    assert run(diary(), diary(seed=1))["num_added"] == 2
    assert run(diary(), diary(seed=1))["num_skipped"] == 2
    assert run(diary(seed=1), "short")["num_deleted"] == 1
    (kept, short) = sorted(store.get()["ids"], key=lambda id_: -len(store.get(ids=[id_])["documents"][0]))
    assert set(rows(store)) == {kept, short, *windows_of(store, kept)}
    run()
    assert rows(store) == {}


@pytest.mark.parametrize("mark", ["window", "chunk", "chunk_start", "chunk_end", PARENT_ID])
def test_keys_of_the_callers_own_mean_nothing(store, mark):
    """A passage by the window, a page with its parent: documents like any other."""
    store.add_texts(["a short one", diary()], [{mark: True}, {mark: True}], ["short", "long"])
    assert sorted(store.get()["ids"]) == ["long", "short"]
    assert [found.metadata[mark] for found in store.get_by_ids(["short", "long"])] == [True, True]
    if mark not in {PARENT_ID, CHUNK_START}:  # of a window they tell of the window
        assert all(metadata[mark] is True for _, metadata in windows_of(store, "long").values())
    store.delete(["long"])
    assert list(rows(store)) == ["short"]


def test_pages_are_no_windows_of_what_they_name_their_parent(store):
    store.add_texts([diary()], ids=["book"])
    store.add_texts(
        ["page one", "page two"], [{PARENT_ID: "book", CHUNK_START: 0, "window": True}] * 2, ["book#p1", "p2"]
    )
    store.delete(["book"])
    assert sorted(rows(store)) == ["book#p1", "p2"]


def test_a_mark_in_metadata_given_is_left_out(store):
    store.add_texts(["a short one"], [{WINDOW: True, CHUNK_END: 3, "kind": "note"}], ["short"])
    assert rows(store) == {"short": ("a short one", {"kind": "note"})}


def test_a_document_keeps_an_id_that_looks_like_a_windows(store, tiny):
    text = diary()
    start = CLIPTextSplitter(tiny).spans(text)[1][0]
    store.add_texts(["my own", text], ids=[f"long#{start}", "long"])
    assert store.get_by_ids([f"long#{start}"])[0].page_content == "my own"
    assert sorted(store.get()["ids"]) == sorted(["long", f"long#{start}"])


def test_of_two_long_texts_with_one_id_the_last_wins(store):
    assert store.add_texts([diary(), diary(seed=3)], ids=["long", "long"]) == ["long", "long"]
    expected = MultimodalChroma.from_texts(
        [diary(seed=3)], store.embeddings, ids=["long"], collection_name="last-wins"
    )
    assert rows(store) == rows(expected)
    expected.delete_collection()


def test_a_document_is_written_after_its_windows(store, monkeypatch):
    """More rows than Chroma takes at once: a crash in between leaves nothing that seems whole."""
    monkeypatch.setattr(store._client, "get_max_batch_size", lambda: 5)
    written, upsert = [], store._upsert

    def crash(batch):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append([row.id for row in batch])
        upsert(batch)

    monkeypatch.setattr(store, "_upsert", crash)
    with pytest.raises(KeyboardInterrupt):
        store.add_texts([diary()], ids=["long"])
    assert len(rows(store)) == 10
    assert store.get()["ids"] == []
    monkeypatch.setattr(store, "_upsert", upsert)
    store.add_texts([diary()], ids=["long"])
    assert store.get()["ids"] == ["long"]
    store.delete(["long"])
    assert rows(store) == {}


def test_a_store_opened_again_knows_its_windows(tiny, tmp_path):
    store = MultimodalChroma("kept", tiny, persist_directory=tmp_path)
    store.add_texts([diary()], ids=["long"])
    again = MultimodalChroma("kept", tiny, persist_directory=tmp_path)
    assert again.get()["ids"] == ["long"]
    again.add_texts(["short now"], ids=["long"])
    assert list(rows(again)) == ["long"]


def test_passages_of_files_are_read_whole_by_the_embedded_model(store, tiny, tmp_path):
    (tmp_path / "diary.md").write_text("# Diary\n\n" + diary(), encoding="utf-8")
    report = index_paths(store, [tmp_path])
    assert (report.added, report.failed) == (1, ())
    documents = store.get()
    assert not any("truncated" in metadata for _, metadata in rows(store).values())
    assert any(CHUNK_END in metadata for metadata in documents["metadatas"])
    assert index_paths(store, [tmp_path]).skipped == 1
    (tmp_path / "diary.md").write_text("short now", encoding="utf-8")
    assert index_paths(store, [tmp_path]).updated == 1
    assert [text for text, _ in rows(store).values()] == ["short now"]


# --- what is shown of a long text ---------------------------------------------------------------------------


def hit(text, chunk, **metadata):
    """A document as a search gives it, found by the window `chunk` of its text."""
    return Document(page_content=text, metadata={CHUNK: chunk, CHUNK_START: text.index(chunk), **metadata})


@pytest.mark.parametrize("place", [0, 1, 100, 250, 399, 400])
def test_of_a_long_text_the_part_that_was_found_is_shown(place):
    sentences = [f"Sentence number {n} says nothing." for n in range(401)]
    text, chunk = "\n ".join(sentences), "\n ".join(sentences[place : place + 2])
    part = excerpt_of(hit(text, chunk))
    assert chunk in part.text
    assert part.text in text
    assert 1300 < len(part.text) <= 1500
    assert [line.strip() for line in part.text.split("\n")] == [
        line for line in sentences if line in part.text
    ]  # whole sentences
    assert part.cut_before == (place > 20)
    assert part.cut_after == (place < 380)
    assert part.marked.startswith("[…] ") == part.cut_before
    assert part.marked.endswith(" […]") == part.cut_after
    before, after = part.text.split(chunk)
    if part.cut_before and part.cut_after:
        assert abs(len(before) - len(after)) < 100
    block = documents_to_content_blocks([hit(text, chunk)])[0]["text"]
    assert f'<passage n="1">\n{part.marked}\n</passage>' in block


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("x" * 50_000, {CHUNK: "x" * 40, CHUNK_START: 20_000}),
        ("灯塔在港口" * 5_000, {CHUNK: "灯塔在港口" * 4, CHUNK_START: 10_000}),
        ("word " * 5_000, {CHUNK: "word word", CHUNK_START: 5_000}),
        (" " * 5_000 + "a word" + " " * 5_000, {CHUNK: "a word", CHUNK_START: 5_000}),
    ],
)
def test_a_part_without_sentences_is_shown_by_words_or_alone(text, marks):
    part = excerpt_of(Document(page_content=text, metadata=marks))
    assert marks[CHUNK] in part.text
    assert len(part.text) <= 1500
    if text.startswith("word"):
        assert set(part.text.split()) == {"word"}
        assert len(part.text) > 1400
    if text.startswith(" "):
        assert part == Excerpt("a word")


def test_up_to_the_limit_a_text_is_shown_whole():
    text = diary(sentences=30)
    found = hit(text, FACT)
    assert excerpt_of(found) == Excerpt(text)
    assert text in documents_to_text([found])
    short = documents_to_text([found], passage_chars=400)
    assert FACT in short
    assert "[…] " in short
    assert len(short) < 400
    assert excerpt_of(found, 0).text == FACT
    with pytest.raises(ValueError, match="passage_chars is -1"):
        documents_to_text([found], passage_chars=-1)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {CHUNK: 7, CHUNK_START: 0},
        {CHUNK: FACT},
        {CHUNK: FACT, CHUNK_START: 3},
        {CHUNK: FACT, CHUNK_START: "1200"},
        {CHUNK: "", CHUNK_START: 5},
        {CHUNK: "n", CHUNK_START: True},
        {CHUNK: "r.", CHUNK_START: -2},
    ],
)
def test_metadata_that_tells_of_no_window_shortens_nothing(metadata):
    """`chunk` is also the number of a passage in its file."""
    text = "On " + diary(sentences=200)
    assert excerpt_of(Document(page_content=text, metadata=metadata)) == Excerpt(text)


def test_without_a_model_the_part_that_was_found_is_quoted():
    text = diary(sentences=400, seed=2).replace(FACT, f"{FACT} Its keeper is called Weber.")
    text = f"The keeper of secrets was a keeper, keeper, keeper. {text}"
    found = hit(text, FACT, source="diary.md")
    assert "Its keeper is called Weber.” [1]" in quote_evidence("Who is the keeper?", [found])
    assert "secrets" not in quote_evidence("Who is the keeper?", [found])
    assert f"“{FACT}” [1]" in quote_evidence("Quousque tandem?", [found])


def test_a_page_of_hits_shows_the_part_that_was_found():
    text = "Diary\n\n" + diary(sentences=100)
    page = hits_html("lighthouse", [(hit(text, FACT, heading="Diary", source="diary.md"), 1.0)])
    assert FACT in page
    assert "<strong>Diary</strong>[…] " in page
    start = hits_html("home", [(hit(text, text[:60], heading="Diary"), 1.0)])
    assert f"<strong>Diary</strong>{text[7:30]}" in start
    assert FACT not in start


# --- from a question to the fact ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diaries(tiny):
    """Thirty long diaries; each tells of one thing, somewhere in its middle."""
    store = MultimodalChroma("thirty-diaries", tiny)
    texts = [diary(f"We saw a {thing}.", seed=n) for n, thing in enumerate(THINGS)]
    store.add_texts(texts, [{"source": f"{thing}.md"} for thing in THINGS], ids=THINGS)
    yield store
    store.delete_collection()


def test_a_search_finds_long_texts_by_what_they_say_in_the_middle(diaries):
    found = {thing: diaries.search_ranked(f"a {thing}", k=4) for thing in THINGS}
    best = {thing: hits[0][0] for thing, hits in found.items()}
    first = [thing for thing, document in best.items() if f" {thing}." in document.metadata[CHUNK]]
    assert all(best[thing].id == thing for thing in first)
    assert len(first) >= 0.7 * len(THINGS)
    for hits in found.values():
        documents = [document for document, _ in hits]
        assert len({document.id for document in documents}) == len(documents) == 4  # none twice
        assert {document.id for document in documents} <= set(THINGS)  # and whole ones
        assert all(len(document.page_content) > 3000 for document in documents)


def test_every_hit_tells_its_window(diaries):
    for document, _ in diaries.search_ranked("we stayed at home", k=10):
        start, chunk = document.metadata[CHUNK_START], document.metadata[CHUNK]
        assert document.page_content[start : start + len(chunk)] == chunk
        assert not {WINDOW, CHUNK_END, PARENT_ID} & set(document.metadata)
        assert len(excerpt_of(document).text) <= 1500


def test_an_answer_quotes_the_fact_and_no_more_than_needed(diaries):
    answer = create_rag_chain(MultimodalRetriever(store=diaries, k=1)).invoke({"input": "a sailboat"})
    assert [document.id for document in answer["context"]] == ["sailboat"]
    assert "“We saw a sailboat.” [1]" in answer["answer"]
    evidence = documents_to_text(answer["context"])
    assert "We saw a sailboat." in evidence
    assert len(evidence) < 1700 < len(answer["context"][0].page_content)


# --- found by words -----------------------------------------------------------------------------------------

INVOICE = "The invoice INV-2024-0815 was paid by the baker in copper coins."


@pytest.fixture(scope="module")
def minutes():
    """A store with one long text, in the middle of which there is one fact, and some short ones."""
    store = MultimodalChroma("minutes", OpenCLIPEmbeddings("mmrag-tiny", show_progress=False))
    paragraphs = [f"Paragraph {n}. The council met on day {n} and spoke of the harbor." for n in range(60)]
    paragraphs[31] += f" {INVOICE}"
    texts = ["\n\n".join(paragraphs), "A note about trees.", "A note about boats."]
    store.add_texts(texts, ids=["long", "trees", "boats"])
    yield store
    store.delete_collection()


@pytest.mark.parametrize("search", ["keyword", "hybrid"])
@pytest.mark.parametrize(
    "query", ["INV-2024-0815", "baker copper coins", "who paid the invoice INV-2024-0815?"]
)
def test_the_window_told_is_the_one_with_the_words(minutes, search, query):
    ((found, _), *_) = minutes.search_ranked(query, k=1, search=search)
    assert found.id == "long"
    assert "INV-2024-0815" in found.metadata["chunk"]
    assert found.page_content.startswith(found.metadata["chunk"], found.metadata["chunk_start"])


def test_without_its_words_a_long_text_is_told_by_its_vectors(minutes):
    by_vector = dict.fromkeys(("vector", "hybrid"))
    for search in by_vector:
        found = minutes.similarity_search("zeppelin", k=3, search=search)
        by_vector[search] = next(each.metadata["chunk"] for each in found if each.id == "long")
    assert by_vector["vector"] == by_vector["hybrid"]


def test_a_hit_that_is_written_back_leaves_its_marks_behind(minutes):
    (hit,) = minutes.similarity_search("INV-2024-0815", k=1, search="keyword")
    hit.metadata["collapsed_ids"] = ["boats"]
    minutes.update_document("long", hit)
    (again,) = minutes.get_by_ids(["long"])
    assert not {"chunk", "chunk_start", "collapsed_ids"} & again.metadata.keys()
    assert minutes.search_ranked("INV-2024-0815", k=1, search="keyword")[0][0].metadata["chunk_start"] > 0
