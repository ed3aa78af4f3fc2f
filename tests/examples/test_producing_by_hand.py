"""The redis-cli lines of docs/PRODUCING.md do what the text beside them says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import cast

import pytest

from everfold.contract import documents
from everfold.streams.appending.log import Log
from everfold.streams.events.event import Claimed, Started, Submitted, Succeeded
from everfold.streams.reading.reader import job_events
from tests.support.servers import StartServer, client

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent
LOAD = re.compile(r'(\w+)=\$\(redis-cli SCRIPT LOAD "\$\(everfold schema script (\w+)\)"\)')


def lines() -> list[str]:
    """Return the commands of the page, each on one line."""
    text = (ROOT / "docs" / "PRODUCING.md").read_text().replace("\\\n", " ")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


class Shell:
    """Runs the lines as bash and redis-cli would."""

    def __init__(self, url: str) -> None:
        self._redis = client(url)
        self._redis.response_callbacks.clear()
        self.variables: dict[str, str] = {}

    def run(self, line: str) -> object:
        if load := LOAD.fullmatch(line):
            sha = self._send("SCRIPT LOAD", documents.script(load[2]))
            self.variables[load[1]] = cast("bytes", sha).decode()
            return None
        program, *arguments = shlex.split(line)
        assert program == "redis-cli"
        filled = [self.variables[a[1:]] if a.startswith("$") else a for a in arguments]
        return self._send(*filled)

    def _send(self, *words: str) -> object:
        return cast("object", self._redis.execute_command(*words))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._redis.close()


async def test_a_job_is_claimed_renewed_told_and_ended_by_hand(own_server: StartServer) -> None:
    server = own_server()
    partitions, *loads, claim, renew, tell, end = lines()
    shell = Shell(server.url)
    async with Log.open(server.url) as log:
        await log.submit({"1": {"class_type": "A", "inputs": {}}}, job_id="order-17")
        assert shell.run(partitions) == b"24"
        for load in loads:
            shell.run(load)
        name, job = cast("tuple[bytes, list[bytes | int]]", shell.run(claim))
        assert (name, job[:3], job[4]) == (b"claimed", [b"order-17", 1, 2], b"normal")
        shell.variables["DISPATCH_ID"] = bytes(job[5]).decode()
        assert shell.run(renew) == [[b"renewed"]]
        assert [shell.run(tell)[0][0] for _ in range(2)] == [b"appended", b"duplicate"]  # type: ignore[index]
        assert shell.run(end)[0][:2] == [b"appended", 4]  # type: ignore[index]
        assert shell.run(renew) == [[b"fenced", 1]]
        kinds = [type(record.event) for record in await job_events(log, "order-17")]
        assert kinds == [Submitted, Claimed, Started, Succeeded]
    shell.close()
