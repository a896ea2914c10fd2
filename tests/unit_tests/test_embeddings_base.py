"""What the base class owes its subclasses and callers: batches, order, checks, and errors that name their place."""

import base64
import io

import numpy as np
import pytest
from langchain_core.messages.content import create_audio_block, create_image_block, create_text_block
from PIL import Image

from langchain_mmrag.embeddings import ImageBatch, MultimodalEmbeddings, base
from langchain_mmrag.errors import (
    CorruptMediaError,
    EmbeddingError,
    LoadError,
    UnsafeSourceError,
    UnsupportedModalityError,
)
from langchain_mmrag.media import MediaPolicy
from tests.conftest import COLOURS, CountingEmbeddings

LOOPBACK = MediaPolicy(allow_private_addresses=True)


class GivenVectors(MultimodalEmbeddings):
    """Returns what the test says, whatever is asked."""

    fingerprint = "given"

    def __init__(self, texts=None, images=None):
        self.texts, self.images = texts, images

    def _encode_texts(self, texts):
        return self.texts

    def _encode_images(self, images):
        return self.images


# --- texts


def test_texts_are_encoded_in_batches_and_come_back_in_order():
    texts = ["red", "green pear", "blue", "a very long text about red", "white", "x", "black cat"]
    embeddings = CountingEmbeddings(batch_size=3, show_progress=False)
    vectors = embeddings.embed_documents(texts)
    assert embeddings.text_batches == [3, 3, 1]
    np.testing.assert_allclose(vectors, [embeddings.embed_query(text) for text in texts], atol=1e-7)


def test_texts_of_like_length_share_a_batch():
    seen = []

    class Recording(CountingEmbeddings):
        def _encode_texts(self, texts):
            seen.append(sorted(texts))
            return super()._encode_texts(texts)

    Recording(batch_size=2).embed_documents(["a", "aaaa", "b", "bbbb"])
    assert seen == [["aaaa", "bbbb"], ["a", "b"]]


def test_vectors_are_lists_of_python_floats_of_unit_norm(counting_embeddings, sample_images):
    for vector in (
        counting_embeddings.embed_query("red"),
        counting_embeddings.embed_documents(["red"])[0],
        counting_embeddings.embed_image(sample_images["red"]),
        counting_embeddings.embed_image_list([sample_images["red"]])[0],
    ):
        assert type(vector) is list
        assert {type(number) for number in vector} == {float}
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_arrays_are_float32_rows_of_unit_norm(counting_embeddings, sample_images):
    texts = counting_embeddings.embed_texts_array(["red", "green and blue"])
    images = counting_embeddings.embed_images_array(list(sample_images.values())).vectors
    assert (texts.shape, images.shape, texts.dtype, images.dtype) == (
        (2, 16),
        (5, 16),
        np.float32,
        np.float32,
    )
    np.testing.assert_allclose(np.linalg.norm(np.vstack([texts, images]), axis=1), 1, atol=1e-6)


def test_nothing_in_gives_nothing_out(counting_embeddings):
    assert counting_embeddings.embed_documents([]) == []
    assert counting_embeddings.embed_image_list([]) == []
    assert counting_embeddings.embed_image([]) == []
    assert counting_embeddings.embed_image(uris=[]) == []
    assert counting_embeddings.embed_content_blocks([]) == []
    assert counting_embeddings.text_batches == []
    assert counting_embeddings.embed_texts_array([]).shape == (0, 16)
    assert counting_embeddings.embed_images_array([]).vectors.shape == (0, 16)


def test_a_generator_of_texts_is_taken(counting_embeddings):
    assert len(counting_embeddings.embed_documents(text for text in ("red", "green"))) == 2


@pytest.mark.parametrize("method", ["embed_documents", "embed_texts_array", "truncated"])
def test_one_bare_text_is_refused_where_a_list_is_meant(counting_embeddings, method):
    with pytest.raises(TypeError, match="embed_query embeds a single text"):
        getattr(counting_embeddings, method)("red")


def test_a_text_that_is_no_str_is_refused_by_its_place(counting_embeddings):
    with pytest.raises(TypeError, match="text 1 must be a str, not NoneType"):
        counting_embeddings.embed_documents(["red", None])
    with pytest.raises(TypeError, match="not Image; embed_image embeds images"):
        counting_embeddings.embed_query(Image.new("RGB", (2, 2)))


