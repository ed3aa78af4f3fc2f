"""An event loop in a thread of its own, with one client that is open there.

Rule: a call that its caller leaves, by Ctrl-C or any other error, has been cancelled and has ended
before the caller goes on. Nothing is asked of the thread of another process: a fork has none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import anyio

from everfold.client import Everfold as AsyncEverfold
from everfold.streams.errors import ClientClosed, ClientShared, Refused

T = TypeVar("T")

END_WITHIN_S = 20.0
"""How long a call that was cancelled, or the thread itself, may take to end."""


class LoopThread:
    """Opens the client, else raises what opening it raises. Call `stop` at the end."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncEverfold]) -> None:
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._living: anyio.CancelScope | None = None
        self._begun = threading.Event()
        self._calls = set[Running[Any]]()
        opened = Future[AsyncEverfold]()
        self._thread = threading.Thread(
            target=self._run,
            args=(opening, opened),
            name="everfold-sync",
            daemon=True,  # else Python would wait for it at exit, before it asks it to stop
        )
        self._thread.start()
        try:
            self.client = opened.result()
        except BaseException:
            self.stop()
            raise

    def _run(
        self, opening: AbstractAsyncContextManager[AsyncEverfold], opened: Future[AsyncEverfold]
    ) -> None:
        try:
            asyncio.run(self._live(opening, opened))
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)
        finally:
            self._begun.set()
            for running in list(self._calls):  # the loop ended before it ran them
                running.give_up()

    async def _live(
        self, opening: AbstractAsyncContextManager[AsyncEverfold], opened: Future[AsyncEverfold]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._living = anyio.CancelScope()
        self._begun.set()
        with self._living:
            async with opening as client:
                opened.set_result(client)
                try:
                    await anyio.sleep_forever()
                finally:
                    await self._end_calls()
        opened.cancel()

    async def _end_calls(self) -> None:
        """Cancel what still runs, because it needs the connections that are closed next."""
        with anyio.move_on_after(END_WITHIN_S, shield=True):
            while self._calls:
                for running in list(self._calls):  # other threads begin more meanwhile
                    running.cancel()
                await anyio.sleep(0.001)

    @property
    def is_alive(self) -> bool:
        """Whether this process may use it."""
        return self._process == os.getpid() and self._thread.is_alive()

    @property
    def is_own(self) -> bool:
        """Whether the caller runs in this thread, which must not wait for itself."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Await what a function returns in the event loop, and return its result.

        Raises ClientClosed, ClientShared after a fork, Refused in the event loop itself.
        """
        running = self.start(function)
        try:
            return running.result()
        except BaseException:
            self.leave(running)  # by an error of the caller's own, such as KeyboardInterrupt
            raise

    def start(self, function: Callable[[], Awaitable[T]]) -> Running[T]:
        """Begin a call; `leave` it when its result is not wanted. Raises as `call` does."""
        loop, running = self._checked_loop(), Running(function)
        coroutine = running.run(self._calls)
        self._calls.add(running)
        try:
            asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # the loop was closed just now
            self._calls.discard(running)
            coroutine.close()
            raise ClientClosed from None
        return running

    def leave(self, running: Running[T]) -> None:
        """Cancel a call that has not ended and wait until it has, 20 s at most."""
        if running.has_ended or self._process != os.getpid() or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the call with it
            self._loop.call_soon_threadsafe(running.cancel)
            if not self.is_own:
                running.wait(END_WITHIN_S)

    def _checked_loop(self) -> asyncio.AbstractEventLoop:
        if self._process != os.getpid():
            raise ClientShared(f"process {self._process}", f"process {os.getpid()}")
        if self.is_own:
            raise Refused("this call would wait for itself: inside `run`, await the client given")
        if self._loop is None or not self._thread.is_alive():
            raise ClientClosed
        return self._loop

    def stop(self) -> None:
        """Close the client and end the thread. Calls that wait raise ClientClosed."""
        if self._process != os.getpid():
            return
        self._begun.wait()
        if self._loop is not None and self._living is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._living.cancel)
        if not self.is_own:
            self._thread.join(END_WITHIN_S)


class Running(Generic[T]):
    """A call that runs in the event loop."""

    def __init__(self, function: Callable[[], Awaitable[T]]) -> None:
        self._function = function
        self._outcome = Future[T]()
        self._scope: anyio.CancelScope | None = None
        self._is_left = False

    async def run(self, among: set[Running[Any]]) -> None:
        """Run it in the event loop, and leave the set of those that run.

        Each error is its caller's, SystemExit too: raised here it would end the loop for all.
        """
        try:
            # Its cancel is delivered at each wait: one that comes with an answer may be lost.
            with anyio.CancelScope() as self._scope:
                if self._is_left:
                    return
                self._outcome.set_result(await self._function())
        except (asyncio.CancelledError, GeneratorExit):  # the loop ends
            raise
        except BaseException as error:
            self._outcome.set_exception(error)
        finally:
            among.discard(self)
            self.give_up()

    def give_up(self) -> None:
        """Let its caller have ClientClosed where there is no other outcome."""
        if not self._outcome.done():
            self._outcome.set_exception(ClientClosed())

    def cancel(self) -> None:
        """Cancel it, in the event loop."""
        self._is_left = True
        if self._scope is not None:
            self._scope.cancel()

    @property
    def has_ended(self) -> bool:
        return self._outcome.done()

    def wait(self, within_s: float) -> None:
        """Wait until it has ended, `within_s` seconds at most."""
        concurrent.futures.wait([self._outcome], within_s)

    def result(self) -> T:
        """Return what it returned, when it has ended. Raises its error; ClientClosed."""
        return self._outcome.result()
