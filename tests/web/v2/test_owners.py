"""What belongs to somebody else does not exist, whatever a caller asks with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from blake3 import blake3
from starlette.types import ASGIApp, Receive, Scope, Send

from everfold import Everfold
from everfold.web import app
from everfold.web.caller import Caller
from tests.support.programs.stack import sleeper

pytestmark = pytest.mark.anyio


class NamedCaller:
    """Says who calls, as the check of keys does: by a header here."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = dict(scope["headers"])[b"x-user"].decode()
        scope.setdefault("state", {})["caller"] = Caller(role="user", user=user)
        await self._inner(scope, receive, send)


@contextlib.asynccontextmanager
async def two_callers(
    everfold: Everfold,
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    gateway = app(everfold)
    way = httpx.ASGITransport(NamedCaller(gateway))
    async with (
        gateway.router.lifespan_context(gateway),
        httpx.AsyncClient(transport=way, base_url="http://a", headers={"X-User": "ada"}) as ada,
        httpx.AsyncClient(transport=way, base_url="http://a", headers={"X-User": "bob"}) as bob,
    ):
        yield ada, bob


def upload(content: str, name: str) -> dict[str, object]:
    lines = [
        "--b", 'Content-Disposition: form-data; name="file_path"', "", name,
        "--b", 'Content-Disposition: form-data; name="file"; filename="f"', "", content,
        "--b--", "",
    ]  # fmt: skip
    return {
        "content": "\r\n".join(lines).encode(),
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
    }


async def test_a_job_of_somebody_else_is_not_there(everfold: Everfold) -> None:
    async with two_callers(everfold) as (ada, bob):
        job = (await ada.post("/api/v2/jobs", json={"workflow": sleeper(0.05)})).json()
        path = f"/api/v2/jobs/{job['id']}"

        for method, end in [
            ("GET", ""), ("POST", "/cancel"), ("GET", "/workflow"), ("GET", "/logs"),
            ("GET", "/events"),
        ]:  # fmt: skip
            answer = await bob.request(method, path + end)
            nobodys = await bob.request(method, path[:-4] + "0000" + end)
            same = nobodys.text.replace(f"{job['id'][:-4]}0000", job["id"])
            assert (answer.status_code, answer.text) == (404, same)
        assert (await bob.get("/api/v2/jobs")).json()["jobs"] == []
        assert (await ada.get(path)).json()["status"] == "queued"


async def test_an_idempotency_key_is_its_users_own(everfold: Everfold) -> None:
    async with two_callers(everfold) as (ada, bob):
        key = {"Idempotency-Key": "the-same"}
        first = await ada.post("/api/v2/jobs", json={"workflow": sleeper(0.05)}, headers=key)
        second = await bob.post("/api/v2/jobs", json={"workflow": sleeper(0.05)}, headers=key)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_nobody_learns_by_a_hash_what_others_have_stored(everfold: Everfold) -> None:
    async with two_callers(everfold) as (ada, bob):
        sent = upload("secret", "a.txt")
        asset = (await ada.post("/api/v2/assets", **sent)).json()  # type: ignore[arg-type]
        content_hash = f"blake3:{blake3(b'secret').hexdigest()}"
        by_hash, body = f"/api/v2/assets/by-hash/{content_hash}", {"hash": content_hash}

        assert (await ada.head(by_hash)).status_code == 200
        assert (await bob.head(by_hash)).status_code == 404
        refused = await bob.post("/api/v2/assets/from-hash", json=body)
        assert refused.json()["error"]["code"] == "blob_not_found"
        for method, end in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
            answer = await bob.request(method, f"/api/v2/assets/{asset['id']}{end}")
            assert answer.status_code == 404

        assert (await ada.get(f"/api/v2/assets/{asset['id']}/content")).text == "secret"
        own = await bob.post("/api/v2/assets", **sent)  # type: ignore[arg-type]
        assert (own.status_code, own.json()["created_new"]) == (201, True)


async def test_a_graph_names_only_files_of_its_caller(everfold: Everfold) -> None:
    async with two_callers(everfold) as (ada, bob):
        sent = upload("secret", "a.txt")
        asset = (await ada.post("/api/v2/assets", **sent)).json()  # type: ignore[arg-type]
        inputs = {"image": f"everfold:{asset['id']}"}
        body = {"workflow": {"1": {"class_type": "LoadImage", "inputs": inputs}}}

        refused = await bob.post("/api/v2/jobs", json=body)
        taken = await ada.post("/api/v2/jobs", json=body)

    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "missing_asset")
    assert taken.status_code == 201, json.dumps(taken.json())
