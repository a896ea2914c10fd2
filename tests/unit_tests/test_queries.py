import dataclasses

import pytest
from PIL import Image

from langchain_mmrag.queries import Query


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
