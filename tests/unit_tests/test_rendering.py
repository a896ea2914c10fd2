"""Training pictures: the same from the same seed, captions unique, what is held out never drawn."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from langchain_mmrag.errors import LoadError
from langchain_mmrag.training import sources
from langchain_mmrag.training.data import MIXTURE, RenderedPairs, pair_held_out
from langchain_mmrag.training.render import backgrounds, charts, glyphs, shapes, signs
from langchain_mmrag.training.render.glyphs import GlyphSet, body_of
from langchain_mmrag.training.render.palette import COLORS, plural, with_article
from langchain_mmrag.training.sources import Concept


def ring(color):
    image = Image.new("RGBA", (96, 96))
    ImageDraw.Draw(image).ellipse((8, 8, 88, 88), outline=(*color, 255), width=10)
    return np.asarray(image)


@pytest.fixture(scope="module")
def glyph_set():
    names = ["apple", "boat", "cat", "drum", "egg", "fox", "glasses", "hat"]
    concepts = [
        Concept(f"{k:x}", name, ("thing", f"kind {k}"), "objects", ("noto", "mono-bold"))
        for k, name in enumerate(names)
    ]
    color = np.stack([ring((20 * k, 120, 200)) for k in range(len(names))])
    ink = np.stack([ring((32, 32, 32)) for _ in names])
    return GlyphSet.of(concepts, {"noto": color, "mono-bold": ink})


@pytest.fixture
def pairs(glyph_set):
    return RenderedPairs(glyph_set, batch_size=32, side=48, steps=4, seed=5)


def test_a_batch_can_be_drawn_again_from_its_number(pairs, glyph_set):
    again = RenderedPairs(glyph_set, batch_size=32, side=48, steps=9, seed=5)
    np.testing.assert_array_equal(pairs[2].images, again[2].images)
    assert pairs[2].captions == again[2].captions
    assert pairs[1].captions != pairs[2].captions
    other_seed = RenderedPairs(glyph_set, batch_size=32, side=48, steps=9, seed=6)
    assert other_seed[2].captions != pairs[2].captions


def test_captions_are_unique_within_a_batch(pairs):
    for batch in (pairs[0], pairs[1]):
        assert batch.images.shape == (32, 48, 48, 3)
        assert len(set(batch.captions)) == 32
    assert len(pairs) == 4
    with pytest.raises(IndexError):
        pairs[4]


def test_held_out_cards_and_pairs_are_never_drawn():
    drawn = {shapes.sample(random.Random(seed), 24)[1] for seed in range(1500)}
    apart = [(c, f) for c in COLORS for f in shapes.FORMS if shapes.combination_held_out(c, f)]
    assert 15 < len(apart) < 40
    for color, form in apart:
        assert not any(
            f"{color} {form}" in caption or f"{color} {plural(form)}" in caption for caption in drawn
        )
    assert any(pair_held_out(0, k) for k in range(50))
    assert all(pair_held_out(0, k) == pair_held_out(k, 0) for k in range(50))


def test_grounds_for_measuring_are_none_of_the_trained_ones():
    assert not set(backgrounds.HELD_OUT) & set(backgrounds.TRAINED)
    assert sum(backgrounds.TRAINED.values()) == pytest.approx(1)
    assert sum(MIXTURE.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "kind", [*backgrounds.TRAINED, *backgrounds.HELD_OUT], ids=lambda kind: kind.__name__
)
def test_every_ground_is_a_picture_of_the_side_asked_for(kind):
    for seed in range(5):
        image, color = kind(random.Random(seed), 40)
        assert (image.mode, image.size) == ("RGB", (40, 40))
        assert color is None or color in COLORS
    if kind not in {backgrounds.white, backgrounds.named, backgrounds.plain}:
        assert len(image.getcolors(1600)) > 1


@pytest.mark.parametrize(("color", "expected"), [("red", (214, 40, 40)), ("blue", (40, 90, 215))])
def test_a_card_shows_the_colour_it_names_on_a_white_ground(color, expected):
    card = shapes.ShapeCard(color, "square")
    picture = np.asarray(shapes.draw_card(random.Random(1), card, 64)).astype(int)
    middle = picture[28:36, 28:36].reshape(-1, 3).mean(0)
    assert np.abs(middle - expected).max() <= 18
    assert picture[0, 0].min() > 225
    assert card.text == f"a {color} square"


def test_several_pieces_cover_more_than_one():
    one, five = (
        (
            np.asarray(
                shapes.draw_card(
                    random.Random(3), shapes.ShapeCard("black", "circle", n, "small" if n == 1 else ""), 64
                )
            )
            < 128
        ).mean()
        for n in (1, 5)
    )
    assert five > 2 * one


@pytest.mark.parametrize("kind", charts.KINDS)
def test_every_kind_of_chart_names_itself(kind):
    for seed in range(6):
        image, caption = charts.draw_chart(random.Random(seed), kind, 48)
        assert image.size == (48, 48)
        assert kind.split()[-1].replace("chart", "") in caption.replace("graph", "")
    assert "{" not in caption


def test_a_rising_series_ends_above_its_start():
    values = charts.series(random.Random(0), 7, "rising")
    assert values[-1] - values[0] > 0.5
    assert all(0.05 <= v <= 1 for v in values)


def test_a_sign_quotes_its_word_and_shows_two_colours():
    image, caption = signs.draw_sign(random.Random(2), "stop", 64, text="black", ground="white")
    assert "stop" in caption
    gray = np.asarray(image.convert("L"))
    assert gray.min() < 80
    assert gray.max() > 200


def test_the_longest_word_fits_a_small_sign():
    word = max(signs.WORDS, key=len)
    assert signs.draw_sign(random.Random(0), word, 16)[0].size == (16, 16)


def test_a_body_is_what_the_line_encloses():
    body = body_of(ring((0, 0, 0))[None])[0]
    assert body[48, 48] == 255
    assert body[0, 0] == 0
    assert body[48, 10] == 255


def test_ink_stands_out_from_a_dark_ground(glyph_set):
    dark = Image.new("RGB", (48, 48), "black")
    for seed in range(8):
        picture = dark.copy()
        drawn = glyphs.tile(random.Random(seed), glyph_set, 0, "mono-bold", picture, alter=False)
        glyphs.place(picture, drawn, 48, (0, 0))
        assert np.asarray(picture.convert("L")).max() > 100


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("apple", "an apple"),
        ("cat", "a cat"),
        ("glasses", "glasses"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("bus", "a bus"),
    ],
)
def test_articles(noun, expected):
    assert with_article(noun) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("cat", "cats"),
        ("cross", "crosses"),
        ("box", "boxes"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("glasses", "glasses"),
    ],
)
def test_plurals(noun, expected):
    assert plural(noun) == expected


def test_a_package_that_differs_from_its_digest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PACKAGES", {"thing": ("1.0", "0" * 64)})
    (tmp_path / "thing-1.0.tgz").write_bytes(b"not the package")
    with pytest.raises(LoadError, match=r"thing-1\.0\.tgz has digest .*, expected 0000"):
        sources.fetch(tmp_path)


def test_every_style_and_every_package_has_a_licence_in_the_table():
    text = Path(sources.__file__).read_text(encoding="utf-8").split('"""')[1]
    for package in sources.PACKAGES:
        assert f"`{package}`" in text
    assert {sources.DEVELOPMENT_STYLE, sources.HELD_OUT_STYLE}.isdisjoint(sources.TRAINED_STYLES)
    assert set(glyphs.STYLE_WEIGHTS) == set(sources.TRAINED_STYLES)
