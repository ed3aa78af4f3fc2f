"""What `Everfold.connect` takes from arguments, environment and config file, and what it makes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from everfold import Everfold, NamespaceUnknown, Subscription
from everfold.projector.subscribing.delivery import Delivery
from everfold.settings.client_settings import client_settings
from everfold.streams.appending.log import Log
from everfold.streams.errors import Misconfigured, NoServer
from everfold.streams.redis.replicas import Replicas
from tests.projector.jobs import GRAPH
from tests.support.servers import OwnServer, client

pytestmark = pytest.mark.anyio

LOADING = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
VARIABLES = ("REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_CA", "REDIS_CERT", "REDIS_KEY")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of an application for which nothing is set."""
    for name in (*os.environ, *VARIABLES):
        if name.startswith("EVERFOLD_") or name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("EVERFOLD_DATA", str(tmp_path / "data"))
    here = tmp_path / "app"
    here.mkdir(mode=0o755)
    monkeypatch.chdir(here)
    return here


def write(folder: Path, text: str, name: str = "everfold.toml") -> Path:
    file = folder / name
    file.write_text(text)
    file.chmod(0o644)
    return file


async def test_an_application_and_the_commands_meet_in_one_namespace(
    folder: Path, server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, f'namespace = "studio"\nredis_url = "{server.url}"')
    async with Everfold.connect() as everfold:
        assert everfold.log.keys.namespace == "studio"
        await everfold.submit(GRAPH)
    monkeypatch.setenv("EVERFOLD_NAMESPACE", "lab")
    async with Everfold.connect() as everfold:
        assert everfold.log.keys.namespace == "lab"
    async with Everfold.connect(namespace="desk") as everfold:
        assert everfold.log.keys.namespace == "desk"
    async with Everfold.connect(server.url, config=os.devnull, namespace="x") as everfold:
        assert everfold.log.keys.namespace == "x"
    with client(server.url) as redis:
        assert list(redis.keys("*:meta")) == [b"studio:meta"]


def test_an_argument_comes_before_a_variable_and_a_variable_before_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoServer):
        client_settings(None, None, None)
    write(folder, 'redis_url = "redis://file:1/0"\nassets = "kept"\n[policy]\nretries = 4')
    said = client_settings(None, None, None)
    assert said.url.reveal() == "redis://file:1/0"
    assert (said.namespace, said.assets) == ("everfold", str(folder / "kept"))
    assert said.policies.fields("q", "k") == {"retries": 4}
    monkeypatch.setenv("REDIS_HOST", "variable")
    monkeypatch.setenv("EVERFOLD_ASSETS", "elsewhere")
    monkeypatch.setenv("EVERFOLD_POLICY_RETRIES", "5")
    said = client_settings(None, None, None)
    assert (said.url.reveal(), said.assets) == ("redis://variable:6379/0", None)
    assert said.policies.fields("q", "k") == {"retries": 5}
    assert client_settings("redis://given", None, None).url.reveal() == "redis://given"


def test_settings_of_tls_in_the_file_count_as_for_commands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 'redis_url = "rediss://file:1/0"\nredis_ca = "ca.pem"')
    wanted = f"?ssl_ca_certs={folder}/ca.pem"
    assert client_settings(None, None, None).url.reveal() == f"rediss://file:1/0{wanted}"
    assert client_settings("rediss://x/0", None, None).url.reveal() == f"rediss://x/0{wanted}"
    monkeypatch.setenv("REDIS_CA", "/other.pem")
    assert client_settings(None, None, None).url.reveal().endswith("=/other.pem")
    monkeypatch.setenv("REDIS_URL", "redis://plain/0")
    with pytest.raises(Misconfigured, match="TLS"):
        client_settings(None, None, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("namespace = 5", "`namespace` at the top must be a string"),
        ("redis_check_hostname = 'x'", "`redis_check_hostname` at the top must be a boolean"),
        ("assets = ['a']", "`assets` at the top must be a path"),
        ("[redis_url]\na = 1", "`redis_url` at the top must be a string"),
        ("namespace = ", "is not TOML"),
        ("[policy]\nretries = 'x'", "`retries` in"),
    ],
)
def test_a_mistake_in_the_file_is_told_and_no_value_of_it(
    folder: Path, text: str, why: str
) -> None:
    write(folder, text)
    with pytest.raises(Misconfigured, match=why):
        client_settings("redis://x", None, None)


