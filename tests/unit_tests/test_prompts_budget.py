"""What a prompt holds when not everything fits: how pictures shrink, what is left out, and who is told."""

import base64
import re

import numpy as np
import pytest
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag.budget import PromptBudget, image_tokens, text_tokens
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.errors import BudgetError
from langchain_mmrag.prompts import documents_to_content_blocks, documents_to_text, evidence_message
from langchain_mmrag.queries import Query
from langchain_mmrag.quotes import shortened
from tests.unit_tests.answering import (
    ShelfRetriever,
    decoded,
    model,
    note,
    picture,
    picture_file,
    pictures,
    texts,
)

FAMILIES = ["openai", "openai-patches", "anthropic", "google", "google-fixed", "other"]


def photo_file(path, seed, size=(800, 600)):
    """A picture that takes many bytes and is like no other."""
    width, height = size
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


@pytest.fixture
def photos(tmp_path):
    return [picture(photo_file(tmp_path / f"{i}.jpg", i), f"caption {i}") for i in range(1, 5)]


def long_note(number, words=200):
    return note(
        " ".join(f"Sentence {i} of note {number} stands here." for i in range(words // 7)), f"n{number}.md"
    )


def taken(blocks, family=None):
    """Tokens of blocks as they stand, counted anew."""
    sizes = [decoded(block).size for block in pictures(blocks)]
    return sum(map(text_tokens, texts(blocks))) + sum(image_tokens(*size, family) for size in sizes)


def sent(blocks):
    return sum(len(block["base64"]) for block in pictures(blocks))


def labels(blocks):
    return [text.splitlines()[0] for text in texts(blocks)]


# --- tokens ----------------------------------------------------------------------------------------------


def test_what_fits_is_left_alone(photos):
    roomy = PromptBudget(max_tokens=100_000)
    assert documents_to_content_blocks(photos, budget=roomy) == documents_to_content_blocks(photos)
    assert not any(text.startswith("To fit") for text in texts(documents_to_content_blocks(photos)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("limit", [500, 900, 1500, 3000, 6000])
def test_no_budget_is_exceeded(photos, family, limit):
    documents = [photos[0], long_note(2), photos[1], long_note(4), photos[2], long_note(6), photos[3]]
    blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_tokens=limit, family=family))
    assert taken(blocks, family) <= limit
    assert [re.match(r"\[\d+\]", label)[0] for label in labels(blocks)[:7]] == [f"[{i}]" for i in range(1, 8)]


def test_pictures_shrink_to_a_common_side_before_any_is_left_out(photos):
    full = taken(documents_to_content_blocks(photos))
    blocks = documents_to_content_blocks(photos, budget=PromptBudget(max_tokens=full // 2))
    assert [decoded(block).size for block in pictures(blocks)] == [(512, 384)] * 4
    assert texts(blocks)[-1] == "To fit the prompt: pictures shrunk to 512 pixels."


def test_a_small_picture_is_not_shrunk_with_the_large_ones(photos, tmp_path):
    icon = picture(picture_file(tmp_path / "icon.png", size=(60, 40)))
    full = taken(documents_to_content_blocks([*photos, icon]))
    blocks = documents_to_content_blocks([*photos, icon], budget=PromptBudget(max_tokens=full // 2))
    assert decoded(pictures(blocks)[-1]).size == (60, 40)


def test_pictures_are_left_out_from_the_lowest_rank_up_and_the_label_says_so(photos):
    # A picture takes 1,120 tokens whatever its size, so shrinking does not help.
    blocks = documents_to_content_blocks(photos, budget=PromptBudget(max_tokens=2500, family="google-fixed"))
    assert [block["type"] for block in blocks] == ["text", "image", "text", "image", "text", "text", "text"]
    assert labels(blocks)[2:] == [
        "[3] image · 3.jpg · retrieved, not supplied by the user · not shown: no room in the prompt",
        "[4] image · 4.jpg · retrieved, not supplied by the user · not shown: no room in the prompt",
        "To fit the prompt: pictures of [3]-[4] left out.",
    ]
    assert [decoded(block).size for block in pictures(blocks)] == [(800, 600)] * 2, "they grow again"
    assert "caption 4" in texts(blocks)[3], "captions stay"


def test_texts_are_shortened_then_left_out_from_the_lowest_rank_up():
    documents = [long_note(number) for number in range(1, 5)]
    whole = [text_tokens(text) for text in documents_to_text(documents).split("\n\n")]
    limit = whole[0] + whole[1] + whole[2] // 2
    blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_tokens=limit))
    assert taken(blocks) <= limit
    assert documents[0].page_content in texts(blocks)[0]
    assert documents[1].page_content in texts(blocks)[1]
    assert re.search(r"stands here\. \[…\]\n</passage>$", texts(blocks)[2])
    assert texts(blocks)[3:] == [
        "[4] text · n4.md · its text is left out: no room in the prompt",
        "To fit the prompt: text of [3] shortened; text of [4] left out.",
    ]


def test_most_of_the_room_is_used():
    documents = [long_note(number, 2000) for number in range(1, 4)]
    for limit in (300, 1000, 3000, 5000):
        blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_tokens=limit))
        assert limit * 0.75 < taken(blocks) <= limit


def test_a_shortened_passage_keeps_the_part_that_was_found():
    text = "Nothing to see. " * 400 + "The treasure lies under the oak. " + "Nothing again. " * 400
    start = text.index("The treasure")
    chunk = text[start : start + 32]
    hit = note(text, chunk=chunk, chunk_start=start)
    (block, _) = documents_to_content_blocks([hit], budget=PromptBudget(max_tokens=100), passage_chars=10_000)
    assert "The treasure lies under the oak." in block["text"]
    assert text_tokens(block["text"]) <= 100


def test_texts_of_a_picture_are_kept_in_the_order_of_their_worth(tmp_path):
    red = picture(picture_file(tmp_path / "red.png"), "a red wall", ocr_text="NO ENTRY " * 500)
    (block, _) = documents_to_content_blocks([red], images=False, budget=PromptBudget(max_tokens=150))
    assert "a red wall" in block["text"]
    assert block["text"].count("NO ENTRY") in range(5, 100)
    assert block["text"].endswith("[…]\n</ocr_text>")


@pytest.mark.parametrize("text", ["红色的灯塔在海边。" * 500, "x" * 20_000, "🙂" * 3000, "a\n" * 5000])
def test_text_of_any_kind_is_shortened_to_fit(text):
    blocks = documents_to_content_blocks([note(text)], budget=PromptBudget(max_tokens=300))
    assert 200 < taken(blocks) <= 300


def test_labels_alone_are_what_is_left_of_a_tiny_budget(photos):
    documents = [*photos, long_note(5)]
    blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_tokens=200))
    assert pictures(blocks) == []
    assert [label[:3] for label in labels(blocks)] == ["[1]", "[2]", "[3]", "[4]", "[5]", "To "]
    assert taken(blocks) <= 200


