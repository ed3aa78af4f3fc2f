"""Files of a front end's folder: what a browser is told of them, and that nothing else is served.

The folder is one of the test's own: the real front end is seen by tests/browser.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from everfold import Everfold
from everfold.streams.errors import Misconfigured
from everfold.web import WebSettings, app
from everfold.web.comfyui.front_end.installed import find_front_end, find_templates
from everfold.web.comfyui.front_end.static_files import find_file
from tests.support.programs.stack import Stack
from tests.web.site import Site, client_of, serving

pytestmark = pytest.mark.anyio

PAGE = "<!doctype html><title>a front end</title>"
SCRIPT = "assets/index-B2rHQ9Sn.js"
FILES = {
    "index.html": PAGE,
    SCRIPT: "export {}",
    "assets/favicon.ico": "icon",
    "fonts/inter.woff2": "font",
    "scripts/api.js": "export {}",
    "data.unknown": "?",
}

EMPTY: dict[str, object] = {
    "extensions": [],
    "i18n": {},
    "workflow_templates": {},
    "global_subgraphs": {},
}

OUTSIDE = (
    "/../../../secret.txt",
    "/assets/../../../../secret.txt",
    "/%2e%2e/%2e%2e/%2e%2e/secret.txt",
    "/..%2f..%2f..%2fsecret.txt",
    "/..%5c..%5c..%5csecret.txt",
    "//etc/passwd",
    "/assets//favicon.ico",
    "/%2fetc%2fpasswd",
    "/link.txt",
    "/linked/secret.txt",
    "/loop",
    "/assets",
    "/assets/",
    "/index.html%00.js",
    "/%ff%fe",
    "/" + "a" * 5000,
    "/" + "a/" * 2000,
    "/templates/../../../../secret.txt",
    "/templates/%2e%2e/%2e%2e/secret.txt",
    "/api/nothing",
)
"""Paths that lead out of the folder, or to no file in it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "site-packages" / "comfyui_frontend_package" / "static"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret.txt").write_text("secret")
    return root


@pytest.fixture
async def front_end(everfold: Everfold, stack: Stack, folder: Path) -> AsyncIterator[Site]:
    async with serving(everfold, stack, WebSettings(front_end=str(folder))) as site:
        yield site


@pytest.fixture
async def browser(front_end: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(front_end) as client:
        yield client


async def raw_get(site: Site, target: str) -> bytes:
    """Ask for a path as it stands: clients tidy it up."""
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_the_front_ends_page_is_at_the_root_and_never_kept(
    browser: httpx.AsyncClient,
) -> None:
    answer = await browser.get("/")

    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


async def test_a_file_has_its_media_type_and_is_kept_when_its_name_tells_its_content(
    browser: httpx.AsyncClient,
) -> None:
    found = {}
    for path in FILES:
        answer = await browser.get(f"/{path}")
        assert answer.headers["x-content-type-options"] == "nosniff"
        is_kept = "immutable" in answer.headers["cache-control"]
        found[path] = answer.headers["content-type"].partition(";")[0], is_kept

    assert found == {
        "index.html": ("text/html", False),
        SCRIPT: ("text/javascript", True),
        "assets/favicon.ico": ("image/x-icon", False),
        "fonts/inter.woff2": ("font/woff2", False),
        "scripts/api.js": ("text/javascript", False),
        "data.unknown": ("application/octet-stream", False),
    }


async def test_a_file_that_has_not_changed_is_not_sent_again(
    browser: httpx.AsyncClient, folder: Path
) -> None:
    etag = (await browser.get("/scripts/api.js")).headers["etag"]
    known = {"If-None-Match": f'"other", {etag}'}

    again = await browser.get("/scripts/api.js", headers=known)
    (folder / "scripts/api.js").write_text("export const changed = 1")
    changed = await browser.get("/scripts/api.js", headers=known)

    assert (again.status_code, again.content) == (304, b"")
    assert (changed.status_code, changed.text) == (200, "export const changed = 1")


async def test_a_head_request_says_the_size(browser: httpx.AsyncClient) -> None:
    answer = await browser.head(f"/{SCRIPT}")

    assert (answer.status_code, answer.headers["content-length"]) == (200, "9")


async def test_no_path_leads_out_of_the_folder(
    front_end: Site, folder: Path, tmp_path: Path
) -> None:
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")

    for target in OUTSIDE:
        answer = await raw_get(front_end, target)
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), target
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2]


