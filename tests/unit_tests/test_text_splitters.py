"""`CLIPTextSplitter`: windows that a text tower reads whole, whatever the text is made of."""

import itertools
import pickle
import random
import warnings
from types import SimpleNamespace

import pytest
from langchain_core.documents import Document

from langchain_mmrag import CLIPTextSplitter, OpenCLIPEmbeddings
from langchain_mmrag._pieces import Boundary, pieces
from langchain_mmrag.embeddings.base import TruncatedTextWarning

SENTENCES = [
    "The harbour lies below the old town.",
    "A ferry leaves for the islands at nine, at noon and at six.",
    "Nobody swims there before June, since the water is cold!",
    "Is the lighthouse open on Sundays?",
    "Dr. Weber, who keeps it, lives next door.",
    "It was built in 1874; the lamp came from Paris.",
    "At night its light is seen from 3.5 miles away.",
]
PROSE = "\n\n".join(" ".join(SENTENCES[i:] + SENTENCES[:i]) for i in range(len(SENTENCES)))
TEXTS = {
    "prose": PROSE,
    "markdown": "# Harbour\n\n- fish, fresh\n- bread\n\n| name | price |\n| --- | --- |\n| salt | 2 |\n" * 12,
    "wrapped": PROSE.replace(" ", "\n"),
    "one sentence": " ".join(f"word{i}" for i in range(400)),
    "chinese": "灯塔在港口的入口处，夜里很亮。周日开放吗？我们每天都去那里散步、钓鱼和看船。" * 20,
    "thai": "ประภาคารตั้งอยู่ที่ปากอ่าวและสว่างในเวลากลางคืน" * 12,
    "arabic": "تقع المنارة عند مدخل الميناء، وهي مضيئة ليلا. هل هي مفتوحة يوم الأحد؟ " * 12,
    "emoji": "👨‍👩‍👧‍👦🏖️🇩🇪🇫🇷👍🏽" * 40,
    "accents": "e\u0301" * 300 + "a" + "\u0301" * 500,
    "url": "see https://example.org/" + "path/to/some-where_else?x=1&y=%20" * 20 + " for more",
    "letters": "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=2000)),
    "digits and marks": "3.14159" * 100 + "!?" * 200,
    "html": "Fish &amp; chips &lt;b&gt; &nbsp; caf\u00c3\u00a9 " * 60,
    "spaces": "  \t one \u00a0 two\u3000three \r\n\r\n four \x0c five  " * 40,
    "controls": "a\u200bb\x00c\ufeff " * 200,
    "mixed": "The 灯塔 (lighthouse) 🏖️ is open. " * 60,
}


@pytest.fixture(scope="module")
def tiny():
    return OpenCLIPEmbeddings("mmrag-tiny", device="cpu", show_progress=False)


@pytest.fixture(scope="module", params=["32 tokens", "77 tokens"])
def embedding(request, tiny, clip):
    return {"32 tokens": tiny, "77 tokens": clip}[request.param]


def in_order(text, spans):
    """Whether the windows cover everything but white space, each beyond the one before."""
    starts, ends = zip(*spans, strict=True)
    gaps = [text[: starts[0]], text[ends[-1] :]]
    gaps += [text[end:start] for end, start in zip(ends, starts[1:], strict=False) if start > end]
    ordered = all(a < b for column in (starts, ends) for a, b in itertools.pairwise(column))
    return ordered and not any(gap.strip() for gap in gaps)


@pytest.mark.parametrize("name", TEXTS)
def test_windows_fit_and_cover_the_text_in_order(embedding, name):
    text = TEXTS[name]
    spans = CLIPTextSplitter(embedding).spans(text)
    assert len(spans) > 1
    assert in_order(text, spans)
    windows = [text[start:end] for start, end in spans]
    assert all(window == window.strip() for window in windows)
    assert max(embedding.token_counts(windows)) <= embedding.context_length
    assert not any(embedding.truncated(windows))


