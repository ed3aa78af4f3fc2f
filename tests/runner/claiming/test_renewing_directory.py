"""Where the process that renews leases looks for primaries, when servers contradict each other."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator

import anyio
import pytest

from everfold.runner.renewal import directory as directory_module
from everfold.runner.renewal.directory import Directory
from everfold.runner.renewal.messages import Place, Server
from everfold.streams.nodes.endpoint import Endpoint
from tests.support.network import resp
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

Answer = Callable[[bytes], bytes | None]
"""What a server says to a command, None where it hangs."""


@contextlib.contextmanager
def fake(answer: Answer) -> Iterator[Server]:
    """Run a server that answers with `answer`."""

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            rest = b""
            with contextlib.suppress(OSError):
                while received := self.request.recv(65536):
                    requests, rest = resp.split(rest + received)
                    for request in requests:
                        said = b"+OK\r\n" if b"CLIENT" in request else answer(request)
                        if said is not None:
                            self.request.sendall(said)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Session) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield Server(host="127.0.0.1", port=int(listener.server_address[1]))
        finally:
            listener.shutdown()


def listed(*parts: object) -> bytes:
    """Return what a server sends for a list of texts, numbers and lists."""
    sent = b"*%d\r\n" % len(parts)
    for part in parts:
        if isinstance(part, tuple):
            sent += listed(*part)
        elif isinstance(part, int):
            sent += b":%d\r\n" % part
        else:
            sent += b"$%d\r\n%b\r\n" % (len(str(part)), str(part).encode())
    return sent


def primary(request: bytes) -> bytes:
    return listed("master", 0) if b"ROLE" in request else b"-ERR\r\n"


class FakeSentinel:
    """Names a primary, under an epoch."""

    def __init__(self, named: Server, epoch: int) -> None:
        self.named, self.epoch, self.hangs = named, epoch, False

    def __call__(self, request: bytes) -> bytes | None:
        if self.hangs:
            return None
        if b"GET-MASTER" in request:
            return listed(self.named.host, str(self.named.port))
        return listed("config-epoch", str(self.epoch), "num-other-sentinels", "2")


async def test_of_sentinels_that_differ_the_one_with_the_newest_primary_is_believed() -> None:
    with contextlib.ExitStack() as stack:
        old, new = (stack.enter_context(fake(primary)) for _ in range(2))
        each = [FakeSentinel(old, 1) for _ in range(3)]
        asked = tuple(stack.enter_context(fake(one)) for one in each)
        place = Place(kind="sentinel", asked=asked, data=old, service="main")
        directory = Directory(place, "test", lambda: None)
        await eventually(lambda: directory.primary_of("k") == Endpoint(old.host, old.port))
        each[1].hangs = True  # the first is cut off together with the old primary
        each[2].named, each[2].epoch = new, 2
        await eventually(lambda: directory.primary_of("k") == Endpoint(new.host, new.port), 6.0)


class FakeNode:
    """A node that has all slots, and says where it is itself, or where another one is."""

    def __init__(self, node_id: str) -> None:
        self.node_id, self.at, self.is_ok = node_id, 0, True

    def __call__(self, request: bytes) -> bytes:
        if b"INFO" in request:
            return b"$%d\r\n%b\r\n" % (16, b"cluster_state:ok") if self.is_ok else b"-ERR\r\n"
        return listed((0, 16383, ("", self.at, self.node_id)))


async def test_a_node_that_was_given_to_another_cluster_is_not_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with contextlib.ExitStack() as stack:
        each = [FakeNode("first"), FakeNode("second")]
        own, other = (stack.enter_context(fake(one)) for one in each)
        each[0].at, each[1].at = own.port, own.port
        each[1].node_id = "first"
        place = Place(kind="cluster", asked=(other, own), data=own)
        directory = Directory(place, "test", lambda: None)
        await eventually(lambda: directory.primary_of("k") == Endpoint(own.host, own.port))
        each[1].node_id, each[1].at = "second", other.port
        for _ in range(5):
            directory.look_again()
            await anyio.sleep(0.3)
            assert directory.primary_of("k") == Endpoint(own.host, own.port)
        each[0].is_ok = False  # there is no other cluster any more
        monkeypatch.setattr(directory_module, "FOREIGN_S", 1.0)

        def is_followed() -> bool:
            directory.look_again()
            return directory.primary_of("k") == Endpoint(other.host, other.port)

        await eventually(is_followed, 15)