def test_nothing_is_truncated_by_default(counting_embeddings):
    assert counting_embeddings.truncated(["a", "b" * 10_000]) == [False, False]


def test_dimension_is_found_by_embedding_once(counting_embeddings):
    assert [counting_embeddings.dimension, counting_embeddings.dimension] == [16, 16]
    assert counting_embeddings.text_batches == [1]


# --- images


def test_every_way_to_name_an_image_gives_the_same_vector(counting_embeddings, sample_images, serve_folder):
    path = sample_images["red"]
    data = path.read_bytes()
    counting_embeddings.media_policy = LOOPBACK
    ways = [
        str(path),
        path,
        path.as_uri(),
        f"{serve_folder(path.parent)}/{path.name}",
        f"data:image/png;base64,{base64.b64encode(data).decode()}",
        data,
        bytearray(data),
        io.BytesIO(data),
        Image.open(path),
    ]
    expected = counting_embeddings.embed_query("red")
    for way in ways:
        vector = counting_embeddings.embed_image(way)
        assert vector[0] > 0.8
        assert vector[1:3] == [0.0, 0.0]
        assert vector[3] == pytest.approx(-expected[3])  # the gap between the modalities


def test_one_image_gives_a_vector_and_a_list_gives_a_list(counting_embeddings, sample_images):
    red, blue = str(sample_images["red"]), str(sample_images["blue"])
    one = counting_embeddings.embed_image(red)
    many = counting_embeddings.embed_image([red, blue])
    assert many[0] == one
    assert many[1] != one
    assert counting_embeddings.embed_image((red, blue)) == many
    assert counting_embeddings.embed_image(uris=[red, blue]) == many
    assert counting_embeddings.embed_image_list([red, blue]) == many
    assert counting_embeddings.embed_image([red]) == [one]


def test_embed_image_wants_exactly_one_of_its_arguments(counting_embeddings, sample_images):
    with pytest.raises(TypeError, match="exactly one of them"):
        counting_embeddings.embed_image()
    with pytest.raises(TypeError, match="exactly one of them"):
        counting_embeddings.embed_image(sample_images["red"], uris=[sample_images["red"]])


def test_one_bare_image_is_refused_where_a_list_is_meant(counting_embeddings):
    with pytest.raises(TypeError, match=r"expected a list of images, not one \(x\.jpg\)"):
        counting_embeddings.embed_image(uris="x.jpg")
    with pytest.raises(TypeError, match="expected a list of images"):
        counting_embeddings.embed_image_list("x.jpg")


def test_something_that_cannot_be_an_image_is_refused_by_its_place(counting_embeddings, sample_images):
    with pytest.raises(TypeError, match=r"image 1 must be a path, .* not int"):
        counting_embeddings.embed_image([sample_images["red"], 7])


def test_images_are_encoded_in_batches_and_come_back_in_order(sample_images):
    embeddings = CountingEmbeddings(batch_size=2, show_progress=False)
    names = ["red", "green", "blue", "noise", "red"]
    vectors = embeddings.embed_image([sample_images[name] for name in names])
    assert embeddings.image_batches == [2, 2, 1]
    assert [int(np.argmax(vector[:3])) for vector in vectors[:3]] == [0, 1, 2]
    assert vectors[4] == vectors[0]


