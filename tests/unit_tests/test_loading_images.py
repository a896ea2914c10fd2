"""What a picture says of itself, what lies beside it, and the formats that need an extra or have pages."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, TiffImagePlugin
from PIL.TiffImagePlugin import IFDRational

from langchain_mmrag.document_loaders.image import ImageLoader, is_sidecar
from langchain_mmrag.errors import CorruptMediaError, LoadError, UnsafeSourceError, UnsupportedFormatError
from langchain_mmrag.media import MediaPolicy, image_facts, open_image, prompt_picture
from langchain_mmrag.media import svg as svg_module

XMP = """<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:exif="http://ns.adobe.com/exif/1.0/"><rdf:Description exif:GPSLatitude="51,30.5N"
exif:GPSLongitude="0,7,30W" exif:DateTimeOriginal="2019-03-04T05:06:07+02:00">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Tower &amp; bridge</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">The bridge is up</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>Thames</rdf:li><rdf:li>night</rdf:li><rdf:li>Thames</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
FACTS = (
    "mime_type",
    "width",
    "height",
    "sha256",
    "modality",
    "source",
    "file_sha256",
    "part",
    "parts",
    "loader",
)


def exif(tags: dict, inner: dict | None = None, gps: dict | None = None) -> Image.Exif:
    made = Image.Exif()
    made.update(tags)
    made.get_ifd(0x8769).update(inner or {})
    made.get_ifd(0x8825).update(gps or {})
    return made


def photo(path: Path, **options) -> Path:
    Image.new("RGB", (12, 8), "teal").save(path, **options)
    return path


def told(path: Path, **options) -> dict:
    (document,) = ImageLoader(path, **options).load()
    return {key: value for key, value in document.metadata.items() if key not in FACTS}


# what a picture says of itself

SOUTH_WEST = {1: "S", 2: (22.0, 54.0, 30.6), 3: "W", 4: (43.0, 10.0, 12.0)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "avif"])
def test_date_place_and_camera_come_from_exif(tmp_path, suffix):
    tags = exif({0x010F: "Canon", 0x0110: "Canon EOS R6"}, {0x9003: "2024:06:01 18:30:05"}, SOUTH_WEST)
    assert told(photo(tmp_path / f"a.{suffix}", exif=tags)) == {
        "taken": "2024-06-01T18:30:05",
        "taken_ts": 1717266605.0,
        "latitude": -22.9085,
        "longitude": -43.17,
        "camera": "Canon EOS R6",
    }


