import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.queries import Query, Term


def test_a_str_is_always_text():
    assert Query.of("data:image/png;base64,AAAA") == Query(text="data:image/png;base64,AAAA")
    assert Query.of("photos/red.png").image is None


def test_a_query_stays_itself_and_a_mapping_becomes_one():
    query = Query(text="red", image="a.png", modality="image")
    assert Query.of(query) is query
    assert Query.of({"text": "red", "image": "a.png", "modality": "image"}) == query


@pytest.mark.parametrize("parts", [{}, {"modality": "image"}, {"text": None, "image": None}])
def test_a_query_for_nothing_is_refused(parts):
    with pytest.raises(ValueError, match="needs text, an image, or both"):
        Query(**parts)
    with pytest.raises(ValueError, match="needs text, an image, or both"):
        Query.of(parts)


def test_an_empty_text_is_a_text():
    assert Query(text="").text == ""


def test_an_unknown_modality_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'smell'.*text, image, table, video, audio"):
        Query(text="red", modality="smell")


def test_an_unknown_key_is_named():
    with pytest.raises(ValueError, match="unknown key input, speed"):
        Query.of({"input": "red", "speed": 3})


@pytest.mark.parametrize("value", [None, 3, ["red"], b"red"])
def test_what_is_no_query_is_refused(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        Query.of(value)


def test_text_that_is_no_str_is_refused():
    with pytest.raises(TypeError, match="not bytes"):
        Query(text=b"red")


def test_a_query_cannot_be_changed_but_copied_with_a_change():
    query = Query(text="red")
    with pytest.raises(dataclasses.FrozenInstanceError):
        query.text = "blue"
    assert dataclasses.replace(query, modality="image") == Query(text="red", modality="image")


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (b"secret" * 1000, "bytes (6000)"),
        ("data:image/png;base64," + "A" * 6000, "data-URI (6022 bytes)"),
        (Image.new("RGB", (20, 30)), "PIL image 20x30"),
        ("photos/red.png", "photos/red.png"),
    ],
)
def test_a_query_shows_its_picture_by_name_only(image, shown):
    assert repr(Query(text="red", image=image, modality="text")) == (
        f"Query(text='red', image=<{shown}>, modality='text')"
    )
    assert str(Query(image=image)) == f"Query(image=<{shown}>)"


# --- what is not wanted, and how much each part counts ---------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "terms"),
    [
        ({"text": "red"}, [("text", "red", 1)]),
        ({"image": "a.png"}, [("image", "a.png", 1)]),
        ({"text": "red", "image": "a.png"}, [("text", "red", 0.7), ("image", "a.png", 0.3)]),
        ({"text": " ", "image": "a.png"}, [("image", "a.png", 1)]),
        ({"text": " "}, []),
        ({"text": "red", "not_text": "big"}, [("text", "red", 1), ("text", "big", -0.5)]),
        (
            {"text": "red", "image": "a.png", "not_image": "b.png", "not_text": "big"},
            [("text", "red", 0.7), ("image", "a.png", 0.3), ("text", "big", -0.5), ("image", "b.png", -0.5)],
        ),
        (
            {"text": "red", "image": "a.png", "not_text": "big", "weights": {"not_text": 2, "image": 0.6}},
            [("text", "red", 0.7), ("image", "a.png", 0.6), ("text", "big", -2)],
        ),
    ],
)
def test_terms_are_the_parts_with_their_weights(parts, terms):
    assert Query(**parts).terms() == [Term(*term) for term in terms]


def test_a_mapping_may_have_every_key():
    parts = {
        "text": "red",
        "image": "a.png",
        "not_text": "big",
        "not_image": Path("b.png"),
        "weights": {"text": 2},
        "modality": "image",
    }
    assert Query.of(parts) == Query(**parts)
    with pytest.raises(ValueError, match="use text, image, not_text, not_image, weights, modality"):
        Query.of({"not": "red"})


@pytest.mark.parametrize(
    "parts",
    [{"not_text": "red"}, {"not_image": "a.png"}, {"text": "\n", "not_text": "red", "modality": "image"}],
)
def test_a_query_that_wants_nothing_is_refused(parts):
    with pytest.raises(ValueError, match=r"must want something.*add text or an image"):
        Query(**parts)


@pytest.mark.parametrize("blank", ["", " \n"])
@pytest.mark.parametrize("name", ["not_text", "image", "not_image"])
def test_a_blank_part_is_refused_by_name(name, blank):
    with pytest.raises(ValueError, match=f"the {name} of a Query is .*leave it out"):
        Query(**{"text": "red", name: blank})


