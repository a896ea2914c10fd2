"""Folders, pictures and text files become documents."""

import hashlib
import os
from pathlib import Path

import pytest
from langchain_core.indexing import InMemoryRecordManager
from langchain_core.indexing import index as lc_index
from PIL import Image

from langchain_mmrag import MultimodalChroma, errors
from langchain_mmrag._cache import default_media_directory
from langchain_mmrag.document_loaders import DirectoryLoader, ImageLoader, LoaderOptions, TextLoader
from langchain_mmrag.document_loaders._sidecars import is_sidecar
from langchain_mmrag.document_loaders._subtitles import sidecar_of
from langchain_mmrag.document_loaders.base import FileLoader, Part
from langchain_mmrag.document_loaders.text import decode_text, estimate_tokens, split_passages
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.media import MediaPolicy


def picture(path: Path, size: tuple[int, int] = (8, 6), color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def names(documents: list) -> list[str]:
    return [Path(document.metadata["source"]).name for document in documents]


# pictures


def test_a_picture_becomes_one_document_with_its_facts(tmp_path):
    path = picture(tmp_path / "beach.png")
    (document,) = ImageLoader(path).load()
    assert document.page_content == ""
    assert document.metadata == {
        "modality": "image",
        "source": str(path),
        "mime_type": "image/png",
        "width": 8,
        "height": 6,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_caption_is_text_and_metadata(tmp_path):
    (document,) = ImageLoader(picture(tmp_path / "a.png"), caption="A red field").load()
    assert document.page_content == document.metadata["caption"] == "A red field"


def test_a_relative_path_is_made_absolute(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    (document,) = ImageLoader("a.png").load()
    assert document.metadata["source"] == str(tmp_path / "a.png")


def test_the_same_picture_at_the_same_place_has_the_same_id_and_a_changed_one_another(tmp_path):
    path = picture(tmp_path / "a.png")
    before, again = (ImageLoader(path).load()[0].id for _ in range(2))
    copy = ImageLoader(picture(tmp_path / "b.png")).load()[0].id
    picture(path, color="blue")
    changed = ImageLoader(path).load()[0].id
    assert before == again
    assert len({before, copy, changed}) == 3


def test_a_truncated_jpeg_is_refused_by_name(tmp_path):
    path = picture(tmp_path / "half.jpg", (64, 64))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(errors.LoadError, match=r"half\.jpg"):
        ImageLoader(path).load()


def test_the_policy_holds_for_pictures_and_text(tmp_path):
    (tmp_path / "in").mkdir()
    policy = MediaPolicy(roots=(tmp_path / "in",))
    (tmp_path / "notes.md").write_text("secret")
    for loader in (
        ImageLoader(picture(tmp_path / "out.png"), media_policy=policy),
        TextLoader(tmp_path / "notes.md", media_policy=policy),
    ):
        with pytest.raises(errors.UnsafeSourceError):
            loader.load()


# from bytes to text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param("Häfen\n".encode(), "Häfen\n", id="utf-8"),
        pytest.param(b"\xef\xbb\xbfH\xc3\xa4fen", "Häfen", id="utf-8 with mark"),
        pytest.param(b"\xff\xfeH\0\xe4\0", "Hä", id="utf-16 little endian"),
        pytest.param(b"\xfe\xff\0H\0\xe4", "Hä", id="utf-16 big endian"),
        pytest.param(b"\xff\xfe\0\0H\0\0\0", "H", id="utf-32"),
        pytest.param(b"H\xe4fen \x96 caf\xe9", "Häfen – café", id="windows-1252"),
        pytest.param(b"a\r\nb\rc", "a\nb\nc", id="line ends"),
    ],
)
def test_text_is_decoded(data, text):
    assert decode_text(data, "notes.txt") == text


def test_bytes_with_zeros_are_not_text():
    with pytest.raises(errors.UnsupportedFormatError, match=r"notes\.txt is not text"):
        decode_text(b"PK\x03\x04\0\0", "notes.txt")


def test_a_broken_utf_16_file_is_refused():
    with pytest.raises(errors.UnsupportedFormatError, match="UTF-16"):
        decode_text(b"\xff\xfea", "notes.txt")


@pytest.mark.parametrize("content", ["", "  \n\n\t\n"])
def test_an_empty_text_file_is_refused(tmp_path, content):
    path = tmp_path / "empty.md"
    path.write_text(content)
    with pytest.raises(errors.CorruptMediaError, match=r"empty\.md is empty"):
        TextLoader(path).load()


def test_a_missing_text_file_is_a_load_error(tmp_path):
    with pytest.raises(errors.LoadError, match=r"gone\.md"):
        TextLoader(tmp_path / "gone.md").load()


# from text to passages


def test_markdown_is_split_at_headings_and_each_passage_begins_with_its_own():
    passages = split_passages("Before.\n\n# Boats\n\nFerry at noon.\n\n## Sails\nThree.\n\n# Fish ##\nCod.")
    assert [(passage.heading, passage.text) for passage in passages] == [
        ("", "Before."),
        ("Boats", "Boats\n\nFerry at noon."),
        ("Sails", "Sails\n\nThree."),
        ("Fish", "Fish\n\nCod."),
    ]


def test_underlined_titles_are_headings_and_rules_are_not():
    text = "Almanac\n=======\n\nJanuary\n-------\nIce.\n\n---\n\nStill January.\n\n+++++\nMarch\n+++++\nMud."
    assert [(passage.heading, passage.text) for passage in split_passages(text)] == [
        ("January", "January\n\nIce.\n\n\n\nStill January."),
        ("March", "March\n\nMud."),
    ]


def test_a_heading_alone_is_kept_unless_sections_follow_below_it():
    texts = [passage.text for passage in split_passages("# Town\n## Harbour\nBoats.\n## Market\n# Sea")]
    assert texts == ["Harbour\n\nBoats.", "Market", "Sea"]


def test_hash_signs_inside_code_are_no_headings():
    (passage,) = split_passages("# Setup\n```sh\n# not a heading\nmake\n```\ndone")
    assert passage.text == "Setup\n\n```sh\n# not a heading\nmake\n```\ndone"


def test_short_paragraphs_share_a_passage_and_long_ones_do_not():
    paragraph = "The ferry leaves at noon and comes back at six in the evening."
    texts = [passage.text for passage in split_passages("\n\n".join([paragraph] * 5), max_tokens=32)]
    assert texts == [f"{paragraph}\n\n{paragraph}"] * 2 + [paragraph]


def test_long_paragraphs_are_cut_between_sentences_then_words_and_nothing_is_lost():
    sentence = "one two three four five six seven eight nine ten. "
    run_on = "word " * 40 + "end"
    text = sentence * 4 + run_on
    passages = [passage.text for passage in split_passages(text, max_tokens=24)]
    assert passages[:2] == [(sentence * 2).strip()] * 2
    assert " ".join(passages).split() == text.split()
    assert max(map(estimate_tokens, passages)) <= 24


def test_list_items_are_cut_between_lines():
    items = [f"- item number {word} of the list" for word in ("one", "two", "three", "four")]
    passages = [passage.text for passage in split_passages("\n".join(items), max_tokens=16)]
    assert passages == ["\n".join(items[:2]), "\n".join(items[2:])]


@pytest.mark.parametrize("text", ["港町の暦。" * 60, "x" * 2000, "😀" * 100, "7" * 300, "Ünï" * 200])
def test_text_without_spaces_is_cut_too(text):
    passages = [passage.text for passage in split_passages(text)]
    assert "".join(passages) == text
    assert len(passages) > 1
    assert max(map(estimate_tokens, passages)) <= 68


@pytest.mark.parametrize(
    ("text", "heading", "passages"),
    [
        ("# " + "# " * 100_000 + "x", "# " * 34, 1),
        ("#" + " " * 100_000 + "x" + " #" * 50_000 + "y", "x" + " #" * 33, 1),
        ("x" * 500 + " " * 300_000 + "y" * 500, "", 16),
        ("x" * 300_000, "", 4412),
        ("." + "'" * 200_000, "", 2942),
        ("\n" + "1" * 200_000, "", 2942),
    ],
    ids=["hash signs", "blanks and hash signs", "blanks", "letters", "quotes", "digits"],
)
def test_text_made_to_exhaust_its_reader_does_not(text, heading, passages):
    found = split_passages(text)
    assert len(found) == passages
    assert heading.startswith(found[0].heading)
    assert bool(found[0].heading) == bool(heading)


def test_a_passage_fits_the_text_tower_of_clip():
    open_clip = pytest.importorskip("open_clip")
    tokenize = open_clip.tokenizer.SimpleTokenizer()
    prose = (
        "The lighthouse on the north mole was lit for the first time on 4 October 1871; its keeper, a widow "
        "from Kilkerran, climbed 143 steps twice a night. Fishing boats (mostly herring drifters) steered by "
        "it until 1968, when an automatic lamp replaced her grandson. "
    )
    for passage in split_passages(f"# The lighthouse\n\n{prose * 5}"):
        assert len(tokenize.encode(passage.text)) <= 75


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("a ferry", 2), ("lighthouse", 2), ("1871", 4), ("?!", 1), ("港町", 3), ("don't", 3)],
)
def test_tokens_are_estimated(text, tokens):
    assert estimate_tokens(text) == tokens


