"""A job's own URL is told of its end, whatever other jobs' receivers do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import anyio
import pytest
from aiohttp import web

from everfold.client import Everfold
from everfold.projector.subscribing.status import held_jobs
from everfold.sinks.callbacks import HOST_MESSAGES_AT_ONCE, CallbackSink
from everfold.streams.appending.log import Log
from everfold.streams.errors import IdempotencyConflict, InvalidName, TooLarge
from everfold.streams.reading.reader import job_events
from everfold.webhooks import Message, verify
from tests.everfold.sinks.receiver import Receiver
from tests.projector.jobs import GRAPH, work
from tests.projector.subscribing.listening import SOON_S, consuming, taken
from tests.support.network.ciphers import CIPHER
from tests.support.programs.programs import Program, StartProgram
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
HIDDEN = "7f3c-hidden"


def sink_of(log: Log, **options: object) -> CallbackSink:
    chosen = {"retry_s": SOON_S, "allow_private": True, "timeout_s": 5.0, **options}
    return CallbackSink(log, [SECRET], **chosen)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def sending(log: Log, **options: object) -> AsyncIterator[None]:
    async with aclosing(sink_of(log, **options)) as sink, consuming(log, sink):
        yield


async def submit(log: Log, url: str) -> str:
    return (await log.submit(GRAPH, user="ada", callback=url)).job_id


def told(receiver: Receiver) -> list[Message]:
    return [verify(one.body, one.headers, SECRET) for one in receiver.messages]


@pytest.fixture
def dead() -> Iterator[str]:
    """A host that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x"


async def test_the_end_of_a_job_is_told_at_its_url_and_of_others_nothing(
    log: Log, receiver: Receiver
) -> None:
    job_id = await submit(log, f"{receiver.url}/done?token={HIDDEN}")
    await log.submit(GRAPH)
    await work(log)
    async with sending(log):
        await taken(log, "callbacks")

    (message,) = told(receiver)
    assert message.job is not None
    assert (message.type, message.job.job_id) == ("job.succeeded", job_id)
    assert receiver.messages[0].path == "/done"


async def test_a_url_is_shown_as_its_host_only(log: Log, redis_url: str, namespace: str) -> None:
    job_id = await submit(log, f"https://example.com/{HIDDEN}?token={HIDDEN}")
    async with Everfold.connect(redis_url, namespace=namespace) as everfold:
        job = await everfold.get(job_id)
    (record,) = await job_events(log, job_id)

    assert job.callback == "https://example.com/***"
    assert HIDDEN.encode() not in record.shown_payload
    assert HIDDEN.encode() in record.payload


async def test_a_dead_host_holds_up_no_other(log: Log, receiver: Receiver, dead: str) -> None:
    stuck = [await submit(log, dead) for _ in range(40)]
    ours = [await submit(log, receiver.url) for _ in range(20)]
    await work(log, steps=0)

    async def none_of_ours_is_held() -> bool:
        held = {one.job_id for one in await held_jobs(log, "callbacks")}
        return len(receiver.messages) == len(ours) and held <= set(stuck)

    async with sending(log, timeout_s=30.0):  # so long takes one message to the dead host
        await eventually(none_of_ours_is_held, within_s=25)
    assert {one.job.job_id for one in told(receiver) if one.job} == set(ours)