def test_a_bad_image_raises_with_its_place_and_source(counting_embeddings, sample_images, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(sample_images["noise"].read_bytes()[:500])
    with pytest.raises(CorruptMediaError, match=r"^image 1: .*broken\.jpg") as caught:
        counting_embeddings.embed_image([sample_images["red"], broken])
    assert isinstance(caught.value.__cause__, CorruptMediaError)
    assert counting_embeddings.image_batches == []


def test_bad_images_are_skipped_and_reported_where_asked(sample_images, tmp_path):
    missing, broken = tmp_path / "missing.png", tmp_path / "broken.jpg"
    broken.write_bytes(sample_images["noise"].read_bytes()[:500])
    embeddings = CountingEmbeddings(batch_size=2, show_progress=False)
    images = [missing, sample_images["red"], broken, b"", sample_images["blue"]]
    batch = embeddings.embed_images_array(images, on_error="skip")
    assert isinstance(batch, ImageBatch)
    assert batch.kept == (1, 4)
    assert [int(np.argmax(vector[:3])) for vector in batch.vectors] == [0, 2]
    assert [failure.index for failure in batch.failures] == [0, 2, 3]
    assert [failure.source for failure in batch.failures] == [str(missing), str(broken), "bytes (0)"]
    assert all(isinstance(failure.error, LoadError) for failure in batch.failures)
    assert all(failure.error.__traceback__ is None for failure in batch.failures)
    assert embeddings.image_batches == [1, 1]


def test_a_list_of_only_bad_images_leaves_no_rows(counting_embeddings):
    batch = counting_embeddings.embed_images_array([b"", b"text"], on_error="skip")
    assert (batch.vectors.shape, batch.kept, len(batch.failures)) == ((0, 16), (), 2)


def test_an_unknown_way_to_treat_errors_is_refused(counting_embeddings):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', not 'ignore'"):
        counting_embeddings.embed_images_array([], on_error="ignore")


def test_the_media_policy_holds(counting_embeddings, sample_images, serve_folder):
    address = f"{serve_folder(sample_images['red'].parent)}/red.png"
    with pytest.raises(UnsafeSourceError, match=r"image 0: .*127\.0\.0\.1"):
        counting_embeddings.embed_image(address)


# --- what an encoder may not return


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1.0, np.nan]]), r"text 0 \('red'\): .* holds NaN or infinity"),
        (np.array([[np.inf, 0]]), "holds NaN or infinity"),
        (np.zeros((1, 4)), "vector GivenVectors made of it is zero"),
        (np.ones((2, 4)), r"gave an array of shape \(2, 4\) for 1 inputs; \[1, d\] was expected"),
        (np.ones(4), r"shape \(4,\)"),
        (["a vector"], "^GivenVectors gave no array of numbers for 1 inputs"),
        ([[1.0, 2.0], [1.0]], "^GivenVectors gave no array of numbers for 1 inputs"),
    ],
)
def test_an_unusable_vector_is_an_error_that_names_its_text(vectors, message):
    with pytest.raises(EmbeddingError, match=message):
        GivenVectors(texts=vectors).embed_query("red")


def test_an_unusable_vector_of_an_image_names_the_image(sample_images):
    path = sample_images["red"]
    with pytest.raises(EmbeddingError, match=r"image 1 \(.*red\.png\): .* is zero"):
        GivenVectors(images=np.array([[1.0, 0], [0, 0]])).embed_image([path, path])


def test_an_unusable_vector_is_named_by_its_place_before_sorting():
    with pytest.raises(EmbeddingError, match=r"text 1 \('long, long'\)"):
        GivenVectors(texts=np.array([[0.0, 0], [1, 0]])).embed_documents(["short", "long, long"])


def test_encoders_of_two_spaces_are_found_out(sample_images):
    embeddings = GivenVectors(texts=np.ones((1, 4)), images=np.ones((1, 6)))
    embeddings.embed_query("red")
    with pytest.raises(EmbeddingError, match="6 numbers after vectors of 4"):
        embeddings.embed_image(sample_images["red"])


def test_a_subclass_need_not_call_the_constructor(sample_images):
    embeddings = GivenVectors(texts=[[3, 4]], images=[[0, 2]])
    np.testing.assert_allclose(embeddings.embed_query("red"), [0.6, 0.8], atol=1e-7)
    assert embeddings.embed_image(sample_images["red"]) == [0, 1]


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8"])
def test_a_senseless_batch_size_is_refused(size):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
        CountingEmbeddings(batch_size=size)


# --- content blocks


def test_content_blocks_of_both_kinds_come_back_in_order(counting_embeddings, sample_images):
    red = base64.b64encode(sample_images["red"].read_bytes()).decode()
    blue = base64.b64encode(sample_images["blue"].read_bytes()).decode()
    blocks = [
        create_image_block(base64=red, mime_type="image/png"),
        create_text_block("green"),
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{blue}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{blue}"},
        {"type": "image", "source_type": "base64", "data": red, "mime_type": "image/png"},
        {"type": "text-plain", "mime_type": "text/plain", "text": "red"},
    ]
    vectors = counting_embeddings.embed_content_blocks(blocks)
    assert [int(np.argmax(vector[:3])) for vector in vectors] == [0, 1, 2, 2, 0, 0]
    assert vectors[1] == counting_embeddings.embed_query("green")
    assert vectors[0] == counting_embeddings.embed_image(sample_images["red"])
    assert counting_embeddings.image_batches[0] == 4


