"""What is added is inserted while more is embedded: in bounded memory, whole whatever stops it."""

import errno
import json
import re
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from chromadb.errors import InternalError, InvalidArgumentError
from PIL import Image

from langchain_mmrag import errors
from langchain_mmrag._cli import console
from langchain_mmrag._store import ledger, pipeline
from langchain_mmrag._store.ingest import Row
from langchain_mmrag.document_loaders import image
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.indexing import IndexReport, index_paths
from langchain_mmrag.indexing.file import FileInWork
from langchain_mmrag.indexing.known import Known
from langchain_mmrag.indexing.run import _Taker
from langchain_mmrag.media import MediaPolicy, decode, remote
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pipeline, "_ROWS", 8)


@pytest.fixture
def store(tmp_path) -> MultimodalChroma:
    name = f"c{uuid.uuid4().hex}"
    return MultimodalChroma(name, CountingEmbeddings(show_progress=False), persist_directory=str(tmp_path))


def shades(folder: Path, count: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return list(map(str, paths))


def assert_in_step(store: MultimodalChroma) -> None:
    """The account beside the collection is of the rows that are in it, with nothing left undone."""
    ids = store.get()["ids"]
    assert store._ledger.count() == len(ids)
    assert set(store._ledger.entries(ids)) == set(ids)


def test_a_large_add_is_inserted_while_the_next_is_embedded(store, tmp_path, monkeypatch):
    threads, upsert = [], store._upsert
    embedding, embedded = threading.Event(), store._embedder.images
    inserting = threading.Event()

    def images(pictures, on_failure):
        if store._collection.count() == 0 and not inserting.is_set():
            return embedded(pictures, on_failure)
        assert inserting.wait(20), "the piece before is not inserted meanwhile"
        embedding.set()
        return embedded(pictures, on_failure)

    def slow(rows):
        threads.append(threading.current_thread())
        inserting.set()
        if len(threads) == 1:
            assert embedding.wait(20), "nothing is embedded while a piece is inserted"
        upsert(rows)

    monkeypatch.setattr(store, "_upsert", slow)
    monkeypatch.setattr(store._embedder, "images", images)
    monkeypatch.setattr(
        pipeline.Inserter, "advance", _after(pipeline.Inserter.advance, lambda: inserting.wait(20))
    )
    ids = store.add_images(shades(tmp_path / "p", 40))
    assert len(set(ids)) == 40
    assert store.get_by_ids(ids)[39].metadata["width"] == 4
    assert len(threads) == 3
    assert threading.main_thread() not in threads
    assert_in_step(store)


def _after(method, step):
    def call(*args):
        method(*args)
        step()

    return call


def test_what_fits_one_piece_is_all_or_nothing_and_of_more_whole_pieces_stay(store, tmp_path):
    paths = shades(tmp_path / "p", 40)
    Path(paths[15]).write_bytes(b"no picture")
    Path(paths[37]).write_bytes(b"no picture")
    with pytest.raises(errors.LoadError, match="document 15: "):
        store.add_images(paths[:16])
    assert store.get()["ids"] == []
    with pytest.raises(errors.LoadError, match="document 21: "):
        store.add_images(paths[16:])
    assert len(store.get()["ids"]) == 16
    assert_in_step(store)
    assert len(store.add_images(paths, on_error="skip")) == 38
    assert len(store.get()["ids"]) == 38


def test_of_several_documents_with_one_id_the_last_wins_wherever_they_stand(store):
    texts = [f"note {number}" for number in range(50)]
    ids = [f"id-{number % 20}" for number in range(50)]
    assert store.add_texts(texts, ids=ids) == ids
    found = {document.id: document.page_content for document in store.get_by_ids(ids)}
    assert found == dict(zip(ids, texts, strict=True))
    assert_in_step(store)


def test_an_error_of_the_inserting_thread_reaches_who_adds(store, monkeypatch):
    def full(rows):
        raise errors.StoreError("the disk is full")

    monkeypatch.setattr(store, "_upsert", full)
    with pytest.raises(errors.StoreError, match="the disk is full"):
        store.add_texts([f"note {number}" for number in range(100)])
    assert len(store.embeddings.text_batches) <= 4, "embedding goes on though nothing can be written"
    monkeypatch.undo()
    store.add_texts(["one"])
    assert_in_step(store)


def test_no_more_than_two_pieces_wait_for_a_slow_disk(store, monkeypatch):
    upsert, embedded, most = store._upsert, [0], [0]
    written = [0]
    embed = store._embedder.texts

    def texts(given):
        embedded[0] += len(given)
        most[0] = max(most[0], embedded[0] - written[0])
        return embed(given)

    def slow(rows):
        upsert(rows)
        written[0] += len(rows)

    monkeypatch.setattr(store._embedder, "texts", texts)
    monkeypatch.setattr(store, "_upsert", slow)
    store.add_texts([f"note {number}" for number in range(200)])
    assert (written[0], most[0] <= 3 * 16) == (200, True)


class SmallEmbeddings(CountingEmbeddings):
    """Looks at pictures of 8 by 8 pixels."""

    def _min_side(self):
        return 16

    def _shrink(self, image):
        return image if image.size == (8, 8) else image.resize((8, 8))


@pytest.mark.parametrize("way", ["folder", "uris", "blobs"])
def test_a_picture_is_decoded_once_and_its_vector_is_that_of_the_file(tmp_path, monkeypatch, way):
    embedding = OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)
    store = MultimodalChroma(f"c{uuid.uuid4().hex}", embedding, persist_directory=str(tmp_path / "s"))
    paths = [tmp_path / "p" / name for name in ("a.png", "b.jpg", "c.jpg")]
    paths[0].parent.mkdir()
    for shade, path in enumerate(paths):
        Image.effect_noise((320, 240), 40 * (shade + 1)).save(path)
    calls, decoded = [], decode.decode
    for module in (decode, image):
        monkeypatch.setattr(module, "decode", lambda *a, **k: calls.append(1) or decoded(*a, **k))
    if way == "folder":
        index_paths(store, tmp_path / "p", options=LoaderOptions(ocr=None))
    elif way == "uris":
        store.add_images(paths)
    else:
        store.add_images(blobs=[path.read_bytes() for path in paths])
    assert len(calls) == 3
    rows = store.get(include=["embeddings", "metadatas"])
    assert {row["width"] for row in rows["metadatas"]} == {320}
    found = [row["source"] for row in rows["metadatas"]]
    expected = np.array([embedding.embed_image(path) for path in found])
    assert rows["embeddings"] == pytest.approx(expected, abs=1e-5)


