"""OpenCLIP models: the vectors of stock open_clip, from every place a model may come from, or a clear error."""

import copy
import gzip
import hashlib
import json
import pickle
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.embeddings import OpenCLIPEmbeddings, TruncatedTextWarning, _hub, _open_clip_models
from langchain_mmrag.errors import EmbeddingError, MissingDependencyError, ModelUnavailableError
from langchain_mmrag.media import MediaPolicy
from tests.conftest import TINY_CONFIG, save_clip

TEXTS = [
    "a dog",
    "",
    "   \n\t",
    "two red circles left of a very small blue square, seen from above on a rainy day",
    "piñata ☕ 日本語",
    "a photo of <end_of_text> something else",
]


def config(*, vision=None, text=None, preprocess=None, **model):
    """The tiny model's configuration with changes."""
    changed = copy.deepcopy(TINY_CONFIG)
    changed["model_cfg"].update(model)
    changed["model_cfg"]["vision_cfg"].update(vision or {})
    changed["model_cfg"]["text_cfg"].update(text or {})
    changed["preprocess_cfg"].update(preprocess or {})
    return changed


KINDS = {
    "vit": config(),
    "resnet": config(vision={"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "patch_size": None}),
    "squash": config(preprocess={"resize_mode": "squash", "interpolation": "bilinear"}),
    "longest": config(preprocess={"resize_mode": "longest", "fill_color": 255}),
    "not causal": config(text={"no_causal_mask": True, "pool_type": "last"}),
    "first token": config(text={"no_causal_mask": True, "pool_type": "first"}),
    "end by id": config(text={"pool_type": "eos", "eos_id": 49407}),
    "linear projection": config(text={"proj_type": "linear"}),
    "separate text tower": config(custom_text=True),
    "class token": config(custom_text=True, text={"embed_cls": True, "context_length": 76}),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """RGB files of several shapes: wide, tall, square, smaller than the model's input, odd sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(1)
    paths = []
    for i, (width, height) in enumerate([(200, 120), (90, 333), (64, 64), (20, 17), (301, 299)]):
        coarse = noise.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        paths.append(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
        picture.save(paths[-1])
    return paths


def open_clip_itself(folder, texts, images):
    """What open_clip gives for each text and image alone, normalised."""
    import open_clip
    import torch
    from torch.nn.functional import normalize

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        by_text = [normalize(model.encode_text(tokenizer([text]))) for text in texts]
        by_image = [normalize(model.encode_image(preprocess(Image.open(path))[None])) for path in images]
    return torch.cat(by_text).numpy(), torch.cat(by_image).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_open_clip(kind, tmp_path, pictures):
    folder = save_clip(tmp_path, KINDS[kind])
    embeddings = OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu", batch_size=3, show_progress=False)
    texts, images = open_clip_itself(folder, TEXTS, pictures)
    np.testing.assert_allclose(embeddings.embed_texts_array(TEXTS), texts, atol=2e-6)  # by torch or without
    np.testing.assert_allclose(embeddings.embed_images_array(pictures).vectors, images, atol=2e-6)
    np.testing.assert_allclose(embeddings.embed_texts_array(TEXTS), texts, atol=2e-6)  # by torch
    assert embeddings.dimension == 16


@pytest.mark.parametrize(
    ("kind", "cuts"),
    [
        *(("vit", True), ("linear projection", True), ("end by id", True)),
        *(("not causal", False), ("class token", False)),
    ],
)
def test_padding_is_left_out_only_where_that_is_exact(kind, cuts, tmp_path, monkeypatch):
    from torch.nn import functional

    rows = []
    embeddings = OpenCLIPEmbeddings(f"local-dir:{save_clip(tmp_path, KINDS[kind])}", device="cpu")
    embeddings._ready()
    embeddings.embed_query("the tower is chosen by now")
    norm = functional.layer_norm
    monkeypatch.setattr(
        functional, "layer_norm", lambda x, *rest: rows.append(x.shape[:-1].numel()) or norm(x, *rest)
    )
    embeddings.embed_documents(["a", "a b c", "d"])
    assert rows[0] == (3 + 5 + 3 if cuts else 3 * 77)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_batch_equals_its_singles(kind, tmp_path, pictures):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{save_clip(tmp_path, KINDS[kind])}", device="cpu")
    together = embeddings.embed_image(pictures)
    alone = [embeddings.embed_image(path) for path in pictures]
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(
        embeddings.embed_documents(TEXTS), [embeddings.embed_query(text) for text in TEXTS], atol=2e-6
    )
    np.testing.assert_allclose(embeddings.embed_image(pictures), together, atol=1e-7)  # nothing has moved


@pytest.mark.parametrize("kind", ["vit", "longest", "squash"])
def test_a_very_long_strip_is_embedded_in_little_memory(kind, tmp_path):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{save_clip(tmp_path, KINDS[kind])}", device="cpu")
    strip = Image.new("RGB", (60_000, 1), "red")
    largest = []

    class Watched(type(embeddings)):
        def _shrink(self, image):
            small = super()._shrink(image)
            largest.append(small.size)
            return small

    embeddings.__class__ = Watched
    assert np.isfinite(embeddings.embed_image([strip, strip.rotate(90, expand=True)])).all()
    assert largest == [(32, 32), (32, 32)]


# --- cheap to make, light to carry


def test_the_constructor_imports_neither_torch_nor_open_clip():
    code = (
        "import sys; from langchain_mmrag.embeddings import OpenCLIPEmbeddings; "
        "repr(OpenCLIPEmbeddings('ViT-g-14', 'laion2b_s34b_b88k')); "
        "assert not {'torch', 'open_clip', 'chromadb', 'huggingface_hub'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_repr_is_one_line(clip):
    clip.embed_query("load it")
    assert repr(clip) == (
        f"OpenCLIPEmbeddings(model_name={clip.model_name!r}, checkpoint=None, device='cpu', precision='auto')"
    )
    assert repr(OpenCLIPEmbeddings()) == (
        "OpenCLIPEmbeddings(model_name='ViT-B-32', checkpoint='laion2b_s34b_b79k', device=None, precision='auto')"
    )


def test_a_pickled_copy_is_small_and_gives_the_same_vectors(clip):
    vector = clip.embed_query("a dog")
    pickled = pickle.dumps(clip)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    assert again.embed_query("a dog") == pytest.approx(vector, abs=1e-6)
    assert again.fingerprint == clip.fingerprint
    assert copy.deepcopy(clip).embed_query("a dog") == pytest.approx(vector, abs=1e-6)


def test_an_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="pretrained"):
        OpenCLIPEmbeddings(model_name="ViT-B-32", pretrained="openai")


def test_threads_share_one_model(tiny_clip_dir, pictures, monkeypatch):
    loads = []
    load = _open_clip_models.load
    monkeypatch.setattr(_open_clip_models, "load", lambda *args: loads.append(args) or load(*args))
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu", show_progress=False)
    with ThreadPoolExecutor(8) as pool:
        by_text = list(pool.map(embeddings.embed_query, TEXTS * 4))
        by_image = list(pool.map(embeddings.embed_image, pictures * 2))
    assert len(loads) == 1
    np.testing.assert_allclose(by_text, [embeddings.embed_query(text) for text in TEXTS * 4], atol=1e-6)
    np.testing.assert_allclose(by_image, [embeddings.embed_image(path) for path in pictures * 2], atol=1e-6)


def test_threads_do_not_compute_at_once(tiny_clip_dir, pictures, monkeypatch):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu", show_progress=False)
    embeddings._ready()
    inside, most = [], []

    def alone(method):
        def watched(*args, **options):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return method(*args, **options)

        return watched

    towers = embeddings._running().towers
    monkeypatch.setattr(towers, "encode_image", alone(towers.encode_image))
    monkeypatch.setattr(towers, "encode_text", alone(towers.encode_text))
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda i: embeddings.embed_query("a") if i % 2 else embeddings.embed_image(pictures[0]),
                range(16),
            )
        )
    assert len(most) >= 16
    assert max(most) == 1


def test_the_model_is_in_evaluation_mode_and_builds_no_graph(clip):
    clip.embed_query("load it")
    assert not clip._ready().model.training
    assert clip._ready().model.text_projection.grad is None


# --- a model handed in


@pytest.fixture
def loaded(tiny_clip_dir):
    import open_clip

    return open_clip.create_model(f"local-dir:{tiny_clip_dir}")


def test_a_loaded_model_can_be_handed_in(loaded, clip, pictures):
    assert loaded.training  # as open_clip leaves it
    embeddings = OpenCLIPEmbeddings(model=loaded)
    np.testing.assert_allclose(embeddings.embed_query("a dog"), clip.embed_query("a dog"), atol=1e-6)
    np.testing.assert_allclose(embeddings.embed_image(pictures[0]), clip.embed_image(pictures[0]), atol=1e-6)
    assert not loaded.training
    assert embeddings.dimension == 16
    assert repr(embeddings) == "OpenCLIPEmbeddings(model=<CLIP>, device=None, precision='auto')"
    assert pickle.loads(pickle.dumps(embeddings)).embed_query("a dog") == embeddings.embed_query("a dog")


def test_own_preprocessing_and_tokenizer_are_used(tiny_clip_dir, clip, pictures):
    import torch

    seen = []

    def preprocess(image):
        seen.append(image.size)
        return torch.zeros(3, 32, 32)

    def tokenizer(texts):
        tokens = torch.zeros(len(texts), 77, dtype=torch.long)
        tokens[:, 0], tokens[:, 1] = 49406, 49407
        return tokens

    embeddings = OpenCLIPEmbeddings(
        f"local-dir:{tiny_clip_dir}", preprocess=preprocess, tokenizer=tokenizer, device="cpu"
    )
    embeddings.embed_image(pictures[0])
    assert seen == [(200, 120)]
    np.testing.assert_allclose(embeddings.embed_query("anything"), clip.embed_query(""), atol=1e-6)
    assert embeddings.truncated(["word " * 100]) == [False]  # nobody knows this tokenizer's context
    assert embeddings.fingerprint != clip.fingerprint


def test_a_model_without_its_preprocessing_must_come_with_one(loaded):
    del loaded.visual.preprocess_cfg
    with pytest.raises(ValueError, match="give preprocess= as well"):
        OpenCLIPEmbeddings(model=loaded).embed_query("a dog")


def test_precision_and_weights_of_a_loaded_model_are_its_own(loaded):
    with pytest.raises(ValueError, match="leave precision= out"):
        OpenCLIPEmbeddings(model=loaded, precision="bf16")
    with pytest.raises(ValueError, match="leave checkpoint='openai' out"):
        OpenCLIPEmbeddings(model=loaded, checkpoint="openai")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_loaded_model_of_half_precision_can_be_handed_in(precision, tiny_clip_dir, clip, pictures):
    import open_clip

    half = OpenCLIPEmbeddings(model=open_clip.create_model(f"local-dir:{tiny_clip_dir}", precision=precision))
    assert np.dot(half.embed_image(pictures[0]), clip.embed_image(pictures[0])) > 0.999
    assert np.dot(half.embed_query("a dog"), clip.embed_query("a dog")) > 0.999


# --- device and precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close(precision, tiny_clip_dir, clip, pictures):
    half = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", precision=precision, device="cpu")
    for ours, exact in (
        (half.embed_texts_array(TEXTS), clip.embed_texts_array(TEXTS)),
        (half.embed_images_array(pictures).vectors, clip.embed_images_array(pictures).vectors),
    ):
        assert ours.dtype == np.float32
        assert (ours * exact).sum(axis=1).min() > 0.999
        assert np.abs(ours - exact).max() > 1e-6  # it is another precision in truth


def test_auto_precision_is_fp32(clip):
    import torch

    clip.embed_query("load it")
    assert {parameter.dtype for parameter in clip._ready().model.parameters()} == {torch.float32}


def test_an_unknown_precision_or_device_is_refused(tiny_clip_dir):
    with pytest.raises(ValueError, match="precision must be one of auto, fp32, bf16, fp16, not 'int4'"):
        OpenCLIPEmbeddings(precision="int4")
    with pytest.raises(ValueError, match="torch knows no device 'gpu'"):
        OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="gpu").embed_query("a")


def test_an_absent_device_is_refused(tiny_clip_dir, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda:0' was asked for, but torch sees none here"):
        OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cuda:0").embed_query("a")


def test_weights_that_give_nan_are_an_error(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"] = torch.full_like(weights["text_projection"], torch.nan)
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(EmbeddingError, match=r"text 0 \('a dog'\): .* NaN"):
        OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu").embed_query("a dog")


# --- long texts


def test_a_text_beyond_the_context_is_known_and_warned_of_once(tiny_clip_dir):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu", batch_size=2)
    long = "dog " * 76
    assert embeddings.truncated(["dog " * 75, long, "dog", ""]) == [False, True, False, False]
    with pytest.warns(
        TruncatedTextWarning, match="reads 77 tokens of a text; the end of 1 of 2 texts"
    ) as caught:
        embeddings.embed_documents(["dog " * 75, long])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embeddings.embed_documents([long])
    with pytest.warns(TruncatedTextWarning):
        pickle.loads(pickle.dumps(embeddings)).embed_query(long)


def test_a_text_that_just_fits_is_not_warned_of(tiny_clip_dir):
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu")
    assert len(embeddings.embed_query("dog " * 75)) == 16  # warnings are errors here


# --- fingerprint


def test_equal_weights_have_one_fingerprint_wherever_they_lie(clip, tmp_path, tiny_clip_dir):
    import shutil

    shutil.copytree(tiny_clip_dir, tmp_path / "copy")
    assert OpenCLIPEmbeddings(f"local-dir:{tmp_path / 'copy'}").fingerprint == clip.fingerprint


def test_other_weights_shape_or_preprocessing_have_another_fingerprint(clip, tmp_path):
    others = [
        save_clip(tmp_path / "weights", seed=1),
        save_clip(tmp_path / "shape", config(text={"heads": 2})),
        save_clip(tmp_path / "preprocessing", config(preprocess={"mean": [0.5, 0.5, 0.5]})),
    ]
    prints = {OpenCLIPEmbeddings(f"local-dir:{folder}").fingerprint for folder in others} | {clip.fingerprint}
    assert len(prints) == 4


def test_the_fingerprint_of_a_tag_names_it_and_needs_no_weights(monkeypatch):
    monkeypatch.setattr(_hub, "_obstacle", lambda: pytest.fail("asked the hub"))
    embeddings = OpenCLIPEmbeddings("ViT-B/32", "LAION2B-s34b-b79k")
    assert embeddings.fingerprint == OpenCLIPEmbeddings().fingerprint
    assert embeddings.fingerprint.startswith("open_clip:ViT-B-32:laion2b_s34b_b79k:512:")
    assert embeddings.dimension == 512


def test_a_loaded_model_is_known_by_its_weights(loaded):
    import torch

    one, other = OpenCLIPEmbeddings(model=loaded), OpenCLIPEmbeddings(model=copy.deepcopy(loaded))
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint.startswith("open_clip:state-")
    changed = copy.deepcopy(loaded)
    with torch.no_grad():
        changed.text_projection[0, 0] += 1
    assert OpenCLIPEmbeddings(model=changed).fingerprint != one.fingerprint


def test_the_logit_scale_is_the_models_own(clip):
    assert clip.logit_scale == pytest.approx(1 / 0.07)


# --- names


def test_models_are_listed_with_checkpoint_and_dimension():
    models = OpenCLIPEmbeddings.list_models()
    assert ("ViT-B-32", "laion2b_s34b_b79k", 512) in models
    assert ("ViT-g-14", "laion2b_s34b_b88k", 1024) in models
    assert len({(model.name, model.checkpoint) for model in models}) == len(models) > 100


def test_an_unknown_model_is_refused_with_what_comes_close():
    with pytest.raises(ValueError, match=r"no model is called 'ViT-B32'. Did you mean ViT-B-32 or") as caught:
        OpenCLIPEmbeddings("ViT-B32", "openai").embed_query("a")
    assert isinstance(caught.value, ModelUnavailableError)


def test_an_unknown_checkpoint_is_refused_with_what_there_is():
    with pytest.raises(
        ValueError, match=r"no checkpoint 'laion2b_s34b', .* Did you mean laion2b_s34b_b79k"
    ) as caught:
        OpenCLIPEmbeddings("ViT-B-32", "laion2b_s34b").embed_query("a")
    assert "datacomp_xl_s13b_b90k" in str(caught.value)


def test_a_plain_name_needs_a_checkpoint():
    with pytest.raises(
        ValueError, match=r"ViT-B-16 needs a checkpoint, .* ViT-B-16 has: openai, laion400m_e31"
    ):
        OpenCLIPEmbeddings("ViT-B-16").embed_query("a")


def test_a_checkpoint_beside_a_model_that_has_its_own_is_refused(tiny_clip_dir):
    with pytest.raises(ValueError, match="has its own weights: leave checkpoint='openai' out"):
        OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", "openai")


def test_a_bare_folder_is_told_how_to_be_written(tiny_clip_dir):
    with pytest.raises(ValueError, match=f"is a folder: write model_name='local-dir:{tiny_clip_dir}'"):
        OpenCLIPEmbeddings(str(tiny_clip_dir)).embed_query("a")


def test_weights_of_another_activation_are_warned_of():
    with pytest.warns(UserWarning, match="use model_name='ViT-B-32-quickgelu' unless"):
        assert OpenCLIPEmbeddings("ViT-B-32", "openai").dimension == 512


# --- folders and files


@pytest.fixture
def tiny_b32(monkeypatch):
    """Makes `ViT-B-32` and `ViT-g-14` of open_clip's registry as small as the test model."""
    from open_clip import factory

    for name in ("ViT-B-32", "ViT-g-14"):
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, copy.deepcopy(TINY_CONFIG["model_cfg"]))


def test_a_file_of_weights_goes_with_a_plain_name(tiny_b32, tiny_clip_dir, clip, tmp_path):
    import torch
    from safetensors.torch import load_file

    pt = tmp_path / "weights.pt"
    torch.save(load_file(tiny_clip_dir / "open_clip_model.safetensors"), pt)
    for file in (tiny_clip_dir / "open_clip_model.safetensors", pt):
        embeddings = OpenCLIPEmbeddings("ViT-B-32", file, device="cpu")
        np.testing.assert_allclose(embeddings.embed_query("a dog"), clip.embed_query("a dog"), atol=1e-6)
        assert embeddings.fingerprint.startswith("open_clip:ViT-B-32:sha256-")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "open_clip_config.json").unlink(), "holds no open_clip_config.json"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{"), "is no open_clip configuration"),
        (lambda folder: (folder / "open_clip_config.json").write_text("[]"), "is no open_clip configuration"),
        (lambda folder: (folder / "open_clip_config.json").write_text("{}"), "is no open_clip configuration"),
        (
            lambda folder: (folder / "open_clip_model.safetensors").unlink(),
            "holds no weights; put them there",
        ),
        (lambda folder: (folder / "open_clip_model.safetensors").write_bytes(b""), "could not be loaded"),
        (
            lambda folder: (folder / "open_clip_model.safetensors").write_bytes(
                (folder / "open_clip_model.safetensors").read_bytes()[:100_000]
            ),
            "The file is damaged or belongs to another model",
        ),
        (
            lambda folder: (folder / "open_clip_config.json").write_text(
                json.dumps(config(text={"width": 16}))
            ),
            "could not be loaded",
        ),
    ],
)
def test_a_broken_folder_is_a_clear_error(damage, message, tmp_path):
    folder = save_clip(tmp_path)
    damage(folder)
    with pytest.raises(ModelUnavailableError, match=message):
        OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu").embed_query("a")


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"there is no folder .*nowhere"):
        OpenCLIPEmbeddings(f"local-dir:{tmp_path / 'nowhere'}").embed_query("a")


