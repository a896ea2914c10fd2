"""Pictures told apart by texts: known answers with an embedding that knows colours, real scores with open_clip."""

import numpy as np
import pytest

from langchain_mmrag.errors import LoadError
from langchain_mmrag.zero_shot import ZeroShotClassifier, similarity_matrix
from tests.conftest import CountingEmbeddings

COLOURS = ["red", "green", "blue"]


class Axes(CountingEmbeddings):
    """Texts and images as the test gives them, so that every number can be worked out by hand."""

    def __init__(self, texts, image, scale=None):
        super().__init__(show_progress=False)
        self.texts, self.image = texts, image
        if scale is not None:
            self.logit_scale = scale

    def _encode_texts(self, texts):
        return [self.texts[text] for text in texts]

    def _encode_images(self, images):
        return [self.image for _ in images]


def test_colours_are_told_apart(counting_embeddings, sample_images):
    classifier = ZeroShotClassifier(counting_embeddings, COLOURS, templates=["{}", "a {} thing"])
    results = classifier.classify([sample_images[name] for name in COLOURS])
    assert [next(iter(result)) for result in results] == COLOURS
    for result in results:
        assert sum(result.values()) == pytest.approx(1)
        assert list(result.values()) == sorted(result.values(), reverse=True)
        assert set(result) == set(COLOURS)
        assert {type(share) for share in result.values()} == {float}


def test_probabilities_are_a_softmax_with_the_models_own_scale(sample_images):
    axes = Axes({"cat": [1, 0], "dog": [0, 1]}, image=[4, 3], scale=10.0)  # cosines .8 and .6
    (result,) = ZeroShotClassifier(axes, ["dog", "cat"], templates=["{}"]).classify([sample_images["red"]])
    assert list(result) == ["cat", "dog"]
    assert result["cat"] == pytest.approx(1 / (1 + np.exp(10 * (0.6 - 0.8))), abs=1e-6)


def test_a_scale_can_be_given_and_is_100_where_the_embedding_says_none(sample_images):
    axes = Axes({"cat": [1, 0], "dog": [0, 1]}, image=[4, 3])
    classifier = ZeroShotClassifier(axes, ["cat", "dog"], templates=["{}"])
    assert classifier.logit_scale == 100
    assert classifier.classify([sample_images["red"]])[0]["dog"] == pytest.approx(np.exp(-20), rel=1e-4)
    given = ZeroShotClassifier(axes, ["cat", "dog"], templates=["{}"], logit_scale=0.0)
    assert given.classify([sample_images["red"]])[0] == {"cat": 0.5, "dog": 0.5}


def test_templates_are_averaged_as_unit_vectors(sample_images):
    # The first template's vector is 50 times as long: it must not weigh more for that.
    axes = Axes({"cat": [50, 0], "a cat": [0, 1], "dog": [0, -1], "a dog": [0, -1]}, image=[1, 1])
    classifier = ZeroShotClassifier(axes, ["cat", "dog"], templates=["{}", "a {}"])
    np.testing.assert_allclose(classifier.label_vectors, [[0.5**0.5, 0.5**0.5], [0, -1]], atol=1e-6)


def test_labels_are_embedded_once(counting_embeddings, sample_images):
    classifier = ZeroShotClassifier(counting_embeddings, COLOURS)
    assert counting_embeddings.text_batches == []
    classifier.classify([sample_images["red"]])
    classifier.classify([sample_images["blue"]])
    assert counting_embeddings.text_batches == [6]


def test_braces_in_labels_and_templates_are_left_alone():
    axes = Axes({"{x} {a{1}} a{1}": [1, 0]}, image=[1, 0])
    assert ZeroShotClassifier(axes, ["a{1}"], templates=["{x} {{}} {}"]).label_vectors.tolist() == [[1, 0]]


def test_no_images_give_no_results(counting_embeddings):
    assert ZeroShotClassifier(counting_embeddings, COLOURS).classify([]) == []


def test_an_unreadable_image_is_named(counting_embeddings, sample_images, tmp_path):
    with pytest.raises(LoadError, match=r"image 1: .*missing\.png"):
        ZeroShotClassifier(counting_embeddings, COLOURS).classify(
            [sample_images["red"], tmp_path / "missing.png"]
        )


@pytest.mark.parametrize(
    ("labels", "templates", "error"),
    [
        ([], ["{}"], ValueError),
        (["red", "red"], ["{}"], ValueError),
        ("red", ["{}"], TypeError),
        (["red"], [], ValueError),
        (["red"], ["a picture"], ValueError),
        (["red"], "a {}", TypeError),
    ],
)
def test_labels_and_templates_that_make_no_sense_are_refused(counting_embeddings, labels, templates, error):
    with pytest.raises(error, match="label"):
        ZeroShotClassifier(counting_embeddings, labels, templates=templates)


def test_the_similarity_matrix_has_images_as_rows_and_texts_as_columns(clip, sample_images):
    images, texts = list(sample_images.values()), ["red", "a green square"]
    matrix = similarity_matrix(clip, images, texts)
    assert matrix.shape == (5, 2)
    expected = np.array(clip.embed_image(images)) @ np.array(clip.embed_documents(texts)).T
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    np.testing.assert_array_equal(ZeroShotClassifier(clip, texts).similarity_matrix(images, texts), matrix)


def test_a_real_model_gives_its_own_probabilities(clip, sample_images):
    import open_clip
    import torch
    from PIL import Image

    folder = clip.model_name
    model, _, preprocess = open_clip.create_model_and_transforms(folder)
    with torch.no_grad():
        model.eval()
        tokens = open_clip.get_tokenizer(folder)(COLOURS)
        pixels = preprocess(Image.open(sample_images["noise"]))[None]
        expected = model.get_logits(pixels, tokens)[0].softmax(dim=-1)[0].numpy()
    (result,) = ZeroShotClassifier(clip, COLOURS, templates=["{}"]).classify([sample_images["noise"]])
    np.testing.assert_allclose([result[label] for label in COLOURS], expected, atol=1e-5)


async def test_async_twins_give_the_same(counting_embeddings, sample_images):
    classifier = ZeroShotClassifier(counting_embeddings, COLOURS)
    images = [sample_images["red"], sample_images["blue"]]
    assert await classifier.aclassify(images) == classifier.classify(images)
    matrix = await classifier.asimilarity_matrix(images, COLOURS)
    np.testing.assert_array_equal(matrix, classifier.similarity_matrix(images, COLOURS))
