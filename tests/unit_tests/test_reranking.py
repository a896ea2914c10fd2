"""Rerankers: real small models that were taught colours, a judge that looks at the pictures it is sent."""

import asyncio
import logging
import math
import threading
from hashlib import sha256
from itertools import permutations

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tracers.base import BaseTracer
from pydantic import Field, ValidationError

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.errors import LoadError, MissingDependencyError, ModelUnavailableError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query
from langchain_mmrag.reranking import BlipReranker, ChatModelReranker, CrossEncoderReranker
from langchain_mmrag.reranking.base import by_score
from langchain_mmrag.reranking.orders import parse_order
from langchain_mmrag.retrievers import MultimodalRetriever
from tests import tiny_vision_model
from tests.unit_tests.answering import decoded, model, note, picture, picture_file, pictures

COLOURS = tiny_vision_model.COLOURS


class Asked(str):
    """A query as `MultimodalRetriever` hands it on."""

    __slots__ = ("query",)

    def __new__(cls, query):
        told = super().__new__(cls, repr(query))
        told.query = query
        return told


class Judge(BaseChatModel):
    """Looks at the colours of the pictures it is sent, and names those like the colour it is asked for first."""

    calls: list = Field(default_factory=list)
    answer: str | None = None

    @property
    def _llm_type(self):
        return "judge"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.calls.append(messages)
        content = messages[-1].content
        return ChatResult(
            generations=[ChatGeneration(message=AIMessage(self.answer or self._judge(content)))]
        )

    @staticmethod
    def _judge(blocks):
        if isinstance(blocks, str):
            return "I see no pictures."
        colour = next(c for c in COLOURS if c in blocks[0]["text"])
        wanted, far, number = np.array(COLOURS[colour]), {}, 0
        for block in blocks:
            if block["type"] == "text" and block["text"].startswith("["):
                number = int(block["text"][1 : block["text"].index("]")])
            elif block["type"] == "image":
                far[number] = np.abs(np.asarray(decoded(block).convert("RGB")).mean((0, 1)) - wanted).sum()
        return " > ".join(f"[{n}]" for n in sorted(far, key=far.get))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Small models that know colours: a LLaVA and a BLIP."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "llava": tiny_vision_model.llava(folder / "llava", taught=True),
        "blip": tiny_vision_model.blip(folder / "blip", taught=True),
    }


@pytest.fixture(scope="module")
def seeing(folders):
    """A cross-encoder that reads pictures."""
    return tiny_vision_model.cross_encoder(folders["llava"])


@pytest.fixture(scope="module")
def reading():
    """A cross-encoder for text alone: BERT with random weights, as sentence-transformers loads it."""
    return text_cross_encoder(labels=1)