def test_not_text_that_is_no_str_is_refused():
    with pytest.raises(TypeError, match="the not_text of a Query must be a str, not list"):
        Query(text="red", not_text=["blue"])


def test_the_same_text_cannot_be_wanted_and_not_wanted():
    with pytest.raises(ValueError, match=r"text and not_text of a Query are both ' red  Fox'"):
        Query(text="Red fox ", not_text=" red  Fox")


PICTURE = Image.new("RGB", (20, 30))


@pytest.mark.parametrize(
    ("image", "not_image", "name"),
    [
        ("a.png", "a.png", "a.png"),
        ("a.png", Path("./a.png"), "a.png"),
        ("./b/../a.png", "a.png", "a.png"),
        ("https://example.org/a.png", "https://example.org/a.png", "https://example.org/a.png"),
        (b"secret", b"secret", "bytes"),
        (PICTURE, PICTURE, "PIL image 20x30"),
    ],
)
def test_the_same_picture_cannot_be_wanted_and_not_wanted(image, not_image, name):
    with pytest.raises(ValueError, match=f"image and not_image of a Query are both .*{name}") as refused:
        Query(image=image, not_image=not_image)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "images",
    [
        ("a.png", "A.png"),
        ("a.png", b"a.png"),
        ("http://x.org/a//b", "http://x.org/a/b"),
        (PICTURE, PICTURE.copy()),
    ],
)
def test_other_pictures_are_not_taken_for_the_same(images):
    image, not_image = images
    assert len(Query(image=image, not_image=not_image).terms()) == 2


@pytest.mark.parametrize("weight", [0, -0.5, float("nan"), float("inf"), -float("inf")])
def test_a_weight_not_above_0_is_refused(weight):
    with pytest.raises(ValueError, match=r"the weight of not_text in a Query is .*give a number above 0"):
        Query(text="red", not_text="big", weights={"not_text": weight})


@pytest.mark.parametrize("weight", [True, "0.5", None, [1], 1j])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(TypeError, match=r"the weight of text in a Query is .*give a number above 0"):
        Query(text="red", weights={"text": weight})


def test_what_is_no_mapping_of_weights_is_refused():
    with pytest.raises(TypeError, match="the weights of a Query are a list"):
        Query(text="red", weights=[0.5])


def test_a_weight_nobody_knows_or_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"unknown words in the weights.*text, image, not_text, not_image"):
        Query(text="red", weights={"words": 1})
    with pytest.raises(ValueError, match="a weight but nothing for image, not_text: give it, or leave"):
        Query(text="red", weights={"text": 1, "image": 1, "not_text": 1})
    with pytest.raises(ValueError, match="nothing for text"):
        Query(text="", image="a.png", weights={"text": 1})


def test_weights_are_copied_and_cannot_be_changed():
    given = {"text": np.float32(2), "not_text": 1}
    query = Query(text="red", not_text="big", weights=given)
    given["text"] = 9
    assert query.weights == {"text": 2.0, "not_text": 1.0}
    assert type(query.weights["text"]) is float
    with pytest.raises(TypeError):
        query.weights["text"] = 3
    assert Query(text="red", weights={}).weights is None


def test_a_query_is_a_value():
    query = Query(text="red", not_text="big", weights={"text": 2, "not_text": 1})
    same = Query(not_text="big", weights={"not_text": 1.0, "text": 2.0}, text="red")
    assert query == same
    assert len({query, same}) == 1
    assert query != dataclasses.replace(query, weights={"text": 3})
    assert dataclasses.replace(query, modality="image").weights == query.weights
    assert pickle.loads(pickle.dumps(query)) == copy.deepcopy(query) == query


def test_every_part_is_shown_and_no_picture_dumped():
    query = Query(text="red", not_text="big", not_image=b"secret" * 9, weights={"text": 2})
    shown = "Query(text='red', not_text='big', not_image=<bytes (54)>, weights={'text': 2.0})"
    assert repr(query) == shown
    assert repr(query.terms()) == "[Term(+2 'red'), Term(-0.5 'big'), Term(-0.5 <bytes (54)>)]"


@pytest.mark.parametrize("weight", [1e39, 1e308, 1e-300, 1e-7])
def test_weights_no_sum_could_bear_are_refused(weight):
    with pytest.raises(ValueError, match="from a millionth to a million"):
        Query(text="dog", not_text="cat", weights={"not_text": weight})


def test_an_array_is_no_picture():
    with pytest.raises(TypeError, match=r"image of a Query is a ndarray: give PIL\.Image\.fromarray"):
        Query(image=np.zeros((4, 4, 3), dtype=np.uint8))
