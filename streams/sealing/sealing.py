"""Seals what goes into the log, and opens what is read from it, with a key for each user.

Rule: keys are remembered for KEPT_S at most, so that one that is thrown away is soon forgotten by
every process. A submit asks the server each time: no job is sealed with a key that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from everfold.streams.border.sealed_form import (
    SEALED,
    as_content,
    as_text,
    content_text,
    key_id_of,
)
from everfold.streams.connections.client import LedgerRedis
from everfold.streams.errors import SealKeyMissing
from everfold.streams.events.codec import decode, encode
from everfold.streams.events.event import Event, Submitted
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.limits import EVENT_LIMIT_BYTES
from everfold.streams.events.record import Recorded
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command
from everfold.streams.sealing.cipher import Cipher, SealBroken
from everfold.streams.sealing.sealed_values import (
    Open,
    has_content,
    opened,
    sealed_event,
    sealed_keys,
)
from everfold.streams.sealing.user_keys import (
    DIGEST_LENGTH,
    DataKey,
    field_of,
    make_key,
    open_key,
    stored_key,
)

T = TypeVar("T")

KEPT_S = 60.0
"""Seconds that a process remembers a key, or that there is none."""

KEPT = 10_000
"""Keys, and users of jobs, that a process remembers."""

ROOM = 0.7
"""Share of an event's limit for its plain content: base64 makes it larger by a third."""

CONTENT = "content"
"""The place of graphs: equal ones of a user are equal, in whichever job."""

ERASED, LOCKED, DAMAGED = "erased", "sealed", "damaged"
"""What is shown in the place of a content: its key was thrown away; the key of the environment that
opens it is not given; it was changed."""

_read_object = decoder(dict[str, object])


class _Remembered(Struct, frozen=True):
    key: DataKey | str
    """Or why there is none: ERASED, LOCKED or DAMAGED."""
    at_s: float


