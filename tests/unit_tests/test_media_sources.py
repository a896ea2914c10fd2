"""Where bytes may come from: files inside the roots, data-URIs, file objects, and how a source is named."""

from __future__ import annotations

import base64
import os
import threading
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from langchain_mmrag.errors import CorruptMediaError, LoadError, SourceNotFoundError, UnsafeSourceError
from langchain_mmrag.media import MediaPolicy, describe_source, is_url, open_image, read_media
from tests.unit_tests.media_cases import FLAG, SIZE, flag, quarters, saved

FLAG_PNG = saved(flag(), "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root folder with a picture in it, and a secret beside it."""
    inside = tmp_path / "album"
    (inside / "beach").mkdir(parents=True)
    (inside / "beach" / "flag.png").write_bytes(FLAG_PNG)
    (tmp_path / "secret.png").write_bytes(FLAG_PNG)
    return inside


# --- local files ------------------------------------------------------------------------------------------------


def test_every_spelling_of_a_local_file_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "beach" / "flag & träume.png"
    path.write_bytes(FLAG_PNG)
    monkeypatch.chdir(folder)
    as_url = path.as_uri()
    for source in (
        path,
        str(path),
        as_url,
        as_url.replace("file://", "FILE://localhost"),
        "beach/flag & träume.png",
    ):
        assert quarters(open_image(source)) == list(FLAG)


@pytest.mark.parametrize("name", ["nothing.png", "beach/flag.png/inner.png", "no/such/folder.png"])
def test_a_missing_file_is_both_a_load_error_and_file_not_found(folder: Path, name: str) -> None:
    path = folder / name
    with pytest.raises(LoadError, match=f"{name}"):
        open_image(path)
    if "inner" not in name:
        with pytest.raises(FileNotFoundError, match="no such file"):
            open_image(path, MediaPolicy(roots=(folder,)))


@pytest.mark.parametrize("name", ["zero\x00byte.png", "x" * 300 + ".png", "lone\ud800surrogate.png", ""])
def test_an_impossible_name_is_a_load_error(name: str) -> None:
    with pytest.raises(LoadError) as caught:
        open_image(name)
    str(caught.value).encode()  # can be printed
    with pytest.raises(LoadError):
        open_image(name, MediaPolicy(roots=(Path("/nowhere"),)))


def test_base64_taken_for_a_path_is_not_echoed() -> None:
    payload = base64.b64encode(bytes(range(256)) * 100).decode()
    with pytest.raises(LoadError) as caught:
        open_image(payload)
    assert len(str(caught.value)) < 200
    assert payload[:20] not in str(caught.value)


@pytest.mark.parametrize("roots", [None, ("album",)])
def test_a_folder_is_refused(folder: Path, roots: tuple[str, ...] | None) -> None:
    policy = MediaPolicy(roots=roots and (folder,))
    for path in (folder, folder / "beach"):
        with pytest.raises(UnsafeSourceError, match="is a folder"):
            open_image(path, policy)


@pytest.mark.parametrize("rooted", [False, True])
def test_a_pipe_is_refused_without_waiting(folder: Path, rooted: bool) -> None:
    os.mkfifo(folder / "pipe.png")
    caught: list[BaseException] = []

    def read() -> None:
        try:
            open_image(folder / "pipe.png", MediaPolicy(roots=(folder,) if rooted else None))
        except UnsafeSourceError as error:
            caught.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert [str(error).endswith("only regular files are read") for error in caught] == [True]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_a_device_is_refused(device: str) -> None:
    with pytest.raises(UnsafeSourceError, match="device"):
        open_image(device)


def test_local_files_can_be_turned_off(folder: Path) -> None:
    path = folder / "beach" / "flag.png"
    for source in (path, str(path), path.as_uri()):
        with pytest.raises(UnsafeSourceError, match="turned off"):
            open_image(source, MediaPolicy(allow_local=False))
    assert open_image(FLAG_PNG, MediaPolicy(allow_local=False)).size == SIZE


def test_files_inside_the_roots_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "beach" / "flag.png"
    (folder / "here.png").symlink_to(path)
    (folder.parent / "alias").symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    for roots in ((folder,), (folder.parent / "alias",), (Path("album"),), (folder / "beach", folder)):
        policy = MediaPolicy(roots=roots)
        for source in (
            path,
            folder / "here.png",
            "album/beach/../beach/flag.png",
            "alias/here.png",
            path.as_uri(),
        ):
            assert read_media(source, policy) == FLAG_PNG


def test_nothing_outside_the_roots_is_read(folder: Path) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    (folder.parent / "album2").mkdir()
    (folder.parent / "album2" / "flag.png").write_bytes(FLAG_PNG)
    policy = MediaPolicy(roots=(folder,))
    for name in (
        "link.png",
        "up/secret.png",
        "../secret.png",
        "../album2/flag.png",
        "beach/../../secret.png",
    ):
        for source in (folder / name, f"{folder}/{name}", f"file://{folder}/{name}"):
            with pytest.raises(UnsafeSourceError, match="outside the allowed folders"):
                open_image(source, policy)


def test_what_exists_outside_the_roots_is_not_told(folder: Path) -> None:
    policy = MediaPolicy(roots=(folder,))
    told = []
    for name in ("secret.png", "nothing.png"):
        with pytest.raises(LoadError) as caught:
            open_image(folder.parent / name, policy)
        told.append((type(caught.value), str(caught.value).replace(name, "")))
    assert told[0] == told[1]


def test_no_roots_means_no_files(folder: Path) -> None:
    with pytest.raises(UnsafeSourceError):
        open_image(folder / "beach" / "flag.png", MediaPolicy(roots=()))


def test_a_folder_swapped_for_a_link_after_the_check_is_not_followed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "flag.png").write_bytes(b"secret")
    real_stat = Path.stat

    def stat_then_swap(self: Path, **options: Any) -> os.stat_result:
        status = real_stat(self, **options)
        if self.name == "flag.png" and not (folder / "beach").is_symlink():
            (folder / "beach").rename(folder / "was")
            (folder / "beach").symlink_to(outside)
        return status

    monkeypatch.setattr(Path, "stat", stat_then_swap)
    with pytest.raises(LoadError):
        read_media(folder / "beach" / "flag.png", MediaPolicy(roots=(folder,)))
    assert (folder / "beach").is_symlink(), "the swap took place"