def test_the_stricter_of_two_policies_holds_for_what_is_added(tmp_path):
    (path,) = shades(tmp_path, 1)
    for own, of_store in ((15, 16), (16, 15), (16, 16)):
        embedding = CountingEmbeddings(media_policy=MediaPolicy(max_pixels=own))
        store = MultimodalChroma(
            f"c{uuid.uuid4().hex}", embedding, media_policy=MediaPolicy(max_pixels=of_store)
        )
        assert len(store.add_images([path], on_error="skip")) == (own + of_store == 32)


@pytest.fixture
def stalling(monkeypatch):
    """Addresses of five pictures, each wider than the one before; the second never comes."""
    asked, when_left, over = [], [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            number = int(self.path[1:])
            asked.append(number)
            if number == 1:
                over.wait(60)
                return
            file = BytesIO()
            Image.new("RGB", (4 + number, 4), (number, 0, 0)).save(file, "PNG")
            self.send_response(200)
            self.send_header("Content-Length", str(len(file.getvalue())))
            self.end_headers()
            self.wfile.write(file.getvalue())

        def log_message(self, *args):
            pass

    fetch = remote.fetch

    def watched(url, policy):
        try:
            return fetch(url, policy)
        except errors.LoadError:
            when_left.append(sorted(asked))
            raise

    monkeypatch.setattr(remote, "fetch", watched)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(5)], when_left
        over.set()
        server.shutdown()
        thread.join()


