"""`MultimodalChroma` as its users meet it: adding, finding, replacing, opening again."""

import base64
import gc
import hashlib
import io
import logging
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from PIL import Image

from langchain_mmrag.errors import (
    CorruptMediaError,
    EmbeddingError,
    EmbeddingMismatchError,
    LoadError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
    UnsupportedModalityError,
)
from langchain_mmrag.media import MediaPolicy, open_image
from langchain_mmrag.queries import Query
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import COLOURS, CountingEmbeddings


class OtherEmbeddings(CountingEmbeddings):
    @property
    def fingerprint(self):
        return "other:v1"


class DuckEmbedding:
    """Not of this package: opens files itself, as `langchain_experimental`'s does."""

    def __init__(self):
        self.opened = []

    def embed_documents(self, texts):
        return CountingEmbeddings(show_progress=False).embed_documents(texts)

    def embed_query(self, text):
        return self.embed_documents([text])[0]

    def embed_image(self, uris):
        self.opened += uris
        pictures = [Image.open(uri).convert("RGB") for uri in uris]
        return CountingEmbeddings(show_progress=False).embed_image_list(pictures)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def colours(store, sample_images):
    """A store with a picture and a passage for each of red, green and blue."""
    for name in ("red", "green", "blue"):
        store.add_images([sample_images[name]], ids=[f"{name} picture"])
        store.add_texts([f"{name} words"], ids=[f"{name} text"])
    return store


def ids(documents):
    return [document.id for document in documents]


def stored(store):
    """Everything in a collection, by id."""
    rows = store._collection.get()
    return {
        id_: (text, metadata or {})
        for id_, text, metadata in zip(rows["ids"], rows["documents"], rows["metadatas"], strict=True)
    }


# --- what is stored --------------------------------------------------------------------------------------------