def test_a_file_that_others_may_write_to_is_refused(folder: Path) -> None:
    write(folder, "").chmod(0o666)
    with pytest.raises(Misconfigured, match="other users may write"):
        client_settings("redis://x", None, None)


READS: dict[str, Callable[[Everfold], Awaitable[object]]] = {
    "get": lambda one: one.get("no-job"),
    "list": lambda one: one.list(),
    "wait": lambda one: one.wait("no-job", 0.1),
    "events": lambda one: one.events("no-job"),
    "queues": lambda one: one.queues(),
    "limits": lambda one: one.limits(),
    "runners": lambda one: one.runners(),
    "backends": lambda one: one.backends(),
    "acts": lambda one: one.acts(),
    "batches": lambda one: one.batches(),
    "cancel": lambda one: one.cancel("no-job"),
    "why": lambda one: one.why("no-job"),
    "asset": lambda one: one.assets.used_bytes("ada"),
}


async def test_reading_makes_no_namespace_and_names_those_that_there_are(
    folder: Path, server: OwnServer
) -> None:
    async with Log.open(server.url, namespace="studio"):
        pass
    with client(server.url) as redis:
        before = sorted(redis.keys("*"))
        for name, read in READS.items():
            async with Everfold.connect(server.url, namespace="stuido") as everfold:
                with pytest.raises(NamespaceUnknown, match="did you mean studio") as caught:
                    await read(everfold)
                assert caught.value.known == ("studio",), name
        async with Everfold.connect(server.url, namespace="stuido") as everfold:
            with pytest.raises(NamespaceUnknown):
                async for _ in everfold.watch("no-job"):
                    pass
            with pytest.raises(NamespaceUnknown):
                async with everfold.follow() as batches:
                    await anext(aiter(batches))
        assert sorted(redis.keys("*")) == before


async def test_an_empty_server_stays_empty_after_a_read(folder: Path, server: OwnServer) -> None:
    async with Everfold.connect(server.url) as everfold:
        with pytest.raises(NamespaceUnknown, match="none that can be seen") as caught:
            await everfold.list()
    assert caught.value.known == ()
    with client(server.url) as redis:
        assert redis.dbsize() == 0


async def test_a_refused_submit_makes_no_namespace(folder: Path, server: OwnServer) -> None:
    async with Everfold.connect(server.url) as everfold:
        with pytest.raises(Exception, match="priority"):
            await everfold.submit(GRAPH, priority="urgent")  # type: ignore[arg-type]
    with client(server.url) as redis:
        assert redis.dbsize() == 0


async def test_partitions_that_are_named_make_it_at_once(folder: Path, server: OwnServer) -> None:
    async with Everfold.connect(server.url, namespace="new", partitions=3) as everfold:
        assert (await everfold.list()).jobs == []
        async with Everfold.connect(server.url, namespace="new") as beside:
            assert beside.log.keys.partitions == 3


async def test_the_first_submit_makes_it(folder: Path, server: OwnServer) -> None:
    async with Everfold.connect(server.url, namespace="new") as everfold:
        other = everfold.acting_as("other")
        with pytest.raises(NamespaceUnknown):
            await everfold.list()
        made = await everfold.submit(
            LOADING, run_at=timedelta(seconds=60), inputs={"1.image": b"x"}, validate=False
        )
        assert (await other.get(made.job_id)).status == "queued"
        generation = everfold.log.generation
    async with Everfold.connect(server.url, namespace="new") as again:
        assert (again.log.keys.partitions, again.log.generation) == (24, generation)