def test_an_address_that_stalls_in_the_middle_does_not_keep_the_others_waiting(stalling, caplog):
    addresses, when_left = stalling
    policy = MediaPolicy(allow_private_addresses=True, timeout_s=4)
    store = MultimodalChroma(f"c{uuid.uuid4().hex}", SmallEmbeddings(), media_policy=policy)
    ids = store.add_images(addresses, on_error="skip")
    assert when_left == [[0, 1, 2, 3, 4]], "the others are asked for before the slow one is given up"
    assert [found.metadata["width"] for found in store.get_by_ids(ids)] == [4, 6, 7, 8]
    (skipped,) = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert skipped.startswith("skipped document 1: ")
    assert addresses[1] in skipped


def test_only_texts_longer_than_the_model_reads_are_counted_word_by_word(tmp_path, monkeypatch):
    embedding = OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)
    store = MultimodalChroma(f"c{uuid.uuid4().hex}", embedding)
    counted, count = [], embedding.token_counts
    monkeypatch.setattr(embedding, "token_counts", lambda texts: counted.append(len(texts)) or count(texts))
    store.add_texts([f"note {number}" for number in range(16)])
    assert counted == [1, 16], "once for the splitter, once for all texts"
    long = "a lighthouse above the harbour, " * 40
    (id_,) = store.add_texts([long])
    assert len(store._ledger.children([id_])[id_]) > 0


def test_a_picture_in_a_folder_is_decoded_once(tmp_path, monkeypatch):
    embedding = SmallEmbeddings(show_progress=False)
    store = MultimodalChroma(f"c{uuid.uuid4().hex}", embedding, persist_directory=str(tmp_path / "s"))
    (tmp_path / "p").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.effect_noise((640, 480), 80).save(tmp_path / "p" / name)
    calls, decoded = [], decode.decode
    for module in (decode, image):
        monkeypatch.setattr(module, "decode", lambda *a, **k: calls.append(1) or decoded(*a, **k))
    report = index_paths(store, tmp_path / "p", options=LoaderOptions(ocr=None))
    assert (report, len(calls)) == (IndexReport(added=2), 2)
    assert {*report.seconds} == {"total", "reading", "embedding", "inserting"}
    rows = store.get(include=["embeddings", "metadatas"])
    paths = [row["source"] for row in rows["metadatas"]]
    assert embedding.embed_images_array(paths).vectors == pytest.approx(rows["embeddings"], abs=1e-6)