async def test_many_receivers_that_do_not_answer_hold_up_no_other(
    log: Log, receiver: Receiver
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
            for _ in range(HOST_MESSAGES_AT_ONCE):
                await submit(log, f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        await work(log, steps=0)
        async with aclosing(sink_of(log, timeout_s=30.0)) as sink, consuming(log, sink):
            await eventually(lambda: sink._at_hosts.total() == 8 * HOST_MESSAGES_AT_ONCE, 20)
            await submit(log, receiver.url)
            await work(log, steps=0)
            await eventually(lambda: len(receiver.messages) == 1, 10)


async def test_outcomes_that_nobody_asks_for_do_not_stop_the_sending(
    log: Log, receiver: Receiver
) -> None:
    async def taken_by(status: int) -> int:
        return status

    async with aclosing(sink_of(log)) as sink:
        left = {f"msg_{number}": asyncio.create_task(taken_by(200)) for number in range(600)}
        sink._posts.update(left)
        await asyncio.gather(*left.values())
        await submit(log, receiver.url)
        await work(log, steps=0)
        async with consuming(log, sink):
            await eventually(lambda: len(receiver.messages) == 1, within_s=10)
        assert len(sink._posts) <= 501


async def test_a_slow_receiver_gets_one_message_only(log: Log, receiver: Receiver) -> None:
    async def later() -> None:
        await anyio.sleep(2.5)
        receiver.hang_up()

    receiver.silent = True
    await submit(log, receiver.url)
    await work(log, steps=0)
    async with sending(log), anyio.create_task_group() as tasks:
        tasks.start_soon(later)
        await taken(log, "callbacks")
    assert len(receiver.messages) == 1


@pytest.mark.parametrize("status", [500, 404, 301])
async def test_a_receiver_that_refuses_gets_it_again_and_the_job_is_parked_at_last(
    log: Log, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda _: web.Response(
        status=status, headers={"Location": f"{receiver.url}/inside"}
    )
    job_id = await submit(log, receiver.url)
    await work(log, steps=0)
    async with sending(log):

        async def is_parked() -> bool:
            return any(one.held.is_parked for one in await held_jobs(log, "callbacks"))

        await eventually(is_parked, within_s=20)
        (held,) = await held_jobs(log, "callbacks")
    assert held.job_id == job_id
    assert str(status) in held.held.why
    assert len(receiver.messages) == 1 + len(SOON_S)
    assert {message.path for message in receiver.messages} == {"/"}
    assert len({message.id for message in told(receiver)}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://127.0.0.1:1/x"])
async def test_a_private_network_is_not_entered(log: Log, url: str) -> None:
    await submit(log, url)
    await work(log, steps=0)
    async with sending(log, allow_private=False):

        async def parked() -> str:
            return "".join(one.held.why for one in await held_jobs(log, "callbacks"))

        assert "public address" in (why := await eventually(parked)) or "https://" in why


async def test_a_sealed_url_is_in_nothing_and_is_told_all_the_same(
    redis_url: str, namespace: str, receiver: Receiver
) -> None:
    async with Log.open(redis_url, namespace=namespace, cipher=CIPHER) as log:
        url = f"{receiver.url}/{HIDDEN}"
        job_id = await submit(log, url)
        (record,) = await job_events(log, job_id)
        assert HIDDEN.encode() not in record.payload
        await work(log, steps=0)
        async with sending(log):
            await taken(log, "callbacks")
        assert (await log.submit(GRAPH, user="ada", job_id=job_id, callback=url)).created is False
    assert [one.path for one in receiver.messages] == [f"/{HIDDEN}"]


async def test_a_rerun_tells_the_same_url(
    log: Log, receiver: Receiver, redis_url: str, namespace: str
) -> None:
    job_id = await submit(log, receiver.url)
    await work(log, steps=0)
    async with Everfold.connect(redis_url, namespace=namespace) as everfold:
        again = await everfold.rerun(job_id)
    await work(log, steps=0)
    async with sending(log):
        await taken(log, "callbacks")
    assert sorted(one.job.job_id for one in told(receiver) if one.job) == sorted([job_id, again])


async def test_another_url_under_the_same_key_is_a_conflict(log: Log) -> None:
    await log.submit(GRAPH, idempotency_key="k", callback="https://a.example/1")
    with pytest.raises(IdempotencyConflict, match="callback"):
        await log.submit(GRAPH, idempotency_key="k", callback="https://a.example/2")


@pytest.mark.parametrize(
    "url",
    ["example.com", "ftp://example.com", "https://", "https://a:secretword@b/x", "http://[::1",
     "https://a b/", "https://a/\n", 7, None, b"https://a/", "https://a:99999/secretword"],
)  # fmt: skip
async def test_what_is_no_url_is_refused_at_submit_and_not_repeated(log: Log, url: object) -> None:
    with pytest.raises(InvalidName) as raised:
        await log.submit(GRAPH, callback=url)  # type: ignore[arg-type]
    assert "secretword" not in str(raised.value)
    with pytest.raises(TooLarge):
        await log.submit(GRAPH, callback="https://a/" + "x" * 2_000)


@pytest.mark.long
async def test_a_killed_sink_loses_no_message(
    log: Log, receiver: Receiver, start_program: StartProgram, redis_url: str, namespace: str
) -> None:
    def start() -> Program:
        return start_program(
            *("-m", "everfold", "sink", "callbacks", "--allow-private", "--redis-url", redis_url),
            *("--namespace", namespace, "--retry", "0.1"),
            environ={"EVERFOLD_SINK_CALLBACKS_SECRET": SECRET},
        )

    receiver.silent = True
    first = start()
    job_id = await submit(log, receiver.url)
    await work(log, steps=0)
    await eventually(lambda: receiver.messages, within_s=20)
    first.kill()
    receiver.silent = False
    start()
    await eventually(lambda: len(receiver.messages) > 1, within_s=30)
    await taken(log, "callbacks")
    assert {one.job.job_id for one in told(receiver) if one.job} == {job_id}
    assert len({one.id for one in told(receiver)}) == 1
