"""Pictures for prompts carry no metadata, and the very pixels they came with."""

from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from langchain_mmrag.media import open_image
from langchain_mmrag.media.formats import BMP, JPEG, PNG, WEBP
from langchain_mmrag.media.strip import without_metadata
from tests.unit_tests.media_cases import saved, sent

SECRET = b"S3CRET"
FORMATS = {"JPEG": JPEG, "PNG": PNG, "WEBP": WEBP}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def scene() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8))


def located() -> Image.Exif:
    """EXIF with a position, as telephones write it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = SECRET.decode()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (42.0, 38.0, 24.0)
    exif[ExifTags.Base.Orientation] = 1
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf>' + SECRET + b"</rdf></x:xmpmeta>"


def png_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", SECRET.decode())
    info.add_text("Long", SECRET.decode() * 99, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add(b"tIME", b"\x07\xea\x01\x02\x03\x04\x05")
    return info


WRITTEN = {
    "JPEG EXIF": ("JPEG", {"exif": located()}),
    "JPEG XMP": ("JPEG", {"xmp": XMP}),
    "JPEG comment": ("JPEG", {"comment": SECRET}),
    "JPEG progressive, all of it": (
        "JPEG",
        {"exif": located(), "xmp": XMP, "comment": SECRET, "progressive": True},
    ),
    "JPEG with restart marks": ("JPEG", {"exif": located(), "restart_marker_blocks": 2}),
    "PNG EXIF": ("PNG", {"exif": located()}),
    "PNG text": ("PNG", {"pnginfo": png_text()}),
    "WebP EXIF": ("WEBP", {"exif": located()}),
    "WebP all of it, lossless": ("WEBP", {"exif": located(), "xmp": XMP, "lossless": True}),
}


@pytest.mark.parametrize(("kind", "options"), WRITTEN.values(), ids=WRITTEN)
def test_metadata_stays_here_and_the_pixels_are_the_same(kind, options):
    original = saved(scene(), kind, **options)
    data, mime_type = sent(original)
    assert mime_type == f"image/{kind.lower()}"
    assert len(data) < len(original)
    assert SECRET not in data
    with Image.open(BytesIO(data)) as shown, Image.open(BytesIO(original)) as given:
        assert not shown.getexif()
        assert not {"exif", "xmp", "comment", "Author", "Long", "XML:com.adobe.xmp"} & shown.info.keys()
        assert np.array_equal(shown.convert("RGB"), given.convert("RGB"))
    assert sent(data) == (data, mime_type), "nothing is left to take out"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_colour_profile_stays(kind):
    data, _ = sent(saved(scene(), kind, icc_profile=PROFILE, exif=located()))
    with Image.open(BytesIO(data)) as shown:
        assert shown.info["icc_profile"] == PROFILE
        assert not shown.getexif()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_without_metadata_goes_byte_for_byte(kind):
    data = saved(scene(), kind)
    assert without_metadata(data, FORMATS[kind]) is data


@pytest.mark.parametrize("kind", FORMATS)
def test_what_follows_the_end_of_a_picture_stays_here(kind):
    data = saved(scene(), kind)
    assert without_metadata(data + SECRET * 50, FORMATS[kind]) == data


def test_the_colours_of_an_adobe_jpeg_stay_right():
    original = saved(scene(), "JPEG", keep_rgb=True, comment=SECRET, quality=95)
    data, _ = sent(original)
    assert SECRET not in data
    assert np.array_equal(open_image(data), open_image(original))


def test_a_thumbnail_in_the_header_of_a_jpeg_goes():
    plain = saved(scene(), "JPEG")
    extension = b"JFXX\x00\x10" + SECRET
    hidden = plain[:20] + b"\xff\xe0" + (2 + len(extension)).to_bytes(2, "big") + extension + plain[20:]
    assert sent(hidden)[0] == plain


def test_a_thumbnail_in_the_very_first_segment_of_a_jpeg_goes():
    plain = saved(scene(), "JPEG")
    assert plain[6:11] == b"JFIF\x00"
    pixels = (SECRET * 8)[: 4 * 4 * 3]
    length = (16 + len(pixels)).to_bytes(2, "big")
    hidden = plain[:4] + length + plain[6:18] + b"\x04\x04" + pixels + plain[20:]
    assert np.array_equal(open_image(hidden), open_image(plain))
    assert sent(hidden)[0] == plain
    claimed = plain[:4] + length + plain[6:18] + b"\x00\x00" + pixels + plain[20:]
    assert sent(claimed)[0] == plain


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_cannot_be_followed_is_left_to_the_encoder(kind):
    data = saved(scene(), kind)
    for cut in (14, len(data) // 2):
        assert without_metadata(data[:cut], FORMATS[kind]) is None
    assert without_metadata(data, BMP) is None


@pytest.mark.parametrize("kind", FORMATS)
def test_broken_bytes_never_raise_or_hang(kind):
    data = bytearray(saved(scene(), kind, exif=located()))
    generator = np.random.default_rng(11)
    for _ in range(300):
        broken = bytearray(data)
        for place in generator.integers(12, len(data), 4):
            broken[place] = generator.integers(0, 256)
        bare = without_metadata(bytes(broken), FORMATS[kind])
        assert bare is None or len(bare) <= len(broken) + 1
