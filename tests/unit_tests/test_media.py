"""Opening pictures: what comes out of good ones, how bad ones are refused, and what a policy keeps out."""

from __future__ import annotations

import random
import resource
import warnings
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import (
    MediaPolicy,
    formats,
    image_facts,
    open_image,
    open_with_facts,
    prompt_picture,
    quiet,
)
from langchain_mmrag.media.quiet import quiet_pillow
from tests.unit_tests.media_cases import (
    AVIF_HERE,
    BAD,
    FLAG,
    GOOD,
    SIZE,
    WHITE,
    BadMedia,
    GoodMedia,
    exif,
    flag,
    jpeg_with_broken_exif,
    quarters,
    saved,
)

FLAG_PNG = saved(flag(), "PNG")
good = pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
bad = pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)


def noise(side: int, colours: str = "RGB") -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values).convert(colours)


# --- what comes out -------------------------------------------------------------------------------------------


@good
def test_a_picture_opens_with_the_colours_it_shows(case: GoodMedia) -> None:
    image = open_image(case.data)
    assert (image.mode, image.size) == ("RGB", case.size)
    for seen, expected in zip(quarters(image), case.quarters, strict=True):
        assert np.abs(np.subtract(seen, expected)).max() <= case.tolerance, (seen, expected)


@good
def test_facts_are_those_of_the_stored_bytes(case: GoodMedia) -> None:
    facts = image_facts(case.data)
    assert open_with_facts(case.data, min_side=1)[1] == open_with_facts(case.data)[1] == facts
    assert (facts.mime_type, facts.width, facts.height) == (case.mime_type, *case.size)
    assert facts.sha256 == sha256(case.data).hexdigest()


@good
def test_opening_an_opened_picture_changes_nothing(case: GoodMedia) -> None:
    once = open_image(case.data)
    assert open_image(once).tobytes() == once.tobytes()


@good
def test_a_lazy_pillow_image_opens_like_its_bytes(case: GoodMedia) -> None:
    with quiet_pillow(), Image.open(BytesIO(case.data)) as image:
        assert open_image(image).tobytes() == open_image(case.data).tobytes()


def test_the_result_is_a_plain_image_of_its_own() -> None:
    source = flag()
    source.info["exif"] = exif(6).tobytes()
    image = open_image(source)
    image.paste(WHITE, (0, 0, *image.size))
    assert type(image) is Image.Image
    assert image.info == {}
    assert quarters(source) == list(FLAG)


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "CMYK",
        "YCbCr",
        "HSV",
        "I",
        "F",
        "LA",
        "PA",
        "RGBX",
        "RGBa",
        "La",
        "I;16",
        "I;16B",
    ],
)
def test_a_pillow_image_of_any_mode_opens_and_stays_as_it_was(mode: str) -> None:
    source = Image.new(mode, (6, 4), 1 if mode in {"P", "PA"} else 0)
    before = (source.mode, source.size, source.tobytes(), dict(source.info))
    image = open_image(source)
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (source.mode, source.size, source.tobytes(), dict(source.info)) == before


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ((0, 64, 128, 255), "int32", (0, 64, 128, 255)),
        ((0, 16448, 32896, 65535), "int32", (0, 64, 128, 255)),
        ((-100, -60, 20, 100), "int32", (0, 51, 153, 255)),
        ((0, 2**29, 2**30, 2**31 - 1), "int32", (0, 64, 128, 255)),
        ((0.0, 64.0, 128.0, 255.0), "float32", (0, 64, 128, 255)),
        ((0.0, 0.25, 0.5, 1.0), "float32", (0, 64, 128, 255)),
        ((-1.0, -0.5, 0.0, 1.0), "float32", (0, 64, 128, 255)),
        ((np.nan, np.inf, -np.inf, 1.0), "float32", (0, 255, 0, 255)),
        ((np.nan, np.nan, np.nan, np.nan), "float32", (0, 0, 0, 0)),
        ((3.0, 3.0, 3.0, 3.0), "float32", (3, 3, 3, 3)),
    ],
)
def test_wide_gray_is_scaled_not_clipped(values: tuple, dtype: str, expected: tuple) -> None:
    image = open_image(Image.fromarray(np.array([values], dtype)))
    assert [image.getpixel((x, 0))[0] for x in range(4)] == list(expected)