def test_a_picture_is_stored_as_where_it_is_and_what_it_is(store, sample_images):
    path = sample_images["red"]
    (id_,) = store.add_images([path], [{"album": "summer"}], captions=["a red one"])
    assert stored(store)[id_] == (
        "a red one",
        {
            "album": "summer",
            "modality": "image",
            "source": str(path),
            "mime_type": "image/png",
            "width": 40,
            "height": 30,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    )


@pytest.mark.parametrize(
    "spelling",
    [
        {"modality": "image", "source": "images/red.png"},
        {"type": "image", "path": "images/red.png"},
        {"type": "image", "uri": "images/red.png"},
    ],
)
def test_every_spelling_of_an_image_document_embeds_the_picture(
    store, sample_images, monkeypatch, tmp_path, spelling
):
    monkeypatch.chdir(tmp_path)
    store.add_documents([Document("", metadata=spelling), Document("green words")])
    monkeypatch.chdir("/")
    best = store.similarity_search("red", k=1)[0]
    (key,) = {"source", "path", "uri"} & spelling.keys()
    assert best.metadata[key] == str(sample_images["red"])
    assert best.metadata["modality"] == "image"
    assert open_image(best.metadata[key]).size == (40, 30)


def test_the_documents_of_the_caller_are_not_changed(store, sample_images):
    document = Document("", metadata={"type": "image", "path": str(sample_images["red"])})
    before = document.model_copy(deep=True)
    store.add_documents([document])
    assert document == before


def test_metadata_of_texts_and_tables_comes_back_as_it_was(store):
    documents = [
        Document("words", metadata={"source": "notes.md", "page": 3}),
        Document("| a |", metadata={"modality": "table", "row": 1}),
        Document("bare"),
    ]
    added = store.add_documents(documents)
    assert [d.metadata for d in store.get_by_ids(added)] == [d.metadata for d in documents]


def test_facts_a_loader_has_filled_in_stay(store, sample_images):
    facts = {"mime_type": "image/x", "width": 1, "height": 2, "sha256": "abc"}
    metadata = {"modality": "image", "source": str(sample_images["red"]), **facts}
    (id_,) = store.add_documents([Document("", metadata=metadata)])
    assert stored(store)[id_][1] == metadata


def test_a_source_of_the_callers_own_stays_beside_where_the_picture_is(store, sample_images):
    (id_,) = store.add_images([sample_images["red"]], [{"source": "holiday album, p. 3"}])
    metadata = stored(store)[id_][1]
    assert metadata["source"] == "holiday album, p. 3"
    assert metadata["path"] == str(sample_images["red"])


def test_an_image_that_does_not_say_where_it_is_is_refused(store):
    with pytest.raises(
        ValueError, match=r"document 1 is an image but does not say where.*metadata\['source'\]"
    ):
        store.add_documents([Document("words"), Document("iVBORw0KGgo", metadata={"type": "image"})])


def test_an_unknown_modality_is_refused(store):
    with pytest.raises(ValueError, match="unknown modality 'smell'"):
        store.add_documents([Document("words", metadata={"modality": "smell"})])


def as_data_uri(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    "blob_of",
    [Path.read_bytes, lambda path: io.BytesIO(path.read_bytes()), as_data_uri, Image.open],
    ids=["bytes", "file", "data-URI", "PIL"],
)
def test_a_picture_without_an_address_is_kept_as_a_file(
    tmp_path, sample_images, counting_embeddings, blob_of
):
    store = MultimodalChroma("blobs", counting_embeddings, persist_directory=tmp_path / "db")
    (id_,) = store.add_images(blobs=[blob_of(sample_images["red"])])
    text, metadata = stored(store)[id_]
    kept = tmp_path / "db" / "mmrag_media" / f"{metadata['sha256']}.png"
    assert (text, metadata["source"]) == ("", str(kept))
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == metadata["sha256"]
    assert Image.open(kept).getpixel((0, 0)) == COLOURS["red"]
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert store.add_images(blobs=[blob_of(sample_images["red"])]) == [id_]


def test_a_picture_without_an_address_is_kept_even_if_all_is_known_of_it(store, sample_images):
    facts = {"mime_type": "image/png", "width": 40, "height": 30, "sha256": "given"}
    (id_,) = store.add_images(blobs=[sample_images["red"].read_bytes()], metadatas=[facts])
    metadata = stored(store)[id_][1]
    assert metadata.items() >= facts.items()
    assert Path(metadata["source"]).read_bytes() == sample_images["red"].read_bytes()


def test_a_data_uri_in_a_document_is_kept_as_a_file(store, sample_images):
    metadata = {"modality": "image", "source": as_data_uri(sample_images["red"])}
    (id_,) = store.add_documents([Document("", metadata=metadata)])
    assert Path(stored(store)[id_][1]["source"]).read_bytes() == sample_images["red"].read_bytes()


def test_files_of_a_store_in_memory_go_with_it(counting_embeddings, sample_images):
    store = MultimodalChroma(f"store-{uuid4()}", counting_embeddings)
    store.add_images(blobs=[sample_images["red"].read_bytes()])
    kept = Path(store.similarity_search("red")[0].metadata["source"])
    assert kept.is_file()
    store.delete_collection()
    del store
    gc.collect()
    assert not kept.exists()


def test_files_of_pictures_without_an_address_go_where_they_are_told_to(
    open_store, counting_embeddings, sample_images, tmp_path
):
    own = tmp_path / "own"
    store = open_store(
        counting_embeddings, media_directory=own, media_policy=MediaPolicy(roots=(tmp_path / "x",))
    )
    store.add_images(blobs=[sample_images["noise"].read_bytes()])
    (document,) = store.similarity_search("red")
    assert Path(document.metadata["source"]).parent == own
    assert document.metadata["mime_type"] == "image/jpeg"
    assert open_image(document.metadata["source"], store.media_policy).size == (200, 120)
    assert store.similarity_search_by_image(document.metadata["source"]) == [document]


def test_add_images_takes_either_uris_or_blobs(store):
    for arguments in ({}, {"uris": ["a.png"], "blobs": [b"a"]}):
        with pytest.raises(ValueError, match="exactly one"):
            store.add_images(**arguments)


def test_one_text_or_picture_outside_a_list_is_refused(store, sample_images):
    with pytest.raises(TypeError, match="list of texts, not one str"):
        store.add_texts("red words")
    for image in (sample_images["red"], str(sample_images["red"])):
        with pytest.raises(TypeError, match="list of images, not one"):
            store.add_images(image)
    for blob in (b"picture", Image.new("RGB", (8, 8))):
        with pytest.raises(TypeError, match="list of images, not one"):
            store.add_images(blobs=blob)


def test_a_picture_on_the_web_keeps_its_address(open_store, counting_embeddings, sample_images):
    handler = partial(QuietHandler, directory=sample_images["red"].parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/red.png"
        with pytest.raises(UnsafeSourceError, match=r"127\.0\.0\.1"):
            open_store(counting_embeddings).add_images([address])
        policy = MediaPolicy(allow_private_addresses=True)
        for embedding in (counting_embeddings, DuckEmbedding()):
            store = open_store(embedding, media_policy=policy)
            store.add_images([address])
            (document,) = store.similarity_search_by_image(address)
            assert document.metadata["source"] == address
            assert (
                document.metadata["sha256"] == hashlib.sha256(sample_images["red"].read_bytes()).hexdigest()
            )
        server.shutdown()
        thread.join()


# --- ids -------------------------------------------------------------------------------------------------------


def test_adding_twice_changes_nothing(store, sample_images):
    documents = [
        Document("red words", metadata={"source": "a.md"}),
        Document("", metadata={"modality": "image", "source": str(sample_images["red"])}),
    ]
    first = store.add_documents(documents)
    assert store.add_documents(documents) == first
    assert store.add_images([sample_images["red"]]) == first[1:]
    assert store._collection.count() == 2


def test_equal_texts_of_two_sources_stay_two(store):
    one, two, bare = store.add_texts(["same"] * 3, [{"source": "a.md"}, {"source": "b.md"}, {}])
    assert len({one, two, bare}) == 3


def test_equal_pictures_at_two_places_stay_two(store, sample_images):
    copy = sample_images["red"].with_name("copy.png")
    copy.write_bytes(sample_images["red"].read_bytes())
    store.add_images([sample_images["red"], copy])
    for key in ("path", "uri"):
        store.add_documents(
            [Document("", metadata={"type": "image", key: str(p)}) for p in (copy, sample_images["red"])]
        )
    assert store._collection.count() == 2


def test_a_new_caption_replaces_the_old_one(store, sample_images):
    first = store.add_images([sample_images["red"]], captions=["rde"])
    assert store.add_images([sample_images["red"]], captions=["red"]) == first
    assert [text for text, _ in stored(store).values()] == ["red"]


def test_ids_of_documents_are_kept_and_missing_ones_made(store):
    assert store.add_documents([Document("a", id="mine"), Document("b")])[0] == "mine"
    assert store.add_documents([Document("a", id="mine")], ids=["given"]) == ["given"]


# --- bad pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def bad_pictures(tmp_path, sample_images):
    files = {
        "cut": sample_images["noise"].read_bytes()[:2000],
        "text": b"this is no picture",
        "empty": b"",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, data in files.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    return {name: tmp_path / f"{name}.jpg" for name in [*files, "missing"]}


BAD = {
    "cut": CorruptMediaError,
    "text": UnsupportedFormatError,
    "svg": UnsupportedFormatError,
    "empty": LoadError,
    "missing": SourceNotFoundError,
}
FACTS = {"mime_type": "image/jpeg", "width": 1, "height": 1, "sha256": "x"}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("facts", [{}, FACTS])
@pytest.mark.parametrize("embedding", [CountingEmbeddings, DuckEmbedding])
def test_a_bad_picture_is_named_and_the_collection_stays_as_it_was(
    sample_images, bad_pictures, name, facts, embedding
):
    store = MultimodalChroma(f"bad-{uuid4()}", embedding())
    store.add_texts(["before"])
    sources = [sample_images["red"], sample_images["blue"], bad_pictures[name], sample_images["green"]]
    documents = [
        Document("", metadata={"modality": "image", "source": str(source), **facts}) for source in sources
    ]
    with pytest.raises(BAD[name], match=rf"^document 3: .*{name}\.jpg"):
        store.add_documents([Document("words"), *documents])
    assert [text for text, _ in stored(store).values()] == ["before"]
    store.delete_collection()


def test_bad_pictures_are_left_out_where_that_is_asked_for(store, sample_images, bad_pictures, caplog):
    sources = [sample_images["red"], bad_pictures["cut"], sample_images["blue"], bad_pictures["missing"]]
    with caplog.at_level(logging.WARNING, "langchain_mmrag"):
        written = store.add_images(sources, ids=["1", "2", "3", "4"], on_error="skip")
    assert written == ["1", "3"]
    assert set(stored(store)) == {"1", "3"}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "skipped document 1",
        "skipped document 3",
    ]
    assert "cut.jpg" in caplog.text
    assert store.add_images([bad_pictures["cut"], "data:image/png;base64,!"], on_error="skip") == []
    with pytest.raises(ValueError, match="on_error must be"):
        store.add_images([], on_error="ignore")


def test_a_bad_blob_is_named_by_its_size_and_leaves_no_file(open_store, counting_embeddings, tmp_path):
    store = open_store(counting_embeddings, media_directory=tmp_path / "own")
    good = io.BytesIO()
    Image.new("RGB", (8, 8)).save(good, "PNG")
    with pytest.raises(UnsupportedFormatError, match=r"document 1: .*bytes \(11\)"):
        store.add_images(blobs=[good.getvalue(), b"not a photo"])
    assert not (tmp_path / "own").exists()


def test_limits_of_the_store_hold_whatever_the_embedding_allows(
    open_store, counting_embeddings, sample_images
):
    store = open_store(counting_embeddings, media_policy=MediaPolicy(max_pixels=2000))
    store.add_images([sample_images["red"]])
    with pytest.raises(LoadError, match=r"noise\.jpg"):
        store.add_images([sample_images["noise"]])


def test_a_bad_picture_to_ask_with_is_named(colours, bad_pictures):
    with pytest.raises(CorruptMediaError, match=r"cut\.jpg"):
        colours.similarity_search_by_image(bad_pictures["cut"])


# --- searching -------------------------------------------------------------------------------------------------


def test_text_finds_its_passage_and_its_picture(colours):
    assert set(ids(colours.similarity_search("red", k=2))) == {"red text", "red picture"}
    plain = colours.similarity_search("blue green", k=6, rank="raw")
    assert set(ids(plain[:4])) == {"blue text", "green text", "blue picture", "green picture"}
    assert [document.metadata.get("modality", "text") for document in plain[:2]] == ["text", "text"]


def test_a_picture_finds_its_look_alike_and_its_passage(colours, sample_images):
    for image in (
        sample_images["blue"],
        sample_images["blue"].read_bytes(),
        Image.open(sample_images["blue"]),
    ):
        found = colours.similarity_search_by_image(image, k=2)
        assert set(ids(found)) == {"blue text", "blue picture"}


def test_text_changes_what_a_picture_asks_for(colours, sample_images):
    query = Query(image=sample_images["red"], text="blue")
    assert set(ids(colours.similarity_search(query, k=2))) == {"blue text", "blue picture"}
    assert ids(colours.similarity_search(query, k=1, modality="image")) == ["blue picture"]
    assert colours.similarity_search(query, k=1, rank="raw")


@pytest.mark.parametrize("way", ["argument", "query"])
def test_one_modality_can_be_asked_for(colours, way):
    colours.add_texts(["| red |"], [{"modality": "table"}], ids=["red table"])
    colours.add_texts(["red sound"], [{"modality": "audio"}], ids=["red audio"])
    expected = {
        "image": {"red picture", "green picture", "blue picture"},
        "text": {"red text", "green text", "blue text"},
        "table": {"red table"},
        "audio": {"red audio"},
        "video": set(),
    }
    for modality, those in expected.items():
        if way == "argument":
            found = colours.similarity_search("red", k=9, modality=modality)
        else:
            found = colours.similarity_search(Query(text="red", modality=modality), k=9)
        assert set(ids(found)) == those
    with pytest.raises(ValueError, match="unknown modality"):
        colours.similarity_search("red", modality="smell")


def test_one_modality_is_ranked_by_plain_cosine(colours):
    near = colours.similarity_search_with_score("red green", k=3, modality="image")
    ranked = colours.search_ranked("red green", k=3, modality="image")
    assert ids(d for d, _ in ranked) == ids(d for d, _ in near)


def test_distances_are_chromas_own(colours, counting_embeddings):
    parent = Chroma(colours._collection_name, counting_embeddings)
    assert colours.similarity_search_with_score("red", k=6) == [
        (document, pytest.approx(distance))
        for document, distance in parent.similarity_search_with_score("red", k=6)
    ]
    vector = counting_embeddings.embed_query("red")
    assert ids(colours.similarity_search_by_vector(vector, k=2)) == ["red text", "red picture"]
    assert ids(colours.similarity_search_by_vector(vector, k=1, modality="image")) == ["red picture"]
    (document, distance) = colours.similarity_search_by_vector_with_relevance_scores(vector, k=1)[0]
    assert (document.id, distance) == (
        "red text",
        pytest.approx(parent.similarity_search_with_score("red")[0][1]),
    )


def test_vectors_come_with_their_documents(colours, counting_embeddings):
    document, vector = colours.similarity_search_with_vectors("red", k=1)[0]
    assert document.id == "red text"
    assert vector == pytest.approx(counting_embeddings.embed_documents(["red words"])[0], abs=1e-6)


def test_relevance_is_between_0_and_1_in_both_ways(colours):
    plain = colours.similarity_search_with_relevance_scores("red", k=6)
    assert all(0 <= score <= 1 for _, score in plain)
    fair = colours.similarity_search_with_relevance_scores("red", k=6, rank="calibrated")
    assert ids(d for d, _ in fair) == ids(d for d, _ in colours.search_ranked("red", 6))
    scores = [score for _, score in fair]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < 0.5 < scores[0] <= 1


def test_a_relevance_function_of_the_callers_own_is_used(open_store, counting_embeddings):
    store = open_store(counting_embeddings, relevance_score_fn=lambda distance: 0.75)
    store.add_texts(["red"])
    assert [s for _, s in store.similarity_search_with_relevance_scores("red")] == [0.75]


def test_mmr_over_pictures_and_passages_picks_different_ones(colours):
    colours.add_texts([f"red words {n}" for n in range(4)])
    plain = colours.similarity_search("red", k=2)
    varied = colours.max_marginal_relevance_search("red", k=4, fetch_k=10, lambda_mult=0.3)
    assert varied[0] == plain[0]
    assert len({document.id for document in varied}) == 4
    assert sum("red" in str(document.id) or "red" in document.page_content for document in varied) < 4


def test_a_passage_that_says_what_a_picture_shows_is_no_variety(colours):
    first, second = colours.max_marginal_relevance_search("red", k=2, lambda_mult=0.7)
    assert first.id in {"red text", "red picture"}
    assert second.id not in {"red text", "red picture"}


@pytest.mark.parametrize("search_type", ["similarity", "mmr", "similarity_score_threshold"])
def test_every_search_of_a_plain_langchain_retriever_works(colours, search_type):
    options = {"k": 2, "score_threshold": 0.2} if search_type.endswith("threshold") else {"k": 2}
    retriever = colours.as_retriever(search_type=search_type, search_kwargs=options)
    assert retriever.invoke("red")[0].id in {"red text", "red picture"}


def test_a_threshold_on_calibrated_relevance_keeps_pictures_too(colours):
    retriever = colours.as_retriever(
        search_type="similarity_score_threshold",
        search_kwargs={"k": 6, "score_threshold": 0.3, "rank": "calibrated"},
    )
    assert set(ids(retriever.invoke("red"))) == {"red text", "red picture"}


async def test_everything_has_its_async_twin(colours, sample_images):
    red = sample_images["red"]
    assert await colours.aadd_images([red], ids=["red picture"], captions=["again"]) == ["red picture"]
    assert await colours.asearch_ranked("red", 3) == colours.search_ranked("red", 3)
    assert await colours.asimilarity_search("red", k=3) == colours.similarity_search("red", k=3)
    assert await colours.asimilarity_search_by_image(red, 3) == colours.similarity_search_by_image(red, 3)
    by_image = colours.similarity_search_by_image_with_relevance_score(red, 3)
    assert await colours.asimilarity_search_by_image_with_relevance_score(red, 3) == by_image
    mmr = colours.max_marginal_relevance_search("red", k=3)
    assert await colours.amax_marginal_relevance_search("red", k=3) == mmr
    fair = colours.similarity_search_with_relevance_scores("red", k=3, rank="calibrated")
    assert await colours.asimilarity_search_with_relevance_scores("red", k=3, rank="calibrated") == fair
    vector = colours.embeddings.embed_query("red")
    by_vector = colours.similarity_search_by_vector(vector, k=2)
    assert await colours.asimilarity_search_by_vector(vector, k=2) == by_vector


def test_an_empty_collection_finds_nothing_and_does_not_wake_the_model(
    store, counting_embeddings, sample_images
):
    assert store.search_ranked("red") == []
    assert store.similarity_search_by_image(sample_images["red"]) == []
    assert store.similarity_search_with_score("red") == []
    assert store.max_marginal_relevance_search("red") == []
    assert counting_embeddings.text_batches == counting_embeddings.image_batches == []


@pytest.mark.parametrize("number", range(1, 11))
def test_tiny_collections_find_the_right_document_first(
    open_store, counting_embeddings, sample_images, number
):
    store = open_store(counting_embeddings)
    for place in range(number):
        if place % 2:
            store.add_images([sample_images["blue"]], ids=[f"blue {place}"])
        else:
            store.add_texts([f"word {place}"])
    (target,) = store.add_images([sample_images["red"]])
    found = store.search_ranked("red", k=20)
    assert len(found) == number + 1
    assert np.isfinite([score for _, score in found]).all()
    assert target in ids(d for d, _ in found[:2])


def test_equal_vectors_are_no_trouble(open_store, counting_embeddings, sample_images):
    store = open_store(counting_embeddings)
    store.add_texts(["red"] * 40, ids=[f"text {n}" for n in range(40)])
    store.add_images([sample_images["red"]] * 40, ids=[f"picture {n}" for n in range(40)])
    found = store.search_ranked("red", k=100)
    assert len(found) == 80
    assert np.isfinite([score for _, score in found]).all()


def test_search_notices_what_was_added_and_deleted_here(store, sample_images):
    store.add_texts([f"word {n}" for n in range(50)])
    assert "picture" not in ids(store.similarity_search("red", k=3))
    store.add_images([sample_images["red"]], ids=["picture"])
    assert "picture" in ids(store.similarity_search("red", k=3))
    store.delete(["picture"])
    assert "picture" not in ids(store.similarity_search("red", k=3))


def test_search_notices_what_another_program_added(tmp_path, counting_embeddings, sample_images):
    here, there = (
        MultimodalChroma("shared", counting_embeddings, persist_directory=tmp_path) for _ in range(2)
    )
    here.add_texts([f"word {n}" for n in range(50)])
    assert len(here.similarity_search("red", k=60)) == 50
    there.add_images([sample_images["red"]], ids=["picture"])
    assert "picture" in ids(here.similarity_search("red", k=3))


# --- the embedding ---------------------------------------------------------------------------------------------


def test_a_collection_of_another_embedding_is_refused_by_name(tmp_path, sample_images):
    MultimodalChroma("held", CountingEmbeddings(), persist_directory=tmp_path).add_texts(["red"])
    store = MultimodalChroma("held", OtherEmbeddings(), persist_directory=tmp_path)
    expected = r"'held' was made with counting:v1 .* is used with other:v1.*reset_collection"
    for action in (
        lambda: store.similarity_search("red"),
        lambda: store.similarity_search_by_image(sample_images["red"]),
        lambda: store.add_texts(["green"]),
        lambda: store.add_images([sample_images["red"]]),
    ):
        with pytest.raises(EmbeddingMismatchError, match=expected):
            action()
    assert store._collection.count() == 1
    assert store.embeddings.image_batches == [1]  # asked with; nothing was embedded to be added
    store.reset_collection()
    store.add_texts(["green"])
    assert len(store.similarity_search("green")) == 1
    with pytest.raises(EmbeddingMismatchError, match=r"other:v1.*counting:v1"):
        MultimodalChroma("held", CountingEmbeddings(), persist_directory=tmp_path).similarity_search("red")


def test_an_embedding_that_says_it_is_the_same_is_taken_at_its_word(tmp_path):
    MultimodalChroma("held", CountingEmbeddings(), persist_directory=tmp_path).add_texts(["red"])
    duck = DuckEmbedding()
    duck.fingerprint = "counting:v1"
    assert len(MultimodalChroma("held", duck, persist_directory=tmp_path).similarity_search("red")) == 1


def test_embeddings_without_a_fingerprint_are_told_apart_by_class_and_model(tmp_path):
    class Named(DeterministicFakeEmbedding):
        model: str

    MultimodalChroma("named", Named(size=6, model="a"), persist_directory=tmp_path).add_texts(["red"])
    same = MultimodalChroma("named", Named(size=6, model="a"), persist_directory=tmp_path)
    assert len(same.similarity_search("red")) == 1
    other = MultimodalChroma("named", Named(size=6, model="b"), persist_directory=tmp_path)
    with pytest.raises(EmbeddingMismatchError, match=r"Named:a .*Named:b"):
        other.similarity_search("red")


def test_opening_a_store_does_not_wake_the_model(tmp_path):
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    clip = OpenCLIPEmbeddings(model_name=f"local-dir:{tmp_path / 'nowhere'}", device="cpu")
    store = MultimodalChroma("cheap", clip, persist_directory=tmp_path)
    assert store.get()["ids"] == []
    assert store.similarity_search("red") == []


def test_metadata_of_a_collection_is_kept_beside_the_record(tmp_path, counting_embeddings):
    for name, metadata in (("old", {"hnsw:space": "l2", "owner": "me"}), ("new", {"owner": "me"})):
        store = MultimodalChroma(
            name, counting_embeddings, persist_directory=tmp_path, collection_metadata=metadata
        )
        store.add_texts(["red"])
        again = MultimodalChroma(name, counting_embeddings, persist_directory=tmp_path)
        assert again._collection.metadata["owner"] == "me"
        assert again._collection.metadata["mmrag:embedding"] == "counting:v1"
        assert again._space() == {"old": "l2", "new": "cosine"}[name]


def test_settings_of_the_index_are_kept_and_only_the_space_is_set(tmp_path, counting_embeddings):
    configuration = {"hnsw": {"ef_search": 321}}
    store = MultimodalChroma(
        "tuned", counting_embeddings, persist_directory=tmp_path, collection_configuration=configuration
    )
    index_settings = store._collection.configuration_json["hnsw"]
    assert (index_settings["space"], index_settings["ef_search"]) == ("cosine", 321)
    assert configuration == {"hnsw": {"ef_search": 321}}


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0], [[float("nan")]] * 2])
def test_vectors_of_the_wrong_shape_are_refused(open_store, bad):
    class Broken(Embeddings):
        def embed_documents(self, texts):
            return bad

        def embed_query(self, text):
            return bad

    store = open_store(Broken())
    with pytest.raises(EmbeddingError, match="Broken gave"):
        store.add_texts(["one", "two"])
    assert store._collection.count() == 0


