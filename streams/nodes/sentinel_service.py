"""A service under Sentinel: where its primary is, asked anew for each connection.

Rule: all Sentinels are asked at once, and no one of them is waited for: one that is dead, hangs,
lies or knows nothing costs ASK_S at most. Whoever is named is taken only when it says itself that
it is the primary.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import redis.exceptions as theirs
from redis.asyncio import Redis

from everfold.streams.border.logger import get_logger
from everfold.streams.closing import end_all
from everfold.streams.connections.pipelining import PipeliningRedis
from everfold.streams.connections.replies import meaning, shown
from everfold.streams.errors import EverfoldError, NoServer, ServerRefusesAccess
from everfold.streams.nodes.address import Address
from everfold.streams.nodes.endpoint import Endpoint
from everfold.streams.nodes.pools import pool_of
from everfold.streams.nodes.sentinel_replies import (
    SWITCH_CHANNEL,
    Named,
    in_order,
    is_agreed,
    living_replicas,
    question,
    read_named,
    read_switch,
)

logger = get_logger("everfold.nodes")

ASK_S = 1.0
"""Longest wait for the answers of all Sentinels."""
LATECOMERS_S = 0.05
"""How long the others are waited for once most agree: one may know of a newer primary."""
LISTEN_S = 2.0
"""Silence after which a Sentinel is asked for a sign of life, and after twice that left."""
ASK_AGAIN_S = 5.0
"""Seconds between two looks without an occasion: a message may have been missed."""
PAUSE_S = 1.0
"""Also between two looks while a replica is away: prompts may wait for its return."""
DOUBTED_S = 60.0
"""How long the look does not drop connections for a primary that has said that it is none."""


class SentinelService:
    """`switched` is called when another server is the primary. In one event loop; `aclose` it."""

    def __init__(self, address: Address, name: str, switched: Callable[[], None]) -> None:
        self.service = address.service
        self.primary: Endpoint | None = None
        self.replicas = 0
        """Of the primary, those that live."""
        self._are_all_there = True
        self._address, self._name, self._switched = address, name, switched
        self._sentinels: dict[Endpoint, PipeliningRedis] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._connecting = set[asyncio.Timeout]()
        self._doubted: dict[Endpoint, float] = {}
        self._asking: asyncio.Task[list[Endpoint]] | None = None

    async def candidates(self) -> list[Endpoint]:
        """Ask all Sentinels; return whom they name, the likeliest first.

        Raises NoServer when all of them know no such service, ServerRefusesAccess when all refuse,
        redis-py's ConnectionError when none names a primary.
        """
        self._start()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    @contextlib.contextmanager
    def connecting(self) -> Iterator[asyncio.Timeout]:
        """Give a time-out that expires when another server becomes the primary."""
        limit = asyncio.timeout(None)
        self._connecting.add(limit)
        try:
            yield limit
        finally:
            self._connecting.discard(limit)

    def take(self, primary: Endpoint) -> bool:
        """Note which server said that it is the primary; return whether it is another one."""
        before, self.primary = self.primary, primary
        self._doubted.pop(primary, None)
        return before is not None and before != primary

    def doubt(self, named: Endpoint) -> None:
        """Note that a server that was named is no primary."""
        self._doubted[named] = time.monotonic()

    async def aclose(self) -> None:
        """End the tasks and close the connections to all Sentinels."""
        tasks = [*self._tasks, *([self._asking] if self._asking is not None else [])]
        await end_all(tasks)
        await asyncio.gather(*(one.aclose() for one in self._sentinels.values()))

    def _start(self) -> None:
        if self._tasks:
            return
        for at in dict.fromkeys(self._address.endpoints):
            pool = pool_of(self._address.sentinel_url(at), self._name, ASK_S, None)
            self._sentinels[at] = PipeliningRedis(pool, ASK_S, str(at))
            self._tasks.append(asyncio.create_task(self._listen_to(at)))
        self._tasks.append(asyncio.create_task(self._look_again()))

    def _switch(self) -> None:
        """Drop what leads to the former primary, also what is only about to."""
        now_s = asyncio.get_running_loop().time()
        for limit in tuple(self._connecting):
            if not limit.expired():
                limit.reschedule(now_s)
        self._switched()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(ASK_AGAIN_S if self._are_all_there else PAUSE_S)
            await self._look()

    async def _look(self) -> None:
        """Switch when the Sentinels name another primary than the one that is connected to."""
        try:
            first = (await self.candidates())[0]
        except (EverfoldError, theirs.RedisError, OSError):
            return
        is_doubted = time.monotonic() - self._doubted.get(first, float("-inf")) < DOUBTED_S
        if self.primary is not None and first != self.primary and not is_doubted:
            logger.info("primary_switched service=%s to=%s by=%s", self.service, first, "asking")
            self._switch()

    async def _listen_to(self, at: Endpoint) -> None:
        """Hear of switches from one Sentinel, for as long as the client lives."""
        while True:
            try:
                await self._listen_once(at)
            except (EverfoldError, theirs.RedisError, OSError) as error:
                logger.debug("sentinel_silent sentinel=%s error=%r", at, error)
            await asyncio.sleep(PAUSE_S)

    async def _listen_once(self, at: Endpoint) -> None:
        pool = pool_of(self._address.sentinel_url(at), self._name, ASK_S, ASK_S)
        redis = Redis.from_pool(pool)
        try:
            hearing = redis.pubsub()
            await hearing.subscribe(SWITCH_CHANNEL)
            is_asked = False
            while True:
                message = await hearing.get_message(timeout=LISTEN_S)
                if message is None and is_asked:
                    return  # it hangs
                if message is None:
                    await hearing.ping()
                is_asked = message is None
                if message is not None and message["type"] == "subscribe":
                    await self._look()  # it may have told before
                if message is not None and message["type"] == "message":
                    self._hear(message["data"])
        finally:
            await redis.aclose()

    def _hear(self, payload: object) -> None:
        found = read_switch(payload)
        if found is None or found[0] != self.service or found[1] == self.primary:
            return
        logger.info("primary_switched service=%s to=%s by=%s", *found, "message")
        self._switch()

    async def _ask_all(self) -> list[Endpoint]:
        named, whys = list[Named](), list[Exception]()
        tasks = {asyncio.create_task(self._ask(one)) for one in self._sentinels.values()}
        waiting, until_s = set(tasks), time.monotonic() + ASK_S
        try:
            while waiting and (left_s := until_s - time.monotonic()) > 0:
                done, waiting = await asyncio.wait(
                    waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                answers = [task.result() for task in done]
                named += [one for one in answers if isinstance(one, Named)]
                whys += [one for one in answers if isinstance(one, Exception)]
                if is_agreed(named, len(tasks)):
                    until_s = min(until_s, time.monotonic() + LATECOMERS_S)
        finally:
            for task in tasks:
                task.cancel()
        if not named:
            raise self._nobody(whys, len(waiting))
        self.replicas = living_replicas(named, len(tasks))
        self._are_all_there = all(one.living == one.replicas for one in named)
        return in_order(named)

    async def _ask(self, sentinel: PipeliningRedis) -> Named | Exception:
        try:
            answers = await sentinel.together(question(self.service))
        except (EverfoldError, theirs.RedisError, OSError) as error:
            return error
        if isinstance(answers[0], Exception):
            return answers[0]
        return read_named(answers) or NoServer("it knows no such service")

    def _nobody(self, whys: list[Exception], silent: int) -> Exception:
        """Return the error for when no Sentinel names a primary."""
        if not silent and whys and all(isinstance(one, NoServer) for one in whys):
            return NoServer(
                f"no Sentinel knows a service of the name in {self._address.shown!r}: correct it"
            )
        others = [one for one in whys if meaning(_reply(one))[0] is NoServer]
        if others and not silent and len(others) == len(whys):
            return NoServer(meaning(_reply(others[0]))[1])
        refusals = [str(one) for one in whys if meaning(_reply(one))[0] is ServerRefusesAccess]
        if refusals and not silent and len(refusals) == len(whys):
            return ServerRefusesAccess(
                "the Sentinels want another user or password; both stand behind the ? of the URL, "
                f"as sentinel_user and sentinel_password (Sentinel: {shown(refusals[0])})"
            )
        said = ", ".join(shown(str(one)) or type(one).__name__ for one in whys)
        return theirs.ConnectionError(
            f"no Sentinel names the primary: {said}{', ' if said and silent else ''}"
            f"{f'{silent} did not answer' if silent else ''}"
        )


def _reply(error: Exception) -> str:
    if isinstance(error, theirs.AuthenticationError):
        return "WRONGPASS"
    return str(error)