def test_sixteen_bits_are_rounded_to_the_nearest_level() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = open_image(Image.fromarray(values))
    assert np.array_equal(np.asarray(image)[..., 0], (values / 257).round().astype(np.uint8))


def test_a_large_jpeg_is_decoded_smaller_on_request() -> None:
    data = saved(flag((1600, 800)), "JPEG", quality=95)
    assert open_image(data).size == (1600, 800)
    small = open_image(data, min_side=200)
    assert small.size == (400, 200)
    assert np.abs(np.subtract(quarters(small), FLAG)).max() <= 6
    assert open_image(data, min_side=201).size == (800, 400)
    assert open_image(data, min_side=0).size == (200, 100)
    assert open_image(saved(flag(), "PNG"), min_side=1).size == SIZE


def test_facts_of_a_pillow_image_are_those_of_its_png() -> None:
    facts = image_facts(flag())
    assert (facts.mime_type, facts.width, facts.height) == ("image/png", *SIZE)
    assert facts == image_facts(flag())
    assert facts.sha256 != image_facts(flag().transpose(Image.Transpose.ROTATE_180)).sha256


# --- refusals -------------------------------------------------------------------------------------------------


@bad
@pytest.mark.parametrize("opener", [open_image, image_facts, open_with_facts, prompt_picture])
def test_a_bad_file_is_refused_with_its_name_and_the_reason(case: BadMedia, opener, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"  # a name promises nothing
    path.write_bytes(case.data)
    with pytest.raises(LoadError) as caught:
        opener(path)
    assert type(caught.value) is case.error
    assert str(path) in str(caught.value)
    assert case.words in str(caught.value)


def test_the_pixel_cap_counts_and_is_inclusive() -> None:
    assert open_image(FLAG_PNG, MediaPolicy(max_pixels=512)).size == SIZE
    for source in (FLAG_PNG, flag()):
        with pytest.raises(UnsafeSourceError, match="32x16, more than the 511 pixels"):
            open_image(source, MediaPolicy(max_pixels=511))


def test_pixels_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise AssertionError(self)

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(UnsafeSourceError):
        open_image(FLAG_PNG, MediaPolicy(max_pixels=511))


def test_pillows_own_bomb_limit_is_told_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    assert open_image(FLAG_PNG).size == SIZE  # between once and twice the limit Pillow only warns
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(UnsafeSourceError, match="MAX_IMAGE_PIXELS"):
        open_image(FLAG_PNG)


def test_a_webp_is_measured_before_pillow_makes_its_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("was opened"))
    plain, lossless = saved(flag(), "WEBP"), saved(flag(), "WEBP", lossless=True)
    extended = saved(flag(), "WEBP", exif=exif(1))
    assert [data[12:16] for data in (plain, lossless, extended)] == [b"VP8 ", b"VP8L", b"VP8X"]
    for data in (plain, lossless, extended):
        with pytest.raises(UnsafeSourceError, match="is 32x16, more than the 511 pixels"):
            open_image(data, MediaPolicy(max_pixels=511))


def test_a_format_this_pillow_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(formats._OPTIONAL, "WEBP", False)
    with pytest.raises(
        UnsupportedFormatError, match="is WEBP, which this Pillow cannot read: upgrade pillow"
    ):
        open_image(saved(flag(), "WEBP"))


@pytest.mark.parametrize("case", [case for case in BAD if case.words == "pixels"], ids=lambda case: case.name)
def test_the_pixel_cap_holds_where_pillows_own_is_turned_off(
    case: BadMedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnsafeSourceError, match="more than the 128000000 pixels"):
        open_image(case.data)


def test_a_pillow_image_without_pixels_is_refused() -> None:
    with pytest.raises(CorruptMediaError, match="no pixels"):
        open_image(Image.new("RGB", (0, 5)))


