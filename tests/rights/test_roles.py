"""Each role does its whole work with exactly the rights that `everfold acl` prints for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from everfold.streams.appending.log import Log
from everfold.streams.redis.access import COMMANDS, OPTIONAL, WRITTEN, Access, Role
from tests.architecture.source_tree import ROOT
from tests.rights.farm import NS, Farm
from tests.rights.monitor import SCRIPTS, Sent
from tests.rights.scripts import sources
from tests.rights.work import WORK, everything_runs
from tests.support.script_commands import script_commands
from tests.support.servers import OwnServer, client
from tests.support.wait import eventually

pytestmark = pytest.mark.anyio

Rights = Callable[[Role], AbstractContextManager[Redis]]

ALWAYS = {"auth", "select", "hello"}

RARE_SCRIPTS: dict[Role, tuple[str, ...]] = {
    "client": ("make_namespace", "drop_stale_index_entry"),
    "operator": ("make_namespace", "drop_stale_index_entry", "doom_blob", "forget_graph_assets"),
    "gateway": ("make_namespace", "drop_stale_index_entry", "extend_asset", "change_held"),
    "runner": (
        *(
            "make_namespace",
            "restart_leases",
            "restore_leases",
            "shift_times",
            "move_times",
            "doom_blob",
        ),
        *("forget_graph_assets", "extend_asset", "remove_asset"),
    ),
    "consumer": ("make_namespace",),
    "projector": ("make_namespace", "unpark", "trim", "erase_state", "forget_graph"),
    "archiver": ("make_namespace", "erase_state", "forget_graph"),
}
"""What a role runs where there is no namespace yet, or after a clock has jumped, a server has lost
writes, or files have expired."""

RARE_COMMANDS: dict[Role, set[str]] = {
    "projector": {"xgroup|setid", "get"},
    "archiver": set(),
}
"""Commands for the same."""

WHOLE = {"evalsha": "eval", "evalsha_ro": "eval_ro"}
"""What sends a whole script where nobody else has sent it just before, as a farm's programs may."""

LOSSES = {"rewound", "servers"}

RARE_KEYS: dict[Role, set[str]] = {
    "client": {"meta", "processes", *LOSSES},
    "operator": {
        "meta",
        "processes",
        "abandoned",
        "given_up",
        "gateway_key_uses",
        "running",
        *LOSSES,
    },
    "gateway": {
        "meta",
        "processes",
        "abandoned",
        "given_up",
        "gateway_key_uses",
        "running",
        *LOSSES,
    },
    "runner": {"meta", "abandoned", "asset_sweep", "given_up", *LOSSES},
    "consumer": {"meta"},
    "projector": {"meta"},
    "archiver": {"retention"},
}
"""Keys that a role writes when it makes the namespace, gives up a job, or now and then."""

MAKERS: tuple[Role, ...] = (
    *("client", "operator", "gateway", "runner", "projector", "consumer", "archiver"),
)

FORBIDDEN: list[tuple[Role, str]] = [
    ("reader", "HSET {rights:0}:head:a seq 1"),
    ("reader", "XADD {rights:0}:log * a b"),
    ("reader", "GET {rights:0}:partner_keys:a:b"),
    ("reader", "EVAL x 1 {rights:0}:log"),
    ("auditor", "DEL {rights:0}:log"),
    ("auditor", "GET {rights:0}:partner_keys:a:b"),
    ("client", "HSET rights:gateway_keys a b"),
    ("client", "HSET rights:limits a 9"),
    ("client", "HSET rights:runners a b"),
    ("client", "XCLAIM {rights:0}:dispatch:default:normal runners r 0 1-1"),
    ("client", "XTRIM {rights:0}:log MAXLEN 0"),
    ("operator", "XCLAIM {rights:0}:dispatch:default:normal runners r 0 1-1"),
    ("operator", "RENAME {rights:0}:log {rights:0}:gone"),
    ("gateway", "HSET rights:gateway_keys a b"),
    ("gateway", "XCLAIM {rights:0}:dispatch:default:normal runners r 0 1-1"),
    ("gateway", "RENAME {rights:0}:rebuild:index {rights:0}:index"),
    ("runner", "HSET rights:gateway_keys a b"),
    ("runner", "DEL {rights:0}:log"),
    ("projector", "XADD {rights:0}:log * a b"),
    ("projector", "GET {rights:0}:partner_keys:a:b"),
    ("consumer", "XADD {rights:0}:log * a b"),
    ("consumer", "HSET rights:gateway_keys a b"),
    ("archiver", "XADD {rights:0}:log * a b"),
]


@pytest.fixture
def rights(server: OwnServer) -> Rights:
    """Connect as a user with the rights of a role."""

    @contextmanager
    def connected(role: Role) -> Iterator[Redis]:
        words = ("somebody", "reset", "on", ">pw", *Access(role, NS).rules().split())
        with client(server.url) as admin, client(server.url) as redis:
            admin.execute_command("ACL", "SETUSER", *words)
            redis.execute_command("AUTH", "somebody", "pw")
            yield redis

    return connected