def test_several_unnamed_files_of_weights_are_refused(tmp_path):
    folder = save_clip(tmp_path)
    weights = folder / "open_clip_model.safetensors"
    (folder / "epoch_1.pth").write_bytes(weights.read_bytes())
    weights.rename(folder / "epoch_2.safetensors")
    with pytest.raises(
        ModelUnavailableError, match=r"several files of weights \(epoch_1.pth, epoch_2.safetensors\)"
    ):
        OpenCLIPEmbeddings(f"local-dir:{folder}").embed_query("a")


@pytest.fixture
def small_vocabulary(tmp_path):
    """A model whose tokenizer has CLIP's first 500 merges only, made as a trained model would be saved."""
    import open_clip.tokenizer

    with gzip.open(open_clip.tokenizer.default_bpe()) as file:
        lines = file.read().decode().split("\n")[:501]
    tokens = {"vocab_size": 256 + 256 + 500 + 2, "context_length": 24}
    shape = config(text=tokens | {"tokenizer_kwargs": {"bpe_path": "/elsewhere/bpe_small.txt.gz"}})
    folder = save_clip(tmp_path / "small", shape)
    with gzip.open(folder / "bpe_small.txt.gz", "wb") as file:
        file.write("\n".join(lines).encode())
    return folder


def test_a_merges_file_beside_the_weights_is_used(small_vocabulary):
    import open_clip

    embeddings = OpenCLIPEmbeddings(f"local-dir:{small_vocabulary}", device="cpu")
    model = open_clip.create_model(f"local-dir:{small_vocabulary}").eval()
    tokens = open_clip.SimpleTokenizer(str(small_vocabulary / "bpe_small.txt.gz"), context_length=24)(
        ["a red dog"]
    )
    vector = model.encode_text(tokens, normalize=True).detach().numpy()[0]
    np.testing.assert_allclose(embeddings.embed_query("a red dog"), vector, atol=2e-6)
    assert embeddings.truncated(["dog " * 30]) == [True]


