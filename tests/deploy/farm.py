"""The services of deploy/ as plain processes in a bare folder, each a Redis user of its role."""

from __future__ import annotations

import secrets
import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
from redis import Redis

from everfold.streams.redis.access import Role
from tests.deploy.services import Service
from tests.support.network.otlp_receiver import Receiver
from tests.support.programs.programs import Program, StartProgram
from tests.support.servers import OwnServer

PASSWORD = "a-pass:word@/#%"  # whatever stands in it, a URL carries it
IN_URL = "a-pass%3Aword%40%2F%23%25"


class Notified:
    """What systemd is told by its services."""

    def __init__(self) -> None:
        self.address = "@" + secrets.token_hex(8)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:])
        self._socket.setblocking(False)
        self._told = list[str]()

    def count(self, state: str) -> int:
        """Return how often a state was told."""
        with suppress(BlockingIOError):
            while True:
                self._told += self._socket.recv(4096).decode().split("\n")
        return self._told.count(state)

    def close(self) -> None:
        self._socket.close()


class Deployed:
    """What runs, and where it is watched."""

    def __init__(
        self,
        folder: Path,
        server: OwnServer,
        admin: Redis,
        start: StartProgram,
        start_tool: StartProgram,
        collector: Receiver,
    ) -> None:
        self.folder, self._server, self._admin = folder, server, admin
        self._start, self.start_tool = start, start_tool
        self.collector = collector
        self.notify = Notified()
        self.programs: dict[str, Program] = {}
        self.watched: dict[str, str] = {}
        """Service -> where its process answers those that watch it."""
        self.gateway = ""

    async def environ(self, role: Role) -> dict[str, str]:
        """Make the Redis user of a role as `everfold acl` says, and the file with its URL."""
        file = self.folder / f"redis-url-{role}"
        if not file.exists():
            printed = self.start_tool("-m", "everfold", "acl", role, environ=self._bare())
            assert await printed.end(20) == 0, printed
            words = shlex.split(" ".join(printed.lines).replace("PASSWORD", PASSWORD))
            assert self._admin.execute_command(*words)  # type: ignore[no-untyped-call]
            address = self._server.url.removeprefix("redis://")
            file.write_text(f"redis://everfold-{role}:{IN_URL}@{address}\n")
        return {**self._bare(), "REDIS_URL_FILE": str(file)}

    def _bare(self) -> dict[str, str]:
        return {"REDIS_URL": "", "EVERFOLD_ASSETS": str(self.folder / "assets")}

    async def run(self, role: Role, *words: str) -> list[str]:
        """Run a command to its end as somebody of a role; return what it printed."""
        program = self.start_tool("-m", "everfold", *words, environ=await self.environ(role))
        assert await program.end(30) == 0, program
        return program.lines

    async def start(self, one: Service, comfyui: str) -> None:
        """Start a service with its own command line: ports that are free, folders of the test."""
        places = {"/assets": "assets", "/archive": "archive", "/etc/everfold": "config"}
        words = [_placed(word, self.folder, places) for word in one.words]
        if "--metrics-port" in words:
            words[words.index("--metrics-port") + 1] = "0"
        else:
            words += ["--metrics-port", "0"]  # a unit of many runners has it in its own file
        words += ["--port", "0"] if one.words[0] == "serve" else []
        if one.words[0] == "runner":
            words = [comfyui if word.startswith("http://127.0.0.1:") else word for word in words]
        environ = {name: _placed(v, self.folder, places) for name, v in one.environ.items()}
        environ |= {**await self.environ(one.role), "COMFYUI_URL": comfyui}
        environ |= {**self.collector.environ, "NOTIFY_SOCKET": self.notify.address}
        program = self._start("-m", "everfold", *words, environ=environ)
        self.programs[one.name] = program
        line = await program.line("metrics  ", within_s=30)
        self.watched[one.name] = _here(line)
        if one.words[0] == "serve":
            found = await program.line("gateway  ", within_s=30)
            self.gateway = _here(found)

    async def start_all(self, every: Sequence[Service], comfyui: str) -> None:
        """Start services side by side, once each has its Redis user."""
        for one in every:
            await self.environ(one.role)
        async with anyio.create_task_group() as tasks:
            for one in every:
                tasks.start_soon(self.start, one, comfyui)

    def squeeze(self) -> None:
        """Leave the server little more memory than it uses."""
        used: int = self._admin.info("memory")["used_memory"]
        self._admin.config_set("maxmemory", str(int(used * 1.3)))

    def release(self) -> None:
        """Give it what deploy/redis.conf gives it."""
        self._admin.config_set("maxmemory", "1gb")

    def is_trimmed(self) -> bool:
        """Say whether events have been trimmed from the log."""
        return any(self._admin.exists(f"{{everfold:{one}}}:trimmed") for one in range(24))

    async def asked(self, name: str, path: str) -> httpx.Response:
        """Ask the listener of a service."""
        url = self.watched[name]
        async with httpx.AsyncClient(timeout=10) as client:
            return await client.get(f"{url}{path}")


def _here(line: str) -> str:
    """Return the address of this machine for the one that a process has told."""
    port = urlsplit(line.split()[-1]).port
    return f"http://127.0.0.1:{port}"


def _placed(word: str, folder: Path, places: Mapping[str, str]) -> str:
    word = word.replace("/var/lib/everfold", "")
    for place, name in places.items():
        if word == place or word.startswith(f"{place}/"):
            return str(folder / name) + word.removeprefix(place)
    return word
