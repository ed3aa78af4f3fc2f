"""What the sockets of a gateway are told of jobs that others watch, too."""

from __future__ import annotations

import asyncio
import json

import pytest

from everfold import Everfold
from everfold.streams.appending.log import UNLEASED
from everfold.streams.events.event import Failed, Failure
from everfold.streams.reading.reader import job_events
from everfold.web.caller import Caller
from everfold.web.comfyui.socket.frames import Text
from everfold.web.comfyui.socket.hub import Hub, Member
from everfold.web.comfyui.socket.outbox import Outbox
from everfold.web.feeds.feeds import Feeds
from tests.support.programs.stack import sleeper

pytestmark = pytest.mark.anyio


async def test_a_job_that_somebody_watches_ahead_of_the_log_is_told_of_in_full(
    everfold: Everfold,
) -> None:
    async with Feeds(everfold.log) as feeds, asyncio.timeout(20):
        hub = Hub(everfold, feeds)
        member = Member(Caller(role="user", user="ann"), "window", Outbox())
        await hub.join(member)
        feeds.listeners.clear()  # the log is told late, below
        made = await everfold.submit(sleeper(1), user="ann", metadata={"client_id": "window"})
        error = Failure(code="node_error", message="no")
        await everfold.log.append(made.job_id, Failed(failure=error), epoch=UNLEASED)
        async with feeds.open(made.job_id) as feed:
            assert feed.job.is_terminal
            hub._note((await job_events(everfold.log, made.job_id))[0])

        told = list[str]()
        while "executing" not in told:
            frame = await member.outbox.next()
            assert isinstance(frame, Text)
            told.append(json.loads(frame.text)["type"])
    assert "execution_error" in told
    assert feeds.watched == 0
