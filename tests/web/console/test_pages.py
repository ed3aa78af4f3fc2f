"""The files of the console as a browser gets them."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files

import httpx
import pytest

pytestmark = pytest.mark.anyio

STATIC = files("everfold.web.console") / "static"


async def test_every_path_below_the_console_is_its_page(client: httpx.AsyncClient) -> None:
    pages = [await client.get(f"/console{path}") for path in ("", "/", "/jobs", "/jobs/a%2Fb%0A")]

    assert {page.status_code for page in pages} == {200}
    assert {page.headers["content-type"] for page in pages} == {"text/html; charset=utf-8"}
    assert {page.content for page in pages} == {STATIC.joinpath("index.html").read_bytes()}


async def test_a_page_runs_and_loads_only_what_the_gateway_serves(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/console")
    rules = dict(
        rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";")
    )

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert rules["frame-ancestors"] == "'none'"
    for place in re.findall(r'(?:src|href)="([^"]*)"', page.text):
        assert (await client.get(place)).headers["content-type"].split(";")[0] in (
            "text/javascript",
            "text/css",
            "image/svg+xml",
        )
    assert not re.search(r"<style|<script(?! type=\"module\" src=)|\son\w+=", page.text)


async def test_a_file_is_sent_once_and_packed(client: httpx.AsyncClient) -> None:
    whole = await client.get("/console/console.js", headers={"accept-encoding": "identity"})
    packed = await client.get("/console/console.js", headers={"accept-encoding": "gzip"})
    again = await client.get(
        "/console/console.js", headers={"if-none-match": whole.headers["etag"]}
    )

    assert "content-encoding" not in whole.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == whole.content == STATIC.joinpath("console.js").read_bytes()
    assert (again.status_code, again.content) == (304, b"")


def test_the_script_is_small() -> None:
    script = STATIC.joinpath("console.js").read_bytes()

    assert len(script) <= 120_000
    assert len(gzip.compress(script, 9, mtime=0)) <= 45 * 1024


def test_nothing_in_the_script_names_another_host() -> None:
    script = STATIC.joinpath("console.js").read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://([\w.-]+)", script))

    assert hosts <= {"www.w3.org"}  # the names of SVG and the like, which nobody fetches
