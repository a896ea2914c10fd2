"""The ledger keeps in step with its collection: through writes of every kind, crashes, other writers, broken files."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import chromadb
import numpy as np
import pytest
from chromadb.api.shared_system_client import SharedSystemClient
from langchain_chroma import Chroma

from langchain_mmrag._store import ledger as ledgers
from langchain_mmrag._store import ledger_file, ledger_rows
from langchain_mmrag._store.ledger import Ledger
from langchain_mmrag._store.ledger_rows import draw_of, side_of_row
from langchain_mmrag.errors import StoreError
from langchain_mmrag.ranking import unit
from langchain_mmrag.types import WINDOW
from langchain_mmrag.vectorstores import MultimodalChroma
from tests.conftest import CountingEmbeddings

REPOSITORY = Path(__file__).parents[2]
K = 8


class Watched:
    """A real collection, and the names of what was called on it."""

    def __init__(self, collection):
        self._collection = collection
        self.calls = []

    def __getattr__(self, name):
        found = getattr(self._collection, name)
        if callable(found):
            self.calls.append(name)
        return found


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    monkeypatch.setattr(ledger_rows, "SAMPLE_SIZE", K)
    monkeypatch.setattr(ledgers, "LISTED_PAGE", 7)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def collection(folder):
    return Watched(chromadb.PersistentClient(str(folder)).create_collection("rows", embedding_function=None))


@pytest.fixture
def ledger(collection, folder):
    return Ledger(lambda: collection, folder / "mmrag")


def again(collection, folder):
    """The ledger as another program opens it."""
    return Ledger(lambda: collection, folder / "mmrag")


def opened_anew(folder):
    """The collection as the next process finds it: Chroma keeps one client for each folder."""
    SharedSystemClient.clear_system_cache()
    return chromadb.PersistentClient(str(folder)).get_collection("rows", embedding_function=None)


def file_of(collection, folder) -> Path:
    return folder / "mmrag" / f"{collection.id}.sqlite3"


def vector(seed) -> list[float]:
    return np.random.default_rng(seed).normal(size=4).astype(np.float32).tolist()


def upsert(collection, ids, *, side="text", seed=0, text="word", **metadata):
    collection.upsert(
        ids=ids,
        embeddings=[vector(seed + sum(id_.encode())) for id_ in ids],
        documents=[f"{text} {id_}" for id_ in ids],
        metadatas=[{"modality": side, **metadata} for _ in ids],
    )


def write(ledger, collection, ids, **options):
    with ledger.writing(ids):
        upsert(collection, ids, **options)


def delete(ledger, collection, ids):
    with ledger.writing(ids):
        collection.delete(ids=ids)


def counts(ledger) -> dict[str, int]:
    return {side: sample.count for side, sample in ledger.statistics().items()}


def words(ledger, query="word", **options) -> set[str]:
    return {match.id for match in ledger.matches(query, None, **options).matches}


def marks(collection, folder) -> int:
    with sqlite3.connect(file_of(collection, folder)) as file:
        (found,) = file.execute("SELECT count(*) FROM pending").fetchone()
    file.close()
    return found


def assert_in_step(ledger, collection):
    """Rows, sample, vectors and words are those that a look through the whole collection gives."""
    rows = collection.get(include=["metadatas", "embeddings", "documents"])
    by_side = {"text": [], "image": []}
    for id_, metadata in zip(rows["ids"], rows["metadatas"], strict=True):
        by_side[side_of_row(metadata)].append(id_)
    vectors = dict(zip(rows["ids"], rows["embeddings"], strict=True))
    samples = ledger.statistics()
    assert set(samples) == {side for side, ids in by_side.items() if ids}
    for side, sample in samples.items():
        assert sample.count == len(by_side[side])
        assert sample.ids == sorted(by_side[side], key=draw_of)[:K]
        assert sample.vectors.dtype == np.float32
        np.testing.assert_allclose(sample.vectors, unit([vectors[id_] for id_ in sample.ids]), atol=5e-4)
    assert words(ledger) == {
        id_
        for id_, text in zip(rows["ids"], rows["documents"], strict=True)
        if "word" in (text or "").split()
    }


# --- rows and samples -----------------------------------------------------------------------------------------


def test_an_empty_collection_has_no_sides(ledger):
    assert ledger.statistics() == {}
    assert ledger.children(["x"]) == {}
    assert ledger.matches("word", 3).matches == []


def test_through_a_thousand_random_writes_it_says_what_the_collection_holds(ledger, collection, folder):
    chance = random.Random(0)
    for step in range(40):
        ids = [f"row{chance.randrange(120)}" for _ in range(25)]
        ids = list(dict.fromkeys(ids))
        if chance.random() < 0.3:
            delete(ledger, collection, ids[:8])
        else:
            side, text = chance.choice(["text", "image"]), chance.choice(["word", "other"])
            write(ledger, collection, ids, side=side, seed=step, text=text)
        if step % 4 == 0:
            assert_in_step(ledger, collection)
    assert_in_step(ledger, collection)
    assert_in_step(again(collection, folder), collection)


def test_nothing_but_the_count_is_asked_of_a_collection_that_has_not_changed(ledger, collection):
    write(ledger, collection, [f"r{n}" for n in range(30)])
    first = ledger.statistics()["text"]
    collection.calls.clear()
    assert ledger.statistics()["text"] is first
    assert collection.calls == ["count"]
    assert ledger.statistics(30)["text"] is first
    ledger.matches("word", 3, count=30)
    assert collection.calls == ["count"]


def test_a_row_outside_the_sample_changes_the_count_and_no_vector(ledger, collection):
    write(ledger, collection, [f"r{n}" for n in range(30)])
    before = ledger.statistics()["text"]
    last = max((f"new{n}" for n in range(50)), key=draw_of)
    write(ledger, collection, [last])
    after = ledger.statistics()["text"]
    assert (after.count, before.count) == (31, 30)
    assert after.vectors is before.vectors


def test_reopened_the_vectors_come_from_the_file(ledger, collection, folder):
    write(ledger, collection, [f"r{n}" for n in range(30)])
    before = ledger.statistics()["text"]
    collection.calls.clear()
    after = again(collection, folder).statistics()["text"]
    assert collection.calls == ["count"]
    assert after.ids == before.ids
    np.testing.assert_array_equal(after.vectors, before.vectors)


@pytest.mark.parametrize(
    ("metadata", "side"),
    [
        (None, "text"),
        ({"type": "image"}, "image"),
        ({"modality": "image"}, "image"),
        ({"modality": "table"}, "text"),
        ({"modality": "hologram"}, "text"),
        ({"modality": 3}, "text"),
        ({"modality": True, "type": 0.5}, "text"),
    ],
)
def test_the_side_of_a_row_follows_from_whatever_metadata_it_has(ledger, collection, metadata, side):
    with ledger.writing(["odd"]):
        collection.upsert(ids=["odd"], embeddings=[vector(1)], documents=["word"], metadatas=[metadata])
    assert counts(ledger) == {side: 1}


def test_a_row_without_text_or_metadata_is_a_row(ledger, collection):
    with ledger.writing(["bare"]):
        collection.upsert(ids=["bare"], embeddings=[vector(1)])
    assert counts(ledger) == {"text": 1}
    assert ledger.matches("bare", 3).worded == {"text": 0, "image": 0}


@pytest.mark.parametrize("strange", ["", "a'b\"c", "%s;DROP TABLE rows", "日本", "x\x00y", "🏖", "n" * 5000])
def test_any_id_that_chroma_takes_will_do(ledger, collection, strange):
    write(ledger, collection, ["plain", strange or "-"])
    assert_in_step(ledger, collection)
    delete(ledger, collection, [strange or "-"])
    assert_in_step(ledger, collection)


def test_windows_are_told_by_their_parent_and_other_parents_are_none(ledger, collection, folder):
    write(ledger, collection, ["long", "short"])
    write(ledger, collection, ["long#9", "long#5"], parent_id="long", **{WINDOW: True})
    write(ledger, collection, ["figure"], parent_id="short")
    for each in (ledger, again(collection, folder), Ledger(lambda: collection, None)):
        assert {parent: set(ids) for parent, ids in each.children(["long", "short", "none"]).items()} == {
            "long": {"long#5", "long#9"}
        }
    assert words(ledger) == {"long", "short", "figure"}
    assert counts(ledger) == {"text": 5}
    delete(ledger, collection, ["long#5"])
    assert ledger.children(["long"]) == {"long": ["long#9"]}


def test_asking_for_windows_does_not_go_through_a_large_collection(collection):
    upsert(collection, [f"r{n}" for n in range(50)])
    upsert(collection, ["r0#5"], parent_id="r0", **{WINDOW: True})
    ledger = Ledger(lambda: collection, None)
    collection.calls.clear()
    assert ledger.children(["r0", "r1"]) == {"r0": ["r0#5"]}
    assert collection.calls == ["count", "get"]


# --- errors and crashes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", [0, 3, 6])
def test_an_error_in_the_middle_of_a_write_leaves_what_was_written_entered(
    ledger, collection, folder, written
):
    ids = [f"r{n}" for n in range(6)]

    def interrupted():
        with ledger.writing(ids):
            if written:
                upsert(collection, ids[:written])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert marks(collection, folder) == 0
    collection.calls.clear()
    assert counts(ledger) == ({"text": written} if written else {})
    assert collection.calls.count("count") == 1
    assert_in_step(ledger, collection)


CRASH = """
import os, signal, sys, chromadb
from pathlib import Path
from langchain_mmrag._store.ledger import Ledger

