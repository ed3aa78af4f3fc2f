"""What lies in the folders of a server belongs to many: one user names only the own files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from everfold import Everfold
from tests.support.programs.stack import Stack
from tests.web.comfyui.files.test_files import graph_of, png, uploaded
from tests.web.comfyui.jobs.test_prompts import history_of, queued
from tests.web.comfyui.users import client_of_user, serving_users
from tests.web.site import Site, client_of

pytestmark = pytest.mark.anyio

FOREIGN: list[object] = [
    *("made_00001_.png [output]", "sub/made_00001_.png [output]", "made_00001_.png[temp]"),
    *("../output/sub/made_00001_.png", "..\\output\\x.png [input]", "a/../../output/x.png"),
    *("/srv/comfyui/output/x.png", "C:\\ComfyUI\\output\\x.png"),
    *(["made_00001_.png [output]"], {"__value__": ["x.png [temp]"]}),
]


@pytest.fixture
async def shared(everfold: Everfold, stack: Stack) -> AsyncIterator[Site]:
    async with serving_users(everfold, stack) as site:
        yield site


def refused(answer: httpx.Response, status: int) -> bool:
    message = answer.json()["error"]["message"]
    return (answer.status_code, "that all users share" in message) == (status, True)


@pytest.mark.parametrize("name", FOREIGN)
async def test_a_user_names_no_file_of_a_server(shared: Site, name: object) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": name}}}
    async with client_of_user(shared, "bob") as bob:
        assert refused(await bob.post("/prompt", json={"prompt": graph}), 400)
        assert refused(await bob.post("/api/v2/jobs", json={"workflow": graph}), 422)
        for path in ("/everfold/v1/jobs/rerun", f"/everfold/v1/jobs/{await own_job(bob)}/rerun"):
            body = {"changes": {"1.image": name}}
            body |= {"filter": {}} if path.endswith("jobs/rerun") else {}
            assert refused(await bob.post(path, json=body), 422)


async def own_job(client: httpx.AsyncClient) -> str:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}}}
    return str((await client.post("/api/v2/jobs", json={"workflow": graph})).json()["id"])


async def test_an_input_of_any_class_is_looked_at(shared: Site) -> None:
    graph = {"1": {"class_type": "Anything", "inputs": {"path": "x.png [output]"}}}
    async with client_of_user(shared, "bob") as bob:
        assert refused(await bob.post("/prompt", json={"prompt": graph}), 400)


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": "a [output] of ../paint"},
        {"text": "/imagine"},
        {"image": "/9j/" + "A" * 5_000},
        {"image": "https://studio.example/cat.png"},
        {"image": "sub/..cat.png"},
    ],
)
async def test_what_only_looks_like_one_is_taken(shared: Site, inputs: dict[str, str]) -> None:
    graph = {"1": {"class_type": "Anything", "inputs": inputs}}
    async with client_of_user(shared, "bob") as bob:
        await queued(bob, graph)
        answer = await bob.post("/api/v2/jobs", json={"workflow": graph})
    assert answer.status_code == 201


async def test_own_files_are_taken_and_those_of_others_are_not(
    shared: Site, stack: Stack, everfold: Everfold
) -> None:
    await stack.runner(await stack.comfy(), assets=everfold.assets.url)
    async with client_of_user(shared, "ann") as ann, client_of_user(shared, "bob") as bob:
        await uploaded(ann, png((255, 0, 0)), type="output")
        entry = await history_of(ann, await queued(ann, graph_of("cat.png [output]")))
        [made] = entry["outputs"]["2"]["images"]
        own = f"{made['subfolder']}/{made['filename']} [output]"
        on_server = f"sub/{made['filename']} [output]"

        entry = await history_of(ann, await queued(ann, graph_of(own)))

        assert entry["status"]["status_str"] == "success"
        for name in (own, on_server, "cat.png [output]"):
            assert refused(await bob.post("/prompt", json={"prompt": graph_of(name)}), 400)


async def test_who_sees_all_may_name_what_a_server_has(site: Site) -> None:
    async with client_of(site) as client:
        await queued(client, graph_of("sub/made_00001_.png [output]"))