# --- other people's embeddings and stores ----------------------------------------------------------------------


def test_an_embedding_that_opens_files_itself_gets_real_paths(open_store, sample_images):
    duck = DuckEmbedding()
    store = open_store(duck)
    store.add_images([sample_images["red"]], ids=["red picture"])
    store.add_images(blobs=[sample_images["blue"].read_bytes()], ids=["blue picture"])
    store.add_texts(["red words"], ids=["red text"])
    assert duck.opened[0] == str(sample_images["red"])
    assert duck.opened[1].endswith(".png")
    assert not Path(duck.opened[1]).exists()
    assert ids(store.similarity_search_by_image(sample_images["red"], k=1, modality="image")) == [
        "red picture"
    ]
    pillow = Image.open(sample_images["blue"])
    assert ids(store.similarity_search_by_image(pillow, k=1, modality="image")) == ["blue picture"]


def test_an_embedding_that_opens_files_itself_is_held_to_the_policy(open_store, sample_images, tmp_path):
    duck = DuckEmbedding()
    store = open_store(duck, media_policy=MediaPolicy(roots=(tmp_path / "elsewhere",)))
    facts = {"mime_type": "image/png", "width": 1, "height": 1, "sha256": "x"}
    with pytest.raises(LoadError, match="outside the allowed folders"):
        store.add_images([sample_images["red"]], [facts])
    assert duck.opened == []


