"""Films and sounds in a prompt, and documents whose metadata is not what it should be."""

import base64
import logging
import sys

import pytest
from langchain_core.documents import Document

from langchain_mmrag.budget import PromptBudget
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.prompts import (
    cite,
    cite_link,
    documents_to_content_blocks,
    documents_to_text,
    kind_of,
    quote_evidence,
)
from tests.unit_tests.answering import decoded, note, picture, picture_file, pictures, texts
from tests.unit_tests.films import colour_names, film_file


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return film_file(tmp_path_factory.mktemp("films") / "film.mp4")


def video(source, text="The ball flies.", **metadata):
    return Document(page_content=text, metadata={"modality": "video", "source": str(source), **metadata})


RETRIEVED = "retrieved, not supplied by the user"


# --- films -----------------------------------------------------------------------------------------------


def test_a_video_is_its_key_frames_and_its_transcript(film):
    blocks = documents_to_content_blocks([video(film, start_s=0.0, end_s=6.0)])
    assert [block["type"] for block in blocks] == ["text", "image", "image", "image"]
    assert blocks[0]["text"] == (
        f"[1] video · film.mp4 0:00-0:06 · {RETRIEVED} · 3 key frames\n"
        '<transcript n="1">\nThe ball flies.\n</transcript>'
    )
    assert colour_names(map(decoded, pictures(blocks))) == ["red", "green", "blue"]


def test_key_frames_come_from_the_part_that_was_found(film):
    blocks = documents_to_content_blocks([video(film, start_s=4.2, end_s=5.8)])
    assert set(colour_names(map(decoded, pictures(blocks)))) == {"blue"}


@pytest.mark.parametrize("many", [False, True])
def test_thumbnails_in_the_metadata_are_taken_before_the_film(tmp_path, many):
    paths = [picture_file(tmp_path / f"{i}.png", size=(20 + i, 10)) for i in range(5)]
    thumbnail = [str(path) for path in paths] if many else str(paths[0])
    blocks = documents_to_content_blocks([video(tmp_path / "gone.mp4", thumbnail=thumbnail)])
    assert [decoded(block).width for block in pictures(blocks)] == ([20, 21, 22] if many else [20])
    assert f"· {RETRIEVED} · {'3 key frames' if many else '1 key frame'}\n" in blocks[0]["text"]


@pytest.mark.parametrize("thumbnail", [7, {"path": "x"}, [None, 3], "", ["  "], "gone.png", True])
def test_a_thumbnail_that_is_no_picture_is_passed_over_for_the_film(film, thumbnail):
    blocks = documents_to_content_blocks([video(film, thumbnail=thumbnail)])
    assert colour_names(map(decoded, pictures(blocks))) == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("source", "policy", "reason"),
    [
        ("gone.mp4", MediaPolicy(), "its file can no longer be opened"),
        ("film", MediaPolicy(allow_local=False), "the media policy forbids opening it"),
        ("words.mp4", MediaPolicy(), "its file is damaged"),
        ("https://example.org/film.mp4", MediaPolicy(), "a film is not downloaded for a prompt"),
    ],
)
def test_without_frames_the_transcript_stands_alone_and_says_why(film, tmp_path, source, policy, reason):
    (tmp_path / "words.mp4").write_text("just words")
    path = film if source == "film" else source if "://" in source else tmp_path / source
    (block,) = documents_to_content_blocks([video(path)], media_policy=policy)
    label, *transcript = block["text"].splitlines()
    assert label.endswith(f"· {RETRIEVED} · not shown: {reason}")
    assert transcript[1] == "The ball flies."


def test_without_pyav_the_transcript_stands_alone(film, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "av", None)
    with caplog.at_level(logging.WARNING, logger="langchain_mmrag"):
        (block,) = documents_to_content_blocks([video(film)])
    assert "not shown: the package that takes pictures out of films is not installed\n" in block["text"]
    assert 'pip install "langchain-mmrag[video]"' in caplog.text


def test_a_video_whose_file_was_never_recorded_is_named_as_such():
    (block,) = documents_to_content_blocks([Document(page_content="Hm.", metadata={"modality": "video"})])
    assert block["text"].startswith(
        f"[1] video · video without a source · {RETRIEVED} · not shown: its file is"
    )


