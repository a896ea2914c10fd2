"""Vectors that stand in for documents a small collection does not have: when they are made, kept, and used."""

import logging
import sys
from itertools import pairwise

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from langchain_mmrag._cache import CACHE_VARIABLE
from langchain_mmrag._store import priors
from langchain_mmrag._store.backgrounds import Backgrounds
from langchain_mmrag._store.ledger_rows import Sample
from langchain_mmrag._store.prior_pictures import SIDE, pictures
from langchain_mmrag._store.prior_texts import TEXTS
from langchain_mmrag._store.priors import PICTURES, Priors, cache_folder
from langchain_mmrag.ranking import PRIOR_BELOW, Background, unit
from tests.conftest import CountingEmbeddings


class Named(CountingEmbeddings):
    """A `CountingEmbeddings` of a name and a length of its own."""

    def __init__(self, name="named", dimension=16, **options):
        super().__init__(**options)
        self.name, self.length = name, dimension

    @property
    def fingerprint(self):
        return self.name

    def _encode_texts(self, texts):
        return np.pad(super()._encode_texts(texts), ((0, 0), (0, self.length - 16)), constant_values=0.1)

    def _encode_images(self, images):
        return np.pad(super()._encode_images(images), ((0, 0), (0, self.length - 16)), constant_values=0.1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of this test alone, and a process that has made nothing yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(priors, "_made", {})
    return tmp_path / "cache" / "priors"


def forget(monkeypatch):
    """As in the next process."""
    monkeypatch.setattr(priors, "_made", {})


# --- what is embedded ---------------------------------------------------------------------------------------


def test_texts_and_pictures_are_the_same_every_time_and_differ_from_each_other():
    first, again = [[np.asarray(image) for image in pictures(PICTURES)] for _ in range(2)]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert {image.shape for image in first} == {(SIDE, SIDE, 3)}
    assert len({image.tobytes() for image in first}) == PICTURES
    assert len(set(TEXTS)) == len(TEXTS)


def test_pictures_are_drawn_without_the_glyphs_too(tmp_path, monkeypatch):
    from langchain_mmrag._store import prior_pictures

    monkeypatch.setattr(prior_pictures, "_GLYPHS", tmp_path)
    assert len(list(pictures(PICTURES))) == PICTURES


def test_no_text_is_cut_by_the_embedded_model():
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings
    from langchain_mmrag.embeddings._open_clip_models import TINY

    assert not any(OpenCLIPEmbeddings(TINY).truncated(list(TEXTS)))  # reads the tokenizer, no weights


# --- making and keeping -------------------------------------------------------------------------------------


def test_vectors_are_those_the_embedding_gives(folder):
    embedding = Named(batch_size=10)
    prior = Priors(embedding)
    assert prior("text") == pytest.approx(Named().embed_texts_array(TEXTS), abs=1e-6)
    images = Named().embed_images_array(list(pictures(PICTURES))).vectors
    assert prior("image") == pytest.approx(images, abs=1e-6)
    assert max(embedding.text_batches + embedding.image_batches) <= 10


def test_they_are_made_once_for_each_model_and_side(monkeypatch, folder):
    first = Named()
    prior = Priors(first)
    texts = prior("text")
    assert not first.image_batches
    assert prior("text") is texts
    second = Named()
    assert Priors(second)("text") is texts
    forget(monkeypatch)
    third = Named()
    third.embed_query("what any search has asked before")
    third.text_batches.clear()
    assert np.array_equal(Priors(third)("text"), texts)
    assert not third.text_batches
    assert len(list(folder.iterdir())) == 1


def test_those_of_a_loaded_model_are_made_before_the_first_search(monkeypatch, folder, tmp_path):
    from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
    from langchain_mmrag._cli.opening import make_ready_to_search

    forget(monkeypatch)
    embeddings = OpenCLIPEmbeddings("mmrag-tiny", device="cpu")
    store = MultimodalChroma("few", embeddings, persist_directory=tmp_path / "store")
    make_ready_to_search(store)
    assert not embeddings.is_loaded  # as after a run over files that had not changed
    assert not folder.exists()
    embeddings.embed_image(next(iter(pictures(1))))
    make_ready_to_search(store)
    assert len(list(folder.iterdir())) == 2
    forget(monkeypatch)
    again = OpenCLIPEmbeddings("mmrag-tiny", device="cpu")
    assert Priors(again)("image").shape == (PICTURES, again.dimension)
    assert not again.is_loaded


def test_never_vectors_of_another_model_or_length(monkeypatch, folder):
    one, other, longer = Named("a"), Named("b"), Named("a", dimension=20)
    assert Priors(one)("text").shape == (len(TEXTS), 16)
    assert Priors(longer)("text").shape == (len(TEXTS), 20)
    Priors(other)("text")
    assert sum(other.text_batches) > len(TEXTS) - 1
    # Nor those of a file that has another's name.
    mine, others = (priors._file((name, 16), "text") for name in "ab")
    others.replace(mine)
    forget(monkeypatch)
    again = Named("a")
    Priors(again)("text")
    assert sum(again.text_batches) >= len(TEXTS)


@pytest.mark.parametrize("damage", ["empty", "cut", "rubbish", "nan", "shape", "folder"])
def test_a_damaged_file_is_made_anew(monkeypatch, folder, damage):
    good = Priors(Named())("text")
    path = next(folder.iterdir())
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage in {"nan", "shape"}:
        bad = np.full_like(good, np.nan) if damage == "nan" else good[:5]
        np.savez(path, vectors=bad, fingerprint=np.array("named"))
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "rubbish": b"x" * 400}[damage])
    forget(monkeypatch)
    assert np.array_equal(Priors(Named())("text"), good)
    if damage != "folder":
        forget(monkeypatch)
        assert np.array_equal(priors._read(("named", 16), "text"), good)
    assert not list(folder.glob("*.part"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert Priors(Named())("image").shape == (PICTURES, 16)


def test_the_folder_is_the_platforms_own_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "langchain-mmrag" / "priors"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "langchain-mmrag" / "priors"


def test_no_progress_is_shown(capfd):
    Priors(Named(show_progress=True))("image")
    assert capfd.readouterr() == ("", "")


# --- embeddings that have none ------------------------------------------------------------------------------


class TextOnly(Embeddings):
    def embed_documents(self, texts):
        return [[1.0, 0.0]] * len(texts)

    def embed_query(self, text):
        return [1.0, 0.0]


class LooksUp(CountingEmbeddings):
    """Knows the vectors of a few texts, as those made beforehand are."""

    tried = 0

    def _encode_texts(self, texts):
        self.tried += 1
        return [{"red": [1.0, 0.0]}[text] for text in texts]


class Zeros(Named):
    def _encode_texts(self, texts):
        return np.zeros((len(texts), 16)) if len(texts) > 1 else np.ones((1, 16))


def test_an_embedding_for_text_alone_has_none():
    assert Priors(TextOnly())("text") is None


def test_one_that_fails_has_none_and_is_not_tried_again(caplog):
    embedding = LooksUp()
    embedding.embed_query("red")
    prior = Priors(embedding)
    with caplog.at_level(logging.WARNING):
        assert prior("text") is None
        tried = embedding.tried
        assert prior("text") is None
    assert embedding.tried == tried
    assert not caplog.records


def test_vectors_of_zeros_are_none(folder):
    assert Priors(Zeros())("text") is None
    assert not folder.exists()


# --- in a background ----------------------------------------------------------------------------------------


def test_a_prior_counts_less_and_less_and_at_fifty_not_at_all():
    rng = np.random.default_rng(0)
    sample, elsewhere = unit(rng.normal(size=(PRIOR_BELOW, 8)) + 1), unit(rng.normal(size=(32, 8)) - 1)
    made = [Background(n, sample[:n], elsewhere) for n in range(PRIOR_BELOW + 1)]
    padding = [len(background.vectors) - background.count for background in made]
    assert padding[0] == 32
    assert padding[-1] == 0
    assert all(0 <= more - less <= 1 for more, less in pairwise(padding))
    assert made[0].mean == pytest.approx(elsewhere.mean(axis=0))
    assert made[-1].mean == pytest.approx(sample.mean(axis=0))
    without = Background(PRIOR_BELOW - 1, sample[:-1])
    assert np.linalg.norm(made[-2].mean - without.mean) < 1e-3


class Samples:
    """The part of a ledger that backgrounds read."""

    def __init__(self, **sides):
        self.sides = {
            side: Sample(count, [str(n) for n in range(count)], np.eye(16, dtype=np.float32)[[0] * count])
            for side, count in sides.items()
        }

    def statistics(self, count):
        return self.sides


def test_a_prior_is_made_only_of_sides_that_are_few_or_asked_with():
    asked = []

    def prior(side):
        asked.append(side)
        return np.eye(16)

    assert set(Backgrounds(Samples(text=PRIOR_BELOW), prior).current(50, {"text"})) == {"text"}
    assert asked == []
    assert set(Backgrounds(Samples(text=3), prior).current(3, {"text"})) == {"text"}
    assert asked == ["text"]
    assert set(Backgrounds(Samples(text=3), prior).current(3, {"image"})) == {"text", "image"}


def test_a_store_of_few_documents_has_priors_and_searches_without_them_too(open_store, monkeypatch):
    for embedding in (Named("in a store"), Named("in a store", show_progress=True)):
        store = open_store(embedding)
        store.add_texts(["red", "green", "blue things"])
        assert store.similarity_search("green", k=1)[0].page_content == "green"
    assert list(cache_folder().iterdir())
    assert not embedding.image_batches
    store = open_store(LooksUp())
    store.add_texts(["red"])
    assert store.similarity_search("red", k=1)[0].page_content == "red"