def text_cross_encoder(labels):
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    letters = [chr(code) for code in range(97, 123)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    import tempfile

    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, num_labels=labels, initializer_range=0.5,
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(folder)
        BertTokenizerFast(vocab={word: n for n, word in enumerate(words)}).save_pretrained(folder)
        return CrossEncoder(folder, device="cpu")


@pytest.fixture
def shelf(tmp_path):
    """Plain pictures and passages in an order no question wants."""
    files = {colour: tmp_path / f"{colour}.png" for colour in COLOURS}
    for colour, path in files.items():
        tiny_vision_model.plain(colour).save(path)
    return [
        picture(files["green"], id="green"),
        note("A passage in between.", id="passage"),
        picture(files["blue"], id="blue"),
        picture(files["red"], id="red"),
        Document(page_content="a | b", metadata={"modality": "table", "id": "table"}),
    ]


def names(documents):
    return [document.metadata["id"] for document in documents]


# --- the order made of scores ---------------------------------------------------------------------------


def test_what_has_no_score_keeps_its_rank_and_the_rest_is_ordered_around_it():
    documents = [note(name, id=name) for name in "abcde"]
    scores = [0.1, None, 0.9, math.nan, 0.5]
    ordered = by_score(documents, scores)
    assert names(ordered) == ["c", "b", "e", "d", "a"]
    assert [d.metadata.get("relevance_score") for d in ordered] == [0.9, None, 0.5, None, 0.1]
    assert all("relevance_score" not in document.metadata for document in documents)


def test_equal_scores_keep_the_first_order_and_an_infinite_one_is_none():
    documents = [note(name, id=name) for name in "abcd"]
    assert names(by_score(documents, [0.5, 0.5, math.inf, 0.6])) == ["d", "a", "c", "b"]


# --- BLIP ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
def test_blip_puts_the_picture_that_matches_before_the_others_and_leaves_passages(folders, shelf, colour):
    reranker = BlipReranker(model=str(folders["blip"]), device="cpu", batch_size=2)
    found = reranker.compress_documents(shelf, colour)
    assert found[0].metadata["id"] == colour
    assert [names(found)[1], names(found)[4]] == ["passage", "table"]
    assert found[0].metadata["relevance_score"] > 0.9
    assert found[2].metadata["relevance_score"] < 0.5
    assert "relevance_score" not in found[1].metadata
    assert "relevance_score" not in shelf[0].metadata


def test_blip_takes_a_loaded_model_and_key_frames_of_videos(folders, shelf):
    from transformers import AutoProcessor, BlipForImageTextRetrieval

    loaded = BlipForImageTextRetrieval.from_pretrained(folders["blip"])
    reranker = BlipReranker(model=(loaded, AutoProcessor.from_pretrained(folders["blip"])), top_n=2)
    frames = [shelf[3].metadata["source"], shelf[0].metadata["source"]]
    clip = Document(page_content="words", metadata={"modality": "video", "id": "clip", "thumbnail": frames})
    assert names(reranker.compress_documents([shelf[0], shelf[1], clip], "red")) == ["clip", "passage"]


def test_blip_leaves_the_order_where_the_question_is_a_picture(folders, shelf):
    reranker = BlipReranker(model=str(folders["blip"]), device="cpu")
    asked = Asked(Query(image=shelf[3].metadata["source"]))
    assert reranker.compress_documents(shelf, asked) == shelf
    assert reranker.compress_documents(shelf, "  ") == shelf
    assert reranker.compress_documents([], "red") == []
    both = Asked(Query(text="red", image=shelf[0].metadata["source"]))
    assert names(reranker.compress_documents(shelf, both))[0] == "red"


def test_pictures_that_cannot_be_opened_keep_their_rank(folders, seeing, shelf, tmp_path, caplog):
    (tmp_path / "blue.png").write_bytes(b"no picture any more")
    outside = picture(picture_file(tmp_path.parent / f"{tmp_path.name}-outside" / "a.png"), id="outside")
    policy = MediaPolicy(roots=(tmp_path,))
    for reranker in (
        BlipReranker(model=str(folders["blip"]), device="cpu", media_policy=policy),
        CrossEncoderReranker(model=seeing, media_policy=policy),
    ):
        caplog.clear()
        found = reranker.compress_documents([shelf[0], shelf[2], outside, shelf[3]], "red")
        assert names(found) == ["red", "blue", "outside", "green"]
        assert caplog.text.count("keeps its rank") == 2


def test_blip_models_that_cannot_be_had_say_so(tmp_path, monkeypatch, shelf):
    monkeypatch.setattr(
        "langchain_mmrag.embeddings._hub._obstacle", lambda: "the hub cannot be reached (test)"
    )
    for reranker in (BlipReranker(model="no/such-model"), CrossEncoderReranker(model="no/such-model")):
        with pytest.raises(
            ModelUnavailableError, match=r"no/such-model is not here .*, and the hub cannot be reached"
        ):
            reranker.compress_documents(shelf, "red")
    with pytest.raises(ModelUnavailableError, match=r"the model in .* cannot be loaded"):
        BlipReranker(model=str(tmp_path)).compress_documents(shelf, "red")
    with pytest.raises(ValidationError, match="give a name, a folder, or"):
        BlipReranker(model=3)


# --- cross-encoders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
def test_a_cross_encoder_that_sees_compares_question_and_picture(seeing, shelf, colour):
    images = [shelf[0], shelf[2], shelf[3]]
    found = CrossEncoderReranker(model=seeing, batch_size=2).compress_documents(images, colour)
    assert found[0].metadata["id"] == colour
    assert found[0].metadata["relevance_score"] > 0.9
    assert found[1].metadata["relevance_score"] < 0.1


def test_a_cross_encoder_scores_pictures_and_passages_together(seeing, shelf):
    found = CrossEncoderReranker(model=seeing).compress_documents(shelf, "red")
    assert all("relevance_score" in document.metadata for document in found)
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == sorted(scores, reverse=True)
    with_picture = Asked(Query(image=shelf[3].metadata["source"]))
    others = CrossEncoderReranker(model=seeing).compress_documents(shelf, with_picture)
    assert all("relevance_score" in document.metadata for document in others)
    with_caption = [d.model_copy(update={"page_content": "seen"}) for d in shelf]
    assert CrossEncoderReranker(model=seeing, top_n=3).compress_documents(with_caption, "red") != found[:3]


def test_a_folder_is_loaded_once_by_many_threads(folders, seeing, shelf, tmp_path, monkeypatch):
    import sentence_transformers

    seeing.save_pretrained(str(tmp_path / "saved"))
    made = []

    class Counted(sentence_transformers.CrossEncoder):
        def __init__(self, *args, **kwargs):
            made.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(sentence_transformers, "CrossEncoder", Counted)
    reranker = CrossEncoderReranker(model=str(tmp_path / "saved"), device="cpu")
    found, failures = {}, []

    def rerank(colour):
        try:
            found[colour] = names(reranker.compress_documents([shelf[0], shelf[2], shelf[3]], colour))
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=rerank, args=(colour,)) for colour in COLOURS]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    assert {colour: order[0] for colour, order in found.items()} == {colour: colour for colour in COLOURS}
    assert len(made) == 1