def test_a_text_embedding_serves_for_text(open_store):
    store = open_store(DeterministicFakeEmbedding(size=6))
    store.add_texts(["one", "two"])
    assert store.similarity_search("one", k=1)[0].page_content == "one"
    with pytest.raises(UnsupportedModalityError):
        store.similarity_search(Query(text="one", image=b"picture"))


def test_it_opens_what_stock_chroma_wrote(tmp_path, counting_embeddings, sample_images):
    stock = Chroma("shared", counting_embeddings, persist_directory=str(tmp_path))
    stock.add_texts(["red words", "blue words"], [{"page": 1}, {"page": 2}], ids=["1", "2"])
    store = MultimodalChroma("shared", counting_embeddings, persist_directory=tmp_path)
    assert store.similarity_search("red", k=1) == [
        Document(id="1", page_content="red words", metadata={"page": 1})
    ]
    store.add_images([sample_images["red"]], ids=["picture"])
    assert set(ids(store.similarity_search("red", k=2))) == {"1", "picture"}


def test_stock_chroma_opens_what_it_wrote(tmp_path, counting_embeddings, sample_images):
    store = MultimodalChroma("shared", counting_embeddings, persist_directory=tmp_path)
    store.add_texts(["red words"], [{"page": 1}], ids=["1"])
    store.add_images([sample_images["blue"]], captions=["blue caption"], ids=["2"])
    stock = Chroma("shared", counting_embeddings, persist_directory=str(tmp_path))
    assert stock.similarity_search("red", k=1) == [
        Document(id="1", page_content="red words", metadata={"page": 1})
    ]
    assert stock.get_by_ids(["2"])[0].page_content == "blue caption"
    stock.add_texts(["green words"], ids=["3"])
    assert set(ids(store.similarity_search("green", k=9))) == {"1", "2", "3"}


