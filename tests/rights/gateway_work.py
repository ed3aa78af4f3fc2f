"""What clients of a gateway do: those of ComfyUI, of the Comfy API v2, and of Everfold's routes."""

from __future__ import annotations

import httpx

from everfold.web import add_key
from tests.rights.farm import Farm
from tests.support.programs.stack import sleeper
from tests.support.wait import eventually
from tests.web.comfyui.socket.client import connected

OWN = "/everfold/v1"


async def use_gateway(farm: Farm, url: str) -> None:
    """Do everything that its routes offer; each must answer as it should."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as anybody:
        await _comfyui(anybody, url)
        await _files(anybody)
        _, key = await add_key(farm.log, "boss", role="operator")

        async def is_asked() -> bool:
            return (await anybody.get("/queue")).status_code == 401

        await eventually(is_asked, 10)
        headers = {"Authorization": f"Bearer {key.reveal()}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as operator:
            job_id = await _v2(operator)
            await _own(operator, job_id)
        form = {"key": key.reveal()}
        entered = await anybody.post("/login", data=form, headers={"Origin": url})
        assert entered.status_code == 303, entered.text
        assert (await anybody.get("/queue")).status_code == 200
        await anybody.post("/logout", headers={"Origin": url})


async def _ok(answer: httpx.Response, *codes: int) -> httpx.Response:
    assert answer.status_code in (codes or (200, 201, 202, 204)), (answer.request.url, answer.text)
    return answer


async def _comfyui(client: httpx.AsyncClient, url: str) -> None:
    """Submit prompts, listen to one, and ask all that ComfyUI's clients ask."""
    async with connected(url, "a-client") as socket:
        body = {"prompt": sleeper(0.5), "client_id": "a-client"}
        prompt_id = (await _ok(await client.post("/prompt", json=body))).json()["prompt_id"]
        await socket.until_over()
    for path in (
        "/prompt", "/queue", "/history", f"/history/{prompt_id}", "/history_v2", "/features",
        f"/history_v2/{prompt_id}", "/object_info", "/object_info/EmptyImage", "/models",
        "/embeddings", "/system_stats", "/api/jobs", f"/api/jobs/{prompt_id}", "/users",
        "/settings", "/v2/userdata", "/userdata?dir=x", "/readyz", "/livez",
    ):  # fmt: skip
        await _ok(await client.get(path), 200, 404)
    images = (await client.get(f"/history/{prompt_id}")).json()[prompt_id]["outputs"]["3"]
    await _ok(await client.get("/view", params=images["images"][0]))
    waits = {"prompt": sleeper(1), "extra_data": {"api_key_comfy_org": "a-secret-key"}}
    await client.post(f"{OWN}/queues/default/pause")
    prompt_id = (await client.post("/prompt", json=waits)).json()["prompt_id"]
    await _ok(await client.post("/queue", json={"delete": [prompt_id]}))
    await _ok(await client.post("/queue", json={"clear": True}))
    await client.post(f"{OWN}/queues/default/resume")
    await _ok(await client.post("/interrupt", json={}))
    await _ok(await client.post("/history", json={"delete": [prompt_id]}))
    await _ok(await client.post("/history", json={"clear": True}))
    await _ok(await client.post("/free", json={}))


async def _files(client: httpx.AsyncClient) -> None:
    """Upload pictures, keep small files and settings."""
    picture = {"image": ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")}
    await _ok(await client.post("/upload/image", files=picture))
    await _ok(await client.post("/settings", json={"a": 1}))
    await _ok(await client.post("/userdata/workflows%2Fa.json", content=b"{}"))
    await _ok(await client.get("/userdata/workflows%2Fa.json"))
    moved = "/userdata/workflows%2Fa.json/move/workflows%2Fb.json"
    await _ok(await client.post(moved))
    await _ok(await client.delete("/userdata/workflows%2Fb.json"))


async def _v2(client: httpx.AsyncClient) -> str:
    """Upload, submit, follow, cancel and remove as comfy-sdk does; return the first job's id."""
    files = {"file": ("a.png", b"\x89PNG\r\n\x1a\n2", "image/png")}
    asset = (await _ok(await client.post("/api/v2/assets", files=files))).json()
    path = f"/api/v2/assets/{asset['id']}"
    await _ok(await client.get(path))
    await _ok(await client.get(f"{path}/content"))
    await _ok(await client.head(f"/api/v2/assets/by-hash/{asset['hash']}"))
    await _ok(await client.post("/api/v2/assets/from-hash", json={"hash": asset["hash"]}))
    body = {"workflow": sleeper(0.1)}
    job_id: str = (await _ok(await client.post("/api/v2/jobs", json=body))).json()["id"]
    async with client.stream("GET", f"/api/v2/jobs/{job_id}/events") as answer:
        async for _ in answer.aiter_lines():
            pass
    for rest in ("", "/workflow"):
        await _ok(await client.get(f"/api/v2/jobs/{job_id}{rest}"))
    await _ok(await client.get("/api/v2/jobs"))
    other = (await client.post("/api/v2/jobs", json={"workflow": sleeper(9)})).json()["id"]
    await _ok(await client.post(f"/api/v2/jobs/{other}/cancel"))
    await _ok(await client.delete(path))
    return job_id


async def _own(client: httpx.AsyncClient, job_id: str) -> None:
    """Look at everything and act as an operator does."""
    jobs = f"{OWN}/jobs"
    for path in (
        jobs, f"{jobs}/{job_id}", f"{jobs}/{job_id}/at?seq=1", f"{jobs}/{job_id}/why",
        f"{jobs}/{job_id}/files", f"{jobs}/{job_id}/events", f"{jobs}/{job_id}/events/stream",
        f"{OWN}/queues", f"{OWN}/limits", f"{OWN}/backends", f"{OWN}/runners", f"{OWN}/acts",
        f"{OWN}/subscriptions", "/metrics", "/scale/default",
    ):  # fmt: skip
        await _ok(await client.get(path))
    again = (await _ok(await client.post(f"{jobs}/{job_id}/rerun", json={}))).json()["job_id"]
    await _ok(await client.post(f"{OWN}/queues/default/pause"))
    held = (await client.post(f"{jobs}/{job_id}/rerun", json={})).json()["job_id"]
    await _ok(await client.post(f"{jobs}/{held}/priority", json={"priority": "high"}))
    await _ok(await client.post(f"{jobs}/{held}/cancel"))
    await _ok(await client.post(f"{OWN}/queues/default/resume"))
    limit = {"what": "running", "scope": "queue", "name": "x", "number": 3}
    await _ok(await client.put(f"{OWN}/limits", json=limit))
    of = {"what": "running", "scope": "queue", "name": "x"}
    await _ok(await client.request("DELETE", f"{OWN}/limits", params=of))
    (backend, *_) = (await client.get(f"{OWN}/backends")).json()["backends"]
    for act in ("drain", "return", "retire", "return"):
        await _ok(await client.post(f"{OWN}/backends/{act}", json={"backend": backend["name"]}))
    await _ok(await client.post(f"{jobs}/cancel", json={"filter": {}, "dry_run": False}))
    (runner, *_) = (await client.get(f"{OWN}/runners")).json()["runners"]
    await _ok(await client.post(f"{OWN}/runners/{runner['name']}/drain"))
    assert again
