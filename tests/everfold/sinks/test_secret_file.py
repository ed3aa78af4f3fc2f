"""The secret of a sink may stand in a file, as containers have them mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everfold.sinks.callback_secret import FILE, secret_file
from everfold.streams.appending.log import Log
from everfold.webhooks import verify
from tests.everfold.running import Everfold, ended
from tests.everfold.sinks.receiver import Receiver
from tests.everfold.sinks.test_callbacks import SECRET
from tests.projector.jobs import GRAPH, work
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


async def test_callbacks_are_signed_with_the_secret_of_the_file(
    everfold: Everfold, server: OwnServer, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    running = everfold("sink", "callbacks", "--secret-file", str(file), "--allow-private")
    await running.line("sink callbacks")
    async with Log.open(server.url) as log:
        await log.submit(GRAPH, callback=f"{receiver.url}/done")
        await work(log)
    await eventually(lambda: len(receiver.messages) > 0, 20)
    (message,) = receiver.messages
    assert verify(message.body, message.headers, SECRET).type == "job.succeeded"


@pytest.mark.parametrize("content", [None, "", "no secret"])
async def test_a_file_without_a_secret_is_named(
    everfold: Everfold, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    running = everfold("sink", "callbacks", "--secret-file", str(file))
    assert await ended(running, 2) == []
    assert len(running.error_lines) == 1
    assert "secret" in running.error_lines[0]
    assert "no secret" not in running.error_lines[0]


async def test_what_a_killed_process_left_does_not_keep_the_next_one_from_its_secret(
    tmp_path: Path,
) -> None:
    (tmp_path / f"{FILE}.{os.getpid()}").write_text("whsec_")  # it had the same id
    path, secret = secret_file(tmp_path)
    assert secret_file(tmp_path)[1].reveal() == secret.reveal() == path.read_text().strip()