STOPPED = """
import json, os, signal, sys, threading
from pathlib import Path
from langchain_mmrag._store import pipeline
from langchain_mmrag.document_loaders.image import ImageLoader
from langchain_mmrag.indexing import index_paths
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings

root, folder, stage = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has jobs in the background ignore it
pipeline._ROWS = 16
calls = [0]

def stopping(method, at):
    def call(*args, **options):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGINT)
        return method(*args, **options)
    return call

class Stopping(CountingEmbeddings):
    if stage == "embedding":
        _encode_images = stopping(CountingEmbeddings._encode_images, 2)

if stage == "reading":
    ImageLoader.parts = stopping(ImageLoader.parts, 90)
store = MultimodalChroma("stopped", Stopping(show_progress=False), persist_directory=folder)
if stage == "inserting":
    store._upsert = stopping(store._upsert, 2)
try:
    index_paths(store, root)
except KeyboardInterrupt:
    threads = [t for t in threading.enumerate() if t.name.startswith("mmrag-insert")]
    for thread in threads:
        thread.join(20)
    print(json.dumps({"rows": len(store.get()["ids"]), "ledger": store._ledger.count()}))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stage", ["reading", "embedding", "inserting"])
def test_ctrl_c_leaves_whole_rows_and_a_second_run_completes_them(tmp_path, stage):
    shades(tmp_path / "p", 200)
    code = [sys.executable, "-c", STOPPED, str(tmp_path / "p"), str(tmp_path / "s"), stage]
    done = subprocess.run(code, capture_output=True, text=True, timeout=100, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 0 < told["rows"] < 200
    assert told["rows"] == told["ledger"]
    assert told["rows"] % 32 == 0, "what was embedded is not lost"
    embedding = CountingEmbeddings(show_progress=False)
    store = MultimodalChroma("stopped", embedding, persist_directory=str(tmp_path / "s"))
    assert_in_step(store)
    report = index_paths(store, tmp_path / "p")
    assert report == IndexReport(added=200 - told["rows"], skipped=told["rows"])
    assert sum(embedding.image_batches) == 200 - told["rows"]
    assert_in_step(store)


def test_how_far_a_run_is_is_told_with_its_rate_and_the_time_left():
    assert console.pace(50, 200, 10.0) == "50 of 200 files, 5.0 files/s, 0:30 left"
    assert console.pace(0, 1, 10.0) == "0 of 1 file"


def test_where_stderr_is_no_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(console, "_LINE_EVERY_S", -1.0)
    with console.progress("Indexing") as bar:
        bar(1, 2, "a.md")
        bar(2, 2, "b.md")
    start, first, last = capsys.readouterr().err.splitlines()
    assert start == "Indexing 2 files ..."
    assert first.startswith("Indexing: 1 of 2 files, ")
    assert last.endswith("files/s, 0:00 left")


@pytest.mark.parametrize("key", ["chroma:document", "#number", "$and"])
def test_a_key_that_chroma_keeps_for_itself_is_refused_before_anything_waits(store, key):
    said = rf"document 1: metadata\['{re.escape(key)}'\] .* rename or drop it"
    with store._in_bulk():
        store.add_texts([f"note {number}" for number in range(20)])
        with pytest.raises(ValueError, match=said):
            store.add_texts(["good", "bad"], [{"page": 1}, {key: 1}])
    assert len(store.get()["ids"]) == 20
    assert_in_step(store)


def refusing(store, words: set[str]):
    """`_upsert` of a collection that takes no piece with one of these texts, and counts the pieces."""
    upsert, pieces = store._upsert, []

    def call(rows):
        pieces.append(len(rows))
        if any(row.text in words for row in rows):
            raise InvalidArgumentError("metadatas: Invalid metadata at index 0")
        upsert(rows)

    return call, pieces


def test_of_a_piece_that_is_refused_bad_documents_alone_are_left_out(store, tmp_path, monkeypatch):
    folder = tmp_path / "t"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.txt").write_text(f"note {number}")
    upsert, pieces = refusing(store, {"note 7", "note 21"})
    monkeypatch.setattr(store, "_upsert", upsert)
    report = index_paths(store, folder)
    assert report.added == report.documents == 28
    told = {Path(failed.source).name: failed.reason for failed in report.failed}
    assert {*told} == {"07.txt", "21.txt"}
    assert all("Invalid metadata" in why for why in told.values())
    assert len(pieces) <= 2 * 2 * 6, "by halves"
    assert_in_step(store)
    monkeypatch.undo()
    assert index_paths(store, folder) == IndexReport(added=2, skipped=28)


def test_a_part_of_a_file_that_is_refused_is_told_and_the_file_keeps_the_others(store, tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_text("city,boats\n" + "".join(f"place {number},{number}\n" for number in range(300)))
    index_paths(store, file)
    texts = store.get()["documents"]
    assert len(texts) > 2
    store.delete()
    upsert, _ = refusing(store, {texts[1]})
    monkeypatch.setattr(store, "_upsert", upsert)
    report = index_paths(store, file)
    assert (report.added, report.documents) == (1, len(texts) - 1)
    (partial,) = report.partial
    assert "Invalid metadata" in partial.reason
    assert index_paths(store, file).skipped == 1, "what is there is all that can be"


def test_an_error_of_an_earlier_piece_is_told_once_and_of_no_file(store, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "t"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03}.txt").write_text(f"note {number}")

    def failing(rows):
        raise errors.LoadError("lost the connection")

    monkeypatch.setattr(store, "_upsert", failing)
    with pytest.raises(errors.StoreError, match=r"\d+ embedded rows could not be inserted: lost the conn"):
        index_paths(store, folder)
    assert not [record for record in caplog.records if "could not be inserted" in record.message]


def test_what_waits_is_counted_as_lost_when_the_piece_before_fails():
    def failing(piece):
        raise OSError("gone")

    rows = [Row(number, str(number), "", {}) for number in range(5)]
    with pipeline.Inserter(failing) as inserter:
        inserter.add(pipeline.Embedded(rows[:3]))
        inserter._begin()
        inserter.add(pipeline.Embedded(rows[3:]))
        with pytest.raises(errors.StoreError, match="5 embedded rows could not be inserted: gone"):
            inserter.finish()
    assert inserter.inserted == 0


def test_an_interruption_before_a_piece_is_handed_over_loses_none(monkeypatch):
    inserted = []
    with pipeline.Inserter(inserted.append) as inserter:
        inserter.add(pipeline.Embedded([Row(0, "0", "", {})]))
        submit = inserter._pool.submit

        def interrupted(*args):
            monkeypatch.setattr(inserter._pool, "submit", submit)
            raise KeyboardInterrupt

        monkeypatch.setattr(inserter._pool, "submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            inserter.finish()
    assert [row.id for piece in inserted for row in piece.rows] == ["0"]
    assert inserter.inserted == 1


def test_two_threads_that_index_into_one_store_each_insert_what_is_theirs(store):
    at_once = threading.Barrier(2, timeout=20)

    def add(name):
        with store._in_bulk() as bulk:
            at_once.wait()
            store.add_texts([f"{name} {number}" for number in range(20)])
            at_once.wait()
            return bulk.taken

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(add, ["one", "two"])) == [2, 2]
    assert len(store.get()["ids"]) == 40
    assert_in_step(store)


def test_a_picture_decoded_before_the_model_was_reachable_is_decoded_anew():
    class Embedder:
        def min_side(self):
            raise OSError("no connection")

        def shrunk(self, image):
            return image

    file = FileInWork(Path("a.jpg"), Known(), was_known=False)
    taker = _Taker(file, Embedder())
    assert taker.min_side() == 1
    taker.take(Image.new("RGB", (8, 8)))
    assert file.picture is None


def test_ids_come_back_as_plain_str_and_those_that_cannot_be_stored_are_refused(store):
    ids = store.add_texts(["one", "two"], ids=np.array(["a", "b"]))
    assert [type(id_) for id_ in ids] == [str, str]
    with pytest.raises(ValueError, match="document 0: its id has a lone surrogate"):
        store.add_texts(["one"], ids=["\ud800"])


def test_a_ledger_in_memory_reads_back_what_was_written_as_others_may_write_too(tmp_path, monkeypatch):
    read = []
    found = ledger.contents_of
    monkeypatch.setattr(ledger, "contents_of", lambda *a, **k: read.append(1) or found(*a, **k))
    embedding = CountingEmbeddings(show_progress=False)
    memory = MultimodalChroma(f"c{uuid.uuid4().hex}", embedding)
    memory.add_texts(["one"])
    assert read
    read.clear()
    MultimodalChroma("onfile", embedding, persist_directory=str(tmp_path)).add_texts(["one"])
    assert not read


@pytest.mark.parametrize(
    "fault",
    [
        InternalError("Error in compaction: Failed to apply logs to the metadata segment"),
        InternalError("error returned from database: (code: 13) database or disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_full_disk_is_told_with_its_folder_and_the_same_call_goes_on(store, tmp_path, monkeypatch, fault):
    def full(rows):
        raise fault

    texts = [f"note {number}" for number in range(10)]
    monkeypatch.setattr(store, "_upsert", full)
    with pytest.raises(errors.StoreError, match=rf"^cannot write to the store {tmp_path} .*disk is full"):
        store.add_texts(texts)
    monkeypatch.undo()
    store.add_texts(texts)
    assert len(store.get()["ids"]) == 10
    assert_in_step(store)