def test_a_cross_encoder_for_text_reads_captions_and_leaves_pictures_without(reading, shelf):
    reranker = CrossEncoderReranker(model=reading)
    captioned = shelf[3].model_copy(update={"metadata": {**shelf[3].metadata, "ocr_text": "stop here"}})
    documents = [shelf[0], shelf[1], captioned, shelf[4]]
    found = reranker.compress_documents(documents, "what is this")
    assert found[0] == shelf[0]
    expected = reading.predict(
        [("what is this", text) for text in ("A passage in between.", "stop here", "a | b")]
    )
    scores = {d.metadata["id"]: d.metadata.get("relevance_score") for d in found}
    assert [scores["passage"], scores["red"], scores["table"]] == pytest.approx([*expected])
    assert [d.metadata["relevance_score"] for d in found[1:]] == sorted(map(float, expected), reverse=True)
    assert (
        reranker.compress_documents(documents, Asked(Query(image=shelf[0].metadata["source"]))) == documents
    )


def test_text_that_looks_like_an_address_or_a_path_is_never_opened(seeing, shelf, tmp_path, serve_folder):
    site = serve_folder(tmp_path)
    opened = []
    hooked = {
        "http": f"{site}/red.png",
        "path": str(tmp_path / "red.png"),
        "data": "data:image/png;base64,AAAA",
    }
    documents = [note(text, id=name) for name, text in hooked.items()]

    class Watched:
        modalities = ("text", "image")

        def predict(self, pairs, **options):
            modality = seeing[0].input_formatter.parse_inputs
            opened.extend(modality([pair])[0] for pair in pairs)
            return [0.0] * len(pairs)

    CrossEncoderReranker(model=Watched()).compress_documents(documents, hooked["path"])
    assert opened == ["text"] * 3