@pytest.mark.long
@pytest.mark.parametrize("role", sorted(WORK))
async def test_a_role_does_its_whole_work_with_exactly_its_rights(farm: Farm, role: Role) -> None:
    with farm.acting_as(role) as sent:
        try:
            await WORK[role](farm)
        finally:
            refused = farm.refusals()
    assert refused == []
    granted = {*COMMANDS[role], *OPTIONAL[role], *ALWAYS}
    # Of the first a channel decides: there is none of these. The other comes where a wait is long.
    used = _used(farm.admin, role, sent) - {"spublish", "role"}
    used |= {WHOLE[name] for name in used & WHOLE.keys()}
    assert used - granted == set(), "a script of this role may send these on another day"
    shared = {*ALWAYS, *OPTIONAL[role], *COMMANDS["reader"], *RARE_COMMANDS.get(role, ())}
    assert granted - used - shared == set(), "nothing of this role's work takes these"
    kinds = {_kind(key) for name, key in _written(farm.admin, sent)} - {""}
    allowed = {kind.removesuffix(":*") for kind in WRITTEN.get(role, ())}
    assert kinds - allowed == set()
    assert allowed - kinds - RARE_KEYS.get(role, set()) == set()


def _used(admin: Redis, role: Role, sent: Sent) -> set[str]:
    """Return what was sent, and what the same scripts may send on another day."""
    known = {name.decode().upper() for name in admin.execute_command("COMMAND LIST")}  # type: ignore[no-untyped-call]
    texts = dict(sources().values())
    names = {sources()[sha][0] for sha in sent.hashes} | set(RARE_SCRIPTS.get(role, ()))
    written = {word for name in names for word in script_commands(texts[name], known)}
    return sent.direct | sent.inside | {word.lower().replace(" ", "|") for word in written}


def _written(admin: Redis, sent: Sent) -> set[tuple[str, str]]:
    """Return what was sent of commands that write, each with a key."""

    def writes(name: str) -> bool:
        info = admin.execute_command("COMMAND", "INFO", name)  # type: ignore[no-untyped-call]
        return "write" in next(iter(info.values()))["flags"]

    pairs = {pair for pair in sent.keys | sent.touched if pair[0] not in SCRIPTS}
    writing = {name for name in {name for name, _ in pairs} if writes(name)}
    return {pair for pair in pairs if pair[0] in writing}


def _kind(key: str) -> str:
    """Return what a key of the namespace is, empty for one of a partition."""
    return key.split(":")[1] if key.startswith(f"{NS}:") else ""


@pytest.mark.parametrize(("role", "words"), FORBIDDEN, ids=str)
def test_a_role_may_not_do_the_work_of_another(rights: Rights, role: Role, words: str) -> None:
    with rights(role) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*words.split())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("role", sorted(WORK))
def test_no_role_may_what_is_the_servers_or_another_namespaces(rights: Rights, role: Role) -> None:
    commands = ("FLUSHALL", "CONFIG GET *", "ACL LIST", "KEYS *", "SCAN 0", "SCRIPT FLUSH",
                "HGETALL other:meta", "XRANGE {other:0}:log - +", "HGETALL rights2:meta",
                "SHUTDOWN", "MONITOR", "REPLICAOF NO ONE")  # fmt: skip
    with rights(role) as redis:
        for words in commands:
            with pytest.raises(NoPermissionError):
                redis.execute_command(*words.split())  # type: ignore[no-untyped-call]


async def test_a_gateway_cannot_rebuild_and_a_client_cannot_run_jobs(farm: Farm) -> None:
    for role, words in (
        ("gateway", ("projector", "rebuild")),
        ("client", ("runner", "--comfyui", "http://127.0.0.1:1")),
        ("runner", ("up", "--comfyui", "http://127.0.0.1:1")),
        ("runner", ("serve", "--port", "0")),
        ("reader", ("projector",)),
        ("reader", ("sink", "sql", "--url", "sqlite:///a.db")),
        ("reader", ("keys", "add", "mine")),
        ("client", ("keys", "add", "mine")),
        ("auditor", ("archive", "run", "--archive", str(farm.folder / "a"))),
    ):
        with farm.acting_as(role):  # type: ignore[arg-type]
            program = farm.run(*words)
            assert await program.end(20) == 2, program
        assert "`everfold acl " in program.error_lines[0], program
        assert farm.refusals() == [], "it has asked before it did anything"


@pytest.mark.parametrize("role", MAKERS)
async def test_who_works_in_a_namespace_makes_it(farm: Farm, role: Role) -> None:
    farm.admin.flushall()
    with farm.acting_as(role):
        async with Log.open(farm.url, namespace=NS, role=role) as log:
            assert log.keys.partitions == 24
    assert farm.refusals() == []
    assert farm.admin.exists(f"{NS}:meta")


async def test_a_reader_lists_on_where_a_state_has_expired(farm: Farm) -> None:
    job_id = await everything_runs(farm)
    with farm.acting_as("reader"):
        async with farm.client("reader") as everfold:

            async def is_listed_no_more() -> bool:
                # The projector may be about to write it once more.
                farm.admin.delete(farm.log.keys.job(job_id))
                return (await everfold.list()).jobs == []

            await eventually(is_listed_no_more)


def test_each_command_that_readers_share_is_in_the_sources() -> None:
    folders = [ROOT / name for name in ("streams", "projector", "runner")]
    files = [
        file for folder in folders for kind in ("py", "lua") for file in folder.rglob(f"*.{kind}")
    ]
    text = "\n".join(file.read_text() for file in files)
    unused = [name for name in COMMANDS["reader"] if name.upper().partition("_")[0] not in text]
    assert unused == []