def test_a_file_swapped_for_a_pipe_after_the_check_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "beach" / "flag.png"
    real_open = os.open

    def swap_then_open(name: Any, *arguments: Any, **options: Any) -> int:
        if str(name).endswith("flag.png") and path.is_file():
            path.unlink()
            os.mkfifo(path)
        return real_open(name, *arguments, **options)

    monkeypatch.setattr(os, "open", swap_then_open)
    with pytest.raises(UnsafeSourceError, match="pipe"):
        read_media(path)


def test_the_byte_cap_is_inclusive_for_every_kind_of_source(folder: Path) -> None:
    size = len(FLAG_PNG)
    uri = "data:image/png;base64," + base64.b64encode(FLAG_PNG).decode()
    for make in (
        lambda: folder / "beach" / "flag.png",
        lambda: FLAG_PNG,
        lambda: uri,
        lambda: BytesIO(FLAG_PNG),
    ):
        assert read_media(make(), MediaPolicy(max_bytes=size)) == FLAG_PNG
        with pytest.raises(UnsafeSourceError, match=f"more than the {size - 1} bytes"):
            read_media(make(), MediaPolicy(max_bytes=size - 1))


def test_a_file_that_hides_its_length_is_capped_while_reading() -> None:
    path = "/proc/self/environ" if Path("/proc/self/environ").exists() else None
    if path is None or not os.environ:
        pytest.skip("no file without a length here")
    assert read_media(path)
    with pytest.raises(UnsafeSourceError, match="more than the 1 bytes"):
        read_media(path, MediaPolicy(max_bytes=1))


