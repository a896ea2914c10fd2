"""Images are read a batch ahead in threads: in order, within bounds, and nothing is left behind."""

import io
import itertools
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.embeddings import _reading_ahead
from langchain_mmrag.embeddings._reading_ahead import default_threads, reading_ahead
from langchain_mmrag.errors import CorruptMediaError
from tests.conftest import CountingEmbeddings

LONG_S = 20  # only a failure takes so long


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("mmrag-read")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert readers() == []


# --- the reading itself


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_results_come_in_order(count, threads):
    with reading_ahead(count, lambda i: i * i, threads=threads, ahead=4) as results:
        assert list(results) == [i * i for i in range(count)]


def test_no_more_are_read_than_may_wait_and_no_more_at_once_than_there_are_threads():
    lock, at_once, most, too_far = threading.Lock(), 0, 0, []
    asked = 1  # the first may be asked for before this test can count it

    def read(index):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            if index >= asked + 5:
                too_far.append((index, asked))
        barrier_free.wait(0.001)
        with lock:
            at_once -= 1
        return index

    barrier_free = threading.Event()
    with reading_ahead(60, read, threads=3, ahead=5) as results:
        for index in results:
            asked = index + 2
    assert (too_far, most <= 3) == ([], True)


def test_others_are_read_while_one_is_slow():
    others_are_read = threading.Event()

    def read(index):
        if index == 1:
            assert others_are_read.wait(LONG_S)
        if index == 7:
            others_are_read.set()
        return index

    with reading_ahead(20, read, threads=2, ahead=8) as results:
        assert list(results) == list(range(20))


def test_an_error_is_raised_in_its_place_and_ends_the_reading():
    begun = []

    def read(index):
        begun.append(index)
        if index == 4:
            raise ValueError("the fifth")
        return index

    taken = []
    with (
        pytest.raises(ValueError, match="the fifth"),
        reading_ahead(1000, read, threads=3, ahead=6) as results,
    ):
        taken.extend(iter(lambda: next(results), None))
    assert taken == [0, 1, 2, 3]
    assert len(begun) <= 4 + 6 + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whoever_leaves_in_the_middle_leaves_no_thread(error):
    begun = []

    def leave():
        with reading_ahead(1000, begun.append, threads=3, ahead=6) as results:
            next(results)
            assert readers()
            raise error

    with pytest.raises(error):
        leave()
    assert readers() == []
    assert len(begun) <= 7


def test_one_or_two_are_read_by_the_thread_that_asks():
    def read(_):
        return threading.current_thread()

    with reading_ahead(2, read, threads=4, ahead=8) as results:
        assert set(results) == {threading.current_thread()}
    with reading_ahead(3, read, threads=4, ahead=8) as results:
        assert threading.current_thread() not in set(results)


def test_threads_are_few():
    assert 2 <= default_threads() <= 4


# --- an embedding that reads ahead


class Watching(CountingEmbeddings):
    """Counts what is in memory, open and computing."""

    _reading_threads = 3

    def __init__(self, **options):
        super().__init__(show_progress=False, **options)
        self.lock = threading.Lock()
        self.waiting = self.most_waiting = self.computing = self.large = self.most_large = 0
        self.most_files = 0
        self.readers = Counter()

    def _shrink(self, image):
        with self.lock:
            self.large += 1
            self.most_large = max(self.most_large, self.large)
            self.most_files = max(self.most_files, _open_files())
            self.readers[threading.current_thread().name] += 1
        small = image.resize((8, 8))
        with self.lock:
            self.large -= 1
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        return small

    def _encode_images(self, images):
        with self.lock:
            self.computing += 1
            assert self.computing == 1
            assert {image.size for image in images} == {(8, 8)}
        vectors = super()._encode_images(images)
        with self.lock:
            self.computing -= 1
            self.waiting -= len(images)
        return vectors


def _open_files():
    shown = Path("/proc/self/fd")
    if not shown.is_dir():
        return 0
    return sum(_target(link).endswith(".png") for link in shown.iterdir())


def _target(link):
    try:
        return str(link.readlink())
    except OSError:  # closed by now
        return ""


def test_huge_and_tiny_pictures_mixed_stay_within_bounds(tmp_path):
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "huge.png")
    Image.new("RGB", (3, 2), "blue").save(tmp_path / "tiny.png")
    paths = [tmp_path / ("tiny.png" if i % 3 else "huge.png") for i in range(30)]
    embeddings = Watching(batch_size=4)
    vectors = embeddings.embed_images_array(paths).vectors
    assert vectors[:, :3].argmax(axis=1).tolist() == [2 if i % 3 else 0 for i in range(30)]
    assert embeddings.most_waiting <= 2 * 4
    assert embeddings.most_large <= 3
    assert embeddings.most_files <= 3
    assert embeddings.image_batches == [4] * 7 + [2]
    assert all(name.startswith("mmrag-read") for name in embeddings.readers)