def test_a_stock_collection_of_another_length_is_refused(tmp_path, counting_embeddings):
    Chroma("shared", DeterministicFakeEmbedding(size=6), persist_directory=str(tmp_path)).add_texts(["red"])
    store = MultimodalChroma("shared", counting_embeddings, persist_directory=tmp_path)
    with pytest.raises(EmbeddingMismatchError, match=r"an unnamed embedding \(6 numbers\).*counting:v1 \(16"):
        store.similarity_search("red")
    with pytest.raises(EmbeddingMismatchError):
        store.add_texts(["green"])


def test_it_is_made_from_texts_and_from_documents(counting_embeddings, sample_images, tmp_path):
    texts = MultimodalChroma.from_texts(
        ["red", "blue"],
        counting_embeddings,
        [{"n": 1}, {"n": 2}],
        persist_directory=tmp_path,
        collection_name="texts",
    )
    again = MultimodalChroma.from_texts(
        ["red", "blue"],
        counting_embeddings,
        [{"n": 1}, {"n": 2}],
        persist_directory=tmp_path,
        collection_name="texts",
    )
    assert type(texts) is MultimodalChroma
    assert texts._collection.count() == again._collection.count() == 2
    documents = [
        Document("blue"),
        Document("", metadata={"type": "image", "path": str(sample_images["red"])}, id="mine"),
    ]
    store = MultimodalChroma.from_documents(
        documents, counting_embeddings, collection_name="documents", persist_directory=tmp_path, rank="raw"
    )
    assert store.rank == "raw"
    assert store.get_by_ids(["mine"])[0].metadata["modality"] == "image"
    given = MultimodalChroma.from_documents(
        documents[:1], counting_embeddings, ["given"], "given", persist_directory=tmp_path
    )
    assert ids(given.similarity_search("blue")) == ["given"]