def test_a_tokenizer_larger_than_the_token_table_is_refused(small_vocabulary):
    (small_vocabulary / "bpe_small.txt.gz").unlink()
    shape = json.loads((small_vocabulary / "open_clip_config.json").read_text())
    del shape["model_cfg"]["text_cfg"]["tokenizer_kwargs"]
    (small_vocabulary / "open_clip_config.json").write_text(json.dumps(shape))
    with pytest.raises(
        ModelUnavailableError, match="49408 tokens, its token table 1014 rows; the merges file"
    ):
        OpenCLIPEmbeddings(f"local-dir:{small_vocabulary}", device="cpu").embed_query("a")


def test_a_named_merges_file_that_is_missing_is_a_clear_error(small_vocabulary):
    (small_vocabulary / "bpe_small.txt.gz").unlink()
    with pytest.raises(ModelUnavailableError, match=r"tokenizer of .* could not be loaded"):
        OpenCLIPEmbeddings(f"local-dir:{small_vocabulary}", device="cpu").embed_query("a")


def test_an_installation_without_the_embedded_model_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(_open_clip_models, "TINY_FOLDER", tmp_path)
    with pytest.raises(ModelUnavailableError, match="mmrag-tiny is missing from this installation"):
        OpenCLIPEmbeddings(model_name="mmrag-tiny").embed_query("a")
    assert OpenCLIPEmbeddings.list_models()[0].name != "mmrag-tiny"