def test_too_small_a_passage_is_refused():
    with pytest.raises(ValueError, match="at least 8"):
        split_passages("text", max_tokens=7)


def test_passages_say_where_they_stand(tmp_path):
    path = tmp_path / "notes.md"
    path.write_text("# A\none\n# B\ntwo\n", encoding="utf-8")
    first, second = TextLoader(path).load()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    place = {"source": str(path), "file_sha256": sha256}
    assert first.metadata == place | {"part": 0, "heading": "A"}
    assert second.metadata == place | {"part": 1, "parts": 2, "heading": "B"}
    assert first.id != second.id


# folders


def test_a_folder_is_read_in_order_without_hidden_files_and_stores(tmp_path):
    picture(tmp_path / "b.png")
    picture(tmp_path / "a" / "z.jpg")
    (tmp_path / "a" / "note.TXT").write_text("A note.")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".cache" / "x.png")
    picture(tmp_path / "mm_store" / "x.png")
    (tmp_path / "mm_store" / "chroma.sqlite3").write_bytes(b"")
    (tmp_path / "data.bin").write_bytes(b"\0\0")
    loader = DirectoryLoader(tmp_path)
    assert names(loader.load()) == ["note.TXT", "z.jpg", "b.png"]
    assert loader.failures == []
    assert loader.ignored == {".bin": 1}


