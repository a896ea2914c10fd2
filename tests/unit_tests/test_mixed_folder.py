"""A folder of every kind of file is indexed once; each question finds the place its answer stands at."""

import pytest

from langchain_mmrag import MultimodalChroma, OpenCLIPEmbeddings
from langchain_mmrag.document_loaders import LoaderOptions
from langchain_mmrag.document_loaders.ocr import ocr_reader
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.prompts import cite, cite_link
from tests.unit_tests.mixed_folder import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mixed") / "project"
    path.mkdir()
    return make_folder(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    embeddings = OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)
    return MultimodalChroma("mixed", embeddings, persist_directory=str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def report(folder, store):
    return index_paths(store, folder, options=LoaderOptions(ocr=ocr_reader("rapidocr")))


QUESTIONS = [
    # what is asked, where the answer stands, and the end of the address that opens it
    ("What is the mooring fee?", "report.pdf p. 2", "report.pdf#page=2"),
    ("an anchor", "report.pdf p. 3", "report.pdf#page=3"),
    ("What does the pier roof cost?", "council.pptx p. 2", "council.pptx#page=2"),
    ("Who asked for a heated rehearsal room?", "minutes.docx", "minutes.docx"),
    ("brass compass", "sales.xlsx Q3!row 17", "sales.xlsx"),
    ("parasol", "shop.csv row 2", "shop.csv"),
    ("Which berth has Adelheid?", "boats.parquet row 1", "boats.parquet"),
    ("bilge pump jammed", "harbor.jsonl row 2", "harbor.jsonl"),
    ("Who is the lamplighter?", "members.sqlite members!row 2", "members.sqlite"),
    ("When is the spring tide?", "tides.html", "tides.html"),
    ("quince jelly", "notes.md", "notes.md"),
    ("weathercock", "todo.txt", "todo.txt"),
    ("barrels tarred", "receipt.tiff p. 2", "receipt.tiff#page=2"),
    ("a rooster", "morning.mp4 0:05-0:10", "morning.mp4#t=5,10"),
    ("there she blows", "morning.mp4 0:11-0:14", "morning.mp4#t=11,14"),
    ("a crab", "IMG_0002.webp", "IMG_0002.webp"),
    ("grandfather's last regatta", "IMG_0001.jpg", "IMG_0001.jpg"),
    ("a telescope", "mislabelled.txt", "mislabelled.txt"),
]


@pytest.mark.parametrize(("question", "place", "address"), QUESTIONS, ids=[row[0] for row in QUESTIONS])
def test_a_question_finds_the_place_of_its_answer(store, report, question, place, address):
    found = store.similarity_search(question, k=3, search="hybrid")
    assert place in [cite(document) for document in found]
    document = next(document for document in found if cite(document) == place)
    assert cite_link(document).endswith(address)


def test_every_kind_is_there_and_what_is_broken_is_told(store, report):
    kinds = {metadata["source"].rpartition(".")[2] for metadata in store.get()["metadatas"]}
    assert kinds == {
        *("pdf", "pptx", "docx", "xlsx", "csv", "parquet", "jsonl", "sqlite", "html", "md", "txt"),
        *("tiff", "mp4", "png", "jpg", "webp"),
    }
    told = {failure.source.rpartition("/")[2] for failure in report.failed}
    assert told == {"empty.pdf", "torn.pdf", "torn.mp4", "not_a_zip.docx"}


def test_a_second_run_does_nothing(folder, store, report):
    before = store.get()["ids"]
    again = index_paths(store, folder, options=LoaderOptions(ocr=ocr_reader("rapidocr")))
    assert (again.added, again.updated, again.skipped) == (0, 0, report.added)
    assert store.get()["ids"] == before


def test_rows_are_filtered_by_their_numbers(store, report):
    found = store.similarity_search("article", k=60, filter={"price": {"$lt": 50}}, modality="table")
    cited = {cite(document) for document in found}
    assert {"shop.csv row 2", "sales.xlsx Q3!row 18"} <= cited
    assert not cited & {"shop.csv row 3", "sales.xlsx Q3!row 17"}
