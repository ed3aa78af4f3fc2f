"""A whole farm on one private server, of which one process at a time has the rights of its role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis

from everfold import Everfold
from everfold.streams.appending.log import Log
from everfold.streams.redis.access import Access, Role
from tests.everfold.running import ended
from tests.rights.monitor import Sent, monitored
from tests.support.network.ciphers import CIPHER, SEAL_KEY
from tests.support.programs.programs import Program, StartProgram
from tests.support.programs.stack import Stack
from tests.support.servers import OwnServer, client

NS = "rights"
USER = "somebody"


class Farm:
    """The processes of an administrator reach the server by its Unix socket, the role's by TCP."""

    def __init__(
        self, server: OwnServer, admin: Redis, log: Log, start: StartProgram, folder: Path
    ) -> None:
        self.server, self.admin, self.log, self.folder = server, admin, log, folder
        self.assets = folder / "assets"
        environ = {"EVERFOLD_ASSETS": str(self.assets), "EVERFOLD_SEAL_KEY": SEAL_KEY}
        self.stack = Stack(log, start, folder, environ=environ)
        self.url = f"redis://{USER}:pw@{urlsplit(server.url).netloc}"
        self.namespace = NS

    def grant(self, rules: str, *more: str) -> None:
        """Give the user of the role these rights and no others."""
        words = ("ACL", "SETUSER", USER, "reset", "on", ">pw", *rules.split(), *more)
        assert self.admin.execute_command(*words)  # type: ignore[no-untyped-call]

    @contextmanager
    def acting_as(self, role: Role) -> Iterator[Sent]:
        """Let the user have exactly a role's rights, and see what it sends: scripts, too, which
        other roles have left at the server."""
        self.grant(Access(role, NS).rules())
        self.admin.script_flush()
        self.admin.execute_command("ACL", "LOG", "RESET")  # type: ignore[no-untyped-call]
        with monitored(str(self.server.folder / "socket"), NS) as sent:
            yield sent

    def refusals(self) -> list[str]:
        """Return what the server has refused, and in what context."""
        found: list[list[object]] = self.admin.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
        entries = [dict(zip(one[::2], one[1::2], strict=True)) for one in found]
        return [f"{_text(e[b'reason'])} {_text(e[b'object'])}" for e in entries]

    def run(self, *words: str, **environ: str) -> Program:
        """Start a command with the rights of the role."""
        names = {"REDIS_URL": self.url, "EVERFOLD_NAMESPACE": NS, **self.stack.environ, **environ}
        return self.stack.start("-m", "everfold", *words, environ=names)

    async def boss_runs(self, *words: str) -> Program:
        """Start a command that runs until a signal, with all rights; it has printed a line."""
        program = self.stack.start("-m", "everfold", *words, environ=self.stack.names)
        await program.line(within_s=20)
        return program

    async def done(self, *words: str, code: int = 0) -> list[str]:
        """Run a command with the rights of the role to its end; return what it printed."""
        return await ended(self.run(*words), code)

    @asynccontextmanager
    async def client(self, role: Role) -> AsyncIterator[Everfold]:
        """Connect as a program of that role does."""
        async with Everfold.connect(
            self.url, namespace=NS, role=role, assets=self.assets
        ) as everfold:
            yield everfold


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@asynccontextmanager
async def farm_on(server: OwnServer, start: StartProgram, folder: Path) -> AsyncIterator[Farm]:
    """Yield a farm whose namespace exists, with nothing else on the server."""
    socket = f"unix://{server.folder / 'socket'}"
    with client(server.url) as admin:
        admin.flushall()
        async with Log.open(socket, namespace=NS, partitions=2, cipher=CIPHER) as log:
            yield Farm(server, admin, log, start, folder)