def test_a_classifier_is_refused_and_nan_is_no_score(shelf, reading):
    with pytest.raises(ValueError, match="gives 3 scores for a pair"):
        CrossEncoderReranker(model=text_cross_encoder(labels=3)).compress_documents([shelf[1]], "red")

    class Broken:
        def predict(self, pairs, **options):
            return np.array([math.nan, 0.5, 0.7][: len(pairs)])

    documents = [note(name, id=name) for name in "abc"]
    found = CrossEncoderReranker(model=Broken()).compress_documents(documents, "red")
    assert names(found) == ["a", "c", "b"]
    with pytest.raises(ValidationError, match="give a name, a folder, or a CrossEncoder"):
        CrossEncoderReranker(model=5)


def test_a_missing_library_names_the_line_that_installs_it(monkeypatch, shelf):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "langchain-mmrag\[rerank\]"'):
        CrossEncoderReranker(model="any/name").compress_documents(shelf, "red")


def test_a_question_picture_that_is_lost_is_the_users_to_know(seeing, shelf):
    with pytest.raises(LoadError):
        CrossEncoderReranker(model=seeing).compress_documents(shelf, Asked(Query(image="lost.png")))


# --- a chat model as judge ------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("colour", COLOURS)
async def test_a_judge_that_looks_improves_the_order(shelf, colour, asynchronous):
    reranker = ChatModelReranker(llm=Judge())
    if asynchronous:
        found = await reranker.acompress_documents(shelf, f"something {colour}")
    else:
        found = reranker.compress_documents(shelf, f"something {colour}")
    assert names(found)[0] == colour
    assert names(found)[3:] == [
        "passage",
        "table",
    ]  # the judge named no passages: they follow, in their order
    assert all("relevance_score" not in document.metadata for document in found)


def test_the_judge_is_sent_the_pictures_themselves_and_the_users_own(shelf):
    judge = Judge(answer="[5] > [1]")
    asked = Asked(Query(text="like this", image=shelf[3].metadata["source"], not_text="fog"))
    found = ChatModelReranker(llm=judge).compress_documents(shelf, asked)
    assert names(found) == ["table", "green", "passage", "blue", "red"]
    blocks = judge.calls[0][-1].content
    assert blocks[0]["text"] == "Search query: like this"
    assert blocks[1]["text"] == "Not wanted: fog"
    colours = [decoded(block).convert("RGB").getpixel((3, 3)) for block in pictures(blocks)]
    assert colours == [COLOURS[name] for name in ("red", "green", "blue", "red")]


@pytest.mark.parametrize(
    ("answer", "order"),
    [
        ("[3] > [1] > [2]", [2, 0, 1]),
        ("3>1>2", [2, 0, 1]),
        ("```json\n[3, 1, 2]\n```", [2, 0, 1]),
        ('{"order": ["3", "1", "2"]}', [2, 0, 1]),
        ("First [3], as it shows the tower; then [1]. [3] is best by far.", [2, 0]),
        ("[1] is off topic and [2] too. So: [3] > [2] > [1]", [2, 1, 0]),
        ("I would say 3, and then 1.", [2, 0]),
        ("1. [3]\n2. [1]\n3. [2]", [2, 0, 1]),
        ("<think>[1] > [2] > [3]? No.</think>[2] > [9] > [2] > [0] > [3]", [1, 2]),
        ("[2]", [1]),
        ("Sorry, I cannot help with that.", []),
        ("99.5 percent of model4 is 3.0", []),
        ("", []),
        ("[" * 5000, []),
    ],
)
def test_answers_are_read_leniently(answer, order):
    assert parse_order(answer, 3) == order


@pytest.mark.timeout(30)  # an expression that goes back and forth would take hours
def test_reading_a_long_hostile_answer_comes_to_an_end():
    for hostile in (
        "[1" * 20000,
        "1 >" * 20000,
        "1 " * 20000 + "x",
        "<think>" * 5000,
        "[" + "1, " * 20000,
        "1" * 50000,
    ):
        parse_order(hostile, 5)


