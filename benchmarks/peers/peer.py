"""Who is run beside Everfold, with what settings, and what each of them writes for a job."""

from __future__ import annotations

from msgspec import Struct


class Peer(Struct, frozen=True, kw_only=True):
    """One library. All its settings are its defaults, save what `at_once` names as set."""

    name: str
    """Of its program in this folder, and of its folder in the cache."""
    packages: tuple[str, ...]
    """What is installed, the library first; versions are in requirements.txt and package.json."""
    at_once: str
    """How many jobs one worker has in hand."""
    keeps: str
    """What it writes for a job, and what is left of it in the server."""
    share: float = 1.0
    """Of the jobs that the others get: slow ones get fewer, their rate does not depend on it."""
    python: bool = True
    own: bool = False
    """It runs with what is installed here, and nothing is installed for it."""


EVERFOLD = Peer(
    name="everfold",
    packages=("everfold",),
    at_once="16 slots (set; default 2 per graphics card)",
    keeps="6 events, workflow, current state; all kept",
    own=True,
)
BARE = Peer(
    name="bare",
    packages=("redis",),
    at_once="16",
    keeps="6 events, workflow, current state; no claim, fence, order, lease or projector",
    own=True,
)
"""What a plain loop of redis-py costs that writes the same: beside the libraries, none of them."""
PEERS = (
    Peer(
        name="arq",
        packages=("arq", "hiredis"),
        at_once="10, and at most 100 per poll of 0.5 s",
        keeps="job and result as one key each; result kept 1 h",
        share=0.1,
    ),
    Peer(
        name="saq",
        packages=("saq", "hiredis", "typing-extensions"),
        at_once="10",
        keeps="job with its result as one key; kept 10 min",
    ),
    Peer(
        name="taskiq",
        packages=("taskiq-redis", "taskiq", "hiredis"),
        at_once="100",
        keeps="stream entry; kept, no result",
    ),
    Peer(
        name="streaq",
        packages=("streaq",),
        at_once="16",
        keeps="stream entry, task and result as keys; result kept 5 min",
    ),
    Peer(
        name="rq",
        packages=("rq", "hiredis"),
        at_once="1, a fork for each",
        keeps="job hash, registries, result stream; kept 500 s",
        share=0.05,
    ),
    Peer(
        name="celery",
        packages=("celery", "hiredis"),
        at_once="one process per core",
        keeps="message until it is received; nothing kept",
    ),
    Peer(
        name="dramatiq",
        packages=("dramatiq", "hiredis"),
        at_once="8 threads",
        keeps="message until it is acknowledged; nothing kept",
    ),
    Peer(
        name="bullmq",
        packages=("bullmq", "ioredis"),
        at_once="100 (set; default 1)",
        keeps="job hash, lists and sets, 4 events in a stream of 10,000; job kept",
        python=False,
    ),
)


def chosen(only: tuple[str, ...]) -> list[Peer]:
    """Return the peers with these names, all of them for none."""
    return [peer for peer in PEERS if not only or peer.name in only]