def test_a_context_that_does_not_fit_at_all_is_an_error_that_names_the_limit_and_the_least(photos):
    with pytest.raises(
        ValueError, match=r"max_tokens of the PromptBudget is 20 \(where none .*, and the labels of 4"
    ) as caught:
        documents_to_content_blocks(photos, budget=PromptBudget(max_tokens=20))
    least = int(re.search(r"alone take (\d+)", str(caught.value))[1])
    documents_to_content_blocks(photos, budget=PromptBudget(max_tokens=least))
    with pytest.raises(ValueError, match="retrieve fewer documents"):
        documents_to_content_blocks(photos, budget=PromptBudget(max_tokens=least - 1))


def test_nothing_found_fits_any_budget():
    assert documents_to_content_blocks([], budget=PromptBudget(max_tokens=0, max_image_bytes=0)) == []


def test_text_alone_keeps_to_the_budget_too():
    documents = [long_note(number) for number in range(1, 5)]
    text = documents_to_text(documents, budget=PromptBudget(max_tokens=500))
    assert text_tokens(text) <= 510  # a blank line between the parts
    assert "[4] text · n4.md · its text is left out" in text


def test_a_prompt_that_had_to_be_cut_is_the_same_every_time(photos):
    budget = PromptBudget(max_tokens=700, family="anthropic")
    documents = [*photos, long_note(5)]
    assert documents_to_content_blocks(documents, budget=budget) == documents_to_content_blocks(
        documents, budget=budget
    )


