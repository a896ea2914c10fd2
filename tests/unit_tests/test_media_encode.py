"""Pictures for prompts: the same bytes where they can be taken, else a faithful encoding within the limits."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from langchain_mmrag.errors import SourceNotFoundError, UnsafeSourceError
from langchain_mmrag.media import MediaPolicy, encode_image, open_image
from langchain_mmrag.media.quiet import quiet_pillow
from tests.unit_tests.media_cases import (
    FLAG,
    GOOD,
    WHITE,
    GoodMedia,
    exif,
    flag,
    painted,
    quarters,
    saved,
    sent,
)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8))


def photo(width: int, height: int) -> Image.Image:
    """A smooth picture of thousands of colours."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def test_flat_art_becomes_a_lossless_png() -> None:
    image = flag((640, 320))
    picture = encode_image(image)
    assert picture.mime_type == "image/png"
    assert open_image(picture.data).tobytes() == image.tobytes()


def test_an_icon_becomes_a_lossless_png() -> None:
    picture = encode_image(noise(64, 64))
    assert picture.mime_type == "image/png"
    assert open_image(picture.data).tobytes() == noise(64, 64).tobytes()


def test_a_photo_becomes_a_jpeg_close_to_it() -> None:
    picture = encode_image(photo(300, 200))
    assert picture.mime_type == "image/jpeg"
    difference = np.abs(np.asarray(open_image(picture.data), int) - np.asarray(photo(300, 200), int))
    assert difference.mean() < 2


def grey_photo(width: int, height: int) -> Image.Image:
    """A picture in all greys, with grain."""
    grain = np.random.default_rng(5).normal(0, 6, (height, width))
    light = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    return Image.fromarray((light + grain).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_photo_in_greys_becomes_a_jpeg_within_a_third_of_the_bytes_of_a_png(mode: str) -> None:
    image = grey_photo(600, 400)
    picture = encode_image(image.convert(mode))
    assert picture.mime_type == "image/jpeg"
    assert len(picture.data) * 3 < len(saved(image.convert("RGB"), "PNG"))
    difference = np.abs(np.asarray(open_image(picture.data), int)[..., 0] - np.asarray(image, int))
    assert difference.mean() < 4


def test_a_gradient_and_a_drawing_in_greys_stay_as_they_are() -> None:
    gradient = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (200, 2)))
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 16, (200, 300), np.uint8) * 16)
    for image in (gradient, noisy):
        picture = encode_image(image)
        assert picture.mime_type == "image/png"
        assert open_image(picture.data).tobytes() == image.convert("RGB").tobytes()


def test_a_picture_is_also_an_address() -> None:
    picture = encode_image(flag((64, 32)))
    assert open_image(picture.uri).tobytes() == flag((64, 32)).tobytes()
    assert (picture.width, picture.height) == (64, 32)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2048, 1024), (1024, 512)), ((500, 4000), (128, 1024)), ((1024, 7), (1024, 7)), ((5000, 1), (1024, 1))],
)
def test_the_aspect_is_kept(size: tuple[int, int], expected: tuple[int, int]) -> None:
    data = encode_image(photo(*size)).data
    assert open_image(data).size == expected


def test_shrinking_keeps_what_is_seen() -> None:
    data = encode_image(flag((2000, 1000)), max_side=100).data
    image = open_image(data)
    assert image.size == (100, 50)
    assert np.abs(np.subtract(quarters(image), FLAG)).max() <= 6


def test_quality_goes_down_before_size_does() -> None:
    best = encode_image(noise(200, 200)).data
    fitted = encode_image(noise(200, 200), max_bytes=len(best) // 2).data
    assert open_image(fitted).size == (200, 200)
    assert len(fitted) <= len(best) // 2


@pytest.mark.parametrize("max_bytes", [1024, 3000, 20_000])
def test_any_byte_limit_is_kept_by_shrinking(max_bytes: int) -> None:
    data = encode_image(noise(400, 200), max_bytes=max_bytes).data
    width, height = open_image(data).size
    assert len(data) <= max_bytes
    assert width < 400
    assert abs(width - 2 * height) <= 1


@pytest.mark.parametrize("limits", [{"max_side": 0}, {"max_bytes": 1023}])
def test_limits_without_room_are_a_value_error(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        encode_image(flag(), **limits)
    with pytest.raises(ValueError, match="at least"):
        sent(saved(flag(), "PNG"), **limits)


def test_encoding_leaves_the_image_as_it_was() -> None:
    image = painted("RGBA", ((*FLAG[0], 255), (*FLAG[1], 255), (*FLAG[2], 255), (9, 9, 9, 0)), (3000, 1500))
    before = image.tobytes()
    data = encode_image(image, max_side=500).data
    assert image.tobytes() == before
    assert quarters(open_image(data))[3] == WHITE


@pytest.mark.parametrize("side", [1023, 1024])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_small_upright_pictures_go_as_they_are(kind: str, side: int, tmp_path: Path) -> None:
    data = saved(photo(side, 300), kind)
    path = tmp_path / "picture"
    path.write_bytes(data)
    for source in (data, path, BytesIO(data)):
        assert sent(source) == (data, f"image/{kind.lower()}")


_PLAIN = {
    "JPEG",
    "JPEG progressive",
    "JPEG gray",
    "PNG",
    "PNG palette",
    "PNG 1 bit",
    "WebP",
}


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_everything_else_is_encoded_anew_and_looks_the_same(case: GoodMedia) -> None:
    data, mime_type = sent(case.data)
    assert (data == case.data) == (case.name in _PLAIN)
    assert mime_type in {"image/jpeg", "image/png", "image/webp"}
    image = open_image(data)
    assert image.size == case.size
    assert np.abs(np.subtract(quarters(image), case.quarters)).max() <= case.tolerance
    with quiet_pillow(), Image.open(BytesIO(data)) as shown:
        assert Image.MIME[shown.format] == mime_type
        assert getattr(shown, "n_frames", 1) == 1


def test_a_large_photo_is_shrunk_for_a_prompt() -> None:
    data, mime_type = sent(saved(photo(2000, 1500), "JPEG", exif=exif(6)))
    assert mime_type == "image/jpeg"
    assert open_image(data).size == (768, 1024)


def test_too_many_bytes_are_encoded_anew() -> None:
    original = saved(noise(300, 300), "PNG")
    data, mime_type = sent(original, max_bytes=len(original) - 1)
    assert len(data) < len(original)
    assert mime_type == "image/jpeg"


def test_a_gif_with_a_broken_second_frame_is_sent_as_its_first() -> None:
    whole = saved(flag().quantize(4), "GIF", save_all=True, append_images=[flag().quantize(4).rotate(180)])
    data, _ = sent(whole[:-20])
    assert data != whole[:-20]
    assert quarters(open_image(data)) == list(FLAG)


def test_a_pillow_image_is_encoded() -> None:
    data, mime_type = sent(flag((640, 320)))
    assert (open_image(data).tobytes(), mime_type) == (flag((640, 320)).tobytes(), "image/png")


def test_the_policy_rules_prompts_too(tmp_path: Path) -> None:
    (tmp_path / "flag.png").write_bytes(saved(flag(), "PNG"))
    with pytest.raises(UnsafeSourceError):
        sent(tmp_path / "flag.png", MediaPolicy(roots=(tmp_path / "inner",)))
    with pytest.raises(UnsafeSourceError):
        sent(flag(), MediaPolicy(max_pixels=10))
    with pytest.raises(SourceNotFoundError):
        sent(tmp_path / "gone.png")