def test_the_embedded_model_is_read_from_its_folder(small_vocabulary, monkeypatch):
    monkeypatch.setattr(_open_clip_models, "TINY_FOLDER", small_vocabulary)
    embeddings = OpenCLIPEmbeddings(model_name="mmrag-tiny", device="cpu")
    same = OpenCLIPEmbeddings(f"local-dir:{small_vocabulary}", device="cpu")
    assert embeddings.embed_query("a red dog") == pytest.approx(same.embed_query("a red dog"), abs=1e-6)
    assert embeddings.fingerprint.startswith("open_clip:mmrag-tiny:sha256-")
    assert OpenCLIPEmbeddings.list_models()[0] == ("mmrag-tiny", None, 16)


# --- the hub


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as a download needs: every repository holds the files of one folder."""

    folder: Path
    asked: list[str]

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        path = self.path.split("?")[0]
        self.asked.append(path)
        file = self.folder / path.rsplit("/", 1)[-1]
        found = "/resolve/" in path and file.is_file() and "/private/" not in path
        content = file.read_bytes() if found else b""
        self.send_response(200 if found or path == "/" else 404)
        self.send_header("X-Repo-Commit", "a" * 40)
        if not found:
            self.send_header("X-Error-Code", "RepoNotFound" if "/private/" in path else "EntryNotFound")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def point_hub(monkeypatch):
    """Let the hub's client talk to another address."""
    from huggingface_hub import constants

    def point(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    return point


@pytest.fixture
def hub(tiny_clip_dir, point_hub):
    """A hub on loopback; its value is the list of paths it was asked for."""
    handler = type("TinyHub", (Hub,), {"folder": tiny_clip_dir, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    point_hub(f"http://127.0.0.1:{server.server_port}")
    yield handler.asked
    server.shutdown()
    server.server_close()


def test_a_repository_is_fetched_once_and_then_read_from_the_cache(hub, clip, tmp_path):
    embeddings = OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=tmp_path, device="cpu")
    assert embeddings.embed_query("a dog") == pytest.approx(clip.embed_query("a dog"), abs=1e-6)
    assert embeddings.fingerprint == clip.fingerprint
    assert any(path.endswith("open_clip_model.safetensors") for path in hub)
    hub.clear()
    again = OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=str(tmp_path), device="cpu")
    assert again.embed_query("a dog") == pytest.approx(clip.embed_query("a dog"), abs=1e-6)
    assert hub == []


def test_a_tag_is_prepared_for_as_open_clip_does(hub, tmp_path, pictures, monkeypatch):
    import open_clip
    from open_clip import factory

    # Of the tags whose preprocessing is not the usual one: this one squashes the picture.
    shape = config(quick_gelu=True)["model_cfg"]
    monkeypatch.setitem(factory._MODEL_CONFIGS, "ViT-H-14-quickgelu", shape)
    embeddings = OpenCLIPEmbeddings("ViT-H-14-quickgelu", "dfn5b", cache_dir=tmp_path, device="cpu")
    vectors = embeddings.embed_images_array(pictures).vectors
    model, _, preprocess = open_clip.create_model_and_transforms(
        "ViT-H-14-quickgelu", pretrained="dfn5b", cache_dir=str(tmp_path)
    )
    stock = [
        model.eval().encode_image(preprocess(Image.open(path))[None], normalize=True).detach().numpy()[0]
        for path in pictures
    ]
    np.testing.assert_allclose(vectors, stock, atol=2e-6)


def test_a_repository_that_is_missing_or_no_open_clip_model_is_a_clear_error(hub, tmp_path, monkeypatch):
    with pytest.raises(
        ModelUnavailableError, match=r"private/model: open_clip_config.json could not be downloaded"
    ):
        OpenCLIPEmbeddings("hf-hub:private/model", cache_dir=tmp_path).embed_query("a")
    monkeypatch.setattr(_open_clip_models, "_CONFIG", "other.json")
    with pytest.raises(ModelUnavailableError, match=r"org/tiny holds none of other.json"):
        OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=tmp_path).embed_query("a")


