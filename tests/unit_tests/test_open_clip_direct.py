"""A model on weights read straight into it: the one open_clip makes, the cases that are left to it, a device that is full."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.embeddings import _open_clip_models as models
from langchain_mmrag.embeddings._open_clip_direct import direct_model
from langchain_mmrag.errors import ModelUnavailableError
from tests.conftest import TINY_CONFIG, save_clip

KINDS = {
    "as they mostly are": {},
    "quick activation, a bias": {"quick_gelu": True, "init_logit_bias": -10.0, "nonscalar_logit_scale": True},
    "layer scale, texts seen both ways": {
        "vision_cfg": {"ls_init_value": 0.1, "patch_dropout": 0.5},
        "text_cfg": {"no_causal_mask": True},
    },
    "fixed positions": {"vision_cfg": {"pos_embed_type": "sin_cos_2d"}},
}
FOREIGN = {
    "a separate text tower": ({"custom_text": True}, {}),
    "a tower of timm": ({"vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "image_size": 224}}, {}),
    "another layout": ({}, {"visual.proj": "image.proj"}),
    "a tensor that is missing": ({}, {"ln_final.bias": None}),
    "scale as a list of one": ({}, {"logit_scale": torch.ones(1)}),
    "positions of another length": ({}, {"visual.positional_embedding": torch.ones(17, 64)}),
    "numbers of another kind": ({}, {"ln_final.bias": torch.ones(32, dtype=torch.float64)}),
}


def shaped(change):
    changed = copy.deepcopy(TINY_CONFIG)
    for key, value in change.items():
        changed["model_cfg"][key] = {**changed["model_cfg"].get(key, {}), **value} if "cfg" in key else value
    return changed


def direct(folder):
    found = models.find_model(f"local-dir:{folder}", None, None)
    return direct_model(found.weights(), found.model_cfg, found.preprocess_cfg)


def stock(folder):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model, preprocess


def assert_alike(ours, theirs):
    ours_state, theirs_state = ours.state_dict(), theirs.state_dict()
    assert ours_state.keys() == theirs_state.keys()
    for name, tensor in ours_state.items():
        assert torch.equal(tensor, theirs_state[name]), name
        assert tensor.dtype == theirs_state[name].dtype, name
    for kind in ("named_parameters", "named_buffers"):
        flags = [
            {name: (tensor.requires_grad, tensor.shape, tensor.device) for name, tensor in getattr(m, kind)()}
            for m in (ours, theirs)
        ]
        assert flags[0] == flags[1]
    assert ours.training == theirs.training
    assert ours.visual.preprocess_cfg == theirs.visual.preprocess_cfg
    assert ours.visual.image_mean == theirs.visual.image_mean


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_one_open_clip_loads(kind, tmp_path):
    folder = save_clip(tmp_path, shaped(KINDS[kind]))
    (ours, our_steps), (theirs, their_steps) = direct(folder), stock(folder)
    assert_alike(ours, theirs)
    assert repr(our_steps).split(" at 0x")[0] == repr(their_steps).split(" at 0x")[0]
    tokens, pixels = torch.randint(1, 49407, (3, 77)), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        ours, theirs = ours.eval(), theirs.eval()
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))
        assert torch.equal(ours.encode_image(pixels), theirs.encode_image(pixels))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_numbers_of_half_precision_become_those_of_open_clip(kind, tmp_path):
    weights = save_clip(tmp_path) / "open_clip_model.safetensors"
    save_file({name: t.to(getattr(torch, kind)) for name, t in load_file(weights).items()}, weights)
    assert_alike(direct(tmp_path)[0], stock(tmp_path)[0])


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_certain_is_left_to_open_clip(kind, tmp_path):
    change, tensors = FOREIGN[kind]
    weights = save_clip(tmp_path, shaped(change)) / "open_clip_model.safetensors"
    state = load_file(weights)
    for name, other in tensors.items():
        old = state.pop(name)
        if other is not None:
            state |= {other: old} if isinstance(other, str) else {name: other}
    save_file(state, weights)
    assert direct(tmp_path) is None


def test_a_file_that_is_cut_off_is_left_to_open_clip(tmp_path):
    weights = save_clip(tmp_path) / "open_clip_model.safetensors"
    content = weights.read_bytes()
    for damaged in (content[:-4], content + b"more", content[:100], b""):
        weights.write_bytes(damaged)
        assert direct(tmp_path) is None
    with pytest.raises(ModelUnavailableError, match="damaged or belongs to another model"):
        OpenCLIPEmbeddings(f"local-dir:{tmp_path}", device="cpu")._ready()


def test_a_changed_model_leaves_its_file_as_it_was(tmp_path):
    weights = save_clip(tmp_path) / "open_clip_model.safetensors"
    before = weights.read_bytes()
    model, _ = direct(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    assert model.ln_final.weight.eq(7).all()
    assert weights.read_bytes() == before


def test_tensors_are_read_one_by_one_to_be_let_go_one_by_one(tmp_path):
    model, _ = direct(save_clip(tmp_path))
    parameters = list(model.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in parameters}) == len(parameters)
    for parameter in parameters:
        assert parameter.untyped_storage().nbytes() == parameter.nbytes


def test_embeddings_are_of_a_direct_model(tmp_path, monkeypatch):
    import open_clip

    monkeypatch.setattr(open_clip, "create_model_and_transforms", None)
    embeddings = OpenCLIPEmbeddings(f"local-dir:{save_clip(tmp_path)}", device="cpu")
    assert not embeddings._ready().model.training
    scale = load_file(tmp_path / "open_clip_model.safetensors")["logit_scale"]
    assert embeddings.logit_scale == pytest.approx(float(scale.exp()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "full", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), MemoryError()]
)
def test_a_device_that_is_full_is_told_as_that(full, precision, tmp_path, monkeypatch):
    def fail(self, *args, **kwargs):
        raise full

    folder = save_clip(tmp_path)
    monkeypatch.setattr(torch.nn.Module, "to", fail)
    embeddings = OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu", precision=precision)
    with pytest.raises(ModelUnavailableError, match="cpu has no memory left for this model") as told:
        embeddings._ready()
    assert "damaged" not in str(told.value)
