"""Pages of other sites, strangers' names, proxies: who may make a browser call the gateway."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from everfold import Everfold
from everfold.streams.errors import Misconfigured
from everfold.web import WebSettings, add_key, revoke_key
from everfold.web.access.origin import host_problem, origin_problem
from everfold.web.access.request_head import COOKIE, RequestHead, read_head
from everfold.web.serving.bounded_protocol import HEAD_LIMIT_BYTES, HEAD_LINES_LIMIT
from tests.support.programs.stack import Stack
from tests.support.wait import eventually
from tests.web.site import Site, client_of, serving

pytestmark = pytest.mark.anyio

READ = "/features"
GRAPH = {"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}}
STUDIO = "https://studio.example"


def head(**headers: str) -> RequestHead:
    """Return the head of a request; __ in a name stands for a hyphen."""
    named = {name.replace("__", "-"): value for name, value in headers.items()}
    method = named.pop("method", "GET")
    return RequestHead(
        method=method, path="/", scheme="http", peer="127.0.0.1", is_proxied=False, headers=named
    )


@pytest.mark.parametrize(
    ("host", "has_keys", "allowed", "is_good"),
    [
        ("localhost:8189", False, (), True),
        ("127.0.0.1", False, (), True),
        ("[::1]:8189", False, (), True),
        ("comfy.localhost", False, (), True),
        ("evil.example", False, (), False),
        ("evil.example", True, (), True),
        ("localhost.evil.example", False, (), False),
        ("127.0.0.1.evil.example", False, (), False),
        ("192.168.0.5", False, (), False),
        ("192.168.0.5", True, ("studio.example",), True),
        ("evil.example", True, ("studio.example",), False),
        ("STUDIO.example:443", True, ("studio.example",), True),
        ("a.studio.example", True, (".studio.example",), True),
        ("evilstudio.example", True, (".studio.example",), False),
        ("studio.example", False, ("studio.example",), True),
        ("", True, (), False),
        ("a b", True, (), False),
        ("user@localhost", False, (), False),
        ("localhost/evil", False, (), False),
    ],
)
async def test_a_name_is_one_that_no_stranger_can_point_here(
    host: str, has_keys: bool, allowed: tuple[str, ...], is_good: bool
) -> None:
    problem = host_problem(head(host=host), allowed, has_keys=has_keys)
    assert (problem is None) == is_good


OWN = {"host": "127.0.0.1:8189"}


@pytest.mark.parametrize(
    ("headers", "is_good"),
    [
        ({"method": "POST"}, True),
        ({"method": "POST", "origin": "http://127.0.0.1:8189"}, True),
        ({"method": "POST", "origin": "http://127.0.0.1:3000"}, False),
        ({"method": "POST", "origin": "http://evil.example"}, False),
        ({"method": "POST", "origin": "null"}, False),
        ({"method": "POST", "origin": STUDIO}, True),
        ({"method": "POST", "origin": f"{STUDIO}.evil.example"}, False),
        ({"method": "POST", "sec__fetch__site": "cross-site"}, False),
        ({"method": "POST", "sec__fetch__site": "same-site"}, False),
        ({"method": "POST", "sec__fetch__site": "same-origin"}, True),
        ({"method": "WEBSOCKET", "origin": "http://evil.example"}, False),
        ({"method": "WEBSOCKET"}, True),
        ({"sec__fetch__site": "cross-site", "sec__fetch__mode": "no-cors"}, False),
        ({"sec__fetch__site": "cross-site", "sec__fetch__mode": "navigate"}, True),
        (
            {
                "sec__fetch__site": "cross-site",
                "sec__fetch__mode": "navigate",
                "sec__fetch__dest": "iframe",
            },
            False,
        ),
        ({"sec__fetch__site": "same-site", "sec__fetch__mode": "cors"}, True),
    ],
)
async def test_a_page_of_another_site_changes_nothing(
    headers: dict[str, str], is_good: bool
) -> None:
    assert (origin_problem(head(**OWN, **headers), (STUDIO,)) is None) == is_good


async def test_rebinding_and_foreign_pages_are_refused_over_http(site: Site) -> None:
    async with client_of(site) as client:
        port = urlsplit(site.url).port
        rebound = await client.get(READ, headers={"Host": f"evil.example:{port}"})
        assert (rebound.status_code, rebound.json()["error"]["type"]) == (403, "host_not_allowed")
        foreign = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        posted = await client.post("/prompt", headers=foreign, json=GRAPH)
        assert posted.status_code == 403
        assert (await client.get("/api/v2/jobs")).json()["jobs"] == []
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.url.replace("http", "ws") + "/ws", origin="http://evil.example")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403


async def test_without_keys_what_has_passed_a_proxy_is_refused(site: Site) -> None:
    async with client_of(site) as client:
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
            answer = await client.get(READ, headers={name: "127.0.0.1"})
            assert answer.status_code == 403
            assert "keys add" in answer.json()["error"]["message"]


async def test_a_trusted_proxy_says_how_the_client_calls(everfold: Everfold, stack: Stack) -> None:
    settings = WebSettings(trusted_proxies=("127.0.0.1",), allowed_hosts=("studio.example",))
    _, key = await add_key(everfold.log, "one", user="ada")
    shown = {
        "Authorization": f"Bearer {key.reveal()}",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "studio.example",
        "X-Forwarded-Prefix": "/ai",
    }
    made = await everfold.submit(GRAPH["prompt"], user="ada", validate=False)
    async with serving(everfold, stack, settings) as site, client_of(site) as client:
        job = (await client.get(f"/api/v2/jobs/{made.job_id}", headers=shown)).json()
        assert job["urls"]["self"] == f"https://studio.example/ai/api/v2/jobs/{made.job_id}"
    async with serving(everfold, stack) as site, client_of(site) as client:
        job = (await client.get(f"/api/v2/jobs/{made.job_id}", headers=shown)).json()
        assert job["urls"]["self"] == f"{site.url}/api/v2/jobs/{made.job_id}"


def test_the_client_is_the_last_hop_that_is_no_trusted_proxy() -> None:
    scope = {
        "type": "http", "method": "GET", "path": "/", "scheme": "http",
        "client": ("10.0.0.1", 1), "root_path": "",
        "headers": [
            (b"host", b"inside"),
            (b"x-forwarded-for", b"127.0.0.1, 203.0.113.9, 10.0.0.2"),
        ],
    }  # fmt: skip
    assert read_head(scope, ("10.0.0.0/8",)).peer == "203.0.113.9"
    assert not read_head(scope, ("10.0.0.0/8",)).is_local
    untrusted = read_head(scope, ("192.168.0.0/16",))
    assert (untrusted.peer, untrusted.is_proxied) == ("10.0.0.1", True)


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in (
        {"allowed_origins": ("studio.example",)},
        {"allowed_origins": ("https://studio.example/path",)},
        {"allowed_hosts": ("a b",)},
        {"trusted_proxies": ("proxy",)},
    ):
        with pytest.raises(Misconfigured):
            WebSettings(**wrong)  # type: ignore[arg-type]


async def test_listed_pages_may_ask_and_others_may_not(everfold: Everfold, stack: Stack) -> None:
    _, key = await add_key(everfold.log, "one", user="ada")
    async with (
        serving(everfold, stack, WebSettings(allowed_origins=(STUDIO,))) as site,
        client_of(site) as client,
    ):
        ask = {"Access-Control-Request-Method": "POST", "Origin": STUDIO}
        asked = await client.options("/prompt", headers=ask)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == STUDIO
        assert "Authorization" in asked.headers["access-control-allow-headers"]
        refused = await client.options("/prompt", headers={**ask, "Origin": "http://evil.example"})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        shown = {"Authorization": f"Bearer {key.reveal()}"}
        answer = await client.get(READ, headers={**shown, "Origin": STUDIO})
        assert answer.headers["access-control-allow-origin"] == STUDIO
        other = await client.get(READ, headers={**shown, "Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        wrong = await client.get(READ, headers={"Origin": STUDIO})
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, STUDIO)


async def log_in(client: httpx.AsyncClient, key: str, next_: str = "/queue") -> httpx.Response:
    async def is_asked() -> bool:
        return (await client.get(READ)).status_code == 401

    await eventually(is_asked)
    return await client.post("/login", data={"key": key, "next": next_})


async def test_a_browser_logs_in_and_out(site: Site, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "one", user="ada")
    async with client_of(site) as client:
        answer = await log_in(client, key.reveal())
        assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert key.reveal().rpartition("_")[2] not in cookie
        token = client.cookies[COOKIE]
        assert (await client.get(READ)).status_code == 200
        own = {"Origin": site.url}
        assert (await client.post("/logout", headers=own)).status_code == 303
        copied = await client.get(READ, headers={"Cookie": f"{COOKIE}={token}"})
        assert copied.status_code == 401


async def test_a_page_leads_to_the_login_and_a_program_does_not(
    site: Site, everfold: Everfold
) -> None:
    await add_key(everfold.log, "one", user="ada")
    async with client_of(site) as client:
        await log_in(client, "wrong")
        page = await client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/")
        form = await client.get("/login", params={"next": '"><script>alert(1)</script>'})
        assert "<script" not in form.text
        assert "default-src 'none'" in form.headers["content-security-policy"]
        assert (await client.get("/")).status_code == 401


async def test_without_keys_the_login_leads_on(site: Site) -> None:
    async with client_of(site) as client:
        answer = await client.get("/login", params={"next": "/queue"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/queue")


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example", "/\\evil", "/a\nb"])
async def test_a_login_leads_to_no_other_host(place: str, site: Site, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "one", user="ada")
    async with client_of(site) as client:
        assert (await log_in(client, key.reveal(), place)).headers["location"] == "/"


async def test_a_cookie_counts_for_own_pages_only(site: Site, everfold: Everfold) -> None:
    _, key = await add_key(everfold.log, "one", user="ada")
    async with client_of(site) as client:
        await log_in(client, key.reveal())
        for headers, status in (
            ({"Origin": "http://evil.example"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({}, 401),
        ):
            answer = await client.post("/prompt", json=GRAPH, headers=headers)
            assert answer.status_code == status, headers
        assert (await client.get("/api/v2/jobs")).json()["jobs"] == []
        token = client.cookies[COOKIE]
        with pytest.raises(InvalidStatus) as refused:
            await connect(
                site.url.replace("http", "ws") + "/ws",
                additional_headers={"Cookie": f"{COOKIE}={token}"},
            )
        assert refused.value.response.status_code == 401


async def test_a_revoked_key_ends_its_open_streams(site: Site, everfold: Everfold) -> None:
    key_id, key = await add_key(everfold.log, "one", user="ada")
    made = await everfold.submit(GRAPH["prompt"], user="ada", validate=False)
    shown = {"Authorization": f"Bearer {key.reveal()}"}
    path = f"/api/v2/jobs/{made.job_id}/events"
    async with client_of(site) as client:
        await log_in(client, "wrong")
        async with client.stream("GET", path, headers=shown) as events:
            assert events.status_code == 200
            lines = events.aiter_lines()
            await anext(lines)
            await revoke_key(everfold.log, key_id)
            with anyio.fail_after(6):
                async for _ in lines:
                    pass


# What is no HTTP, or too much of it.


async def sent(site: Site, request: bytes) -> bytes:
    """Send bytes and return the answer until the gateway closes, or nothing more comes."""

    def send() -> bytes:
        found = b""
        place = ("127.0.0.1", urlsplit(site.url).port or 0)
        with socket.create_connection(place, timeout=5) as one:
            try:
                one.sendall(request)
                while part := one.recv(65536):
                    found += part
            except OSError:
                pass
        return found

    return await anyio.to_thread.run_sync(send)


SMUGGLED = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /queue HTTP/1.1\r\n\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    b"Host: evil.example\r\nContent-Length: 0\r\n\r\n",
    b"Content-Length: -1\r\n\r\n",
    b"Content-Length: +5\r\n\r\nhello",
]


@pytest.mark.parametrize("rest", SMUGGLED)
async def test_a_request_that_two_readers_read_differently_is_refused(
    rest: bytes, site: Site
) -> None:
    start = b"POST /prompt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await sent(site, start + rest)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"HTTP/1.1 400") == 1


async def test_heads_are_bounded(site: Site) -> None:
    one = b"GET /features HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for rest in (
        b"X: " + b"x" * (10 * 1024 * 1024),
        b"X: " + b"x" * (HEAD_LIMIT_BYTES + 10) + b"\r\n\r\n",
        b"".join(b"X%d: x\r\n" % number for number in range(HEAD_LINES_LIMIT + 1)) + b"\r\n",
    ):
        answer = await sent(site, one + rest)
        # A sender that does not stop may see a reset instead.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431"), answer[:200]
    long_line = b"GET /" + b"x" * HEAD_LIMIT_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = await sent(site, long_line)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")), answer[:200]
    assert (await sent(site, one + b"\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_head_that_does_not_come_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everfold.web.serving.bounded_protocol.HEAD_WITHIN_S", 0.2)
    assert await sent(site, b"GET /features HTTP/1.1\r\nHost: loc") == b""


async def test_connections_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everfold.web.serving.bounded_protocol.CONNECTIONS_LIMIT", 2)
    place = ("127.0.0.1", urlsplit(site.url).port or 0)
    request = b"GET /features HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(place), socket.create_connection(place):

        async def is_full() -> bool:
            return (await sent(site, request)).startswith(b"HTTP/1.1 503")

        await eventually(is_full)

    async def is_free() -> bool:
        return (await sent(site, request)).startswith(b"HTTP/1.1 200")

    await eventually(is_free)


async def test_answers_name_their_request(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "everfold.access")
    async with client_of(site) as client:
        first = await client.get("/queue?token=s3cret", headers={"Authorization": "Bearer s3cret"})
        second = await client.get("/%0a%1b[2J")
    ids = {one.headers["x-comfy-request-id"] for one in (first, second)}
    assert len(ids) == 2
    lines = [record.getMessage() for record in caplog.records if record.name == "everfold.access"]
    assert len(lines) == 2
    assert all(any(one in line for one in ids) for line in lines)
    assert "s3cret" not in caplog.text
    assert all(line.isprintable() for line in lines)