def test_content_goes_before_the_suffix(tmp_path):
    picture(tmp_path / "a.png").rename(tmp_path / "a.txt")
    picture(tmp_path / "b.png").rename(tmp_path / "b")
    modalities = [document.metadata["modality"] for document in DirectoryLoader(tmp_path).load()]
    assert modalities == ["image", "image"]


def test_text_that_begins_like_a_bitmap_is_text(tmp_path):
    (tmp_path / "a.txt").write_text("BMW drove through the town.")
    (document,) = DirectoryLoader(tmp_path).load()
    assert document.page_content == "BMW drove through the town."


def bad_folder(folder: Path) -> Path:
    picture(folder / "good.png")
    (folder / "text.jpg").write_text("not a picture at all, whatever its name says")
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.md").write_text("")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    half = picture(folder / "half.jpg", (64, 64))
    half.write_bytes(half.read_bytes()[:400])
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    return folder


def test_bad_files_are_passed_over_and_kept_with_their_reason(tmp_path):
    loader = DirectoryLoader(bad_folder(tmp_path))
    assert names(loader.load()) == ["good.png"]
    failed = {Path(failure.source).name: failure.error for failure in loader.failures}
    assert sorted(failed) == ["drawing.svg", "empty.md", "empty.png", "half.jpg", "lost.png", "text.jpg"]
    assert all(name in str(error) for name, error in failed.items())
    assert isinstance(failed["text.jpg"], errors.UnsupportedFormatError)
    assert isinstance(failed["drawing.svg"], errors.UnsupportedFormatError)
    assert isinstance(failed["half.jpg"], errors.CorruptMediaError)


def test_bad_files_raise_where_that_is_asked_for(tmp_path):
    with pytest.raises(errors.LoadError, match=r"drawing\.svg"):
        DirectoryLoader(bad_folder(tmp_path), on_error="raise").load()


