"""Folders: which files, in parallel, whatever is in them; indexing that streams and survives a kill."""

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import BaseDocumentTransformer, Document
from PIL import Image
from typer.testing import CliRunner

from langchain_mmrag import cli, errors
from langchain_mmrag._extras import require
from langchain_mmrag.captioning import CaptionTransformer
from langchain_mmrag.document_loaders import DirectoryLoader, FileLoader, Part
from langchain_mmrag.document_loaders._walk import find_files, glob_pattern, selection
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.indexing import IndexReport, index_paths
from langchain_mmrag.vectorstores import MultimodalChroma


def write(root: Path, *names: str, text: str = "A note.") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def found(root: Path, **options) -> list[str]:
    failures = []
    paths = find_files(root, selection(**options), on_failure=failures.append)
    names = [path.relative_to(root).as_posix() for path in paths]
    assert failures == []
    return names


def names(documents) -> list[str]:
    return [Path(document.metadata["source"]).name for document in documents]


# which files


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.{png,jpg}", ["a.png", "b.jpg"], ["a.gif", "sub/a.png", "a.{png,jpg}"]),
        ("**/*.{png,jp{e,}g}", ["a.png", "x/y/b.jpeg", "c.jpg"], ["a.jp", "x.gif"]),
        ("[a-c]*.txt", ["b.txt", "cat.txt"], ["d.txt", "/.txt"]),
        ("[!a-c]*.txt", ["d.txt"], ["b.txt"]),
        ("a[]-]b", ["a]b", "a-b"], ["ab", "axb"]),
        ("x[", ["x["], ["x"]),
        ("{a", ["{a"], ["a"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("a[/b]c", ["abc"], ["a/c"]),
        ("a\nb*", ["a\nbc"], ["ab"]),
        ("**", ["a", "a/b/c"], []),
    ],
)
def test_globs_know_braces_classes_and_folders(glob, yes, no):
    pattern = glob_pattern(glob)
    assert [name for name in [*yes, *no] if pattern.fullmatch(name)] == yes


@pytest.mark.parametrize("glob", ["[z-a]", "{a,b}" * 12, []])
def test_globs_that_mean_nothing_or_too_much_are_refused(glob, tmp_path):
    with pytest.raises(ValueError, match=r"glob"):
        DirectoryLoader(tmp_path, glob=glob)


def test_several_globs_add_up_exclusions_take_away_and_one_that_matched_nothing_is_said(tmp_path):
    write(tmp_path, "a.md", "b.txt", "c.rst", "old/a.md", "sub/old/b.md", "sub/c.md")
    loader = DirectoryLoader(tmp_path, glob=["**/*.md", "*.txt", "*.tex"], exclude=["old/", "/c.*"])
    assert names(loader.load()) == ["a.md", "b.txt", "c.md"]
    assert loader.unmatched == ["*.tex"]
    assert found(tmp_path, recursive=False) == ["a.md", "b.txt", "c.rst"]
    with pytest.raises(ValueError, match="cannot exclude '!'"):
        DirectoryLoader(tmp_path, exclude="!")


IGNORED = {
    ".gitignore": "*.tmp\n/build/\n!keep.tmp\n# a comment\ndocs/*.html\n**/cache\nlast \nfoo/*\n!foo/bar/\n",
    "sub/.gitignore": "!b.tmp\n/only-here.txt\n[z-a]\n!\n",
}
TREE = [
    *("a.tmp", "keep.tmp", "sub/b.tmp", "sub/c.tmp", "build/x.txt", "sub/build/x.txt", "docs/a.html"),
    *(
        "docs/deep/a.html",
        "x/cache/y.txt",
        "cache",
        "last",
        "foo/a.txt",
        "foo/bar/b.txt",
        "sub/only-here.txt",
    ),
    *("sub/deep/only-here.txt", "ünï.txt", "plain.txt"),
]