class Sealing:
    """The sealing of one namespace. Raises a leaf of Unavailable in every call, without a retry."""

    def __init__(self, redis: LedgerRedis, keys: Keyspace, cipher: Cipher) -> None:
        self._redis, self._keys, self._cipher = redis, keys, cipher
        self._known: dict[str, _Remembered] = {}
        self._users: dict[str, str] = {}

    async def event(self, job_id: str, event: Event) -> Event:
        """Return the event with its content sealed, under the key of the job's user.

        It is shortened first where it would be too large. Raises Refused as `encode` does.
        """
        if not has_content(event):
            return event
        user = event.user if isinstance(event, Submitted) else await self._user_of(job_id)
        if user is None:
            return event  # the append refuses it: there is no such job
        key = await self._own(user)
        checked = decode(encode(event, int(EVENT_LIMIT_BYTES * ROOM)))
        assert isinstance(checked, Event), "encode has read it back"
        return sealed_event(checked, lambda content: self._seal(key, content, job_id))

    async def text(self, job_id: str, text: str) -> str:
        """Return a text about a job sealed; "" of a job that nobody knows any more."""
        user = await self._user_of(job_id)
        if user is None or not text:
            return ""
        key = await self._own(user)
        return as_text(self._seal(key, msgspec.json.encode(text), job_id))

    async def content(self, user: str, content: bytes, *, is_new: bool = True) -> bytes:
        """Return stored bytes sealed. With `is_new` the server is asked for the user's key."""
        key = await self._own(user, is_new=is_new)
        return as_content(self._seal(key, content, CONTENT))

    def _seal(self, key: DataKey, content: bytes, about: str) -> str:
        return f"{key.id}.{self._cipher.seal(key.content, content, about)}"

    async def opened_content(self, content: bytes) -> bytes | None:
        """Return stored bytes as they were given; None where their key was thrown away.

        Raises SealKeyMissing without the key of the environment that opens them.
        """
        text = content_text(content)
        if not text:
            return content
        found = (await self._opener([key_id_of(text)], CONTENT))(text)
        if found == LOCKED:
            raise SealKeyMissing
        return found if isinstance(found, bytes) else None

    async def opened(self, value: T, job_id: str) -> T:
        """Return something that is told of one job with all that is sealed opened; what cannot be
        opened is marked in its place."""
        wanted = set(sealed_keys(value))
        return opened(value, await self._opener(wanted, job_id)) if wanted else value

    async def opened_records(self, records: Sequence[Recorded]) -> list[Recorded]:
        """Return events as they were before they were sealed, their payloads too."""
        return [await self._record(record) for record in records]

    async def _record(self, record: Recorded) -> Recorded:
        if SEALED.encode() not in record.payload:
            return record
        try:
            raw = _read_object(record.payload)
        except NotJson:
            return record
        payload = msgspec.json.encode(await self.opened(raw, record.job_id))
        return replace(record, event=decode(payload), payload=payload)

    async def why_locked(self, value: object) -> str:
        """Return why a value cannot be opened here: LOCKED or DAMAGED; empty where it can, or where
        nobody can because its key was thrown away."""
        for key_id in set(sealed_keys(value)):
            found = await self._key(key_id)
            if found in (LOCKED, DAMAGED):
                return str(found)
        return ""

    async def _opener(self, key_ids: Iterable[str], about: str) -> Open:
        keys = {key_id: await self._key(key_id) for key_id in key_ids}

        def open_text(text: str) -> bytes | str:
            key = keys[key_id_of(text)]
            if isinstance(key, str):
                return key
            try:
                return self._cipher.unseal(key.content, text.partition(".")[2], about)
            except SealBroken:
                return DAMAGED

        return open_text

    async def _own(self, user: str, *, is_new: bool = False) -> DataKey:
        """Return the key to seal with; make one for a user who has none. Raises SealKeyMissing."""
        field = field_of(user)
        known = self._remembered(field)
        if not is_new and known is not None and isinstance(known.key, DataKey):
            return known.key
        found = await stored_key(self._redis, self._keys, field)
        found = found or await make_key(self._redis, self._keys, field, self._cipher)
        key = open_key(found, field, self._cipher)
        self._remember(field, key)
        return key

    async def _key(self, key_id: str) -> DataKey | str:
        """Return a key by its id, or the word for why it is not there."""
        field = key_id[:DIGEST_LENGTH]
        known = self._remembered(field)
        if known is None or (isinstance(known.key, DataKey) and known.key.id != key_id):
            known = self._remember(field, await self._read(field))
        key = known.key
        return ERASED if isinstance(key, DataKey) and key.id != key_id else key

    async def _read(self, field: str) -> DataKey | str:
        found = await stored_key(self._redis, self._keys, field)
        try:
            return ERASED if found is None else open_key(found, field, self._cipher)
        except SealKeyMissing:
            return LOCKED
        except SealBroken:
            return DAMAGED

    def _remembered(self, field: str) -> _Remembered | None:
        known = self._known.get(field)
        return known if known and time.monotonic() - known.at_s < KEPT_S else None

    def _remember(self, field: str, key: DataKey | str) -> _Remembered:
        if len(self._known) >= KEPT:
            self._known.clear()
        found = self._known[field] = _Remembered(key, time.monotonic())
        return found

    def has_seal_key(self, by: str) -> bool:
        """Say whether the environment has the key of this name, which wraps keys of users."""
        return self._cipher.has_key(by)

    def forget(self) -> None:
        """Ask the server for every key again."""
        self._known.clear()

    async def _user_of(self, job_id: str) -> str | None:
        """Return the user of a job, by its head; None for no such job."""
        if job_id not in self._users:
            found = await command(self._redis, "HGET", self._keys.head(job_id), "user")
            if not isinstance(found, bytes):
                return None
            if len(self._users) >= KEPT:
                self._users.clear()
            self._users[job_id] = found.decode(errors="replace")
        return self._users[job_id]