async def test_it_is_made_from_documents_asynchronously(counting_embeddings, tmp_path):
    store = await MultimodalChroma.afrom_documents(
        [Document("red")], counting_embeddings, persist_directory=tmp_path, collection_name="documents"
    )
    assert [d.page_content for d in await store.asimilarity_search("red")] == ["red"]


def test_a_rank_nobody_knows_is_refused(counting_embeddings, colours):
    with pytest.raises(ValueError, match="rank must be"):
        MultimodalChroma("anything", counting_embeddings, rank="best")
    with pytest.raises(ValueError, match="rank must be"):
        colours.similarity_search("red", rank="best")


def test_documents_come_in_the_order_their_ids_are_asked_for(colours):
    wanted = ["red text", "nobody", "blue picture", "red text", "green text"]
    assert ids(colours.get_by_ids(wanted)) == ["red text", "blue picture", "green text"]


def test_updating_what_is_not_there_says_so_and_adds_nothing(colours, caplog):
    colours.update_documents(["nobody", "red text"], [Document("a"), Document("b")])
    assert "not updated, as there is no such document: nobody" in caplog.text
    assert colours.get_by_ids(["nobody", "red text"]) == [Document(id="red text", page_content="b")]
    with pytest.raises(ValueError, match="1 ids for 2 documents"):
        colours.update_documents(["red text"], [Document("a"), Document("b")])


