"""From ranked rows to documents: parts, windows and copies are gathered under the best of them."""

import math
from functools import partial
from itertools import permutations
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from PIL import Image

from langchain_mmrag import MultimodalRetriever
from langchain_mmrag._store.gather import COLLAPSED_IDS, Found, gathered, in_order
from langchain_mmrag.ranking import unit
from langchain_mmrag.types import CHUNK, CHUNK_END, CHUNK_START, FILE_SHA256, PARENT_ID, SHA256, WINDOW
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.test_search import Lookup

D = 8
TEXT = "First it rained. Then we saw the lighthouse. At last we went home."


@pytest.fixture
def collection():
    client = chromadb.EphemeralClient()
    made = client.create_collection(f"gather-{uuid4()}", embedding_function=None)
    yield made
    client.delete_collection(made.name)


@pytest.fixture
def pool(collection):
    """Enters rows, best first, and makes a ranked pool of them."""
    found = []

    def enter(id_, metadata=None, text="", vector=None):
        parent = (metadata or {}).get(PARENT_ID) if (metadata or {}).get(WINDOW) else None
        vector = np.eye(64)[len(found)] if vector is None else unit(vector)
        collection.add(
            ids=[id_], embeddings=[vector.tolist()], documents=[text], metadatas=[metadata or {"n": 1}]
        )
        found.append(Found(id_, parent, len(found), 9.0 - len(found), 0.5, vector, vector))
        return found

    return enter


def gather(collection, found, k=10, collapse="parent"):
    """Ids with their copies."""
    return {each.document.id: each.copies for each in gathered(collection, found, k, collapse)}


def windows(pool, id_, order, metadata=None):
    """The rows of a text of three windows, in this order."""
    starts = [0, TEXT.index("Then"), TEXT.index("At")]
    ends = [starts[1], starts[2], len(TEXT)]
    for place in order:
        if place == 0:
            found = pool(id_, {**(metadata or {}), CHUNK_END: ends[0]}, TEXT)
        else:
            marks = {PARENT_ID: id_, CHUNK_START: starts[place], WINDOW: True}
            text = TEXT[starts[place] : ends[place]]
            found = pool(f"{id_}#{starts[place]}", {**(metadata or {}), **marks}, text)
    return found


# --- parts --------------------------------------------------------------------------------------------------


def test_parts_of_one_parent_are_one_document_the_best_of_them(collection, pool):
    for id_, parent in (("page 2", "a.pdf"), ("page 1", "b.pdf"), ("page 7", "a.pdf"), ("page 3", "b.pdf")):
        found = pool(id_, {PARENT_ID: parent})
    found = pool("alone")
    assert gather(collection, found) == {"page 2": ["page 7"], "page 1": ["page 3"], "alone": []}
    assert list(gather(collection, found, 2)) == ["page 2", "page 1"]
    assert list(gather(collection, found, collapse="none")) == [each.id for each in found]


@pytest.mark.parametrize("first", ["whole", "part"])
def test_a_parent_that_is_a_document_itself_is_one_with_its_parts(collection, pool, first):
    for kind in ("whole", "part") if first == "whole" else ("part", "whole"):
        found = pool("a.pdf", {"n": 1}) if kind == "whole" else pool("page 1", {PARENT_ID: "a.pdf"})
    copies = {"whole": {"a.pdf": ["page 1"]}, "part": {"page 1": ["a.pdf"]}}
    assert gather(collection, found) == copies[first]
    assert len(gather(collection, found, collapse="none")) == 2


def test_a_parent_may_have_a_number_for_a_name(collection, pool):
    pool("1", {PARENT_ID: 7})
    assert gather(collection, pool("2", {PARENT_ID: 7})) == {"1": ["2"]}


