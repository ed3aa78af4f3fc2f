"""What operators did to a namespace, and who: a bounded stream beside the log.

Rule: an act is noted right before it is done. An entry whose act then failed is possible; an act
without an entry is not. Entries that another program wrote are left out.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from everfold.streams.appending.log import Log
from everfold.streams.border.plain import Plain
from everfold.streams.events.limits import BACKEND_LIMIT, REASON_LIMIT
from everfold.streams.events.record import entry_time_ms
from everfold.streams.redis.pages import entry_page

ACTS_LIMIT = 10_000
"""About so many acts are kept; the oldest are dropped."""

Verb = Literal[
    "retire_backend",
    "drain_backend",
    "return_backend",
    "drain_runner",
    "give_up",
    "pause_queue",
    "resume_queue",
    "set_priority",
    "set_limit",
    "remove_limit",
    "cancel_jobs",
    "rerun_jobs",
    "erase_user",
    "retry_held",
    "skip_held",
    "add_key",
    "revoke_key",
]
"""What an operator can do. A new one is added here."""


class Act(Plain, Struct, frozen=True, kw_only=True):
    """One act of an operator."""

    at_ms: int
    """Server time, Unix ms."""
    actor: str
    verb: str
    """A `Verb`, or one of a later version."""
    subject: str
    """What it was done to: a backend, a runner, a queue, a job, or a selection of jobs."""
    detail: str = ""


async def note_act(log: Log, verb: Verb, subject: str, detail: str = "") -> None:
    """Write down that `log.actor` is about to do this. Raises a leaf of Unavailable: TooFewReplicas
    where it is noted, but may be lost, and then nothing is to be done.

    Texts are cut to BACKEND_LIMIT and REASON_LIMIT characters.
    """
    texts = ("subject", subject[:BACKEND_LIMIT], "detail", detail[:REASON_LIMIT])
    entry = ("actor", log.actor, "verb", verb, *texts)
    kept = ("MAXLEN", "~", ACTS_LIMIT)
    await log.write("XADD", log.keys.audit(), *kept, "*", *entry)


async def acts(log: Log, since_ms: int = 0) -> list[Act]:
    """Return the acts that are kept from this server time on, the oldest first.

    Raises a leaf of Unavailable.
    """
    found, first = list[Act](), str(max(0, since_ms))
    while page := await entry_page(log.redis, log.keys.audit(), first):
        found += [act for entry_id, flat in page if (act := _act(entry_id, flat or ()))]
        first = f"({page[-1][0].decode()}"
    return found


def _act(entry_id: bytes, flat: list[bytes] | tuple[()]) -> Act | None:
    values = [value.decode(errors="replace") for value in flat]
    fields = dict(zip(values[::2], values[1::2], strict=False))
    if not {"actor", "verb", "subject"} <= fields.keys():
        return None
    return Act(
        at_ms=entry_time_ms(entry_id.decode()),
        actor=fields["actor"],
        verb=fields["verb"],
        subject=fields["subject"],
        detail=fields.get("detail", ""),
    )
