"""What each error reply of a server means: the leaf of Everfold's tree, and what to do about it.

Rule: pure and total. Every text has a leaf and a sentence, and what is shown of the text is short
and printable. A reply that a script passes on means what it means without the script.
"""

from __future__ import annotations

import re

from everfold.streams.errors import (
    EverfoldError,
    NoServer,
    ServerError,
    ServerInCluster,
    ServerLoading,
    ServerOutOfMemory,
    ServerReadOnly,
    ServerRefusesAccess,
    ServerUnreachable,
    SlotMoved,
    WrongKeyType,
)

SHOWN_LIMIT = 200
"""Characters of a reply that are shown."""


class NoScript(ServerError):
    """The server does not have a script yet. Internal: it is sent with its text then."""


class GroupExists(ServerError):
    """A consumer group is there already. Internal: its maker goes on."""


class NoGroup(ServerError):
    """A consumer group is gone, as after FLUSHALL. Internal: its reader makes it again."""


_ROWS: tuple[tuple[str, type[EverfoldError], str], ...] = (
    (
        r"(MOVED|ASK|TRYAGAIN)\b|.*\bnon local key\b",
        SlotMoved,
        "keys are moved to another node of the cluster: wait until that is done",
    ),
    (
        r"CROSSSLOT\b|.*do not hash to the same slot",
        ServerInCluster,
        "the server is a cluster, and keys that belong together lie at several of its nodes: make "
        "a new namespace there, or give REDIS_URL the address of one server",
    ),
    (
        r"SELECT is not allowed in cluster mode",
        ServerInCluster,
        "the server is a cluster, which has the database 0 only: write /0 in the URL",
    ),
    (
        r"CLUSTERDOWN\b",
        ServerUnreachable,
        "the cluster does not serve all of its slots: wait for its failover; at a node "
        "CLUSTER INFO says more",
    ),
    (
        r"LOADING\b",
        ServerLoading,
        "the server loads its data into memory: wait until that is done",
    ),
    (
        r"(BUSY|UNKILLABLE)\b",
        ServerLoading,
        "the server is busy with a long script or module: wait for its end, or end it there with "
        "SCRIPT KILL",
    ),
    (
        r"(READONLY\b|MASTERDOWN\b|UNBLOCKED force|REDIRECT\b)",
        ServerReadOnly,
        "the server is a replica, or becomes one: wait for the end of the failover, or give "
        "REDIS_URL the address of the primary",
    ),
    (
        r"NOREPLICAS\b",
        ServerReadOnly,
        "the server has fewer good replicas than its min-replicas-to-write: bring the replicas "
        "back, or lower that number there",
    ),
    (
        r"MISCONF\b",
        ServerReadOnly,
        "the server cannot write to its disk and refuses writes: make room there, its log says "
        "what failed",
    ),
    (
        r"OOM\b",
        ServerOutOfMemory,
        "the server has reached its maxmemory: raise it, or trim the log (`everfold archive run`)",
    ),
    (
        r"(NOAUTH\b|Authentication required)",
        ServerRefusesAccess,
        "the server wants a password; it stands in the URL before the host: the user, a colon, the "
        "password and an @",
    ),
    (
        r"AUTH <password> called without|Client sent AUTH, but no password is set",
        ServerRefusesAccess,
        "the server has no password, but the URL names one: leave it out",
    ),
    (
        r"(WRONGPASS\b|invalid (username-)?password|wrong number of arguments for 'auth')",
        ServerRefusesAccess,
        "the user or the password in the URL is wrong: correct it",
    ),
    (
        r"(NOPERM\b|ACL failure|The user executing the script can't|.*can't run this command|"
        r"operation not permitted)",
        ServerRefusesAccess,
        "the server's user lacks a right: give it that right, `everfold acl` prints all of them",
    ),
    (
        r"unknown command ['`]SENTINEL",
        NoServer,
        "the URL names a Redis server where Sentinels are to be: write redis:// for this server, "
        "or the addresses of the Sentinels, most often at port 26379",
    ),
    (
        r"This instance has cluster support disabled",
        NoServer,
        "the URL says redis+cluster://, and the server is no node of a cluster: write redis://",
    ),
    (
        r"unknown (sub)?command|Unknown (Redis |Valkey )?command called from script|"
        r"This \w+ command is not allowed|unsupported command|Command is not available",
        ServerRefusesAccess,
        "the server does not offer a command that Everfold needs: take back its rename-command, or "
        "use Redis 7.0 or newer, or Valkey 8 or newer",
    ),
    (
        r"DENIED\b",
        ServerRefusesAccess,
        "the server is in protected mode and answers its own machine only: give it a password, "
        "and write that into the URL",
    ),
    (
        r"max number of clients",
        ServerUnreachable,
        "all connections of the server are taken: raise its maxclients, or close programs that "
        "hold many",
    ),
    (
        r"(DB index is out of range|invalid DB index)",
        NoServer,
        "the server does not have the database that the URL names: write /0",
    ),
    (
        r"WRONGTYPE\b",
        WrongKeyType,
        "a key holds a value of another type than Everfold writes there, so another program wrote "
        "it: `everfold doctor` helps to find it, delete it or restore it",
    ),
    (r"NOSCRIPT\b", NoScript, "the server does not have the script: send its text"),
    (r"BUSYGROUP\b", GroupExists, "the consumer group is there already"),
    (
        r"(NOGROUP\b|UNBLOCKED the stream key|no such key\b|"
        r"The XGROUP subcommand requires the key to exist)",
        NoGroup,
        "a consumer group or its stream is gone, as after FLUSHALL: its reader makes it again",
    ),
    (
        r"(Protocol error|.*invalid (multi)?bulk length)",
        ServerError,
        "the server does not take what it was sent: check that REDIS_URL leads to a Redis or "
        "Valkey server, and raise its proto-max-bulk-len",
    ),
)
_MEANINGS = tuple((re.compile(row, re.IGNORECASE), leaf, sentence) for row, leaf, sentence in _ROWS)

_UNKNOWN = (
    ServerError,
    "the server answered with an error that Everfold does not know: its log may say more",
)

_AROUND = re.compile(
    r"\s*(-|ERR\b|Error running script \(call to [^)]*\):|@?user_script:\s*\d+:)", re.IGNORECASE
)
"""What stands before the reply that a script passes on."""


def meaning(reply: str) -> tuple[type[EverfoldError], str]:
    """Return the leaf that an error reply stands for, and what was wrong and what to do."""
    reply = reply[:1000]
    while found := _AROUND.match(reply):
        reply = reply[found.end() :]
    reply = reply.lstrip()
    for pattern, leaf, sentence in _MEANINGS:
        if pattern.match(reply):
            return leaf, sentence
    return _UNKNOWN


def shown(reply: str) -> str:
    """Return a reply for a sentence or a line of the log: on one line, printable and short."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(reply[:1000].split()))
    return text if len(text) <= SHOWN_LIMIT else f"{text[:SHOWN_LIMIT]}..."


def is_passing(reply: str) -> bool:
    """Say whether a server says that it cannot answer now, or not to so many clients."""
    return meaning(reply)[0] in (ServerLoading, ServerReadOnly, ServerUnreachable)