def test_threads_change_nothing_but_the_time(sample_images):
    names = ["red", "noise", "blue", "gradient", "green", "red", "noise"]
    images = [sample_images[name] for name in names]
    images[3] = b"no picture"
    alone = Watching(batch_size=2)
    alone._reading_threads = 0
    batches = [each.embed_images_array(images, on_error="skip") for each in (alone, Watching(batch_size=2))]
    np.testing.assert_array_equal(batches[0].vectors, batches[1].vectors)
    for batch in batches:
        assert batch.kept == (0, 1, 2, 4, 5, 6)
        assert [failure.index for failure in batch.failures] == [3]
    assert set(alone.readers) == {threading.current_thread().name}


def test_a_broken_picture_ends_all_before_its_batch_is_computed(sample_images):
    embeddings = Watching(batch_size=2)
    images = [sample_images["red"]] * 4 + [b"no picture"] + [sample_images["red"]] * 500
    with pytest.raises(CorruptMediaError, match="image 4"):
        embeddings.embed_images_array([*images[:4], b"\xff\xd8\xff", *images[5:]])
    assert embeddings.image_batches == [2, 2]
    assert sum(embeddings.readers.values()) <= 4 + 3 + 1


def test_an_interrupt_while_computing_ends_the_reading(sample_images):
    class Interrupted(Watching):
        def _encode_images(self, images):
            if self.image_batches:
                raise KeyboardInterrupt
            return super()._encode_images(images)

    embeddings = Interrupted(batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        embeddings.embed_images_array([sample_images["red"]] * 500)
    assert embeddings.image_batches == [2]
    assert sum(embeddings.readers.values()) <= 4 + 3


def test_what_an_embedding_does_not_make_small_is_hardly_read_ahead(sample_images, monkeypatch):
    from langchain_mmrag.embeddings import _inputs

    lock, opened, computed, most = threading.Lock(), 0, 0, 0

    def counted(*args, **options):
        nonlocal opened, most
        image = open_image(*args, **options)
        with lock:
            opened += 1
            most = max(most, opened - computed)
        return image

    class Whole(CountingEmbeddings):
        _reading_threads = 2

        def _encode_images(self, images):
            nonlocal computed
            vectors = super()._encode_images(images)
            with lock:
                computed += len(images)
            return vectors

    open_image = _inputs.open_image
    monkeypatch.setattr(_inputs, "open_image", counted)
    Whole(batch_size=6, show_progress=False).embed_images_array([sample_images["red"]] * 40)
    assert most <= 6 + 2


def test_one_picture_named_often_is_read_by_one_thread(sample_images):
    lazy = Image.open(sample_images["noise"])
    embeddings = Watching(batch_size=4)
    vectors = embeddings.embed_images_array([lazy] * 12).vectors
    assert set(embeddings.readers) == {threading.current_thread().name}
    assert (vectors == vectors[0]).all()


def test_files_are_read_once_each_by_threads(sample_images):
    data = sample_images["red"].read_bytes()
    embeddings = Watching(batch_size=4)
    assert len(embeddings.embed_images_array([io.BytesIO(data) for _ in range(12)]).vectors) == 12
    assert sum(embeddings.readers.values()) == 12


def test_jpegs_are_decoded_no_larger_than_an_embedding_asks(tmp_path):
    Image.new("RGB", (1600, 800), "red").save(tmp_path / "photo.jpg")
    sizes = []

    class Small(CountingEmbeddings):
        def _min_side(self):
            return 100

        def _shrink(self, image):
            sizes.append(image.size)
            return image

    Small(show_progress=False).embed_images_array([tmp_path / "photo.jpg"] * 5)
    assert sizes == [(200, 100)] * 5


def test_threads_that_are_stuck_are_waited_for_together(monkeypatch):
    stuck, workers, waits = threading.Event(), [], []

    class Counted(threading.Thread):
        def join(self, timeout=None):
            workers.append(self)
            waits.append(timeout)

    def read(index):
        if index == 0:
            raise CorruptMediaError
        stuck.wait(LONG_S)

    monkeypatch.setattr(_reading_ahead, "Thread", Counted)
    monkeypatch.setattr(_reading_ahead, "monotonic", itertools.count().__next__)
    try:
        with (
            pytest.raises(CorruptMediaError),
            reading_ahead(9, read, threads=4, ahead=9) as results,
        ):
            next(results)
    finally:
        stuck.set()
        for worker in workers:
            threading.Thread.join(worker, LONG_S)
    assert waits == [1.0, 0.0, 0.0, 0.0]