def test_a_model_without_pictures_gets_the_transcript_and_the_facts(film):
    facts = {"mime_type": "video/mp4", "width": 96, "height": 64, "date": "2024-05-01", "ocr_text": "GOAL"}
    (block,) = documents_to_content_blocks([video(film, start_s=3, **facts)], images=False)
    assert block["text"] == (
        f"[1] video · film.mp4 0:03 · {RETRIEVED} · not shown: this model is given transcripts instead of"
        " pictures · video/mp4, 96 x 64 pixels, dated 2024-05-01\n"
        '<transcript n="1">\nThe ball flies.\n</transcript>\n'
        '<ocr_text n="1">\nGOAL\n</ocr_text>'
    )


def test_a_video_without_words_says_so(film):
    label = documents_to_content_blocks([video(film, "")])[0]["text"]
    assert label == f"[1] video · film.mp4 · {RETRIEVED} · 3 key frames · no text"


def test_key_frames_count_as_pictures_and_the_last_are_left_out_first(film, tmp_path):
    documents = [video(film), picture(picture_file(tmp_path / "red.png"))]
    blocks = documents_to_content_blocks(documents, budget=PromptBudget(max_images=2))
    assert len(pictures(blocks)) == 2
    assert "· 2 key frames" in texts(blocks)[0]
    assert "not shown: only the 2 highest-ranked pictures are shown" in texts(blocks)[1]
    budget = PromptBudget(max_tokens=1300, family="google-fixed")
    blocks = documents_to_content_blocks(documents, budget=budget)
    assert "· 1 key frame\n" in texts(blocks)[0]
    assert "pictures of [1]-[2] left out" in texts(blocks)[-1]


def test_a_frame_that_two_hits_share_is_sent_once(tmp_path):
    thumbnail = str(picture_file(tmp_path / "a.png"))
    blocks = documents_to_content_blocks([video("c.mp4", thumbnail=thumbnail, start_s=s) for s in (1, 2)])
    assert len(pictures(blocks)) == 1
    assert "not shown: same picture as [1]" in texts(blocks)[1]


def test_key_frames_are_the_same_every_time(film):
    assert documents_to_content_blocks([video(film)]) == documents_to_content_blocks([video(film)])


def test_a_sound_is_its_transcript_with_the_times():
    sound = Document(
        page_content="Good evening.",
        metadata={"modality": "audio", "source": "news.mp3", "start_s": 61.5, "end_s": 64.0},
    )
    assert documents_to_text([sound]) == (
        '[1] audio · news.mp3 1:01-1:04\n<transcript n="1">\nGood evening.\n</transcript>'
    )


def test_a_table_without_its_rows_is_told_by_its_summary():
    table = Document(page_content="", metadata={"modality": "table", "source": "a.csv", "summary": "Prices."})
    assert documents_to_text([table]) == '[1] table · a.csv\n<table n="1">\nPrices.\n</table>'


# --- pictures keep what they hide to themselves ----------------------------------------------------------


def test_the_place_a_photo_was_taken_at_does_not_leave(tmp_path):
    path = picture_file(tmp_path / "a.jpg", comment=b"51.5 N 0.1 W")
    (block,) = pictures(documents_to_content_blocks([picture(path)]))
    assert b"51.5 N" in path.read_bytes()
    assert b"51.5 N" not in base64.b64decode(block["base64"])
    assert decoded(block).tobytes() == decoded({"base64": base64.b64encode(path.read_bytes())}).tobytes()


# --- malformed metadata ----------------------------------------------------------------------------------

ODD_TIMES = ["12.5", float("nan"), float("inf"), -1, True, None, [1], {"a": 1}]


@pytest.mark.parametrize("time", ODD_TIMES, ids=repr)
def test_a_time_that_is_none_is_left_out(film, time):
    document = video(film, start_s=time, end_s=time)
    assert cite(document) == "film.mp4"
    assert cite_link(document) == film.as_uri()
    assert len(pictures(documents_to_content_blocks([document]))) == 3


@pytest.mark.parametrize(
    "metadata",
    [
        {"modality": 7},
        {"modality": ["image"]},
        {"source": 12},
        {"source": ["a", "b"], "modality": "image"},
        {"source": {"a": 1}, "modality": "video"},
        {"source": "\x00", "modality": "image"},
        {"modality": "image", "source": "a.png", "width": "wide", "height": [1], "mime_type": 5},
        {"modality": "image", "source": "a.png", "caption": 5, "ocr_text": ["A"], "date": {}},
        {"page": float("nan"), "row": "x"},
        {"chunk": 5, "chunk_start": "x", "summary": 9},
        {"source": "a\ud800b.png", "modality": "image"},
    ],
    ids=repr,
)
def test_odd_metadata_costs_no_answer(metadata):
    documents = [Document(page_content="Words.", metadata=metadata), note("still here")]
    for images in (True, False):
        found = texts(documents_to_content_blocks(documents, images=images))
        assert found[0].startswith("[1] ")
        assert "still here" in found[1]
    assert cite(documents[0])
    cite_link(documents[0])
    assert "[1]" in quote_evidence("words", documents)


