"""Follow-up questions: said again for the search, by the model at hand or another, from text alone."""

from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate

from langchain_mmrag.chains import create_rag_chain
from langchain_mmrag.history import standalone, text_alone
from langchain_mmrag.queries import Query
from tests.unit_tests.answering import ShelfRetriever, model, note, picture, picture_file, pictures

FOLLOW_UP = "And how tall is it?"
STANDALONE = "How tall is the red lighthouse at Cape Ann?"
HISTORY = [("human", "Where is the red lighthouse?"), ("ai", "At Cape Ann [1].")]


@pytest.fixture
def shelf(tmp_path):
    lighthouse = picture_file(tmp_path / "lighthouse.png", size=(30, 60))
    return ShelfRetriever(documents=[note("It is 22 m tall."), picture(lighthouse, "a lighthouse")])


def test_a_follow_up_is_searched_for_by_a_question_that_stands_alone(shelf):
    llm = model(STANDALONE, "22 m [1].")
    result = create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": HISTORY})
    assert shelf.asked == [STANDALONE]
    assert result["standalone_question"] == STANDALONE
    assert result["answer"] == "22 m [1]."
    assert result["input"] == FOLLOW_UP
    assert result["chat_history"] is HISTORY


def test_the_model_is_shown_the_conversation_and_the_question_as_it_was_asked(shelf):
    llm = model(STANDALONE, "22 m [1].")
    create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": HISTORY})
    rephrasing, answering = llm.calls
    assert [message.type for message in rephrasing] == ["system", "human", "ai", "human"]
    assert rephrasing[-1].content == f"Follow-up: {FOLLOW_UP}"
    assert [message.type for message in answering] == ["system", "human", "ai", "human"]
    assert answering[1] == HumanMessage("Where is the red lighthouse?")
    assert answering[-1].content[-1]["text"] == f"Question: {FOLLOW_UP}"


@pytest.mark.parametrize("history", [None, [], ()])
def test_without_a_conversation_nothing_is_said_again(shelf, history):
    llm = model("22 m [1].")
    result = create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": history})
    assert shelf.asked == [FOLLOW_UP]
    assert "standalone_question" not in result


def test_saying_again_can_be_switched_off(shelf):
    llm = model("22 m [1].")
    asked = {"input": FOLLOW_UP, "chat_history": HISTORY}
    result = create_rag_chain(shelf, llm, rephrase=False).invoke(asked)
    assert shelf.asked == [FOLLOW_UP]
    assert "standalone_question" not in result
    assert [message.type for message in llm.calls[0]] == ["system", "human", "ai", "human"]


def test_another_model_may_say_it_again(shelf):
    llm, cheap = model("22 m [1]."), model(STANDALONE)
    asked = {"input": FOLLOW_UP, "chat_history": HISTORY}
    create_rag_chain(shelf, llm, rephrase=cheap).invoke(asked)
    assert shelf.asked == [STANDALONE]
    assert (len(llm.calls), len(cheap.calls)) == (1, 1)


def test_quotes_without_a_model_go_by_the_question_that_stands_alone(shelf):
    asked = {"input": "And this?", "chat_history": HISTORY}
    result = create_rag_chain(shelf, rephrase=model("How many m tall?")).invoke(asked)
    assert "- “It is 22 m tall.” [1]" in result["answer"]


@pytest.mark.parametrize("garbled", ["", "  \n", "?!", "…", "word " * 400, "<think>What is it?", '""'])
def test_what_is_no_question_falls_back_to_the_one_asked(shelf, garbled):
    llm = model(garbled, "22 m [1].")
    result = create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": HISTORY})
    assert shelf.asked == [FOLLOW_UP]
    assert result["answer"] == "22 m [1]."


@pytest.mark.parametrize(
    "written",
    [
        STANDALONE,
        f'"{STANDALONE}"',
        f"Standalone question: {STANDALONE}",
        f"**Question:** {STANDALONE}",
        f"<think>It is the lighthouse.</think>\n\n{STANDALONE}",
        STANDALONE.replace(" ", "\n"),
    ],
)
def test_what_models_put_around_a_question_is_taken_off(written):
    assert standalone(written, FOLLOW_UP) == STANDALONE


def test_a_picture_stays_with_its_question(shelf, tmp_path):
    mine = str(picture_file(tmp_path / "mine.png", "blue", (70, 10)))
    llm = model(STANDALONE, "22 m [1].")
    create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "image": mine, "chat_history": HISTORY})
    assert shelf.asked == [Query(text=STANDALONE, image=mine)]
    assert all(isinstance(message.content, str) for message in llm.calls[0])
    assert len(pictures(llm.calls[1][-1].content)) == 2


def test_a_picture_alone_is_no_follow_up_to_be_said_again(shelf, tmp_path):
    mine = str(picture_file(tmp_path / "mine.png"))
    llm = model("A tower [2].")
    create_rag_chain(shelf, llm).invoke({"image": mine, "chat_history": HISTORY})
    assert shelf.asked == [Query(image=mine)]


