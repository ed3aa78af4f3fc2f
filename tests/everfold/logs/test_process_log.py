"""The log of a process that serves: its form, its level, a standard error that takes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

MARK = "Zx9Qv"
ROOT = Path(__file__).resolve().parents[3]


class Gateway:
    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address

    async def ask(self, count: int, path: str = "/livez", **headers: str) -> list[int]:
        """Ask so often; return the statuses."""
        async with httpx.AsyncClient(base_url=self.address, headers=headers) as client:
            return [(await client.get(path)).status_code for _ in range(count)]


@contextmanager
def serving(
    server: OwnServer, stderr: int | None, *options: str, before: tuple[str, ...] = (), **env: str
) -> Iterator[Gateway]:
    """Run a gateway with this standard error."""
    words = (*before, sys.executable, "-m", "everfold", "serve", "--port", "0", "--json", *options)
    environ = {**os.environ, "REDIS_URL": server.url, **env}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            yield Gateway(process, told["gateway"][0])
        finally:
            process.kill()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR)
    yield descriptor
    os.close(descriptor)


async def lines_of(path: Path, count: int) -> list[str]:
    """Return the lines of the access log once there are so many."""

    def found() -> list[str]:
        lines = [line for line in path.read_text().splitlines() if "request" in line]
        return lines if len(lines) >= count else []

    return await eventually(found, 10)


async def test_what_is_no_terminal_gets_json_without_a_secret(
    server: OwnServer, file: int, tmp_path: Path
) -> None:
    with serving(server, file) as gateway:
        headers = {"Authorization": f"Bearer {MARK}", "Cookie": f"key={MARK}", "X-Api-Key": MARK}
        await gateway.ask(1, f"/livez?token={MARK}&key={MARK}", **headers)
        (line,) = await lines_of(tmp_path / "log", 1)
        process = gateway.process
    told = json.loads(line)
    assert (told["event"], told["level"], told["logger"]) == ("request", "INFO", "everfold.access")
    assert (told["method"], told["path"], told["status"]) == ("GET", "/livez", 200)
    assert process.returncode is not None
    assert MARK not in (tmp_path / "log").read_text()


async def test_the_form_and_the_level_are_chosen_by_options_and_the_environment(
    server: OwnServer, file: int, tmp_path: Path
) -> None:
    with serving(server, file, "--log-format", "text", EVERFOLD_LOG_FORMAT="json") as gateway:
        await gateway.ask(1)
        (line,) = await lines_of(tmp_path / "log", 1)
    assert " INFO request method=GET path=/livez status=200 " in line

    os.truncate(file, 0)
    with serving(server, file, EVERFOLD_LOG="warning") as gateway:
        await gateway.ask(3)
        gateway.process.terminate()
        assert gateway.process.wait(10) == 0
    assert (tmp_path / "log").read_text() == ""


async def test_libraries_stay_quiet_at_debug(server: OwnServer, file: int, tmp_path: Path) -> None:
    with serving(server, file, "--log-level", "DEBUG") as gateway:
        await gateway.ask(20)
        await lines_of(tmp_path / "log", 20)
    loggers = {json.loads(line)["logger"] for line in (tmp_path / "log").read_text().splitlines()}
    assert {name.partition(".")[0] for name in loggers} == {"everfold"}


async def test_a_pipe_that_nobody_reads_blocks_no_answer(server: OwnServer) -> None:
    reader, end = os.pipe()
    with serving(server, end) as gateway:
        # Three times what a pipe holds.
        assert set(await gateway.ask(500, "/" + "x" * 400)) == {404}
        gateway.process.terminate()
        assert gateway.process.wait(15) == 0
    os.close(reader)
    os.close(end)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-"])
async def test_a_full_or_closed_standard_error_ends_nothing(server: OwnServer, lost: str) -> None:
    with serving(server, None, before=("sh", "-c", f'exec "$0" "$@" {lost}')) as gateway:
        assert set(await gateway.ask(20)) == {200}
        gateway.process.terminate()
        assert gateway.process.wait(15) == 0


async def test_a_reader_that_has_gone_ends_nothing(server: OwnServer) -> None:
    reader, end = os.pipe()
    with serving(server, end) as gateway:
        os.close(reader)
        assert set(await gateway.ask(20)) == {200}
    os.close(end)
