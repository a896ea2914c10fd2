"""What pictures and text take in a prompt, by the rules of the families of models."""

import pytest
from langchain_openai import ChatOpenAI

from langchain_mmrag.budget import PromptBudget, budget_for, image_tokens, text_tokens
from tests.unit_tests.answering import model


@pytest.mark.parametrize(
    ("family", "size", "tokens"),
    [
        ("openai", (1024, 1024), 765),  # OpenAI's own examples
        ("openai", (2048, 4096), 1105),
        ("openai", (512, 512), 255),
        ("openai", (513, 512), 425),
        ("openai", (64, 64), 255),
        ("openai-patches", (1024, 1024), 1024),
        ("openai-patches", (1800, 2400), 1536),
        ("openai-patches", (33, 32), 2),
        ("anthropic", (200, 200), 54),  # Anthropic's own examples
        ("anthropic", (1000, 1000), 1334),
        ("anthropic", (3136, 1568), 1640),  # read as 1568 x 784
        ("google", (384, 384), 258),
        ("google", (385, 100), 258),
        ("google", (1024, 768), 516),
        ("google", (1024, 1024), 1032),
        ("google-fixed", (10, 10), 1120),
        ("google-fixed", (4000, 3000), 1120),
        ("other", (28, 28), 1),
        ("other", (1024, 512), 37 * 19),
        (None, (1024, 512), 37 * 19),
    ],
)
def test_pictures_take_what_the_family_says(family, size, tokens):
    assert image_tokens(*size, family) == tokens


@pytest.mark.parametrize(
    "family", ["openai", "openai-patches", "anthropic", "google", "google-fixed", "other"]
)
def test_a_smaller_picture_never_takes_more(family):
    sides = [16, 100, 256, 300, 384, 385, 512, 513, 768, 1024, 1568, 2048, 5000]
    square = [image_tokens(side, side, family) for side in sides]
    assert square == sorted(square)
    assert image_tokens(1, 9000, family) >= 1


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="both sides must be 1 or more"):
        image_tokens(*size)


def test_english_takes_a_token_for_four_characters():
    assert text_tokens("") == 0
    assert text_tokens("a" * 400) == 100
    assert text_tokens("abcde") == 2


def test_other_scripts_are_not_taken_for_cheap():
    assert text_tokens("红色的灯塔在海边") == 8
    assert text_tokens("маяк") == 3
    assert text_tokens("🙂") == 2
    assert text_tokens("lone \ud800 half of a pair") > 0


def test_a_texts_parts_never_take_less_than_the_whole():
    text = "The red lighthouse — красный маяк — 红色的灯塔 🙂."
    parts = [text[start : start + 3] for start in range(0, len(text), 3)]
    assert sum(map(text_tokens, parts)) >= text_tokens(text)


def test_the_budget_for_a_model_is_three_quarters_of_what_it_reads():
    llm = ChatOpenAI(model="gpt-4o", api_key="none")
    assert budget_for(llm) == PromptBudget(max_tokens=96_000, family="openai")
    assert budget_for(llm.bind(stop=["."]).with_retry()).max_tokens == 96_000


def test_what_a_budget_says_itself_stands():
    llm = ChatOpenAI(model="gpt-4o", api_key="none")
    given = PromptBudget(max_tokens=500, family="anthropic", max_images=2)
    assert budget_for(llm, given) == given


def test_a_model_that_says_nothing_leaves_the_budget_open():
    assert budget_for(model("yes")) == PromptBudget(family="other")
    assert budget_for(None) == PromptBudget(family="other")


@pytest.mark.parametrize(
    ("name", "value"), [("max_images", -1), ("max_tokens", -1), ("max_image_bytes", -1), ("max_side", 0)]
)
def test_limits_below_the_least_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} of a PromptBudget is {value}"):
        PromptBudget(**{name: value})


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"family": "nope"}, ValueError), ({"max_images": "8"}, TypeError), ({"max_images": None}, TypeError)],
)
def test_limits_of_another_kind_are_refused(limits, error):
    with pytest.raises(error, match="of a PromptBudget"):
        PromptBudget(**limits)