# --- windows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collapse", ["parent", "near-duplicate", "none"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1,)])
def test_a_window_stands_for_its_text_and_says_which_part_it_is(collection, pool, collapse, order):
    if 0 not in order:
        collection.add(
            ids=["diary"], embeddings=[np.ones(64).tolist()], documents=[TEXT], metadatas=[{CHUNK_END: 17}]
        )
    found = windows(pool, "diary", order, {"source": "diary.md"} if 0 in order else {})
    (answer,) = gathered(collection, found, 5, collapse)
    document = answer.told()
    said = ["First it rained. ", "Then we saw the lighthouse. ", "At last we went home."][order[0]]
    assert (document.id, document.page_content) == ("diary", TEXT)
    assert document.metadata[CHUNK] == said
    assert TEXT[document.metadata[CHUNK_START] :].startswith(said)
    assert document.metadata.keys() <= {"source", CHUNK, CHUNK_START}
    assert answer.found.id == found[0].id


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0), (1, 2)])
@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_windows_of_a_part_count_as_the_part(collection, pool, order, k):
    """A page that is long enough for windows is still one page of its file."""
    if 0 not in order:
        page = {PARENT_ID: "a.pdf", CHUNK_END: 17}
        collection.add(ids=["page 1"], embeddings=[np.ones(64).tolist()], documents=[TEXT], metadatas=[page])
    windows(pool, "page 1", order, {PARENT_ID: "a.pdf"})
    found = pool("page 2", {PARENT_ID: "a.pdf"})
    found = pool("page 9", {PARENT_ID: "b.pdf"})
    expected = {"page 1": ["page 2"], "page 9": []}
    assert list(gather(collection, found, k)) == list(expected)[:k]
    if k > 1:
        assert gather(collection, found, k) == expected
        assert list(gather(collection, found, 10, "none")) == ["page 1", "page 2", "page 9"]
    assert gathered(collection, found, 1, "parent")[0].document.metadata[PARENT_ID] == "a.pdf"


@pytest.mark.parametrize("collapse", ["parent", "none"])
def test_a_window_whose_text_was_deleted_meanwhile_is_what_is_left(collection, pool, collapse):
    found = windows(pool, "diary", (1, 0, 2))
    collection.delete(ids=["diary"])
    assert [each.document.page_content for each in gathered(collection, found, 5, collapse)] == [
        "Then we saw the lighthouse. "
    ]


# --- copies -------------------------------------------------------------------------------------------------


def test_what_is_nearly_the_same_is_one_document_where_that_is_asked_for(collection, pool):
    near = np.eye(64)[0] + 0.25 * np.eye(64)[1]  # a cosine of .970
    far = np.eye(64)[0] + 0.35 * np.eye(64)[2]  # one of .944
    for id_, vector in (
        ("original", np.eye(64)[0]),
        ("other", np.eye(64)[9]),
        ("cropped", near),
        ("like it", far),
    ):
        found = pool(id_, vector=vector)
    expected = {"original": ["cropped"], "other": [], "like it": []}
    assert gather(collection, found, collapse="near-duplicate") == expected
    assert list(gather(collection, found)) == ["original", "other", "cropped", "like it"]


def test_the_same_picture_is_one_document_whatever_its_vector(collection, pool):
    for id_, digest in (("one", "aa"), ("two", "bb"), ("three", "aa"), ("four", None)):
        found = pool(id_, {SHA256: digest, "modality": "image"} if digest else None)
    found = pool("five")
    assert gather(collection, found, collapse="near-duplicate") == {
        "one": ["three"],
        "two": [],
        "four": [],
        "five": [],
    }


@pytest.mark.parametrize("key", [SHA256, FILE_SHA256])
@pytest.mark.parametrize("modality", ["text", "table", "video", "audio", None])
def test_passages_of_one_file_are_no_copies_of_each_other_though_its_digest_is_the_same(
    collection, pool, key, modality
):
    for id_ in ("one", "two"):
        found = pool(id_, {key: "aa", **({"modality": modality} if modality else {})}, f"passage {id_}")
    found = pool("picture", {key: "aa", "modality": "image"})
    assert set(gather(collection, found, collapse="near-duplicate")) == {"one", "two", "picture"}


