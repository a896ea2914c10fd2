"""Questions before torch: the tokens and vectors of open_clip, by NumPy, and the cases that are left to torch."""

import copy
import gzip
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from langchain_mmrag import _cache
from langchain_mmrag.embeddings import OpenCLIPEmbeddings, TruncatedTextWarning
from langchain_mmrag.embeddings import _question_catalog as catalog
from langchain_mmrag.embeddings._question_model import QuestionModel
from langchain_mmrag.embeddings._question_tokens import question_tokenizer
from langchain_mmrag.embeddings._question_tower import _gelu, question_tower
from tests.conftest import TINY_CONFIG, save_clip

WRITTEN = [
    "",
    " \t\n",
    "It's they're WE'VE i'll I'm he'd don't 'S 'ſ",
    "&lt;b&gt; &amp;amp; &eacute; &#128512; &nbsp;x",
    "schÃ¶n â€œquotedâ€\x9d ﬁne ＦＵＬＬ",
    "👩‍👩‍👧 ☕️ 🇩🇪 e\u0301 İstanbul ß ǅ ﷺ ٣ ½ Ⅷ 𝔘 日本語 한글 हिन्दी",
    "a <start_of_text> b <end_of_text> c <END_OF_TEXT>",
    "12345 3.14 C++ snake_case e-mail@example.org !!! ...",
    "dog " * 100,
    "\x00\x85\u2028\u200b\ufeff",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
]
PLAIN = {
    "of one tower": {},
    "of a separate text tower": {"custom_text": True},
    "with the quick activation": {"quick_gelu": True},
}
FOREIGN = {
    "both ways": {"no_causal_mask": True},
    "class token": {"embed_cls": True, "context_length": 76},
    "end by id": {"pool_type": "eos", "eos_id": 49407},
    "another epsilon": {"norm_kwargs": {"eps": 1e-6}},
    "layer scale": {"ls_init_value": 0.1},
    "projection with bias": {"proj_bias": True},
}


def shaped(text=None, **model):
    changed = copy.deepcopy(TINY_CONFIG)
    changed["model_cfg"] |= model
    changed["model_cfg"]["text_cfg"] |= {"layers": 3, "width": 64, "heads": 4} | (text or {})
    return changed


def some_texts(count):
    """Texts of every script and kind, the same at every run."""
    drawn = random.Random(0)
    ranges = [(32, 127), (32, 127), (160, 0x250), (0x370, 0x600), (0x900, 0xD7FF), (0xE000, 0x10FFFF)]
    pieces = [*WRITTEN[2:8], "'s", "'LL", "&amp;", "<end_of_text>", " ", "\u3000"]
    for _ in range(count):
        letters = []
        for _ in range(drawn.randrange(16)):
            low, high = drawn.choice(ranges)
            letters.append(drawn.choice(pieces) if drawn.random() < 0.1 else chr(drawn.randint(low, high)))
        yield "".join(letters)


def test_tokens_are_those_of_open_clip():
    import open_clip

    theirs = open_clip.SimpleTokenizer()
    ours = question_tokenizer("ViT-B-32", {}, None)
    assert ours.vocab_size == theirs.vocab_size == 49408
    for text in [*WRITTEN, *some_texts(300)]:
        ids = theirs.encode(text)
        assert ours.encode(text) == ids, repr(text)
        [row], [cut] = ours.rows([text])
        assert (row, cut) == ([49406, *ids[:75], 49407], len(ids) > 75)
        assert ours.counts([text]) == [len(ids) + 2]
    for text in WRITTEN:
        [row], _ = ours.rows([text])
        padded = theirs([text])[0].tolist()
        assert row == padded[: len(row)]
        assert not any(padded[len(row) :])


