"""What `everfold doctor` says of each ComfyUI: asked from here, or by the word of the runners.

Rule: each is asked through the access that its settings here give. Where that does not lead there,
what the runners wrote of it counts: they may have a password that this machine has not.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping

from msgspec import Struct

from everfold.commands.config.backends import Backends, access_of
from everfold.runner.access.access import Access
from everfold.runner.backend import Load, Unreachable
from everfold.runner.comfyui import ComfyBackend
from everfold.streams.appending.log import Log
from everfold.streams.closing import close
from everfold.streams.errors import Misconfigured
from everfold.streams.leases.backends import BackendEntry, backend_entries, is_loopback
from everfold.streams.leases.registry import LATELY_S, RunnerEntry, registered_runners, silence_s
from everfold.streams.redis.server import server_time_ms

ASKED_WITHIN_S = 3.0

ADVICE = re.compile(
    r"(?P<found>.+?): (?P<advice>(?:start|correct|renew|see|use|name|set|write|raise) .+)"
)
"""How a sentence about an access is made."""


class Asked(Struct, frozen=True):
    """One backend: what people call it, what was found, and what to change."""

    shown: str
    found: str
    advice: str = ""


async def asked_backends(log: Log, given: list[str] | None) -> AsyncIterator[Asked]:
    """Ask each backend that a runner is configured with, or that is named or set here.

    Raises Misconfigured where `given` names none, or a variable is no setting.
    """
    backends = Backends.read()
    accesses = dict[str, Access]()
    for name, settings in backends.named(given):
        try:
            access = access_of(name, settings)
            access.ssl_context()
            accesses[access.url] = access
        except Misconfigured as error:
            if "url" in settings:  # else it is the settings of a backend that a flag names
                yield Asked(name, str(error), "correct its settings")
    known = backends.known(accesses.values())
    runners, entries = await registered_runners(log), await backend_entries(log)
    now_ms = await server_time_ms(log.redis)
    served = {url for runner in runners.values() for url in runner.backends}
    for url in sorted(served | accesses.keys()):
        word = RunnersWord(url, entries, runners, now_ms)
        yield await _asked(known.get(url), word)


class RunnersWord:
    """What the runners wrote of the backend at one address."""

    def __init__(
        self,
        url: str,
        entries: Iterable[BackendEntry],
        runners: Mapping[str, RunnerEntry],
        now_ms: int,
    ) -> None:
        self.url = url
        self._entries = [one for one in entries if one.name == url and one.by in runners]
        self._hosts = {runner.host for runner in runners.values() if url in runner.backends}
        self._now_ms = now_ms

    @property
    def is_elsewhere(self) -> bool:
        """Whether the address is a loopback one, and means other machines than this."""
        here = socket.gethostname()
        return is_loopback(self.url) and bool(self._hosts) and here not in self._hosts

    @property
    def shown(self) -> str:
        return next((entry.shown for entry in self._entries if entry.title), self.url)

    def said(self, why: str) -> Asked:
        """Return their word, as `why` says why nothing was learned from here."""
        for entry in self._entries:
            if entry.why:
                return told(self.shown, entry.why, f" (says {entry.by})")
            if entry.is_reached and silence_s(entry.seen_ms, self._now_ms) < LATELY_S:
                return Asked(self.shown, f"not from here ({why}); {entry.by} reaches it")
        return told(self.shown, why)


def told(shown: str, why: str, who: str = "") -> Asked:
    """Part a sentence into what was found and what to change."""
    if parts := ADVICE.fullmatch(why):
        return Asked(shown, parts["found"] + who, parts["advice"])
    return Asked(shown, why + who, "start it, or correct its address")


async def _asked(access: Access | None, word: RunnersWord) -> Asked:
    shown = access.shown if access else word.shown
    if access is None and word.is_elsewhere:
        return word.said("it is an address of another machine")
    load = await _load(access or word.url)
    if isinstance(load, Unreachable):
        # A wrong password of this machine is to be mended, whoever else gets in.
        is_wrong = load.refuses and access is not None and access.address.headers
        return told(shown, load.why) if is_wrong else word.said(load.why)
    if load.pending and not load.running:
        advice = "if this stays so its worker is dead: restart it"
        return Asked(shown, f"{load.pending} waiting, none running", advice)
    return Asked(shown, f"{load.running} running, {load.pending} waiting")


async def _load(address: Access | str) -> Load | Unreachable:
    try:
        backend = ComfyBackend(address, timeout_s=ASKED_WITHIN_S)
    except Misconfigured as error:
        return Unreachable(str(error))
    try:
        return await backend.load()
    finally:
        await close(backend)
