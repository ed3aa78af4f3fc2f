"""An event as the log keeps it: the entry around the JSON.

An entry has five short fields: `j` job id, `s` sequence number within the job, `e` epoch,
`p` entry id of the job's previous event, `d` the event's JSON. The `p` fields chain a job's
events, so that reading one job costs as much as the job has events, however busy its partition.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, json
from msgspec.structs import replace

from everfold.streams.border.addresses import masked_receiver
from everfold.streams.border.sealed_form import is_sealed
from everfold.streams.events.codec import Unreadable, decode
from everfold.streams.events.event import Event, Submitted
from everfold.streams.events.json_text import NotJson, decoder

NO_ENTRY = "0-0"
"""Entry id that stands where there is none, and before all others."""

FIELDS = [b"j", b"s", b"e", b"p", b"d"]
"""Names of an entry's fields, in their order."""


SEALED_WORD = "(sealed)"
"""What is shown in the place of a text that is sealed."""

_read_object = decoder(dict[str, object])

RawEntry = tuple[bytes, list[bytes]]
"""Entry id, and the flat list of the entry's fields, as the server sends them."""


class Recorded(Struct, frozen=True, gc=False):
    """One event of one job, read from the log."""

    entry_id: str
    job_id: str
    seq: int
    """1, 2, 3 ... within the job, without gap or repeat."""
    epoch: int
    """The fencing token of the lease under which it was appended; 0 before the first claim."""
    previous: str
    """Entry id of event seq - 1, or 0-0."""
    event: Event | Unreadable
    payload: bytes
    """The event's JSON as stored: what archives and replays pass on."""

    @property
    def shown_payload(self) -> bytes:
        """The event's JSON for people and other programs: of a callback only the host."""
        event = self.event
        if not isinstance(event, Submitted) or not event.callback:
            return self.payload
        shown = shown_callback(event)
        try:
            return json.encode({**_read_object(self.payload), "callback": shown})
        except NotJson:  # in a field that this version does not know
            return json.encode(replace(event, callback=shown))

    @property
    def time_ms(self) -> int:
        """Redis server time of the append, in Unix milliseconds."""
        return int(self.entry_id.partition("-")[0])


def shown_callback(event: Submitted) -> str:
    """Return what may be shown of the URL that is told of a job's end; empty for none."""
    url = event.callback or ""
    return SEALED_WORD if is_sealed(url) else masked_receiver(url) if url else ""


def entry_time_ms(entry_id: str) -> int:
    """Return the Redis server time of an entry id, in Unix milliseconds."""
    return int(entry_id.partition("-")[0])


def entry_order(entry_id: str) -> tuple[int, int]:
    """Return an entry id as (milliseconds, counter): ids compare as these, not as text."""
    milliseconds, _, counter = entry_id.partition("-")
    return int(milliseconds), int(counter or 0)


def entry_before(entry_id: str) -> str:
    """Return the greatest entry id below one; 0-0 below 0-0."""
    milliseconds, counter = entry_order(entry_id)
    if counter > 0:
        return f"{milliseconds}-{counter - 1}"
    return f"{milliseconds - 1}-{2**64 - 1}" if milliseconds > 0 else NO_ENTRY


def recorded(entry_id: bytes, flat: Sequence[bytes] | None) -> Recorded:
    """Read one stream entry; never raises. `flat` lists its fields as name, value, name, value.

    An entry that is not Everfold's, or that was trimmed (`flat` is None), becomes an Unreadable
    event with an empty job id and sequence number 0.
    """
    try:
        job_id, seq, epoch, previous, payload = _values(flat or ())
        return Recorded(
            entry_id.decode(),
            job_id.decode(),
            int(seq),
            int(epoch),
            previous.decode(),
            decode(payload),
            payload,
        )
    except (KeyError, ValueError):
        return _foreign(entry_id, flat or ())


def _values(flat: Sequence[bytes]) -> Sequence[bytes]:
    """Return the values of our fields; others, of a later version, are ignored."""
    if flat[::2] == FIELDS:
        return flat[1::2]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return [fields[name] for name in FIELDS]


def _foreign(entry_id: bytes, flat: Sequence[bytes]) -> Recorded:
    payload = b" ".join(flat)
    why = "the entry was not written by Everfold" if flat else "the entry was trimmed"
    return Recorded(
        entry_id=entry_id.decode(),
        job_id="",
        seq=0,
        epoch=0,
        previous=NO_ENTRY,
        event=Unreadable("", why, payload),
        payload=payload,
    )