def test_every_full_order_is_read_back():
    for order in permutations(range(4)):
        assert parse_order(" > ".join(f"[{place + 1}]" for place in order), 4) == [*order]


def test_an_answer_without_an_order_keeps_the_first_one_and_is_logged_but_not_remembered(shelf, caplog):
    judge = Judge(answer="What a lovely collection!")
    reranker = ChatModelReranker(llm=judge, top_n=3)
    with caplog.at_level(logging.WARNING):
        assert reranker.compress_documents(shelf, "red") == shelf[:3]
    assert "no order in the judge's answer" in caplog.text
    judge.answer = "[4]"
    assert names(reranker.compress_documents(shelf, "red")) == ["red", "green", "passage"]


def test_orders_are_remembered_until_anything_the_model_would_see_changes(shelf, tmp_path):
    judge = Judge()
    reranker = ChatModelReranker(llm=judge, cache_size=2)
    first = reranker.compress_documents(shelf, "something red")
    assert reranker.compress_documents(shelf, "something red") == first
    assert asyncio.run(reranker.acompress_documents(shelf, "something red")) == first
    assert len(judge.calls) == 1
    tiny_vision_model.plain("red").save(tmp_path / "green.png")
    reranker.compress_documents(shelf, "something red")
    assert len(judge.calls) == 2
    reranker.compress_documents(shelf, "something blue")
    reranker.compress_documents(shelf, "something green")
    assert len(reranker._orders) == 2
    reranker.compress_documents(shelf, "something red")
    assert len(judge.calls) == 5


def test_cost_is_bounded_by_documents_and_windows(shelf):
    many = [note(f"passage {n}", id=str(n)) for n in range(50)]
    judge = Judge(answer="[2] > [1]")
    assert names(ChatModelReranker(llm=judge).compress_documents(many, "red"))[18:22] == [
        "18",
        "19",
        "20",
        "21",
    ]
    assert len(judge.calls) == 1
    judge = Judge(answer="[4]")
    windowed = ChatModelReranker(llm=judge, max_documents=8, window=4).compress_documents(many, "red")
    assert len(judge.calls) == 3
    assert names(windowed)[:9] == ["2", "0", "1", "4", "3", "7", "5", "6", "8"]


def test_the_last_document_climbs_through_all_windows(shelf):
    many = [*(note(f"passage {n}", id=str(n)) for n in range(17)), shelf[3]]
    judge = Judge()
    found = ChatModelReranker(llm=judge, window=4).compress_documents(many, "something red")
    assert names(found)[0] == "red"
    assert len(judge.calls) == 8


def test_a_model_without_image_input_is_sent_captions(shelf):
    captioned = [d.model_copy(update={"page_content": f"it is {d.metadata['id']}"}) for d in shelf]
    judge = model("[4]", profile={"image_inputs": False})
    assert names(ChatModelReranker(llm=judge).compress_documents(captioned, "red"))[0] == "red"
    content = judge.calls[0][-1].content
    assert isinstance(content, str)
    assert "it is blue" in content
    forced = Judge(profile={"image_inputs": False})
    ChatModelReranker(llm=forced, images=True).compress_documents(captioned, "something red")
    assert len(pictures(forced.calls[0][-1].content)) == 3


def test_the_budget_of_a_call_holds(shelf):
    judge = Judge()
    small = PromptBudget(max_images=1, max_side=16)
    ChatModelReranker(llm=judge, budget=small).compress_documents(shelf, "something red")
    [shown] = pictures(judge.calls[0][-1].content)
    assert decoded(shown).size == (16, 16)


def test_nothing_is_asked_about_one_document_or_none(shelf):
    judge = Judge()
    assert ChatModelReranker(llm=judge).compress_documents([], "red") == []
    assert ChatModelReranker(llm=judge).compress_documents(shelf[:1], "red") == shelf[:1]
    assert judge.calls == []