def test_many_long_documents_are_fitted_in_no_time(tmp_path):
    documents = [long_note(number, 5000) for number in range(1, 60)]
    blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_tokens=5000))
    assert taken(blocks) <= 5000


@pytest.mark.parametrize("longest", [1, 2, 40, 81, 500, 5000])
@pytest.mark.parametrize(
    "text", [long_note(1, 900).page_content, "红色的灯塔。" * 300, "x" * 4000, "\n\n" * 900]
)
def test_a_shortened_text_is_no_longer_than_asked(text, longest):
    excerpt = shortened(note(text), longest)
    assert len(excerpt.text) <= longest
    assert text.startswith(excerpt.text)
    assert excerpt.cut_after == (len(text) > longest)


def test_a_chain_keeps_to_what_its_model_reads():
    llm = model("yes", profile={"max_input_tokens": 800, "image_inputs": True})
    shelf = ShelfRetriever(documents=[long_note(number) for number in range(1, 5)])
    create_rag_chain(shelf, llm).invoke("What stands here?")
    content = llm.calls[0][-1].content
    assert "its text is left out: no room in the prompt" in content
    assert 450 < text_tokens(content) < 650


# --- bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 5_000, 30_000, 100_000, 200_000])
def test_pictures_take_no_more_bytes_than_allowed(photos, limit):
    blocks = documents_to_content_blocks([*photos, long_note(5)], budget=PromptBudget(max_image_bytes=limit))
    assert sent(blocks) <= limit
    assert "Sentence 3 of note 5" in texts(blocks)[4], "text is not cut for the sake of bytes"