def test_no_hub_in_reach_is_an_error_that_says_what_to_do(point_hub, tmp_path):
    point_hub("http://127.0.0.1:9")  # the discard port: nobody listens
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError) as caught:
        OpenCLIPEmbeddings(cache_dir=tmp_path).embed_query("a")
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K is not in the cache on this machine" in message
    assert "http://127.0.0.1:9 cannot be reached" in message
    for way_out in ("local-dir:/path/to/folder", "cache_dir=", 'OpenCLIPEmbeddings(model_name="mmrag-tiny")'):
        assert way_out in message


def test_a_hub_that_does_not_answer_is_given_up_soon(point_hub, tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(_hub, "_PROBE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_hub(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ModelUnavailableError, match="cannot be reached"):
            OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=tmp_path).embed_query("a")
    assert time.monotonic() - start < 5


def test_forbidden_sockets_are_no_different_from_no_hub(point_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(_hub, "_PROBE_S", 1.0)
    point_hub("http://192.0.2.1")  # an address set aside for documents: outside what this run may connect to
    with pytest.raises(ModelUnavailableError, match=r"192\.0\.2\.1 cannot be reached"):
        OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=tmp_path).embed_query("a")


def test_offline_mode_is_respected(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match="HF_HUB_OFFLINE"):
        OpenCLIPEmbeddings("hf-hub:org/tiny", cache_dir=tmp_path).embed_query("a")
    assert hub == []


# --- a broken installation


class _Broken:
    """An import hook under which open_clip cannot be imported."""

    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "open_clip":
            raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "torchvision::nms does not exist. .* pip install --force-reinstall torch torchvision",
        ),
        (OSError("libcudart.so: cannot open"), "different builds"),
        (
            ModuleNotFoundError("No module named 'open_clip'", name="open_clip"),
            "open_clip is not installed. Run: pip install open_clip_torch",
        ),
    ],
)
def test_an_open_clip_that_cannot_be_imported_is_explained(error, message, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Broken(error), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=message):
        OpenCLIPEmbeddings().embed_query("a")


