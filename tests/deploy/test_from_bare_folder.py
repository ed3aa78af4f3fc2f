"""From a bare folder to a finished job: deploy/ run as plain processes with its own command lines.

Each service of compose, systemd and Kubernetes runs as a Redis user that has the rights of its role
and no others, on a server with deploy/redis.conf.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.architecture.source_tree import ROOT
from tests.deploy.farm import Deployed
from tests.deploy.services import DEPLOY, Service, services
from tests.support.network.otlp_receiver import receiving
from tests.support.programs.forked import ForkServer
from tests.support.programs.programs import programs
from tests.support.programs.stack import Comfy, sleeper
from tests.support.server_choice import ServerChoice
from tests.support.servers import client, own_server
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def deployed(
    server_choice: ServerChoice, fork_server: ForkServer, tmp_path: Path
) -> AsyncIterator[Deployed]:
    """Redis with the tested settings, and nothing else, beside a copy of deploy/."""
    folder = tmp_path / "bare"
    shutil.copytree(DEPLOY, folder)
    (folder / "config").mkdir()
    shutil.copy(folder / "kubernetes" / "base" / "everfold.toml", folder / "config")
    assert server_choice.engine is not None
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with (
        receiving() as collector,
        own_server(server_choice.engine, tcp=True, conf=folder / "redis.conf") as server,
        client(server.url) as admin,
        programs(folder=folder, environ=environ) as start,
        programs(folder=folder, environ=environ, fork_server=fork_server) as start_tool,
    ):
        deployed = Deployed(folder, server, admin, start, start_tool, collector)
        yield deployed
        deployed.notify.close()


@pytest.mark.long
@pytest.mark.parametrize("source", ["compose", "systemd", "kubernetes"])
async def test_a_job_runs_on_what_a_bare_folder_starts(deployed: Deployed, source: str) -> None:
    comfy = Comfy(deployed.start_tool, deployed.folder / "comfyui")
    await comfy.up()
    key = (await deployed.run("operator", "keys", "add", "studio", "--role", "operator"))[0]
    every = [one for one in services(deployed.folder) if one.source == source]
    await deployed.start_all([one for one in every if one.role != "consumer"], comfy.url)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=deployed.gateway, headers=headers, timeout=20) as studio:
        await _finishes(studio)
        await _is_watched(deployed)
        await _is_traced(deployed)
        await _is_trimmed(deployed)
        scale = (await studio.get("/scale/default")).json()
        assert (scale["jobs"], scale["runners"]) == (0, 1)
        job_id = await _submit(studio, 1.0)
        await eventually(lambda: _has(studio, job_id, "running"), 20)
        # It waits for what runs; then the others end, the address of clients as the last one.
        ends = {one.role: one for one in every if one.name in deployed.programs}
        await _drains(deployed, ends.pop("runner"))
        await eventually(lambda: _has(studio, job_id, "succeeded"), 10)
        gateway = ends.pop("gateway")
        for one in ends.values():
            await _drains(deployed, one)
    await _drains(deployed, gateway)
    assert deployed.notify.count("STOPPING=1") >= len(deployed.programs)


async def _submit(studio: httpx.AsyncClient, seconds: float) -> str:
    trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    body = {"workflow": sleeper(seconds)}
    answer = await studio.post("/api/v2/jobs", json=body, headers=trace)
    assert answer.status_code < 300, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def _has(studio: httpx.AsyncClient, job_id: str, status: str) -> bool:
    found = (await studio.get(f"/everfold/v1/jobs/{job_id}")).json()["status"]
    assert found not in ("failed", "canceled", "expired"), found
    return bool(found == status)


async def _finishes(studio: httpx.AsyncClient) -> None:
    job_id = await _submit(studio, 0.1)
    await eventually(lambda: _has(studio, job_id, "succeeded"), 30)
    assert (await studio.get(f"/everfold/v1/jobs/{job_id}/files")).json()["files"]


async def _is_watched(deployed: Deployed) -> None:
    """Each process turns, can do its work, and tells numbers that Prometheus takes."""
    names = set()
    await eventually(lambda: deployed.notify.count("READY=1") == len(deployed.programs), 20)
    for name in deployed.programs:
        assert (await deployed.asked(name, "/livez")).status_code == 200, name
        port = deployed.watched[name].rpartition(":")[2]
        assert "\u2713" in (await deployed.run("reader", "health", "--port", port))[0]
        text = (await deployed.asked(name, "/metrics")).text
        names |= {family.name for family in text_string_to_metric_families(text)}
    assert {"everfold_jobs_ended", "everfold_jobs_submitted"} <= names


async def _is_traced(deployed: Deployed) -> None:
    """The trace that the studio began goes on in the runner."""
    await eventually(lambda: deployed.collector.of_trace(TRACE), 10)
    names = {span.name for span in deployed.collector.of_trace(TRACE)}
    assert len(names) > 2, names


async def _is_trimmed(deployed: Deployed) -> None:
    """The log gives way before the server is full, archived first."""
    deployed.squeeze()
    await eventually(deployed.is_trimmed, 30)
    deployed.release()


async def _drains(deployed: Deployed, one: Service) -> None:
    program, began_s = deployed.programs[one.name], time.monotonic()
    program.send(signal.SIGTERM)
    assert await program.end(one.grace_s) == 0, program
    assert time.monotonic() - began_s < one.grace_s
    assert "Traceback" not in str(program)