async def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "same.js").symlink_to(folder / SCRIPT)

    found = find_file([folder], "same.js")

    assert found is not None
    assert found[0] == folder / SCRIPT


async def test_routes_of_the_api_come_before_files(
    browser: httpx.AsyncClient, folder: Path
) -> None:
    (folder / "features").write_text("a file")

    assert (await browser.get("/features")).json() != "a file"


async def test_without_a_front_end_the_root_says_what_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")

    assert answer.status_code == 200
    assert "/api/v2" in answer.text
    assert "pip install comfyui-frontend-package" in answer.text
    for link in re.findall('<a href="([^"]+)"', answer.text):
        assert (await client.get(f"/{link}")).status_code == 200, link
    assert (await client.get("/assets/index.js")).status_code == 404


@pytest.mark.parametrize(
    "within",
    [
        "",
        "static",
        "comfyui_frontend_package/static",
        "web",
        "lib/python3.12/site-packages/comfyui_frontend_package/static",
        ".venv/lib/python3.12/site-packages/comfyui_frontend_package/static",
    ],
)
def test_a_front_end_is_found_inside_what_was_named(tmp_path: Path, within: str) -> None:
    (tmp_path / within).mkdir(parents=True, exist_ok=True)
    (tmp_path / within / "index.html").write_text(PAGE)

    assert find_front_end(str(tmp_path)) == (tmp_path / within).resolve()


def test_a_named_folder_without_a_front_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"index\.html"):
        find_front_end(str(tmp_path))


async def test_an_installed_package_is_found_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "comfyui_frontend_package"
    (package / "static").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was imported')")
    (package / "static" / "index.html").write_text(PAGE)
    monkeypatch.syspath_prepend(tmp_path)

    assert find_front_end("") == (package / "static").resolve()


async def test_templates_come_from_the_packages_beside_the_front_end(
    everfold: Everfold, stack: Stack, folder: Path
) -> None:
    for part, name, text in (
        ("json", "index.json", '[{"title": "Basics"}]'),
        ("media_image", "flux-1.webp", "picture"),
    ):
        made = folder.parent.parent / f"comfyui_workflow_templates_{part}" / "templates"
        made.mkdir(parents=True)
        (made / name).write_text(text)

    assert len(find_templates(folder)) == 2
    settings = WebSettings(front_end=str(folder))
    async with serving(everfold, stack, settings) as site, client_of(site) as browser:
        assert (await browser.get("/templates/index.json")).json() == [{"title": "Basics"}]
        assert (await browser.get("/templates/flux-1.webp")).headers["content-type"] == "image/webp"
        assert (await browser.get("/templates/none.webp")).status_code == 404


async def test_without_template_packages_none_are_listed(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/templates/index.json")).json() == []
    assert (await browser.get("/templates/index.zh-TW.json")).json() == []
    assert (await browser.get("/templates/index_logo.json")).json() == {}


async def test_what_a_farm_has_none_of_is_answered_as_empty(client: httpx.AsyncClient) -> None:
    for path, told in EMPTY.items():
        for under in ("", "/api"):
            answer = await client.get(f"{under}/{path}")
            assert (answer.status_code, answer.json()) == (200, told), path


async def test_the_style_sheet_of_a_comfyui_folder_is_empty(client: httpx.AsyncClient) -> None:
    answer = await client.get("/user.css")

    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["content-type"].startswith("text/css")


async def test_a_gateway_inside_of_an_application_serves_it_below_its_path(
    everfold: Everfold, folder: Path
) -> None:
    gateway = app(everfold, WebSettings(front_end=str(folder)))
    application = Starlette(routes=[Mount("/studio", gateway)])
    async with (
        gateway.router.lifespan_context(gateway),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url="http://127.0.0.1"
        ) as browser,
    ):
        assert (await browser.get("/studio/")).text == PAGE
        assert (await browser.get(f"/studio/{SCRIPT}")).status_code == 200
        named = "/studio/api/userdata/workflows%2Fa.json"
        assert (await browser.post(named, content="{}")).json() == "workflows/a.json"
        assert (await browser.get(named)).text == "{}"