@pytest.mark.parametrize(
    "settings",
    [{"llm": "gpt"}, {"llm": Judge(), "window": 30}, {"llm": Judge(), "top_n": 0}, {"llm": Judge(), "k": 3}],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        ChatModelReranker(**settings)


def test_an_error_of_the_judge_is_the_callers_and_retries_help(shelf):
    class Failing(Judge):
        def _generate(self, messages, *args, **kwargs):
            self.calls.append(messages)
            if len(self.calls) == 1:
                raise ConnectionError("the provider is away")
            return super()._generate(messages)

    with pytest.raises(ConnectionError, match="away"):
        ChatModelReranker(llm=Failing()).compress_documents(shelf, "something red")
    patient = Failing().with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    assert names(ChatModelReranker(llm=patient).compress_documents(shelf, "something red"))[0] == "red"


def test_a_tracer_the_judge_was_made_with_hears_of_no_bytes(shelf):
    tracer = Tracer()
    judge = Judge(callbacks=[tracer])
    for llm in (judge, judge.with_retry()):
        ChatModelReranker(llm=llm).compress_documents(shelf, "something red")
    assert len(tracer.runs) == 2
    for run, sent in zip(tracer.runs, judge.calls, strict=True):
        assert "<image/" in str(run.inputs)
        assert pictures(sent[-1].content)[0]["base64"] not in str(run.inputs)


def test_the_limit_of_the_model_is_kept_to(shelf):
    many = [note(f"passage {n} " + "word " * 200, id=str(n)) for n in range(20)]
    judges = [Judge(answer="[1]"), Judge(answer="[1]", profile={"max_input_tokens": 2000})]
    for judge in judges:
        ChatModelReranker(llm=judge).compress_documents(many, "red")
    whole, cut = (len(judge.calls[0][-1].text) for judge in judges)
    assert whole > 20_000
    assert cut < 2000 * 4


async def test_what_is_sent_is_hashed_once_and_not_on_the_event_loop(shelf, monkeypatch):
    threads = []

    def digest(data):
        threads.append(threading.current_thread())
        return sha256(data)

    monkeypatch.setattr("langchain_mmrag.reranking.chat_model.sha256", digest)
    await ChatModelReranker(llm=Judge()).acompress_documents(shelf, "something red")
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


# --- in retrievers --------------------------------------------------------------------------------------


class Tracer(BaseTracer):
    run_inline = True

    def __init__(self):
        super().__init__(_schema_format="original+chat")
        self.runs = []

    def _persist_run(self, run):
        self.runs.append(run)


@pytest.fixture
def drawers(open_store, counting_embeddings, shelf):
    """A store whose first stage does not know what "something" looks like, and finds all alike."""
    store = open_store(counting_embeddings)
    store.add_documents([d for d in shelf if d.metadata["id"] != "table"])
    return store


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_retriever_fetches_more_reranks_and_keeps_k(drawers, asynchronous):
    judge, tracer = Judge(), Tracer()
    retriever = MultimodalRetriever(store=drawers, k=1, reranker=ChatModelReranker(llm=judge))
    for colour in COLOURS:
        config = {"callbacks": [tracer]}
        if asynchronous:
            found = await retriever.ainvoke(f"something not {colour}", config)
        else:
            found = retriever.invoke(f"something not {colour}", config)
        assert names(found) == [colour]
    assert len(pictures(judge.calls[0][-1].content)) == 3
    [child] = tracer.runs[0].child_runs
    assert (child.run_type, child.name) == ("chat_model", "rerank")
    assert "<image/" in str(child.inputs)
    assert pictures(judge.calls[0][-1].content)[0]["base64"] not in str(child.inputs)
    assert {len(retriever.invoke("something red", k=k)) for k in (3, 9)} == {3, 4}


async def test_a_retriever_asks_its_store_for_as_many_as_it_is_told():
    class Listening:
        def __init__(self):
            self.asked = []

        def search_ranked(self, query, k, conditions, **settings):
            self.asked.append((k, settings.get("score_threshold")))
            return [(note(f"passage {n}", id=str(n)), 1.0) for n in range(k)]

    store = Listening()
    reranker = ChatModelReranker(llm=Judge(answer="[3]"))
    retriever = MultimodalRetriever(store=store, k=2, score_threshold=0.5, reranker=reranker)
    assert names(retriever.invoke("red")) == ["2", "0"]
    assert len(retriever.invoke("red", k=7)) == 7
    assert len(await retriever.ainvoke("red", k=7)) == 7
    few = MultimodalRetriever(store=store, k=5, fetch_k=3, reranker=reranker)
    assert names(few.invoke("red")) == ["2", "0", "1", "3", "4"]
    assert names(MultimodalRetriever(store=store, k=2).invoke("red")) == ["0", "1"]
    assert store.asked == [(20, 0.5), (28, 0.5), (28, 0.5), (5, None), (2, None)]
    with pytest.raises(ValidationError, match="fetch_k"):
        MultimodalRetriever(store=store, fetch_k=0)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_whole_query_reaches_the_reranker(drawers, shelf, asynchronous):
    judge = Judge()
    retriever = MultimodalRetriever(store=drawers, reranker=ChatModelReranker(llm=judge))
    asked = Query(text="blue", image=shelf[3].metadata["source"])
    if asynchronous:
        await retriever.ainvoke(asked, not_text="fog")
    else:
        retriever.invoke(asked, not_text="fog")
    blocks = judge.calls[0][-1].content
    assert [block.get("text") for block in blocks[:2]] == ["Search query: blue", "Not wanted: fog"]
    assert decoded(pictures(blocks)[0]).convert("RGB").getpixel((0, 0)) == COLOURS["red"]


async def test_they_work_in_langchains_own_compression_retriever(drawers, folders):
    base = MultimodalRetriever(store=drawers, k=4)
    for reranker in (
        ChatModelReranker(llm=Judge(), top_n=1),
        BlipReranker(model=str(folders["blip"]), device="cpu", top_n=4),
    ):
        retriever = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=base)
        best = [d for d in retriever.invoke("blue") if d.metadata.get("modality") == "image"]
        assert best[0].metadata["id"] == "blue"
        best = [d for d in await retriever.ainvoke("blue") if d.metadata.get("modality") == "image"]
        assert best[0].metadata["id"] == "blue"


