"""What all of Everfold asks of a client of the server: one server, or the primaries of a cluster.

Rule: who needs a certain server names a key that lies there. A command with a key finds its server
by itself, one without goes to the server of `home`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from everfold.streams.connections.change import ChangeCount
from everfold.streams.connections.connection import Argument
from everfold.streams.connections.owner import Owner

if TYPE_CHECKING:
    from everfold.streams.connections.pipelining import PipeliningRedis


class LedgerRedis(Redis):
    """A client that is made and used in one event loop; elsewhere commands raise ClientShared.

    Errors are redis-py's own: `redis_errors.command` maps them.
    """

    owner: Owner
    gate: Callable[[], Awaitable[None]] | None = None
    """Awaited before each command; what it raises is raised, and the command is not sent."""
    home: str = ""
    """The key to whose primary commands go that have none."""
    changes: ChangeCount
    """Of who is primary of what."""
    knows_replicas = False
    """Whether somebody tells how many replicas there are: Sentinels, or the nodes of a cluster."""

    @property
    def version(self) -> int:
        """A number that rises with each change of who is primary of what."""
        return self.changes.now

    async def changed(self, since: int) -> int:
        """Return `version` once it is above `since`."""
        return await self.changes.above(since)

    @abstractmethod
    async def execute_command(
        self, *arguments: Argument, reply_bytes: int = 0, **_: object
    ) -> object:
        """Send one command and return its answer as the server sent it.

        `reply_bytes` is about the size of the answer, where that is known and large.
        """

    @abstractmethod
    async def execute_all(
        self, commands: Iterable[Sequence[Argument]], reply_bytes: Sequence[int] = ()
    ) -> list[object]:
        """Send many commands at once; return their answers in the same order.

        `reply_bytes` are the sizes of their answers, where they are known and large. Raises the
        first error, but only after every command has its answer.
        """

    @abstractmethod
    async def execute_together(self, *commands: Sequence[Argument]) -> list[object]:
        """Send a few commands one after the other on one connection, in one write, with no other
        between them; return their answers, in which a refusal is redis-py's exception.

        For commands that mean something only behind each other, such as ASKING. A WAIT at their
        end is sent once behind all that share a write, and covers all of it.
        """

    @abstractmethod
    def at(self, key: str) -> PipeliningRedis:
        """Return the client of the primary that has `key` now."""

    @abstractmethod
    def node_of(self, key: str) -> str:
        """Return the name of the primary that has `key` now, such as host:port."""

    @abstractmethod
    def primaries(self) -> list[PipeliningRedis]:
        """Return a client of each known primary."""

    @property
    def is_one_server(self) -> bool:
        """Whether one server has all keys."""
        return self.primaries() == [self]

    def replicas_of(self, key: str) -> int:
        """Return how many replicas of the primary that has `key` are known to live; 0 where nobody
        tells. Whoever is cut off from most others counts those that it only cannot reach."""
        return 0

    @abstractmethod
    def blocking(self, key: str, *, name: str, block_s: float) -> Redis:
        """Return a client for one reader that blocks up to `block_s` at the primary of `key`.

        `name` is what CLIENT LIST shows. A wait ends with redis-py's ConnectionError when
        `version` rises: ask again then where the key is. Close it with `aclose`.
        """

    @abstractmethod
    def connections_opened(self) -> int:
        """Return how often a connection was opened so far."""

    @abstractmethod
    def shows_names(self) -> bool:
        """Say whether the servers list the client's connections by their name."""