@pytest.mark.parametrize("seed", range(30))
def test_windows_of_any_mixture_fit_and_cover_it(tiny, seed):
    draw = random.Random(seed)
    parts = [*TEXTS.values(), *SENTENCES, " ", "\n\n", "。", "\u0301", "🇩🇪", "x" * 100]
    text = "".join(
        part[: draw.randint(1, 60)] + draw.choice(["", " ", "\n", ". "]) for part in draw.choices(parts, k=40)
    )
    size = draw.randint(8, 32)
    overlap = draw.choice([None, 0, (size - 2) // 2])
    splitter = CLIPTextSplitter(tiny, chunk_size=size, chunk_overlap=overlap)
    spans = splitter.spans(text)
    assert in_order(text, spans)
    assert max(tiny.token_counts([text[start:end] for start, end in spans])) <= size


@pytest.mark.parametrize("name", ["prose", "chinese", "arabic"])
def test_a_sentence_that_fits_is_never_cut(embedding, name):
    text = TEXTS[name]
    sentences = SENTENCES
    if name == "chinese":
        sentences = ["周日开放吗？"]
    if name == "arabic":
        sentences = ["هل هي مفتوحة يوم الأحد؟"] if embedding.context_length > 60 else []
    spans = CLIPTextSplitter(embedding).spans(text)
    for sentence in sentences:
        place = text.find(sentence)
        while place >= 0:
            assert any(start <= place and place + len(sentence) <= end for start, end in spans)
            place = text.find(sentence, place + 1)


def test_windows_end_with_sentences_and_never_cut_a_word(embedding):
    for window in CLIPTextSplitter(embedding).split_text(PROSE):
        assert window.endswith(("town.", "six.", "cold!", "Sundays?", "door.", "Paris.", "away."))
    words = TEXTS["one sentence"].split()
    for window in CLIPTextSplitter(embedding).split_text(TEXTS["one sentence"]):
        assert set(window.split()) <= set(words)


def test_a_paragraph_that_fills_half_a_window_ends_it(clip):
    text = "One " * 45 + "end of it.\n\n" + "Two three. " * 20
    first, second, *_ = CLIPTextSplitter(clip).split_text(text)
    assert first.endswith("end of it.")
    assert second.startswith("Two three.")  # and nothing of the paragraph before


def test_windows_repeat_whole_short_sentences_or_words(clip):
    text = " ".join(
        f"Number {i} is a rather long sentence of many words that say {'very ' * 20}little. So it is."
        for i in range(20)
    )
    spans = CLIPTextSplitter(clip).spans(text)
    repeated = {text[start:end].strip() for (_, end), (start, _) in itertools.pairwise(spans)}
    assert repeated == {"So it is.", ""}  # the long one would leave too little room
    text = TEXTS["one sentence"]
    spans = CLIPTextSplitter(clip, chunk_overlap=30).spans(text)
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert 0 < sum(clip.token_counts([text[start:end]])) - 2 <= 30
    spans = CLIPTextSplitter(clip, chunk_overlap=0).spans(text)
    assert all(start > end for (_, end), (start, _) in itertools.pairwise(spans))


def test_what_is_seen_as_one_character_stays_whole(tiny):
    for window in CLIPTextSplitter(tiny).split_text("👍🏽" * 60 + "🇩🇪" * 60):
        assert "🏽" != window[0] != "\u200d" != window[-1]
        assert window.replace("👍🏽", "").replace("🇩🇪", "") == ""
    for window in CLIPTextSplitter(tiny).split_text("e\u0301" * 300):
        assert window.startswith("e")
        assert window.endswith("\u0301")


def test_short_texts_are_one_window_and_blank_ones_none(embedding):
    splitter = CLIPTextSplitter(embedding)
    assert splitter.spans("  a red circle \n") == [(2, 14)]
    assert splitter.split_text("a red circle") == ["a red circle"]
    for blank in ("", " ", "\n\n\t\u3000"):
        assert splitter.spans(blank) == []
    with pytest.raises(TypeError, match="expected a text, not bytes"):
        splitter.spans(b"a red circle")


def test_a_text_of_exactly_the_context_is_one_window(clip):
    assert clip.token_counts(["dog " * 75, "dog " * 76]) == [77, 78]
    assert len(CLIPTextSplitter(clip).spans("dog " * 75)) == 1
    assert len(CLIPTextSplitter(clip).spans("dog " * 76)) == 2


@pytest.mark.parametrize("kind", ["letters", "one letter", "chinese", "marks", "accents", "spaces", "words"])
def test_what_is_tokenized_grows_with_the_length(tiny, kind, monkeypatch):
    draw = random.Random(2)
    make = {
        "letters": lambda n: "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=n)),
        "one letter": lambda n: "a" * n,
        "chinese": lambda n: "".join(map(chr, draw.choices(range(0x4E00, 0x9FFF), k=n))),
        "marks": lambda n: "!" * n,
        "accents": lambda n: "a" + "\u0301" * n,
        "spaces": lambda n: " \n" * n,
        "words": lambda n: " ".join(draw.choices(["harbour", "ferry", "is", "red."], k=n // 5)),
    }[kind]
    counting, tokenized = tiny.token_counts, []
    monkeypatch.setattr(
        tiny, "token_counts", lambda texts: (tokenized.append(sum(map(len, texts))), counting(texts))[1]
    )
    splitter = CLIPTextSplitter(tiny)
    taken = []
    for length in (10_000, 40_000):
        tokenized.clear()
        splitter.spans(make(length))
        taken.append(sum(tokenized))
    assert taken[1] <= 6 * taken[0]  # four times the length; by the square it would be sixteen


def test_documents_carry_metadata_and_start(tiny):
    splitter = CLIPTextSplitter(tiny, add_start_index=True)
    metadata = {"source": "diary.md", "tags": ["a"]}
    documents = splitter.create_documents([PROSE, "short", ""], [metadata, {}, {"of": "nothing"}])
    *long, short = documents
    assert (short.page_content, short.metadata) == ("short", {"start_index": 0})
    for document in long:
        start = document.metadata.pop("start_index")
        assert PROSE[start : start + len(document.page_content)] == document.page_content
        assert document.metadata == metadata
    long[0].metadata["tags"].append("b")
    assert metadata["tags"] == long[1].metadata["tags"] == ["a"]
    assert "start_index" not in CLIPTextSplitter(tiny).create_documents(["a"])[0].metadata


def test_documents_are_split_and_pictures_are_not(tiny):
    picture = Document(page_content="", metadata={"modality": "image", "source": "a.png"})
    caption = Document(page_content=PROSE, metadata={"type": "image", "path": "b.png"})
    text = Document(page_content=PROSE, metadata={"source": "a.md"})
    splitter = CLIPTextSplitter(tiny)
    first, second, *rest = splitter.split_documents([picture, caption, text])
    assert (first, second) == (picture, caption)
    assert [document.page_content for document in rest] == splitter.split_text(PROSE)
    assert splitter.transform_documents([text]) == rest


def test_any_counter_of_tokens_will_do():
    splitter = CLIPTextSplitter(length_function=lambda text: len(text.split()), chunk_size=8, chunk_overlap=2)
    windows = splitter.split_text(PROSE)
    assert windows[0] == "The harbour lies below the old town."
    assert all(len(window.split()) <= 8 for window in windows)
    assert in_order(PROSE, splitter.spans(PROSE))


def test_a_counter_that_does_not_add_up_is_believed_in_the_end():
    """Two words cost more together than one by one; a single one may cost more than there is room for."""

    def count(text):
        words = text.split()
        return len(words) + max(0, len(words) - 1) + (50 if words == ["monster"] else 0)

    text = "one two three monster four five six. " * 5
    splitter = CLIPTextSplitter(length_function=count, chunk_size=6, chunk_overlap=1)
    spans = splitter.spans(text)
    assert in_order(text, spans)
    windows = [text[start:end] for start, end in spans]
    assert all(count(window) <= 6 or len(window) == 1 for window in windows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of them"),
        ({"length_function": len}, "needs a chunk_size"),
        ({"length_function": len, "chunk_size": 3}, "use at least 4"),
        ({"length_function": len, "chunk_size": 20, "chunk_overlap": 11}, "use at most 10"),
        ({"length_function": len, "chunk_size": 20, "chunk_overlap": -1}, "must be >= 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CLIPTextSplitter(**options)


def test_no_window_may_be_longer_than_the_model_reads(clip, tiny, counting_embeddings):
    with pytest.raises(ValueError, match="more than the 32 tokens the embedding reads"):
        CLIPTextSplitter(tiny, chunk_size=77)
    with pytest.raises(ValueError, match="exactly one of them"):
        CLIPTextSplitter(clip, length_function=len)
    with pytest.raises(ValueError, match="CountingEmbeddings does not say how many tokens it reads"):
        CLIPTextSplitter(counting_embeddings)
    with pytest.raises(NotImplementedError, match="does not count tokens"):
        counting_embeddings.token_counts(["a"])


def test_counting_reads_no_weights(tmp_path, tiny_clip_dir):
    folder = tmp_path / "no_weights"
    folder.mkdir()
    config = tiny_clip_dir / "open_clip_config.json"
    (folder / config.name).write_bytes(config.read_bytes())
    embedding = OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu")
    assert embedding.context_length == 77
    assert embedding.token_counts(["a dog", ""]) == [4, 2]
    splitter = CLIPTextSplitter(embedding)
    assert pickle.loads(pickle.dumps(embedding)).context_length == 77
    assert len(splitter.spans(PROSE)) > 5


def test_embedding_the_windows_warns_of_nothing(tiny_clip_dir):
    embedding = OpenCLIPEmbeddings(f"local-dir:{tiny_clip_dir}", device="cpu", show_progress=False)
    windows = CLIPTextSplitter(embedding).split_text(PROSE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncatedTextWarning)
        assert len(embedding.embed_documents(windows)) == len(windows)


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("It rains. Then", Boundary.SENTENCE),
        ("It rains.” Then", Boundary.SENTENCE),
        ("It rains. then", Boundary.WORD),
        ("Dr. Weber", Boundary.WORD),
        ("J. Weber", Boundary.WORD),
        ("rain, snow", Boundary.CLAUSE),
        ("(rain) snow", Boundary.CLAUSE),
        ("rain\nsnow", Boundary.CLAUSE),
        ("rain\n- snow", Boundary.SENTENCE),
        ("rain\n \nsnow", Boundary.PARAGRAPH),
        ("rain\r\n\r\nsnow", Boundary.PARAGRAPH),
        ("rain snow", Boundary.WORD),
        ("下雨。下雪", Boundary.SENTENCE),
        ("下雨，下雪", Boundary.CLAUSE),
        ("下雨 下雪", Boundary.WORD),
        ("x" * 30, Boundary.INSIDE_WORD),
    ],
)
def test_boundaries_are_known(text, boundary):
    found = list(pieces(text))
    at = 1 if text.startswith("It") else 0
    assert found[at].after == boundary
    assert found[-1].after == Boundary.PARAGRAPH


class _TableTokenizer:
    """Words to numbers in tables padded to a length, as tokenizers of the Hugging Face hub come wrapped."""

    context_length = 16

    def __init__(self, *, end_is_padding):
        self.tokenizer = SimpleNamespace(pad_token_id=1, eos_token_id=1 if end_is_padding else 2)

    def __call__(self, texts, context_length=None):
        import torch

        length = context_length or self.context_length
        table = torch.full((len(texts), length), 1)
        for row, text in zip(table, texts, strict=True):
            ids = [10 + len(word) for word in text.split()][: length - 1]
            row[: len(ids) + 1] = torch.tensor([*ids, self.tokenizer.eos_token_id])
        return table


@pytest.mark.parametrize("end_is_padding", [True, False])
def test_tokenizers_that_only_give_tables_are_counted_too(tiny_clip_dir, end_is_padding):
    tokenizer = _TableTokenizer(end_is_padding=end_is_padding)
    embedding = OpenCLIPEmbeddings(
        f"local-dir:{tiny_clip_dir}", tokenizer=tokenizer, device="cpu", batch_size=2
    )
    assert embedding.context_length == 16
    texts = ["", "a", "a b c", "a " * 15, "a " * 16, "a " * 17, "a " * 5000]
    assert embedding.token_counts(texts) == [1, 2, 4, 16, 17, 18, 5001]
    assert embedding.truncated(texts) == [False] * 4 + [True] * 3
    spans = CLIPTextSplitter(embedding).spans(PROSE)
    assert in_order(PROSE, spans)
    assert max(embedding.token_counts([PROSE[start:end] for start, end in spans])) <= 16
