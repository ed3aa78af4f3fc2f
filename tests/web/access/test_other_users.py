"""Whatever one user reads, by any route and with any id, tells nothing of another one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import pytest

from everfold import Everfold
from tests.support.programs.stack import Stack, sleeper
from tests.web.comfyui.files.test_files import graph_of, png
from tests.web.comfyui.jobs.test_prompts import history_of
from tests.web.comfyui.users import HEADER, client_of_user, serving_users
from tests.web.fuzz.hostile import PATHS, HostileRequest
from tests.web.fuzz.wire import send
from tests.web.site import Site

pytestmark = pytest.mark.anyio

SECRET = "zebra"
"""Part of all that the other user has chosen."""


async def told(site: Site, user: str, path: str, ids: Sequence[str]) -> list[str]:
    """Return the answers to a user about ids of the other one in which something of it stands."""
    return [
        one
        for found in await asyncio.gather(*(told_of(site, user, path, one) for one in ids))
        for one in found
    ]


async def told_of(site: Site, user: str, path: str, about: str) -> list[str]:
    found, target = [], re.sub(r"{\w+(?::\w+)?}", about, path)
    query = f"?filename={about}&type=output&job={about}&user={SECRET}&client_id={SECRET}"
    for asked in (target, target + query):
        head = f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n{HEADER.decode()}: {user}\r\n"
        sent = f"{head}Connection: close\r\n\r\n".encode()
        answer = await send(site.url, HostileRequest("GET", sent))
        body = answer.body.decode(errors="replace").replace(about, "").replace(asked, "")
        assert answer.status < 500, asked
        if SECRET in body:
            found.append(f"{asked}: {body[:300]}")
    return found


@pytest.mark.long
async def test_no_route_tells_of_another_user(everfold: Everfold, stack: Stack) -> None:
    async with serving_users(everfold, stack) as site, client_of_user(site, SECRET) as other:
        await stack.runner(await stack.comfy(), assets=everfold.assets.url)
        files = {"image": (f"{SECRET}.png", png((1, 2, 3)))}
        assert (await other.post("/upload/image", files=files)).status_code == 200
        await other.post(f"/userdata/{SECRET}.json", content=b"{}")
        asked = {"prompt": graph_of(f"{SECRET}.png"), "client_id": SECRET}
        done = (await other.post("/prompt", json=asked)).json()["prompt_id"]
        await history_of(other, done)
        waiting = await everfold.submit(
            sleeper(1), user=SECRET, queue="nobody", tags=[SECRET], metadata={"a": SECRET}
        )
        stored = [one.asset for one in await everfold.output_files(done) if one.asset]
        ids = [done, waiting.job_id, *stored, f"{SECRET}.png", f"{SECRET}.json", SECRET]

        paths = {path for row, path in PATHS if row.method == "GET"}
        leaks = [leak for path in sorted(paths) for leak in await told(site, "bob", path, ids)]

        for path in ("/everfold/v1/jobs/{job_id}", "/history/{prompt_id}", "/v2/userdata"):
            assert await told(site, SECRET, path, [done]), "it looks where nothing is"
        assert not leaks, "\n".join(leaks)
