"""Open a namespace: what writes makes it, what reads does not, and later uses check it.

Rule: the number of partitions and their hash tags are fixed when the namespace is made, because
they decide where each job's keys are. Its levels say which events may be written and must be
readable; they only rise.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import cast

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from everfold.streams.connections.client import LedgerRedis
from everfold.streams.connections.replies import shown
from everfold.streams.errors import (
    NamespaceMadeAnew,
    NamespaceTooNew,
    NamespaceTooOld,
    NamespaceUnknown,
    PartitionMismatch,
    ServerError,
    ServerRefusesAccess,
    WrongKeyType,
)
from everfold.streams.events.checks import check_name
from everfold.streams.events.codec import reader_level
from everfold.streams.events.ids import new_id
from everfold.streams.events.json_text import NotJson, decoder
from everfold.streams.events.ranges import check_number
from everfold.streams.nodes.routed_redis import RoutedRedis
from everfold.streams.nodes.tags import are_spread_tags, plain_tags, spread_tags
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.redis_errors import command, read_hash
from everfold.streams.redis.scripts import make_namespace
from everfold.streams.redis.server import server_info

SCHEMA_VERSION = 2
"""2: waiting jobs stand in sorted sets. Before, they were entries of dispatch."""
DEFAULT_PARTITIONS = 24
"""They fall evenly on 2, 3, 4, 6, 8, 12 or 24 masters of a cluster. It was 8 before."""

LOOK_S, NAMED_LIMIT = 1.0, 50
"""Seconds for which the names of namespaces are looked for, and how many are shown."""

_read_tags = decoder(tuple[str, ...])

IMPORTING = "importing"
"""Field of the meta hash: the checksum of the export file of which an import is not finished."""


class Levels(Struct, frozen=True):
    """Reader levels of a namespace; see events/codec.py."""

    writes: int = 1
    """Events are written as programs of this level can read them."""
    min_reader: int = 1
    """Programs below this level may not work on its jobs."""


class Namespace(Struct, frozen=True):
    """A namespace as it is stored on the server."""

    keys: Keyspace
    generation: str
    """Changes when the namespace is made anew, as after FLUSHALL."""
    levels: Levels = Levels()
    is_importing: bool = False
    """An import into it has begun and not ended."""


async def open_namespace(
    redis: Redis,
    name: str,
    partitions: int | None = None,
    generation: str = "",
    spread: bool | None = None,
) -> Namespace:
    """Open the namespace, or make it with `partitions` (1 to 1024, default 24) when it is new.

    It is made in the shared layout, with `spread` in that one; without a choice it is found in
    either. Of two programs that make it at once, one decides. Raises PartitionMismatch,
    NamespaceTooNew, NamespaceTooOld or InvalidName with nothing written; WrongKeyType, a leaf of
    Unavailable.
    """
    if (found := await find_namespace(redis, name, partitions, spread)) is not None:
        return found
    keys = new_keys(name, partitions, bool(spread))
    await _make(redis, keys, generation)
    return _checked(keys, partitions, await read_hash(redis, keys.meta()))


def new_keys(name: str, partitions: int | None, spread: bool) -> Keyspace:
    """Return the keys that a namespace is to have which does not exist yet."""
    count = partitions or DEFAULT_PARTITIONS
    return Keyspace(name, count, spread_tags(name, count) if spread else ())


async def find_namespace(
    redis: Redis, name: str, partitions: int | None = None, spread: bool | None = None
) -> Namespace | None:
    """Return the namespace, None when there is none; nothing is written. Raises as
    `open_namespace`."""
    check_name("namespace", name)
    if partitions is not None:
        check_number("partitions", partitions)
    keys = _some_keys(name, spread)
    stored = await read_hash(redis, keys.meta())
    if b"partitions" not in stored and spread is None:
        keys = _some_keys(name, True)
        with suppress(ServerRefusesAccess):  # rights are given for one of the layouts
            stored = await read_hash(redis, keys.meta())
    return _checked(keys, partitions, stored) if b"partitions" in stored else None


def _some_keys(name: str, spread: bool | None) -> Keyspace:
    """Return keys of which those of the namespace itself are right."""
    return Keyspace(name, 1, (name,) if spread else ())


def chosen_layout(redis: LedgerRedis, spread: bool | None) -> bool | None:
    """Return True on a cluster, where there is only the spread layout, else what was given."""
    return isinstance(redis, RoutedRedis) or spread


async def known_namespaces(redis: LedgerRedis) -> tuple[str, ...]:
    """Return the names of namespaces on the server, sorted, for a sentence to people.

    Where the server has very many keys some may be missing; none where it refuses SCAN.
    """
    until_s = time.monotonic() + LOOK_S
    each = await asyncio.gather(*(_named_at(node, until_s) for node in redis.primaries()))
    return tuple(sorted(set().union(*each)))[:NAMED_LIMIT]


async def _named_at(node: LedgerRedis, until_s: float) -> set[str]:
    found, cursor, names = set[str](), b"0", re.compile(rb"\{?([A-Za-z0-9][A-Za-z0-9._-]*)\}?:meta")
    try:
        while time.monotonic() < until_s and len(found) < NAMED_LIMIT:
            pattern = ("MATCH", "*:meta", "COUNT", 5000, "TYPE", "hash")
            reply = await command(node, "SCAN", cursor, *pattern)
            cursor, keys = cast("tuple[bytes, list[bytes]]", reply)
            found |= {match[1].decode() for key in keys if (match := names.fullmatch(key))}
            if cursor == b"0":
                break
    except (ServerRefusesAccess, ServerError):
        return set()
    return found


async def check_namespace(
    redis: Redis, opened: Namespace, meta: dict[bytes, bytes] | None = None
) -> Levels:
    """Return the levels of a namespace that was opened before; 1 where it has none. `meta` is its
    hash, where that was just read.

    Where the server has forgotten it, as after FLUSHALL, it is made again as it was. Raises
    NamespaceMadeAnew where another program was faster, WrongKeyType, a leaf of Unavailable.
    """
    keys = opened.keys
    stored = await read_hash(redis, keys.meta()) if meta is None else meta
    if b"partitions" not in stored or (opened.generation and b"generation" not in stored):
        await _make(redis, keys, opened.generation)
        stored = await read_hash(redis, keys.meta())
    found = _checked(keys, None, stored)
    if (found.keys, found.generation) != (keys, opened.generation):
        raise NamespaceMadeAnew(
            f"namespace {keys.namespace!r} was lost by its server and made anew by another program "
            f"with {found.keys.partitions} partitions; this process opened it with "
            f"{keys.partitions}: start it again"
        )
    return found.levels


async def _make(redis: Redis, keys: Keyspace, generation: str = "") -> None:
    run_id = (await server_info(redis, "server")).get("run_id", "")
    tags = keys.tags or plain_tags(keys.namespace, keys.partitions)
    await make_namespace(
        redis,
        meta=keys.meta(),
        partitions=keys.partitions,
        tags=msgspec.json.encode(tags),
        schema=SCHEMA_VERSION,
        generation=generation or new_id(),
        # Known from the start: a server that comes back with an older file is then noticed.
        run_id=run_id,
        level=reader_level(),
    )


def _checked(keys: Keyspace, asked: int | None, stored: dict[bytes, bytes]) -> Namespace:
    """Return the namespace of which `keys` has the layout."""
    name = keys.namespace
    schema = _number(keys, stored, b"schema", 1_000_000)
    actual = _number(keys, stored, b"partitions", 1024)
    if schema > SCHEMA_VERSION:
        raise NamespaceTooNew(name, schema, SCHEMA_VERSION)
    if schema < SCHEMA_VERSION:
        raise NamespaceTooOld(name, schema, SCHEMA_VERSION)
    if asked is not None and asked != actual:
        raise PartitionMismatch(name, asked, actual)
    generation = stored.get(b"generation", b"").decode(errors="replace")
    is_importing = IMPORTING.encode() in stored
    found = Keyspace(name, actual, _tags(keys, actual, stored.get(b"tags")))
    return Namespace(found, generation, _levels(stored), is_importing)


def _tags(keys: Keyspace, partitions: int, stored: bytes | None) -> tuple[str, ...]:
    """Return the tags of a spread namespace, () for a shared one, which may not name any."""
    name = keys.namespace
    try:
        found = _read_tags(b"[]" if stored is None else stored)
    except NotJson:
        found = ("",)
    if keys.is_spread and are_spread_tags(found, name, partitions):
        return found
    if not keys.is_spread and (stored is None or found == plain_tags(name, len(found))):
        return ()
    raise _unusable(keys, b"tags", stored or b"")


async def read_importing(redis: Redis, keys: Keyspace) -> bytes:
    """Return the checksum of the file of an unfinished import, empty for none. May raise
    Unavailable."""
    return (await read_hash(redis, keys.meta())).get(IMPORTING.encode(), b"")


def _number(keys: Keyspace, stored: dict[bytes, bytes], field: bytes, most: int) -> int:
    text = stored.get(field, b"1" if field == b"schema" else b"")
    if not (text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise _unusable(keys, field, text)
    return int(text)


def _unusable(keys: Keyspace, field: bytes, text: bytes) -> WrongKeyType:
    found = f"{field.decode()!r} of the hash {keys.meta()} is {shown(repr(text[:100]))}"
    return WrongKeyType(f"namespace {keys.namespace!r} cannot be opened: {found}; restore it")


async def read_levels(redis: Redis, keys: Keyspace) -> Levels:
    """Return the levels of a namespace, 1 where it has none. Raises a leaf of Unavailable."""
    return _levels(await read_hash(redis, keys.meta()))


def _levels(stored: dict[bytes, bytes]) -> Levels:
    texts = (stored.get(field, b"") for field in (b"writes", b"min_reader"))
    return Levels(*(int(text) if text.isdigit() and len(text) < 10 else 1 for text in texts))


_is_looking: ContextVar[bool] = ContextVar("everfold_is_looking", default=False)
"""Whether the commands of this task are those that look for the namespace, or make it."""


@contextmanager
def asking_the_server() -> Iterator[None]:
    """Let commands pass that are about the server, whether or not the namespace exists."""
    token = _is_looking.set(True)
    try:
        yield
    finally:
        _is_looking.reset(token)


class OpenedNamespace:
    """What a client knows of its namespace; all logs of the client share it."""

    def __init__(
        self,
        redis: LedgerRedis,
        namespace: Namespace,
        asked: int | None,
        spread: bool | None = None,
    ) -> None:
        """`asked` is the number of partitions that the caller named, `spread` the layout."""
        self.now = namespace
        self._redis, self._asked, self._spread = redis, asked, spread
        self.exists = True

    @staticmethod
    def set_home(redis: LedgerRedis, name: str, spread: bool | None) -> None:
        """Let the server that has the namespace answer what is about no key. Raises InvalidName."""
        redis.home = _some_keys(check_name("namespace", name), spread).meta()

    @classmethod
    async def open(
        cls,
        redis: LedgerRedis,
        name: str,
        partitions: int | None,
        creates: bool,
        spread: bool | None = None,
    ) -> OpenedNamespace:
        """Open a namespace; where it does not exist, make it, or wait for the first write.

        Raises as `open_namespace`.
        """
        cls.set_home(redis, name, spread)
        if creates:
            found = await open_namespace(redis, name, partitions, spread=spread)
            return cls(redis, found, partitions, spread)
        if (known := await find_namespace(redis, name, partitions, spread)) is not None:
            return cls(redis, known, partitions, spread)
        assumed = Namespace(new_keys(name, partitions, bool(spread)), new_id())
        opened = cls(redis, assumed, partitions, spread)
        opened.exists, redis.gate = False, opened.look
        return opened

    async def make(self) -> None:
        """Make the namespace if it does not exist. May be called by what writes, before it decides
        by a key. Raises as `open_namespace`."""
        if self.exists:
            return
        wanted = (self.now.keys.namespace, self._asked, self.now.generation, self._spread)
        with asking_the_server():
            self._take(await open_namespace(self._redis, *wanted))

    async def look(self) -> None:
        """Return once the namespace exists. Raises NamespaceUnknown as long as it does not."""
        if self.exists or _is_looking.get():
            return
        name, assumed = self.now.keys.namespace, self.now.keys
        with asking_the_server():
            found = await find_namespace(self._redis, name, self._asked, self._spread)
            if found is None:
                raise NamespaceUnknown(name, await known_namespaces(self._redis))
        self._take(found)
        if found.keys != assumed:
            # The command was made for other keys.
            raise NamespaceMadeAnew(
                f"another program has just made namespace {name!r}, with {found.keys.partitions} "
                "partitions: call again"
            )

    def _take(self, found: Namespace) -> None:
        self.now, self.exists, self._redis.gate = found, True, None

    def note(self, **changes: object) -> None:
        """Take over what was read again of the namespace."""
        self.now = msgspec.structs.replace(self.now, **changes)