def test_copies_are_told_in_the_metadata_each_once(collection, pool):
    windows(pool, "diary", (1, 2))
    collection.add(
        ids=["diary"], embeddings=[np.ones(64).tolist()], documents=[TEXT], metadatas=[{CHUNK_END: 17}]
    )
    windows(pool, "copy", (1,), {"n": 2})
    collection.add(
        ids=["copy"], embeddings=[np.ones(64).tolist()], documents=[TEXT], metadatas=[{CHUNK_END: 17}]
    )
    found = windows(pool, "copy", (2,), {"n": 2})
    same = [found[0].vector, found[1].vector]
    pairs = [
        Found(each.id, each.parent, each.number, each.score, 0.5, v, v)
        for each, v in zip(found, [*same, *same], strict=True)
    ]
    (answer,) = gathered(collection, pairs, 5, "near-duplicate")
    assert answer.told().metadata[COLLAPSED_IDS] == ["copy"]
    (first, second) = gathered(collection, found, 5, "near-duplicate")
    assert COLLAPSED_IDS not in first.told().metadata | second.told().metadata


# --- order ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "order"),
    [
        ([1.0, 3.0, 2.0], [1, 2, 0]),
        ([2.0, 2.0, 2.0], [0, 1, 2]),
        ([2.0, 2.0 + 1e-9, 3.0], [2, 1, 0]),
        ([-math.inf, 1.0, -math.inf], [1, 0, 2]),
        ([], []),
    ],
)
def test_of_rows_that_score_the_same_the_first_added_comes_first(scores, order):
    vector = np.eye(2)[0]
    rows = [Found(f"{n}", None, n, score, 0.5, vector, vector) for n, score in enumerate(scores)]
    for given in permutations(rows):
        assert [row.number for row in in_order(given)] == order


# --- pages of rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 7, 30])
def test_rows_are_read_as_far_as_they_are_needed(collection, pool, k, monkeypatch):
    for n in range(12):
        found = pool(f"{n}", {PARENT_ID: f"file {n // 3}"})
    read = []
    get = chromadb.Collection.get
    monkeypatch.setattr(
        chromadb.Collection, "get", lambda self, ids, **options: read.extend(ids) or get(self, ids, **options)
    )
    assert list(gather(collection, found, k)) == ["0", "3", "6", "9"][:k]
    assert len(read) == len(set(read)) <= 12
    if k == 1:
        assert len(read) <= 2


def test_rows_deleted_meanwhile_are_left_out(collection, pool):
    for n in range(6):
        found = pool(f"{n}")
    collection.delete(ids=["0", "2", "3"])
    assert list(gather(collection, found, 2)) == ["1", "4"]
    assert list(gather(collection, found, 6)) == ["1", "4", "5"]
    collection.delete(ids=["1", "4", "5"])
    assert gather(collection, found) == {}
    assert gather(collection, []) == {}


def test_documents_of_other_programs_without_text_or_metadata_are_gathered(collection):
    collection.add(ids=["bare"], embeddings=[[1.0, 0.0]])
    found = [Found("bare", None, 1, 1.0, 0.5, np.eye(2)[0], np.eye(2)[0])]
    for collapse in ("parent", "near-duplicate", "none"):
        (answer,) = gathered(collection, found, 3, collapse)
        assert (answer.document.page_content, answer.document.metadata) == ("", {})