def test_one_lazy_pillow_image_may_be_opened_by_several_threads_at_once() -> None:
    data = saved(noise(800), "PNG")
    for _ in range(5):
        image = Image.open(BytesIO(data))
        with ThreadPoolExecutor(4) as pool:
            opened = list(pool.map(open_image, [image] * 4))
        assert all(each.tobytes() == opened[0].tobytes() for each in opened)


def test_a_lazy_pillow_image_of_a_broken_file_is_refused() -> None:
    data = saved(noise(64), "PNG")
    with (
        Image.open(BytesIO(data[: len(data) // 2])) as image,
        pytest.raises(CorruptMediaError, match="PIL image 64x64"),
    ):
        open_image(image)


def test_only_the_decoder_the_first_bytes_ask_for_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: asked.append(kwargs) or real(*args, **kwargs))
    open_image(FLAG_PNG)
    assert asked == [{"formats": ["PNG"]}]


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "MPO", "APNG", "CMYK", *AVIF_HERE]
)
def test_a_cut_off_file_gives_the_whole_picture_or_none(kind: str) -> None:
    picture = flag((12, 8))
    more = {"save_all": True, "append_images": [picture.rotate(180)]}
    data = {
        "MPO": lambda: saved(picture, "MPO", **more),
        "APNG": lambda: saved(picture, "PNG", **more),
        "GIF": lambda: saved(picture, "GIF", **more),
        "CMYK": lambda: saved(picture.convert("CMYK"), "JPEG"),
    }.get(kind, lambda: saved(picture, kind))()
    whole = open_image(data).tobytes()
    refused = 0
    for end in range(len(data)):
        try:
            assert open_image(data[:end]).tobytes() == whole
        except LoadError:
            refused += 1
    assert refused > len(data) // 4


@pytest.mark.parametrize(
    "case", [case for case in GOOD if "orientation" not in case.name], ids=lambda case: case.name
)
def test_flipped_bytes_open_or_raise_a_load_error(case: GoodMedia) -> None:
    generator = random.Random(case.name)
    policy = MediaPolicy(max_pixels=100_000)
    for _ in range(40):
        data = bytearray(case.data)
        for _ in range(generator.choice((1, 2, 8))):
            data[generator.randrange(min(len(data), generator.choice((64, 10**6))))] = generator.randrange(
                256
            )
        for opener in (open_image, prompt_picture):
            try:
                opener(bytes(data), policy)
            except LoadError:
                continue


# --- warnings, threads, descriptors -----------------------------------------------------------------------------


def test_pillows_warnings_stay_inside_and_only_there() -> None:
    data = jpeg_with_broken_exif()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert open_image(data).size == SIZE
        assert image_facts(data).width == SIZE[0]
        assert seen == []
        with Image.open(BytesIO(data)) as image:
            image.getexif()
        assert seen, "the same file outside of this package warns as before"


def test_the_warning_filter_comes_first_and_once() -> None:
    with warnings.catch_warnings():
        for _ in range(3):
            warnings.simplefilter("error")
            open_image(jpeg_with_broken_exif())
        assert [entry is quiet._FILTER for entry in warnings.filters].count(True) == 1


def test_threads_decode_at_once_with_warnings_as_errors() -> None:
    broken, filters = jpeg_with_broken_exif(), len(warnings.filters)
    expected = open_image(broken).tobytes()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: open_image(broken).tobytes(), range(200)))
    assert set(results) == {expected}
    assert len(warnings.filters) <= filters + 1


def test_many_files_do_not_exhaust_descriptors(tmp_path: Path) -> None:
    whole, cut = tmp_path / "flag.png", tmp_path / "cut.tif"
    whole.write_bytes(FLAG_PNG)
    cut.write_bytes(saved(flag(), "TIFF")[:200])
    policy = MediaPolicy(roots=(tmp_path,))
    listing = Path("/proc/self/fd")
    open_files = len(list(listing.iterdir())) if listing.exists() else 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files + 24, hard))
    try:
        kept = []
        for _ in range(300):
            kept += [open_image(whole), open_image(whole, policy), image_facts(whole), prompt_picture(whole)]
            with pytest.raises(CorruptMediaError):
                open_image(cut, policy)
            with pytest.raises(UnsafeSourceError):
                open_image("/etc/hostname", policy)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(kept) == 1200