def test_a_tiff_says_when_and_where_too(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[272], tags[34665], tags[34853] = "X100", {0x9003: "2024:06:01 18:30:05"}, SOUTH_WEST
    found = told(photo(tmp_path / "a.tif", tiffinfo=tags))
    assert (found["camera"], found["taken"], found["latitude"]) == ("X100", "2024-06-01T18:30:05", -22.9085)


@pytest.mark.parametrize(
    ("tags", "inner", "gps", "expected"),
    [
        pytest.param(
            {},
            {0x9003: "2024:06:01 18:30:05", 0x9011: "+02:00"},
            {},
            {"taken": "2024-06-01T18:30:05+02:00", "taken_ts": 1717259405.0},
            id="time with its zone",
        ),
        pytest.param(
            {0x0132: "1999:12:31 23:59:59"},
            {0x9003: "0000:00:00 00:00:00"},
            {},
            {"taken": "1999-12-31T23:59:59", "taken_ts": 946684799.0},
            id="clock that was never set",
        ),
        pytest.param(
            {0x010F: "NIKON CORPORATION", 0x0110: "NIKON D90"},
            {},
            {},
            {"camera": "NIKON D90"},
            id="make once",
        ),
        pytest.param(
            {0x010F: "Apple", 0x0110: "iPhone 15"}, {}, {}, {"camera": "Apple iPhone 15"}, id="make and model"
        ),
        pytest.param(
            {0x010E: "Ufer bei Köln".encode()}, {}, {}, {"caption": "Ufer bei Köln"}, id="description"
        ),
        pytest.param(
            {0x010E: "OLYMPUS DIGITAL CAMERA         "}, {}, {}, {}, id="what a camera writes there"
        ),
        pytest.param(
            {0x9C9B: "Café".encode("utf-16-le"), 0x9C9E: "sea;sun".encode("utf-16-le")},
            {},
            {},
            {"title": "Café", "keywords": ["sea", "sun"]},
            id="words of Windows",
        ),
        pytest.param(
            {},
            {},
            {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
            {},
            id="place that was never set",
        ),
        pytest.param(
            {}, {}, {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, {}, id="beyond the pole"
        ),
        pytest.param(
            {},
            {},
            {1: "N", 2: (IFDRational(1, 0), 0.0, 0.0), 3: "E", 4: (7.0, 0.0, 0.0)},
            {},
            id="divided by zero",
        ),
    ],
)
def test_exif_is_believed_where_it_makes_sense(tmp_path, tags, inner, gps, expected):
    assert told(photo(tmp_path / "a.jpg", exif=exif(tags, inner, gps))) == expected


def test_broken_exif_leaves_a_picture(tmp_path):
    assert told(photo(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\x07" * 40)) == {}


def test_words_time_and_place_come_from_xmp(tmp_path):
    assert told(photo(tmp_path / "a.jpg", xmp=XMP.encode())) == {
        "caption": "The bridge is up",
        "title": "Tower & bridge",
        "keywords": ["Thames", "night"],
        "taken": "2019-03-04T05:06:07+02:00",
        "taken_ts": 1551668767.0,
        "latitude": 51.508333,
        "longitude": -0.125,
    }


def iptc(*records: tuple[int, str]) -> bytes:
    body = b"".join(
        b"\x1c\x02" + bytes([n]) + len(t.encode()).to_bytes(2, "big") + t.encode() for n, t in records
    )
    block = b"8BIM\x04\x04\x00\x00" + len(body).to_bytes(4, "big") + body + b"\x00" * (len(body) % 2)
    data = b"Photoshop 3.0\x00" + block
    return b"\xff\xed" + (len(data) + 2).to_bytes(2, "big") + data


def test_words_come_from_iptc(tmp_path):
    path = photo(tmp_path / "a.jpg")
    data = path.read_bytes()
    path.write_bytes(
        data[:2] + iptc((5, "Markt"), (25, "Obst"), (25, "Gemüse"), (120, "Stände am Morgen")) + data[2:]
    )
    assert told(path) == {"title": "Markt", "keywords": ["Obst", "Gemüse"], "caption": "Stände am Morgen"}


def test_a_packet_made_to_waste_time_wastes_little(tmp_path):
    hostile = b"<dc:title" * 20000 + b"<rdf:li" * 20000 + b'exif:GPSLatitude="' * 5000
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, xmp=hostile)
    assert told(path) == {}


# what lies beside it

TAKEOUT = {
    "title": "a.jpg",
    "description": "Picnic",
    "geoData": {"latitude": 48.2, "longitude": 16.37, "altitude": 0.0},
    "photoTakenTime": {"timestamp": "1593604800", "formatted": "1 Jul 2020"},
}
TAKEOUT_FACTS = {
    "caption": "Picnic",
    "latitude": 48.2,
    "longitude": 16.37,
    "taken": "2020-07-01T12:00:00+00:00",
    "taken_ts": 1593604800.0,
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"a.txt": "A red boat\n"}, {"caption": "A red boat"}, id="text of the stem"),
        pytest.param(
            {"a.jpg.txt": "whole", "a.txt": "stem"}, {"caption": "whole"}, id="whole name before stem"
        ),
        pytest.param(
            {"a.txt": "text", "a.json": '{"caption": "json"}'}, {"caption": "text"}, id="text before json"
        ),
        pytest.param(
            {
                "a.json": '{"alt": "alt", "title": "T", "keywords": "x, y"}',
                "a.xmp": XMP.replace("exif:", "no:"),
            },
            {"caption": "alt", "title": "T", "keywords": ["x", "y"]},
            id="json before xmp",
        ),
        pytest.param(
            {"a.json": '{"title": "Only a title"}'},
            {"caption": "Only a title", "title": "Only a title"},
            id="title",
        ),
        pytest.param({"a.jpg.json": json.dumps(TAKEOUT)}, TAKEOUT_FACTS, id="Takeout"),
        pytest.param(
            {"a.jpg.supplemental-metadata.json": json.dumps(TAKEOUT)}, TAKEOUT_FACTS, id="newer Takeout"
        ),
        pytest.param({"a.json": '{"price": 3}', "b.txt": "another's"}, {}, id="other people's files"),
        pytest.param({"a.json": "[" * 99999}, {}, id="json without end"),
        pytest.param(
            {"a.json": '{"photoTakenTime": {"timestamp": "1e99"}, "geoData": 7, "title": 3}'},
            {},
            id="nonsense",
        ),
        pytest.param({"a.txt": "long " * 1000}, {}, id="a text that is a document"),
        pytest.param({"a.txt": "   \n"}, {}, id="blank"),
    ],
)
def test_captions_beside_a_picture_are_its_own(tmp_path, files, expected):
    path = photo(tmp_path / "a.jpg")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert told(path) == expected


def test_words_beside_a_picture_go_before_those_in_it_and_its_own_time_before_theirs(tmp_path):
    path = photo(tmp_path / "a.jpg", exif=exif({0x010E: "inside"}, {0x9003: "2024:06:01 18:30:05"}))
    (tmp_path / "a.jpg.json").write_text(json.dumps(TAKEOUT))
    found = told(path)
    assert (found["caption"], found["taken"], found["latitude"]) == ("Picnic", "2024-06-01T18:30:05", 48.2)
    assert found["taken_ts"] == 1717266605.0
    assert told(path, caption="given")["caption"] == "given"


def test_a_changed_caption_asks_for_the_picture_to_be_read_again(tmp_path):
    path = photo(tmp_path / "a.jpg")
    prints = [ImageLoader(path).fingerprint]
    for text in ("one", "two"):
        (tmp_path / "a.txt").write_text(text)
        prints.append(ImageLoader(path).fingerprint)
    (document,) = ImageLoader(path).load()
    assert prints[0] == ""
    assert document.metadata["loader"] == prints[2] != prints[1]
    assert prints[2].startswith("image+caption=")
    assert len(prints[2]) == len("image+caption=") + 8


def test_a_caption_outside_the_policy_is_not_read(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    path = photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "a.txt").symlink_to(tmp_path / "secret.txt")
    assert told(path, media_policy=MediaPolicy(roots=(tmp_path / "in",))) == {}
    assert told(path, media_policy=MediaPolicy(roots=(tmp_path,))) == {"caption": "secret"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "A boat", True),
        ("a.jpg.txt", "A boat", True),
        ("a.xmp", XMP, True),
        ("a.json", '{"caption": "A boat"}', True),
        ("a.jpg.supplemental-metadata.json", json.dumps(TAKEOUT), True),
        ("B.txt", "beside B.PNG", True),
        ("a.json", '{"price": 3}', False),
        ("a.json", "[1, 2]", False),
        ("a.txt", "long " * 1000, False),
        ("notes.txt", "A boat", False),
        ("a.md", "A boat", False),
        ("a.jpg", "", False),
    ],
)
def test_which_files_are_captions_and_which_are_documents(tmp_path, name, text, expected):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "B.PNG")
    if text:
        (tmp_path / name).write_text(text)
    assert is_sidecar(tmp_path / name) is expected


