"""`everfold sink` and `everfold subscriptions` as people and programs meet them."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from everfold.streams.appending.log import Log
from tests.everfold.running import Everfold, ended
from tests.everfold.sinks.receiver import Receiver
from tests.everfold.sinks.test_webhook import SECRET, verified
from tests.projector.jobs import make_jobs, work
from tests.projector.subscribing.listening import taken
from tests.support.servers import OwnServer
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(server: OwnServer) -> AsyncIterator[Log]:
    async with Log.open(server.url) as log:
        yield log


def statuses(path: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(path) as connection:
        try:
            found = connection.execute("SELECT status, seq FROM everfold_jobs").fetchall()
        except sqlite3.OperationalError:
            return []  # not made yet
    connection.close()
    return found


async def test_sql_runs_until_a_signal_and_subscriptions_show_it(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    await make_jobs(log, 5)
    await work(log)
    running = everfold("sink", "sql", "--url", f"sqlite:///{path}", "--events")
    await running.line("sink sql: sql sqlite+aiosqlite")
    await eventually(lambda: statuses(path) == [("succeeded", 10)] * 5, 15)
    await taken(log, "sql")
    (row,) = [json.loads(line) for line in await ended(everfold("subscriptions", "ls", "--json"))]
    assert (row["subscription"], row["consumers"], row["behind_events"]) == ("sql", 1, 0)
    shown = await ended(everfold("subscriptions", "show", "sql"))
    assert any("types job.submitted" in line for line in shown)
    running.send(signal.SIGTERM)
    assert await ended(running) is not None
    listed = await ended(everfold("subscriptions", "ls"))
    assert any("sql" in line and "none" in line for line in listed)


async def test_doctor_says_how_far_each_subscription_is_and_what_to_do(
    everfold: Everfold, log: Log, tmp_path: Path
) -> None:
    running = everfold("sink", "sql", "--url", f"sqlite:///{tmp_path / 'jobs.db'}")
    await running.line("sink sql")
    running.send(signal.SIGINT)
    await ended(running)
    await make_jobs(log, 3)
    found = [json.loads(line) for line in await ended(everfold("doctor", "--json"), code=1)]
    (told,) = [row for row in found if row["what"] == "subscription sql"]
    assert told["found"].startswith("3 events behind")
    assert told["advice"] == "start it again, or remove it: `everfold subscriptions rm sql`"
    assert await ended(everfold("subscriptions", "rm", "sql")) == ["sql is removed"]
    found = [json.loads(line) for line in await ended(everfold("doctor", "--json"), code=1)]
    assert not [row for row in found if row["what"] == "subscription sql"]


@pytest.mark.long
async def test_a_parked_message_is_listed_retried_and_skipped(
    everfold: Everfold, log: Log, receiver: Receiver
) -> None:
    receiver.answer = lambda _: web.Response(status=410)
    jobs = await make_jobs(log, 2)
    hook = ("--url", receiver.url, "--allow-private", "--start", "beginning")
    running = everfold("sink", "webhook", *hook, EVERFOLD_SINK_WEBHOOK_SECRET=SECRET)
    await running.line("sink webhook")

    async def listed() -> list[dict[str, object]]:
        lines = await ended(everfold("subscriptions", "parked", "webhook", "--json"))
        return [json.loads(line) for line in lines]

    await eventually(lambda: len(receiver.messages) == 2, 15)
    found = await listed()
    assert {row["job_id"] for row in found} == set(jobs)
    shown = await ended(everfold("subscriptions", "parked", "webhook"))
    assert any("410 Gone" in line for line in shown)
    receiver.answer = lambda _: web.Response(status=200)
    (line,) = await ended(everfold("subscriptions", "retry", "webhook", jobs[0]))
    assert line == f"{jobs[0]} is tried again"
    await eventually(lambda: len(receiver.messages) == 3, 15)
    await ended(everfold("subscriptions", "skip", "webhook", jobs[1]))
    await taken(log, "webhook")
    assert await ended(everfold("subscriptions", "parked", "webhook")) == ["no job is parked"]
    assert len(receiver.messages) == 3
    refused = everfold("subscriptions", "rm", "webhook")
    await ended(refused, code=2)
    assert "stop that first" in " ".join(refused.error_lines)


async def test_a_reset_sends_everything_again(
    everfold: Everfold, log: Log, receiver: Receiver
) -> None:
    await make_jobs(log, 3)
    hook = ("--url", receiver.url, "--allow-private", "--types", "submitted")
    running = everfold("sink", "webhook", *hook, EVERFOLD_SINK_WEBHOOK_SECRET=SECRET)
    await running.line("sink webhook")
    assert receiver.messages == []  # it begins with what happens from now on
    (line,) = await ended(
        everfold("subscriptions", "reset", "webhook", "--to", "2020-01-01T00:00:00Z")
    )
    assert line == "webhook begins again at 2020-01-01T00:00:00Z; 0 held jobs forgotten"
    await eventually(lambda: len(receiver.messages) == 3, 15)


async def test_webhook_test_sends_one_message(everfold: Everfold, receiver: Receiver) -> None:
    hook = ("sink", "webhook", "test", "--url", receiver.url, "--secret", SECRET)
    (line,) = await ended(everfold(*hook, "--allow-private"))
    assert line.startswith("accepted: 204 after")
    assert verified(receiver.messages[0], SECRET)["type"] == "everfold.test"
    receiver.answer = lambda _: web.Response(status=404)
    assert await ended(everfold(*hook, "--allow-private"), code=1) == [
        "not accepted: the receiver answers 404"
    ]


async def test_webhook_test_takes_the_variables_of_the_sink(
    everfold: Everfold, receiver: Receiver
) -> None:
    words = {"URL": receiver.url, "SECRET": SECRET, "ALLOW_PRIVATE": "true"}
    of_sink = {f"EVERFOLD_SINK_WEBHOOK_{name}": word for name, word in words.items()}
    await ended(everfold("sink", "webhook", "test", **of_sink))
    assert verified(receiver.messages[0], SECRET)["type"] == "everfold.test"
    own = {"EVERFOLD_SINK_WEBHOOK_TEST_URL": "http://127.0.0.1:1"}
    await ended(everfold("sink", "webhook", "test", **of_sink, **own), code=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sink", "webhook", "--url", "https://example.com/hook"), "webhooks are signed"),
        (("sink", "sql", "--url", "nonsense"), "is not a database address"),
        (("sink", "webhook", "--url", "https://e.com", "--types", "done"), "no event type 'done'"),
        (("subscriptions", "show", "nobody"), "there is no subscription 'nobody' here"),
        (("subscriptions", "reset", "x", "--to", "soon"), "'soon' is not a point to begin at"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    everfold: Everfold, log: Log, arguments: tuple[str, ...], sentence: str
) -> None:
    assert log.keys.namespace, "there is one"
    program = everfold(*arguments, EVERFOLD_SINK_WEBHOOK_SECRET=SECRET * ("--types" in arguments))
    await ended(program, code=3 if "nobody" in arguments else 2)
    assert len(program.error_lines) == 1
    assert sentence in " ".join(program.error_lines)


async def test_up_runs_the_sinks_that_are_asked_for(
    everfold: Everfold, log: Log, receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.db"
    receiver.answer = lambda _: web.json_response({"status": "Ok"})
    running = everfold(
        *("up", "--comfyui", "http://127.0.0.1:1", "--sql.url", f"sqlite:///{path}"),
        *("--webhook.url", receiver.url, "--webhook.allow-private"),
        *("--posthog.host", receiver.url),
        EVERFOLD_UP_WEBHOOK_SECRET=SECRET,
        EVERFOLD_UP_POSTHOG_KEY="phc_x",
    )
    for about in ("sink     sql", "sink     webhook", "sink     posthog"):
        await running.line(about, within_s=20)
    made = await log.submit({"1": {"class_type": "A", "inputs": {}}}, queue="elsewhere")
    await eventually(lambda: statuses(path) == [("queued", 1)], 15)
    await eventually(lambda: len(receiver.messages) == 2, 15)
    assert {message.path for message in receiver.messages} == {"/", "/batch/"}
    assert any(made.job_id.encode() in message.body for message in receiver.messages)
    running.send(signal.SIGTERM)
    await ended(running)
