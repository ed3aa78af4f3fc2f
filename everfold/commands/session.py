"""What most commands share: which server, which namespace, and how results are printed."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cyclopts import Parameter

from everfold.commands.options import (
    COMMON,
    ConfigPath,
    Json,
    Namespace,
    RedisCa,
    RedisCert,
    RedisCheckHostname,
    RedisKey,
    RedisUrl,
    ReplicaCount,
    ReplicasForEvents,
    ReplicasWithin,
)
from everfold.commands.output import Cell, complain, emit, say, show
from everfold.streams.events.limits import NAME_LIMIT

if TYPE_CHECKING:
    from everfold.client import Everfold
    from everfold.streams.appending.log import Log
    from everfold.streams.connections.tls import Tls
    from everfold.streams.redis.access import Role
    from everfold.streams.redis.replicas import Replicas

T = TypeVar("T")


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True)
class Session:
    """The options that all commands understand."""

    namespace: Namespace = "everfold"
    redis_url: RedisUrl = None
    json: Json = False
    config: ConfigPath = None
    redis_ca: RedisCa = None
    redis_cert: RedisCert = None
    redis_key: RedisKey = None
    redis_check_hostname: RedisCheckHostname = True
    replicas: ReplicaCount = None
    replicas_within: ReplicasWithin = 1.0
    replicas_for: ReplicasForEvents = "ends"

    @property
    def asked_replicas(self) -> Replicas:
        """How many replicas must have what is acknowledged."""
        from everfold.streams.redis.replicas import NONE

        return NONE.asked(self.replicas, self.replicas_within, self.replicas_for)

    @property
    def tls(self) -> Tls:
        """The settings of TLS, for a URL that does not have them itself."""
        from everfold.streams.connections.tls import Tls

        return Tls(
            ca=str(self.redis_ca or ""),
            cert=str(self.redis_cert or ""),
            key=str(self.redis_key or ""),
            check_hostname=self.redis_check_hostname,
        )

    def url(self) -> str:
        """Return the server's URL with the settings of TLS. Raises NoServer or Misconfigured."""
        from everfold.embedded import find_server

        return self.tls.added_to(self.redis_url) if self.redis_url else find_server(tls=self.tls)

    @contextlib.asynccontextmanager
    async def open(
        self, role: Role | None = None, assets: str | None = None
    ) -> AsyncIterator[Everfold]:
        """Connect as an application does. Raises NoServer, Misconfigured or Unavailable.

        With a `role` the rights of the server's user are checked first. `assets` is where the
        bytes of files are.
        """
        from everfold.client import Everfold
        from everfold.policy_settings import NO_SETTINGS

        async with Everfold.connect(
            self.url(),
            namespace=self.namespace,
            actor="cli",
            role=role,
            assets=assets,
            config=NO_SETTINGS,
            replicas=self.asked_replicas,
        ) as everfold:
            yield everfold

    @contextlib.asynccontextmanager
    async def operate(self, assets: str | None = None) -> AsyncIterator[Everfold]:
        """Connect as a person does whose acts are noted under their name. Raises as `open` does."""
        from everfold.client import Everfold
        from everfold.policy_settings import NO_SETTINGS

        async with Everfold.connect(
            self.url(),
            namespace=self.namespace,
            actor=operator_name(),
            role="operator",
            assets=assets,
            config=NO_SETTINGS,
            replicas=self.asked_replicas,
        ) as everfold:
            yield everfold

    @contextlib.asynccontextmanager
    async def log(
        self,
        actor: str = "cli",
        partitions: int | None = None,
        role: Role | None = None,
        *,
        creates: bool = False,
    ) -> AsyncIterator[Log]:
        """Open the log. `actor` is recorded in events; `role` as for `open`, as are the errors.

        A namespace that does not exist is made with `creates` only.
        """
        from everfold.erasing.seal_cipher import environment_cipher
        from everfold.health.asking_server import warn_of_losses
        from everfold.streams.appending.log import Log

        async with Log.open(
            self.url(),
            namespace=self.namespace,
            actor=actor,
            partitions=partitions,
            role=role,
            cipher=environment_cipher(),
            creates=creates,
            replicas=self.asked_replicas,
        ) as log:
            await log.check_exists()
            if creates:  # a process that works, or an import
                await warn_of_losses(log.redis, log.url, log.replicas.count)
            yield log

    def show(
        self,
        rows: Iterable[T],
        columns: Mapping[str, Callable[[T], Cell]],
        *,
        empty: str = "",
        wrap: Collection[str] | None = None,
        style: Callable[[T], str] = lambda _: "",
        as_json: Callable[[T], object] = lambda row: row,
    ) -> None:
        """Print rows: with --json one object each, else a table, or `empty` without any row.

        `wrap` and `style` are those of `output.show`.
        """
        found = list(rows)
        if self.json:
            for row in found:
                emit(as_json(row))
        elif found or not empty:
            show(found, columns, wrap=wrap, style=style)
        else:
            say(empty)

    def tell_more(self, options: str) -> None:
        """Say with which options a list goes on: below a table, else on stderr, where it is in no
        program's way."""
        if self.json:
            complain(f"this is not all: go on with {options}")
        else:
            say((f"more: {options}", "dim"))

    def tell(self, value: object, *sentence: str) -> None:
        """Print one result: with --json `value`, else a sentence, or several, each on a line."""
        if self.json:
            emit(value)
        else:
            for line in sentence:
                say(line)


def operator_name() -> str:
    """Return who types, as the actor `ada-on-desk1`; `cli` for a user without a name."""
    with contextlib.suppress(KeyError, OSError, ImportError):
        words = f"{getpass.getuser()}-on-{socket.gethostname()}"
        return re.sub(r"[^A-Za-z0-9._-]", "-", words).lstrip("._-")[:NAME_LIMIT] or "cli"
    return "cli"


DEFAULT = Session()
