"""A backend whose calls raise nothing and end: what an adapter does counts against that backend.

Rule: a bug of an adapter is trouble with its backend, as a broken connection is. It never ends an
actor, is never charged to a job, and holds nobody up for longer than the limits below.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio

from everfold.runner.backend import (
    Ambiguous,
    Attempt,
    Backend,
    DownloadBroken,
    InputBytes,
    InputFile,
    Load,
    NotPlaced,
    Observation,
    OutputAnswer,
    OutputBody,
    OutputFile,
    OutputGone,
    PlaceOutcome,
    Sighting,
    SubmitOutcome,
    Truth,
    Unreachable,
)
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.pipelining import resolve

logger = get_logger("everfold.runner")

T = TypeVar("T")

CALL_WITHIN_S = 150.0
"""For any call but a submit; adapters have shorter limits of their own."""
SUBMIT_WITHIN_S = 300.0
WHY_LIMIT = 500
PLACE_WITHIN_S, LEAST_RATE = 600.0, 32 * 1024
"""For placing a file: bytes per second of all transfers, there and back, of several tries."""
OBSERVE_WITHIN_S = 30.0
"""For the beginning of an observation, its end, and what its calls take beyond their time."""


class TotalBackend:
    """Implements `everfold.runner.backend.Backend` by another one, without its exceptions."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        return self._backend.name

    async def boot(self) -> str | Unreachable:
        return await self._or_unreachable(self._backend.boot())

    async def server(self) -> str | Unreachable:
        return await self._or_unreachable(self._backend.server())

    async def capabilities(self) -> ObjectInfo | Unreachable | None:
        # An adapter that was written before there was such a call tells nothing.
        read = getattr(self._backend, "capabilities", _unknown)
        return await self._or_unreachable(read())

    async def load(self) -> Load | Unreachable:
        return await self._or_unreachable(self._backend.load())

    async def place_input(self, file: InputFile, content: InputBytes) -> PlaceOutcome:
        place = getattr(self._backend, "place_input", None)
        if place is None:
            return NotPlaced("its adapter cannot send files")
        try:
            with anyio.fail_after(PLACE_WITHIN_S + file.size_bytes / LEAST_RATE):
                outcome: PlaceOutcome = await place(file, content)
                return outcome
        except Exception as error:
            return Unreachable(self._note(error))

    async def has_input(self, file: InputFile, name: str) -> bool:
        return await self._or_unreachable(self._backend.has_input(file, name)) is True

    async def truth(self, prompt_id: str, boot: str, server: str = "") -> Truth:
        return await self._or_unreachable(self._backend.truth(prompt_id, boot, server))

    async def submit(
        self, attempt: Attempt, workflow: bytes, may_send: Callable[[], bool]
    ) -> SubmitOutcome:
        try:
            answer = self._backend.submit(attempt, workflow, may_send)
            return await _in_time(answer, SUBMIT_WITHIN_S)
        except Exception as error:
            return Ambiguous(self._note(error))

    async def cancel(self, attempt: Attempt) -> None:
        try:
            with anyio.fail_after(CALL_WITHIN_S):
                await self._backend.cancel(attempt)
        except Exception as error:
            self._note(error)

    @asynccontextmanager
    async def observe(self, attempt: Attempt, workflow: bytes) -> AsyncIterator[Observation]:
        observation = _TotalObservation(self._note)
        # A task of its own: what an adapter begins there is no part of the job run.
        holding = asyncio.create_task(observation.run(self._backend, attempt, workflow))
        try:
            await _until(observation.begun)
            yield observation
        finally:
            observation.is_over.set()
            try:
                await _until(observation.ended)
            finally:
                if not holding.done():
                    await end_all((holding,))

    @asynccontextmanager
    async def open_output(
        self, file: OutputFile, boot: str, server: str = ""
    ) -> AsyncIterator[OutputAnswer]:
        # An adapter that was written before there was such a call has no files.
        ask = getattr(self._backend, "open_output", None) or _no_output
        try:
            with anyio.fail_after(CALL_WITHIN_S):
                asking: AbstractAsyncContextManager[OutputAnswer] = ask(file, boot, server)
                answer = await asking.__aenter__()
        except Exception as error:
            yield Unreachable(self._note(error))
            return
        try:
            yield self._total_answer(answer)
        finally:
            await self._end(asking)

    async def _end(self, asking: AbstractAsyncContextManager[OutputAnswer]) -> None:
        with anyio.move_on_after(OBSERVE_WITHIN_S, shield=True):
            try:
                await asking.__aexit__(None, None, None)
            except Exception as error:
                self._note(error)

    def _total_answer(self, answer: OutputAnswer) -> OutputAnswer:
        if not isinstance(answer, OutputBody):
            return answer
        return OutputBody(answer.size_bytes, self._total_chunks(answer.chunks))

    async def _total_chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            try:
                with anyio.fail_after(CALL_WITHIN_S):
                    chunk = await anext(chunks, None)
            except DownloadBroken:
                raise
            except Exception as error:
                raise DownloadBroken(self._note(error)) from error
            if chunk is None:
                return
            yield chunk

    async def aclose(self) -> None:
        try:
            with anyio.fail_after(OBSERVE_WITHIN_S):
                await self._backend.aclose()
        except Exception as error:
            self._note(error)

    async def _or_unreachable(self, answer: Awaitable[T]) -> T | Unreachable:
        try:
            return await _in_time(answer, CALL_WITHIN_S)
        except Exception as error:
            return Unreachable(self._note(error))

    def _note(self, error: Exception) -> str:
        logger.error("backend_adapter_raised url=%s", self.name, exc_info=error)
        if isinstance(error, TimeoutError):
            return "its adapter did not answer in time"
        return f"its adapter raised {type(error).__name__}: {error}"[:WHY_LIMIT]


