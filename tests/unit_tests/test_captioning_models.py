"""BLIP, BLIP-2 and CoCa caption pictures: small models that were taught to name plain colours."""

import sys

import pytest
import torch
from PIL import Image

from langchain_mmrag.captioning import BlipCaptioner, CaptionTransformer, ChatModelCaptioner, CoCaCaptioner
from langchain_mmrag.captioning.coca import _marks, _search
from langchain_mmrag.chat_models import ChatTransformers
from langchain_mmrag.errors import MissingDependencyError, ModelUnavailableError, UnknownModelError
from tests import tiny_captioners, tiny_vision_model
from tests.tiny_captioners import CAPTION
from tests.tiny_vision_model import COLOURS, plain
from tests.unit_tests.answering import picture

EXPECTED = [CAPTION.format(colour) for colour in COLOURS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioners")
    return {kind: getattr(tiny_captioners, kind)(folder / kind) for kind in ("blip", "blip2", "coca")}


def captioner_of(kind, folders, **settings):
    folder = folders[kind]
    return (
        CoCaCaptioner(f"local-dir:{folder}", **settings)
        if kind == "coca"
        else BlipCaptioner(str(folder), **settings)
    )


@pytest.mark.parametrize("kind", ["blip", "blip2", "coca"])
def test_captions_tell_what_is_in_the_picture(kind, folders, tmp_path):
    captioner = captioner_of(kind, folders, batch_size=2)
    shown = [plain(colour, jitter) for jitter in (-15, 0, 15) for colour in COLOURS]
    assert captioner.caption(shown) == EXPECTED * 3
    assert captioner.caption([]) == []
    paths = []
    for place, image in enumerate(shown):
        paths.append(tmp_path / f"{place}.png")
        image.resize((300, 40)).save(paths[-1])
    transformer = CaptionTransformer(captioner, cache=tmp_path / "captions.sqlite3")
    done = transformer.transform_documents([picture(path) for path in paths])
    assert [document.page_content for document in done] == EXPECTED * 3
    assert transformer.report.sent == len(shown)


@pytest.mark.parametrize("kind", ["blip", "blip2", "coca"])
def test_a_batch_is_its_pictures_one_by_one_with_and_without_beams(kind, folders):
    shown = [plain("red"), Image.new("RGB", (90, 20), "purple"), Image.new("RGB", (20, 90), "white")]
    for beams in (1, 4):
        captioner = captioner_of(kind, folders, num_beams=beams)
        assert captioner.caption(shown) == [captioner.caption([image])[0] for image in shown]


@pytest.mark.parametrize("kind", ["blip", "blip2", "coca"])
def test_a_caption_is_no_longer_than_asked_for(kind, folders):
    cut = captioner_of(kind, folders, max_new_tokens=2).caption([plain("red")])[0]
    assert cut
    assert CAPTION.format("red").startswith(cut)
    assert len(cut) < len(CAPTION.format("red"))


def test_captions_of_blip_begin_with_its_prompt_and_those_of_blip_2_answer_it(folders):
    assert captioner_of("blip", folders, prompt="a green").caption([plain("green")]) == ["a green card"]
    answering = captioner_of("blip2", folders, prompt="a")
    assert answering.caption([plain(colour) for colour in COLOURS]) == [
        f"{colour} card" for colour in COLOURS
    ]


def test_beams_find_the_likeliest_of_all_captions(folders):
    """Against every caption of four tokens out of a few, by the mean of their tokens' probabilities."""
    loaded = CoCaCaptioner(f"local-dir:{folders['coca']}", device="cpu")._load()
    marks = _marks(loaded.tokenizer)
    image = loaded.preprocess(plain("red"))[None]
    with torch.inference_mode():
        found = _search(loaded.model, image, marks, beams=8, longest=6)[0].tolist()
        words = [int(loaded.tokenizer.encode(word)[0]) for word in ("a", "red", "green", "blue", "card")]
        rows = [
            [marks.start, first, second, third, marks.end]
            for first in words
            for second in words
            for third in words
        ]
        tokens = torch.tensor(rows)
        logits = loaded.model(image.expand(len(rows), -1, -1, -1), tokens[:, :-1], output_labels=False)[
            "logits"
        ]
        means = logits.log_softmax(-1).gather(2, tokens[:, 1:, None]).mean((1, 2))
    assert found[:5] == rows[int(means.argmax())]


@pytest.mark.parametrize("kind", ["blip", "blip2", "coca"])
def test_fingerprints_tell_weights_and_settings_apart(kind, folders, tmp_path):
    plainly = captioner_of(kind, folders).fingerprint
    assert captioner_of(kind, folders, batch_size=3).fingerprint == plainly
    assert captioner_of(kind, folders, num_beams=1).fingerprint != plainly
    other = {kind: getattr(tiny_captioners, kind)(tmp_path / kind, steps=1)}
    assert captioner_of(kind, other).fingerprint != plainly


def test_fingerprints_of_named_models_need_no_weights():
    assert "Salesforce/blip-image-captioning-base" in BlipCaptioner().fingerprint
    assert "mscoco_finetuned_laion2b_s13b_b90k" in CoCaCaptioner().fingerprint


def test_loaded_models_are_taken_as_they_are(folders):
    from transformers import AutoProcessor, BlipForConditionalGeneration

    model = BlipForConditionalGeneration.from_pretrained(folders["blip"])
    captioner = BlipCaptioner((model, AutoProcessor.from_pretrained(folders["blip"])))
    assert captioner.caption([plain("blue")]) == ["a blue card"]
    assert captioner.fingerprint.startswith("blip:state-")


def test_a_vision_chat_model_on_this_machine_captions_too(tmp_path):
    """Its weights are random, so it says nonsense; of different pictures different nonsense."""
    llm = ChatTransformers(model=str(tiny_vision_model.llava(tmp_path / "llava")), max_new_tokens=8)
    captioner = ChatModelCaptioner(llm, prompt="What is it?", max_concurrency=2)
    said = captioner.caption([plain("red"), plain("blue"), plain("red")])
    assert said[0] == said[2] != said[1]


def test_models_without_a_head_for_captions_are_refused(tmp_path):
    matching = tiny_vision_model.blip(tmp_path / "matching")
    with pytest.raises(
        ModelUnavailableError, match="is a BlipForImageTextRetrieval, which makes no captions"
    ):
        BlipCaptioner(str(matching)).caption([plain("red")])
    llava = tiny_vision_model.llava(tmp_path / "llava")
    with pytest.raises(ModelUnavailableError, match=r"makes no captions|is no BLIP"):
        BlipCaptioner(str(llava)).caption([plain("red")])
    with pytest.raises(ModelUnavailableError, match="mmrag-tiny is no CoCa"):
        CoCaCaptioner("mmrag-tiny").caption([plain("red")])


def test_models_that_cannot_be_had_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ModelUnavailableError, match="blip-image-captioning-base is not here"):
        BlipCaptioner().caption([plain("red")])
    with pytest.raises(ModelUnavailableError, match="CoCa-ViT-L-14"):
        CoCaCaptioner(cache_dir=tmp_path).caption([plain("red")])
    with pytest.raises(UnknownModelError, match="coca_ViT-B-32"):
        CoCaCaptioner("coca_ViT-B-31").caption([plain("red")])
    with pytest.raises(ModelUnavailableError, match="holds no weights"):
        _ = BlipCaptioner(str(tmp_path)).fingerprint
    with pytest.raises(ValueError, match="num_beams is 0"):
        BlipCaptioner(num_beams=0)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"langchain-mmrag\[transformers\]"):
        BlipCaptioner().caption([plain("red")])
