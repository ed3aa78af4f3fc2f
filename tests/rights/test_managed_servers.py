"""Servers that lack commands which nothing depends on, as managed ones do: all goes on, and what
that costs is said at the start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest
from anyio import create_task_group

from everfold import Delivery, Everfold, Subscription
from everfold.commands.diagnosis.doctor import _examine
from everfold.streams.appending.log import Log
from everfold.streams.archive.archive import Archive
from everfold.streams.archive.archiver import Archiver
from everfold.streams.archive.folder import Folder
from everfold.streams.redis.access import Role
from everfold.testing import farm
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Stack, sleeper
from tests.support.server_choice import ServerChoice
from tests.support.servers import OwnServer, own_server
from tests.support.wait import eventually
from tests.web.site import serving

pytestmark = [pytest.mark.anyio, pytest.mark.long]

ROLES: tuple[Role, ...] = get_args(Role)

MISSING = {
    "CLIENT": "CLIENT SETNAME",
    "INFO": "INFO",
    "COMMAND": "COMMAND INFO",
    "CONFIG": "",
    "SCRIPT": "",
    "SCAN": "",
    "MEMORY": "",
    "WAIT": "",
    "ACL": "",
}
"""Command -> what a start says that it lacks; nothing where the doctor alone would ask."""

ALL = " ".join(MISSING)
EACH = (*MISSING, ALL)


@contextmanager
def without(choice: ServerChoice, how: str, names: str, folder: Path) -> Iterator[OwnServer]:
    """Start a server that lacks commands: they are renamed away, or its user may not send them."""
    assert choice.engine is not None
    if how == "renamed":
        lines = [f'rename-command {name} ""' for name in names.split()]
    else:
        rules = " ".join(f"-{name.lower()}" for name in names.split())
        lines = [f"user default on nopass ~* &* +@all {rules}"]
    file = folder / "server.conf"
    file.write_text("\n".join([*lines, "appendonly yes", 'save ""', ""]))
    with own_server(choice.engine, tcp=True, conf=file) as server:
        yield server


@pytest.mark.parametrize("how", ["renamed", "forbidden"])
@pytest.mark.parametrize("names", EACH)
async def test_every_role_starts_and_says_what_is_missing_and_what_it_costs(
    server_choice: ServerChoice,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
    names: str,
) -> None:
    expected = {MISSING[name] for name in names.split()} - {""}
    with without(server_choice, how, names, tmp_path) as server:
        async with Log.open(server.url):
            pass
        for role in ROLES:
            caplog.clear()
            with caplog.at_level(logging.WARNING, "everfold"):
                async with Log.open(server.url, role=role):
                    pass
            said = [text for text in caplog.messages if text.startswith("access_missing")]
            found = {text.split("command=")[1].split(" not_seen=")[0] for text in said}
            also = {"CLIENT LIST"} if role in ("runner", "auditor") and "CLIENT" in names else set()
            assert found == expected | also, role
            assert len(said) == len(found)


@pytest.mark.parametrize("how", ["renamed", "forbidden"])
async def test_jobs_run_and_everybody_does_his_work(
    server_choice: ServerChoice, start_program: StartProgram, tmp_path: Path, how: str
) -> None:
    await everybody_works(server_choice, start_program, tmp_path, how, ALL)


@pytest.mark.like_rows(2)
@pytest.mark.parametrize("name", MISSING)
async def test_jobs_run_without_one_command(
    server_choice: ServerChoice, start_program: StartProgram, tmp_path: Path, name: str
) -> None:
    await everybody_works(server_choice, start_program, tmp_path, "renamed", name)


async def everybody_works(
    choice: ServerChoice, start: StartProgram, folder: Path, how: str, names: str
) -> None:
    told = list[str]()

    @Subscription("notes")
    async def note(delivery: Delivery) -> None:
        told.append(delivery.job.job_id)

    with without(choice, how, names, folder) as server:
        async with AsyncExitStack() as running:
            found = await running.enter_async_context(farm(server.url))
            connecting = Everfold.connect(found.url, namespace=found.namespace, assets=found.assets)
            everfold = await running.enter_async_context(connecting)
            tasks = await running.enter_async_context(create_task_group())
            await tasks.start(everfold.consume, note)
            await work(everfold, Stack(everfold.log, start, folder), folder)
            findings = {one.what: one async for one in _examine(everfold.log)}
            assert not [one for one in findings.values() if "cannot be read" in one.found]
            assert ("cannot be seen" in findings["memory"].found) is ("INFO" in names)
            await eventually(lambda: told, 20)
            tasks.cancel_scope.cancel()


async def work(everfold: Everfold, stack: Stack, folder: Path) -> None:
    """Do what a client, an operator, an archiver and a gateway do."""
    job = await everfold.submit(sleeper(0.1))
    assert (await everfold.wait(job.job_id, 30)).status == "succeeded"
    await everfold.set_limit("running", "user", "ada", 1)
    assert [one.job_id for one in (await everfold.list()).jobs] == [job.job_id]
    archive = Archive(Folder(str(folder / "archive")))
    await Archiver(everfold.log, archive).run(everything=True)
    async with serving(everfold, stack) as site, httpx.AsyncClient(base_url=site.url) as http:
        assert (await http.get("/history", timeout=20)).status_code == 200
