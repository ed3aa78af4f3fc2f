"""What stands in a stored hash may be anything: nothing raises, and nothing is taken for a number
or an entry id that is none."""

from __future__ import annotations

import pytest

from everfold.projector.reading.lag import checkpoints, lag
from everfold.projector.subscribing.status import subscription_status
from everfold.streams.appending.log import Log
from everfold.streams.errors import WrongKeyType
from everfold.streams.events.stored_fields import stored_entry_id, stored_number
from everfold.streams.reading.readers import trimmed_to
from everfold.streams.redis.redis_errors import command

GARBAGE = (
    *(b"", b"-1", b"x", b"1.5", b"1e9", "²".encode(), b"\xff\n\x1b[2J", b"9" * 400, b"9" * 20),
    *(b"[" * 500, b'{"a": 1}', b"null", b"x" * 1_000_000, b"18446744073709551616"),
)
IDS = (b"1-", b"-1", b"1", b"1-1-1", b"1-x", b"+", b"$", b"1-18446744073709551616", b" 1-1")


def test_what_is_no_number_and_what_is_no_entry_id_is_none() -> None:
    for text in GARBAGE:
        assert stored_number({b"f": text}, b"f") is None
    for text in (*GARBAGE, *IDS):
        assert stored_entry_id({b"f": text}, b"f") is None
    assert (stored_number({}, b"f"), stored_entry_id({}, b"f")) == (0, "0-0")
    assert stored_number({b"f": b"18446744073709551615"}, b"f") == 2**64 - 1
    assert stored_entry_id({b"f": b"5-18446744073709551615"}, b"f") == "5-18446744073709551615"


@pytest.mark.anyio
async def test_what_is_shown_of_a_partition_survives_garbage(
    redis_url: str, namespace: str
) -> None:
    async with Log.open(redis_url, namespace=namespace, partitions=2) as log:
        await log.submit({"1": {"class_type": "A", "inputs": {}}})
        keys = (log.keys.projector(0), log.keys.subscription(0, "s").checkpoint())
        for text in GARBAGE:
            for key in keys:
                for field in ("checkpoint", "until_ms", "folded", "delivered", "failed", "owner"):
                    await command(log.redis, "HSET", key, field, text)
            assert [row.partition for row in await lag(log)] == [0, 1]
            assert len(await checkpoints(log)) == len(await subscription_status(log, "s")) == 2
            for field in ("to", "count"):
                await command(log.redis, "HSET", log.keys.trimmed(0), field, text)
                with pytest.raises(WrongKeyType, match="trimmed"):
                    await trimmed_to(log, 0)
                await command(log.redis, "HDEL", log.keys.trimmed(0), field)