def test_an_image_block_with_an_address_is_fetched(sample_images, serve_folder):
    embeddings = CountingEmbeddings(media_policy=LOOPBACK, show_progress=False)
    block = create_image_block(url=f"{serve_folder(sample_images['red'].parent)}/green.png")
    assert int(np.argmax(embeddings.embed_content_blocks([block])[0][:3])) == 1


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (create_audio_block(base64="AAAA", mime_type="audio/wav"), UnsupportedModalityError, "type 'audio'"),
        ({"type": "image", "file_id": "file-1"}, UnsupportedModalityError, "neither url nor base64"),
        ({"type": "image", "base64": "!!!"}, CorruptMediaError, "content block 1: "),
        ({"type": "image", "url": "/etc/hostname"}, UnsafeSourceError, r"embed_image\(path\)"),
        ({"type": "image", "url": "file:///etc/hostname"}, UnsafeSourceError, "content block 1 names"),
        ("text", TypeError, "content block 1 must be a dict"),
    ],
)
def test_a_block_without_text_or_picture_is_refused_by_its_place(counting_embeddings, block, error, message):
    with pytest.raises(error, match=message) as caught:
        counting_embeddings.embed_content_blocks([create_text_block("red"), block])
    assert "1" in str(caught.value)


# --- progress


def test_short_work_shows_no_bar(capsys, sample_images):
    CountingEmbeddings(batch_size=1).embed_documents(["red"] * 5)
    assert capsys.readouterr().err == ""


def test_long_work_shows_a_bar_on_stderr(capsys, monkeypatch):
    monkeypatch.setattr(base, "_QUIET_S", -1.0)
    CountingEmbeddings(batch_size=1).embed_documents(["red"] * 5)
    shown = capsys.readouterr()
    assert "embedding texts: 100%" in shown.err
    assert shown.out == ""


def test_a_bar_can_be_asked_for_and_forbidden(capsys, monkeypatch, sample_images):
    CountingEmbeddings(show_progress=True).embed_image([sample_images["red"]] * 3)
    assert "embedding images: 100%" in capsys.readouterr().err
    CountingEmbeddings(show_progress=True).embed_query("red")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(base, "_QUIET_S", -1.0)
    CountingEmbeddings(show_progress=False).embed_documents(["red"] * 5)
    assert capsys.readouterr().err == ""


# --- async


async def test_async_twins_give_the_same(counting_embeddings, sample_images):
    red, blue = sample_images["red"], sample_images["blue"]
    texts = ["red", "green"]
    embeddings = counting_embeddings
    assert await embeddings.aembed_query("red") == embeddings.embed_query("red")
    assert await embeddings.aembed_documents(texts) == embeddings.embed_documents(texts)
    assert await embeddings.aembed_image(red) == embeddings.embed_image(red)
    assert await embeddings.aembed_image([red, blue]) == embeddings.embed_image([red, blue])
    assert await embeddings.aembed_image(uris=[red]) == embeddings.embed_image(uris=[red])
    assert await embeddings.aembed_image_list([red, blue]) == embeddings.embed_image_list([red, blue])
    blocks = [create_text_block("red")]
    assert await embeddings.aembed_content_blocks(blocks) == embeddings.embed_content_blocks(blocks)
    np.testing.assert_array_equal(
        await embeddings.aembed_texts_array(texts), embeddings.embed_texts_array(texts)
    )
    assert await embeddings.atruncated(texts) == [False, False]
    batch = await embeddings.aembed_images_array([red, b""], on_error="skip")
    assert batch.kept == (0,)


def test_the_fake_knows_colours(counting_embeddings, sample_images):
    texts = counting_embeddings.embed_texts_array(list(COLOURS)[:3])
    images = counting_embeddings.embed_images_array(
        [sample_images[name] for name in list(COLOURS)[:3]]
    ).vectors
    assert (texts @ images.T).argmax(axis=1).tolist() == [0, 1, 2]
