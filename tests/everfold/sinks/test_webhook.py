"""Webhooks: signed by the standard, the same however often, never into a private network."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import pytest
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from everfold.projector.subscribing.status import held_jobs
from everfold.projector.subscribing.subscription import GiveUp, TryLater
from everfold.sinks.addresses import check_url
from everfold.sinks.http_client import ANSWER_LIMIT_BYTES
from everfold.sinks.receiver import Refusal
from everfold.sinks.signing import read_secret, sign
from everfold.sinks.webhook import WebhookSink
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured
from everfold.streams.reading.reader import job_events
from tests.everfold.sinks.receiver import Message, Receiver
from tests.projector.jobs import GRAPH, add_raw, make_jobs, work
from tests.projector.subscribing.listening import SOON_S, consuming, taken
from tests.support.programs.programs import StartProgram
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
NEXT = "whsec_" + base64.b64encode(b"the next one, long enough").decode()


@pytest.fixture
async def sink(receiver: Receiver) -> AsyncIterator[WebhookSink]:
    async with aclosing(sink_to(receiver)) as sink:
        yield sink


def sink_to(receiver: Receiver, **options: float) -> WebhookSink:
    return WebhookSink(
        f"{receiver.url}/hook",
        [SECRET, NEXT],
        start="beginning",
        retry_s=SOON_S,
        allow_private=True,
        **options,  # type: ignore[arg-type]
    )


def verified(message: Message, secret: str) -> dict[str, object]:
    """Return what the reference implementation reads, or raise as it does."""
    found: dict[str, object] = Webhook(secret).verify(message.body, message.headers)
    return found


async def test_each_event_is_a_message_that_the_reference_implementation_accepts(
    log: Log, receiver: Receiver, sink: WebhookSink
) -> None:
    made = await log.submit(GRAPH, kind="portrait", user="ada", metadata={"shop": 7})
    await work(log)
    async with consuming(log, sink):
        await taken(log, "webhook")
    told = [verified(message, SECRET) for message in receiver.messages]
    assert told == [verified(message, NEXT) for message in receiver.messages]
    assert [one["type"] for one in told] == ["job.submitted", "job.started", "job.succeeded"]
    last = told[-1]["data"]
    assert isinstance(last, dict)
    assert (last["job_id"], last["status"], last["user_id"]) == (made.job_id, "succeeded", "ada")
    assert last["metadata"] == {"shop": 7}
    assert str(told[-1]["timestamp"]).endswith("Z")
    with pytest.raises(WebhookVerificationError):
        verified(receiver.messages[0], "whsec_" + base64.b64encode(b"x" * 24).decode())
    receiver.messages[0].headers["webhook-id"] = "msg_other"
    with pytest.raises(WebhookVerificationError):
        verified(receiver.messages[0], SECRET)


async def test_a_message_has_the_same_id_and_body_in_every_try(
    log: Log, receiver: Receiver, sink: WebhookSink
) -> None:
    (job_id,) = await make_jobs(log, 1)
    receiver.answer = lambda _: web.Response(status=500 if len(receiver.messages) < 3 else 200)
    async with consuming(log, sink):
        await taken(log, "webhook")
    (event,) = await job_events(log, job_id)
    assert len(receiver.messages) == 3
    assert {m.headers["webhook-id"] for m in receiver.messages} == {
        f"msg_{json.loads(event.payload)['id']}"
    }
    assert len({message.body for message in receiver.messages}) == 1


async def test_an_id_that_no_header_can_hold_is_quoted(
    log: Log, receiver: Receiver, sink: WebhookSink
) -> None:
    (job_id,) = await make_jobs(log, 1)
    event = {"type": "job.started", "id": "ü\r\nhost: x", "actor": "a", "v": 1, "attempt": 1}
    await add_raw(log, job_id, 2, json.dumps(event).encode())
    async with consuming(log, sink):
        await taken(log, "webhook")
    message = receiver.messages[-1]
    assert message.headers["webhook-id"] == "msg_%C3%BC%0D%0Ahost:%20x"
    verified(message, SECRET)


async def test_a_failing_message_holds_its_job_in_order_and_is_parked_at_last(
    log: Log, receiver: Receiver, sink: WebhookSink
) -> None:
    jobs = await make_jobs(log, 4)
    await work(log)

    def answer(message: Message) -> web.Response:
        broken = jobs[0].encode() in message.body and b'"job.started"' in message.body
        return web.Response(status=503 if broken else 200)

    receiver.answer = answer
    async with consuming(log, sink):
        await eventually(lambda: held_jobs(log, "webhook", only_parked=True), 20)
        await eventually(lambda: len(receiver.messages) == 3 * 3 + 1 + 1 + len(SOON_S), 10)
    (found,) = await held_jobs(log, "webhook")
    assert (found.job_id, found.held.why) == (jobs[0], "the receiver answers 503")
    told = [m.json["type"] for m in receiver.messages if jobs[0].encode() in m.body]
    assert told == ["job.submitted"] + ["job.started"] * 4


async def test_a_receiver_may_say_when_to_come_again_or_never(
    receiver: Receiver, sink: WebhookSink
) -> None:
    receiver.answer = lambda _: web.Response(status=429, headers={"retry-after": "120"})
    with pytest.raises(TryLater, match="answers 429") as raised:
        await sink.post("msg_1", b"{}")
    assert raised.value.after_s == 120
    receiver.answer = lambda _: web.Response(
        status=503, headers={"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}
    )
    with pytest.raises(TryLater) as raised:
        await sink.post("msg_1", b"{}")
    assert raised.value.after_s == 86_400
    receiver.answer = lambda _: web.Response(status=410)
    with pytest.raises(GiveUp, match="410 Gone"):
        await sink.post("msg_1", b"{}")


async def test_redirects_are_not_followed(receiver: Receiver, sink: WebhookSink) -> None:
    receiver.answer = lambda _: web.Response(status=302, headers={"location": "/elsewhere"})
    with pytest.raises(Refusal, match="answers 302; redirects are not followed"):
        await sink.post("msg_1", b"{}")
    assert [message.path for message in receiver.messages] == ["/hook"]


async def test_a_receiver_that_says_nothing_is_given_up_after_a_while(receiver: Receiver) -> None:
    receiver.silent = True
    async with aclosing(sink_to(receiver, timeout_s=0.2)) as sink:
        with pytest.raises(Refusal, match=r"no answer within 0\.2 s|ReadTimeout"):
            await sink.post("msg_1", b"{}")


async def test_an_answer_without_end_is_not_read_to_its_end(
    receiver: Receiver, sink: WebhookSink
) -> None:
    big = b"x" * (200 * ANSWER_LIMIT_BYTES)
    receiver.answer = lambda _: web.Response(body=big)
    assert await sink.post("msg_1", b"{}") == 200


async def test_a_receiver_that_is_not_there_is_a_failure_like_any_other(sink: WebhookSink) -> None:
    async with aclosing(
        WebhookSink("http://127.0.0.1:1/x", [SECRET], allow_private=True)
    ) as nowhere:
        with pytest.raises(Refusal, match="ConnectError"):
            await nowhere.post("msg_1", b"{}")


async def test_a_receiver_in_a_private_network_is_never_connected_to(receiver: Receiver) -> None:
    address = receiver.url.replace("http://", "https://")
    async with aclosing(WebhookSink(address, [SECRET])) as sink:
        with pytest.raises(GiveUp, match=r"resolves to 127\.0\.0\.1"):
            await sink.post("msg_1", b"{}")
    assert receiver.messages == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/hook", "would send jobs unencrypted"),
        ("ftp://example.com", "is not the address of a receiver"),
        ("example.com/hook", "is not the address of a receiver"),
        ("https://user:word@example.com", "must not carry a password"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("secret", "why"), [("whsec_!!", "followed by base64"), ("whsec_AAAA", "24 to 64 bytes")]
)
def test_a_secret_that_cannot_be_right_is_refused_without_showing_it(secret: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as raised:
        read_secret(secret)
    assert secret not in str(raised.value)


def test_a_signature_is_the_one_of_the_specification() -> None:
    # The example of the specification's reference implementations.
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.long
async def test_killed_at_any_point_every_message_comes_and_repeats_have_the_same_id(
    log: Log, receiver: Receiver, start_program: StartProgram
) -> None:
    jobs: list[str] = []
    command = ("-m", "everfold", "sink", "webhook", "--url", receiver.url, "--allow-private")
    environ = {
        "REDIS_URL": log.url.reveal(),
        "EVERFOLD_NAMESPACE": log.keys.namespace,
        "EVERFOLD_SINK_WEBHOOK_SECRET": SECRET,
        "EVERFOLD_SINK_WEBHOOK_START": "beginning",
    }
    for _ in range(3):
        seen = len(receiver.messages)
        program = start_program(*command, environ=environ)
        await program.line("sink webhook", within_s=20)
        jobs += await make_jobs(log, 10)
        await work(log)
        await eventually(partial(more_than, receiver, seen + 5), 20)
        program.kill()
    program = start_program(*command, environ=environ)
    await eventually(lambda: len(ids(receiver)) == 3 * len(jobs), 30)
    await taken(log, "webhook")
    program.send(signal.SIGTERM)
    assert await program.end() == 0, program
    for job_id in jobs:
        told = [m.json["type"] for m in receiver.messages if job_id.encode() in m.body]
        assert list(dict.fromkeys(told)) == ["job.submitted", "job.started", "job.succeeded"]


def more_than(receiver: Receiver, count: int) -> bool:
    return len(receiver.messages) > count


def ids(receiver: Receiver) -> set[str]:
    return {message.headers["webhook-id"] for message in receiver.messages}