# --- data-URIs ----------------------------------------------------------------------------------------------------

_BASE64 = base64.b64encode(FLAG_PNG).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{_BASE64}",
        f"DATA:image/png;charset=utf-8;BASE64,{_BASE64}",
        f"data:;base64,{_BASE64}",
        f"data:text/plain;base64,{_BASE64}",
        f"data:image/png;base64,{quote(_BASE64, safe='')}",
        f"data:image/png;base64,{_BASE64.rstrip('=')}",
        "data:image/png;base64,\n" + "\r\n".join(_BASE64[at : at + 76] for at in range(0, len(_BASE64), 76)),
        f"data:image/png;base64,{_BASE64.replace('+', '-').replace('/', '_')}",
        f"data:image/png,{quote(FLAG_PNG)}",
        f"data:,{quote(FLAG_PNG)}",
    ],
    ids=[
        "plain",
        "capitals",
        "no type",
        "wrong type",
        "escaped",
        "unpadded",
        "lines",
        "url-safe",
        "percent",
        "bare",
    ],
)
def test_a_data_uri_is_read(uri: str) -> None:
    assert read_media(uri) == FLAG_PNG
    assert quarters(open_image(uri)) == list(FLAG)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:", "no comma"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,%%%%", "not valid base64"),
        ("data:image/png;base64,abcde", "not valid base64"),
        ("data:image/png;base64,ab=cd===", "not valid base64"),
        ("data:image/png;base64,ünïcode", "not valid base64"),
        (f"data:image/png;base64,{_BASE64[:80]}", "broken or cut-off PNG"),
    ],
)
def test_a_broken_data_uri_is_refused_without_its_payload(uri: str, words: str) -> None:
    with pytest.raises(CorruptMediaError, match=words) as caught:
        open_image(uri)
    assert f"data-URI ({len(uri)} bytes)" in str(caught.value)
    assert _BASE64[:20] not in str(caught.value)


def test_a_huge_data_uri_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "langchain_mmrag.media.sources.unquote_to_bytes", lambda _: pytest.fail("was decoded")
    )
    with pytest.raises(UnsafeSourceError, match="more than the 1000 bytes"):
        read_media("data:image/png;base64," + "A" * 4100, MediaPolicy(max_bytes=1000))


# --- file objects and other values --------------------------------------------------------------------------------


def test_a_file_object_is_read_from_where_it_stands_and_left_open(folder: Path) -> None:
    stream = BytesIO(b"preamble" + FLAG_PNG)
    stream.seek(8)
    assert quarters(open_image(stream)) == list(FLAG)
    assert not stream.closed
    with (folder / "beach" / "flag.png").open("rb") as file:
        assert open_image(file).size == SIZE
        assert not file.closed
    with (folder / "beach" / "flag.png").open("rb", buffering=0) as file:
        assert read_media(file) == FLAG_PNG


class _Trickle:
    """Gives a byte at a time, as a socket may."""

    def __init__(self, data: bytes) -> None:
        self._stream = BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(min(size, 1))


def test_short_reads_are_put_together() -> None:
    assert read_media(_Trickle(FLAG_PNG)) == FLAG_PNG


def test_an_endless_file_object_is_capped() -> None:
    class Endless:
        name = "endless"
        taken = 0

        def read(self, size: int) -> bytes:
            self.taken += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(UnsafeSourceError, match="file endless has more than the 5000000 bytes"):
        read_media(endless, MediaPolicy(max_bytes=5_000_000))
    assert endless.taken == 5_000_001


def test_a_failing_file_object_is_a_load_error() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(LoadError, match="cannot read Broken object"):
        read_media(Broken())