def test_a_deleted_collection_can_be_reset(colours, sample_images):
    colours.delete_collection()
    with pytest.raises(ValueError, match="not initialized"):
        colours.similarity_search("red")
    colours.reset_collection()
    assert colours.similarity_search("red") == []
    colours.add_images([sample_images["red"]])
    assert len(colours.similarity_search("red")) == 1


# --- LangChain's indexing --------------------------------------------------------------------------------------


def picture_document(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Document("", metadata={"modality": "image", "source": str(path), "sha256": digest})


def test_langchain_indexing_notices_a_picture_that_changed_on_disk(store, sample_images):
    records = InMemoryRecordManager("pictures")
    records.create_schema()
    paths = [sample_images["red"], sample_images["blue"]]

    def run():
        documents = [*map(picture_document, paths), Document("green words", metadata={"source": "notes.md"})]
        return index(
            documents, records, store, cleanup="incremental", source_id_key="source", key_encoder="sha256"
        )

    assert run() == {"num_added": 3, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    assert run() == {"num_added": 0, "num_updated": 0, "num_skipped": 3, "num_deleted": 0}
    paths[1].write_bytes(sample_images["green"].read_bytes())
    assert run() == {"num_added": 1, "num_updated": 0, "num_skipped": 2, "num_deleted": 1}
    pictures = store.similarity_search("green", k=1, modality="image")
    assert pictures[0].metadata["source"] == str(paths[1])
    assert store._collection.count() == 3
    paths.pop()
    result = index([picture_document(paths[0])], records, store, cleanup="full", key_encoder="sha256")
    assert result == {"num_added": 0, "num_updated": 0, "num_skipped": 1, "num_deleted": 2}


# --- a real model ----------------------------------------------------------------------------------------------


def test_a_real_clip_model_holds_pictures_and_passages_in_one_collection(open_store, clip, sample_images):
    store = open_store(clip)
    names = sorted(sample_images)
    store.add_documents(
        [
            *(
                Document("", metadata={"modality": "image", "source": str(sample_images[n])}, id=n)
                for n in names
            ),
            *(Document(f"words about {n}", id=f"{n} text") for n in names),
        ]
    )
    for name in names:
        by_image = store.similarity_search_by_image_with_relevance_score(
            sample_images[name], k=1, modality="image"
        )
        assert [(d.id, round(score, 4)) for d, score in by_image] == [(name, 1.0)]
        assert store.similarity_search(f"words about {name}", k=1, modality="text")[0].id == f"{name} text"
    vectors = store._collection.get(ids=names, include=["embeddings"])
    expected = dict(zip(names, clip.embed_image_list([sample_images[name] for name in names]), strict=True))
    for id_, vector in zip(vectors["ids"], vectors["embeddings"], strict=True):
        assert vector == pytest.approx(expected[id_], abs=1e-6)
    recorded = store._client.get_collection(store._collection_name, embedding_function=None).metadata
    assert recorded == {"mmrag:embedding": clip.fingerprint, "mmrag:dimension": 16}


def test_a_text_longer_than_a_model_reads_that_does_not_count_is_marked(open_store):
    class CutsWithoutCounting(CountingEmbeddings):
        def truncated(self, texts):
            return [len(text.split()) > 75 for text in texts]

    store = open_store(CutsWithoutCounting(show_progress=False))
    store.add_texts(["word " * 200, "a short one"], ids=["long", "short"])
    long, short = store.get_by_ids(["long", "short"])
    assert (long.metadata, short.metadata) == ({"truncated": True}, {})
    assert long.page_content == "word " * 200


def test_a_relative_folder_means_the_working_folder_of_the_time(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        store = MultimodalChroma("notes", DeterministicFakeEmbedding(size=4), persist_directory="mm_store")
        store.add_texts([name], ids=[name])
        assert store.get()["ids"] == [name]
        assert (tmp_path / name / "mm_store" / "chroma.sqlite3").exists()
