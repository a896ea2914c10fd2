"""Examples before the question: interleaved, fixed or chosen by likeness from a real collection."""

import pytest
from langchain_core.example_selectors import LengthBasedExampleSelector
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from PIL import Image

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.few_shot import SimilarExamples, example_messages
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.unit_tests.answering import (
    ShelfRetriever,
    decoded,
    model,
    note,
    picture_file,
    pictures,
    texts,
)

QUESTION = "How many lamps?"
TEXT_EXAMPLE = {"question": "How many doors?", "answer": "Two [1]."}


@pytest.fixture
def shelf():
    return ShelfRetriever(documents=[note("There are three lamps.")])


@pytest.fixture
def shown(tmp_path):
    return {
        "image": str(picture_file(tmp_path / "example.png", "green", (40, 20))),
        "question": "How many windows?",
        "answer": "Four [1].",
    }


def test_examples_stand_before_the_question_as_a_conversation(shelf, shown):
    llm = model("Three [1].")
    result = create_rag_chain(shelf, llm, examples=[shown, TEXT_EXAMPLE]).invoke(QUESTION)
    system, *pairs, human = llm.calls[0]
    assert system.type == "system"
    assert [message.type for message in pairs] == ["human", "ai"] * 2
    assert texts(pairs[0].content) == ["Picture of an example, no evidence:", "Question: How many windows?"]
    assert [decoded(block).size for block in pictures(pairs[0].content)] == [(40, 20)]
    assert pairs[1:] == [
        AIMessage("Four [1]."),
        HumanMessage("Question: How many doors?"),
        AIMessage("Two [1]."),
    ]
    assert human.content.endswith(f"Question: {QUESTION}")
    assert result["citations"][0]["number"] == 1


def test_a_model_without_image_input_gets_what_makes_sense_without_pictures(shelf, shown):
    llm = model("Three [1].")
    told = {**shown, "caption": "a house with four windows", "question": "How many?"}
    create_rag_chain(shelf, llm, images=False, examples=[shown, told, TEXT_EXAMPLE]).invoke(QUESTION)
    assert [message.content for message in llm.calls[0][1:-1]] == [
        "Picture of an example, no evidence, in words: a house with four windows\n\nQuestion: How many?",
        "Four [1].",
        "Question: How many doors?",
        "Two [1].",
    ]


def test_pictures_of_examples_are_shrunk_and_come_on_top_of_those_of_the_evidence(shown):
    budget = PromptBudget(max_images=0, max_side=10)
    human, _ = example_messages([shown], budget=budget)
    assert [decoded(block).size for block in pictures(human.content)] == [(10, 5)]


@pytest.mark.parametrize("part", ["question", "answer"])
def test_an_example_without_question_or_answer_is_refused(shelf, part):
    example = {**TEXT_EXAMPLE, part: " "}
    with pytest.raises(ValueError, match=f'an example has no "{part}"'):
        create_rag_chain(shelf, model("x"), examples=[example]).invoke(QUESTION)


def test_an_example_whose_picture_is_gone_is_left_out_with_a_warning(shelf, shown, tmp_path, caplog):
    (tmp_path / "example.png").unlink()
    llm = model("x")
    create_rag_chain(shelf, llm, examples=[shown, TEXT_EXAMPLE]).invoke(QUESTION)
    assert [message.content for message in llm.calls[0][1:-1]] == ["Question: How many doors?", "Two [1]."]
    assert "an example is left out of the prompt" in caplog.text


@pytest.mark.parametrize(
    ("examples", "error"),
    [
        ([("q", "a")], TypeError),
        ({"question": "q", "answer": "a"}, TypeError),
        ("text", TypeError),
        ([{"question": "q"}], ValueError),
    ],
)
def test_what_are_no_examples_is_refused_before_any_question(shelf, examples, error):
    with pytest.raises(error, match="example"):
        create_rag_chain(shelf, model("x"), examples=examples)


def test_pictures_of_chosen_examples_are_opened_by_the_policy_of_their_own_store(similar, shelf, tmp_path):
    llm = model("x")
    chain = create_rag_chain(shelf, llm, examples=similar, media_policy=MediaPolicy(roots=(tmp_path / "no",)))
    chain.invoke("What is red?")
    assert len(
        pictures(block for message in llm.calls[0] for block in message.content if isinstance(block, dict))
    )


