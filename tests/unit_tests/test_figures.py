"""Figures: the heat map of similarities, and the map of a collection before and after calibration."""

import re

import numpy as np
import pytest
from langchain_chroma import Chroma
from langchain_core.embeddings import Embeddings
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image

from langchain_mmrag.display import collection_map, similarity_heatmap
from langchain_mmrag.errors import LoadError, MissingDependencyError
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.queries import Query
from tests.unit_tests.clip_geometry import Clip

SIZE = 32


class NoEmbedding(Embeddings):
    """Stands where vectors are given ready."""

    def embed_documents(self, texts):
        raise AssertionError(texts)

    embed_query = embed_documents


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for name in ("red", "green", "blue"):
        paths.append(tmp_path / f"{name}.png")
        Image.new("RGB", (SIZE, SIZE), name).save(paths[-1])
    return paths


def rows_in(name, vectors, sources):
    """A stock Chroma of ready vectors; those with a source are pictures."""
    chroma = Chroma(f"map-{name}", NoEmbedding())
    metadatas = [{"modality": "image", "source": str(s)} if s else {"source": "notes.md"} for s in sources]
    chroma._collection.add(
        ids=[str(number) for number in range(len(vectors))],
        embeddings=np.asarray(vectors, dtype=np.float32),
        metadatas=metadatas,
        documents=[""] * len(vectors),
    )
    return chroma


@pytest.fixture(scope="module")
def gap_store(tmp_path_factory):
    """200 captions and 200 pictures whose vectors lie as those of CLIP do."""
    clip = Clip(200)
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.new("RGB", (SIZE, SIZE), "red").save(path)
    chroma = rows_in("gap", np.vstack([clip.captions, clip.images]), [None] * 200 + [path] * 200)
    yield chroma
    chroma.delete_collection()


def words_of(figure):
    """Every text on a figure, in its axes and legends."""
    found = [text.get_text() for text in figure.texts]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [label.get_text() for label in axes.get_yticklabels()]
        found += [axes.get_xlabel(), axes.get_ylabel()]
    return found


def thumbnails_of(axes):
    return [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]


def shares(figure):
    """Of the neighbours of another kind, as each map tells it."""
    return [int(share) for word in words_of(figure) for share in re.findall(r"(\d+)% of the ten", word)]


def test_a_heat_map_tells_the_cosine_of_each_text_with_each_picture(counting_embeddings, pictures):
    texts = ["one", "two"]
    figure = similarity_heatmap(counting_embeddings, texts, pictures)
    cosines = (
        counting_embeddings.embed_texts_array(texts)
        @ counting_embeddings.embed_images_array([str(path) for path in pictures]).vectors.T
    )
    told = [word.replace("−", "-") for word in words_of(figure)]
    for value in cosines.ravel():
        assert f"{round(float(value), 2) + 0.0:.2f}" in told
    (values,) = [axes for axes in figure.axes if len(axes.texts) == cosines.size]
    assert [label.get_text() for label in values.get_yticklabels()] == texts
    assert sum(text.get_weight() == "bold" for text in values.texts) == len(pictures)
    assert len(values.patches) == len(pictures)


def test_a_centred_heat_map_sums_to_nothing_over_equal_texts(counting_embeddings, pictures):
    figure = similarity_heatmap(counting_embeddings, ["a", "b", "c"], pictures, centered=True)
    assert "With the mean of each kind taken off" in words_of(figure)
    assert figure.axes[-1].get_ylim()[0] == -figure.axes[-1].get_ylim()[1]


def test_labels_of_a_heat_map_are_cut_and_never_formulas(counting_embeddings, pictures):
    figure = similarity_heatmap(counting_embeddings, ["costs $5 or $6", "word " * 60, " "], pictures[:1])
    labels = [word for word in words_of(figure) if "costs" in word or "word" in word or "no text" in word]
    assert labels[0] == r"costs \$5 or \$6"
    assert labels[1].endswith("…")
    assert len(labels[1]) < 60
    assert "(no text)" in labels[2]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_texts_of_a_heat_map_stay_on_the_figure(counting_embeddings, pictures):
    figure = similarity_heatmap(
        counting_embeddings, ["W" * 26, "a picture of a lighthouse by the sea"], pictures[:1]
    )
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()


def test_a_heat_map_refuses_what_it_cannot_compare(counting_embeddings, pictures):
    for texts, images, centered in ((["x"], [], False), ([], pictures, False), (["x"], pictures, True)):
        with pytest.raises(ValueError, match="give at least"):
            similarity_heatmap(counting_embeddings, texts, images, centered=centered)
    with pytest.raises(TypeError, match="texts is one str: give a list"):
        similarity_heatmap(counting_embeddings, "x", pictures)
    with pytest.raises(LoadError, match=r"gone\.png"):
        similarity_heatmap(counting_embeddings, ["x"], ["gone.png"])


