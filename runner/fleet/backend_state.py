"""One backend as its runner sees it: whether it takes jobs, how much room it has, and why not.

Rule: a backend that shows waiting prompts and no running one in two polls has a dead worker; one
that goes on with a prompt that was to stop is wedged. Neither gets anything until it runs another
prompt or its queue is empty. What others queue there never takes the last slot of ours.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from msgspec import Struct

from everfold.runner.backend import NO_TRAITS, Backend, BackendTraits, Load, Unreachable
from everfold.runner.capabilities.fits import Missing
from everfold.runner.capabilities.object_info import ObjectInfo
from everfold.runner.fleet.known_capabilities import KnownCapabilities
from everfold.streams.border.logger import get_logger
from everfold.streams.connections.steady_clock import steady_s
from everfold.streams.events.needs import Needs
from everfold.streams.leases.backends import BackendEntry
from everfold.streams.leases.registry import LATELY_S

logger = get_logger("everfold.runner")

NOT_ASKED = "not asked yet"
NO_ANSWER_YET = "it has not answered yet"

REMIND_EVERY_S = 60.0
"""How often it is said again that a backend takes no jobs."""

MOST_REASONS, WITHIN_S = 3, 10.0
"""How often at most another reason not to take jobs is told within so long."""

SILENT_AFTER_S = 3.0
"""A poll that waits for so long: nothing is sent there until it is answered. That the server is
away is certain only when the poll fails, which takes several times as long."""

SLOW_POST_S = 5.0
"""Nothing more is sent to a server that has not answered a POST for so long."""

DEAD_WORKER_AFTER_S = 2.0
"""Time between two polls that both show waiting prompts and no running one: certain by then."""

REFUSED_FIRST_S, REFUSED_MOST_S = 2.0, 60.0
"""How long nothing is sent to a backend that turned a POST away; doubles with each further one."""


class BackendState:
    """One backend as last polled, and the slots that this runner has reserved on it."""

    last_sent: asyncio.Event | None = None
    """Set once the job with the newest reservation was sent."""
    pace_s: float | None = None
    """How long a job has run there lately, on average; None before the first."""
    models = ""
    """The model files that the last job sent there loads."""

    def __init__(self, backend: Backend, slots: int, traits: BackendTraits = NO_TRAITS) -> None:
        self.backend = backend
        self.slots = slots if traits.slots is None else traits.slots
        self.traits = traits
        self.reserved = 0
        self.others = 0
        """Prompts of others in its queue, by the last poll."""
        self.reachable = False
        self.is_retired = False  # an operator took it out of service
        self.is_drained = False  # an operator lets it take no new jobs; what it has goes on
        self.server = ""
        """Identity of the server that answers there, by the last look; empty while unknown."""
        self.wanted_server = ""
        """The only server that counts here, where a recovered job names one; empty for any."""
        self.identified_at_s = 0.0
        """time.monotonic() when that was last read."""
        self.asked_for_s = time.monotonic()
        """time.monotonic() when a job last asked for an unlisted one."""
        self.has_abandoned = False
        """Prompts that were given up may still run there; they are stopped first."""
        self.is_reached_elsewhere = False
        """Another runner has reached it lately."""
        self.reached_by = ""
        """The runner that wrote last that it reaches it."""
        self.away_s = 0.0
        """How long no runner has reached it, by the last heartbeat."""
        self.why_down = NOT_ASKED
        self.refuses = False  # by the last poll it lets this runner not in
        self.known = KnownCapabilities()
        self._has_dead_worker = False
        self.doubted = asyncio.Event()
        """Something that is not a poll has found it in trouble since the last one."""
        self._idle_since_s: float | None = None
        """Since when prompts wait there and none runs; None when that is not so."""
        self._wedged_by = ""
        """Prompt that runs on although it was to stop, or without a sign of life."""
        self._refused = ""
        self._refused_until_s = 0.0
        self._refusals = 0
        self._now_s = 0.0
        """Steady time of the last poll."""
        self._posts = dict[anyio.CancelScope, float]()
        """POSTs under way, and the steady time at which each began."""
        self._is_silent = False
        self._moved_at_s = steady_s()
        """When a slot was last given back, or the first one taken."""
        self._seen: tuple[int, float] | None = None
        """The newest time at which a runner reached it, and when that was first read here."""

    @property
    def title(self) -> str:
        """What people call it; empty: they call it by its address."""
        return self.traits.title

    @property
    def labels(self) -> frozenset[str]:
        """What jobs may ask for besides node classes and models."""
        return self.traits.labels

    def can_run(self, needs: Needs) -> tuple[Missing, ...]:
        """Return what the server lacks of a job's needs; empty where it can run the job.

        What it does not tell counts as there.
        """
        return self.known.missing(needs, self.labels)

    @property
    def capabilities(self) -> ObjectInfo | None:
        """What the server has; None while that is unknown, and then it may have everything."""
        return self.known.info

    @property
    def shown(self) -> str:
        """Return the backend for people: its name, if it has one, and its address."""
        return f"{self.title} {self.backend.name}".strip()

    @property
    def was_asked(self) -> bool:
        """Whether this runner has polled it, so that it knows whether it reaches it."""
        return self.reachable or self.why_down != NOT_ASKED

    @property
    def healthy(self) -> bool:
        """False: it answers, and executes nothing that waits there."""
        return not self._has_dead_worker and not self._wedged_by

    @property
    def takes_jobs(self) -> bool:
        """Whether a new attempt may be sent there, free slots aside."""
        return not self.why_not

    @property
    def why_not(self) -> str:
        """Why it takes no jobs, in words; empty while it does."""
        if not self.reachable:
            return self.why_down
        if self.is_retired:
            return "an operator retired it"
        if self.is_drained:
            return "an operator drains it"
        if self._has_dead_worker:
            return "prompts wait there and none runs"
        if self._wedged_by:
            return f"prompt {self._wedged_by} does not end"
        if self.has_abandoned:
            return "prompts that were given up are stopped first"
        if self._is_silent:
            return f"it has not answered for {SILENT_AFTER_S:.0f} s"
        if self._has_slow_post:
            return f"it has not answered a prompt for {SLOW_POST_S:.0f} s"
        return self._refused if self._now_s < self._refused_until_s else ""

    @property
    def room(self) -> int:
        """The number of free slots: 0 when it takes no jobs, never negative."""
        if not self.takes_jobs:
            return 0
        least = 1 if self.slots and not self.reserved else 0
        return max(least, self.slots - self.reserved - self.others)

    @property
    def _has_slow_post(self) -> bool:
        now_s = steady_s()
        return any(now_s - began_s > SLOW_POST_S for began_s in self._posts.values())

    def take(self) -> None:
        """Reserve a slot."""
        if not self.reserved:
            self._moved_at_s = steady_s()
        self.reserved += 1

    def give_back(self) -> None:
        """Free a slot."""
        self.reserved -= 1
        self._moved_at_s = steady_s()

    def note_run(self, run_s: float) -> None:
        """Note how long a job has run there: the newest counts most."""
        self.pace_s = run_s if self.pace_s is None else self.pace_s * 0.7 + run_s * 0.3

    @property
    def expected_s(self) -> float | None:
        """How long a job takes there as it looks now: one that has gone on for longer than usual
        may hang, and others must not wait for it. None before the first."""
        if self.pace_s is None or not self.reserved:
            return self.pace_s
        return max(self.pace_s, steady_s() - self._moved_at_s)

    def update(self, load: Load | Unreachable, reserved_before: int, now_s: float) -> None:
        """Apply the answer of one poll.

        `reserved_before` is the value of `reserved` when the poll began, `now_s` the time of any
        steady clock in seconds.
        """
        self._now_s, self._is_silent = now_s, False
        self.doubted.clear()
        self.refuses = isinstance(load, Unreachable) and load.refuses
        if isinstance(load, Unreachable):
            self.reachable, self.why_down, self._idle_since_s = False, load.why, None
            for post in () if load.refuses else self._posts:
                post.cancel()
            return
        self.reachable, self.why_down = True, ""
        # A job that came or left during the poll must not be counted as somebody else's.
        self.others = max(0, load.running + load.pending - max(reserved_before, self.reserved))
        if self._wedged_by not in load.running_ids:
            self._wedged_by = ""
        self._look_for_dead_worker(load, now_s)

    @contextmanager
    def posting(self) -> Iterator[None]:
        """Send an attempt in this context: it is left, as if no answer had come, once a poll finds
        that the server does not answer. A POST alone may wait for longer than its job may."""
        with anyio.CancelScope() as scope:
            self._posts[scope] = steady_s()
            try:
                yield
            finally:
                del self._posts[scope]

    def mark_silent(self) -> None:
        """Send nothing there until the poll that is under way is answered."""
        self._is_silent = True

    @property
    def answers(self) -> bool:
        """Whether the last poll was answered, and no answer is overdue."""
        return self.reachable and not self._is_silent

    def note_seen(
        self,
        entry: BackendEntry | None,
        *,
        own: str,
        now_ms: int,
        now_s: float,
        unsure_to_ms: int = 0,
    ) -> None:
        """Measure how long no runner has reached it, and note whether another one does.

        `entry` is what the runners last wrote of it, None for nothing; `own` the name of this
        runner. `now_ms` is the server's time, `now_s` that of a steady clock. Times of the server
        up to `unsure_to_ms` may be from before its clock was set.
        """
        if entry is None or self.reachable:
            self._seen = (now_ms, now_s)
            self.away_s, self.is_reached_elsewhere = 0.0, False
            return
        if self._seen is None:
            # What went by before this runner came is known by the server's clock alone. Nothing is
            # known of it where that clock was set in between, or where nobody has tried since.
            is_sure = entry.seen_ms > unsure_to_ms and not entry.is_reached
            before_ms = max(0, now_ms - entry.seen_ms) if is_sure else 0
            self._seen = (entry.seen_ms, now_s - before_ms / 1000)
        elif self._seen[0] != entry.seen_ms:
            self._seen = (entry.seen_ms, now_s)
        self.away_s = now_s - self._seen[1]
        others = entry.is_reached and entry.by != own
        self.is_reached_elsewhere = others and self.away_s < LATELY_S
        self.reached_by = entry.by

    def _look_for_dead_worker(self, load: Load, now_s: float) -> None:
        if load.running or not load.pending:
            self._idle_since_s, self._has_dead_worker = None, False
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        elif now_s - self._idle_since_s >= DEAD_WORKER_AFTER_S:
            self._has_dead_worker = True

    def mark_wedged(self, prompt_id: str) -> None:
        """Send nothing there while this prompt goes on running."""
        self._wedged_by = prompt_id

    def clear_wedged(self, prompt_id: str) -> None:
        """The prompt has moved after all."""
        if self._wedged_by == prompt_id:
            self._wedged_by = ""

    def mark_away(self, why: str) -> None:
        """Send nothing there until a poll has reached it again."""
        self.reachable, self.why_down = False, why
        self.doubted.set()

    @property
    def is_in_doubt(self) -> bool:
        """Whether the next polls decide what becomes of it: it refuses, or prompts wait there and
        none runs."""
        may_be_dead = self._idle_since_s is not None and not self._has_dead_worker
        return self.doubted.is_set() or may_be_dead or self._now_s < self._refused_until_s

    def mark_refusing(self, why: str) -> None:
        """Send nothing there for a while: it turned a POST away for a reason of its own."""
        if self._now_s < self._refused_until_s:
            return  # it is one refusal, met by several jobs
        pause_s = min(REFUSED_FIRST_S * 2.0 ** min(self._refusals, 10), REFUSED_MOST_S)
        self._refusals += 1
        self._refused, self._refused_until_s = why, self._now_s + pause_s
        self.doubted.set()

    def mark_accepting(self) -> None:
        """It has taken a POST."""
        self._refusals, self._refused_until_s = 0, 0.0


class _Told(Struct):
    takes_jobs: bool
    why_not: str
    at_s: list[float]
    """Steady times of what was told lately."""
    since_s: float
    """Since when it takes jobs, or takes none."""


class BackendNews:
    """Tells people when a backend takes jobs, or does not and why.

    Its first state is a change, too. Each state is told once, and one that takes no jobs is named
    again every REMIND_EVERY_S. `on_change` is called for each change of listed backends.
    """

    def __init__(self, on_change: Callable[[BackendState], None]) -> None:
        self._on_change = on_change
        self._told: dict[BackendState, _Told] = {}

    def tell(self, state: BackendState, *, is_listed: bool) -> None:
        """Log whether it takes jobs, and why not, unless that was told last."""
        now_s, takes_jobs, why = steady_s(), state.takes_jobs, state.why_not
        told = self._told.get(state)
        lately = [at_s for at_s in told.at_s if now_s - at_s < WITHIN_S] if told else []
        is_same = told is not None and told.takes_jobs == takes_jobs
        if told and is_same and (told.why_not == why or len(lately) >= MOST_REASONS):
            self._remind(state, told, now_s)
            return
        since_s = told.since_s if told and is_same else now_s
        self._told[state] = _Told(takes_jobs, why, [*lately, now_s], since_s)
        url = state.backend.name
        if takes_jobs:
            logger.info("backend_up backend=%s url=%s", state.title or url, url)
        else:
            logger.warning("backend_down backend=%s url=%s why=%s", state.title or url, url, why)
        if is_listed:
            self._on_change(state)

    def _remind(self, state: BackendState, told: _Told, now_s: float) -> None:
        if state.takes_jobs or now_s - told.at_s[-1] < REMIND_EVERY_S:
            return
        told.at_s = [now_s]
        url, why = state.backend.name, state.why_not
        logger.warning(
            "backend_still_down backend=%s url=%s why=%s for_s=%.0f",
            *(state.title or url, url, why, now_s - told.since_s),
        )

    def forget(self, state: BackendState) -> None:
        """Forget a backend that is no longer polled."""
        self._told.pop(state, None)
