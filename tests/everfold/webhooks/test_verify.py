"""What a receiver believes: signed, whole, fresh, and nothing else."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from everfold import Failure, Misconfigured, SignatureInvalid
from everfold.projector.job.job import Job
from everfold.sinks.messages import public_state
from everfold.sinks.signing import read_secret, sign
from everfold.webhooks import verify

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()
NEXT = "whsec_" + base64.b64encode(b"the next one, long enough").decode()
JOB = Job(
    job_id="j1",
    seq=4,
    status="failed",
    user="ada",
    metadata={"order": 7},
    error=Failure(code="stalled", message="no news", retryable=True),
    submitted_at_ms=1_795_405_758_900,
    ended_at_ms=1_795_405_759_000,
)
BODY = msgspec.json.encode(
    {"type": "job.failed", "timestamp": "2026-11-22T20:29:19.000Z", "data": public_state(JOB)}
)


def signed(body: bytes = BODY, secret: str = SECRET, at_s: float | None = None) -> dict[str, str]:
    return sign([read_secret(secret)], "msg_1", int(at_s or time.time()), body)


def test_a_message_is_read_as_the_job_that_it_tells_of() -> None:
    message = verify(BODY, signed(), SECRET)

    assert (message.id, message.type) == ("msg_1", "job.failed")
    assert message.at == datetime(2026, 11, 22, 20, 29, 19, tzinfo=UTC)
    assert message.job == JOB


def test_what_the_reference_implementation_signs_is_right() -> None:
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, BODY.decode())
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": f"v1a,other {signature}",
    }

    assert verify(BODY, headers, [NEXT, SECRET]).job == JOB


def test_a_test_message_tells_of_no_job() -> None:
    body = b'{"type":"everfold.test","timestamp":"2026-11-22T20:29:19Z","data":{}}'

    assert verify(body, signed(body), SECRET).job is None


def test_a_status_of_a_newer_version_and_more_fields_are_read() -> None:
    body = BODY.replace(b'"failed"', b'"dreaming","more":1', 1).replace(b"job.failed", b"job.x")
    message = verify(body, signed(body), SECRET)

    assert message.job is not None
    assert message.job.to_dict()["status"] == "dreaming"


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (BODY + b" ", signed, "signature"),
        (BODY, lambda: signed(secret=NEXT), "signature"),
        (BODY, lambda: {**signed(), "webhook-id": "msg_2"}, "signature"),
        (BODY, lambda: {**signed(), "webhook-signature": "v1,"}, "signature"),
        (BODY, lambda: {**signed(), "webhook-signature": "v1,é"}, "signature"),
        # As servers hand on bytes of a header that are no UTF-8.
        (BODY, lambda: {**signed(), "webhook-signature": "v1,\udcff"}, "signature"),
        (BODY, lambda: {**signed(), "webhook-id": "msg_\udcff"}, "webhook-id"),
        (BODY, dict, "header"),
        (BODY, lambda: {**signed(), "webhook-timestamp": "yesterday"}, "no time"),
        (BODY, lambda: {**signed(), "webhook-timestamp": "٣"}, "no time"),
        (BODY, lambda: {**signed(), "webhook-timestamp": "9" * 400}, "no time"),
        (BODY, lambda: signed(at_s=time.time() - 400), "old"),
        (BODY, lambda: signed(at_s=time.time() + 400), "future"),
        (b"[]", lambda: signed(b"[]"), "body"),
        (b"\xff", lambda: signed(b"\xff"), "body"),
        (b'{"type":"job.x","data":{"job_id":7}}',
         lambda: signed(b'{"type":"job.x","data":{"job_id":7}}'), "body"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(
    body: bytes, headers: Callable[[], dict[str, str]], why: str
) -> None:
    with pytest.raises(SignatureInvalid, match=why):
        verify(body, headers(), SECRET)  # made now: the suite takes longer than a message counts


def test_an_old_message_is_taken_by_who_asks_for_it() -> None:
    assert verify(BODY, signed(at_s=1_000_000_000), SECRET, tolerance_s=1e12).job == JOB


def test_a_secret_that_is_none_is_a_setting_to_be_changed() -> None:
    with pytest.raises(Misconfigured, match="whsec_"):
        verify(BODY, signed(), "whsec_short")


@given(
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
                    st.text(max_size=60)),
)  # fmt: skip
def test_nothing_that_strangers_send_raises_anything_else(
    body: bytes, headers: dict[str, str]
) -> None:
    with pytest.raises(SignatureInvalid):
        verify(body, headers, SECRET)
