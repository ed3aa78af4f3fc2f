"""What has passed a proxy, trusted or not, and cookies of other programs on the host."""

from __future__ import annotations

import pytest

from everfold import Everfold
from everfold.web import WebSettings
from everfold.web.access.request_head import COOKIE, read_head
from everfold.web.console.pages import MEDIA_TYPES, PREFIXES_LIMIT, _file
from tests.support.programs.stack import Stack
from tests.web.site import client_of, serving

pytestmark = pytest.mark.anyio

ADDED = [
    {"X-Real-IP": "203.0.113.9"},
    {"Forwarded": "for=203.0.113.9"},
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Prefix": "/ai"},
    {"Via": "1.1 proxy"},
]


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
async def test_without_keys_nothing_that_has_passed_a_proxy_is_answered(
    everfold: Everfold, stack: Stack, trusted: tuple[str, ...]
) -> None:
    async with (
        serving(everfold, stack, WebSettings(trusted_proxies=trusted)) as site,
        client_of(site) as client,
    ):
        for headers in ADDED:
            assert (await client.get("/features", headers=headers)).status_code == 403, headers
        # A proxy that is trusted may add nothing at all.
        assert (await client.get("/features")).status_code == (403 if trusted else 200)


def scope(**headers: str) -> dict[str, object]:
    named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {
        "type": "http", "method": "GET", "path": "/", "scheme": "http",
        "client": ("127.0.0.1", 1), "root_path": "", "headers": named,
    }  # fmt: skip


def test_a_trusted_proxy_that_names_no_client_is_not_taken_for_this_machine() -> None:
    assert not read_head(scope(x_real_ip="203.0.113.9"), ("127.0.0.1",)).is_local
    assert not read_head(scope(x_forwarded_for="127.0.0.1"), ("127.0.0.1",)).is_local


@pytest.mark.parametrize("prefix", ["/ai", "/team/comfy-ui"])
def test_a_prefix_is_a_short_path(prefix: str) -> None:
    assert read_head(scope(x_forwarded_prefix=prefix), ("127.0.0.1",)).prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/" + "a" * 65, "/a" * 9, '/"><script>', "/a b"]
)
def test_what_is_no_short_path_is_no_prefix(prefix: str) -> None:
    assert read_head(scope(x_forwarded_prefix=prefix), ("127.0.0.1",)).prefix == ""


def test_pages_are_kept_for_a_few_prefixes() -> None:
    for number in range(10 * PREFIXES_LIMIT):
        _file("index.html", f"/{number}")
    assert _file.cache_info().currsize <= PREFIXES_LIMIT + len(MEDIA_TYPES)


@pytest.mark.parametrize(
    "odd", ['prefs={"theme":"dark"}', "user[id]=1", "flag", "x=a b", "name=Zo\u00eb"]
)
def test_a_login_is_found_behind_the_cookies_of_other_programs(odd: str) -> None:
    found = read_head(
        {**scope(), "headers": [(b"cookie", f"{odd}; {COOKIE}=abc".encode("latin-1"))]}
    )
    assert found.session == "abc"