# --- in a store ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages():
    """Five files of forty pages each, all of the first file nearer to the question than any other."""
    rng = np.random.default_rng(0)
    vectors, metadatas = {"asked": np.eye(D)[0]}, []
    for n in range(200):
        cosine = 0.9 - 0.15 * (n // 40) - 0.001 * (n % 40)
        away = unit(np.concatenate([[0], rng.normal(size=D - 1)]))
        vectors[f"page {n}"] = cosine * np.eye(D)[0] + np.sqrt(1 - cosine**2) * away
        metadatas.append({PARENT_ID: f"file {n // 40}", "page": n % 40})
    store = MultimodalChroma("pages", Lookup(vectors))
    texts = [f"page {n}" for n in range(200)]
    store.add_texts(texts, metadatas, ids=texts)
    yield store
    store.delete_collection()


@pytest.mark.parametrize("rank", ["calibrated", "raw"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_k_counts_parents_however_many_parts_are_better(pages, rank, k):
    found = pages.similarity_search("asked", k, rank=rank)
    assert [document.metadata[PARENT_ID] for document in found] == [f"file {n}" for n in range(k)]
    singly = pages.similarity_search("asked", k, rank=rank, collapse="none")
    assert {document.metadata[PARENT_ID] for document in singly} == {"file 0"}
    assert found[0].id == singly[0].id


def test_no_more_parents_are_found_than_there_are(pages):
    assert len(pages.similarity_search("asked", 6)) == 5
    assert len(pages.similarity_search("asked", 6, filter={"page": {"$lt": 2}})) == 5
    assert len(pages.similarity_search("asked", 6, filter={PARENT_ID: "file 3"})) == 1
    assert len(pages.similarity_search("asked", 300, collapse="none")) == 200


def test_words_find_parents_too(pages):
    found = pages.similarity_search("page", 5, search="keyword")
    assert sorted(document.metadata[PARENT_ID] for document in found) == [f"file {n}" for n in range(5)]


def test_variety_and_retrievers_gather_too(pages):
    picked = pages.max_marginal_relevance_search("asked", 4, fetch_k=5)
    assert len({document.metadata[PARENT_ID] for document in picked}) == 4
    retriever = MultimodalRetriever(store=pages, k=3)
    assert len({document.metadata[PARENT_ID] for document in retriever.invoke("asked")}) == 3
    assert {document.metadata[PARENT_ID] for document in retriever.invoke("asked", collapse="none")} == {
        "file 0"
    }


@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
@pytest.mark.parametrize("modality", [None, "image"])
def test_copies_of_a_picture_are_found_once_where_that_is_asked_for(store, tmp_path, rank, modality):
    red, blue = Image.new("RGB", (40, 30), (250, 10, 10)), Image.new("RGB", (40, 30), (10, 10, 250))
    for name, picture in {"red": red, "smaller": red.resize((20, 15)), "blue": blue}.items():
        picture.save(tmp_path / f"{name}.png")
    store.add_images(
        [tmp_path / f"{name}.png" for name in ("red", "smaller", "blue")], ids=["red", "smaller", "blue"]
    )
    store.add_texts(["green", "a note"], ids=["green", "note"])
    find = partial(store.similarity_search, "red", 5, rank=rank, modality=modality)
    plain = [document.id for document in find()]
    found = {
        document.id: document.metadata.get(COLLAPSED_IDS) for document in find(collapse="near-duplicate")
    }
    assert {"red", "smaller", "blue"} <= set(plain)
    (kept,) = {"red", "smaller"} & set(found)
    assert found[kept] == [*({"red", "smaller"} - {kept})]
    assert found["blue"] is None
    assert kept == next(id_ for id_ in plain if id_ in {"red", "smaller"})


def test_a_way_to_collapse_nobody_knows_is_refused(pages):
    with pytest.raises(ValueError, match="collapse must be one of 'parent', 'near-duplicate', 'none'"):
        pages.similarity_search("asked", collapse="all")


@pytest.mark.parametrize("search", ["vector", "keyword", "hybrid"])
@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_the_same_documents_come_in_the_order_they_were_added(rank, search):
    rng = np.random.default_rng(3)
    tram = unit(rng.normal(size=D))
    vectors = {f"note {n}": unit(rng.normal(size=D)) for n in range(30)}
    vectors["a tram"] = unit(tram + rng.normal(scale=0.1, size=D))
    embedding = Lookup(vectors)
    ids = [uuid4().hex for _ in range(6)]  # whose order is chance
    store = MultimodalChroma(f"same-{uuid4().hex}", embedding)
    store.add_texts([f"note {n}" for n in range(30)])
    for id_ in ids:
        # As the same text has it when it is embedded beside others.
        embedding.vectors["the tram"] = unit(tram + rng.normal(scale=3e-8, size=D))
        store.add_texts(["the tram"], ids=[id_])
    # What is kept beside the collection is made anew in the same order.
    store.rebuild_index()
    found = store.similarity_search("a tram", 6, rank=rank, search=search)
    assert [document.id for document in found] == ids
    store.delete_collection()
