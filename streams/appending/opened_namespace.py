"""The namespace of one client, which may not exist yet: what writes makes it, what reads does not.

Rule: until it exists every command of the client is refused with NamespaceUnknown, after one look
whether another program has made it meanwhile. Once it is known, nothing is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from everfold.streams.errors import NamespaceMadeAnew, NamespaceUnknown
from everfold.streams.events.ids import new_id
from everfold.streams.redis.keys import Keyspace
from everfold.streams.redis.namespace import (
    DEFAULT_PARTITIONS,
    Namespace,
    find_namespace,
    known_namespaces,
    open_namespace,
)
from everfold.streams.redis.pipelining import PipeliningRedis

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

    def __init__(self, redis: PipeliningRedis, namespace: Namespace, asked: int | None) -> None:
        """`asked` is the number of partitions that the caller named."""
        self.now = namespace
        self._redis, self._asked = redis, asked
        self.exists = True

    @classmethod
    async def open(
        cls, redis: PipeliningRedis, name: str, partitions: int | None, *, creates: bool
    ) -> OpenedNamespace:
        """Open a namespace; where it does not exist, make it, or wait for the first write.

        Raises as `open_namespace`.
        """
        if creates:
            return cls(redis, await open_namespace(redis, name, partitions), partitions)
        if (found := await find_namespace(redis, name, partitions)) is not None:
            return cls(redis, found, partitions)
        assumed = Namespace(Keyspace(name, partitions or DEFAULT_PARTITIONS), new_id())
        opened = cls(redis, assumed, partitions)
        opened.exists, redis.gate = False, opened.look
        return opened

    async def make(self) -> None:
        """Make the namespace if it does not exist. May be called by what writes, before it decides
        by a key. Raises as `open_namespace`."""
        if self.exists:
            return
        wanted = (self.now.keys.namespace, self._asked, self.now.generation)
        with asking_the_server():
            self._take(await open_namespace(self._redis, *wanted))

    async def look(self) -> None:
        """Return once the namespace exists. Raises NamespaceUnknown as long as it does not."""
        if self.exists or _is_looking.get():
            return
        name, assumed = self.now.keys.namespace, self.now.keys.partitions
        with asking_the_server():
            found = await find_namespace(self._redis, name, self._asked)
            if found is None:
                raise NamespaceUnknown(name, await known_namespaces(self._redis))
        self._take(found)
        if found.keys.partitions != assumed:
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