async def _in_time(answer: Awaitable[T], within_s: float) -> T:
    """Await an answer; raise TimeoutError where it does not come in time. anyio.fail_after costs a
    third more, and several calls of each job begin and end here."""
    with anyio.CancelScope(deadline=asyncio.get_running_loop().time() + within_s):
        return await answer
    raise TimeoutError


async def _until(moment: asyncio.Future[None]) -> None:
    """Wait until it has come, OBSERVE_WITHIN_S at most."""
    timer = asyncio.get_running_loop().call_later(OBSERVE_WITHIN_S, resolve, moment, None)
    try:
        await moment
    finally:
        timer.cancel()


async def _unknown() -> None: ...


@asynccontextmanager
async def _no_output(file: OutputFile, boot: str, server: str) -> AsyncIterator[OutputAnswer]:
    yield OutputGone()


class _TotalObservation:
    """Sees nothing where the adapter's observation raises; the truth is asked for all the same."""

    def __init__(self, note: Callable[[Exception], str]) -> None:
        self._note = note
        self._seen: Observation | None = None
        self._is_wanted = False
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.is_over = asyncio.Event()

    async def run(self, backend: Backend, attempt: Attempt, workflow: bytes) -> None:
        """Hold the adapter's observation until `is_over` is set."""
        try:
            async with backend.observe(attempt, workflow) as self._seen:
                self.pass_on(self._is_wanted)
                resolve(self.begun, None)
                await self.is_over.wait()
        except Exception as error:
            self._note(error)
        finally:
            self._seen = None
            resolve(self.begun, None)
            resolve(self.ended, None)

    async def next(self, timeout_s: float) -> Sighting:
        if self._seen is not None:
            try:
                return await _in_time(self._seen.next(timeout_s), timeout_s + OBSERVE_WITHIN_S)
            except Exception as error:
                self._note(error)
                self._seen = None
        await anyio.sleep(timeout_s)
        return Sighting()

    async def reconnect(self) -> None:
        if self._seen is not None:
            try:
                with anyio.fail_after(OBSERVE_WITHIN_S):
                    await self._seen.reconnect()
            except Exception as error:
                self._note(error)
                self._seen = None

    def pass_on(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        # An adapter that was written before there was such a call passes nothing on.
        tell = getattr(self._seen, "pass_on", None)
        if tell is not None:
            try:
                tell(is_wanted)
            except Exception as error:
                self._note(error)
