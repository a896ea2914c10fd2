"""Which addresses are connected to: public ones only, the one that was checked, and no redirect around it.

The servers here are real ones on loopback. Where a test needs the check itself, loopback's 127.0.0.1 is declared
public and everything else stays as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from langchain_mmrag.errors import (
    LoadError,
    UnsafeSourceError,
)
from langchain_mmrag.media import MediaPolicy, open_image, read_media, remote
from langchain_mmrag.media.addresses import is_public
from tests.unit_tests.media_server import FLAG_PNG, OPEN, Server, naming, redirect, reply, serving

serve = pytest.fixture(serving)
names = pytest.fixture(naming)


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


# --- which addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.215.14",
        "2606:4700:4700::1111",
        "64:ff9b::101:101",
        "2002:101:101::1",
        "::ffff:1.1.1.1",
        "172.32.0.1",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "224.0.1.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "2002:c0a8:101::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%1",
        "2606:4700:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
    ],
)
def test_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "127.0.0.1.",
    ],
)
def test_no_spelling_of_loopback_is_connected_to(serve: Callable[..., Server], host: str) -> None:
    server = serve()
    with pytest.raises(LoadError) as caught:
        open_image(f"http://{host}:{server.port}/flag.png", MediaPolicy(timeout_s=5))
    assert server.connections == 0
    assert any(
        words in str(caught.value) for words in ("not a public address", "cannot look up", "not a valid URL")
    )


def test_one_private_address_among_public_ones_refuses_the_name(
    serve: Callable[..., Server], names: dict
) -> None:
    server = serve()
    names["mixed.test"] = [["1.1.1.1", "127.0.0.1"]]
    with pytest.raises(UnsafeSourceError, match=r"mixed\.test is not a public address") as caught:
        open_image(f"http://mixed.test:{server.port}/", MediaPolicy())
    assert "127.0.0.1" not in str(caught.value), "what a name leads to inside is not told"
    assert server.connections == 0


@pytest.mark.usefixtures("loopback_is_public")
def test_a_name_is_looked_up_once_so_a_second_answer_has_no_effect(
    serve: Callable[..., Server], names: dict
) -> None:
    server = serve()
    names["rebinding.test"] = [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
    assert read_media(f"http://rebinding.test:{server.port}/a", MediaPolicy(timeout_s=5)) == FLAG_PNG
    assert len(names["rebinding.test"]) == 2
    assert f"Host: rebinding.test:{server.port}\r\n".encode() in server.requests[0]


def test_a_dead_first_address_leaves_the_second(serve: Callable[..., Server], names: dict) -> None:
    server = serve()
    names["twice.test"] = [["::1", "127.0.0.1"]]
    assert read_media(f"http://twice.test:{server.port}/", OPEN) == FLAG_PNG


def test_an_unknown_name_is_a_load_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(LoadError, match=r"http://nowhere\.test/a\.png.*cannot look up nowhere\.test"):
        open_image("http://nowhere.test/a.png")


def test_nobody_listening_is_a_load_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LoadError, match="cannot download"):
        open_image(f"http://127.0.0.1:{port}/", OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///a.png",
        "http://[::1/a",
        "http://a:99999999/",
        "http://a b/",
        "http://..../",
        "https://xn--/",
        "http://" + "a" * 300 + "/",
    ],
)
def test_a_malformed_address_is_a_load_error(url: str) -> None:
    with pytest.raises(LoadError):
        open_image(url, MediaPolicy(timeout_s=5))


def test_a_user_name_in_the_address_is_refused_and_not_repeated(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(UnsafeSourceError, match="user name or password") as caught:
        open_image(f"http://me:hunter2@127.0.0.1:{server.port}/", OPEN)
    assert "hunter2" not in str(caught.value)
    assert server.connections == 0


def test_addresses_can_be_turned_off(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(UnsafeSourceError, match="turned off"):
        open_image(server.url, MediaPolicy(allow_private_addresses=True, allow_urls=False))
    assert server.connections == 0


# --- redirects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_redirects_are_followed(serve: Callable[..., Server], status: str) -> None:
    server = serve(
        lambda request: reply() if b"/there.png" in request else redirect("../there.png?x#y", status)
    )
    assert read_media(server.url, OPEN) == FLAG_PNG
    assert server.requests[1].startswith(b"GET /there.png?x HTTP/1.1\r\n")


def test_redirects_are_counted(serve: Callable[..., Server]) -> None:
    server = serve(lambda request: redirect(f"/{int(request.split()[1].strip(b'/flag.pn') or 0) + 1}"))
    with pytest.raises(UnsafeSourceError, match="more than 3 times"):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_redirects=3))
    assert server.connections == 4
    with pytest.raises(UnsafeSourceError, match="more than 0 times"):
        read_media(server.url, MediaPolicy(allow_private_addresses=True, max_redirects=0))
    assert server.connections == 5


@pytest.mark.usefixtures("loopback_is_public")
@pytest.mark.parametrize(
    "target",
    [
        "http://[::1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "//[::ffff:127.0.0.1]:{port}/",
        "http://metadata.test:{port}/",
    ],
)
def test_a_redirect_to_a_private_address_is_refused(
    serve: Callable[..., Server], names: dict, target: str
) -> None:
    inner = serve()
    names["metadata.test"] = [["10.1.2.3"]]
    outer = serve(redirect(target.format(port=inner.port)))
    with pytest.raises(UnsafeSourceError, match="not a public address") as caught:
        open_image(outer.url, MediaPolicy(timeout_s=5))
    assert outer.url in str(caught.value)
    assert (outer.connections, inner.connections) == (1, 0)


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("file:///etc/passwd", UnsafeSourceError, "only http and https"),
        ("ftp://host/a", UnsafeSourceError, "only http and https"),
        ("data:image/png;base64,AAAA", UnsafeSourceError, "only http and https"),
        ("gopher://127.0.0.1:25/", UnsafeSourceError, "only http and https"),
        ("http://me:hunter2@127.0.0.1/", UnsafeSourceError, "user name or password"),
        ("http://0177.0.0.1/", LoadError, "not a valid URL"),
    ],
)
def test_a_redirect_out_of_http_is_refused(
    serve: Callable[..., Server], target: str, error: type, words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        open_image(serve(redirect(target)).url, OPEN)
    assert "hunter2" not in str(caught.value)


def test_a_redirect_to_nowhere_is_a_load_error(serve: Callable[..., Server]) -> None:
    with pytest.raises(LoadError, match="without a Location"):
        open_image(serve(reply(b"", "302 Found")).url, OPEN)