# addresses


def test_a_picture_at_an_address_has_its_facts_and_nothing_beside_it(tmp_path, serve_folder):
    photo(tmp_path / "a.jpg", exif=exif({0x010E: "inside"}))
    (tmp_path / "a.txt").write_text("beside")
    address = f"{serve_folder(tmp_path)}/a.jpg"
    (document,) = ImageLoader(address, media_policy=MediaPolicy(allow_private_addresses=True)).load()
    assert document.page_content == "inside"
    assert document.metadata["source"] == address
    assert "file_sha256" not in document.metadata


def test_the_address_of_a_file_is_its_path(tmp_path):
    path = photo(tmp_path / "red boat.jpg")
    (tmp_path / "red boat.txt").write_text("beside")
    by_address, by_path = ImageLoader(path.as_uri()), ImageLoader(path)
    assert by_address.load() == by_path.load()
    assert by_address.fingerprint == by_path.fingerprint != ""
    with pytest.raises(UnsafeSourceError, match="another computer"):
        ImageLoader("file://elsewhere/a.jpg")


# pages


def page(number: int) -> Image.Image:
    image = Image.new("RGB", (40 + number, 30), (20 * number, 90, 160))
    ImageDraw.Draw(image).line((0, 0, 40, 30), fill="white")
    return image