@pytest.fixture(scope="module")
def plain_pictures(tmp_path_factory):
    """Five pictures of each colour, lighter and darker, none like what the embedded model was trained on."""
    folder = tmp_path_factory.mktemp("plain")
    documents = []
    for step in (20, 0, -20, -40, -60):
        for colour in COLOURS:
            path = folder / f"{colour}{step}.png"
            tiny_vision_model.plain(colour, step).save(path)
            documents.append(picture(path, id=colour))
    return documents


@pytest.mark.parametrize("reranker", ["blip", "cross-encoder", "judge"])
def test_what_clip_mixes_up_is_put_right(plain_pictures, open_store, folders, seeing, reranker):
    from langchain_mmrag.embeddings import OpenCLIPEmbeddings

    rerankers = {
        "blip": BlipReranker(model=str(folders["blip"]), device="cpu"),
        "cross-encoder": CrossEncoderReranker(model=seeing),
        "judge": ChatModelReranker(llm=Judge()),
    }
    store = open_store(OpenCLIPEmbeddings("mmrag-tiny", show_progress=False))
    store.add_documents(plain_pictures)
    first = MultimodalRetriever(store=store, k=5)
    second = MultimodalRetriever(store=store, k=5, reranker=rerankers[reranker])

    def precision(retriever):
        hits = [name == colour for colour in COLOURS for name in names(retriever.invoke(colour))]
        return sum(hits) / len(hits)

    assert precision(first) < 0.6
    assert precision(second) > 0.9


def test_thoughts_however_long_are_no_order():
    thoughts = "[1] > [2] > [3] " * 3000
    assert parse_order(f"<think>{thoughts}</think> [3] > [1]", 3) == [2, 0]
    assert parse_order(f"<think>{thoughts}", 3) == []