def test_the_conversation_is_told_by_its_text_to_who_says_it_again(shelf):
    block = {"type": "image", "base64": "QUJD", "mime_type": "image/png"}
    history = [
        SystemMessage("Be kind."),
        HumanMessage([{"type": "text", "text": "What is this?"}, block]),
        AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}]),
        ToolMessage([block], tool_call_id="1"),
        AIMessage("A lighthouse."),
        HumanMessage([block]),
    ]
    llm = model(STANDALONE, "22 m [1].")
    create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": history})
    said = [(message.type, message.content) for message in llm.calls[0][1:-1]]
    assert said == [
        ("system", "Be kind."),
        ("human", "What is this?"),
        ("ai", "A lighthouse."),
        ("human", "(a picture)"),
    ]
    assert llm.calls[1][2].content == history[1].content


def test_a_model_without_image_input_gets_the_conversation_without_pictures(shelf):
    history = [HumanMessage([{"type": "text", "text": "This?"}, {"type": "image", "base64": "QUJD"}])]
    llm = model(STANDALONE, "22 m [1].")
    asked = {"input": FOLLOW_UP, "chat_history": [*history, AIMessage("A tower.")]}
    create_rag_chain(shelf, llm, images=False).invoke(asked)
    assert [message.content for message in llm.calls[1][1:3]] == ["This?", "A tower."]


def test_what_is_not_wanted_is_never_what_is_asked(shelf):
    llm = model("fog", "22 m [1].")
    asked = {"input": FOLLOW_UP, "not_text": "fog", "chat_history": HISTORY}
    create_rag_chain(shelf, llm).invoke(asked)
    assert shelf.asked == [Query(text=FOLLOW_UP, not_text="fog")]


@pytest.mark.parametrize("history", ["Where is it?", 7, {"a": 1}, [{"no": "message"}], [("nobody", "hello")]])
def test_what_is_no_conversation_is_refused(shelf, history):
    with pytest.raises(ValueError, match=r'"chat_history" is a .* no conversation'):
        create_rag_chain(shelf, model("yes")).invoke({"input": FOLLOW_UP, "chat_history": history})
    assert shelf.asked == []


def test_a_prompt_may_show_the_question_that_was_searched_for(shelf):
    prompt = ChatPromptTemplate.from_template("{context}\n\n{standalone_question}")
    llm = model(STANDALONE, "22 m [1].", "yes")
    chain = create_rag_chain(shelf, llm, prompt=prompt)
    chain.invoke({"input": FOLLOW_UP, "chat_history": HISTORY})
    assert llm.calls[1][0].content.endswith(STANDALONE)
    chain.invoke(FOLLOW_UP)
    assert llm.calls[2][0].content.endswith(FOLLOW_UP)


def test_a_result_may_be_asked_on_with(shelf):
    chain = create_rag_chain(shelf, model(STANDALONE, "22 m [1].", "Red [1]."))
    first = chain.invoke({"input": FOLLOW_UP, "chat_history": HISTORY})
    second = chain.invoke({**first, "input": "What color?", "chat_history": []})
    assert shelf.asked == [STANDALONE, "What color?"]
    assert "standalone_question" not in second
    assert second["citations"] == first["citations"]


async def test_streams_tell_the_question_then_the_context_then_the_answer(shelf):
    asked = {"input": FOLLOW_UP, "chat_history": HISTORY}
    chunks = list(create_rag_chain(shelf, model(STANDALONE, "22 m [1].")).stream(asked))
    keys = [key for chunk in chunks for key in chunk]
    order = ["input", "standalone_question", "context", "answer", "citations"]
    assert [key for key in dict.fromkeys(keys) if key in order] == order
    chain = create_rag_chain(shelf, model(STANDALONE, "22 m [1]."))
    again = [chunk async for chunk in chain.astream(asked)]
    assert [chunk["standalone_question"] for chunk in again if "standalone_question" in chunk] == [STANDALONE]


def test_a_conversation_of_streamed_chunks_keeps_both_sides():
    history = [HumanMessage("Where is it?"), AIMessageChunk("On the cape [1].")]
    assert text_alone(history) == [HumanMessage("Where is it?"), AIMessage("On the cape [1].")]


@pytest.mark.parametrize("kind", [iter, lambda messages: SimpleNamespace(messages=messages)])
def test_a_conversation_may_come_as_an_iterator_or_as_a_history(shelf, kind):
    llm = model(STANDALONE, "22 m [1].")
    result = create_rag_chain(shelf, llm).invoke({"input": FOLLOW_UP, "chat_history": kind([*HISTORY])})
    assert result["standalone_question"] == STANDALONE
    assert len(llm.calls[1]) == 2 + len(HISTORY)