@pytest.mark.parametrize("source", [None, 7, ["a.png"], {"path": "a.png"}, StringIO("text"), flag()])
def test_a_value_of_no_known_kind_is_a_type_error(source: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a path|gives str, not bytes"):
        read_media(source)


def test_other_buffers_count_as_bytes() -> None:
    assert read_media(bytearray(FLAG_PNG)) == read_media(memoryview(FLAG_PNG)) == FLAG_PNG


@pytest.mark.parametrize("url", ["ftp://host/a.png", "s3://bucket/a.png", "javascript://x", "gopher://h/1"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(UnsafeSourceError, match="http and https only"):
        open_image(url)


@pytest.mark.parametrize("url", ["file://server/share/a.png", "file://evil.example/etc/passwd"])
def test_a_file_url_of_another_computer_is_refused(url: str) -> None:
    with pytest.raises(UnsafeSourceError, match="another computer"):
        open_image(url)


def test_a_malformed_file_url_is_a_load_error() -> None:
    with pytest.raises(LoadError, match="not a valid URL"):
        open_image("file://[oops/a.png")


# --- names and policies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos/a.png", "photos/a.png"),
        (Path("photos") / "a.png", "photos/a.png"),
        ("https://host.example/a.png?width=20", "https://host.example/a.png?width=20"),
        ("https://me:secret@host.example/a.png", "https://***@host.example/a.png"),
        ("https://me:p@ss@host.example/a@b.png", "https://***@host.example/a@b.png"),
        ("https://h.example/a?X-Amz-Signature=f00&w=2", "https://h.example/a?X-Amz-Signature=***&w=2"),
        ("https://h.example/a?w=2&access_token=f00#x", "https://h.example/a?w=2&access_token=***#x"),
        ("data:image/png;base64,AAAA", "data-URI (26 bytes)"),
        (b"12345", "bytes (5)"),
        (bytearray(b"123"), "bytes (3)"),
        (BytesIO(b"1"), "BytesIO object"),
        (flag((20, 30)), "PIL image 20x30"),
        ("evil\nname\x1b[31m.png", "evil\\nname\\x1b[31m.png"),
        ("A" * 5000, "path (5000 characters)"),
        ("http://h.example/" + "A" * 5000, "URL (5017 characters)"),
        ("", "'' (an empty path)"),
    ],
)
def test_a_source_is_named_without_payload_or_secret(source: Any, expected: str) -> None:
    assert describe_source(source) == expected


def test_a_long_path_keeps_its_ends() -> None:
    name = describe_source("/photos/" + "deep/" * 100 + "flag.png")
    assert len(name) < 200
    assert name.startswith("/photos/deep/")
    assert name.endswith("deep/flag.png")


def test_a_file_object_is_named_by_its_file(folder: Path) -> None:
    with (folder / "beach" / "flag.png").open("rb") as file:
        assert describe_source(file) == f"file {file.name}"


def test_only_http_addresses_are_urls() -> None:
    assert [is_url(text) for text in ("http://a", "HTTPS://a")] == [True, True]
    others = ("file:///a", "a.png", "httpx://a", " http://a", b"http://a", Path("http://a"), None)
    assert [is_url(other) for other in others] == [False] * len(others)


@pytest.mark.parametrize("limit", ["max_bytes", "max_pixels", "timeout_s"])
def test_a_policy_refuses_limits_that_let_nothing_through(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        MediaPolicy(**{limit: 0})
    with pytest.raises(ValueError, match=f"{limit} must be above 0 and finite"):
        MediaPolicy(**{limit: float("inf")})
    with pytest.raises(ValueError, match="max_redirects"):
        MediaPolicy(max_redirects=-1)


def test_a_policy_refuses_a_bare_root() -> None:
    with pytest.raises(TypeError, match=r"roots=\('photos',\)"):
        MediaPolicy(roots="photos")  # type: ignore[arg-type]


def test_a_policy_stays_where_it_was_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    policy = MediaPolicy(roots=["album"])  # type: ignore[arg-type]
    assert policy.roots == (folder,)
    monkeypatch.chdir("/")
    assert read_media(folder / "beach" / "flag.png", policy) == FLAG_PNG
    assert hash(policy) == hash(MediaPolicy(roots=(folder,)))


def test_missing_files_are_told_apart_from_forbidden_ones(folder: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        open_image(folder / "gone.png", MediaPolicy(roots=(folder,)))
