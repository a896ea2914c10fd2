"""Datasets made of what people have: captions, labelled folders, logs, vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.errors import DatasetError
from langchain_mmrag.evaluation import EvalDocument
from langchain_mmrag.evaluation.builders.answers import is_log, read_answers
from langchain_mmrag.evaluation.builders.captions import CaptionedImage, read_captions
from langchain_mmrag.evaluation.builders.folder import read_labelled
from langchain_mmrag.evaluation.builders.protocols import build, image_to_text, mixed, text_to_image
from langchain_mmrag.evaluation.builders.vectors import read_vectors

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "coco_open_photos"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(folder / f"{number}.jpg")
    return folder


def karpathy(folder, name="dataset_coco.json", captions=5):
    splits = ["test", "test", "train", "val"]
    rows = [
        {
            "cocoid": 100 + k,
            "filepath": "images",
            "filename": f"{k}.jpg",
            "split": split,
            "sentences": [{"raw": f" caption {n} of {k} "} for n in range(captions)],
        }
        for k, split in enumerate(splits)
    ]
    (folder / name).write_text(json.dumps({"images": rows}))
    return folder / name


# formats


def test_coco_captions(tmp_path, pictures):
    data = {
        "images": [
            {"id": 7, "file_name": "0.jpg"},
            {"id": 8, "file_name": "1.jpg"},
            {"id": 9, "file_name": "2.jpg"},
        ],
        "annotations": [
            {"image_id": 8, "caption": "a tram"},
            {"image_id": 7, "caption": "a bus "},
            {"image_id": 8, "caption": "a yellow tram"},
        ],
    }
    (tmp_path / "captions_val2017.json").write_text(json.dumps(data))
    assert read_captions(tmp_path) == [
        CaptionedImage("7", str(pictures / "0.jpg"), ("a bus",)),
        CaptionedImage("8", str(pictures / "1.jpg"), ("a tram", "a yellow tram")),
    ]


def test_karpathy_takes_the_split_and_the_first_five_captions(tmp_path, pictures):
    file = karpathy(tmp_path, captions=7)
    found = read_captions(file)
    assert [item.id for item in found] == ["100", "101"]
    assert found[0].captions == tuple(f"caption {n} of 0" for n in range(5))
    assert found[0].path == str(pictures / "0.jpg")
    assert [item.id for item in read_captions(file, split="val")] == ["103"]
    with pytest.raises(DatasetError, match=r"nothing is of the split 'tset': there are test, train, val"):
        read_captions(file, split="tset")


def test_flickr30k_tokens_and_tables(tmp_path, pictures):
    expected = [
        CaptionedImage("0", str(pictures / "0.jpg"), ("a dog, running", "a brown dog")),
        CaptionedImage("1", str(pictures / "1.jpg"), ("two men",)),
    ]
    tokens = tmp_path / "results_20130124.token"
    tokens.write_text("0.jpg#0\ta dog, running\n0.jpg#1\ta brown dog\n1.jpg#0\ttwo men\n")
    assert read_captions(tokens) == expected
    table = tmp_path / "captions.txt"
    table.write_text('image,caption\n0.jpg,"a dog, running"\n0.jpg,a brown dog\n1.jpg,two men\n')
    assert read_captions(table) == expected
    bars = tmp_path / "results.csv"
    bars.write_text(
        "image_name| comment_number| comment\n0.jpg| 0| a dog, running\n0.jpg| 1| a brown dog\n1.jpg| 0| two men\n"
    )
    assert read_captions(bars) == expected


def test_a_plain_list_of_files_and_captions(tmp_path, pictures):
    (tmp_path / "captions.json").write_text(
        '[{"file": "1.jpg", "captions": ["a dog", " a brown dog"], "licence": "CC0"}]'
    )
    assert read_captions(tmp_path) == [
        CaptionedImage("1.jpg", str(pictures / "1.jpg"), ("a dog", "a brown dog"))
    ]


@pytest.mark.skipif(
    not PHOTOS.exists(), reason=f"51 openly licensed photographs with captions are not at {PHOTOS}"
)
def test_real_photographs_with_five_captions_each():
    found = mixed("photos", read_captions(PHOTOS), share=0.5)
    assert len(found.documents) == 51
    assert {len(item.captions) for item in read_captions(PHOTOS)} == {5}
    assert sum(query.kind == "text" for query in found.queries) == 51


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{}", "there is no list 'images'"),
        ("a.json", '[{"image": "0.jpg"}]', "it needs objects with file and captions"),
        ("a.json", '[{"file": "0.jpg", "captions": [1]}]', "it needs objects with file and captions"),
        ("a.json", "{", "this is no JSON"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', "it needs images[].id, .file_name"),
        ("a.json", '{"images": [], "annotations": []}', "there are no captioned pictures"),
        ("a.token", "0.jpg a dog", "a.token:1: expected is NAME.jpg#NUMBER"),
        ("a.csv", "x,y\n1,2", "a.csv:1: the heading needs a column image and a column caption, it has x, y"),
        ("a.csv", "image,caption\n0.jpg", "a.csv:2: there are 1 columns, 2 were expected"),
        ("a.token", "gone.jpg#0\ta dog", "1 of 1 pictures are missing, such as"),
    ],
)
def test_files_that_are_not_as_expected_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DatasetError) as caught:
        read_captions(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_pictures_elsewhere_are_named(tmp_path, pictures):
    apart = tmp_path / "apart"
    apart.mkdir()
    file = karpathy(apart)
    with pytest.raises(DatasetError, match="--images"):
        read_captions(file)
    assert read_captions(file, images=pictures)[0].path == str(pictures / "0.jpg")


# protocols


def items(pictures, captions):
    return [
        CaptionedImage(
            str(k), str(pictures / f"{k}.jpg"), tuple(f"caption {n} of {k}" for n in range(captions))
        )
        for k in range(4)
    ]


def test_plain_protocols_follow_the_five_caption_convention(pictures):
    asked = text_to_image("set", items(pictures, 5))
    assert (len(asked.queries), len(asked.documents)) == (20, 4)
    assert asked.relevance["2:caption:4"] == {"2:image": 1}
    back = image_to_text("set", items(pictures, 5))
    assert (len(back.queries), len(back.documents)) == (4, 20)
    assert back.relevance["2:image"] == {f"2:caption:{n}": 1 for n in range(5)}


@pytest.mark.parametrize(("share", "pictured"), [(0.5, 2), (0.15, 1), (0.85, 3), (0.01, 1), (0.99, 3)])
def test_mixed_puts_each_item_in_once_and_asks_in_words_for_all(pictures, share, pictured):
    found = mixed("set", items(pictures, 3), share=share)
    kinds = [document.modality for document in found.documents]
    assert (kinds.count("image"), kinds.count("text")) == (pictured, 4 - pictured)
    assert sorted(document.id[0] for document in found.documents) == list("0123")
    text = [query for query in found.queries if query.kind == "text"]
    assert sorted(query.id[0] for query in text) == list("0123")
    stored = {document.id for document in found.documents}
    for query in found.queries:
        (target,) = found.relevance[query.id]
        assert target[0] == query.id[0]
        assert query.id not in stored  # no caption or picture asks for itself
    assert sum(query.kind == "image" for query in found.queries) == 4 - pictured


def test_mixed_with_one_caption_asks_in_words_for_pictures_and_with_pictures_for_captions(pictures):
    found = mixed("set", items(pictures, 1), share=0.5)
    pairs = {(query.kind, found.modalities[next(iter(found.relevance[query.id]))]) for query in found.queries}
    assert pairs == {("text", "image"), ("image", "text")}
    assert len(found.queries) == 4


def test_the_seed_decides_what_enters_as_what(pictures):
    many = [CaptionedImage(str(k), str(pictures / "0.jpg"), ("a", "b")) for k in range(40)]
    stored = [{d.id for d in mixed("set", many, seed=seed).documents} for seed in (0, 0, 1)]
    assert stored[0] == stored[1] != stored[2]


def test_protocols_refuse_what_they_cannot_do(pictures):
    with pytest.raises(ValueError, match="share of pictures must be between 0 and 1"):
        mixed("set", items(pictures, 1), share=1)
    with pytest.raises(DatasetError, match="needs two captioned pictures or more, there are 1"):
        build("set", items(pictures, 1), limit=1)
    with pytest.raises(ValueError, match="unknown protocol 'text': use mixed, text-to-image, image-to-text"):
        build("set", items(pictures, 1), "text")
    with pytest.raises(DatasetError, match="is there twice"):
        build("set", items(pictures, 1) * 2, "text-to-image")


def test_a_limit_draws_items(pictures):
    found = build("set", items(pictures, 5), "text-to-image", limit=2, seed=3)
    assert (len(found.documents), len(found.queries)) == (2, 10)


# labelled folders


@pytest.fixture
def labelled(tmp_path):
    root = tmp_path / "animals"
    for name, color in (("dog/a.png", "red"), ("dog/more/b.png", "blue"), ("sea_lion/c.png", "green")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), color).save(root / name)
    (root / "dog" / "notes.txt").write_text("A dog barks.")
    (root / "empty").mkdir()
    (root / "loose.txt").write_text("of no label")
    return root


def test_a_label_asks_in_words_and_its_pictures_ask_for_the_others(labelled):
    found = read_labelled(labelled, template="a picture of a {}")
    assert {document.id: document.modality for document in found.documents} == {
        "dog/a.png": "image",
        "dog/more/b.png": "image",
        "dog/notes.txt": "text",
        "sea_lion/c.png": "image",
    }
    assert {query.id: query.text for query in found.queries if query.text} == {
        "label:dog": "a picture of a dog",
        "label:sea_lion": "a picture of a sea lion",
    }
    assert found.relevance["label:dog"] == {"dog/a.png": 1, "dog/more/b.png": 1, "dog/notes.txt": 1}
    by_picture = {query.id: query for query in found.queries if query.image}
    assert set(by_picture) == {"image:dog/a.png", "image:dog/more/b.png"}  # the sea lion has no other
    assert by_picture["image:dog/a.png"].exclude == ("dog/a.png",)
    assert found.relevance["image:dog/a.png"] == {"dog/more/b.png": 1, "dog/notes.txt": 1}


def test_a_folder_without_labels_says_how_it_should_be(tmp_path):
    (tmp_path / "loose.txt").write_text("of no label")
    with pytest.raises(DatasetError, match="no sub-folder holds pictures or text files"):
        read_labelled(tmp_path)
    with pytest.raises(ValueError, match=r"needs {} where the label goes"):
        read_labelled(tmp_path, template="a dog")


# logs


def test_a_log_names_sources_by_the_end_of_their_path(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"question": "Who keeps the key?", "sources": ["notes/key.md"]}\n'
        '{"question": "What is copper?", "unrelated": true}\n'
    )
    held = {
        "ids": [EvalDocument(id="x", text="x")],
        "sources": [
            EvalDocument(id=f"/town/{name}", text=name) for name in ("notes/key.md", "notes/boats.md")
        ],
    }
    assert is_log(log)
    found, by = read_answers(log, held)
    assert by == "sources"
    assert found.relevance == {"line 1": {"/town/notes/key.md": 1}}
    assert [query.text for query in found.unrelated] == ["What is copper?"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            '{"question": "a", "sources": ["gone.md"]}',
            ":1: 'gone.md' among sources: the collection has none such",
        ),
        ('{"question": "a", "sources": ["key.md"]}', ":1: 'key.md' among sources: 2 documents end in it"),
        ('{"question": "a", "ids": ["y"]}', ":1: 'y' among ids: the collection has none such"),
        ('{"question": "a"}', ":1: name what answered as a list"),
        ('{"question": "a", "ids": "x"}', ":1: name what answered as a list"),
        (
            '{"question": "a", "ids": ["x"]}\n{"question": "b", "sources": ["/a/key.md"]}',
            ":2: the lines before have ids",
        ),
        ('{"question": "a", "unrelated": true}', ": there is no question in it that something answers"),
    ],
)
def test_logs_that_do_not_fit_the_collection_are_refused(tmp_path, lines, message):
    log = tmp_path / "log.jsonl"
    log.write_text(lines)
    held = {
        "ids": [EvalDocument(id="x", text="x")],
        "sources": [EvalDocument(id=id_, text="x") for id_ in ("/a/key.md", "/b/key.md")],
    }
    with pytest.raises(DatasetError) as caught:
        read_answers(log, held)
    assert str(caught.value).startswith(f"{log}{message}")


# vectors


def test_vectors_are_found_by_number(tmp_path):
    vectors = np.eye(6, dtype=np.float32).reshape(2, 3, 6)
    np.save(tmp_path / "v.npy", vectors)
    found, embedding = read_vectors(tmp_path / "v.npy", tmp_path / "pictures")
    assert [item.captions for item in found] == [("0",), ("1",), ("2",)]
    assert embedding.embed_image(uris=[item.path for item in found]) == vectors[0].tolist()
    assert embedding.embed_documents([item.captions[0] for item in found]) == vectors[1].tolist()
    assert embedding.embed_query("2") == vectors[1][2].tolist()
    files = {(tmp_path / "pictures" / f"{k}.png").read_bytes() for k in range(3)}
    assert len(files) == 3  # no copies of one another


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "expected is an array [2, n, d]"),
        (np.zeros((3, 2, 4)), "not (3, 2, 4)"),
        (np.full((2, 3, 4), 0.7), "must have norm 1, one has 1.400"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, array, message):
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(DatasetError) as caught:
        read_vectors(tmp_path / "v.npy", tmp_path)
    assert message in str(caught.value)


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "v.npy").write_text("hello")
    with pytest.raises(DatasetError, match="this is no array as NumPy saves it"):
        read_vectors(tmp_path / "v.npy", tmp_path)
