"""The error replies of Redis 7 and 8 and of Valkey 8 and 9, and what Everfold makes of each.

Rule: the texts are the servers' own, as they stand on the wire behind the minus sign.
"""

from __future__ import annotations

from msgspec import Struct

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


class ErrorReply(Struct, frozen=True):
    text: str
    leaf: type[EverfoldError]
    says: str
    """Words of the sentence that says what to do."""


REPLIES = tuple(
    ErrorReply(*row)
    for row in (
        ("MOVED 13016 127.0.0.1:18302", SlotMoved, "wait until that is done"),
        ("ASK 13016 127.0.0.1:18302", SlotMoved, "wait until that is done"),
        (
            "CROSSSLOT Keys in request don't hash to the same slot",
            ServerInCluster,
            "a new namespace there",
        ),
        (
            "ERR Script attempted to access a non local key in a cluster node",
            SlotMoved,
            "wait until that is done",
        ),
        (
            "ERR Script attempted to access keys that do not hash to the same slot",
            ServerInCluster,
            "a new namespace there",
        ),
        ("ERR SELECT is not allowed in cluster mode", ServerInCluster, "write /0"),
        ("CLUSTERDOWN The cluster is down", ServerUnreachable, "wait for its failover"),
        ("CLUSTERDOWN Hash slot not served", ServerUnreachable, "wait for its failover"),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            SlotMoved,
            "wait until that is done",
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            ServerLoading,
            "wait until that is done",
        ),
        (
            "LOADING Valkey is loading the dataset in memory",
            ServerLoading,
            "wait until that is done",
        ),
        (
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN "
            "NOSAVE.",
            ServerLoading,
            "SCRIPT KILL",
        ),
        ("BUSY Valkey is busy running a module.", ServerLoading, "wait for its end"),
        (
            "UNKILLABLE Sorry the script already executed write commands against the dataset.",
            ServerLoading,
            "wait for its end",
        ),
        (
            "READONLY You can't write against a read only replica.",
            ServerReadOnly,
            "address of the primary",
        ),
        (
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            ServerReadOnly,
            "address of the primary",
        ),
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> "
            "replica?)",
            ServerReadOnly,
            "address of the primary",
        ),
        ("REDIRECT 127.0.0.1:6380", ServerReadOnly, "address of the primary"),
        (
            "NOREPLICAS Not enough good replicas to write.",
            ServerReadOnly,
            "min-replicas-to-write",
        ),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
            "persist to disk.",
            ServerReadOnly,
            "make room",
        ),
        ("MISCONF Errors writing to the AOF file: No space left", ServerReadOnly, "make room"),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            ServerOutOfMemory,
            "maxmemory",
        ),
        ("NOAUTH Authentication required.", ServerRefusesAccess, "the user, a colon, the password"),
        (
            "NOAUTH HELLO must be called with the client already authenticated",
            ServerRefusesAccess,
            "the user, a colon, the password",
        ),
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            ServerRefusesAccess,
            "correct it",
        ),
        ("ERR invalid password", ServerRefusesAccess, "correct it"),
        (
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?",
            ServerRefusesAccess,
            "leave it out",
        ),
        ("ERR Client sent AUTH, but no password is set", ServerRefusesAccess, "leave it out"),
        (
            "ERR wrong number of arguments for 'auth' command",
            ServerRefusesAccess,
            "correct it",
        ),
        (
            "NOPERM this user has no permissions to run the 'xadd' command",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        (
            "NOPERM User ada has no permissions to run the 'client|list' command",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        ("NOPERM No permissions to access a key", ServerRefusesAccess, "`everfold acl`"),
        (
            "ERR The user executing the script can't run this command or subcommand",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        (
            "ERR The user executing the script can't access at least one of the keys mentioned in "
            "the command arguments",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        (
            "ERR The user executing the script can't publish to the channel mentioned in the "
            "command",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        (
            "ERR ACL failure in script: User ada has no permissions to run the 'xadd' command",
            ServerRefusesAccess,
            "`everfold acl`",
        ),
        ("NOPERM ACL failure in script: x", ServerRefusesAccess, "`everfold acl`"),
        (
            "ERR unknown command 'XAUTOCLAIM', with args beginning with: 'a' 'b' ",
            ServerRefusesAccess,
            "rename-command",
        ),
        (
            "ERR unknown command `EVALSHA`, with args beginning with: ",
            ServerRefusesAccess,
            "rename-command",
        ),
        (
            "ERR unknown subcommand 'SETNAME'. Try CLIENT HELP.",
            ServerRefusesAccess,
            "rename-command",
        ),
        (
            "ERR Unknown Redis command called from script",
            ServerRefusesAccess,
            "rename-command",
        ),
        ("ERR Unknown command called from script", ServerRefusesAccess, "rename-command"),
        (
            "ERR This Redis command is not allowed from script",
            ServerRefusesAccess,
            "rename-command",
        ),
        (
            "ERR This Valkey command is not allowed from script",
            ServerRefusesAccess,
            "rename-command",
        ),
        ("ERR unsupported command 'XREADGROUP'", ServerRefusesAccess, "rename-command"),
        (
            "DENIED Redis is running in protected mode because protected mode is enabled and no "
            "password is set for the default user. In this mode connections are only accepted from "
            "the loopback interface. " + "If you want to connect from external computers " * 9,
            ServerRefusesAccess,
            "give it a password",
        ),
        ("ERR max number of clients reached", ServerUnreachable, "maxclients"),
        (
            "ERR max number of clients + cluster connections reached",
            ServerUnreachable,
            "maxclients",
        ),
        ("ERR DB index is out of range", NoServer, "write /0"),
        ("ERR invalid DB index", NoServer, "write /0"),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            WrongKeyType,
            "another program",
        ),
        ("NOSCRIPT No matching script. Please use EVAL.", ServerError, "script"),
        ("BUSYGROUP Consumer Group name already exists", ServerError, "group"),
        (
            "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
            ServerError,
            "makes it again",
        ),
        ("ERR no such key", ServerError, "makes it again"),
        ("UNBLOCKED the stream key no longer exists", ServerError, "makes it again"),
        (
            "ERR The XGROUP subcommand requires the key to exist.",
            ServerError,
            "makes it again",
        ),
        (
            "ERR Protocol error: invalid bulk length",
            ServerError,
            "proto-max-bulk-len",
        ),
        ("BUSYKEY Target key name already exists.", ServerError, "its log"),
        (
            "EXECABORT Transaction discarded because of previous errors.",
            ServerError,
            "its log",
        ),
        ("NOTBUSY No scripts in execution right now.", ServerError, "its log"),
        ("NOPROTO unsupported protocol version", ServerError, "its log"),
        ("ERR value is not an integer or out of range", ServerError, "its log"),
        (
            "ERR user_script:12: attempt to compare nil with number",
            ServerError,
            "its log",
        ),
        ("WHATEVER came to somebody's mind", ServerError, "its log"),
        ("ERR \x1b[31m\xff\t" + "long " * 100_000, ServerError, "its log"),
        ("", ServerError, "its log"),
        ("ERR", ServerError, "its log"),
    )
)
"""Every one is an answer that some server gives, but for the last four."""


def passed_on(text: str) -> tuple[str, ...]:
    """Return a reply as the scripts of the servers pass it on."""
    sha = "833373e25f1df70da25020029f5d2db2ee10f1fb"
    bare = text.removeprefix("ERR ")
    return (
        f"{text} script: {sha}, on @user_script:9.",
        f"{text} script: on @user_script:9.",
        f"ERR {text}",
        f"-{text}",
        f"ERR user_script:9: {text} script: {sha}, on @user_script:9.",
        f"ERR Error running script (call to f_{sha}): @user_script:9: {text}",
        f"ERR Error running script (call to f_{sha}): @user_script: 9: -{bare}",
    )
