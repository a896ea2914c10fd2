"""The model that ships: small, offline, and good at what its card says."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import langchain_mmrag.embeddings
from langchain_mmrag import OpenCLIPEmbeddings, ZeroShotClassifier
from langchain_mmrag.demo.corpus import GLYPHS, THINGS
from langchain_mmrag.training.render import charts, shapes
from langchain_mmrag.training.render.palette import COLORS, with_article

FOLDER = Path(langchain_mmrag.embeddings.__file__).parent / "tiny"
SIDE = 128


@pytest.fixture(scope="module")
def tiny():
    return OpenCLIPEmbeddings(model_name="mmrag-tiny", show_progress=False)


def shown(name, share=0.8):
    glyph = Image.open(GLYPHS / f"{name.replace(' ', '_')}.png").convert("RGBA")
    across = int(SIDE * share)
    glyph.thumbnail((across, across))
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    picture.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2), glyph)
    return picture


@pytest.fixture(scope="module")
def things(tiny):
    """Unit vectors of the demo's things: names `[n, d]` and pictures `[n, d]`."""
    names = list(THINGS)
    return tiny.embed_texts_array(names), tiny.embed_images_array([shown(name) for name in names]).vectors


def test_it_takes_at_most_25_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 25e6


def test_the_card_names_the_weights_it_describes():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    digest = hashlib.sha256((FOLDER / "open_clip_model.safetensors").read_bytes()).hexdigest()
    assert digest in card


def test_the_card_shows_the_measured_slices():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row in json.loads((FOLDER / "slices.json").read_text()):
        assert f"| {row['name']} | {row['r1']:.1f} | {row['r5']:.1f} |" in card


def test_every_thing_of_the_demo_is_a_concept_it_was_trained_on():
    concepts = (FOLDER / "concepts.txt").read_text(encoding="utf-8").splitlines()
    assert set(THINGS) <= set(concepts)
    assert len(concepts) == len(set(concepts)) > 300


def test_a_name_finds_its_picture(things):
    names, pictures = things
    ranks = (names @ pictures.T >= (names * pictures).sum(1)[:, None]).sum(1)
    assert (ranks <= 5).mean() >= 0.95


def test_a_picture_finds_its_name(things):
    names, pictures = things
    ranks = (pictures @ names.T >= (names * pictures).sum(1)[:, None]).sum(1)
    assert (ranks <= 5).mean() >= 0.95


def test_a_name_is_found_in_the_forms_people_ask_in(tiny, things):
    names, pictures = list(THINGS), things[1]
    for form in ("a picture of {}", "{} emoji", "where is {}"):
        asked = tiny.embed_texts_array([form.format(with_article(name)) for name in names])
        ranks = (asked @ pictures.T >= (asked * pictures).sum(1)[:, None]).sum(1)
        assert (ranks <= 5).mean() >= 0.9, form


def test_colour_and_form_compose_for_combinations_it_never_saw(tiny):
    cards = [
        shapes.ShapeCard(c, f, ground="black" if c == "white" else "white")
        for c in COLORS
        for f in shapes.FORMS
    ]
    rng = random.Random("test shapes")
    pictures = tiny.embed_images_array([shapes.draw_card(rng, card, SIDE) for card in cards]).vectors
    texts = tiny.embed_texts_array([card.text for card in cards])
    apart = [k for k, card in enumerate(cards) if card.held_out]
    ranks = (texts @ pictures.T >= (texts * pictures).sum(1)[:, None]).sum(1)[apart]
    assert len(apart) > 15
    assert (ranks <= 5).mean() >= 0.90


def test_it_tells_kinds_of_chart_apart(tiny):
    classifier = ZeroShotClassifier(tiny, [with_article(kind) for kind in charts.KINDS], templates=("{}",))
    rng = random.Random("test charts")
    drawn = [(kind, charts.draw_chart(rng, kind, SIDE)[0]) for kind in charts.KINDS for _ in range(6)]
    found = classifier.classify([picture for _, picture in drawn])
    right = [next(iter(scores)) == with_article(kind) for (kind, _), scores in zip(drawn, found, strict=True)]
    assert np.mean(right) >= 0.95


def test_it_shows_the_modality_gap_that_fair_ranking_is_for(tiny, things):
    names, pictures = things
    between = (names @ pictures.T)[~np.eye(len(names), dtype=bool)].mean()
    texts = (names @ names.T)[~np.eye(len(names), dtype=bool)].mean()
    assert np.linalg.norm(names.mean(0) - pictures.mean(0)) > 0.3
    assert texts > between


def test_tall_pictures_are_padded_white_not_black(tiny):
    name = next(iter(THINGS))
    wide = Image.new("RGB", (2 * SIDE, SIDE), "white")
    wide.paste(shown(name), (SIDE // 2, 0))
    square = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
    square.paste(wide, (0, SIDE // 2))
    one, two = tiny.embed_images_array([wide, square]).vectors
    assert one @ two > 0.99
