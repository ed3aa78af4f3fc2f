"""The client for programs without an event loop: each call waits until it is done.

Rule: nothing is connected before the first call or `with`, so a module may make one when it is
imported; each process, also a fork, opens its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import ParamSpec, TypeVar

from everfold.client import Everfold as AsyncEverfold
from everfold.streams.events.checks import check_name
from everfold.sync.assets import AssetStore
from everfold.sync.batch import Batch
from everfold.sync.calls import Blocking, blocking, iterating, streaming
from everfold.sync.connection import Connection
from everfold.sync.reading import reading

P = ParamSpec("P")
T = TypeVar("T")


class Everfold(Blocking[AsyncEverfold]):
    """One namespace on one server, made with `everfold.sync.connect`. Many threads may use it.

    It works in any thread, also where an event loop runs; that loop stands still during a call. A
    call that is left by Ctrl-C, or by another error of its caller, is cancelled. Every method
    raises Unavailable when the server stays away for more than about 15 s, what `connect` raises
    where the client is not open yet, and ClientClosed once it was closed.
    """

    def __enter__(self) -> Everfold:
        self._connection.thread()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections for good; calls that wait in other threads raise ClientClosed.

        That is done by itself at exit, and when nobody has the client any more.
        """
        self._connection.close()

    def run(self, function: Callable[[AsyncEverfold], Awaitable[T]]) -> T:
        """Await what a function returns for the asyncio client, in its event loop.

        For what only that client has, and for several calls at once. Never block in it.
        """
        found = self._found
        return self._connection.call(lambda client: function(found(client)))

    def acting_as(self, actor: str) -> Everfold:
        """Return this client with another actor, who is stored in what it appends and changes.

        Both use the same connections, and end together. Raises InvalidName.
        """
        found, name = self._found, check_name("actor", actor)
        return Everfold(self._connection, lambda client: found(client).acting_as(name))

    def batch(self, name: str) -> Batch:
        """Return the batch of this name; it need not have jobs yet. Raises InvalidName."""
        return Batch(self._connection, check_name("batch", name))

    @property
    def assets(self) -> AssetStore:
        """The stored files of this namespace. Raises Misconfigured for a place that cannot be one.

        The runners must use the same place.
        """
        return AssetStore(self._connection)

    # Submit, read, wait.
    submit = blocking(AsyncEverfold.submit)
    submit_many = blocking(AsyncEverfold.submit_many)
    get = blocking(AsyncEverfold.get)
    find = blocking(AsyncEverfold.find)
    list = blocking(AsyncEverfold.list)
    page = blocking(AsyncEverfold.page)
    select = blocking(AsyncEverfold.select)
    watch = iterating(AsyncEverfold.watch)
    wait = blocking(AsyncEverfold.wait)
    events = blocking(AsyncEverfold.events)
    follow = streaming(AsyncEverfold.follow)
    consume = blocking(AsyncEverfold.consume)
    # Files.
    outputs = blocking(AsyncEverfold.outputs)
    output_files = blocking(AsyncEverfold.output_files)
    open_output = reading(AsyncEverfold.open_output)
    save_outputs = blocking(AsyncEverfold.save_outputs)
    # Change jobs.
    cancel = blocking(AsyncEverfold.cancel)
    cancel_many = blocking(AsyncEverfold.cancel_many)
    graph = blocking(AsyncEverfold.graph)
    rerun = blocking(AsyncEverfold.rerun)
    rerun_many = blocking(AsyncEverfold.rerun_many)
    change_priorities = blocking(AsyncEverfold.change_priorities)
    give_up = blocking(AsyncEverfold.give_up)
    change_priority = blocking(AsyncEverfold.change_priority)
    position = blocking(AsyncEverfold.position)
    why = blocking(AsyncEverfold.why)
    batches = blocking(AsyncEverfold.batches)
    # Operate.
    backends = blocking(AsyncEverfold.backends)
    retire_backend = blocking(AsyncEverfold.retire_backend)
    drain_backend = blocking(AsyncEverfold.drain_backend)
    return_backend = blocking(AsyncEverfold.return_backend)
    runners = blocking(AsyncEverfold.runners)
    drain_runner = blocking(AsyncEverfold.drain_runner)
    acts = blocking(AsyncEverfold.acts)
    queues = blocking(AsyncEverfold.queues)
    pause_queue = blocking(AsyncEverfold.pause_queue)
    resume_queue = blocking(AsyncEverfold.resume_queue)
    limits = blocking(AsyncEverfold.limits)
    set_limit = blocking(AsyncEverfold.set_limit)
    remove_limit = blocking(AsyncEverfold.remove_limit)
    user_content = blocking(AsyncEverfold.user_content)
    erase = blocking(AsyncEverfold.erase)


def _connecting(
    method: Callable[P, AbstractAsyncContextManager[AsyncEverfold]],
) -> Callable[P, Everfold]:
    @wraps(method)
    def connect(*args: P.args, **kwargs: P.kwargs) -> Everfold:
        return Everfold(Connection(lambda: method(*args, **kwargs)), lambda client: client)

    connect.__doc__ = f"""Make a client, which connects at its first call, or at `with`.

        Keep one for the whole program, or close it with `with sync.connect(...) as everfold:`. For
        the rest it is `Everfold.connect` of the asyncio client:

        {method.__doc__}"""
    return connect


connect = _connecting(AsyncEverfold.connect)