def test_bytes_shrink_pictures_before_they_leave_any_out(photos):
    full = sent(documents_to_content_blocks(photos))
    blocks = documents_to_content_blocks(photos, budget=PromptBudget(max_image_bytes=full // 2))
    assert len(pictures(blocks)) == 4
    assert {max(decoded(block).size) for block in pictures(blocks)} <= {512, 384, 256}


# --- the same picture twice ------------------------------------------------------------------------------


def test_a_picture_that_comes_twice_is_sent_once(tmp_path):
    first = picture_file(tmp_path / "first.png")
    copy = tmp_path / "copy.png"
    copy.write_bytes(first.read_bytes())
    blocks = documents_to_content_blocks([picture(first), picture(first, "again"), picture(copy)])
    assert len(pictures(blocks)) == 1
    assert labels(blocks)[1:] == [
        "[2] image · first.png · retrieved, not supplied by the user · not shown: same picture as [1]",
        "[3] image · copy.png · retrieved, not supplied by the user · not shown: same picture as [1]",
    ]
    assert "again" in texts(blocks)[1]


def test_a_repeated_picture_takes_no_place_of_another(tmp_path):
    first, other = picture_file(tmp_path / "first.png"), picture_file(tmp_path / "other.png", "blue")
    blocks = documents_to_content_blocks(
        [picture(first), picture(first), picture(other)], budget=PromptBudget(max_images=2)
    )
    assert len(pictures(blocks)) == 2


def test_the_users_own_picture_is_not_sent_again_when_it_is_found(tmp_path):
    own = photo_file(tmp_path / "own.jpg", 9)
    found = [picture(own), picture(photo_file(tmp_path / "other.jpg", 8))]
    blocks = evidence_message(Query(image=str(own)), found).content
    assert [block["type"] for block in blocks] == ["text", "text", "text", "image", "text", "image"]
    assert blocks[1]["text"].endswith("not shown: same picture as the picture supplied by the user")
    assert base64.b64decode(blocks[-1]["base64"]) == own.read_bytes()


# --- the picture of the question -------------------------------------------------------------------------


def test_the_users_own_picture_has_the_first_claim(photos, tmp_path):
    own = photo_file(tmp_path / "own.jpg", 9)
    budget = PromptBudget(max_tokens=1500, family="google-fixed")
    blocks = evidence_message(Query(text="Where?", image=str(own)), photos, budget=budget).content
    assert len(pictures(blocks)) == 1
    assert blocks[-2]["text"] == "Picture supplied by the user, part of the question:"
    assert base64.b64decode(blocks[-1]["base64"]) == own.read_bytes()
    assert taken(blocks, "google-fixed") <= 1500


def test_the_users_own_picture_counts_among_the_pictures(photos, tmp_path):
    own = photo_file(tmp_path / "own.jpg", 9)
    blocks = evidence_message(Query(image=str(own)), photos, budget=PromptBudget(max_images=3)).content
    assert len(pictures(blocks)) == 3
    assert "only the 2 highest-ranked pictures are shown" in texts(blocks)[3]
    blocks = evidence_message(Query(image=str(own)), photos, budget=PromptBudget(max_images=1)).content
    assert len(pictures(blocks)) == 1
    assert "not shown: the prompt may hold no more pictures" in texts(blocks)[1]


def test_the_users_own_picture_shrinks_last(photos, tmp_path):
    own = photo_file(tmp_path / "own.jpg", 9, (1000, 1000))
    budget = PromptBudget(max_tokens=700)
    blocks = evidence_message(Query(image=str(own)), photos, budget=budget).content
    assert [max(decoded(block).size) for block in pictures(blocks)] == [512]
    assert taken(blocks) <= 700
    with pytest.raises(ValueError, match="labels of 4 documents and the picture of the question alone take"):
        evidence_message(Query(image=str(own)), photos, budget=PromptBudget(max_tokens=200))
    with pytest.raises(ValueError, match="max_image_bytes of the PromptBudget is 100"):
        evidence_message(Query(image=str(own)), [], budget=PromptBudget(max_image_bytes=100))


# --- a layout of one's own -------------------------------------------------------------------------------


def test_a_layout_of_ones_own_replaces_the_evidence(photos):
    def layout(documents):
        return "\n".join(f"({i}) {d.page_content}" for i, d in enumerate(documents, 1))

    message = evidence_message(Query(text="Where?"), photos[:2], format_documents=layout)
    assert message.content == "(1) caption 1\n(2) caption 2"


def test_after_a_layout_of_ones_own_the_users_picture_is_still_set_apart(photos):
    own = Image.new("RGB", (30, 10), "blue")
    query = Query(image=own, text="Where?", not_text="fog")
    message = evidence_message(query, photos, format_documents=lambda _: [{"type": "text", "text": "mine"}])
    assert texts(message.content) == [
        "mine",
        "The user asked to leave out: fog",
        "Picture supplied by the user, part of the question:",
    ]
    assert decoded(message.content[-1]).size == (30, 10)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"max_images": 1}, "max_images"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"max_image_bytes": 9}, "max_image_bytes"),
    ],
)
def test_a_layout_of_ones_own_is_held_to_the_budget(photos, limits, name):
    def layout(_):
        return [{"type": "text", "text": "word " * 20}, *[{"type": "image", "base64": "QUJD" * 2}] * 2]

    assert len(evidence_message(Query(text="Where?"), photos, format_documents=layout).content) == 3
    with pytest.raises(BudgetError, match=f"{name} of the PromptBudget is .* format_documents gave takes"):
        evidence_message(Query(text="Where?"), photos, format_documents=layout, budget=PromptBudget(**limits))


def test_a_budget_of_no_pictures_holds_for_the_users_own_too(photos):
    query = Query(image=Image.new("RGB", (30, 10), "blue"))
    content = evidence_message(query, photos, budget=PromptBudget(max_images=0)).content
    assert "Picture supplied by the user, part of the question (not shown: this prompt holds no" in content


@pytest.mark.parametrize("given", [None, 5, ["text"], [{"text": "no type"}], Document(page_content="x")])
def test_a_layout_that_gives_something_else_is_named(photos, given):
    with pytest.raises(TypeError, match="format_documents gave a"):
        evidence_message(Query(text="Where?"), photos, format_documents=lambda _: given)
