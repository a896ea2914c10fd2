"""A second run does only what changed; an interrupted one goes on."""

import os
import uuid
from pathlib import Path

import pytest
from langchain_core.documents import Document
from PIL import Image

from langchain_mmrag import errors
from langchain_mmrag.document_loaders import DirectoryLoader
from langchain_mmrag.indexing import Failed, IndexReport, index_paths
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.vectorstores import MultimodalChroma


@pytest.fixture
def store(counting_embeddings, tmp_path) -> MultimodalChroma:
    return MultimodalChroma(
        f"c{uuid.uuid4().hex}", counting_embeddings, persist_directory=str(tmp_path / "mm_store")
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "town"
    for name, color in (("red.png", "red"), ("more/blue.png", "blue")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), color).save(root / name)
    (root / "notes.md").write_text("# Boats\nThe red ferry.\n# Fish\nGreen cod.\n")
    return root


def sources(store: MultimodalChroma) -> list[str]:
    return sorted(Path(metadata["source"]).name for metadata in store.get()["metadatas"])


def calls(store: MultimodalChroma) -> tuple[list[int], list[int]]:
    """Sizes of the batches embedded since the last call: texts, images."""
    embeddings = store.embeddings
    seen = embeddings.text_batches[:], embeddings.image_batches[:]
    embeddings.text_batches.clear()
    embeddings.image_batches.clear()
    return seen


def test_a_folder_is_indexed_in_one_batch_of_texts_and_one_of_images(store, folder):
    assert index_paths(store, [folder]) == IndexReport(added=3)
    assert sources(store) == ["blue.png", "notes.md", "notes.md", "red.png"]
    assert calls(store) == ([2], [2])


def test_an_unchanged_folder_is_skipped_without_embedding(store, folder):
    index_paths(store, [folder])
    calls(store)
    os.utime(folder / "red.png", (1, 1))
    assert index_paths(store, [folder]) == IndexReport(skipped=3)
    assert calls(store) == ([], [])


def test_what_was_indexed_is_found(store, folder):
    index_paths(store, [folder])
    picture, *_ = store.similarity_search("red", k=1, modality="image")
    assert Path(picture.metadata["source"]).name == "red.png"


def test_a_changed_file_is_replaced_and_its_old_parts_are_gone(store, folder):
    index_paths(store, [folder])
    calls(store)
    (folder / "notes.md").write_text("# Boats\nThe blue ferry.\n")
    Image.new("RGB", (8, 8), "green").save(folder / "red.png")
    assert index_paths(store, [folder]) == IndexReport(updated=2, skipped=1)
    assert calls(store) == ([1], [1])
    rows = store.get(include=["documents", "metadatas"])
    assert sorted(rows["documents"]) == ["", "", "Boats\n\nThe blue ferry."]
    widths = {Path(row["source"]).name: row.get("width") for row in rows["metadatas"]}
    assert widths == {"red.png": 8, "blue.png": 40, "notes.md": None}


def test_documents_of_vanished_files_are_counted_and_deleted_where_that_is_asked_for(store, folder):
    index_paths(store, [folder])
    (folder / "notes.md").unlink()
    (folder / "more" / "blue.png").rename(folder / "more" / "navy.png")
    assert index_paths(store, [folder]) == IndexReport(added=1, skipped=1, vanished=2)
    assert len(sources(store)) == 5
    assert index_paths(store, [folder], prune=True) == IndexReport(skipped=2, deleted=2)
    assert sources(store) == ["navy.png", "red.png"]


def test_a_folder_that_suddenly_holds_nothing_deletes_nothing(store, folder):
    index_paths(store, [folder])
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert index_paths(store, [folder], prune=True) == IndexReport(vanished=3)
    assert len(sources(store)) == 4


def test_files_outside_the_given_folder_are_left_alone(store, folder, tmp_path):
    other = tmp_path / "town-two"
    other.mkdir()
    (other / "a.md").write_text("Another town.")
    index_paths(store, [folder, other])
    (other / "a.md").unlink()
    assert index_paths(store, [folder], prune=True) == IndexReport(skipped=3)
    assert "a.md" in sources(store)


def test_documents_added_by_hand_are_never_touched(store, folder):
    by_hand = Document(page_content="My own note.", metadata={"source": str(folder / "gone.md")})
    store.add_documents([by_hand], ids=["mine"])
    index_paths(store, [folder])
    index_paths(store, [folder])
    assert store.get_by_ids(["mine"])[0].page_content == "My own note."


def test_what_a_loader_added_is_known(store, folder):
    store.add_documents(DirectoryLoader(folder).load())
    assert index_paths(store, [folder]) == IndexReport(skipped=3)
    store.add_documents(DirectoryLoader(folder).load())
    assert len(store.get()["ids"]) == 4


def test_copies_of_a_file_are_documents_of_their_own(store, folder):
    (folder / "copy.png").write_bytes((folder / "red.png").read_bytes())
    assert index_paths(store, [folder]).added == 4
    (folder / "red.png").unlink()
    assert index_paths(store, [folder], prune=True) == IndexReport(skipped=3, deleted=1)
    assert "copy.png" in sources(store)


