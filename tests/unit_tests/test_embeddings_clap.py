"""Sounds and texts in one space, by a small CLAP of transformers."""

import asyncio
import sys

import numpy as np
import pytest

from langchain_mmrag.embeddings import ClapEmbeddings
from langchain_mmrag.errors import EmbeddingError, MissingDependencyError, ModelUnavailableError
from tests.tiny_audio_model import HEARD_S, SAMPLING_RATE, clap

TEXTS = ["a dog", "rain on a roof", "the bell of a ship in a storm far away"]


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLING_RATE)).astype(np.float32)


def tone(hertz, seconds):
    return np.sin(np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE * 2 * np.pi * hertz)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clap(tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="module")
def embedding(folder):
    return ClapEmbeddings(str(folder), batch_size=2)


@pytest.fixture(scope="module")
def parts(folder):
    """The model and its processor, as transformers loads them."""
    from transformers import ClapModel, ClapProcessor

    return ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)


def told_by_transformers(parts, sound):
    import torch

    model, processor = parts
    with torch.inference_mode():
        inputs = processor(audio=[sound], sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return model.get_audio_features(**inputs).pooler_output[0].numpy()


def test_texts_have_the_vectors_that_transformers_gives_them(embedding, parts):
    import torch

    model, processor = parts
    with torch.inference_mode():
        inputs = processor(text=TEXTS, padding=True, return_tensors="pt")
        expected = model.get_text_features(**inputs).pooler_output.numpy()
    np.testing.assert_allclose(embedding.embed_documents(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(embedding.embed_query(TEXTS[1]), expected[1], atol=1e-6)
    assert embedding.embed_documents([]) == []


@pytest.mark.parametrize("seconds", [0.01, 0.7, 1.5, HEARD_S])
def test_sounds_that_fit_have_the_vectors_that_transformers_gives_them(embedding, parts, seconds):
    sound = noise(seconds)
    np.testing.assert_allclose(
        embedding.embed_audio([sound])[0], told_by_transformers(parts, sound), atol=1e-6
    )


def test_a_batch_is_its_sounds_one_by_one(embedding):
    sounds = [noise(1), tone(440, 0.5), noise(3.5), np.zeros(SAMPLING_RATE, np.float32)]
    together = np.asarray(embedding.embed_audio(sounds))
    alone = [embedding.embed_audio([sound])[0] for sound in sounds]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert together.shape == (4, embedding.dimension)
    assert embedding.embed_audio([]) == []
    assert embedding.sampling_rate == SAMPLING_RATE


def test_a_long_sound_is_the_mean_of_windows_that_cover_it(embedding, parts):
    sound = np.concatenate([noise(HEARD_S), tone(300, HEARD_S), noise(HEARD_S - 1, seed=1)])
    heard = HEARD_S * SAMPLING_RATE
    starts = [0, (len(sound) - heard) // 2, len(sound) - heard]
    windows = np.stack([told_by_transformers(parts, sound[start : start + heard]) for start in starts])
    mean = windows.mean(axis=0)
    np.testing.assert_allclose(embedding.embed_audio([sound])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_of_a_very_long_sound_only_so_many_windows_are_heard(folder, embedding, parts):
    sound = np.concatenate([noise(HEARD_S), tone(300, 3 * HEARD_S), noise(HEARD_S, seed=1)])
    few = ClapEmbeddings(str(folder), max_windows=1)
    heard = HEARD_S * SAMPLING_RATE
    middle = told_by_transformers(parts, sound[2 * heard : 3 * heard])
    np.testing.assert_allclose(few.embed_audio([sound])[0], middle, atol=1e-6)
    assert few.fingerprint != embedding.fingerprint


def test_a_model_for_crops_hears_the_same_in_every_run_and_in_every_company(tmp_path):
    fused = ClapEmbeddings(str(clap(tmp_path, fused=True)))
    sounds = [noise(1), tone(300, 5)]
    first = fused.embed_audio(sounds)
    assert fused.embed_audio(sounds) == first
    np.testing.assert_allclose([fused.embed_audio([sound])[0] for sound in sounds], first, atol=1e-6)


def test_a_long_text_is_cut(embedding):
    cut = embedding.embed_query("abc " * 200)
    assert np.linalg.norm(cut) == pytest.approx(1)


def test_the_fingerprint_is_of_the_weights_wherever_they_lie(folder, tmp_path, parts):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    fingerprint = ClapEmbeddings(str(folder)).fingerprint
    assert ClapEmbeddings(str(copy)).fingerprint == fingerprint
    assert ClapEmbeddings(str(clap(tmp_path / "other", seed=1))).fingerprint != fingerprint
    assert "laion/clap-htsat-unfused" in ClapEmbeddings().fingerprint
    given = ClapEmbeddings(parts)
    assert given.fingerprint.startswith("clap:state-")
    np.testing.assert_array_equal(
        given.embed_query("a dog"), ClapEmbeddings(str(folder)).embed_query("a dog")
    )


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (np.zeros(9, np.int16), "sound 0 holds int16: give floats"),
        (np.zeros((9, 2)), r"sound 0 has the shape \(9, 2\): give the samples"),
        (np.zeros(0), "sound 0 is empty"),
        (np.array([0.1, np.nan]), "sound 0 holds NaN"),
    ],
)
def test_what_is_no_sound_is_refused(embedding, sound, said):
    with pytest.raises(EmbeddingError, match=said):
        embedding.embed_audio([sound])


def test_a_model_that_cannot_be_had_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelUnavailableError, match="laion/clap-htsat-unfused is not here"):
        ClapEmbeddings().embed_query("a dog")
    with pytest.raises(ModelUnavailableError, match="holds no weights"):
        _ = ClapEmbeddings(str(tmp_path)).fingerprint
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        ClapEmbeddings(str(tmp_path)).embed_audio([noise(1)])
    with pytest.raises(ValueError, match="give a name, a folder, or"):
        ClapEmbeddings(3)
    with pytest.raises(ValueError, match="1 or more, not 0 and 30"):
        ClapEmbeddings(batch_size=0)


def test_without_transformers_the_pip_line_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"langchain-mmrag\[transformers\]"):
        ClapEmbeddings(str(folder)).embed_query("a dog")


def test_the_event_loop_is_not_blocked(embedding):
    async def both():
        return await asyncio.gather(embedding.aembed_audio([noise(1)]), embedding.aembed_query("a dog"))

    sound, text = asyncio.run(both())
    assert sound == embedding.embed_audio([noise(1)])
    np.testing.assert_allclose(text, embedding.embed_query("a dog"), atol=1e-6)
