"""Films become moments, words and one document of the whole; what is broken of them is told."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from langchain_mmrag.demo.corpus import draw_thing
from langchain_mmrag.document_loaders._film import _PQ_TO_SRGB
from langchain_mmrag.document_loaders._reading import loader_for
from langchain_mmrag.document_loaders._scenes import spread
from langchain_mmrag.document_loaders._subtitles import is_sidecar, parse_subtitles
from langchain_mmrag.document_loaders.kinds import LoaderOptions
from langchain_mmrag.document_loaders.transcription import PocketSphinxTranscriber, Segment
from langchain_mmrag.document_loaders.video import VideoLoader
from langchain_mmrag.embeddings import OpenCLIPEmbeddings
from langchain_mmrag.errors import (
    CorruptMediaError,
    LoadError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy, open_image
from langchain_mmrag.media.frames import key_frames
from tests.unit_tests.films import film_file, scenes_file, sound_file, tone
from tests.unit_tests.speech import silence, spoken

THINGS = ("anchor", "violin", "tram", "cactus", "doughnut")
X265 = {"preset": "ultrafast", "x265-params": "log-level=none"}


@pytest.fixture(scope="module")
def pictures():
    return [draw_thing(name, side=240) for name in THINGS]


@pytest.fixture(scope="module")
def clip():
    return OpenCLIPEmbeddings("mmrag-tiny", show_progress=False)


@pytest.fixture
def load(tmp_path):
    """Load a film: its documents without the last, the last, and what was reported."""

    def run(path, **options):
        loader = VideoLoader(path, media_directory=tmp_path / "media", **options)
        *parts, whole = loader.load()
        return parts, whole, [str(problem) for problem in loader.problems]

    return run


def times(documents):
    return [(one.metadata["start_s"], one.metadata["end_s"]) for one in documents]


def moments_of(documents):
    return [one for one in documents if "thumbnail" in one.metadata]


@pytest.mark.parametrize("key_s", [5, 1], ids=["every frame looked at", "key frames are enough"])
def test_a_moment_lasts_until_the_picture_changes(tmp_path, pictures, load, clip, key_s):
    path = scenes_file(tmp_path / "film.mp4", pictures, key_s=key_s, title="Five things")
    parts, whole, problems = load(path)
    assert times(parts) == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert problems == []
    shown = clip.embed_images_array([one.metadata["thumbnail"] for one in parts]).vectors
    named = clip.embed_texts_array([f"a {name}" for name in THINGS])
    assert list((shown @ named.T).argmax(axis=1)) == [0, 1, 2, 3, 4]
    assert times([whole]) == [(0, 20)]
    assert whole.metadata["thumbnail"] == [one.metadata["thumbnail"] for one in parts]
    assert {one.metadata["parent_id"] for one in parts} == {whole.id}
    assert "parent_id" not in whole.metadata
    for one in (*parts, whole):
        facts = {key: one.metadata[key] for key in ("modality", "mime_type", "width", "height", "title")}
        assert facts == {
            "modality": "video",
            "mime_type": "video/mp4",
            "width": 320,
            "height": 240,
            "title": "Five things",
        }
        assert one.metadata["duration_s"] == 20
        assert one.metadata["source"] == str(path)


def test_the_same_film_gives_the_same_documents(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "film.mp4", pictures[:2])
    assert load(path) == load(path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"sampling": "uniform", "every_s": 5}, [(0, 5), (5, 10), (10, 15), (15, 20)]),
        ({"sampling": "uniform", "every_s": 2.5}, [(start * 2.5, start * 2.5 + 2.5) for start in range(8)]),
        ({"sampling": "keyframe", "min_moment_s": 4, "max_moment_s": 20}, [(0, 5), (5, 10), (10, 15), (15, 20)]),
        ({"sampling": "scene", "min_moment_s": 1, "max_moment_s": 3}, [(i * 4 + a, i * 4 + b) for i in range(5) for a, b in ((0, 3), (3, 4))]),
        ({"sampling": "scene", "min_moment_s": 6}, [(0, 6), (6, 12), (12, 18), (18, 20)]),
    ],
)  # fmt: skip
def test_how_long_moments_are_can_be_chosen(tmp_path, pictures, load, options, expected):
    path = scenes_file(tmp_path / "film.mp4", pictures, key_s=5)
    parts, _, _ = load(path, **options)
    assert times(parts) == expected


def test_slow_fades_are_changes_too(tmp_path, pictures, load, clip):
    path = scenes_file(tmp_path / "film.mp4", pictures, each_s=5, fade_s=2)
    parts, _, _ = load(path)
    assert len(parts) == 5
    for number, (start, _) in enumerate(times(parts)):
        assert 5 * number <= start <= 5 * number + 3
    shown = clip.embed_images_array([one.metadata["thumbnail"] for one in parts]).vectors
    named = clip.embed_texts_array([f"a {name}" for name in THINGS])
    assert list((shown @ named.T).argmax(axis=1)) == [0, 1, 2, 3, 4]


def test_motion_and_flashes_are_no_changes(tmp_path, load):
    wide = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    ground = Image.fromarray(wide).resize((1200, 400), Image.Resampling.BICUBIC)
    panned = [ground.crop((x, 0, x + 320, 240)) for x in range(0, 800, 8)]  # 10 s of a steady pan
    panned[50] = Image.new("RGB", (320, 240), "white")
    path = scenes_file(tmp_path / "film.mp4", panned, each_s=0.1, moving=False)
    parts, _, _ = load(path)
    assert times(parts) == [(0, 10)]


def test_a_still_film_is_one_moment_a_stretch_and_a_new_line_on_a_slide_is_seen(tmp_path, load):
    slide = Image.new("RGB", (640, 360), "white")
    ImageDraw.Draw(slide).text((30, 30), "Results of the spring term", "black", font_size=30)
    more = slide.copy()
    ImageDraw.Draw(more).text((30, 120), "The third group was twice as fast", "black", font_size=30)
    path = scenes_file(
        tmp_path / "talk.mp4", [slide] * 7 + [more] * 3, each_s=10, fps=4, size=(640, 360), moving=False
    )
    parts, whole, _ = load(path)
    assert times(parts) == [(0, 60), (60, 70), (70, 100)]
    first, second, third = (one.metadata["thumbnail"] for one in parts)
    assert first == second != third
    assert whole.metadata["thumbnail"] == [first, third]
    assert "parent_id" not in parts[1].metadata  # the second stretch begins with it
    assert parts[2].metadata["parent_id"] == parts[1].id


def test_moments_of_a_long_film_belong_to_their_stretch(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "film.mp4", pictures * 2, subtitles=((5, 7, "a violin"), (25, 27, "again")))
    parts, whole, _ = load(path, collapse_s=15)
    by_id = {one.id: one for one in (*parts, whole)}
    belongs = {
        one.metadata["start_s"]: by_id[one.metadata["parent_id"]].metadata["start_s"]
        for one in parts
        if "parent_id" in one.metadata
    }
    assert belongs == {4: 0, 5: 0, 8: 0, 12: 0, 20: 16, 24: 16, 25: 16, 28: 16, 36: 32}
    assert whole.id not in {one.metadata.get("parent_id") for one in parts}


ODD = {
    "turned": ("film.mp4", {"rotation": 90}, (240, 320), "video/mp4", 0.0),
    "uneven frames": ("film.mkv", {"uneven": True}, (320, 240), "video/x-matroska", 0.0),
    "sound first": ("film.mp4", {"start_s": 5, "sound": tone(13)}, (320, 240), "video/mp4", 5.0),
    "no index": ("film.ts", {}, (320, 240), "video/mp2t", 0.0),
    "QuickTime with alpha": ("film.mov", {"codec": "qtrle", "pix_fmt": "argb", "options": {}}, (320, 240), "video/quicktime", 0.0),
    "odd size, no chroma loss": ("film.mkv", {"codec": "ffv1", "pix_fmt": "yuv444p", "size": (321, 241), "options": {}}, (321, 241), "video/x-matroska", 0.0),
    "ten bits": ("film.mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": X265}, (320, 240), "video/x-matroska", 0.0),
    "VP9": ("film.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}, (320, 240), "video/webm", 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_films_of_every_make(tmp_path, pictures, load, clip, name):
    file, options, size, mime_type, starts = ODD[name]
    parts, whole, problems = load(scenes_file(tmp_path / file, pictures[:2], **options))
    assert problems == []
    assert [round(one.metadata["start_s"] - starts) for one in parts] == [0, 4]
    facts = whole.metadata
    assert (facts["width"], facts["height"], facts["mime_type"]) == (*size, mime_type)
    assert facts["end_s"] == pytest.approx(8 + starts, abs=0.3)
    shown = [open_image(one.metadata["thumbnail"]) for one in parts]
    assert [picture.size for picture in shown] == [size] * 2
    if options.get("rotation"):
        shown = [picture.rotate(-90, expand=True) for picture in shown]
    meant = [picture.resize(shown[0].size) for picture in pictures[:2]]
    for picture, thing in zip(shown, meant, strict=True):
        differs = np.abs(np.asarray(picture, float) - np.asarray(thing, float)).mean()
        assert differs < 16, "its colours are wrong"


def test_see_through_films_lie_on_white(tmp_path, load):
    clear = Image.new("RGBA", (320, 240), (0, 0, 0, 0))
    path = scenes_file(tmp_path / "film.mov", [clear], codec="qtrle", pix_fmt="argb", options={})
    parts, _, _ = load(path)
    assert np.asarray(open_image(parts[0].metadata["thumbnail"])).min() > 250


def test_high_dynamic_range_is_brought_to_that_of_a_screen():
    # ST 2084: 0.58 is the white of a page (203 nits), 0.5 about 92 nits, 0.75 about 1000.
    assert _PQ_TO_SRGB[0] == 0
    assert 170 <= _PQ_TO_SRGB[round(0.5 * 255)] <= 190
    assert 225 <= _PQ_TO_SRGB[round(0.58 * 255)] <= 245
    assert _PQ_TO_SRGB[round(0.75 * 255)] == 255
    assert (np.diff(_PQ_TO_SRGB.astype(int)) >= 0).all()


def test_pictures_are_no_larger_than_asked_for(tmp_path, pictures, load):
    parts, _, _ = load(scenes_file(tmp_path / "film.mp4", pictures[:1]), thumbnail_side=128)
    assert open_image(parts[0].metadata["thumbnail"]).size == (128, 96)


def test_scenes_can_be_told_apart_by_an_embedding(tmp_path, pictures, clip, load):
    path = scenes_file(tmp_path / "film.mp4", pictures[:3])
    parts, whole, _ = load(path, embedding=clip)
    assert times(parts) == [(0, 4), (4, 8), (8, 12)]
    assert clip.fingerprint in whole.metadata["loader"]


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("film.mp4", [": the film ends at 0:12 of 0:20: the rest is missing"]),
        ("film.mkv", [": the film ends at 0:12 of 0:20: the rest is missing"]),
        ("film.ts", []),
    ],  # it does not say how long it is
)
def test_a_tail_that_is_missing_costs_only_the_tail(tmp_path, pictures, load, name, reported):
    path = scenes_file(
        tmp_path / name, pictures, container={"movflags": "faststart"} if name == "film.mp4" else {}
    )
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    parts, whole, problems = load(path)
    assert times(parts)[:2] == [(0, 4), (4, 8)]
    assert 10 <= whole.metadata["end_s"] <= 14
    assert [one.removeprefix(str(path)) for one in problems] == reported


def test_damage_in_the_middle_is_passed_over_and_told(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "film.mp4", pictures, container={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = np.random.default_rng(0).integers(0, 256, 6000).astype(np.uint8).tobytes()
    path.write_bytes(data)
    parts, whole, problems = load(path)
    assert times([whole]) == [(0, 20)]
    assert len(moments_of(parts)) >= 4
    assert "damaged at 0:" in problems[0]


BROKEN = {
    "empty": (b"", CorruptMediaError, "is empty"),
    "text": (b"hello world " * 500, LoadError, "no film"),
    "zeros": (bytes(5000), LoadError, "no film"),
    "list of another": (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n", LoadError, "no film"),
    "script": (b"ffconcat version 1.0\nfile /etc/passwd\n", UnsupportedFormatError, "no film or recording of a kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_film_is_a_clear_error(tmp_path, name):
    data, error, message = BROKEN[name]
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    with pytest.raises(error, match=message):
        VideoLoader(path, media_directory=tmp_path / "media").load()
    assert not (tmp_path / "media").exists()


def test_pictures_that_no_decoder_reads_are_a_clear_error(tmp_path, pictures):
    path = scenes_file(tmp_path / "film.mkv", pictures[:2])
    path.write_bytes(path.read_bytes().replace(b"V_M", b"V_X"))
    for read in (VideoLoader(path, media_directory=tmp_path / "media").load, lambda: key_frames(path)):
        with pytest.raises(CorruptMediaError, match=r"film\.mkv: there is no decoder for its pictures"):
            read()


def test_an_index_that_is_missing_is_a_clear_error(tmp_path, pictures):
    path = scenes_file(tmp_path / "film.mp4", pictures[:2])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CorruptMediaError, match=r"film\.mp4 is no film or recording that can be read, or it"):
        VideoLoader(path, media_directory=tmp_path / "media").load()


def test_the_policy_holds(tmp_path, pictures):
    path = scenes_file(tmp_path / "film.mp4", pictures[:1])
    with pytest.raises(UnsafeSourceError, match="outside"):
        VideoLoader(path, media_policy=MediaPolicy(roots=(tmp_path / "else",))).load()
    with pytest.raises(UnsafeSourceError, match="320x240"):
        VideoLoader(path, media_policy=MediaPolicy(max_pixels=1000)).load()
    with pytest.raises(SourceNotFoundError):
        VideoLoader(tmp_path / "gone.mp4").load()


def test_no_more_moments_than_allowed(tmp_path, pictures, load):
    parts, whole, problems = load(scenes_file(tmp_path / "film.mp4", pictures), max_moments=2)
    assert times(parts) == [(0, 4), (4, 8)]
    assert len(whole.metadata["thumbnail"]) == 2
    assert len(problems) == 1
    assert "only its first 2 moments, up to 0:08, are kept: raise max_moments" in problems[0]


def test_what_is_said_in_the_moments_that_are_kept_is_kept(tmp_path, pictures, load):
    said = ((1, 3, "An anchor rusts."), (4.5, 6, "Now a violin plays."), (9, 11, "The tram leaves."))
    parts, _, problems = load(scenes_file(tmp_path / "film.mp4", pictures, subtitles=said), max_moments=2)
    assert "only its first 2 moments" in problems[0]
    (passage,) = [one for one in parts if "thumbnail" not in one.metadata]
    assert passage.page_content == "An anchor rusts. Now a violin plays."


def test_a_film_of_sound_alone_needs_a_transcriber_or_a_store_that_hears(tmp_path):
    path = sound_file(tmp_path / "talk.avi")
    with pytest.raises(UnsupportedFormatError, match="has sound but no pictures: give a transcriber"):
        VideoLoader(path).load()
    loader = loader_for(path, LoaderOptions(sound_search=True))
    assert isinstance(loader, VideoLoader)
    assert {one.metadata["modality"] for one in loader.load()} == {"audio"}
    assert loader.problems == []


@pytest.mark.parametrize(
    "options",
    [
        {"sampling": "often"},
        {"every_s": 0},
        {"max_moments": -1},
        {"min_moment_s": 20},
        {"collapse_s": float("nan")},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        VideoLoader("film.mp4", **options)


# --- what is said ---------------------------------------------------------------------------------------------


def test_words_come_from_subtitles_inside_of_the_film(tmp_path, pictures, load):
    said = ((1, 3, "An <i>anchor</i> rusts."), (3.5, 6, "Now a violin\nplays."), (9, 11, "The tram leaves."))
    parts, _, problems = load(scenes_file(tmp_path / "film.mp4", pictures[:3], subtitles=said))
    assert [one.page_content for one in moments_of(parts)] == [
        "An anchor rusts.",
        "Now a violin plays.",
        "The tram leaves.",
    ]
    passages = [one for one in parts if "thumbnail" not in one.metadata]
    assert [one.page_content for one in passages] == [
        "An anchor rusts. Now a violin plays.",
        "The tram leaves.",
    ]
    assert times(passages) == [(1, 6), (9, 11)]
    assert problems == []


class Counting:
    """A transcriber that says one thing and counts how often it is asked."""

    fingerprint = "counting"

    def __init__(self):
        self.asked = 0

    def transcribe(self, sound):
        self.asked += 1
        yield Segment(0.5, 1.5, f"{sum(map(len, sound)) / 16000:.0f} seconds", 0.5)


def test_subtitles_beside_the_film_are_read_first_and_change_what_the_film_gives(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "clip.mp4", pictures[:2], sound=tone(8), subtitles=((1, 2, "from inside"),))
    transcriber = Counting()
    assert VideoLoader(path, transcriber=transcriber).fingerprint == "video;counting"
    assert load(path, transcriber=transcriber)[0][0].page_content == "from inside"
    sidecar = tmp_path / "clip.en.srt"
    sidecar.write_text("1\n00:00:01,000 --> 00:00:03,000\nfrom beside\n", encoding="utf-8")
    assert load(path, transcriber=transcriber)[0][0].page_content == "from beside"
    assert transcriber.asked == 0
    beside = VideoLoader(path, transcriber=transcriber)
    assert beside.fingerprint.startswith("video;counting;subtitles=")
    sidecar.write_text("no subtitles", encoding="utf-8")
    assert VideoLoader(path, transcriber=transcriber).fingerprint != beside.fingerprint
    parts, _, problems = load(path, transcriber=transcriber)
    assert parts[0].page_content == "from inside"
    assert "clip.en.srt beside it has no subtitles" in problems[0]


def test_subtitles_larger_than_any_film_has_are_not_read(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "film.mp4", pictures[:2])
    (tmp_path / "film.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nBoats.\n\n" * 120_000)
    parts, _, problems = load(path)
    assert "film.srt has more than 4194304 bytes" in problems[0]
    assert not any(part.page_content for part in parts)


def test_a_transcriber_is_asked_where_there_is_sound_and_nothing_better(tmp_path, pictures, load):
    transcriber = Counting()
    mute = scenes_file(tmp_path / "mute.mp4", pictures[:1])
    assert load(mute, transcriber=transcriber)[0][0].page_content == ""
    assert transcriber.asked == 0
    path = scenes_file(tmp_path / "film.mp4", pictures[:2], sound=tone(8))
    parts, _, _ = load(path, transcriber=transcriber)
    assert [one.page_content for one in parts] == ["8 seconds", "", "8 seconds"]
    assert parts[-1].metadata["confidence"] == 0.5
    assert transcriber.asked == 1


def test_each_passage_has_an_id_of_its_own(tmp_path, pictures, load):
    path = scenes_file(tmp_path / "a.mp4", pictures[:1])
    words = " ".join(["word"] * 120)
    path.with_suffix(".srt").write_text(f"1\n00:00:01,000 --> 00:00:01,000\n{words}\n", encoding="utf-8")
    parts, whole, _ = load(path)
    ids = [one.id for one in (*parts, whole)]
    assert len(ids) == len(set(ids)) == 4
    again, _, _ = load(path)
    assert [one.id for one in again] == ids[:-1]


def test_speech_is_heard_at_the_second_it_is_spoken(tmp_path, pictures, load):
    speech = np.concatenate(
        [
            silence(1),
            spoken("one two three four"),
            silence(2),
            spoken("in the new office in london"),
            silence(2),
        ]
    )
    path = scenes_file(tmp_path / "film.mp4", pictures[:3], sound=speech, start_s=1)
    digits = PocketSphinxTranscriber(vocabulary=["one", "two", "three"])
    parts, _, _ = load(path, transcriber=digits)
    texts = {one.metadata["start_s"]: one.page_content.split() for one in moments_of(parts)}
    assert list(texts) == [1, 5, 9]
    assert "two" in texts[1]
    assert "three" in texts[5]
    assert texts[9] == []


@pytest.mark.parametrize(
    ("name", "beside", "expected"),
    [
        ("clip.srt", ["clip.mp4"], True),
        ("clip.en.srt", ["clip.mp4"], True),
        ("clip.pt-BR.vtt", ["clip.MKV"], True),
        ("talk.srt", ["talk.mp3"], True),
        ("clip.final.cut.srt", ["clip.mp4"], False),
        ("clip.srt", ["other.mp4", "clip.txt"], False),
        ("clip.txt", ["clip.mp4"], False),
    ],
)
def test_subtitles_beside_a_film_are_no_documents_of_their_own(tmp_path, name, beside, expected):
    for one in (name, *beside):
        (tmp_path / one).touch()
    assert is_sidecar(tmp_path / name) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n00:00:01,500 --> 00:00:02,000\n<b>One</b>\ntwo\n\n2\n01:00:00,0 --> 01:00:01,0\n{\\an8}three", [(1.5, 2, "One two"), (3600, 3601, "three")]),
        ("WEBVTT\n\nNOTE of somebody\n\nintro\n00:01.000 --> 00:02.000 align:start\nTom &amp; <v Ann>Jerry</v>", [(1, 2, "Tom & Jerry")]),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nfirst line\n\n00:02.000 --> 00:03.000\nfirst line\nsecond line", [(1, 2, "first line"), (2, 3, "second line")]),
        ("2\n00:00:09,000 --> 00:00:03,000\nturned round\n\n1\n00:00:01,000 --> 00:00:02,000\nfirst", [(1, 2, "first"), (9, 9, "turned round")]),
        ("nothing\n\nof the kind", []),
    ],
)  # fmt: skip
def test_subtitles_are_read_as_people_write_them(text, expected):
    assert [(one.start_s, one.end_s, one.text) for one in parse_subtitles(text)] == expected


# --- bounds ---------------------------------------------------------------------------------------------------


def test_pictures_of_the_whole_are_spread_over_it():
    assert spread([str(i) for i in range(100)], 3) == ["0", "50", "99"]
    assert spread(["a", "a", "b"], 8) == ["a", "b"]


PEAK = """
import resource, sys
from langchain_mmrag.document_loaders.video import VideoLoader
loader = VideoLoader(sys.argv[1], media_directory=sys.argv[2])
count = sum(1 for _ in loader.lazy_load())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_a_long_film_costs_no_more_memory_than_a_short_one(tmp_path, pictures):
    peaks = []
    for minutes in (1, 8):
        path = scenes_file(
            tmp_path / f"{minutes}.mp4",
            pictures * (minutes * 2),
            each_s=6,
            fps=2,
            moving=False,
            size=(160, 120),
        )
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path), str(tmp_path / "media")],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = map(int, done.stdout.split())
        assert count >= minutes * 10
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 25


def test_a_film_is_read_as_it_is_asked_for(tmp_path, pictures):
    path = scenes_file(tmp_path / "film.mp4", pictures * 5, fps=4, moving=False)
    media = tmp_path / "media"
    documents = VideoLoader(path, collapse_s=8, media_directory=media).lazy_load()
    for _ in range(3):
        next(documents)
    kept = len(list(Path(media).rglob("*.jpg")))
    documents.close()
    assert kept <= 8  # of 25


def test_films_of_colours_are_cut_where_the_colour_changes(tmp_path, load):
    parts, _, _ = load(film_file(tmp_path / "film.mkv", seconds=18))
    assert times(parts) == [(0, 6), (6, 12), (12, 18)]
