"""Vectors equal those of the class this one replaces, with the same weights; runs where that class is installed."""

import warnings

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.embeddings import OpenCLIPEmbeddings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it announces its own end on import
    experimental = pytest.importorskip("langchain_experimental.open_clip")

TEXTS = ["a dog", "", "two red circles above a blue square " * 5, "piñata ☕ 日本語", "word " * 200]

pytestmark = pytest.mark.filterwarnings("ignore::langchain_mmrag.embeddings.TruncatedTextWarning")


@pytest.fixture
def both(tiny_clip_dir):
    """The other class and this one on the same weights."""
    name = f"local-dir:{tiny_clip_dir}"
    other = experimental.OpenCLIPEmbeddings(model_name=name, checkpoint="")
    return other, OpenCLIPEmbeddings(model_name=name, device="cpu", precision="fp32", show_progress=False)


@pytest.fixture
def pictures(tmp_path):
    noise = np.random.default_rng(2)
    paths = []
    for i, (width, height) in enumerate([(500, 375), (375, 500), (224, 224), (1000, 301), (33, 700)]):
        coarse = Image.fromarray(noise.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        paths.append(str(tmp_path / f"{i}.{'jpg' if i % 2 else 'png'}"))
        coarse.resize((width, height)).save(paths[-1])
    return paths


def test_text_vectors_are_equal(both):
    other, ours = both
    np.testing.assert_allclose(ours.embed_documents(TEXTS), other.embed_documents(TEXTS), atol=1e-5)
    np.testing.assert_allclose(ours.embed_query("a dog"), other.embed_query("a dog"), atol=1e-5)


def test_image_vectors_are_equal(both, pictures):
    other, ours = both
    np.testing.assert_allclose(ours.embed_image(pictures), other.embed_image(pictures), atol=1e-5)
    np.testing.assert_allclose(ours.embed_image(uris=pictures), other.embed_image(uris=pictures), atol=1e-5)
