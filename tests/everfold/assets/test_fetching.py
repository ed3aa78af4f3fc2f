"""What is fetched from URLs: within bounds, from allowed places, and told without secrets."""

from __future__ import annotations

import contextlib
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from aiohttp import web

from everfold.assets.fetching import fetch, is_url
from everfold.assets.input_rules import InputRules
from everfold.sinks import addresses
from everfold.streams.errors import InputRefused
from tests.everfold.sinks.test_addresses import name_server

pytestmark = pytest.mark.anyio

OPEN = InputRules(allow_private=True, fetch_within_s=10, fetch_silence_s=5)
PICTURE = bytes(range(256)) * 1000

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """A web server that answers each path as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.asked: list[web.Request] = []
        self.routes: dict[str, Answer] = {}
        self.over = anyio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        known = self.routes.get(request.path)
        return await known(request) if known else web.Response(body=PICTURE)

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        async def there(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": to, "Set-Cookie": "a=b"})

        self.routes[path] = there

    def trickle(self, path: str, chunk: bytes, pause_s: float, **headers: str) -> None:
        """Answer with the same bytes for ever."""

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers=headers)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                while not self.over.is_set():
                    await response.write(chunk)
                    with anyio.move_on_after(pause_s):
                        await self.over.wait()
            return response

        self.routes[path] = endless


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    made.port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        made.over.set()
        await runner.cleanup()


async def content(url: str, rules: InputRules = OPEN) -> tuple[str, bytes]:
    async with fetch("10.image", url, rules) as fetched:
        return fetched.name, b"".join([chunk async for chunk in fetched.chunks])


async def refusal(url: str, rules: InputRules = OPEN) -> str:
    with pytest.raises(InputRefused) as told:
        await content(url, rules)
    assert told.value.where == "10.image"
    return told.value.why


async def test_a_file_is_read_with_its_name_and_nothing_of_the_callers_is_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert await content(f"{site.url}/a/my%20photo.png?token=1#x") == ("my photo.png", PICTURE)
    (request,) = site.asked
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(request.headers)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ('attachment; filename="../../etc/photo.png"', "photo.png"),
        ("attachment; filename=photo.png", "photo.png"),
        ("attachment; filename=a.png; filename*=UTF-8''stra%C3%9Fe.png", "straße.png"),
        ('attachment; filename="C:\\\\x\\\\a\\"b.png"', "ab.png"),
        ("attachment", "x"),
    ],
)
async def test_the_name_that_a_server_tells_is_made_safe(site: Site, told: str, name: str) -> None:
    async def attached(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"1", headers={"Content-Disposition": told})

    site.routes["/x"] = attached
    assert (await content(f"{site.url}/x"))[0] == name


async def test_redirects_are_followed_without_cookies_up_to_a_limit(site: Site) -> None:
    for hop in range(6):
        site.redirect(f"/{hop}", f"{hop + 1}", 301 + hop % 3)
    assert await content(f"{site.url}/1") == ("6", PICTURE)
    assert not any("Cookie" in request.headers for request in site.asked)
    assert "more than 5 redirects" in await refusal(f"{site.url}/0")


@pytest.mark.parametrize(
    "to",
    [
        *("http://127.0.0.1:{port}/x", "http://169.254.169.254/latest/meta-data", "//127.0.0.1/x"),
        *("http://[::ffff:127.0.0.1]:{port}/", "http://[::1]:{port}/", "http://2130706433:{port}/"),
        *("http://localhost:{port}/", "http://0x7f.1:{port}/", "http://10.0.0.1/", "http://0/"),
    ],
)
async def test_each_redirect_is_checked(
    site: Site, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.2" or real(text))
    rules = InputRules()
    public = f"http://127.0.0.2:{site.port}"
    assert (await content(f"{public}/photo.png", rules))[1] == PICTURE
    site.redirect("/away", to.format(port=site.port))
    assert "is not a public address" in await refusal(f"{public}/away", rules)
    assert [request.path for request in site.asked] == ["/photo.png", "/away"]


@pytest.mark.parametrize("to", ["", "file:///etc/passwd", "http://[/", "http://u:p@127.0.0.1/"])
async def test_a_redirect_to_what_is_no_plain_address_is_refused(site: Site, to: str) -> None:
    site.redirect("/away", to)
    await refusal(f"{site.url}/away")
    assert len(site.asked) == 1


async def test_private_networks_are_refused_unless_they_are_allowed(site: Site) -> None:
    assert "--allow-private" in await refusal(f"{site.url}/x", InputRules())
    assert site.asked == []


async def test_a_name_is_resolved_once_and_connected_to_as_it_was_checked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = name_server(monkeypatch, [["127.0.0.1"], ["127.0.0.9"]])
    assert (await content(f"http://straße.example:{site.port}/x"))[1] == PICTURE
    assert asked == ["xn--strae-oqa.example"]
    assert site.asked[0].headers["Host"] == f"xn--strae-oqa.example:{site.port}"


@pytest.mark.parametrize("status", [204, 206, 304, 401, 403, 404, 500])
async def test_any_answer_but_a_whole_file_is_refused(site: Site, status: int) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    site.routes["/x"] = answer
    assert f"answered {status}" in await refusal(f"{site.url}/x")


async def test_compressed_bodies_are_refused(site: Site) -> None:
    async def bomb(_: web.Request) -> web.StreamResponse:
        body = gzip.compress(bytes(10_000_000))
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    site.routes["/x"] = bomb
    assert "is compressed" in await refusal(f"{site.url}/x")


async def test_what_is_too_large_is_refused_before_and_while_it_comes(site: Site) -> None:
    small = InputRules(allow_private=True, fetch_limit_bytes=len(PICTURE) - 1, fetch_within_s=10)
    assert "larger than 255,999 bytes" in await refusal(f"{site.url}/x", small)
    exact = InputRules(allow_private=True, fetch_limit_bytes=len(PICTURE), fetch_within_s=10)
    assert (await content(f"{site.url}/x", exact))[1] == PICTURE
    site.trickle("/endless", bytes(100_000), 0.0)
    assert "larger than" in await refusal(f"{site.url}/endless", small)


@pytest.mark.parametrize("told", [str(10**15), "9" * 40, "-5", "x"])
async def test_a_length_that_is_huge_or_no_number_is_refused(told: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {told}\r\n\r\n".encode()
    async with raw(head) as url:
        await refusal(url)


async def test_a_body_that_ends_too_early_is_refused() -> None:
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as url:
        assert "cannot be read" in await refusal(url)


async def test_silence_and_trickles_come_to_an_end(site: Site) -> None:
    site.trickle("/silent", b"x", 60.0)
    short = InputRules(allow_private=True, fetch_within_s=30, fetch_silence_s=0.3)
    assert "nothing came for 0.3 s" in await refusal(f"{site.url}/silent", short)
    site.trickle("/slow", b"x", 0.05)
    brief = InputRules(allow_private=True, fetch_within_s=0.5, fetch_silence_s=5)
    with anyio.fail_after(5):
        assert "within 0.5 s" in await refusal(f"{site.url}/slow", brief)


async def test_a_server_that_is_away_is_named_by_its_host_alone(site: Site) -> None:
    site.over.set()
    why = await refusal("http://127.0.0.1:1/secret/path?token=hidden")
    assert why.startswith("http://127.0.0.1:1/***: it cannot be read: no connection")


@pytest.mark.parametrize(
    "url",
    [
        *("http://user:hunter2@127.0.0.1/", "http:///x", "http://127.0.0.1:0/", "http://[/x"),
        *("http://127.0.0.1:99999/", "http://a b/", f"http://{'a' * 70}.example/"),
        *("http://\x00/", "http://xn--a/", "http://127.0.0.1%00.example.com/"),
    ],
)
async def test_what_is_no_plain_address_is_refused_without_its_secrets(url: str) -> None:
    why = await refusal(url)
    assert "hunter2" not in why


def test_a_text_is_an_address_by_its_scheme() -> None:
    assert all(map(is_url, ("http://a", "HTTPS://a/b", "https://")))
    assert not any(map(is_url, ("photo.png", "ftp://a", "c:\\a", "http:/a", "everfold:1", "")))


@contextlib.asynccontextmanager
async def raw(answer: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes and hangs up."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = re.sub(r"\D", "", str(listener.extra(anyio.abc.SocketAttribute.local_port)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield f"http://127.0.0.1:{port}/x"
            tasks.cancel_scope.cancel()