def test_a_modality_of_another_kind_is_read_as_text():
    assert kind_of(Document(page_content="", metadata={"modality": ["image"]})) == "text"


def test_a_huge_picture_is_left_to_the_policy(tmp_path):
    path = picture_file(tmp_path / "a.png", size=(300, 300))
    (block,) = documents_to_content_blocks([picture(path)], media_policy=MediaPolicy(max_pixels=1000))
    assert "not shown: the media policy forbids opening it" in block["text"]


# --- links -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "link"),
    [
        ({"source": "/home/ann/my notes.md"}, "file:///home/ann/my%20notes.md"),
        ({"source": "/d/a.pdf", "page": 3}, "file:///d/a.pdf#page=3"),
        ({"source": "/d/a.pdf", "page": "x i"}, "file:///d/a.pdf#page=x%20i"),
        ({"source": r"C:\Users\ann\a b.pdf", "page": 2}, "file:///C:/Users/ann/a%20b.pdf#page=2"),
        ({"source": r"C:notes.md"}, None),
        ({"source": r"\\nas\films\a.mp4", "start_s": 3}, "file://nas/films/a.mp4#t=3"),
        ({"source": "/d/a.mp4", "start_s": 12.5, "end_s": 15}, "file:///d/a.mp4#t=12.5,15"),
        ({"source": "/d/a.mp4", "start_s": 36000.25}, "file:///d/a.mp4#t=36000.25"),
        (
            {"source": "https://example.org/a.pdf?v=2&x=%20#old", "page": 4},
            "https://example.org/a.pdf?v=2&x=%20#page=4",
        ),
        ({"source": "https://example.org/a#part"}, "https://example.org/a#part"),
        ({"source": "https://ann:pw@example.org/a?q=1"}, "https://example.org/a?q=1"),
        ({"source": "HTTPS://Example.org/A"}, "HTTPS://Example.org/A"),
        ({"source": "https://e.org/a) [x](javascript:y)\"'<b>\n"}, None),
        ({"source": "/d/a\udcffb.png"}, "file:///d/a%FFb.png"),
        ({"source": "/d/a\ud800b.png"}, "file:///d/a?b.png".replace("?", "%3F")),
        ({"source": "https://e.org/\ud800"}, "https://e.org/?"),
        ({"source": "file:///d/a%20b.png"}, "file:///d/a%20b.png"),
        ({"source": "beach/IMG_2041.jpg"}, None),
        ({"source": "javascript:alert(1)"}, None),
        ({"source": "data:image/png;base64,AAAA"}, None),
        ({"path": "/d/old.png"}, "file:///d/old.png"),
        ({"title": "Field notes"}, None),
        ({}, None),
    ],
)
def test_a_link_opens_a_document_where_it_was_found(metadata, link):
    found = cite_link(Document(page_content="", metadata=metadata))
    if "javascript:y" in metadata.get("source", ""):
        assert found.startswith("https://e.org/a")
        assert not set(found) & set(" ()\"'<>\n")
    else:
        assert found == link


# --- quotes ----------------------------------------------------------------------------------------------


def test_a_source_that_comes_several_times_is_named_once():
    documents = [note("The dog slept."), note("The cat sat.", "b.md"), note("The dog ran.")]
    lines = quote_evidence("the dog", documents).splitlines()
    assert lines[lines.index("Sources:") + 1 :][:3] == ["[1] [3] notes.md", "[2] b.md", ""]


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("postgresql://admin:hunter2@db.internal/shop?sslkey=abc", "postgresql://db.internal/shop"),
        ("sftp://me:pw@host/a.png", "sftp://host/a.png"),
        ("FILE:///home/me/a.png", "a.png"),
        ("file://localhost/home/me/a.png", "a.png"),
        ("file:/home/me/a.png", "a.png"),
        (" /home/me/a.png", "a.png"),
        ("~/pictures/a.png", "a.png"),
        ("\\Users\\me\\a.png", "a.png"),
        ("s3://bucket/a.png", "s3://bucket/a.png"),
        ("what is this?.png", "what is this?.png"),
    ],
)
def test_a_label_tells_no_folders_and_no_secrets(source, label):
    assert cite(Document("", metadata={"source": source})) == label