def test_tokens_of_a_models_own_merges_are_those_of_open_clip(tmp_path):
    import open_clip.tokenizer

    with gzip.open(open_clip.tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[:501]
    merges = tmp_path / "bpe_own.txt.gz"
    for end in ("", "\n"):  # a last line of nothing is a token too
        with gzip.open(merges, "wb") as file:
            file.write(("\n".join(lines) + end).encode())
        theirs = open_clip.SimpleTokenizer(str(merges), context_length=24)
        ours = question_tokenizer("", {"context_length": 24, "tokenizer_kwargs": {"bpe_path": "x"}}, merges)
        for text in [*WRITTEN, *some_texts(40)]:
            [row], _ = ours.rows([text])
            assert row == theirs([text])[0].tolist()[: len(row)]
        os.utime(merges, (0, 0))
        merges = tmp_path / "bpe_other.txt.gz"


@pytest.mark.parametrize(
    "text_cfg",
    [
        {"hf_tokenizer_name": "bert-base-uncased"},
        {"tokenizer_kwargs": {"clean": "canonicalize"}},
        {"tokenizer_kwargs": {"reduction_mask": "simple"}},
        {"tokenizer_kwargs": {"bpe_path": "lost.txt.gz"}},
        {"vocab_size": 1000},
    ],
)
def test_other_ways_to_tokenise_are_left_to_open_clip(text_cfg):
    assert question_tokenizer("ViT-B-32", text_cfg, None) is None
    assert question_tokenizer("ViT-B-16-SigLIP", {}, None) is None


def test_a_damaged_file_of_merges_is_left_to_open_clip(tmp_path):
    (tmp_path / "bpe.txt.gz").write_bytes(b"no archive")
    assert question_tokenizer("", {}, tmp_path / "bpe.txt.gz") is None


def test_the_activation_is_exact():
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    exact = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()]
    np.testing.assert_allclose(_gelu(x), exact, atol=5e-7)


@pytest.mark.parametrize("kind", PLAIN)
def test_vectors_are_those_of_torch(kind, tmp_path):
    folder = save_clip(tmp_path, shaped(**PLAIN[kind]))
    embeddings = OpenCLIPEmbeddings(f"local-dir:{folder}")
    with pytest.warns(TruncatedTextWarning):
        light = np.array([embeddings.embed_query(text) for text in WRITTEN])
    assert embeddings._loaded is None
    np.testing.assert_allclose(
        embeddings._unit_rows(embeddings._encode_texts(WRITTEN), WRITTEN), light, atol=1e-6
    )
    assert embeddings._loaded is None
    embeddings._ready()
    np.testing.assert_allclose(embeddings.embed_texts_array(WRITTEN), light, atol=1e-5)


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_towers_are_left_to_torch(kind, tmp_path):
    config = shaped(FOREIGN[kind], custom_text=True)
    folder = save_clip(tmp_path, config)
    assert question_tower(folder / "open_clip_model.safetensors", config["model_cfg"]) is None


@pytest.mark.parametrize(
    "change",
    [{"layers": 2}, {"heads": 5}, {"width": 32}, {"context_length": 76}, {"vocab_size": 9}, {"mlp_ratio": 2}],
)
def test_weights_of_another_shape_are_left_to_torch(change, tmp_path):
    folder = save_clip(tmp_path, shaped())
    weights = folder / "open_clip_model.safetensors"
    assert question_tower(weights, shaped()["model_cfg"]) is not None
    assert question_tower(weights, shaped(change)["model_cfg"]) is None


def test_damaged_weights_are_left_to_torch(tmp_path):
    weights = save_clip(tmp_path, shaped()) / "open_clip_model.safetensors"
    content, config = weights.read_bytes(), shaped()["model_cfg"]
    for damaged in (content[:-4], content + b"more", content[:100], b"", b"\xff" * 64):
        weights.write_bytes(damaged)
        assert question_tower(weights, config) is None


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_stored_in_half_are_computed_with_in_full(kind, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    weights = save_clip(tmp_path, shaped()) / "open_clip_model.safetensors"
    state = {name: tensor.to(getattr(torch, kind)) for name, tensor in load_file(weights).items()}
    save_file(state, weights)
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tmp_path}", device="cpu")
    light = embeddings.embed_query("a red boat")
    assert (embeddings._loaded is None) == (kind == "float16")  # NumPy has no bfloat16
    embeddings._ready()
    np.testing.assert_allclose(embeddings.embed_query("a red boat"), light, atol=1e-5)