def test_failures_are_those_of_the_last_run(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("")
    loader = DirectoryLoader(tmp_path)
    assert loader.load() == []
    path.write_text("now there is text")
    assert len(loader.load()) == 1
    assert loader.failures == []


def test_loops_of_links_end_and_a_linked_folder_is_read_once(tmp_path):
    picture(tmp_path / "album" / "a.png")
    (tmp_path / "album" / "up").symlink_to(tmp_path)
    (tmp_path / "z_again").symlink_to(tmp_path / "album")
    assert names(DirectoryLoader(tmp_path).load()) == ["a.png"]


def test_glob_chooses_files(tmp_path):
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", "d.jpg"):
        picture(tmp_path / name)
    assert names(DirectoryLoader(tmp_path, glob="**/*.png").load()) == ["a.png", "b.png", "c.png"]
    assert names(DirectoryLoader(tmp_path, glob="*.png").load()) == ["a.png"]
    assert names(DirectoryLoader(tmp_path, glob="sub/**").load()) == ["b.png", "c.png"]
    assert names(DirectoryLoader(tmp_path, glob="?.jp?").load()) == ["d.jpg"]


def test_a_missing_folder_and_a_file_in_its_place_are_load_errors(tmp_path):
    with pytest.raises(errors.LoadError, match="there is no folder"):
        DirectoryLoader(tmp_path / "nowhere").load()
    with pytest.raises(errors.LoadError, match="is a file, not a folder"):
        DirectoryLoader(picture(tmp_path / "a.png")).load()


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    picture(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    loader = DirectoryLoader(tmp_path)
    assert names(loader.load()) == ["a.png"]
    assert str(loader.failures[0].error) == f"cannot list the folder {tmp_path / 'locked'}: Permission denied"


def test_special_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    picture(tmp_path / "a.png")
    loader = DirectoryLoader(tmp_path)
    assert names(loader.load()) == ["a.png"]
    assert [str(failure.error) for failure in loader.failures] == [
        f"{tmp_path / 'pipe.png'} is a pipe, device or socket: only regular files are read"
    ]


def test_files_with_the_longest_names_are_read(tmp_path):
    (tmp_path / f"{'x' * 251}.txt").write_text("Boats.")
    (tmp_path / f"{'é' * 125}.txt").write_text("Gulls.")
    picture(tmp_path / f"{'z' * 251}.png")
    loader = DirectoryLoader(tmp_path)
    assert {document.page_content for document in loader.load()} == {"Boats.", "Gulls.", ""}
    assert not loader.failures


def test_loading_with_one_worker_reads_nothing_ahead(tmp_path):
    picture(tmp_path / "a.png")
    second = picture(tmp_path / "b.png")
    documents = DirectoryLoader(tmp_path, max_workers=1).lazy_load()
    next(documents)
    second.write_bytes(b"")
    assert list(documents) == []


def test_an_unknown_on_error_is_refused(tmp_path):
    with pytest.raises(ValueError, match="on_error"):
        DirectoryLoader(tmp_path, on_error="ignore")


# nothing out of the folder


@pytest.mark.parametrize("name", ["photo.txt", "photo.png.json", "photo.xmp"])
def test_a_caption_that_is_a_link_out_of_the_folder_counts_as_absent(tmp_path, name):
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_text('{"caption": "the key to the safe"}')
    photo = picture(tmp_path / "project" / "photo.png")
    photo.with_name(name).symlink_to(secret)
    loader = DirectoryLoader(tmp_path / "project", ocr="off")
    (document,) = loader.load()
    assert document.page_content == ""
    assert "caption" not in document.metadata
    assert [Path(failure.source).name for failure in loader.failures] == [name]


def test_a_caption_that_is_a_link_to_what_the_policy_allows_is_one(tmp_path):
    text = tmp_path / "captions" / "one.txt"
    text.parent.mkdir()
    text.write_text("a red square")
    photo = picture(tmp_path / "photos" / "photo.png")
    photo.with_suffix(".txt").symlink_to(text)
    photo.with_name("photo.png.txt").symlink_to(picture(tmp_path / "photos" / "other.png").name)
    policy = MediaPolicy(roots=(tmp_path,))
    assert ImageLoader(photo).load()[0].page_content == ""
    assert ImageLoader(photo, media_policy=policy).load()[0].page_content == "a red square"
    assert is_sidecar(photo.with_suffix(".txt"), policy)
    assert not is_sidecar(photo.with_suffix(".txt"))


def test_subtitles_that_are_a_link_out_of_the_folder_count_as_absent(tmp_path):
    (tmp_path / "secret.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nthe key\n")
    film = tmp_path / "project" / "film.mp4"
    film.parent.mkdir()
    film.touch()
    film.with_suffix(".srt").symlink_to(tmp_path / "secret.srt")
    assert sidecar_of(str(film)) is None
    film.with_name("film.en.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nwords\n")
    assert sidecar_of(str(film)) == film.with_name("film.en.srt")


def test_what_lies_beside_is_listed_once_and_again_when_it_changes(tmp_path, monkeypatch):
    for number in range(20):
        picture(tmp_path / f"{number}.png").with_suffix(".txt").write_text("a red square")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    long_ago = tmp_path.stat().st_mtime - 60
    os.utime(tmp_path, (long_ago, long_ago))
    assert all(is_sidecar(tmp_path / f"{number}.txt") for number in range(20))
    assert len(listed) == 1
    (tmp_path / "new.txt").write_text("a blue square")
    assert not is_sidecar(tmp_path / "new.txt")
    picture(tmp_path / "new.JpG")
    assert is_sidecar(tmp_path / "new.txt")


def test_an_ignore_file_that_is_a_link_out_of_the_folder_says_nothing(tmp_path):
    (tmp_path / "rules").write_text("*.txt")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("words")
    (tmp_path / "project" / ".gitignore").symlink_to(tmp_path / "rules")
    loader = DirectoryLoader(tmp_path / "project")
    assert names(loader.load()) == ["a.txt"]
    assert [Path(failure.source).name for failure in loader.failures] == [".gitignore"]


def test_folders_go_before_links_to_them(tmp_path):
    (tmp_path / "z" / "deep").mkdir(parents=True)
    (tmp_path / "z" / "deep" / "note.txt").write_text("words")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / "z" / "deep")
    (tmp_path / "elsewhere").mkdir()
    (document,) = DirectoryLoader(tmp_path).load()
    assert document.metadata["source"] == str(tmp_path / "z" / "deep" / "note.txt")


def test_the_policy_of_a_store_holds_whatever_the_other_options_say(counting_embeddings, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("words")
    policy = MediaPolicy(roots=(tmp_path / "nowhere",))
    store = MultimodalChroma("policy", counting_embeddings, media_policy=policy)
    report = index_paths(store, folder, options=LoaderOptions(ocr="off"))
    assert (report.added, len(report.failed)) == (0, 1)
    wide = LoaderOptions(media_policy=MediaPolicy(), ocr="off")
    assert index_paths(store, folder, options=wide).added == 1


# with a store


class Album(FileLoader):
    """A page, a picture of it, and words in that picture."""

    name = "album"

    def parts(self, file):
        yield Part(text="A page.", key="page")
        kept = file.keep_picture(Image.new("RGB", (8, 8), "red"), "figure")
        yield Part(modality="image", metadata=kept, key="figure", near="page")
        yield Part(text="words in it", parent="figure")


@pytest.fixture
def album(tmp_path) -> Path:
    path = tmp_path / "project" / "a.album"
    path.parent.mkdir()
    path.write_text("x")
    return path


def test_pictures_that_a_store_may_not_open_are_refused_with_what_to_do(album, counting_embeddings, tmp_path):
    policy = MediaPolicy(roots=(album.parent,))
    store = MultimodalChroma(
        "roots", counting_embeddings, persist_directory=str(tmp_path / "store"), media_policy=policy
    )
    remedy = r"taken out of a file: give its loader media_directory=store\.media_directory"
    with pytest.raises(errors.UnsafeSourceError, match=remedy):
        store.add_documents(Album(album).load())
    store.add_documents(Album(album, media_directory=store.media_directory).load())
    assert len(store.get()["ids"]) == 3


def test_pictures_go_where_everything_that_is_kept_goes(monkeypatch, tmp_path):
    monkeypatch.setenv("LANGCHAIN_MMRAG_CACHE", str(tmp_path))
    assert default_media_directory() == tmp_path / "media"


def test_documents_name_each_other_in_langchains_own_index_if_it_keeps_their_ids(album, counting_embeddings):
    records = InMemoryRecordManager("album")
    records.create_schema()
    store = MultimodalChroma("langchain", counting_embeddings)
    loader = DirectoryLoader(album.parent, loaders={".album": Album})
    keep = {"cleanup": "full", "source_id_key": "source", "key_encoder": lambda document: document.id}
    assert lc_index(loader, records, store, **keep)["num_added"] == 3
    assert lc_index(loader, records, store, **keep)["num_skipped"] == 3
    kept = store.get()
    links = [each[key] for each in kept["metadatas"] for key in ("near_id", "parent_id") if key in each]
    assert len(links) == 2
    assert set(links) <= set(kept["ids"])


def test_halves_of_characters_cost_no_document(tmp_path):
    class Halves(FileLoader):
        name = "halves"

        def parts(self, file):
            yield Part(text="a \ud83d b", metadata={"title": "\ud83d", "keywords": ["x\ud83d"]})

    (tmp_path / "a.half").write_text("a")
    (document,) = Halves(tmp_path / "a.half").load()
    assert document.page_content == "a ? b"
    assert (document.metadata["title"], document.metadata["keywords"]) == ("?", ["x?"])