# --- the code blocks of the guides users copy from


@pytest.fixture
def guide_folder(tmp_path, monkeypatch, pictures):
    """The current folder, with the pictures the guides name."""
    monkeypatch.chdir(tmp_path)
    for name, path in zip(["a.jpg", "b.jpg", "x.jpg"], pictures, strict=False):
        Image.open(path).save(name)
    return tmp_path


@pytest.mark.usefixtures("hub", "tiny_b32")
def test_the_guides_run_as_they_stand(guide_folder, serve_folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(guide_folder / "cache"))

    clip_embd = OpenCLIPEmbeddings(model_name="ViT-g-14", checkpoint="laion2b_s34b_b88k")
    img_feat_dog = clip_embd.embed_image(["a.jpg", "b.jpg"])
    text_feat_dog = clip_embd.embed_documents(["dog", "house"])
    similarity = np.matmul(np.array(text_feat_dog), np.array(img_feat_dog).T)
    assert similarity.shape == (2, 2)
    assert np.abs(similarity).max() <= 1 + 1e-6

    one = clip_embd.embed_image("x.jpg")
    assert len(one) == 16
    np.testing.assert_allclose(
        clip_embd.embed_image(uris=["x.jpg", Path("a.jpg")])[1], img_feat_dog[0], atol=1e-6
    )
    clip_embd.media_policy = MediaPolicy(allow_private_addresses=True)
    assert clip_embd.embed_image(f"{serve_folder(guide_folder)}/x.jpg") == one
