"""What benchmarks compute: ratios, exact orders, how much a tower multiplies, what a line of the table says."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(autouse=True)
def beside_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(BENCHMARKS):
            del sys.modules[name]


def test_a_ratio_is_the_median_of_the_rounds_not_of_all_times():
    from _measure import quotient_of_medians, ratio

    slow, fast = [2.0, 30.0, 8.0], [1.0, 10.0, 2.0]
    assert ratio(slow, fast) == 3.0
    assert quotient_of_medians(slow, fast) == 4.0


def test_every_way_runs_once_a_round_and_each_round_begins_with_another():
    from _measure import Way, interleaved

    order = []
    ways = {name: Way(lambda name=name: order.append(name)) for name in "abc"}
    spent = interleaved(ways, 3)
    assert "".join(order) == "abcbcacab"
    assert all(len(timing.cpu) == len(timing.wall) == 3 for timing in spent.values())


def test_time_of_a_part_is_scaled_to_all_the_work():
    from _measure import Way, interleaved

    def work():
        sum(range(200_000))

    spent = interleaved({"whole": Way(work), "tenth": Way(work, share=0.001)}, 3)
    assert min(spent["tenth"].cpu) > 50 * max(spent["whole"].cpu)


def test_vectors_are_compared_as_far_as_both_go():
    from _measure import difference

    ones = np.eye(4)
    turned = ones[:2].copy()
    turned[1] = [0, 0.6, 0.8, 0]
    assert difference(turned, ones) == (0.8, 0.6)


def test_memory_that_grows_is_drawn_out_and_memory_that_does_not_is_not():
    from _measure import extrapolated

    assert extrapolated((10, 20), (1000, 1360), 500) == 1360 + 36 * 480
    assert extrapolated((10, 20), (1000, 1005), 500) == 1005
    assert extrapolated((10, 20), (1000, 1360), 20) == 1360


def test_towers_of_vit_b_32_multiply_as_much_as_is_known():
    from _ceiling import image_flops, text_flops

    assert image_flops(pruned=False) == pytest.approx(8.82e9, rel=0.002)
    assert text_flops([77], pruned=False) == pytest.approx(5.96e9, rel=0.002)
    assert 1 - image_flops(pruned=True) / image_flops(pruned=False) == pytest.approx(0.07, abs=0.005)
    # of a single token nothing is spared
    assert text_flops([1], pruned=True) == pytest.approx(text_flops([1], pruned=False))


def test_a_bar_says_whether_it_is_reached_or_why_it_is_not_measured():
    from _bars import Bar

    assert Bar("images", 3.2, 3.0, 0.9, 1.0, "OpenVINO").line() == [
        "images", "3.20x of 3x: reached", "0.90x of 1x: NOT reached", "OpenVINO"
    ]  # fmt: skip
    assert Bar("bf16", note="no bf16").line() == ["bf16", "no bf16", "no bf16", ""]


def test_nearest_vectors_are_exact_over_blocks(monkeypatch):
    import _geometry

    monkeypatch.setattr(_geometry, "BLOCK", 7)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(2, 40, 8)).astype(np.float32)
    places, cosines = _geometry.nearest(vectors, queries, 5)
    every = queries @ vectors.T
    assert places.tolist() == np.argsort(-every, axis=1)[:, :5].tolist()
    assert cosines == pytest.approx(np.sort(every, axis=1)[:, :-6:-1], rel=1e-5)


def test_grown_vectors_are_the_same_in_memory_and_in_a_file_whatever_the_blocks(monkeypatch, tmp_path):
    import _geometry

    pairs = _geometry.drawn_pairs(30, 16)
    images, texts = _geometry.grown(pairs, 50)
    monkeypatch.setattr(_geometry, "BLOCK", 8)
    kept = _geometry.grown(pairs, 50, tmp_path / "vectors.npy")
    assert images.dtype == np.float32
    assert np.linalg.norm(images, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(images, kept[0])
    assert np.array_equal(texts, np.load(tmp_path / "vectors.npy")[1])
    # a picture and its caption share what they show
    content = [side - side.mean(axis=0) for side in (images, texts)]
    own = np.einsum("nd,nd->n", *content).mean()
    assert own > 3 * abs((content[0] @ content[1].T).mean())


def test_drawn_files_are_the_same_for_the_same_seed(tmp_path):
    from _photos import captions, photographs

    sizes = ((60, 40), (40, 60))
    first = [Path(path).read_bytes() for path in photographs(tmp_path / "a", sizes, 3)]
    assert first == [Path(path).read_bytes() for path in photographs(tmp_path / "b", sizes, 3)]
    assert len(set(first)) == 3
    assert captions(20) == captions(20) != captions(20, seed=1)
