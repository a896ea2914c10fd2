"""Pixels are those of open_clip's own preprocessing, with less work; JPEGs are decoded no larger than needed."""

import io

import numpy as np
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.embeddings._open_clip_pixels import Pixels
from langchain_mmrag.errors import CorruptMediaError, UnsafeSourceError
from langchain_mmrag.media import MediaPolicy, image_facts, open_image, open_with_facts
from tests.conftest import save_clip

SIZES = [
    *((1, 1), (2, 1), (1, 31), (32, 1), (700, 2), (2, 700)),
    *((20, 17), (32, 32), (33, 32), (64, 64), (301, 299), (299, 301)),
    *((500, 375), (375, 500), (333, 500), (300, 900), (900, 300), (45, 120), (1023, 767)),
]


def photo(size, seed=0):
    """Soft colours, edges and grain."""
    noise = np.random.default_rng(seed)
    width, height = size
    coarse = noise.integers(0, 256, (height // 25 + 2, width // 25 + 2, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    soft[height // 3 : height // 2, width // 4 : width // 2] = (250, 250, 20)
    return Image.fromarray((soft + noise.integers(-9, 10, soft.shape)).clip(0, 255).astype(np.uint8))


def own_pixels(preprocess, image):
    """What open_clip's steps give before the values become floats: [3, height, width]."""
    for step in preprocess.transforms[:-2]:
        image = step(image)
    return np.asarray(image).transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize(("side", "interpolation"), [(32, "bicubic"), (32, "bilinear"), (224, "bicubic")])
def test_pixels_are_open_clips_within_one_grey_level(side, interpolation):
    preprocess = image_transform(side, is_train=False, interpolation=interpolation)
    fast, exact = Pixels(preprocess), Pixels(preprocess, exact=True)
    for seed, size in enumerate(SIZES):
        image = photo(size, seed)
        if max(size) * side**2 > 2e6 * min(size):
            continue  # open_clip itself would take long and need much memory
        own = own_pixels(preprocess, image)
        pixels = fast.stack([image, fast.shrink(image)]).astype(int)
        assert np.abs(pixels - own).max() <= 2, size
        assert np.sum(np.abs(pixels - own) > 1) <= 4, size  # where both passes round the other way
        assert np.mean(pixels != own) < 0.01, size
        if max(size) <= side * min(size):
            assert np.array_equal(exact.stack([exact.shrink(image)])[0], own), size


@pytest.mark.parametrize("mode", ["squash", "longest"])
@pytest.mark.parametrize("side", [32, (48, 32)])
def test_other_ways_to_resize_keep_their_steps(mode, side):
    preprocess = image_transform(side, is_train=False, resize_mode=mode, fill_color=255)
    pixels = Pixels(preprocess)
    for size in [(500, 375), (45, 120), (20, 17), (301, 299)]:
        image = photo(size)
        assert np.array_equal(pixels.stack([pixels.shrink(image)])[0], own_pixels(preprocess, image))


def test_floats_are_those_of_open_clip():
    preprocess = image_transform(
        32, is_train=False, resize_mode="squash", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)
    )
    images = [photo((50, 40)), photo((40, 50))]
    for row, image in zip(Pixels(preprocess).tensor(images), images, strict=True):
        np.testing.assert_allclose(row.numpy(), preprocess(image).numpy(), atol=1e-6)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("exact", [False, True])
def test_the_middle_of_a_very_long_strip_is_seen(mode, exact):
    pixels = Pixels(image_transform(32, is_train=False, resize_mode=mode, fill_color=0), exact=exact)
    strip = Image.new("RGB", (60_001, 1), "red")
    strip.paste("lime", (30_000 - 200, 0, 30_000 + 200, 1))
    for image in (strip, strip.transpose(Image.Transpose.ROTATE_90)):
        small = pixels.shrink(image)
        assert small.size == (32, 32)
        assert small.getpixel((15, 15)) == (0, 255, 0)


def test_images_of_unknown_steps_arrive_as_they_were_opened():
    normalize = Normalize((0.5,) * 3, (0.5,) * 3)
    for preprocess in (
        lambda image: ToTensor()(image.resize((8, 8))),
        Compose([Resize(32), ToTensor(), normalize]),  # leaves the longer side open
        Compose([Resize(40), CenterCrop(32), ToTensor(), normalize]),
        Compose([CenterCrop(32), ToTensor(), normalize]),
    ):
        pixels, image = Pixels(preprocess), photo((64, 64))
        assert (pixels.mean, pixels.std, pixels.min_side) == (None, None, None)
        assert pixels.shrink(image) is image
        assert np.array_equal(pixels.tensor([image])[0], preprocess(image))
        with pytest.raises(ValueError, match="only tensor"):
            pixels.stack([image])


# --- JPEGs at a reduced scale


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


ODD = photo((1213, 997))
JPEGS = {
    "plain": jpeg(photo((1200, 1000))),
    "odd": jpeg(ODD),
    "progressive": jpeg(ODD, progressive=True),
    "gray": jpeg(ODD.convert("L")),
    "four inks": jpeg(ODD.convert("CMYK")),
    "full colour": jpeg(ODD, subsampling=0),
    **{f"turned {i}": jpeg(ODD, **turned(i)) for i in range(2, 9)},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_reduced_jpeg_gives_nearly_the_same_pixels(kind):
    pixels = Pixels(image_transform(224, is_train=False))
    assert pixels.min_side == 448
    whole = open_image(JPEGS[kind])
    reduced, facts = open_with_facts(JPEGS[kind], min_side=pixels.min_side)
    assert min(reduced.size) < min(whole.size) / 1.9
    assert (facts.width, facts.height) == whole.size
    assert facts == image_facts(JPEGS[kind])
    difference = np.abs(np.subtract(*pixels.stack([whole, reduced]).astype(int)))
    # Of odd sizes, 2.5 if the part of a pixel by which the decoder rounds them up were not left out.
    assert difference.mean() < 0.5


@pytest.mark.parametrize("kind", JPEGS)
def test_a_cut_off_jpeg_is_refused_at_every_scale(kind):
    data = JPEGS[kind][: -len(JPEGS[kind]) // 3]
    for side in (None, 448, 1):
        with pytest.raises(CorruptMediaError):
            open_with_facts(data, min_side=side)


def test_pixels_are_counted_as_stored():
    with pytest.raises(UnsafeSourceError, match="1200x1000, more than the 1199999 pixels"):
        open_image(JPEGS["plain"], MediaPolicy(max_pixels=1_199_999), min_side=1)


def test_vectors_are_those_of_exact_decoding(tmp_path):
    folder = save_clip(tmp_path)
    fast, exact = (
        OpenCLIPEmbeddings(f"local-dir:{folder}", device="cpu", exact_decode=exact, show_progress=False)
        for exact in (False, True)
    )
    small = [jpeg(photo(size, 1)) for size in [(50, 40), (63, 49), (40, 60), (100, 50)]]
    np.testing.assert_allclose(
        fast.embed_images_array(small).vectors, exact.embed_images_array(small).vectors, atol=1e-4
    )
    assert fast.fingerprint == exact.fingerprint


def test_small_targets_are_reached_from_whole_jpegs():
    assert Pixels(image_transform(64, is_train=False)).min_side is None
    assert Pixels(image_transform(224, is_train=False), exact=True).min_side is None