folder, moment = Path(sys.argv[1]), sys.argv[2]
collection = chromadb.PersistentClient(str(folder)).get_collection("rows", embedding_function=None)
ledger = Ledger(lambda: collection, folder / "mmrag")
with ledger.writing(["old", "gone", "new"]):
    if moment != "before":
        collection.upsert(
            ids=["old", "new"], embeddings=[[1, 2, 3, 4], [5, 6, 7, 8]], documents=["fresh word", "word"],
            metadatas=[{"modality": "image"}, {"modality": "image"}],
        )
        collection.delete(ids=["gone"])
    if moment == "waiting":
        print("waiting", flush=True)
        sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def crash(folder, moment):
    return subprocess.Popen(
        [sys.executable, "-c", CRASH, str(folder), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_a_killed_process_left_undone_is_looked_up_by_the_next(ledger, collection, folder, moment):
    write(ledger, collection, ["old", "gone", "other"])
    ledger.statistics()
    with crash(folder, moment) as killed:
        pass
    assert killed.returncode == -signal.SIGKILL
    assert marks(collection, folder) == 3
    # The number of rows is the same before and after: only the marks tell.
    fresh = opened_anew(folder)
    ledger._collection = lambda: fresh
    for each in (ledger, again(fresh, folder)):
        assert_in_step(each, fresh)
        assert counts(each) == ({"text": 3} if moment == "before" else {"text": 1, "image": 2})
        assert words(each, "fresh") == (set() if moment == "before" else {"old"})
    assert marks(collection, folder) == 0


def test_the_marks_of_a_writer_that_lives_are_left_alone_until_it_dies(ledger, collection, folder):
    write(ledger, collection, ["old", "gone", "other"])
    with crash(folder, "waiting") as writer:
        assert writer.stdout.readline().strip() == "waiting"
        ledger.current()
        assert counts(ledger) == {"text": 3}
        assert marks(collection, folder) == 3
        writer.stdin.write("go on\n")
        writer.stdin.flush()
        writer.wait()
    fresh = opened_anew(folder)
    assert counts(again(fresh, folder)) == {"text": 1, "image": 2}
    assert marks(collection, folder) == 0


def test_a_count_that_differs_while_a_writer_is_at_work_is_no_reason_to_list_the_collection(
    ledger, collection
):
    write(ledger, collection, ["a"])
    with ledger.writing(["b"]):
        upsert(collection, ["b"])
        collection.calls.clear()
        ledger.current()
        assert "get" not in collection.calls
    assert counts(ledger) == {"text": 2}


def test_a_write_stands_when_it_cannot_be_read_back_and_is_entered_at_the_next_use(
    ledger, collection, folder, monkeypatch, caplog
):
    write(ledger, collection, ["a"])

    def broken(*args, **kwargs):
        raise chromadb.errors.InternalError("the disk is on fire")

    with monkeypatch.context() as patch:
        write_now = ledger.writing(["a", "b"])
        with write_now:
            upsert(collection, ["a", "b"], side="image")
            patch.setattr(collection, "get", broken, raising=False)
    assert "catches up at its next use" in caplog.text
    assert marks(collection, folder) == 2
    assert counts(ledger) == {"image": 2}
    assert marks(collection, folder) == 0


# --- other programs -----------------------------------------------------------------------------------------


def test_a_collection_made_by_someone_else_is_listed_at_first_need(collection, ledger):
    upsert(collection, [f"t{n}" for n in range(20)])
    upsert(collection, [f"i{n}" for n in range(15)], side="image")
    assert_in_step(ledger, collection)


def test_rows_that_another_program_adds_and_deletes_are_noticed(ledger, collection):
    write(ledger, collection, [f"t{n}" for n in range(20)])
    collection.delete(ids=["t3", "t4", "t5"])
    assert_in_step(ledger, collection)
    upsert(collection, ["x1", "x2"], side="image")
    assert_in_step(ledger, collection)
    collection.delete(ids=["t6", "t7"])
    upsert(collection, ["x3"])
    assert_in_step(ledger, collection)


def test_what_another_program_replaces_is_found_by_a_rebuild_which_embeds_nothing(tmp_path):
    embedding = CountingEmbeddings(show_progress=False)
    store = MultimodalChroma("replaced", embedding, persist_directory=tmp_path)
    store.add_texts(["red word", "blue word"], ids=["a", "b"])
    assert words(store._ledger, "red") == {"a"}
    other = Chroma("replaced", embedding, str(tmp_path))
    other.add_texts(["white word"], ids=["a"])
    embedding.text_batches.clear()
    store.rebuild_index()
    assert embedding.text_batches == []
    assert words(store._ledger, "white") == {"a"}
    assert words(store._ledger, "red") == set()
    assert_in_step(store._ledger, store._collection)


def test_two_ledgers_of_one_file_see_what_the_other_wrote(ledger, collection, folder):
    other = again(collection, folder)
    write(ledger, collection, ["a", "b"])
    assert_in_step(other, collection)
    write(other, collection, ["b", "c"], side="image", seed=9)
    assert_in_step(ledger, collection)


@pytest.mark.parametrize("in_memory", [True, False])
def test_threads_may_write_and_ask_at_once(collection, folder, in_memory):
    ledger = Ledger(lambda: collection, None if in_memory else folder / "mmrag")

    def work(worker):
        for step in range(6):
            ids = [f"r{(worker * 3 + step + n) % 20}" for n in range(5)]
            if step % 3 == 2:
                delete(ledger, collection, ids[:2])
            else:
                write(ledger, collection, ids, side=["text", "image"][worker % 2], seed=worker * 100 + step)
            ledger.statistics()
            ledger.matches("word", 3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert_in_step(ledger, collection)


def test_processes_may_write_at_once(collection, folder):
    code = """
import sys, chromadb
from pathlib import Path
from langchain_mmrag._store.ledger import Ledger
folder, me = Path(sys.argv[1]), sys.argv[2]
collection = chromadb.PersistentClient(str(folder)).get_collection("rows", embedding_function=None)
ledger = Ledger(lambda: collection, folder / "mmrag")
for step in range(15):
    ids = [f"r{me}{step}", f"shared{step % 4}"]
    with ledger.writing(ids):
        collection.upsert(ids=ids, embeddings=[[1, 2, 3, 4]] * 2, documents=["word"] * 2)
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), name], cwd=REPOSITORY) for name in "ab"
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    fresh = opened_anew(folder)
    watched = Watched(fresh)
    ledger = Ledger(lambda: watched, folder / "mmrag")
    ledger.current()
    assert watched.calls == ["count"]  # in step already
    assert words(ledger) == set(fresh.get(include=[])["ids"])


def test_another_process_that_keeps_the_file_to_itself_is_named(ledger, collection, folder, monkeypatch):
    monkeypatch.setattr(ledger_file, "_PATIENCE_S", 0.05)
    write(ledger, collection, ["a"])
    other = again(collection, folder)
    other.current()
    holder = sqlite3.connect(file_of(collection, folder), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process is writing"), other.writing(["b"]):
        pytest.fail("the collection is not touched without a mark")
    holder.execute("ROLLBACK")
    holder.close()
    write(other, collection, ["b"])
    assert_in_step(other, collection)


# --- broken files -----------------------------------------------------------------------------------------


def overwrite(path):
    path.write_bytes(b"no database at all" * 500)


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(5000)


def scramble(path):
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def other_version(path):
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
        file.execute("CREATE TABLE of_the_future (x)")
    file.close()


def without_a_table(path):
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE sides")
    file.close()


def without_rows(path):
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE rows")
    file.close()


def delete_file(path):
    path.unlink()


@pytest.mark.parametrize(
    "harm", [overwrite, truncate, scramble, other_version, without_a_table, without_rows, delete_file]
)
def test_a_file_that_is_broken_is_made_anew_from_the_collection(ledger, collection, folder, harm):
    write(ledger, collection, [f"r{n}" for n in range(40)])
    ledger._close()
    harm(file_of(collection, folder))
    assert_in_step(ledger, collection)
    assert file_of(collection, folder).exists()
    assert_in_step(again(collection, folder), collection)


def test_a_file_made_before_there_was_an_index_of_rare_modalities_gets_it(ledger, collection, folder):
    write(ledger, collection, ["a", "b"])
    ledger._close()
    with sqlite3.connect(file_of(collection, folder)) as file:
        file.execute("DROP INDEX rows_of_rare_modality")
    file.close()
    assert_in_step(ledger, collection)
    with sqlite3.connect(file_of(collection, folder)) as file:
        plan = file.execute(
            "EXPLAIN QUERY PLAN SELECT id FROM rows"
            " WHERE modality = 'table' AND modality NOT IN ('text', 'image') AND side = 0"
        ).fetchall()
    file.close()
    assert "rows_of_rare_modality" in str(plan)


def test_a_file_deleted_under_an_open_ledger_is_made_anew(ledger, collection, folder):
    write(ledger, collection, ["a", "b"])
    shutil.rmtree(folder / "mmrag")
    assert_in_step(ledger, collection)
    write(ledger, collection, ["c"])
    assert_in_step(again(collection, folder), collection)


def test_a_folder_that_cannot_be_made_leaves_the_ledger_in_memory(collection, folder, caplog):
    (folder / "mmrag").write_text("a file is in the way")
    ledger = again(collection, folder)
    write(ledger, collection, ["a", "b"])
    assert_in_step(ledger, collection)
    assert "the index is kept in memory" in caplog.text
    assert caplog.text.count("in memory") == 1


def test_a_file_that_cannot_be_written_leaves_the_ledger_in_memory(collection, folder, caplog):
    file_of(collection, folder).mkdir(parents=True)
    ledger = again(collection, folder)
    write(ledger, collection, ["a", "b"])
    assert_in_step(ledger, collection)
    assert "the index is kept in memory" in caplog.text


def test_a_file_that_breaks_during_a_write_costs_nothing(ledger, collection, folder):
    write(ledger, collection, ["a", "b"])
    with ledger.writing(["c"]):
        upsert(collection, ["c"])
        for path in (folder / "mmrag").glob("*.sqlite3*"):
            path.write_bytes(b"x" * 9000)
    assert_in_step(ledger, collection)


# --- in the store -----------------------------------------------------------------------------------------


def test_every_way_to_write_keeps_the_index_in_step(tmp_path, sample_images):
    store = MultimodalChroma("ways", CountingEmbeddings(show_progress=False), persist_directory=tmp_path)
    store.add_texts(["red word", "blue word", "white"], [{"n": 1}, {"n": 2}, {"n": 3}], ids=["a", "b", "c"])
    store.add_images([sample_images["red"]], captions=["a word"], ids=["p"])
    assert_in_step(store._ledger, store._collection)
    assert counts(store._ledger) == {"text": 3, "image": 1}
    store.update_documents(["a"], [store.get_by_ids(["b"])[0]])
    assert_in_step(store._ledger, store._collection)
    watched = Watched(store._collection)
    for gone, left in [
        ({"where": {"n": 3}}, {"a", "b", "p"}),
        ({"where_document": {"$contains": "a word"}}, {"a", "b"}),
        ({"ids": ["a", "b", "nobody"], "where": {"n": 7}}, {"a", "b"}),
        ({"ids": ["a", "nobody"]}, {"b"}),
        ({}, set()),
    ]:
        store.delete(**gone)
        assert set(store.get(include=[])["ids"]) == left
        state = ledger_rows.state_of(store._ledger._opened())
        assert sum(state.counts) == watched.count()  # before anything could notice a difference
        assert_in_step(store._ledger, store._collection)


def test_replacing_or_deleting_a_row_takes_its_windows_along(store):
    def add_windows():
        windows = {"parent_id": "p", "chunk_start": 5, WINDOW: True}
        write(store._ledger, store._collection, ["p#5", "p#9"], **windows)

    upsert(store._collection, ["p", "q"])
    write(store._ledger, store._collection, ["r"], parent_id="p")
    add_windows()
    assert store._stale_windows(["p", "p#5"]) == {"p": ["p#9"]}
    store.delete(["p"])
    assert set(store._collection.get(include=[])["ids"]) == {"q", "r"}
    assert_in_step(store._ledger, store._collection)


def test_a_collection_deleted_or_reset_takes_its_file_along(tmp_path):
    def open_store():
        return MultimodalChroma(
            "short-lived", CountingEmbeddings(show_progress=False), persist_directory=tmp_path
        )

    store = open_store()
    store.add_texts(["a word"])
    first = file_of(store._collection, tmp_path)
    assert first.exists()
    store.reset_collection()
    assert not first.exists()
    assert counts(store._ledger) == {}
    store.add_texts(["another word"])
    second = file_of(store._collection, tmp_path)
    assert second.exists()
    assert second != first
    open_store().delete_collection()
    assert list((tmp_path / "mmrag").iterdir()) == []


def test_a_store_in_memory_leaves_no_file(tmp_path, monkeypatch, open_store, counting_embeddings):
    monkeypatch.chdir(tmp_path)
    store = open_store(counting_embeddings)
    store.add_texts(["a word"])
    assert counts(store._ledger) == {"text": 1}
    assert list(tmp_path.iterdir()) == []
    other = MultimodalChroma(store._collection.name, counting_embeddings)
    assert words(other._ledger) == words(store._ledger)


def test_names_of_collections_do_not_mix(tmp_path):
    first, second = (
        MultimodalChroma(f"c-{uuid4()}", CountingEmbeddings(show_progress=False), persist_directory=tmp_path)
        for _ in range(2)
    )
    first.add_texts(["red word"], ids=["a"])
    second.add_texts(["blue word"], ids=["b"])
    assert words(first._ledger) == {"a"}
    assert words(second._ledger) == {"b"}


# --- what it costs ------------------------------------------------------------------------------------------


def test_what_a_store_wrote_is_not_read_back_from_the_collection(ledger, collection, folder):
    with ledger.writing(["a", "b", "gone"]) as told:
        upsert(collection, ["a", "b"])
        rows = collection.get(ids=["a", "b"], include=["documents", "metadatas", "embeddings"])
        columns = (rows["documents"], rows["metadatas"], rows["embeddings"])
        told.update(zip(rows["ids"], map(ledger_rows.Content, *columns), strict=True))
        told["gone"] = None
        collection.calls.clear()
    assert collection.calls == []
    assert_in_step(ledger, collection)
    assert_in_step(again(collection, folder), collection)


def test_what_another_writer_did_meanwhile_is_read_back_whatever_was_told(ledger, collection, folder):
    with ledger.writing(["a"]) as told:
        upsert(collection, ["a"], text="old")
        told["a"] = ledger_rows.Content("old", {"modality": "text"}, vector(1))
        write(again(collection, folder), collection, ["a"], text="word", side="image")
    assert counts(ledger) == {"image": 1}
    assert words(ledger, "old") == set()
    assert_in_step(ledger, collection)


def test_after_an_error_nothing_that_was_told_is_believed(ledger, collection):
    def failing():
        with ledger.writing(["a"]) as told:
            told["a"] = ledger_rows.Content("word", {}, vector(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert counts(ledger) == {}


def test_catching_up_that_is_interrupted_goes_on_where_it_stopped(ledger, collection, folder, monkeypatch):
    upsert(collection, [f"r{n}" for n in range(40)])
    replace, entered = ledgers.replace_rows, []

    def stopping(run, ids, found):
        if len(entered) == 3:
            raise KeyboardInterrupt
        entered.append(len(found))
        return replace(run, ids, found)

    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "replace_rows", stopping)
        with pytest.raises(KeyboardInterrupt):
            ledger.current()
    assert entered == [7, 7, 7]  # a page each, none of them the whole collection
    assert ledger.count() == 21
    assert_in_step(again(collection, folder), collection)


def test_documents_from_a_folder_are_told_without_a_look_at_others(ledger, collection):
    write(ledger, collection, ["a", "b"], source="/photos/a.jpg")
    write(ledger, collection, ["c"], source="/photos/deep/c.jpg")
    write(ledger, collection, ["d"], source="/photos2/d.jpg")
    write(ledger, collection, ["e"], source="/notes.md")
    collection.calls.clear()
    assert {id_ for page in ledger.sourced(["/photos/"], ["/notes.md"]) for id_ in page} == {
        "a",
        "b",
        "c",
        "e",
    }
    assert collection.calls == ["count"]
    delete(ledger, collection, ["a", "b", "c"])
    assert [id_ for page in ledger.sourced(["/photos/"], []) for id_ in page] == []
