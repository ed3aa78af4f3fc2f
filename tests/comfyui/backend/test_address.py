"""One spelling per server, and secrets kept apart."""

from __future__ import annotations

import pytest

from everfold.runner.access.address import read_address
from everfold.streams.border.secrets import Secret
from everfold.streams.errors import BackendUrlInvalid


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://host:8188", "http://host:8188"),
        ("http://host:8188/", "http://host:8188"),
        (" HTTP://HOST:8188// ", "http://host:8188"),
        ("host:8188", "http://host:8188"),
        ("http://host:80", "http://host"),
        ("https://host:443/comfy/", "https://host/comfy"),
        ("https://host:8443/a/b", "https://host:8443/a/b"),
        ("http://[::1]:8188", "http://[::1]:8188"),
    ],
)
def test_one_server_has_one_spelling(written: str, url: str) -> None:
    assert read_address(written).url == url


def test_a_user_and_a_password_become_a_header() -> None:
    address = read_address("https://aladdin:open%20sesame@host/x", {"X-Key": "1"})
    assert address.url == "https://host/x"
    assert address.headers == {
        "Authorization": Secret("Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        "X-Key": Secret("1"),
    }


def test_the_websocket_lives_beside() -> None:
    assert read_address("https://h/x").websocket_url == "wss://h/x"
    assert read_address("http://h:1").websocket_url == "ws://h:1"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "ftp://host",
        "http://host:port",
        "http://host:99999",
        "http://host/?a=1",
        "http://host/#x",
        "http://a host",
        "http://a..b",
        "http://" + "x" * 64,
    ],
)
def test_what_is_no_address_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(BackendUrlInvalid, match=r"http://127\.0\.0\.1:8188"):
        read_address(url)


def test_a_refused_address_does_not_tell_its_password() -> None:
    with pytest.raises(BackendUrlInvalid) as caught:
        read_address("http://user:secret@host:port")
    assert "secret" not in str(caught.value)