def test_pages_of_a_tiff_are_a_document_each(tmp_path):
    path = tmp_path / "fax.tif"
    page(1).save(path, save_all=True, append_images=[page(2), page(3)])
    first, *others = ImageLoader(path, media_directory=tmp_path / "kept").load()
    assert "path" not in first.metadata
    assert [document.metadata["page"] for document in (first, *others)] == [1, 2, 3]
    assert [document.metadata["width"] for document in (first, *others)] == [41, 42, 43]
    assert others[-1].metadata["parts"] == 3
    for number, document in enumerate(others, start=2):
        kept = open_image(document.metadata["path"])
        assert kept.getpixel((40, 5)) == (20 * number, 90, 160)
        assert document.metadata["source"] == str(path)
    assert first.id == ImageLoader(path).load()[0].id


def test_thumbnails_in_a_tiff_are_no_pages(tmp_path):
    path = tmp_path / "scan.tif"
    small = TiffImagePlugin.ImageFileDirectory_v2()
    small[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(path, new=True) as file:
        page(1).save(file)
        file.newFrame()
        page(2).resize((10, 8)).save(file, tiffinfo=small)
        file.newFrame()
    (document,) = ImageLoader(path, media_directory=tmp_path / "kept").load()
    assert "page" not in document.metadata
    assert not (tmp_path / "kept").exists()


def test_a_page_that_is_too_large_is_told_and_the_others_kept(tmp_path):
    path = tmp_path / "fax.tif"
    page(1).save(path, save_all=True, append_images=[Image.new("RGB", (400, 400)), page(3)])
    loader = ImageLoader(path, media_policy=MediaPolicy(max_pixels=10_000), media_directory=tmp_path / "kept")
    assert [document.metadata["page"] for document in loader.load()] == [1, 3]
    assert "page 2" in str(loader.problems[0])
    assert "400x400" in str(loader.problems[0])


def test_a_tiff_that_ends_in_its_second_page_keeps_the_first(tmp_path):
    path = tmp_path / "fax.tif"
    pages = [Image.effect_noise((60, 60), 90) for _ in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    data = path.read_bytes()
    with Image.open(path) as image:
        image.seek(1)
        start = image.tag_v2[273][0]
    path.write_bytes(data[:start] + bytes(40) + data[start + 40 :])
    loader = ImageLoader(path, media_directory=tmp_path / "kept")
    documents = loader.load()
    assert documents[0].metadata["width"] == 60
    assert len(documents) + len(loader.problems) == 2


def test_of_an_animation_the_first_picture_is_taken(tmp_path):
    page(1).save(tmp_path / "a.gif", save_all=True, append_images=[page(2), page(3)])
    (document,) = ImageLoader(tmp_path / "a.gif").load()
    assert "page" not in document.metadata


# HEIC


def heic(path: Path, **options) -> Path:
    import pillow_heif

    image = Image.new("RGB", (64, 40), "red")
    image.paste("blue", (0, 0, 32, 40))
    pillow_heif.from_pillow(image).save(path, quality=90, **options)
    return path


def test_heic_opens_upright_with_its_exif_and_goes_to_a_prompt_as_something_models_read(tmp_path):
    tags = exif({0x0112: 6, 0x0110: "iPhone 15"}, {0x9003: "2024:06:01 18:30:05"})
    path = heic(tmp_path / "a.heic", exif=tags.tobytes())
    (document,) = ImageLoader(path).load()
    assert document.metadata["mime_type"] == "image/heic"
    assert (document.metadata["width"], document.metadata["height"]) == (40, 64)
    assert (document.metadata["camera"], document.metadata["taken"]) == ("iPhone 15", "2024-06-01T18:30:05")
    image = open_image(path)
    assert image.size == (40, 64)
    top, bottom = image.getpixel((20, 8)), image.getpixel((20, 56))
    assert (top[2] > 200, top[0] < 60) == (True, True)
    assert (bottom[0] > 200, bottom[2] < 60) == (True, True)
    assert prompt_picture(path).mime_type in {"image/png", "image/jpeg"}


def test_heic_keeps_to_the_limits_and_a_broken_one_is_told(tmp_path):
    path = heic(tmp_path / "a.heic")
    with pytest.raises(UnsafeSourceError, match="64x40"):
        image_facts(path, MediaPolicy(max_pixels=1000))
    half = tmp_path / "half.heic"
    half.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CorruptMediaError, match=r"half\.heic is a broken or cut-off HEIF file"):
        ImageLoader(half).load()


def test_heic_is_not_made_known_to_pillow_itself(tmp_path):
    path = heic(tmp_path / "a.heic")
    code = (
        "import sys\nfrom PIL import Image\nfrom langchain_mmrag.media import open_image\n"
        "open_image(sys.argv[1])\nassert 'HEIF' not in Image.OPEN"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize(("module", "name"), [("pillow_heif", "a.heic"), ("resvg_py", "a.svg")])
def test_without_the_extra_the_error_is_the_line_that_installs_it(tmp_path, monkeypatch, module, name):
    path = (
        heic(tmp_path / name)
        if name == "a.heic"
        else drawing(tmp_path / name, "<rect width='9' height='9'/>")
    )
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedFormatError, match=rf'{name}.*pip install "langchain-mmrag\[images\]"'):
        open_image(path)


# SVG


def drawing(path: Path, inside: str, size: str = "viewBox='0 0 100 50'", before: str = "") -> Path:
    names = "xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'"
    path.write_text(f"{before}<svg {names} {size}>{inside}</svg>", encoding="utf-8")
    return path


def test_a_drawing_becomes_a_picture_on_white_with_its_title(tmp_path):
    words = "<title>Pump plan</title><desc>Red half</desc>"
    before = "\ufeff<?xml version='1.0'?>\n<!-- made by hand -->\n<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'svg11.dtd'>\n"
    path = drawing(tmp_path / "a.svg", words + "<rect width='50' height='50' fill='red'/>", before=before)
    (document,) = ImageLoader(path).load()
    assert (document.metadata["mime_type"], document.page_content) == ("image/svg+xml", "Red half")
    assert (document.metadata["title"], document.metadata["width"], document.metadata["height"]) == (
        "Pump plan",
        1024,
        512,
    )
    image = open_image(path)
    assert (image.size, image.getpixel((100, 100)), image.getpixel((900, 100))) == (
        (1024, 512),
        (255, 0, 0),
        (255, 255, 255),
    )
    assert prompt_picture(path).mime_type == "image/png"


def test_words_in_a_drawing_are_drawn(tmp_path):
    path = drawing(tmp_path / "a.svg", "<text x='5' y='30' font-size='20' font-family='Arial'>Hallo</text>")
    assert open_image(path).convert("L").getextrema()[0] < 100


def test_a_drawing_opens_no_other_file(tmp_path):
    secret = photo(tmp_path / "secret.png")
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "lime").save(data, "PNG")
    import base64

    inside = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    path = drawing(
        tmp_path / "a.svg",
        f"<image href='{secret}' width='50' height='50'/><image xlink:href='{secret.as_uri()}' width='50' height='50'/>"
        f"<image href='{inside}' x='50' width='50' height='50'/>",
    )
    image = open_image(path)
    assert image.getpixel((100, 100)) == (255, 255, 255)
    assert image.getpixel((700, 200)) == (0, 255, 0)