def test_ignore_files_mean_what_they_mean_to_git(tmp_path):
    for name, text in IGNORED.items():
        write(tmp_path, name, text=text)
    write(tmp_path, *TREE)
    kept = found(tmp_path)
    assert sorted(TREE) == sorted({*kept, *(name for name in TREE if name not in kept)})
    assert found(tmp_path, ignore_files=False) == sorted(TREE, key=lambda name: name.split("/"))
    if shutil.which("git") is None:
        pytest.skip("there is no git to compare with")
    git = ["git", "-c", "core.quotepath=off", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    assert sorted(kept) == sorted(name for name in listed.stdout.splitlines() if "/." not in f"/{name}")


def test_a_second_ignore_file_may_take_back_what_the_first_says(tmp_path):
    write(tmp_path, ".gitignore", text="*.pdf\nsecret/\n")
    write(tmp_path, ".mmragignore", text="!*.pdf\n*.log\n")
    write(tmp_path, "a.pdf", "b.log", "c.txt", "secret/a.txt")
    assert found(tmp_path) == ["a.pdf", "c.txt"]


def test_folders_of_the_package_itself_are_not_read(tmp_path):
    write(tmp_path, "a.md", "kept/figure.md", "mm/chroma.sqlite3", "mm/b.md")
    assert names(DirectoryLoader(tmp_path, media_directory=tmp_path / "kept").load()) == ["a.md"]


def test_names_with_newlines_are_read_and_names_that_are_not_utf_8_reported(tmp_path):
    write(tmp_path, "two\nlines.md", "good.md")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.md")).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    loader = DirectoryLoader(tmp_path)
    assert names(loader.load()) == ["good.md", "two\nlines.md"]
    (failure,) = loader.failures
    assert "not valid UTF-8" in str(failure.error)


# in parallel


class Lines(FileLoader):
    """One document a line; a line may be an order to fail."""

    name = "lines"

    def parts(self, file):
        for number, line in enumerate(file.read().decode().splitlines()):
            if line == "PROBLEM":
                file.problem(f"line {number} cannot be read")
            elif line == "ERROR":
                raise errors.CorruptMediaError("the disk ended")
            elif line == "BUG":
                raise ZeroDivisionError("nobody thought of this")
            elif line == "INSTALL":
                raise errors.MissingDependencyError("pip install what reads it")
            elif line == "PICTURE":
                kept = file.keep_picture(Image.new("RGB", (8, 8), "red"), f"figure-{number}")
                yield Part(text="a figure", modality="image", metadata=kept)
            else:
                yield Part(text=line)


OWN = {".lines": Lines}


@pytest.mark.parametrize("workers", [1, 3])
def test_documents_come_in_the_order_of_the_files_however_long_each_takes(tmp_path, workers):
    for number in range(40):
        write(tmp_path, f"{number:02}.lines", text="\n".join(f"{number}.{i}" for i in range(number % 7 + 1)))
    loader = DirectoryLoader(tmp_path, loaders=OWN, max_workers=workers)
    expected = [f"{number}.{i}" for number in range(40) for i in range(number % 7 + 1)]
    assert [document.page_content for document in loader.load()] == expected
    assert threading.active_count() < 20
    with pytest.raises(ValueError, match="max_workers"):
        DirectoryLoader(tmp_path, max_workers=0).load()


@pytest.mark.timeout(30)
def test_files_are_decoded_at_the_same_time(tmp_path):
    write(tmp_path, "a.lines", "b.lines")
    meeting = threading.Barrier(2, timeout=20)

    class Meeting(Lines):
        def parts(self, file):
            meeting.wait()  # breaks unless both files are being read
            yield from super().parts(file)

    loader = DirectoryLoader(tmp_path, loaders={".lines": Meeting}, max_workers=2)
    assert names(loader.load()) == ["a.lines", "b.lines"]
    assert loader.failures == []


@pytest.mark.timeout(30)
def test_what_waits_is_bounded_and_nothing_goes_on_once_nobody_wants_it(tmp_path):
    made = []
    closed = threading.Event()

    class Endless(Lines):
        def parts(self, file):
            try:
                while True:
                    made.append(file.source)
                    yield Part(text="again")
            finally:
                closed.set()

    write(tmp_path, "a.lines", *(f"b{number:03}.txt" for number in range(100)))
    documents = DirectoryLoader(tmp_path, loaders={".lines": Endless}, max_workers=2).lazy_load()
    for _ in range(500):
        next(documents)
    assert len(made) < 500 + 40
    documents.close()
    assert closed.wait(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "mmrag-load"]


@pytest.mark.timeout(60)
def test_a_program_ends_that_does_not_take_all_documents(tmp_path):
    write(tmp_path, "a.md", "b.md", text="\n".join(f"# {number}\ntext" for number in range(200)))
    code = (
        "import sys; from langchain_mmrag.document_loaders import DirectoryLoader\n"
        "documents = DirectoryLoader(sys.argv[1], max_workers=2).lazy_load(); next(documents); print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"done\n")


# what is in them


class Missing(Lines):
    def parts(self, file):
        require("no_such_module", extra="pdf")
        yield Part()


def test_whatever_a_file_does_the_others_are_read_and_it_is_reported(tmp_path, caplog):
    write(tmp_path, "a.lines", text="ok")
    write(tmp_path, "b.lines", text="one\nPROBLEM\ntwo")
    write(tmp_path, "c.lines", text="one\nERROR\ntwo")
    write(tmp_path, "d.lines", text="BUG")
    write(tmp_path, "e.none")
    write(tmp_path, "f.txt", text="")
    write(tmp_path, "z.lines", text="ok")
    loader = DirectoryLoader(tmp_path, loaders={**OWN, ".none": Missing})
    assert names(loader.load()) == ["a.lines", "b.lines", "b.lines", "c.lines", "z.lines"]
    told = [(Path(failure.source).name, failure.partial) for failure in loader.failures]
    assert told == [
        ("b.lines", True),
        ("c.lines", True),
        ("d.lines", False),
        ("e.none", False),
        ("f.txt", False),
    ]
    by_name = {Path(failure.source).name: str(failure.error) for failure in loader.failures}
    assert "line 1 cannot be read" in by_name["b.lines"]
    assert "the disk ended" in by_name["c.lines"]
    assert "ZeroDivisionError: nobody thought of this" in by_name["d.lines"]
    assert 'pip install "langchain-mmrag[pdf]"' in by_name["e.none"]
    assert "nobody thought of this" in caplog.text
    with pytest.raises(errors.MissingDependencyError):
        DirectoryLoader(tmp_path, glob="e*", loaders={".none": Missing}, on_error="raise").load()


def test_a_kind_whose_extra_is_not_installed_is_a_failure_with_the_line_that_installs_it(
    tmp_path, monkeypatch
):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.drawString(72, 720, "A page.")
    canvas.save()
    write(tmp_path, "b.md")
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    loader = DirectoryLoader(tmp_path)
    assert names(loader.load()) == ["b.md"]
    assert 'pip install "langchain-mmrag[pdf]"' in str(loader.failures[0].error)


def test_a_loader_of_ones_own_gets_ids_and_links_like_the_others(tmp_path):
    class Foreign(BaseLoader):
        def __init__(self, path):
            self.path = path

        def lazy_load(self):
            yield Document("first", metadata={"source": "elsewhere", "page": 1})
            yield Document("second")

    path = write(tmp_path, "a.own", "b.txt") / "a.own"
    first, second = DirectoryLoader(tmp_path, glob="*.own", loaders={".own": Foreign}).load()
    assert first.metadata["source"] == second.metadata["source"] == str(path)
    assert (first.metadata["page"], second.metadata["parts"]) == (1, 2)
    assert first.id.startswith("file:")
    assert first.id != second.id
    assert "Foreign" in first.metadata["loader"]


# into a collection


@pytest.fixture
def store(counting_embeddings, tmp_path) -> MultimodalChroma:
    return MultimodalChroma(
        f"c{uuid.uuid4().hex}", counting_embeddings, persist_directory=str(tmp_path / "mm_store")
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "town").mkdir()
    return tmp_path / "town"


def index(store, folder, **options) -> IndexReport:
    return index_paths(store, folder, options=LoaderOptions(loaders=OWN, ocr=None), **options)


def texts(store) -> list[str]:
    return sorted(store.get()["documents"])


def kept(store) -> list[str]:
    return sorted(path.name for path in store.media_directory.rglob("*") if path.is_file())


def test_a_long_file_is_written_while_it_is_read(store, folder, monkeypatch):
    write(folder, "long.lines", text="\n".join(f"line {number}" for number in range(1000)))
    ahead = []
    given, seen = [0], [0]
    add_documents = store.add_documents

    def add(documents, **options):
        given[0] += len(documents)
        ahead.append(seen[0] - given[0])
        return add_documents(documents, **options)

    monkeypatch.setattr(store, "add_documents", add)

    def on_document(done, total, source, documents):
        assert (done, total, source) == (0, 1, str(folder / "long.lines"))
        seen[0] = documents

    report = index(store, folder, on_document=on_document)
    assert (report, report.documents, len(ahead)) == (IndexReport(added=1), 1000, 16)
    assert max(ahead) <= 0
    assert index(store, folder) == IndexReport(skipped=1)


def test_pictures_taken_out_of_a_file_go_when_it_changes_and_when_it_is_pruned(store, folder):
    write(folder, "a.lines", text="PICTURE\none")
    write(folder, "b.lines", text="two")
    index(store, folder)
    assert kept(store) == ["figure-0.png"]
    write(folder, "a.lines", text="one\nPICTURE")
    assert index(store, folder) == IndexReport(updated=1, skipped=1)
    assert kept(store) == ["figure-1.png"]
    (folder / "a.lines").unlink()
    assert index(store, folder) == IndexReport(skipped=1, vanished=1)
    assert kept(store) == ["figure-1.png"]
    assert index(store, folder, prune=True) == IndexReport(skipped=1, deleted=1)
    assert kept(store) == []
    assert texts(store) == ["two"]


def test_a_file_that_fails_half_way_keeps_what_was_known_and_leaves_nothing_new(store, folder):
    write(folder, "a.lines", text="old\nPICTURE")
    index(store, folder)
    write(folder, "a.lines", text="\n".join(["PICTURE", *map(str, range(200)), "INSTALL"]))
    report = index(store, folder)
    assert (report.readable, report.documents) == (0, 0)
    assert "pip install what reads it" in report.failed[0].reason
    assert texts(store) == ["a figure", "old"]
    assert kept(store) == ["figure-1.png"]


def test_a_problem_inside_a_file_is_partial_and_the_rest_is_found(store, folder):
    write(folder, "a.lines", text="one\nPROBLEM\ntwo")
    report = index(store, folder)
    assert (report.added, report.failed, texts(store)) == (1, (), ["one", "two"])
    assert [Path(source).name for source, _ in report.partial] == ["a.lines"]
    assert index(store, folder) == IndexReport(skipped=1, partial=report.partial), "and is told again"
    assert not any(key.startswith("mmrag") for key in store.similarity_search("two", k=1)[0].metadata)
    write(folder, "a.lines", text="one\ntwo")
    assert index(store, folder) == IndexReport(updated=1)
    write(folder, "a.lines", text="\n".join(["one", *["PROBLEM"] * 30]))
    assert len(index(store, folder).partial) == 30
    assert index(store, folder).partial[-1].reason == "and 10 more"


def test_a_document_that_cannot_be_written_costs_itself_alone(store, folder, monkeypatch):
    write(folder, "a.lines", text="one\ntwo\nPICTURE\nthree")
    write(folder, "b.lines", text="four")
    add_documents = store.add_documents

    def add(documents, **options):
        if any(document.metadata.get("modality") == "image" for document in documents):
            raise errors.CorruptMediaError("the picture is gone")
        return add_documents(documents, **options)

    monkeypatch.setattr(store, "add_documents", add)
    report = index(store, folder)
    assert (report.added, report.documents) == (2, 4)
    assert report.partial == ((str(folder / "a.lines"), "document 3 of the file: the picture is gone"),)
    assert texts(store) == ["four", "one", "three", "two"]
    assert index(store, folder) == IndexReport(skipped=2, partial=report.partial)
    write(folder, "a.lines", text="one\ntwo\nPICTURE")  # the last one this time
    report = index(store, folder)
    assert texts(store) == ["four", "one", "two"]
    assert index(store, folder) == IndexReport(skipped=2, partial=report.partial)


def test_another_loader_reads_an_unchanged_file_anew(store, folder, monkeypatch):
    write(folder, "a.lines", text="one\ntwo")
    index(store, folder)
    monkeypatch.setattr(Lines, "name", "lines2")
    report = index(store, folder)
    assert (report, report.documents, len(texts(store))) == (IndexReport(updated=1), 2, 2)
    assert index(store, folder) == IndexReport(skipped=1)


class Shout(BaseDocumentTransformer):
    """Makes pictures loud; some files have to wait."""

    modalities = frozenset({"image"})

    def __init__(self, unfinished=()):
        self.fingerprint = "shout"
        self.unfinished = set(unfinished)
        self.seen = []
        self.calls = 0

    def transform_documents(self, documents, **_):
        self.calls += 1
        self.seen += [document.page_content for document in documents]
        return [
            Document(document.page_content.upper(), id=document.id, metadata=document.metadata)
            if document.metadata.get("modality") == "image"
            and document.metadata["source"] not in self.unfinished
            else document
            for document in documents
        ]


def test_a_transformer_has_its_part_in_what_is_unchanged(store, folder):
    write(folder, "a.lines", text="one\nPICTURE")
    write(folder, "b.lines", text="two")
    index(store, folder)
    waiting = Shout(unfinished=[str(folder / "a.lines")])
    for _ in range(2):  # a file that has to wait is tried again
        assert index(store, folder, transformers=[waiting]) == IndexReport(updated=1, skipped=1)
    assert texts(store) == ["a figure", "one", "two"]
    shout = Shout()
    assert index(store, folder, transformers=[shout]) == IndexReport(updated=1, skipped=1)
    assert texts(store) == ["A FIGURE", "one", "two"]
    assert shout.seen == ["a figure"], "what it has no part in is not written again"
    assert index(store, folder, transformers=[shout]) == IndexReport(skipped=2)
    assert index(store, folder) == IndexReport(skipped=2), "who gives none leaves what others did"
    other = Shout()
    other.fingerprint = "other"
    assert index(store, folder, transformers=[other]) == IndexReport(updated=1, skipped=1)


def test_a_bad_document_in_a_batch_is_no_reason_to_transform_the_others_again(store, folder, monkeypatch):
    write(folder, "a.lines", text="one\ntwo\nthree\nfour")
    add_documents = store.add_documents

    def add(documents, **options):
        if any(document.page_content == "three" for document in documents):
            raise ValueError("document 0: it is odd")
        return add_documents(documents, **options)

    monkeypatch.setattr(store, "add_documents", add)
    shout = Shout()
    report = index(store, folder, transformers=[shout])
    assert (shout.calls, texts(store)) == (1, ["four", "one", "two"])
    assert report.partial[0].reason == "document 3 of the file: it is odd"


def test_a_transformer_that_cannot_work_is_an_error_of_the_run_and_not_of_its_files(store, folder):
    class NoModel(Shout):
        @property
        def fingerprint(self):
            raise errors.ModelUnavailableError("there is no such model")

        @fingerprint.setter
        def fingerprint(self, _):
            pass

    write(folder, "a.lines", text="one")
    with pytest.raises(errors.ModelUnavailableError):
        index(store, folder, transformers=[NoModel()])


def test_a_transformer_that_loses_documents_is_a_mistake(store, folder):
    class Sift(BaseDocumentTransformer):
        def transform_documents(self, documents, **_):
            return documents[1:]

    write(folder, "a.lines", text="one\ntwo")
    with pytest.raises(TypeError, match="every document back"):
        index(store, folder, transformers=[Sift()])


def test_a_file_that_cannot_be_looked_at_has_not_vanished(store, folder, monkeypatch):
    write(folder, "a.lines", "sub/b.lines")
    index(store, folder)
    shutil.move(folder / "sub", folder.parent / "sub")
    (folder / "sub").write_text("a file now")
    stat = os.stat

    def refuse(path, *args, **options):
        if str(path).endswith("b.lines"):
            raise OSError(5, "Input/output error")
        return stat(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        assert index(store, folder, prune=True, glob="*.lines").deleted == 0
    assert index(store, folder, prune=True, glob="*.lines").deleted == 1


# what else a file depends on


def picture(path: Path, color: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), color).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [("n.md", "# One\n![a](a.png)\n\n# Two\nwords"), ("t.csv", "name,picture\none,a.png\ntwo,b.png\n")],
)
def test_a_picture_that_a_file_shows_is_shown_as_it_is_now(store, folder, name, text):
    write(folder, name, text=text)
    picture(folder / "b.png", "blue")

    def shown() -> list[bool]:
        rows = [row for row in store.get()["metadatas"] if "sha256" in row]
        (alone,) = {row["sha256"] for row in rows if row["source"].endswith("a.png")} or {""}
        here = [row for row in rows if row["source"].endswith(name) and row.get("path", "").endswith("a.png")]
        return [row["sha256"] == alone and row["parent_id"] in store.get()["ids"] for row in here]

    first = index(store, folder)
    assert (first.added, shown(), len(first.partial)) == (2, [], 1)
    assert index(store, folder) == IndexReport(skipped=2, partial=first.partial)
    picture(folder / "a.png", "red")
    assert index(store, folder) == IndexReport(added=1, updated=1, skipped=1)
    assert shown() == [True]
    assert index(store, folder) == IndexReport(skipped=3)
    picture(folder / "a.png", "green")
    assert index(store, folder) == IndexReport(updated=2, skipped=1)
    assert shown() == [True]
    assert index(store, folder) == IndexReport(skipped=3)
    (folder / "a.png").unlink()
    assert index(store, folder, prune=True) == IndexReport(
        updated=1, skipped=1, deleted=1, partial=first.partial
    )
    assert shown() == []
    parts = [row["part"] for row in store.get()["metadatas"] if row["source"].endswith(name)]
    assert sorted(parts) == list(range(len(parts)))


def test_collections_side_by_side_keep_their_own_pictures(store, folder, counting_embeddings, tmp_path):
    other = MultimodalChroma("other", counting_embeddings, persist_directory=str(tmp_path / "mm_store"))
    write(folder, "a.lines", text="PICTURE\none")
    index(store, folder)
    index(other, folder)
    write(folder, "a.lines", text="two")
    index(store, folder)
    (path,) = (row["path"] for row in other.get()["metadatas"] if "path" in row)
    assert Path(path).is_file()


def test_pictures_of_other_options_go_and_those_in_use_are_not_written_over(store, folder, monkeypatch):
    write(folder, "a.lines", text="PICTURE\none")
    index(store, folder)
    (path,) = (row["path"] for row in store.get()["metadatas"] if "path" in row)
    before = Path(path).read_bytes()

    class Blue(Lines):
        name = "blue"

        def parts(self, file):
            file.keep_picture(Image.new("RGB", (8, 8), "blue"), "figure-0")
            yield Part(text="blue")
            if is_broken:
                require("no_such_module", extra="pdf")

    is_broken = True
    monkeypatch.setitem(OWN, ".lines", Blue)
    assert len(index(store, folder).failed) == 1
    assert Path(path).read_bytes() == before
    assert len(kept(store)) == 1
    is_broken = False
    assert index(store, folder).updated == 1
    assert (Path(path).exists(), len(kept(store))) == (False, 1)


def test_a_file_that_changes_while_it_is_read_is_read_again(store, folder):
    path = write(folder, "a.lines", text="first") / "a.lines"

    class Restless(Lines):
        def parts(self, file):
            path.write_text("other")
            yield from super().parts(file)
            path.write_text("first")  # as it was, but that is not what was read

    report = index_paths(store, folder, options=LoaderOptions(loaders={".lines": Restless}, ocr=None))
    assert "changed while it was read" in report.partial[0].reason
    assert texts(store) == ["other"]
    assert index(store, folder) == IndexReport(updated=1)
    assert texts(store) == ["first"]
    assert index(store, folder) == IndexReport(skipped=1)


def test_captions_that_were_left_for_another_run_are_done_with_once_they_are_there(store, folder):
    class Color:
        fingerprint = "color"

        def caption(self, images):
            return [f"a square of {image.getpixel((0, 0))}" for image in images]

    for color in ("red", "blue"):
        picture(folder / f"{color}.png", color)
    captions = CaptionTransformer(Color(), cache=":memory:", max_images=1)
    assert index(store, folder, transformers=[captions]).added == 2
    assert len(captions.unfinished) == 1
    captions.max_images = 2
    assert index(store, folder, transformers=[captions]) == IndexReport(updated=1, skipped=1)
    assert captions.unfinished == set()
    assert index(store, folder, transformers=[captions]) == IndexReport(skipped=2)


# what is no longer read


def test_files_that_are_passed_over_now_are_counted_and_pruned(store, folder):
    write(folder, "a.lines", "photo.txt", "secret/b.lines", "old.lines", "kind.lines", "z/x.lines")
    assert index(store, folder) == IndexReport(added=6)
    picture(folder / "photo.jpg", "red")
    write(folder, ".mmragignore", text="secret/\n")
    (folder / "old.lines").unlink()
    write(folder, "old.lines/c.lines")
    (folder / "z").rename(folder / "y")
    (folder / "z").symlink_to("y")
    assert index(store, folder, glob="a.*").vanished == 0, "only globs that are about a file take it away"
    again = index(store, folder)
    assert (again.added, again.skipped, again.vanished) == (3, 2, 4)
    done = index(store, folder, prune=True)
    assert (done.skipped, done.deleted) == (5, 4)
    names = {Path(row["source"]).relative_to(folder).as_posix() for row in store.get()["metadatas"]}
    assert names == {"a.lines", "kind.lines", "old.lines/c.lines", "photo.jpg", "y/x.lines"}
    done = index_paths(store, folder, options=LoaderOptions(ocr=None), prune=True)
    assert (done.deleted, done.ignored) == (4, {".lines": 4}), "of a kind that nothing reads any more"


def test_what_lies_where_the_search_cannot_go_stays(store, folder, monkeypatch):
    write(folder, "a.lines", "sub/b.lines")
    index(store, folder)
    iterdir = Path.iterdir

    def refuse(path):
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    report = index(store, folder, prune=True)
    assert (report.skipped, report.deleted, len(report.failed)) == (1, 0, 1)


def test_paths_out_of_reach_or_named_in_two_ways_are_no_matter(store, folder, monkeypatch):
    write(folder, "a.lines", "b/c.lines")
    (folder / "b" / "gone").symlink_to("nowhere")
    options = LoaderOptions(loaders=OWN, ocr=None)
    report = index_paths(store, [f"/{folder}", folder, folder / "b"], options=options)
    assert (report.added, len(report.failed)) == (2, 1)
    stat = os.stat

    def refuse(path, *args, **options):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    report = index_paths(store, [folder / "shut", folder / "a.lines"], options=options)
    assert report.skipped == 1
    assert [reason for _, reason in report.failed] == [f"cannot reach {folder / 'shut'}: Permission denied"]


KILLED = """
import json, os, signal, sys
from pathlib import Path
from langchain_core.embeddings import Embeddings
import langchain_mmrag.indexing, langchain_mmrag.vectorstores
from langchain_mmrag._store import pipeline
from langchain_mmrag.document_loaders.kinds import LoaderOptions

class Letters(Embeddings):
    def embed_query(self, text): return [float(text.count(letter)) + 0.1 for letter in "aeiou"]
    def embed_documents(self, texts): return [self.embed_query(text) for text in texts]

root, store_folder = Path(sys.argv[1]), sys.argv[2]
pipeline._ROWS = 64

def run(kill_at):
    store = langchain_mmrag.vectorstores.MultimodalChroma("killed", Letters(), persist_directory=store_folder)
    calls = [0]
    def dying(method):
        def call(*args, **options):
            calls[0] += 1
            if calls[0] == kill_at: os.kill(os.getpid(), signal.SIGKILL)
            result = method(*args, **options)
            calls[0] += 1
            if calls[0] == kill_at: os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call
    for name in ("_upsert", "delete"): setattr(store, name, dying(getattr(store, name)))
    options = LoaderOptions(ocr=None)
    report = langchain_mmrag.indexing.index_paths(store, root, options=options, prune=True)
    rows = store.get()
    print(json.dumps({"calls": calls[0], "added": report.added, "updated": report.updated,
        "deleted": report.deleted, "skipped": report.skipped, "written": report.documents,
        "texts": sorted(rows["documents"]), "failed": report.failed}), flush=True)

for kill_at in json.loads(sys.argv[3]):
    pid = os.fork()
    if not pid:
        run(kill_at)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}), flush=True)
"""


@pytest.mark.timeout(120)
def test_a_run_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing(tmp_path):
    root = tmp_path / "town"

    def note(name: str, words: str, parts: int) -> None:
        write(root, name, text="\n".join(f"# {name} {number}\n{words}" for number in range(parts)))

    def indexed(*kill_at: int) -> list[dict]:
        code = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "store"), json.dumps(kill_at)]
        done = subprocess.run(code, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def expected() -> list[str]:
        loader = DirectoryLoader(root, ocr=None)
        return sorted(document.page_content for document in loader.load())

    for name in ("a.md", "b.md", "c.md"):
        note(name, "old words", 100)
    killed, last, _ = indexed(2, 0)
    assert killed == {"signal": 9}
    assert last["texts"] == expected()
    assert 0 < last["written"] < 300, "what the killed run wrote is not written again"
    note("a.md", "new words", 130)
    (root / "b.md").unlink()
    note("d.md", "new words", 70)
    # before a new part, between new parts, between new and old ones, after the old ones
    *killed, last, _, again, _ = indexed(1, 2, 5, 2, 0, 0)
    assert killed == [{"signal": 9}] * 4
    assert (last["texts"], last["failed"]) == (expected(), [])
    assert (again["skipped"], again["written"], again["texts"]) == (3, 0, expected())


# the command


@pytest.fixture
def run(tmp_path, tiny_clip_dir):
    def invoke(*arguments):
        model = ["--model", f"local-dir:{tiny_clip_dir}", "--ocr", "off"]
        store = ["--store", tmp_path / "s"]
        result = CliRunner().invoke(cli.app, list(map(str, ["index", *store, *model, *arguments])))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_the_command_says_what_vanished_what_matched_nothing_and_groups_reasons(run, folder):
    write(folder, "a.md", "b.md", "sub/c.md", "d.txt")
    write(folder, "e1.txt", "e2.txt", "e3.txt", "e4.txt", text="")
    result = run(folder, "--glob", "*.{md,txt}", "--glob", "*.tex", "--exclude", "d.*")
    assert result.exit_code == 0
    assert "2 added, 0 updated, 0 skipped, 0 deleted, 4 failed (2 documents written)" in result.stdout
    assert "not read: 4 files (e1.txt, e2.txt, e3.txt, ...): … is empty" in result.stderr
    assert "no file matches *.tex; in every folder: **/*.tex" in result.stderr
    (folder / "b.md").unlink()
    result = run(folder, "--glob", "*.md")
    assert (
        "1 file gone or passed over now, with their documents still there: --prune takes them out"
        in result.stdout
    )
    assert "1 deleted" in run(folder, "--glob", "*.md", "--prune").stdout


def test_strict_makes_every_failure_count(run, folder):
    write(folder, "a.md")
    write(folder, "b.md", text="")
    assert run(folder).exit_code == 0
    assert run(folder, "--strict").exit_code == 1
    assert run(folder / "a.md", "--strict").exit_code == 0
    write(folder, "b.md", text="![a picture](none.png)\n\nwords")
    for _ in range(2):  # what was told once is told again
        result = run(folder, "--strict")
        assert result.exit_code == 1
        assert "Indexing 2 files ..." in result.stderr
        assert result.stderr.count("none.png") == 1, "and each time once"


def test_the_command_prints_everything_as_json(run, folder):
    write(folder, "a.md", "b.xyz", ".gitignore", text="c.md")
    write(folder, "c.md")
    row = json.loads(run(folder, "--json").stdout)
    assert (row["added"], row["documents"], row["ignored"], row["partial"]) == (1, 1, {".xyz": 1}, [])
    assert json.loads(run(folder, "--json", "--no-ignore").stdout)["added"] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--transcribe", "ears"], "pocketsphinx"),
        (["--caption-max", "3"], "--caption"),
        (["--ocr", "maybe"], "tesseract"),
    ],
)
def test_options_of_the_command_that_mean_nothing_are_refused(run, folder, arguments, told):
    result = run(write(folder, "a.md"), *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
