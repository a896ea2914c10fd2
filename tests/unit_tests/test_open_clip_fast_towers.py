"""The fast forward of both towers: the vectors of open_clip's modules, or these modules themselves."""

import copy
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.embeddings._devices import computes_fast
from langchain_mmrag.embeddings._fast_forward import Towers
from langchain_mmrag.embeddings._fast_linear import Packing, plain_linear
from langchain_mmrag.embeddings._fast_pieces import Pieces
from langchain_mmrag.embeddings._fast_shapes import is_plain_text, is_plain_vision
from langchain_mmrag.embeddings._fast_towers import Scale
from langchain_mmrag.errors import EmbeddingError, EmbeddingMismatchError
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import TINY_CONFIG, save_clip

open_clip = pytest.importorskip("open_clip")

CPU = torch.device("cpu")
SCALE = Scale((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
VISION = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 3}


def model(*, quick_gelu=False, vision=None, text=None, dtype=None, kind=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = 16, VISION | (vision or {}), TEXT | (text or {})
        made = (kind or open_clip.CLIP)(*parts, quick_gelu=quick_gelu, cast_dtype=dtype).eval()
    if dtype is not None:
        open_clip.model.convert_weights_to_lp(made, dtype)
    return made


def inputs():
    numbers = torch.Generator().manual_seed(1)
    tokens = torch.zeros(4, 16, dtype=torch.long)
    for row, length in zip(tokens, [9, 2, 16, 9], strict=True):
        row[: length - 1] = torch.randint(1, 98, (length - 1,), generator=numbers)
        row[length - 1] = 99
    return tokens, torch.randint(256, (5, 3, 32, 32), generator=numbers, dtype=torch.uint8)


def both(towers):
    tokens, pixels = inputs()
    with torch.inference_mode():
        return [
            normalize(y.float(), dim=-1) for y in (towers.encode_text(tokens), towers.encode_image(pixels))
        ]


def by_modules(made, dtype=torch.float32):
    tokens, pixels = inputs()
    with torch.inference_mode():
        features = made.encode_text(tokens), made.encode_image(SCALE.normalised(pixels, dtype))
        return [normalize(y.float(), dim=-1) for y in features]


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_towers_give_what_the_modules_give(dtype, quick_gelu, is_given):
    made = model(quick_gelu=quick_gelu, dtype=None if dtype is torch.float32 else dtype)
    assert is_plain_text(made)
    assert is_plain_vision(made)
    expected = by_modules(made, dtype)
    ours = both(Towers(made, CPU, dtype, SCALE, keeps_weights=is_given))
    for fast, stock in zip(ours, expected, strict=True):
        assert float((fast - stock).abs().max()) < (2e-6 if dtype is torch.float32 else 3e-2)


def test_without_the_private_operators_the_vectors_are_the_same(monkeypatch):
    expected = both(Towers(model(), CPU, torch.float32, SCALE, keeps_weights=False))

    class Without:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(torch.ops, "mkldnn", Without())
    for packed, plain in zip(
        expected, both(Towers(model(), CPU, torch.float32, SCALE, keeps_weights=False)), strict=True
    ):
        assert float((packed - plain).abs().max()) < 1e-6


def test_a_packed_layer_that_errs_is_not_used(monkeypatch):
    from langchain_mmrag.embeddings import _fast_linear

    weight, bias = torch.eye(4), torch.zeros(4)
    monkeypatch.setattr(_fast_linear, "_packed", lambda *_, **__: lambda x: x + 1)
    packing = Packing(enabled=True)
    x = torch.arange(4.0)[None]
    assert torch.equal(packing.linear(weight, bias)(x), plain_linear(weight, bias)(x))
    assert not packing.enabled


UNKNOWN = {
    "other class": {"kind": open_clip.CustomTextCLIP},
    "layer scale": {"vision": {"ls_init_value": 0.1}, "text": {"ls_init_value": 0.1}},
    "average, no mask": {
        "vision": {"pool_type": "avg"},
        "text": {"no_causal_mask": True, "pool_type": "last"},
    },
    "attention pooling": {"vision": {"attentional_pool": True}, "text": {"qk_norm": True}},
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_tower_of_another_shape_is_computed_by_its_modules(kind):
    made = model(**UNKNOWN[kind])
    assert not is_plain_text(made)
    assert not is_plain_vision(made)
    ours = both(Towers(made, CPU, torch.float32, SCALE, keeps_weights=False))
    for fast, stock in zip(ours, by_modules(made), strict=True):
        assert torch.equal(fast, stock)


def test_disagreement_with_the_modules_leads_back_to_them(monkeypatch, caplog):
    from langchain_mmrag.embeddings import _fast_towers

    pooled = _fast_towers.pooled_rows
    monkeypatch.setattr(_fast_towers, "pooled_rows", lambda *a, **k: pooled(*a, **k).flip(-1))
    made = model()
    with caplog.at_level(logging.DEBUG, "langchain_mmrag"):
        ours = both(Towers(made, CPU, torch.float32, SCALE, keeps_weights=False))
    for fast, stock in zip(ours, by_modules(made), strict=True):
        assert torch.equal(fast, stock)
    assert caplog.text.count("its modules compute it") == 2


def test_a_tower_is_packed_when_used_and_its_weights_let_go():
    made = model()
    towers = Towers(made, CPU, torch.float32, SCALE, keeps_weights=False)
    with torch.inference_mode():
        towers.encode_text(inputs()[0])
    assert made.transformer.resblocks[0].mlp.c_fc.weight.numel() == 0
    assert made.visual.transformer.resblocks[0].mlp.c_fc.weight.numel() == 64 * 256
    assert made.logit_scale.item() > 0


def test_a_model_that_was_handed_in_keeps_its_weights_and_may_be_trained_on():
    made = model()
    towers = Towers(made, CPU, torch.float32, SCALE, keeps_weights=True)
    before = both(towers)
    with torch.no_grad():
        for weight in (made.transformer.resblocks[0].mlp.c_fc.weight, made.visual.conv1.weight):
            weight.mul_(-1.5)
    for ours, stock, old in zip(both(towers), by_modules(made), before, strict=True):
        assert float((ours - stock).abs().max()) < 2e-6
        assert float((ours - old).abs().max()) > 1e-4


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_full_device_gets_smaller_batches_and_keeps_to_them(error, caplog):
    sizes = []

    def forward(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error("MPS backend out of memory")
        return batch * 2

    pieces = Pieces("images")
    for _ in range(2):
        done = pieces.run(forward, torch.arange(16.0)[:, None], CPU)
        assert done[:, 0].tolist() == [2.0 * i for i in range(16)]
    assert sizes == [16, 8, 4, *[2] * 16]
    assert len(caplog.records) == 1
    assert "no memory for 16 images at once" in caplog.text


def test_a_device_without_room_for_one_says_what_to_do():
    def forward(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(EmbeddingError, match=r"even one text.*device='cpu'"):
        Pieces("texts").run(forward, torch.zeros(4, 2), CPU)


def test_other_faults_are_not_taken_for_a_full_device():
    def forward(batch):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Pieces("texts").run(forward, torch.zeros(4, 2), CPU)


def test_precisions_have_names_of_their_own_but_for_fp32(tiny_clip_dir):
    names = [
        OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", precision=precision).fingerprint
        for precision in ("auto", "fp32", "bf16", "fp16")
    ]
    assert names[0] == names[1]
    assert names[2:] == [f"{names[0]}:bf16", f"{names[0]}:fp16"]


@pytest.mark.parametrize(("first", "then"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_collection_takes_vectors_of_one_precision(first, then, tiny_clip_dir, tmp_path):
    name = f"local-dir:{tiny_clip_dir}"
    folder = str(tmp_path)
    clips = [OpenCLIPEmbeddings(name, precision=kind, device="cpu") for kind in (first, then)]
    MultimodalChroma(embedding_function=clips[0], persist_directory=folder).add_texts(["a dog"])
    store = MultimodalChroma(embedding_function=clips[1], persist_directory=folder)
    made = "fp32 (or any, if it was made before precisions were recorded)" if first == "fp32" else first
    with pytest.raises(EmbeddingMismatchError, match=re.escape(f"precision is not: {made} then, {then} now")):
        store.add_texts(["a cat"])


def parameter_bytes(made):
    return sum(part.numel() * part.element_size() for part in made.parameters())


@pytest.mark.parametrize("is_given", [False, True])
def test_weights_are_held_once_after_both_towers_are_packed(is_given):
    made = model()
    before = parameter_bytes(made)
    both(Towers(made, CPU, torch.float32, SCALE, keeps_weights=is_given))
    left = parameter_bytes(made)
    assert left == before if is_given else left < before / 4


def test_half_precision_without_instructions_for_it_is_told(monkeypatch, caplog, tiny_clip_dir):
    from langchain_mmrag.embeddings import _fast_model

    monkeypatch.setattr(_fast_model, "computes_fast", lambda *_: False)
    clip = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", precision="bf16", device="cpu")
    clip.embed_query("a dog")
    assert "no instructions for bf16" in caplog.text
    assert "computed with in fp32" in caplog.text


@pytest.mark.parametrize("side", ["text", "image"])
def test_an_interrupt_while_weights_are_packed_leaves_a_model_that_works(side, monkeypatch, tiny_clip_dir):
    from langchain_mmrag.embeddings import _fast_linear

    pack, calls = _fast_linear._packed, []
    picture = Image.new("RGB", (40, 30), "red")

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return pack(*args, **kwargs)

    def embed(embeddings):
        texts = [f"word {i}" for i in range(40)]
        return embeddings.embed_documents(texts) if side == "text" else embeddings.embed_image_list([picture])

    expected = embed(OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu"))
    monkeypatch.setattr(_fast_linear, "_packed", interrupted)
    embeddings = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        embed(embeddings)
    assert embed(embeddings) == expected
    assert len(embeddings.embed_documents(["both sides"] * 40)) == 40


def test_a_torch_that_cannot_tell_is_not_taken_for_a_processor_that_cannot_compute(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    for name in names:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not computes_fast("bf16", CPU)
    monkeypatch.setattr(torch.cpu, names[1], lambda: True)
    assert computes_fast("bf16", CPU)
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert computes_fast("bf16", CPU)


def test_a_photograph_has_the_vector_of_open_clips_own_steps(tmp_path):
    config = copy.deepcopy(TINY_CONFIG)
    config["model_cfg"]["vision_cfg"] |= {"image_size": 224, "patch_size": 32}
    folder = save_clip(tmp_path, config)
    levels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    photograph = tmp_path / "photograph.jpg"
    Image.fromarray(levels).resize((500, 375), Image.Resampling.BICUBIC).save(photograph, quality=90)

    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode(), Image.open(photograph) as image:
        expected = theirs.eval().encode_image(preprocess(image)[None], normalize=True)[0].numpy()
    for is_exact, most in ((True, 1e-5), (False, 1e-4)):  # 1e-4 is a cosine of 1 - 1e-8
        embeddings = OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu", exact_decode=is_exact)
        vector = np.array(embeddings.embed_image(photograph))
        assert np.abs(vector - expected).max() < most
        assert embeddings._running().towers._vision != embeddings._running().towers._stock_vision


FOREIGN = {
    "CoCa": {
        "multimodal_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1, "vocab_size": 100},
        "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {"embed_cls": True, "output_tokens": True},
    },
    "a tower of timm": {"vision_cfg": {"timm_model_name": "test_resnet", "timm_proj": "linear"}},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_models_of_other_kinds_are_computed_by_their_modules(kind):
    parts = {"vision_cfg": VISION, "text_cfg": TEXT}
    parts = {key: parts.get(key, {}) | FOREIGN[kind].get(key, {}) for key in {*parts, *FOREIGN[kind]}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = (open_clip.CoCa if kind == "CoCa" else open_clip.CLIP)(embed_dim=16, **parts).eval()
    assert not is_plain_vision(made)
    expected = by_modules(made)  # first, as a plain text tower's weights are let go
    ours = both(Towers(made, CPU, torch.float32, SCALE, keeps_weights=False))
    for fast, stock in zip(ours, expected, strict=True):
        assert float((fast - stock).abs().max()) < 2e-6