@pytest.mark.parametrize("reads_first", [True, False])
async def test_a_client_finds_what_another_program_has_made_meanwhile(
    folder: Path, server: OwnServer, reads_first: bool
) -> None:
    async with Everfold.connect(server.url, namespace="late") as everfold:
        stored = everfold.assets
        async with Log.open(server.url, namespace="late") as other:
            made = await other.submit(GRAPH)
            if reads_first:
                assert (await everfold.get(made.job_id)).status == "queued"
            asset = (await stored.put(b"text", name="a.txt")).asset
            assert (await everfold.get((await everfold.submit(GRAPH)).job_id)).status == "queued"
            assert everfold.log.generation == other.generation
    async with (
        Everfold.connect(server.url, namespace="late") as again,
        again.assets.open(asset.hash) as chunks,
    ):
        assert b"".join([chunk async for chunk in chunks]) == b"text"


async def test_a_client_that_assumed_other_partitions_asks_to_be_called_again(
    folder: Path, server: OwnServer
) -> None:
    async with Everfold.connect(server.url, namespace="late") as everfold:
        async with Log.open(server.url, namespace="late", partitions=3) as other:
            made = await other.submit(GRAPH)
        with pytest.raises(Misconfigured, match="3 partitions: call again"):
            await everfold.get(made.job_id)
        assert (await everfold.get(made.job_id)).status == "queued"


async def test_a_subscription_and_a_limit_make_the_namespace(
    folder: Path, server: OwnServer
) -> None:
    async with Everfold.connect(server.url, namespace="limited") as everfold:
        await everfold.set_limit("running", "queue", "default", 2)
        assert len(await everfold.limits()) == 1
    async with Everfold.connect(server.url, namespace="paused") as everfold:
        await everfold.pause_queue("default")
    async with Everfold.connect(server.url, namespace="stored") as everfold:
        await everfold.assets.put(b"text", name="a.txt")
    with client(server.url) as redis:
        assert len(redis.keys("*:meta")) == 3


async def _hear(_: Delivery) -> None: ...


def test_a_subscription_is_named(folder: Path) -> None:
    assert Subscription("notes")(_hear).name == "notes"


@pytest.mark.parametrize(
    ("file", "environ", "expected"),
    [
        ("", {}, Replicas()),
        ("replicas = 1", {}, Replicas(1)),
        ('replicas = 2\nreplicas_within = "3s"\nreplicas_for = "all"', {}, Replicas(2, 3.0, "all")),
        ("replicas = 1", {"EVERFOLD_REPLICAS": "2"}, Replicas(2)),
        ("", {"EVERFOLD_REPLICAS_WITHIN": "0.5", "EVERFOLD_REPLICAS": ""}, Replicas(0, 0.5)),
    ],
)
def test_replicas_are_asked_for_by_environment_and_file(
    folder: Path, file: str, environ: dict[str, str], expected: Replicas
) -> None:
    write(folder, file)
    found = client_settings("redis://h", None, None, {**os.environ, **environ})
    assert found.replicas == expected


@pytest.mark.parametrize(
    ("file", "environ"),
    [
        ("replicas = true", {}),
        ("replicas = -1", {}),
        ('replicas_within = "soon"', {}),
        ("replicas_within = 20", {}),
        ('replicas_for = "some"', {}),
        ("", {"EVERFOLD_REPLICAS": "one"}),
        ("", {"EVERFOLD_REPLICAS": "17"}),
        ("", {"EVERFOLD_REPLICAS_WITHIN": "0"}),
    ],
)
def test_replicas_that_make_no_sense_are_refused_with_a_sentence(
    folder: Path, file: str, environ: dict[str, str]
) -> None:
    write(folder, file)
    with pytest.raises(Misconfigured, match="replicas"):
        client_settings("redis://h", None, None, {**os.environ, **environ})
