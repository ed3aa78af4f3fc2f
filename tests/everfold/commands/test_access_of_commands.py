"""doctor and a take-over get into a server as its owner does, by the settings of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfold.streams.appending.log import Log
from everfold.streams.leases.backends import backend_entries
from tests.everfold.running import Everfold, objects
from tests.support.network.certificates import Certificates
from tests.support.programs.programs import StartProgram
from tests.support.programs.stack import Comfy, Stack
from tests.support.trouble.access_proxy import AccessProxy, access_proxy
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

MARK = "Zx9Qv"
WANTED = f"Authorization: Bearer {MARK}"
PASSWORD = {"EVERFOLD_BACKENDS_GPU1_HEADERS_AUTHORIZATION": f"Bearer {MARK}"}


@pytest.fixture
def stack(log: Log, start_program: StartProgram, tmp_path: Path) -> Stack:
    return Stack(log, start_program, tmp_path)


@pytest.fixture
async def comfy(stack: Stack) -> Comfy:
    return await stack.comfy()


@pytest.fixture
async def proxy(comfy: Comfy) -> AsyncIterator[AccessProxy]:
    async with access_proxy(comfy.url, wanted=WANTED) as proxy:
        yield proxy


async def found_of(everfold: Everfold, url: str, *words: str, **environ: str) -> dict[str, str]:
    """Return what doctor says of one ComfyUI."""
    program = everfold("doctor", "--json", *words, **environ)
    rows = await objects(program, 1)  # the server of a test keeps nothing on its disk
    assert MARK not in str(program)
    [row] = [row for row in rows if str(row["what"]).endswith(url)]
    return {name: str(value) for name, value in row.items()}


async def reached(log: Log, url: str) -> None:
    async def is_reached() -> bool:
        entries = [one for one in await backend_entries(log) if one.name == url]
        return bool(entries) and all(one.server and one.is_reached for one in entries)

    await eventually(is_reached, 15)


async def test_doctor_asks_through_the_access_that_is_set_here(
    everfold: Everfold, log: Log, proxy: AccessProxy
) -> None:
    runner = everfold("runner", "--comfyui", f"gpu1={proxy.url}", **PASSWORD)
    await runner.line("takes jobs", within_s=20)
    await reached(log, proxy.url)
    words = ("--comfyui", f"gpu1={proxy.url}")
    row = await found_of(everfold, proxy.url, *words, **PASSWORD)
    assert row["what"] == f"comfyui gpu1 {proxy.url}"
    assert (row["found"], row["advice"]) == ("0 running, 0 waiting", "")
    wrong = dict.fromkeys(PASSWORD, "Bearer wrong")
    row = await found_of(everfold, proxy.url, *words, **wrong)
    assert row["found"] == "it refuses the password or header that it gets (401)"
    assert row["advice"] == "correct it, in [backends.NAME] of everfold.toml"
    # Without an access the word of the runner counts, and not a 401 that says nothing of it.
    row = await found_of(everfold, proxy.url)
    assert row["found"].startswith("not from here (it wants a password or a header (401)")
    assert row["found"].endswith("reaches it")
    assert row["advice"] == ""


async def test_doctor_says_what_the_runners_said_of_a_server_that_it_has_no_access_to(
    everfold: Everfold, log: Log, proxy: AccessProxy
) -> None:
    wrong = dict.fromkeys(PASSWORD, "Bearer wrong")
    runner = everfold("runner", "--comfyui", f"gpu1={proxy.url}", **wrong)
    await runner.line("it refuses", within_s=20)

    async def told() -> bool:
        return any("refuses" in entry.why for entry in await backend_entries(log))

    await eventually(told, 10)
    row = await found_of(everfold, proxy.url)
    assert row["found"].startswith("it refuses the password or header that it gets (401) (says ")
    assert row["advice"] == "correct it, in [backends.NAME] of everfold.toml"


async def test_doctor_asks_what_is_set_and_no_runner_has_and_names_what_cannot_be_used(
    everfold: Everfold, comfy: Comfy
) -> None:
    environ = {
        "EVERFOLD_BACKENDS_GPU1_URL": comfy.url,
        "EVERFOLD_BACKENDS_GPU2_URL": "http://h:1",
        "EVERFOLD_BACKENDS_GPU2_USER": "ada",
        "EVERFOLD_BACKENDS_GPU2_PASSWORD_FILE": "/none",
        "EVERFOLD_BACKENDS_GPU3_PASSWORD": MARK,
    }
    row = await found_of(everfold, comfy.url, **environ)
    assert (row["found"], row["advice"]) == ("0 running, 0 waiting", "")
    row = await found_of(everfold, "gpu2", **environ)
    assert row["found"].startswith("backend gpu2: password_file is not read: /none cannot be read")
    assert row["advice"]


async def test_a_runner_takes_over_through_its_own_access(
    everfold: Everfold, stack: Stack, comfy: Comfy, proxy: AccessProxy, tmp_path: Path
) -> None:
    other = await stack.comfy()
    first = everfold("runner", "--comfyui", f"gpu1={proxy.url}", **PASSWORD)
    await first.line("takes jobs", within_s=20)
    await reached(stack.log, proxy.url)
    job_id = await stack.submit(seconds=15)  # longer than a runner needs to start
    running = await stack.until(job_id, "running")
    assert running.backend == proxy.url
    # The survivor works with another server; it has settings for this one all the same.
    named = {"EVERFOLD_BACKENDS_GPU1_URL": proxy.url, **PASSWORD}
    second = everfold("runner", "--comfyui", other.url, **named)
    await second.line("takes jobs", within_s=20)
    first.kill()
    job = await stack.until(job_id, "succeeded")
    assert (job.attempt, job.recovered) == (1, 1), await stack.event_text(job_id)
    assert len(await comfy.executions()) == 1
    assert MARK not in await stack.event_text(job_id) + str(second)


async def test_a_runner_gets_in_by_certificates_and_a_command(
    everfold: Everfold, stack: Stack, comfy: Comfy, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    basic = "Authorization: Basic YWRhOlp4OVF2"
    async with access_proxy(
        comfy.url, wanted=basic, certificates=certificates, wants_client=True
    ) as proxy:
        (tmp_path / "everfold.toml").write_text(
            f'[backends.gpu1]\nurl = "{proxy.url}"\nuser = "ada"\n'
            f'password_command = ["printf", "{MARK}"]\nca_file = "ca.pem"\n'
            'client_cert = "client.pem"\nclient_key = "client.key"'
        )
        (tmp_path / "everfold.toml").chmod(0o600)
        runner = everfold("runner", EVERFOLD_CONFIG=str(tmp_path / "everfold.toml"))
        await runner.line(f"✓ gpu1 {proxy.url}  takes jobs", within_s=20)
        job = await stack.until(await stack.submit(seconds=0.5), "succeeded")
    assert job.backend == proxy.url
    assert any(line.startswith("get /ws?") for line in proxy.passed)