def test_a_file_named_twice_is_indexed_once(store, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert index_paths(store, ["red.png", folder / "red.png", folder]) == IndexReport(added=3)
    assert index_paths(store, ["../town/more/../red.png", "."]) == IndexReport(skipped=3)


def test_an_interrupted_run_goes_on_where_it_stopped(store, tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(150):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(root / f"{number:03}.png")

    def interrupt(done, total, source):
        assert total == 150
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_paths(store, [root], on_progress=interrupt)
    assert len(sources(store)) == 64
    assert index_paths(store, [root]) == IndexReport(added=86, skipped=64)
    assert len(sources(store)) == 150


def test_a_file_of_which_only_some_parts_were_written_is_written_again(store, folder):
    index_paths(store, [folder / "notes.md"])
    store.delete(ids=store.get(where={"part": 1})["ids"])
    assert index_paths(store, [folder / "notes.md"]) == IndexReport(updated=1)
    assert sources(store) == ["notes.md", "notes.md"]


def test_bad_files_are_reported_and_the_rest_is_indexed(store, folder):
    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.md").write_text("")
    (folder / "data.bin").write_bytes(b"\0")
    report = index_paths(store, [folder, folder / "data.bin", folder / "nowhere"])
    assert (report.added, report.readable) == (3, 3)
    assert [Path(failure.source).name for failure in report.failed] == [
        "nowhere",
        "data.bin",
        "empty.md",
        "text.jpg",
    ]
    assert all(Path(source).name in reason for source, reason in report.failed)
    assert "is not of a kind this package reads" in report.failed[1].reason
    assert len(sources(store)) == 4


def test_files_of_other_kinds_in_a_folder_are_counted(store, folder):
    for name in ("a.bin", "b.BIN", "c.xyz"):
        (folder / name).write_bytes(b"\0")
    assert index_paths(store, [folder]) == IndexReport(added=3, ignored={".bin": 2, ".xyz": 1})


def test_a_changed_file_that_can_no_longer_be_read_keeps_its_documents(store, folder):
    index_paths(store, [folder])
    (folder / "red.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    report = index_paths(store, [folder])
    assert (report.skipped, len(report.failed)) == (2, 1)
    assert "red.png" in sources(store)


def test_a_picture_that_breaks_between_loading_and_embedding_does_not_cost_the_others(
    store, folder, monkeypatch
):
    add_documents = store.add_documents

    def refuse(documents, **options):
        if any(document.metadata["source"].endswith("red.png") for document in documents):
            raise errors.CorruptMediaError("red.png broke")
        return add_documents(documents, **options)

    monkeypatch.setattr(store, "add_documents", refuse)
    report = index_paths(store, [folder])
    assert report == IndexReport(added=2, failed=(Failed(str(folder / "red.png"), "red.png broke"),))
    assert sources(store) == ["blue.png", "notes.md", "notes.md"]


def test_a_file_whose_name_is_not_utf_8_is_reported_so_that_it_can_be_printed(store, folder):
    picture = (folder / "red.png").read_bytes()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.png")).write_bytes(picture)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (folder / "ünï 'quote\" & #100%.png").write_bytes(picture)
    report = index_paths(store, [folder])
    assert report.added == 4
    assert report.failed[0].source == str(folder / "bad\N{REPLACEMENT CHARACTER}.png")
    assert "not valid UTF-8" in report.failed[0].reason
    str(report.failed).encode()


def test_the_policy_holds_while_indexing(store, folder, tmp_path):
    report = index_paths(store, [folder], media_policy=MediaPolicy(roots=(tmp_path / "elsewhere",)))
    assert report.added == 0
    assert len(report.failed) == 3


def test_the_folder_of_the_store_is_not_indexed(store, folder, tmp_path):
    assert index_paths(store, [tmp_path]).added == 3


def test_progress_counts_every_file(store, folder):
    steps = []
    index_paths(store, [folder], on_progress=lambda *step: steps.append(step))
    assert [(done, total, Path(source).name) for done, total, source in steps] == [
        (1, 3, "blue.png"),
        (2, 3, "notes.md"),
        (3, 3, "red.png"),
    ]


def test_many_parts_are_known_over_several_pages(store, tmp_path, monkeypatch):
    monkeypatch.setattr("langchain_mmrag.indexing.known.PAGE", 7)
    path = tmp_path / "long.md"
    path.write_text("\n".join(f"# Part {number}\nred" for number in range(20)))
    assert index_paths(store, [path]) == IndexReport(added=1)
    assert index_paths(store, [path]) == IndexReport(skipped=1)


def test_one_path_is_not_taken_letter_by_letter(tmp_path, clip):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("A red square.", encoding="utf-8")
    store = MultimodalChroma(f"one-{uuid.uuid4()}", clip)
    for paths in (tmp_path / "notes", str(tmp_path / "notes")):
        report = index_paths(store, paths)
        assert (report.readable, report.failed) == (1, ())


def test_a_link_that_leads_out_of_the_folder_is_not_read(tmp_path, clip):
    (tmp_path / "secret.md").write_text("The key is under the mat.", encoding="utf-8")
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "one.md").write_text("A red square.", encoding="utf-8")
    (folder / "same.md").symlink_to(folder / "one.md")
    store = MultimodalChroma(f"link-{uuid.uuid4()}", clip)
    report = index_paths(store, folder)
    assert report.added == 2
    assert [failed.source for failed in report.failed] == [str(folder / "link.md")]
    assert "leads out of" in report.failed[0].reason
    assert not any("key" in text for text in store.get()["documents"])