def test_the_tower_of_who_asks_often_is_laid_out_and_says_the_same(tmp_path):
    folder = save_clip(tmp_path, shaped())
    model = QuestionModel()
    blueprint = OpenCLIPEmbeddings(f"local-dir:{folder}")._found()
    before = [model.encode(blueprint, [text]).features for text in WRITTEN[:2]]
    matrices = [values for values in model._tower.weights.values() if values.ndim > 1]
    assert sum(values.flags.f_contiguous for values in matrices) == 4 * 3
    model.encode(blueprint, WRITTEN[:1])
    for thread in threading.enumerate():
        if thread.name == "lay out the text tower":
            thread.join()
    assert all(values.flags.c_contiguous for values in model._tower.weights.values())
    after = [model.encode(blueprint, [text]).features for text in WRITTEN[:2]]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_many_texts_load_torch(tiny_clip_dir):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu")
    for _ in range(30):
        embeddings.embed_documents(["a", "b", "c", "d"])  # few at a time, as often as one likes
    embeddings.embed_documents(["a"] * 32)
    embeddings.embed_documents(["a"] * 32)
    assert embeddings._loaded is None
    embeddings.embed_documents(["a"] * 5)
    assert embeddings._loaded is not None


# --- what is kept


def test_defaults_of_preprocessing_are_those_of_open_clip():
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    for given in ({}, {"mean": [0.5, 0.5, 0.5], "size": 64, "other": 1, "std": None}):
        ours, theirs = catalog.preprocess_settings(given), merge_preprocess_dict(PreprocessCfg(), given)
        assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def test_the_digest_of_a_file_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    reads = []
    read = catalog._read_digest
    monkeypatch.setattr(catalog, "_read_digest", lambda path: reads.append(path) or read(path))
    monkeypatch.setenv(_cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert catalog.content_digest(file) == catalog.content_digest(file)
    assert len(reads) == 2  # written just now: a second change could not be told by its time
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    first = catalog.content_digest(file)
    assert catalog.content_digest(file) == first
    assert len(reads) == 3
    file.write_bytes(b"two")
    os.utime(file, (long_ago, long_ago))  # as long as before, and its time set back
    assert catalog.content_digest(file) != first
    assert len(reads) == 4
    for kept in (tmp_path / "cache").rglob("*.json"):
        kept.write_text('{"key": ')
    assert catalog.content_digest(file) == read(file)
    assert len(reads) == 5


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(_cache.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert _cache.kept("kind", "name", [1], lambda: "made") == "made"


TAGGED = """
import sys, warnings
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found = OpenCLIPEmbeddings("ViT-B-32", "openai")
    print(found.fingerprint, found.dimension, found.context_length, found.token_counts(["a dog", ""]))
print(any("ViT-B-32-quickgelu" in str(each.message) for each in said), "open_clip" in sys.modules)
"""


def test_a_file_of_the_cache_that_cannot_be_written_in_full_is_not_left(tmp_path, monkeypatch):
    monkeypatch.setenv(_cache.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(_cache.json, "dumps", lambda _: "\ud800")
    assert _cache.kept("kind", "other", [1], lambda: "made") == "made"
    assert not list(tmp_path.rglob("*.part"))


def test_settings_of_a_tag_are_asked_for_once(tmp_path, monkeypatch):
    import open_clip

    monkeypatch.setenv(_cache.CACHE_VARIABLE, str(tmp_path))
    asked = []
    with pytest.warns(UserWarning, match="ViT-B-32-quickgelu"):
        expected = OpenCLIPEmbeddings("ViT-B-32", "openai").fingerprint

    def ask():
        asked.append(1)
        return open_clip.get_pretrained_cfg("ViT-B-32", "openai")

    with monkeypatch.context() as not_imported:
        not_imported.delitem(sys.modules, "open_clip")
        first, second = (catalog.tag_settings("ViT-B-32", "openai", ask) for _ in range(2))
    assert json.loads(json.dumps(first)) == second
    assert len(asked) == 1
    said, seen = fresh(TAGGED)
    assert said == f"{expected} 512 77 [4, 2]"
    assert seen == "True False"


# --- a fresh process

ASKED = """
import json, sys
from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
for model, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    store = MultimodalChroma("asked", OpenCLIPEmbeddings(model), persist_directory=folder)
    found = store.search_ranked("a red boat", k=3)
    print(json.dumps([[document.page_content, score] for document, score in found]))
heavy = {"torch", "torchvision", "open_clip", "timm", "huggingface_hub", "transformers"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""


def fresh(code, *arguments):
    """Lines that a new process prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_fresh_process_answers_without_torch(tmp_path, sample_images):
    from langchain_mmrag import MultimodalChroma

    models = {
        "mmrag-tiny": tmp_path / "tiny",
        f"local-dir:{save_clip(tmp_path / 'model', shaped())}": tmp_path,
    }
    expected = []
    for name, folder in models.items():
        embeddings = OpenCLIPEmbeddings(name, device="cpu")
        embeddings._ready()
        store = MultimodalChroma("asked", embeddings, persist_directory=folder)
        store.add_texts([f"{hue} {thing}" for hue in ("red", "blue") for thing in ("boat", "car", "tree")])
        store.add_images(list(sample_images.values()))
        expected.append(store.search_ranked("a red boat", k=3))
    *answers, heavy = fresh(ASKED, *(each for pair in models.items() for each in pair))
    assert heavy == "[]"
    for found, known in zip(map(json.loads, answers), expected, strict=True):
        assert [text for text, _ in found] == [document.page_content for document, _ in known]
        scores = [score for _, score in found]
        np.testing.assert_allclose(scores, [score for _, score in known], atol=1e-3)


OVERWRITTEN = """
import shutil, sys
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.errors import ModelUnavailableError

folder, *others = sys.argv[1:]
weights = f"{folder}/open_clip_model.safetensors"
shutil.copyfile(weights, f"{folder}/original")
for other in others:
    shutil.copyfile(f"{folder}/original", weights)
    embeddings = OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu")
    assert embeddings.fingerprint
    before = embeddings.embed_query("a dog")
    shutil.copyfile(f"{folder}/original", weights)
    assert embeddings.embed_query("a dog") == before
    shutil.copyfile(other, weights)
    for many in (1, 100):
        try:
            embeddings.embed_documents(["a horse in the rain"] * many)
        except ModelUnavailableError as error:
            assert "was overwritten while it was in use" in str(error), error
        else:
            raise AssertionError(other)
print("alive")
"""


def test_weights_overwritten_in_use_neither_end_the_process_nor_mix_vectors(tmp_path):
    weights = save_clip(tmp_path, shaped()) / "open_clip_model.safetensors"
    (tmp_path / "shorter").write_bytes(b"x" * 1000)
    save_file({name: t + 0.25 for name, t in load_file(weights).items()}, tmp_path / "equally_long")
    assert (tmp_path / "equally_long").stat().st_size == weights.stat().st_size
    run = subprocess.run(
        [sys.executable, "-c", OVERWRITTEN, tmp_path, tmp_path / "shorter", tmp_path / "equally_long"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr


def test_the_small_tower_is_let_go_when_torch_has_the_model(tiny_clip_dir):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu")
    embeddings.embed_query("a dog")
    tower = weakref.ref(embeddings._questions._tower)
    assert tower() is not None
    embeddings._ready()
    assert tower() is None
