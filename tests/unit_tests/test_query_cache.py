"""Questions asked again are not embedded again."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from langchain_core.embeddings import Embeddings

from langchain_mmrag._store.embedder import Embedder
from langchain_mmrag._store.query_cache import QueryCache
from langchain_mmrag.embeddings import OpenCLIPEmbeddings


class Counting(Embeddings):
    """Tells how often it is asked."""

    def __init__(self, fingerprint=None):
        self.asked = []
        if fingerprint is not None:
            self.fingerprint = fingerprint

    def embed_query(self, text):
        self.asked.append(text)
        if text == "broken":
            raise OSError(text)
        return [float(len(text)), 1.0]

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def vector(self, text):
        return np.array(self.embed_query(text), dtype=np.float32)


def asked_of(cache, embedding, *texts):
    return [cache.get(embedding, text, embedding.vector).tolist() for text in texts]


def test_a_question_is_embedded_once():
    embedding, cache = Counting("weights 1"), QueryCache()
    assert asked_of(cache, embedding, "a", "bb", "a") == [[1, 1], [2, 1], [1, 1]]
    assert embedding.asked == ["a", "bb"]


def test_the_question_used_longest_ago_is_forgotten():
    embedding, cache = Counting("weights 1"), QueryCache(size=2)
    asked_of(cache, embedding, "a", "b", "a", "c", "a", "b")
    assert embedding.asked == ["a", "b", "c", "b"]


def test_other_weights_have_vectors_of_their_own():
    one, other, cache = Counting("weights 1"), Counting("weights 2"), QueryCache()
    asked_of(cache, one, "a")
    asked_of(cache, other, "a")
    assert other.asked == ["a"]


def test_without_a_fingerprint_nothing_is_kept():
    embedding, cache = Counting(), QueryCache()
    asked_of(cache, embedding, "a", "a")
    assert embedding.asked == ["a", "a"]


def test_a_model_that_was_handed_in_may_be_trained_meanwhile():
    loaded = OpenCLIPEmbeddings("mmrag-tiny")._ready()
    model = copy.deepcopy(loaded.model)
    handed_in = OpenCLIPEmbeddings(model=model, preprocess=loaded.preprocess, tokenizer=loaded.tokenizer)
    embedder = Embedder(handed_in)
    before = embedder.query("a dog")
    assert np.array_equal(embedder.query("a dog"), before)
    with torch.no_grad():
        model.text_projection.copy_(model.text_projection.flip(0))
    after = embedder.query("a dog")
    assert np.allclose(after, handed_in.embed_query("a dog"), atol=1e-6)
    assert after @ before < 0.9


def test_a_model_asked_for_by_name_keeps_its_weights():
    assert OpenCLIPEmbeddings("mmrag-tiny").has_fixed_weights


def test_errors_are_not_kept():
    embedding, cache = Counting("weights 1"), QueryCache()
    for _ in range(2):
        with pytest.raises(OSError, match="broken"):
            asked_of(cache, embedding, "broken")
    assert embedding.asked == ["broken"] * 2


def test_what_callers_do_to_a_vector_stays_theirs():
    embedding, cache = Counting("weights 1"), QueryCache()
    for _ in range(3):
        vector = cache.get(embedding, "a", embedding.vector)
        assert vector.tolist() == [1, 1]
        vector[:] = 0


def test_threads_get_the_vectors_of_their_questions():
    embedding, cache = Counting("weights 1"), QueryCache(size=4)
    texts = ["x" * (1 + n % 9) for n in range(900)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: cache.get(embedding, text, embedding.vector).tolist(), texts))
    assert found == [[len(text), 1] for text in texts]
