"""Key frames of films: the right moments, and nothing but the film itself is read."""

import subprocess
import sys

import pytest

from langchain_mmrag.errors import (
    CorruptMediaError,
    MissingDependencyError,
    SourceNotFoundError,
    UnsafeSourceError,
    UnsupportedFormatError,
)
from langchain_mmrag.media import MediaPolicy
from langchain_mmrag.media.frames import key_frames
from tests.unit_tests.films import colour_names, film_file, sound_file


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return film_file(tmp_path_factory.mktemp("films") / "film.mp4")


def test_frames_come_from_equal_parts_of_a_film_in_order(film):
    frames = key_frames(film)
    assert colour_names(frames) == ["red", "green", "blue"]
    assert {(frame.size, frame.mode) for frame in frames} == {((96, 64), "RGB")}


@pytest.mark.parametrize(
    ("start", "end", "n", "names"),
    [
        (2.0, 4.0, 2, ["green", "green"]),
        (1.0, 3.0, 2, ["red", "green"]),
        (3.9, None, 1, ["blue"]),
        (None, 1.9, 1, ["red"]),
        (5.0, 99.0, 1, ["blue"]),
        (99.0, 120.0, 3, ["blue"]),
        (4.5, 0.5, 3, ["blue"]),
        (-3.0, 0.5, 1, ["red"]),
        (float("nan"), float("inf"), 3, ["red", "green", "blue"]),
        (2.51, 2.52, 3, ["green"]),
    ],
)
def test_frames_show_what_happens_between_the_times(film, start, end, n, names):
    assert colour_names(key_frames(film, start, end, n)) == names


def test_the_same_film_gives_the_same_frames(film):
    assert [f.tobytes() for f in key_frames(film)] == [f.tobytes() for f in key_frames(film.read_bytes())]


@pytest.mark.parametrize("suffix", ["mkv", "avi"])
def test_other_containers_are_read_too(tmp_path, suffix):
    assert colour_names(key_frames(film_file(tmp_path / f"film.{suffix}"))) == ["red", "green", "blue"]


def test_the_policy_holds(film, tmp_path):
    with pytest.raises(UnsafeSourceError):
        key_frames(film, policy=MediaPolicy(roots=(tmp_path / "elsewhere",)))
    with pytest.raises(UnsafeSourceError):
        key_frames(film, policy=MediaPolicy(max_bytes=500))
    with pytest.raises(UnsafeSourceError, match="96x64"):
        key_frames(film, policy=MediaPolicy(max_pixels=100))
    with pytest.raises(SourceNotFoundError):
        key_frames(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    "script",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{film}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{film}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{film}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "just words " * 50,
        "",
    ],
    ids=["playlist", "playlist of addresses", "concat", "sdp", "words", "empty"],
)
def test_a_script_that_names_other_files_is_no_film(film, tmp_path, script):
    path = tmp_path / "trap.mp4"
    path.write_text(script.format(film=film))
    with pytest.raises((CorruptMediaError, UnsupportedFormatError), match=r"trap\.mp4"):
        key_frames(path)


def test_a_cut_off_film_is_an_error_of_ours(film):
    data = film.read_bytes()
    for size in (40, len(data) // 2, len(data) - 100):
        with pytest.raises(CorruptMediaError):
            key_frames(data[:size])


def test_broken_frames_are_passed_over_or_an_error_of_ours(film):
    data = bytearray(film.read_bytes())
    data[200 : len(data) // 2] = bytes(len(data) // 2 - 200)
    try:
        assert key_frames(bytes(data))
    except CorruptMediaError as error:
        assert "bytes" in str(error)  # noqa: PT017 - either is right, whatever the decoder makes of it


def test_sound_alone_has_no_frames(tmp_path):
    with pytest.raises(UnsupportedFormatError, match="only sound"):
        key_frames(sound_file(tmp_path / "talk.avi"))


def test_decoding_stops_when_time_is_up(tmp_path):
    film = film_file(tmp_path / "film.mp4", seconds=9, size=(640, 360))
    frames = key_frames(film, n=500, policy=MediaPolicy(timeout_s=0.05))
    assert 1 <= len(frames) < 90


def test_no_frames_are_no_request():
    with pytest.raises(ValueError, match="1 frame or more"):
        key_frames("film.mp4", n=0)


def test_without_pyav_the_error_says_what_to_install(monkeypatch, film):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"langchain-mmrag\[video\]"):
        key_frames(film)


def test_prompts_do_not_import_pyav():
    code = "import sys, langchain_mmrag.prompts; print('av' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
