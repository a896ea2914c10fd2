"""Films in a store: found by what is seen in them, by what is said in them, and among pictures."""

from io import BytesIO
from pathlib import Path

import chromadb
import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from PIL import Image

from langchain_mmrag import MultimodalRetriever, OpenCLIPEmbeddings
from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.display.maps import _points_of
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import documents_to_content_blocks
from langchain_mmrag.queries import Query
from langchain_mmrag.tools import create_search_tool
from langchain_mmrag.types import PICTURED
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.test_companion import WordEmbeddings, assert_in_step, open_at

THINGS = (
    "castle",
    "whale",
    "guitar",
    "pizza",
    "bicycle",
    "cactus",
    "dog",
    "sailboat",
    "airplane",
    "umbrella",
)


def film(start, thumbnail, text="", **metadata):
    """A moment of a film."""
    times = {"start_s": float(start), "end_s": start + 5.0}
    given = {"modality": "video", "source": "/films/talk.mp4", "thumbnail": thumbnail, **times, **metadata}
    return Document(id=metadata.get("id", f"film-{start}"), page_content=text, metadata=given)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A folder with a picture of each thing, in two surroundings."""
    folder = tmp_path_factory.mktemp("things")
    for name in THINGS:
        draw_thing(name, side=96).save(folder / f"{name}.png")
        draw_thing(name, seed="again", side=96).save(folder / f"{name}-again.png")
    return folder


@pytest.fixture(scope="module")
def town(seen):
    """Half of the things in films, the other half in pictures; passages of all, and words that are spoken."""
    store = MultimodalChroma("films-of-things", OpenCLIPEmbeddings("mmrag-tiny", show_progress=False))
    films = [film(n, str(seen / f"{name}.png"), id=f"film {name}") for n, name in enumerate(THINGS[:5])]
    films[1].page_content = "and here the captain of the Esmeralda speaks"
    whole = film(0, [str(seen / f"{name}.png") for name in THINGS[:2]], id="whole")
    said = Document(
        id="said", page_content="we talk about the weather", metadata={"modality": "video", "start_s": 7.0}
    )
    store.add_documents([*films, whole, said])
    store.add_images([seen / f"{name}.png" for name in THINGS[5:]], ids=[f"picture {n}" for n in THINGS[5:]])
    store.add_texts([f"a story of a {name}" for name in THINGS], ids=[f"text {name}" for name in THINGS])
    yield store
    store.delete_collection()


def ids(documents):
    return [document.id for document in documents]


# --- found by what is seen ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THINGS)
def test_words_find_films_among_pictures_and_passages(town, name):
    kind = "film" if name in THINGS[:5] else "picture"
    assert {f"{kind} {name}", f"text {name}"} <= set(ids(town.similarity_search(name, k=3)))
    if kind == "film":
        assert ids(town.similarity_search(name, k=1, modality="video")) == [f"film {name}"]
    assert not [i for i in ids(town.similarity_search(name, k=30, modality="image")) if "picture" not in i]


@pytest.mark.parametrize("name", THINGS[:5])
def test_a_picture_finds_the_films_that_show_it(town, seen, name):
    for query in (seen / f"{name}.png", seen / f"{name}-again.png"):
        found = town.similarity_search_by_image(query, k=1, modality="video")
        assert ids(found) == [f"film {name}"]
    among_all = ids(town.similarity_search_by_image(seen / f"{name}.png", k=2))
    assert f"film {name}" in among_all


def test_a_whole_clip_has_the_mean_of_its_pictures(town, seen):
    rows = town.get(["film castle", "film whale", "whole"], include=["embeddings"])
    first, second, whole = (dict(zip(rows["ids"], rows["embeddings"], strict=True))[i] for i in rows["ids"])
    vectors = dict(zip(rows["ids"], rows["embeddings"], strict=True))
    mean = vectors["film castle"] + vectors["film whale"]
    np.testing.assert_allclose(vectors["whole"], mean / np.linalg.norm(mean), atol=1e-5)
    assert all(np.linalg.norm(each) == pytest.approx(1, abs=1e-5) for each in (first, second, whole))
    both = town.similarity_search("a castle and a whale", k=3, modality="video", collapse="none")
    assert "whole" in ids(both)


def test_films_count_among_pictures_in_all_statistics(town):
    side = set(town._ledger.statistics()["image"].ids)
    assert side == {*(f"film {n}" for n in THINGS[:5]), *(f"picture {n}" for n in THINGS[5:]), "whole"}
    assert town._ledger.modalities() == {"text": {"text": 10, "video": 1}, "image": {"image": 5, "video": 6}}


def test_films_are_among_the_pictures_of_a_map(town, seen):
    points = _points_of(town, 1000, set())
    shown = dict(zip(points.ids, points.sources, strict=True))
    of_pictures = {id_ for id_, is_image in zip(points.ids, points.is_image, strict=True) if is_image}
    assert of_pictures == set(town._ledger.statistics()["image"].ids)
    assert shown["film whale"] == str(seen / "whale.png")
    assert shown["said"] is None


@pytest.mark.parametrize("search", ["vector", "hybrid", "keyword", "text"])
@pytest.mark.parametrize("rank", ["calibrated", "raw", "rrf", "centered"])
def test_films_with_and_without_pictures_are_asked_for_as_one_modality(town, search, rank):
    found = town.similarity_search(
        "weather captain", k=30, modality="video", search=search, rank=rank, collapse="none"
    )
    assert {"said", "film whale"} <= set(ids(found))
    assert set(ids(found)) <= {*(f"film {n}" for n in THINGS[:5]), "whole", "said"}
    if search == "vector":
        assert len(found) == 7


def test_words_that_are_spoken_are_searched_too(town):
    for search in ("hybrid", "keyword", "text"):
        assert ids(town.similarity_search("Esmeralda", k=1, search=search)) == ["film whale"]


def test_what_is_asked_for_goes_by_distance_and_variety_too(town, seen):
    near = town.similarity_search_with_score("whale", k=1, modality="video", filter={"start_s": {"$lt": 2.5}})
    assert near[0][0].id == "said" or near[0][0].id.startswith("film")
    query = Query(image=seen / "guitar.png")
    assert ids(town.max_marginal_relevance_search(query, k=2, modality="video"))[0] == "film guitar"
    sure = town.similarity_search_with_relevance_scores(query, k=1, modality="video")
    assert sure[0][0].id == "film guitar"
    assert sure[0][1] > 0.5
    unlike = Query(text="whale", not_image=seen / "whale.png")
    assert ids(town.similarity_search(unlike, k=1, modality="video")) != ["film whale"]


def test_a_large_collection_keeps_films_out_of_a_search_for_pictures(town, monkeypatch):
    from langchain_mmrag._store import nearby

    monkeypatch.setattr(nearby, "FILTERED_BELOW", 5)
    monkeypatch.setattr(nearby, "lie_apart", lambda backgrounds: True)
    found = town.similarity_search("castle", k=30, modality="image")
    assert set(ids(found)) == {f"picture {name}" for name in THINGS[5:]}
    assert "film castle" in ids(town.similarity_search("castle", k=3))


def test_no_mark_of_the_store_is_shown_or_taken(town, seen):
    shown = [
        *town.similarity_search("whale", k=30, collapse="none"),
        *town.get_by_ids(["film whale", "whole"]),
        *[d for d, _ in town.similarity_search_with_score("whale", k=30)],
        *MultimodalRetriever(store=town, k=30).invoke("whale"),
    ]
    assert not [each for each in shown if PICTURED in each.metadata]
    assert {"film whale", "whole"} <= set(ids(shown))


# --- written, changed and taken out -------------------------------------------------------------------------


def test_near_duplicate_moments_are_one(store, sample_images):
    red, blue = str(sample_images["red"]), str(sample_images["blue"])
    store.add_documents([film(0, red), film(5, red), film(10, blue)])
    store.add_images([red], ids=["picture"])
    found = store.similarity_search("red", k=5, collapse="near-duplicate")
    assert len(found) == 2
    assert {found[0].id, *found[0].metadata["collapsed_ids"]} == {"film-0", "film-5", "picture"}
    assert found[1].id == "film-10"


def test_a_film_changes_sides_with_its_thumbnail_and_goes_when_it_is_deleted(store, sample_images):
    red = str(sample_images["red"])
    store.add_documents([film(0, red, "words")])
    (kept,) = store.get_by_ids(["film-0"])
    store.update_documents(["film-0"], [kept])
    assert set(store._ledger.statistics()) == {"image"}
    bare = {key: value for key, value in kept.metadata.items() if key != "thumbnail"}
    store.update_documents(["film-0"], [Document(page_content="words", metadata=bare)])
    assert set(store._ledger.statistics()) == {"text"}
    assert PICTURED not in store.get()["metadatas"][0]
    store.update_documents(["film-0"], [kept])
    assert set(store._ledger.statistics()) == {"image"}
    assert ids(store.similarity_search("red", modality="video")) == ["film-0"]
    store.rebuild_index()
    assert store._ledger.modalities() == {"text": {}, "image": {"video": 1}}
    store.delete(["film-0"])
    assert store._ledger.modalities() == {"text": {}, "image": {}}
    assert store.similarity_search("red", modality="video") == []


def test_a_callers_own_mark_is_no_mark(store):
    store.add_texts(["red"], [{"modality": "video", PICTURED: True}], ["a"])
    assert store.get()["metadatas"] == [{"modality": "video"}]
    assert set(store._ledger.statistics()) == {"text"}


@pytest.mark.parametrize(
    ("modality", "text", "side"),
    [
        ("video", "", "image"),
        ("video", "spoken", "image"),
        ("table", "| a |", "text"),
        ("audio", "spoken", "text"),
        ("audio", " ", "image"),
        (None, "a passage", "text"),
        ("text", "", "image"),
    ],
)
def test_films_go_by_their_thumbnails_and_other_documents_if_they_have_no_words(
    store, sample_images, modality, text, side
):
    metadata = {"thumbnail": str(sample_images["red"]), **({"modality": modality} if modality else {})}
    store.add_texts([text], [metadata], ["a"])
    assert set(store._ledger.statistics()) == {side}
    assert store.get_by_ids(["a"])[0].metadata == metadata
    assert ids(store.similarity_search("red", modality=modality or "text")) == ["a"]


def test_an_embedding_for_text_alone_reads_what_is_said(open_store, sample_images):
    store = open_store(DeterministicFakeEmbedding(size=8))
    store.add_documents([film(0, str(sample_images["red"]), "spoken words")])
    assert set(store._ledger.statistics()) == {"text"}
    assert ids(store.similarity_search("spoken words", modality="video")) == ["film-0"]


def test_a_thumbnail_that_cannot_be_read_fails_as_a_picture_does(store, sample_images, tmp_path, caplog):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    good, broken = str(sample_images["red"]), str(tmp_path / "broken.png")
    with pytest.raises(CorruptMediaError, match=r"document 1: .*broken\.png"):
        store.add_documents([film(0, good), film(5, [good, broken, broken])])
    with pytest.raises(LoadError, match=r"document 0: .*gone\.png"):
        store.add_documents([film(0, str(tmp_path / "gone.png"))])
    assert store.get()["ids"] == []
    documents = [film(0, good), film(5, [good, broken, broken]), film(10, good)]
    assert store.add_documents(documents, on_error="skip") == ["film-0", "film-10"]
    assert sum("skipped document 1" in message for message in caplog.messages) == 1


def test_paths_are_kept_so_that_another_folder_finds_them_and_bytes_become_files(
    store, sample_images, monkeypatch
):
    from base64 import b64encode

    monkeypatch.chdir(sample_images["red"].parent)
    inline = f"data:image/png;base64,{b64encode(Path('blue.png').read_bytes()).decode()}"
    store.add_documents([film(0, "red.png"), film(5, ["red.png", "green.png"]), film(10, inline)])
    kept = [each.metadata["thumbnail"] for each in store.get_by_ids(["film-0", "film-5", "film-10"])]
    red, green = str(sample_images["red"]), str(sample_images["green"])
    assert kept[:2] == [red, [red, green]]
    assert Path(kept[2]).parent == store.media_directory
    assert Image.open(kept[2]).getpixel((3, 3)) == (0, 0, 255)


def test_captions_and_spoken_words_of_films_have_text_vectors(open_store, counting_embeddings, sample_images):
    words = WordEmbeddings()
    store = open_store(counting_embeddings, text_embedding=words)
    red = str(sample_images["red"])
    store.add_documents(
        [film(0, red, "spoken words", caption="a red wall"), film(5, red, "more"), film(10, red)]
    )
    assert words.embedded == ["a red wall\nspoken words", "more"]
    assert_in_step(store, words)
    for text in ("wall", "spoken"):
        for search in ("text", "hybrid"):
            assert ids(store.similarity_search(text, k=1, search=search)) == ["film-0"]
    store.delete(["film-0"])
    assert_in_step(store, words)


def test_a_store_filled_before_films_went_by_pictures_is_searched_as_it_is(tmp_path, sample_images):
    red = str(sample_images["red"])
    store = open_at(tmp_path)
    text = store.embeddings.embed_documents(["red words"])
    metadata = {"modality": "video", "thumbnail": red}
    store.add_texts(["red sea"], ids=["passage"])
    old = chromadb.PersistentClient(str(tmp_path)).get_collection("passages", embedding_function=None)
    old.add(ids=["old"], embeddings=text, documents=["red words"], metadatas=[metadata])
    store = open_at(tmp_path)
    store.add_documents([film(0, red)])
    assert set(ids(store.similarity_search("red", modality="video"))) == {"old", "film-0"}
    assert store._ledger.modalities() == {"text": {"text": 1, "video": 1}, "image": {"video": 1}}
    store.update_documents(["old"], store.get_by_ids(["old"]))
    assert store._ledger.modalities() == {"text": {"text": 1}, "image": {"video": 2}}


# --- what may be opened -------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "disk", "given"])
def fenced(request, open_store, counting_embeddings, tmp_path):
    """A store that may open what lies in one folder, wherever it keeps its own pictures."""
    (tmp_path / "mine").mkdir()
    options = {
        "memory": {},
        "disk": {"persist_directory": tmp_path / "db"},
        "given": {"media_directory": tmp_path / "kept"},
    }[request.param]
    return open_store(counting_embeddings, media_policy=MediaPolicy(roots=(tmp_path / "mine",)), **options)


def test_what_lies_in_its_own_folder_may_be_opened_and_other_files_may_not(fenced, tmp_path, sample_images):
    own = fenced.media_directory / "talk-1234" / "moment-1.png"
    own.parent.mkdir(parents=True)
    Image.open(sample_images["red"]).save(own)
    assert fenced.media_directory == fenced.media_directory.absolute()
    fenced.add_documents([film(0, str(own))])
    fenced.add_images([str(own)], [{"path": str(own), "source": "/files/talk.pdf"}], ["figure"])
    with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
        fenced.add_documents([film(5, str(sample_images["red"]))])
    assert set(ids(fenced.similarity_search(Query(image=own), k=5))) == {"film-0", "figure"}
    with pytest.raises(UnsafeSourceError):
        fenced.similarity_search(Query(image=sample_images["red"]))
    documents = fenced.similarity_search("red", k=5)
    blocks = documents_to_content_blocks(documents, media_policy=fenced.media_policy)
    assert [block["type"] for block in blocks].count("image") >= 1
    message = create_search_tool(MultimodalRetriever(store=fenced)).invoke(
        {"type": "tool_call", "id": "1", "name": "search", "args": {"query": "red"}}
    )
    assert "image" in [block["type"] for block in message.content]


def test_a_given_policy_is_widened_by_its_own_folder_alone(fenced, tmp_path):
    other = MediaPolicy(roots=(tmp_path / "other",), allow_urls=False)
    own = fenced.media_directory
    assert fenced.opening_own_media(other) == MediaPolicy(roots=(tmp_path / "other", own), allow_urls=False)
    assert fenced.opening_own_media(fenced.media_policy) == fenced.media_policy
    assert fenced.opening_own_media(MediaPolicy()) == MediaPolicy()


def test_the_folder_of_a_store_in_memory_goes_with_it(counting_embeddings, sample_images):
    store = MultimodalChroma("films-in-memory", counting_embeddings)
    folder = store.media_directory
    buffer = BytesIO()
    Image.open(sample_images["red"]).save(buffer, "PNG")
    store.add_images(blobs=[buffer.getvalue()])
    assert list(folder.iterdir())
    assert store.media_directory == folder
    store.delete_collection()
    del store
    import gc

    gc.collect()
    assert not folder.exists()