def test_a_map_shows_the_gap_and_its_closing(gap_store):
    figure = collection_map(gap_store)
    before, after = shares(figure)
    assert before <= 2
    assert after > 10
    assert {"As embedded", "Calibrated", "texts (200)", "pictures (200)"} <= set(words_of(figure))


@pytest.mark.parametrize("calibrated", [True, False])
def test_one_of_the_two_maps_can_be_had_alone(gap_store, calibrated):
    figure = collection_map(gap_store, calibrated=calibrated)
    assert len(figure.axes) == 1
    assert ("Calibrated" in words_of(figure)) is calibrated


def test_the_gap_s_own_axis_parts_the_kinds_before_and_not_after(gap_store):
    figure = collection_map(gap_store, method="gap")
    apart = []
    for axes in figure.axes:
        texts, pictures = (np.asarray(axes.collections[n].get_offsets())[:, 0] for n in (0, 1))
        apart.append((texts.mean() - pictures.mean()) / (texts.std() + pictures.std()))
    assert apart[0] > 3
    assert abs(apart[1]) < 0.1


def test_axes_tell_their_share_of_the_variance(gap_store):
    for method in ("pca", "gap"):
        figure = collection_map(gap_store, method=method, calibrated=False)
        told = [int(n) for word in words_of(figure) for n in re.findall(r"(\d+)% of the variance", word)]
        assert len(told) == 2
        assert 0 < sum(told) <= 100


def test_thumbnails_do_not_overlap_and_are_no_more_than_asked_for(gap_store):
    figure = collection_map(gap_store, calibrated=True, thumbnails=12)
    figure.canvas.draw()
    boxes = [box.get_window_extent() for box in thumbnails_of(figure.axes[0])]
    assert 5 <= len(boxes) <= 12
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_pictures_the_policy_refuses_stay_dots(gap_store, tmp_path):
    figure = collection_map(gap_store, calibrated=True, media_policy=MediaPolicy(roots=(tmp_path,)))
    assert thumbnails_of(figure.axes[0]) == []


def test_a_query_is_starred_and_its_hits_ringed(store, pictures):
    store.add_images(pictures)
    store.add_texts([f"note {n}" for n in range(20)])
    for query in ("note 3", Query(image=pictures[0]), Query(text="note", image=pictures[1])):
        words = words_of(collection_map(store, query=query))
        assert "query" in words
        assert "the 6 best found" in words


def test_a_query_of_a_kind_the_collection_lacks_is_shown_where_it_can_be(store, pictures):
    store.add_images(pictures)
    assert len(collection_map(store, query="red").axes) == 2


@pytest.mark.parametrize("kind", ["texts", "pictures"])
def test_a_collection_of_one_kind_says_that_there_is_no_gap(store, pictures, kind):
    if kind == "texts":
        store.add_texts(["one", "two", "three"])
    else:
        store.add_images(pictures)
    figure = collection_map(store, method="gap")
    assert f"only {kind}: there is no gap to see" in words_of(figure)


def test_a_single_document_is_a_map_too(store):
    store.add_texts(["one"])
    assert collection_map(store)._repr_png_().startswith(b"\x89PNG")


def test_a_modality_of_another_program_counts_as_text():
    chroma = rows_in("foreign", np.eye(3), [None] * 3)
    chroma._collection.update(ids=["1"], metadatas=[{"modality": "sculpture"}])
    assert "texts (3)" in words_of(collection_map(chroma, calibrated=False))
    chroma.delete_collection()


def test_a_picture_that_is_gone_stays_a_dot(store, pictures):
    store.add_images(pictures)
    for path in pictures:
        path.unlink()
    figure = collection_map(store, calibrated=False)
    assert thumbnails_of(figure.axes[0]) == []
    assert "pictures (3)" in words_of(figure)


def test_of_a_large_collection_a_part_is_shown_and_told():
    rng = np.random.default_rng(0)
    sources = ["gone.png" if number % 50 == 0 else None for number in range(5000)]
    chroma = rows_in("large", rng.normal(size=(5000, 16)), sources)
    first, second = (collection_map(chroma, max_points=400, calibrated=True) for _ in range(2))
    chroma.delete_collection()
    assert {"texts (392 of 4,900)", "pictures (60 of 100)"} <= set(words_of(first))
    assert first._repr_png_() == second._repr_png_()


def test_a_map_refuses_what_it_cannot_draw(store, gap_store):
    with pytest.raises(ValueError, match="the collection is empty"):
        collection_map(store)
    with pytest.raises(ValueError, match="method must be one of 'pca', 'gap', 'umap', not 'tsne'"):
        collection_map(gap_store, method="tsne")
    with pytest.raises(ValueError, match="max_points is 0"):
        collection_map(gap_store, max_points=0)


def test_umap_that_is_not_installed_is_told_with_the_remedy(gap_store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingDependencyError, match="pip install umap-learn, or use method="):
        collection_map(gap_store, method="umap")