TURBULENCE = "<filter id='f'><feTurbulence baseFrequency='0.05' numOctaves='99999999'/></filter>"
TENFOLD = "".join(f"<g id='a{n}'>{f'''<use href='#a{n - 1}'/>''' * 10}</g>" for n in range(1, 10))


@pytest.mark.parametrize(
    ("inside", "before", "error", "words"),
    [
        pytest.param(
            "<text>&e;</text>", "<!DOCTYPE svg [<!ENTITY e 'x'>]>", UnsafeSourceError, "entities", id="entity"
        ),
        pytest.param(
            f"{TURBULENCE}<rect width='99' height='50' filter='url(#f)'/>",
            "",
            UnsafeSourceError,
            "longer than",
            id="for ever",
        ),
        pytest.param(
            "<g>" * 900 + "<rect/>" + "</g>" * 900,
            "",
            UnsafeSourceError,
            "more memory or time",
            id="a deep nest",
        ),
        pytest.param(
            "<g>" * 90000 + "</g>" * 90000, "", UnsafeSourceError, "nested too deep", id="a very deep nest"
        ),
        pytest.param(
            f"<rect id='a0'/>{TENFOLD}<use href='#a9'/>",
            "",
            CorruptMediaError,
            "cannot be drawn",
            id="tenfold",
        ),
        pytest.param("<g>", "", CorruptMediaError, "broken or cut-off SVG", id="cut off"),
        pytest.param("<!DOCTYPE " * 50_000, "", CorruptMediaError, "broken", id="document types"),
        pytest.param("", "<!---->" * 140 + "x", UnsupportedFormatError, "text", id="comments"),
    ],
)
def test_a_hostile_drawing_is_refused_and_takes_nothing_with_it(  # noqa: PLR0917
    tmp_path, monkeypatch, inside, before, error, words
):
    monkeypatch.setattr(svg_module, "_TIMEOUT_S", 2.0)
    path = drawing(tmp_path / "evil.svg", inside, before=before)
    with pytest.raises(error, match=words) as caught:
        open_image(path)
    assert "evil.svg" in str(caught.value)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        ("", UnsupportedFormatError),
        ("width='0' height='5'", UnsupportedFormatError),
        ("viewBox='0 0 nan x'", LoadError),
        ("width='1e9' height='1'", UnsafeSourceError),
        ("width='1e999' height='1e999'", UnsupportedFormatError),
        ("viewBox='0 0 inf inf'", UnsupportedFormatError),
        (f"width='1{' ' * 100_000}?' height='1'", UnsupportedFormatError),
    ],
)
def test_a_drawing_without_a_sensible_size_is_refused(tmp_path, size, error):
    with pytest.raises(error, match=r"a\.svg is an SVG drawing"):
        open_image(drawing(tmp_path / "a.svg", "<rect width='5' height='5'/>", size))


def test_a_page_with_a_drawing_in_it_is_no_drawing():
    with pytest.raises(UnsupportedFormatError, match="an HTML page"):
        open_image(b"<!DOCTYPE html><html><body><svg width='5' height='5'></svg></body></html>")