def test_a_prompt_without_a_place_for_examples_is_refused(shelf):
    prompt = ChatPromptTemplate.from_template("{context} {input}")
    with pytest.raises(ValueError, match='no place for the examples: add MessagesPlaceholder\\("examples"'):
        create_rag_chain(shelf, model("x"), prompt=prompt, examples=[TEXT_EXAMPLE])


def test_any_selector_of_langchain_chooses(shelf):
    selector = LengthBasedExampleSelector(
        examples=[TEXT_EXAMPLE, {**TEXT_EXAMPLE, "question": "Are there doors? " * 30}],
        example_prompt=PromptTemplate.from_template("{question} {answer}"),
        max_length=20,
    )
    llm = model("Three [1].")
    create_rag_chain(shelf, llm, examples=selector).invoke(QUESTION)
    assert [message.content for message in llm.calls[0][1:-1]] == ["Question: How many doors?", "Two [1]."]


# --- chosen by likeness ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def similar(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    selector = SimilarExamples(MultimodalChroma("examples", clip, persist_directory=str(folder / "store")))
    for color in ("red", "blue", "green"):
        file = str(picture_file(folder / f"{color}.png", color, (64, 64)))
        selector.add_example({"image": file, "question": f"What is {color}?", "answer": f"A {color} one."})
    selector.add_example({"question": "When does the ferry leave?", "answer": "At nine."})
    return selector


def test_the_examples_most_like_the_words_are_chosen_the_best_last(similar):
    chosen = similar.select_examples({"question": "When does the ferry leave?"})
    assert len(chosen) == 2
    assert chosen[-1] == {"question": "When does the ferry leave?", "answer": "At nine."}


def test_the_examples_most_like_the_picture_are_chosen_the_best_last(similar):
    (*_, best) = similar.select_examples({"question": "", "image": Image.new("RGB", (64, 64), "blue")})
    assert best["answer"] == "A blue one."
    assert best["image"].endswith("blue.png")
    assert best["question"] == "What is blue?"


async def test_choosing_and_keeping_work_asynchronously(similar):
    example = {"question": "Who keeps the key?", "answer": "The warden."}
    first = await similar.aadd_example(example)
    assert await similar.aadd_example(example) == first == similar.add_example(example)
    (*_, best) = await similar.aselect_examples({"question": "Who keeps the key?"})
    assert best == example


async def test_chosen_examples_reach_the_model(similar, shelf):
    llm = model("Three [1].", "Three [1].")
    chain = create_rag_chain(shelf, llm, examples=similar)
    asked = {"input": "What is red?", "image": Image.new("RGB", (64, 64), "red")}
    chain.invoke(asked)
    await chain.ainvoke(asked)
    assert llm.calls[0] == llm.calls[1]
    chosen = [message.content for message in llm.calls[0] if message.type == "ai"]
    assert len(chosen) == 2
    assert "A red one." in chosen


def test_one_picture_may_have_several_examples(clip, tmp_path):
    selector = SimilarExamples(
        MultimodalChroma("several", clip, persist_directory=str(tmp_path / "store")), k=4
    )
    file = str(picture_file(tmp_path / "a.png"))
    selector.add_example({"image": file, "question": "What color?", "answer": "Red.", "caption": "red"})
    selector.add_example({"image": file, "question": "What shape?", "answer": "Square."})
    chosen = selector.select_examples({"question": "What color?"})
    assert {example["answer"] for example in chosen} == {"Red.", "Square."}
    assert {example.get("caption") for example in chosen} == {"red", None}


def test_a_store_keeps_no_bytes(similar):
    with pytest.raises(TypeError, match=r"PIL image 9x9: a store keeps only paths"):
        similar.add_example({**TEXT_EXAMPLE, "image": Image.new("RGB", (9, 9))})


def test_only_a_store_of_ours_keeps_examples(similar):
    with pytest.raises(TypeError, match="kept in a MultimodalChroma, not in a list"):
        SimilarExamples([TEXT_EXAMPLE])
    with pytest.raises(ValueError, match="k of SimilarExamples is 0"):
        SimilarExamples(similar.store, k=0)


def test_no_examples_are_chosen_from_an_empty_store(clip, shelf, tmp_path):
    empty = SimilarExamples(MultimodalChroma("empty", clip, persist_directory=str(tmp_path / "store")))
    llm = model("Three [1].")
    create_rag_chain(shelf, llm, examples=empty).invoke(QUESTION)
    assert [message.type for message in llm.calls[0]] == ["system", "human"]
